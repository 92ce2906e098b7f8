"""The two tables of a portfolio in a warehouse of each kind, for tests.

Belongs here: warehouses with and without tables, small books that fit the packaged portfolio, a portfolio of odd names,
and SQL past a warehouse's own methods. A test file that needs the fixtures names this module and `support.postgres` in
its `pytest_plugins`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.data.schemas import applications_schema, outcomes_schema
from credit_assets.warehouse import Warehouse, open_warehouse

DAY = date(2024, 2, 28)


KINDS = ["duckdb", "sqlite", "postgresql"]
# Both ends of the day, halves and quarters of an hour, summer time at midnight and at 0:01, a day that was skipped.
ZONES = [
    "UTC",
    "Asia/Tokyo",
    "America/New_York",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Pacific/Apia",
]


@pytest.fixture(scope="session")
def portfolio() -> Portfolio:
    return load_portfolio()


def warehouse_url(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    if kind == "postgresql":
        url: str = request.getfixturevalue("postgres_database")
        return url
    return f"{kind}:///{folder / 'warehouse.db'}"


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    """A warehouse without tables; its file exists."""
    warehouse = open_warehouse(warehouse_url(request.param, tmp_path, request))
    _once("empty", warehouse, lambda: execute(warehouse, "CREATE TABLE unrelated (a INTEGER)"))
    return warehouse


@pytest.fixture
def filled(empty: Warehouse, portfolio: Portfolio) -> Warehouse:
    def fill() -> None:
        empty.create_tables(portfolio)
        empty.write(portfolio, applications(portfolio, 30), outcomes(portfolio, 10))

    _once("filled", empty, fill)
    return empty


_MADE: dict[tuple[str, str], bytes] = {}


def _once(name: str, warehouse: Warehouse, make: Callable[[], None]) -> None:
    """Make what is in a warehouse; where it is a file, once in a process: every other one is a copy."""
    kind, file = kind_of(warehouse), Path(warehouse._url.partition(":///")[2])
    if kind == "postgresql":
        make()
    elif made := _MADE.get((kind, name)):
        file.write_bytes(made)
    else:
        make()
        # With all that it holds, none of it in a file beside it.
        assert list(file.parent.glob(f"{file.name}*")) == [file]
        _MADE[kind, name] = file.read_bytes()


def applications(portfolio: Portfolio, rows: int, **columns: list[Any]) -> pa.Table:
    """Ten applications a day from DAY on, written in reverse order of id."""
    made: dict[str, list[Any]] = {
        "application_id": [f"A{i:04d}" for i in reversed(range(rows))],
        "application_date": [DAY + timedelta(days=i // 10) for i in reversed(range(rows))],
        "annual_income": [50_000.5 + i for i in range(rows)],
        "term_months": [36] * rows,
        "loan_amount": [1_000.0] * rows,
        "purpose": ['other, "quoted"' if i % 3 else "" for i in range(rows)],
        "employment_years": [None] * rows,
        **columns,
    }
    schema = applications_schema(portfolio)
    return pa.table({f.name: pa.array(made.get(f.name, [None] * rows), f.type) for f in schema}, schema=schema)


def outcomes(portfolio: Portfolio, rows: int) -> pa.Table:
    names = [f"A{i:04d}" for i in range(rows)]
    days = [DAY + timedelta(days=400 + i % 2) for i in range(rows)]
    return pa.table([names, days, [i % 2 for i in range(rows)]], schema=outcomes_schema(portfolio))


def execute(warehouse: Warehouse, *statements: str) -> None:
    """Plain SQL, past the warehouse's own methods."""
    url = warehouse._url
    if url.startswith("duckdb"):
        import duckdb

        with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
            for statement in statements:
                connection.execute(statement)
        return
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def fetched(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    """What a query gives, past the warehouse's own methods."""
    url = warehouse._url
    if url.startswith("duckdb"):
        import duckdb

        with duckdb.connect(url.removeprefix("duckdb:///"), read_only=True) as connection:
            return connection.execute(query).fetchall()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return found


OTHER = Portfolio.model_validate(
    {
        "name": "odd-names",
        "applications_table": "Applicants-2024",
        "outcomes": {"table": "Results", "id": "select", "date": "Day", "defaulted": "bad"},
        "columns": [
            {"name": "select", "type": "integer", "role": "id", "nullable": False},
            {"name": "Day", "type": "date", "role": "date", "nullable": False},
            {"name": "DaysPastDue30-59", "type": "integer"},
            {"name": "order", "type": "float"},
            {"name": "qualify", "type": "boolean"},
            {"name": "group", "type": "category"},
        ],
    }
)


def wide_portfolio(columns: int) -> Portfolio:
    """A portfolio of so many columns, id and date among them."""
    features = [{"name": f"f{n}", "type": "float"} for n in range(columns - 2)]
    return Portfolio.model_validate(
        {
            "name": "wide",
            "columns": [
                {"name": "id", "type": "string", "role": "id", "nullable": False},
                {"name": "day", "type": "date", "role": "date", "nullable": False},
                *features,
            ],
        }
    )


LENDERS = {
    "duckdb": ("BIGINT", "TIMESTAMPTZ", "DECIMAL(12,2)", "TINYINT", "ENUM ('a', 'b')", "2024-02-28 23:59:59+00"),
    "sqlite": ("INTEGER", "DATETIME", "NUMERIC", "BOOLEAN", "TEXT", "2024-02-28 23:59:59"),
    "postgresql": ("INTEGER", "TIMESTAMPTZ", "NUMERIC(12,2)", "SMALLINT", "CHAR(1)", "2024-02-28 23:59:59+00"),
}


def kind_of(warehouse: Warehouse) -> str:
    return warehouse.describe().split(":")[0]


def lenders_table(warehouse: Warehouse, *rows: str) -> None:
    key, day, number, flag, category, _ = LENDERS[kind_of(warehouse)]
    execute(
        warehouse,
        f'CREATE TABLE "Applicants-2024" ("select" {key}, "Day" {day}, "DaysPastDue30-59" {number}, '
        f'"order" {number}, "qualify" {flag}, "group" {category})',
        *(f'INSERT INTO "Applicants-2024" VALUES {row}' for row in rows),
    )


def held(code: str) -> subprocess.Popen[str]:
    """A process that says so when it holds what it should, and holds it until it is ended."""
    holding = subprocess.Popen(
        [sys.executable, "-c", code + "\nprint('held', flush=True)\nimport time; time.sleep(3600)"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holding.stdout is not None
    assert holding.stdout.readline().strip() == "held"
    return holding
