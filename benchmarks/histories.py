"""History features: 100,000 applications against tens of millions of rows, as we read them and by a query by hand.

Ours is `Warehouse.read_history_features(...).read_all()` from a DuckDB file: eight features of two windows, what became
known too late left out, undated rows counted, sums exact, ordered by day and id. The peer is the query that a person
would write for the same eight features, run by DuckDB itself with as many threads and as much memory as it takes. Rows
are made by DuckDB's range(). Sides take turns, each in a process of its own; timed is the read, connecting included.

The largest size is held against the query by hand; the sizes show together whether the cost grows with the rows.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import child_environment, run
from benchmarks.report import Row

TARGET = "15 histories"
LIMIT, MEMORY, GROWTH = 1.5, 3 * 1024, 1.3
FULL, QUICK = (12_500_000, 25_000_000, 50_000_000), (100_000, 200_000, 400_000)
APPLICATIONS = {True: 2_000, False: 100_000}
FIRST, DAYS = date(2024, 1, 1), 90
LAST = FIRST + timedelta(days=DAYS - 1)

PORTFOLIO: dict[str, Any] = {
    "name": "histories",
    "columns": [
        {"name": "application_id", "type": "string", "role": "id", "nullable": False},
        {"name": "application_date", "type": "date", "role": "date", "nullable": False},
        {"name": "customer_id", "type": "integer", "role": "ignored"},
        {"name": "amount", "type": "float"},
    ],
    "histories": [
        {
            "name": "months",
            "table": "account_months",
            "key": "customer_id",
            "date": "month_end",
            "known": "loaded_at",
            "columns": [
                {"name": "days_past_due", "type": "integer"},
                {"name": "balance", "type": "float"},
                {"name": "score", "type": "float"},
            ],
        }
    ],
    "derived": [
        {"history": "months", **feature}
        for feature in (
            {"name": "late", "aggregate": "count", "where": {"days_past_due": ">= 30"}, "window_days": 365},
            {"name": "balance_sum", "aggregate": "sum", "column": "balance", "window_days": 365},
            {"name": "balance_mean", "aggregate": "mean", "column": "balance", "window_days": 365},
            {"name": "balance_min", "aggregate": "min", "column": "balance"},
            {"name": "balance_max", "aggregate": "max", "column": "balance"},
            {"name": "last_score", "aggregate": "last", "column": "score", "max_age_days": 90},
            {"name": "late_share", "aggregate": "share", "where": {"days_past_due": ">= 30"}},
            {"name": "since_late", "aggregate": "days_since_last", "where": {"days_past_due": ">= 30"}},
        )
    ],
}

BY_HAND = """
SELECT a.application_id, a.application_date,
  count(*) FILTER (m.days_past_due >= 30 AND m.month_end >= a.application_date - 365) AS late,
  sum(m.balance) FILTER (m.month_end >= a.application_date - 365) AS balance_sum,
  avg(m.balance) FILTER (m.month_end >= a.application_date - 365) AS balance_mean,
  min(m.balance) AS balance_min,
  max(m.balance) AS balance_max,
  arg_max(m.score, m.month_end) FILTER (m.month_end >= a.application_date - 90) AS last_score,
  count(*) FILTER (m.days_past_due >= 30) / nullif(count(m.customer_id), 0) AS late_share,
  a.application_date - max(m.month_end) FILTER (m.days_past_due >= 30) AS since_late
FROM loan_applications a
LEFT JOIN account_months m
  ON m.customer_id = a.customer_id AND m.loaded_at < a.application_date AND m.month_end < a.application_date
GROUP BY a.application_id, a.application_date
"""


def measure(quick: bool) -> list[Row]:
    """Seconds and memory of both sides at the largest size, and how the seconds grow with the rows."""
    sizes, repeats = (QUICK, 1) if quick else (FULL, 3)
    found: dict[int, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-histories-") as folder:
        for size in sizes:
            book = Path(folder) / f"{size}.duckdb"
            write(book, size, APPLICATIONS[quick])
            found[size] = _in_turns(book, repeats)
            book.unlink()
    ours, peer = ({size: [one["seconds"] for one in of[side]] for size, of in found.items()} for side in _SIDES)
    most, applications = sizes[-1], APPLICATIONS[quick]
    memory = max(one["mebibytes"] for one in found[most]["ours"])
    rows = [
        Row(
            TARGET,
            f"{applications:,} applications against {size:,} rows in DuckDB",
            median(ours[size]),
            median(peer[size]),
            "s",
            "a query by hand",
            LIMIT if size == FULL[-1] else None,
            note="ours sums exactly, counts what is unreadable, and is ordered",
            pairs=tuple(a / b for a, b in zip(ours[size], peer[size], strict=True)),
        )
        for size in sizes
    ]
    what = f"peak memory with {most:,} rows"
    rows.append(Row(TARGET, what, memory, None, "MiB", "-", None if quick else MEMORY))
    growth = median(ours[most]) / median(ours[sizes[0]]) / (most / sizes[0])
    what = f"seconds a row with {most:,} rows over those with {sizes[0]:,}"
    rows.append(Row(TARGET, what, growth, None, "x", "1 is linear", None if quick else GROWTH))
    return rows


def write(book: Path, rows: int, applications: int) -> None:
    """Applications of 90 days, and so many rows of three years, of two and a half times as many customers."""
    import duckdb

    customers = applications * 5 // 2
    with duckdb.connect(str(book)) as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(
            "CREATE TABLE loan_applications AS SELECT 'A' || lpad(i::VARCHAR, 8, '0') AS application_id, "
            f"DATE '{FIRST}' + (i * {DAYS} // {applications})::INTEGER AS application_date, "
            f"(hash(i) % {customers})::BIGINT AS customer_id, 1000.0::DOUBLE AS amount FROM range({applications}) t(i)"
        )
        month_end = f"DATE '{FIRST}' - 1000 + (hash(i + 1) % 1080)::INTEGER"
        connection.execute(
            f"CREATE TABLE account_months AS SELECT (hash(i) % {customers})::BIGINT AS customer_id, "
            f"{month_end} AS month_end, {month_end} + (hash(i + 7) % 10)::INTEGER AS loaded_at, "
            "(hash(i * 3) % 120)::INTEGER AS days_past_due, ((hash(i * 5) % 1000000) / 100.0)::DOUBLE AS balance, "
            f"((hash(i * 11) % 400) + 300)::DOUBLE AS score FROM range({rows}) t(i)"
        )


def _in_turns(book: Path, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Figures of both sides, the n-th of both beside each other. Raises RuntimeError where they differ in a feature."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in _SIDES}
    for n in range(repeats):
        for side in _SIDES if n % 2 == 0 else reversed(_SIDES):
            asked = {"book": str(book), "figures": str(book.with_suffix(".json"))}
            argv = [sys.executable, "-m", "benchmarks.histories", side, json.dumps(asked)]
            run(argv, env=child_environment(), cwd=Path(__file__).parents[1])
            found[side].append(json.loads(Path(asked["figures"]).read_text("utf-8")))
    totals = [one["totals"] for side in _SIDES for one in found[side]]
    if any(abs(a - b) > 1e-9 * abs(b) for one in totals for a, b in zip(one, totals[0], strict=True)):
        raise RuntimeError("ours and the query by hand found different features")
    return found


# What runs in the measured process


def portfolio() -> Any:
    from credit_assets.ml.data.portfolio import Portfolio

    return Portfolio.model_validate(PORTFOLIO)


def ours(asked: Mapping[str, str]) -> Any:
    from credit_assets.warehouse import open_warehouse

    return open_warehouse(f"duckdb:///{asked['book']}").read_history_features(portfolio(), FIRST, LAST).read_all()


def by_hand(asked: Mapping[str, str]) -> Any:
    import duckdb

    with duckdb.connect(asked["book"], read_only=True) as connection:
        connection.execute("SET enable_progress_bar = false")
        return connection.sql(BY_HAND).to_arrow_table()


_SIDES: dict[str, Callable[[Mapping[str, str]], Any]] = {"ours": ours, "by_hand": by_hand}


def main(side: str, asked: Mapping[str, str]) -> None:
    """Read once, and keep the seconds, the peak of memory, and the sum of each feature but the last value of each
    applicant, which the query by hand leaves to chance where rows tie.
    """
    import resource

    import duckdb  # noqa: F401 - imported before the clock runs
    import pyarrow.compute as pc
    import sqlalchemy  # noqa: F401

    from credit_assets.warehouse import histories  # noqa: F401

    begun = time.perf_counter()
    found = _SIDES[side](asked)
    seconds = time.perf_counter() - begun
    names = [feature["name"] for feature in PORTFOLIO["derived"] if feature["aggregate"] != "last"]
    figures = {
        "seconds": seconds,
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "totals": [found.num_rows, *(float(pc.sum(found[name]).as_py() or 0) for name in names)],
    }
    Path(asked["figures"]).write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main(sys.argv[1], json.loads(sys.argv[2]))
