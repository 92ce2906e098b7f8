"""Raw loans to scores written directly in DuckDB, Arrow and the learner's library: what backfills are held against.

Run: `python -m benchmarks.bare WAREHOUSE MODEL VERSION TARGET FIRST LAST`. Reads the days FIRST .. LAST of the DuckDB
file WAREHOUSE, holds every rule of the packaged portfolio against them, derives the features, scores them with the
LightGBM scorer in the folder MODEL, which is VERSION, and writes one Parquet file a day for each of `raw_loan_data`,
`loan_outcomes`, `processed_features` and `loan_scores` below TARGET. In batches, so that a day may be of any size.

Belongs here: the shortest fast way to the same rows. It uses nothing of `credit_assets`: no gate is recorded, a broken
rule ends the script, and what was done is known from the files alone.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_BATCH = 250_000
# Smallest and largest value of each number, and the largest share that may be missing; None: none may.
_NUMBERS: dict[str, tuple[float, float, float | None]] = {
    "annual_income": (0, 1e8, 0.05),
    "total_debt": (0, 1e8, 0.25),
    "credit_used": (0, 1e8, 0.25),
    "credit_limit": (0, 1e9, 0.50),
    "loan_amount": (1, 1e7, None),
    "interest_rate": (0, 100, 0.05),
    "term_months": (1, 480, None),
    "employment_years": (0, 80, 0.50),
    "inquiries_6m": (0, 200, 0.25),
    "delinquencies_2y": (0, 200, 0.25),
    "open_accounts": (0, 1000, 0.25),
}
_CATEGORIES = {
    "purpose": (
        "debt_consolidation", "credit_card", "home_improvement", "major_purchase", "small_business", "car", "wedding",
        "medical", "moving", "house", "vacation", "educational", "renewable_energy", "other",
    ),
    "home_ownership": ("RENT", "MORTGAGE", "OWN", "OTHER", "NONE", "ANY"),
}  # fmt: skip
_COLUMNS = (
    "application_id", "application_date", "annual_income", "total_debt", "credit_used", "credit_limit", "loan_amount",
    "interest_rate", "term_months", "purpose", "home_ownership", "employment_years", "state", "inquiries_6m",
    "delinquencies_2y", "open_accounts",
)  # fmt: skip
_FEATURES = tuple(name for name in _COLUMNS[2:] if name != "state")


def main(warehouse: Path, model: Path, version: str, target: Path, first: date, last: date) -> None:
    import duckdb

    scorer = Scorer(model, version)
    with duckdb.connect(str(warehouse), read_only=True) as con:
        _check_days(con, first, last)
        columns = ", ".join(_COLUMNS)
        loans = con.sql(
            f"SELECT {columns} FROM loan_applications WHERE application_date BETWEEN ? AND ? "
            "ORDER BY application_date, application_id",
            params=[first, last],
        )
        with (
            Days(target, "raw_loan_data") as raw,
            Days(target, "processed_features") as features,
            Days(target, "loan_scores") as scores,
        ):
            for table in _batches(loans):
                inputs = _features(table)
                raw.write(table, table)
                features.write(table, inputs)
                scores.write(table, scorer.score(inputs))
        outcomes = con.sql(
            "SELECT application_id, outcome_date AS application_date, defaulted FROM loan_outcomes "
            "WHERE outcome_date BETWEEN ? AND ? ORDER BY outcome_date, application_id",
            params=[first, last],
        )
        with Days(target, "loan_outcomes") as written:
            for table in _batches(outcomes):
                if table["defaulted"].null_count:
                    raise ValueError("outcomes without a value")
                written.write(table, table.rename_columns(["application_id", "outcome_date", "defaulted"]))


def _check_days(con: Any, first: date, last: date) -> None:
    """The rules on values, missing shares and volume, one row a day from DuckDB. Raises ValueError."""
    broken = [f"count_if({name} < {low} OR {name} > {high})" for name, (low, high, _) in _NUMBERS.items()]
    broken += [f"count_if({name} NOT IN {levels})" for name, levels in _CATEGORIES.items()]
    missing = [f"count(*) - count({name})" for name in (*_NUMBERS, *_CATEGORIES)]
    days = con.execute(
        f"SELECT application_date, count(*), count(*) - count(application_id), {', '.join(broken)}, "
        f"{', '.join(missing)} FROM loan_applications WHERE application_date BETWEEN ? AND ? GROUP BY 1 ORDER BY 1",
        [first, last],
    ).fetchall()
    counts = dict(
        con.execute(
            "SELECT application_date, count(*) FROM loan_applications "
            "WHERE application_date BETWEEN ? AND ? GROUP BY 1",
            [first - timedelta(28), last],
        ).fetchall()
    )
    limits = [limit for _, _, limit in _NUMBERS.values()] + [0.05] * len(_CATEGORIES)
    for day, rows, without_id, *found in days:
        if without_id or any(found[: len(broken)]):
            raise ValueError(f"{day}: values break their rules")
        shares = [count / rows for count in found[len(broken) :]]
        if any(share > (limit or 0) for share, limit in zip(shares, limits, strict=True)):
            raise ValueError(f"{day}: too many values are missing")
        recent = [counts[one] for one in (day - timedelta(n) for n in range(1, 29)) if one in counts]
        if recent and not median(recent) / 10 <= rows <= median(recent) * 10:
            raise ValueError(f"{day}: {rows} loans, {median(recent)} usual")


def _batches(relation: Any) -> Iterator[pa.Table]:
    """Tables of one batch each, in order; an id that comes twice in a day stands beside itself. Raises ValueError."""
    import pyarrow as pa
    import pyarrow.compute as pc

    last = None
    for batch in relation.to_arrow_reader(_BATCH):
        table = pa.Table.from_batches([batch])
        if not table.num_rows:
            continue
        ids, days = batch.column("application_id"), batch.column("application_date")
        same = pc.and_(pc.equal(ids[1:], ids[:-1]), pc.equal(days[1:], days[:-1]))
        if pc.any(same).as_py() or (ids[0], days[0]) == last:
            raise ValueError("an id stands in a day twice")
        last = ids[-1], days[-1]
        yield table


def _features(table: pa.Table) -> pa.Table:
    """Id, date and model inputs, numbers as float64 with null for missing."""
    import numpy as np
    import pyarrow as pa

    columns: dict[str, Any] = {name: table[name] for name in ("application_id", "application_date")}
    numbers = {name: _numbers(table[name]) for name in _NUMBERS}
    income = np.maximum(numbers["annual_income"], 1.0)
    amount, rate, term = numbers["loan_amount"], numbers["interest_rate"] / 1200.0, numbers["term_months"]
    # The level payment of an annuity; without interest the amount over the term.
    with np.errstate(divide="ignore", invalid="ignore"):
        payment = np.where(rate > 0, amount * rate / -np.expm1(-term * np.log1p(rate)), amount / term)
    payment = np.where(np.isnan(rate), np.nan, payment)
    derived = {
        "debt_to_income": numbers["total_debt"] / income,
        "credit_utilization": numbers["credit_used"] / np.maximum(numbers["credit_limit"], 1.0),
        "loan_to_income": amount / income,
        "payment_to_income": payment / np.maximum(numbers["annual_income"] / 12.0, 1.0),
    }
    for name in _FEATURES:
        columns[name] = table[name] if name in _CATEGORIES else pa.array(numbers[name], from_pandas=True)
    columns |= {name: pa.array(values, from_pandas=True) for name, values in derived.items()}
    return pa.table(columns)


def _calibrated(margin: np.ndarray, calibration: dict[str, Any]) -> np.ndarray:
    """Log-odds by any of the shapes that a record may have."""
    import numpy as np

    method = calibration["method"]
    if method == "platt":
        return np.asarray(calibration["slope"] * margin + calibration["intercept"])
    if method == "beta":
        safe, risky = np.logaddexp(0.0, margin), np.logaddexp(0.0, -margin)
        return np.asarray(calibration["b"] * safe - calibration["a"] * risky + calibration["c"])
    if method == "isotonic":
        knots = calibration["knots"]
        outside = margin - np.clip(margin, knots[0], knots[-1])
        return np.asarray(np.interp(margin, knots, calibration["values"]) + calibration["outside"] * outside)
    return margin


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    import pyarrow as pa

    found: NDArray[np.float64] = column.combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


class Scorer:
    """The saved scorer, read by LightGBM itself."""

    def __init__(self, folder: Path, version: str) -> None:
        import lightgbm as lgb

        self.record = json.loads((folder / "scorer.json").read_text("utf-8"))
        if self.record["variant"] != "lightgbm":
            raise ValueError(f"{folder} holds a model of {self.record['variant']}; this script reads LightGBM's")
        self.model = lgb.Booster(model_file=folder / self.record["model_file"])
        self.version = version

    def score(self, inputs: pa.Table) -> pa.Table:
        """Id, date, PD, points and version of each row, and the columns of the other model, which there is none of."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        names, levels = self.record["features"], self.record["categories"]
        rows = np.empty((inputs.num_rows, len(names)))
        for position, name in enumerate(names):
            values = inputs[name]
            if name in levels:
                values = pc.index_in(values, pa.array(levels[name])).cast(pa.float64())
            rows[:, position] = _numbers(values)
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        margin = np.asarray(self.model.predict(rows, raw_score=True, num_threads=threads))
        calibration, scale = self.record["calibration"], self.record["scale"]
        odds = _calibrated(margin, calibration)
        points = scale["base"] - scale["pdo"] / math.log(2) * (odds + math.log(scale["odds"]))
        nothing, count = pa.nulls, inputs.num_rows
        return pa.table(
            {
                "application_id": inputs["application_id"],
                "application_date": inputs["application_date"],
                "pd": 1 / (1 + np.exp(-odds)),
                "score": points,
                "model_version": pa.repeat(pa.scalar(self.version), count),
                "arm": pa.repeat(pa.scalar("champion"), count),
                "other_pd": nothing(count, pa.float64()),
                "other_score": nothing(count, pa.float64()),
                "other_version": nothing(count, pa.string()),
                # Nobody is declined without a cut-off.
                "declined": nothing(count, pa.bool_()),
                "reasons": nothing(count, pa.list_(pa.string())),
            }
        )


class Days:
    """One Parquet file a day, from tables in order of days."""

    def __init__(self, target: Path, name: str) -> None:
        self.folder = target / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.day: date | None = None
        self.file: Any = None

    def __enter__(self) -> Days:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, dated: pa.Table, table: pa.Table) -> None:
        """Rows of `table` go to the days that `dated` says, row for row."""
        import numpy as np
        import pyarrow.parquet as pq

        days = dated["application_date"].to_numpy().astype("datetime64[D]")
        starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(days)], strict=True):
            day = days[start].item()
            if day != self.day:
                self.__exit__()
                self.day = day
                self.file = pq.ParquetWriter(self.folder / f"{day}.parquet", table.schema, compression="zstd")
            self.file.write_table(table.slice(start, end - start))


if __name__ == "__main__":
    _warehouse, _model, _version, _target, _first, _last = sys.argv[1:]
    main(Path(_warehouse), Path(_model), _version, Path(_target), date.fromisoformat(_first), date.fromisoformat(_last))
