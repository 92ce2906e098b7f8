"""The warehouse on DuckDB, SQLite and a real PostgreSQL: the same contract on each, and each way to fail."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest
import sqlalchemy as sa

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.data.schemas import applications_schema, outcomes_schema
from credit_assets.warehouse import TableCounts, Warehouse, open_warehouse
from credit_assets.warehouse.arrow_columns import fit

pytest_plugins = ["credit_assets_tests.support.postgres"]

DAY = date(2024, 2, 28)
KINDS = ["duckdb", "sqlite", "postgresql"]


@pytest.fixture(scope="module")
def portfolio() -> Portfolio:
    return load_portfolio()


def _url(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    if kind == "postgresql":
        url: str = request.getfixturevalue("postgres_database")
        return url
    return f"{kind}:///{folder / 'warehouse.db'}"


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    """A warehouse without tables; its file exists."""
    warehouse = open_warehouse(_url(request.param, tmp_path, request))
    execute(warehouse, "CREATE TABLE unrelated (a INTEGER)")
    return warehouse


@pytest.fixture
def filled(empty: Warehouse, portfolio: Portfolio) -> Warehouse:
    empty.create_tables(portfolio)
    empty.write(portfolio, applications(portfolio, 30), outcomes(portfolio, 10))
    return empty


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


def test_reads_a_range_ordered_and_typed(filled: Warehouse, portfolio: Portfolio) -> None:
    read = filled.read_applications(portfolio, DAY, DAY + timedelta(days=1)).read_all()
    assert read.schema == applications_schema(portfolio)
    written = applications(portfolio, 30).sort_by("application_id").slice(0, 20)
    assert read.equals(written)
    known = filled.read_outcomes(portfolio, DAY + timedelta(days=401), DAY + timedelta(days=401)).read_all()
    assert known.schema == outcomes_schema(portfolio)
    assert known.column("application_id").to_pylist() == ["A0001", "A0003", "A0005", "A0007", "A0009"]
    assert set(known.column("defaulted").to_pylist()) == {1}


def test_an_empty_day_is_an_empty_reader(filled: Warehouse, portfolio: Portfolio) -> None:
    for read in (filled.read_applications, filled.read_outcomes):
        table = read(portfolio, date(1999, 1, 1), date(1999, 12, 31)).read_all()
        assert table.num_rows == 0
    assert table.schema == outcomes_schema(portfolio)
    assert filled.daily_counts(portfolio, date(1999, 1, 1), date(1999, 12, 31)) == {}


def test_counts_and_range(filled: Warehouse, portfolio: Portfolio) -> None:
    assert filled.date_range(portfolio) == (DAY, DAY + timedelta(days=2))
    # 28 and 29 February, 1 March
    assert filled.daily_counts(portfolio, DAY + timedelta(days=1), date(2025, 1, 1)) == {
        date(2024, 2, 29): 10,
        date(2024, 3, 1): 10,
    }
    filled.ping()


def test_range_of_an_empty_table(empty: Warehouse, portfolio: Portfolio) -> None:
    empty.create_tables(portfolio)
    empty.create_tables(portfolio)
    assert empty.date_range(portfolio) is None


def test_write_inserts_updates_and_leaves(filled: Warehouse, portfolio: Portfolio) -> None:
    first = applications(portfolio, 30)
    again = filled.write(portfolio, first, outcomes(portfolio, 10))
    assert (again.applications, again.outcomes) == (TableCounts(0, 0, 30), TableCounts(0, 0, 10))

    # 25 stay as they are; in five, one value becomes null and another stops being null; five are new.
    new = applications(portfolio, 35).sort_by("application_id").slice(30)
    kept = first.sort_by("application_id")
    changed = kept.slice(25)
    for name, values in (("annual_income", [None] * 5), ("employment_years", [2.0] * 5)):
        changed = changed.set_column(changed.column_names.index(name), name, pa.array(values, pa.float64()))
    wanted = pa.concat_tables([kept.slice(0, 25), changed, new])
    report = filled.write(portfolio, wanted, None)
    assert report.applications == TableCounts(inserted=5, updated=5, unchanged=25)
    assert report.to_record()["outcomes_unchanged"] == 0
    assert filled.read_applications(portfolio, DAY, DAY + timedelta(days=9)).read_all().equals(wanted)


def test_columns_outside_the_portfolio_are_left_alone(filled: Warehouse, portfolio: Portfolio) -> None:
    execute(
        filled,
        "ALTER TABLE loan_applications ADD COLUMN note VARCHAR(20)",
        "UPDATE loan_applications SET note = 'by hand'",
    )
    rich = applications(portfolio, 30, annual_income=[1.0] * 30).append_column("more", pa.array([1] * 30))
    assert filled.write(portfolio, rich, None).applications == TableCounts(0, 30, 0)
    counted = portfolio.model_copy(
        update={"columns": (*portfolio.columns, portfolio.column("state").model_copy(update={"name": "note"}))}
    )
    assert set(filled.read_applications(counted, DAY, DAY).read_all()["note"].to_pylist()) == {"by hand"}


def test_write_is_one_transaction(filled: Warehouse, portfolio: Portfolio) -> None:
    execute(filled, "DROP TABLE loan_outcomes", "CREATE TABLE loan_outcomes (application_id VARCHAR(9), "
            "outcome_date DATE, defaulted INTEGER CHECK (defaulted < 1))")  # fmt: skip
    with pytest.raises(PermanentError):
        filled.write(portfolio, applications(portfolio, 40), outcomes(portfolio, 10))
    assert filled.read_applications(portfolio, DAY, date(2025, 1, 1)).read_all().num_rows == 30


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"application_id": ["A1", "A1"]}, "1 rows .* repeat an application_id"),
        ({"application_id": ["A1", None]}, "1 rows .* have no application_id"),
        ({"loan_amount": [None, None]}, "2 rows .* have no loan_amount"),
    ],
)
def test_write_refuses_bad_rows(
    empty: Warehouse, portfolio: Portfolio, columns: dict[str, list[Any]], message: str
) -> None:
    empty.create_tables(portfolio)
    with pytest.raises(PermanentError, match=message):
        empty.write(portfolio, applications(portfolio, 2, **columns), None)
    assert empty.date_range(portfolio) is None


def test_write_names_columns_that_are_lacking_or_misfit(empty: Warehouse, portfolio: Portfolio) -> None:
    empty.create_tables(portfolio)
    rows = applications(portfolio, 3)
    with pytest.raises(PermanentError, match=r"lack annual_income, purpose, which portfolio consumer_loans"):
        empty.write(portfolio, rows.drop_columns(["annual_income", "purpose"]), None)
    odd = rows.set_column(2, "annual_income", pa.array(["1", "secret-value", "2"]))
    with pytest.raises(PermanentError, match=r"annual_income \(1 rows are not double\)") as refused:
        empty.write(portfolio, odd, None)
    assert "secret-value" not in str(refused.value)


def test_missing_table_says_what_to_do(empty: Warehouse, portfolio: Portfolio) -> None:
    for call in (
        lambda: empty.read_applications(portfolio, DAY, DAY),
        lambda: empty.daily_counts(portfolio, DAY, DAY),
        lambda: empty.date_range(portfolio),
        lambda: empty.write(portfolio, applications(portfolio, 1), None),
    ):
        with pytest.raises(PermanentError, match="no table loan_applications: run `credit-assets generate`"):
            call()
    with pytest.raises(PermanentError, match="no table loan_outcomes"):
        empty.read_outcomes(portfolio, DAY, DAY)


def test_missing_column_is_named(filled: Warehouse, portfolio: Portfolio) -> None:
    execute(filled, "ALTER TABLE loan_applications DROP COLUMN credit_limit",
            "ALTER TABLE loan_applications DROP COLUMN purpose")  # fmt: skip
    with pytest.raises(PermanentError, match=r"loan_applications in .* has no column credit_limit, purpose: correct"):
        filled.read_applications(portfolio, DAY, DAY)
    assert filled.date_range(portfolio) is not None


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


def test_names_that_need_quotes(empty: Warehouse) -> None:
    rows = pa.table(
        {
            "select": [2, 1],
            "Day": [DAY, DAY],
            "DaysPastDue30-59": [1, None],
            "order": [0.1, 2.0],
            "qualify": [True, None],
            "group": ["a", None],
        }
    )
    known = pa.table({"select": [1], "Day": [DAY], "bad": [True]})
    empty.create_tables(OTHER)
    assert empty.write(OTHER, rows, known).to_record()["applications_inserted"] == 2
    assert empty.read_applications(OTHER, DAY, DAY).read_all().equals(rows.sort_by("select"))
    assert empty.read_outcomes(OTHER, DAY, DAY).read_all().to_pydict() == {"select": [1], "Day": [DAY], "bad": [1]}


LENDERS = {
    "duckdb": ("BIGINT", "TIMESTAMPTZ", "DECIMAL(12,2)", "TINYINT", "ENUM ('a', 'b')", "2024-02-28 23:59:59+00"),
    "sqlite": ("INTEGER", "DATETIME", "NUMERIC", "BOOLEAN", "TEXT", "2024-02-28 23:59:59"),
    "postgresql": ("INTEGER", "TIMESTAMPTZ", "NUMERIC(12,2)", "SMALLINT", "CHAR(1)", "2024-02-28 23:59:59+00"),
}


def _kind(warehouse: Warehouse) -> str:
    return warehouse.describe().split(":")[0]


def _lenders_table(warehouse: Warehouse, *rows: str) -> None:
    key, day, number, flag, category, _ = LENDERS[_kind(warehouse)]
    execute(
        warehouse,
        f'CREATE TABLE "Applicants-2024" ("select" {key}, "Day" {day}, "DaysPastDue30-59" {number}, '
        f'"order" {number}, "qualify" {flag}, "group" {category})',
        *(f'INSERT INTO "Applicants-2024" VALUES {row}' for row in rows),
    )


def test_a_lenders_own_types_take_on_the_portfolios(empty: Warehouse) -> None:
    late = LENDERS[_kind(empty)][-1]
    _lenders_table(empty, f"(7, '{late}', 3.00, 1.25, 1, 'a')", f"(6, '{late}', NULL, NULL, NULL, NULL)")
    assert empty.read_applications(OTHER, DAY, DAY).read_all().to_pylist() == [
        dict.fromkeys(("DaysPastDue30-59", "order", "qualify", "group")) | {"select": 6, "Day": DAY},
        {"select": 7, "Day": DAY, "DaysPastDue30-59": 3, "order": 1.25, "qualify": True, "group": "a"},
    ]
    assert empty.read_applications(OTHER, DAY + timedelta(days=1), DAY + timedelta(days=1)).read_all().num_rows == 0
    assert empty.daily_counts(OTHER, DAY, DAY) == {DAY: 2}
    assert empty.date_range(OTHER) == (DAY, DAY)


def test_values_that_do_not_fit_are_counted_not_shown(empty: Warehouse) -> None:
    late = LENDERS[_kind(empty)][-1]
    _lenders_table(empty, f"(7, '{late}', 3.77, 1.25, 5, 'a')", f"(6, '{late}', 1.99, 2.5, 0, 'a')")
    with pytest.raises(PermanentError) as refused:
        empty.read_applications(OTHER, DAY, DAY).read_all()
    text = str(refused.value)
    assert "DaysPastDue30-59 (2 rows are not int64), qualify (1 rows are not bool)" in text
    assert "3.77" not in text
    assert "order" not in text


def test_days_as_text(empty: Warehouse, portfolio: Portfolio) -> None:
    columns = ", ".join(f"{c.name} VARCHAR(20)" for c in portfolio.columns)
    execute(empty, f"CREATE TABLE loan_applications ({columns})",
            "INSERT INTO loan_applications (application_id, application_date, loan_amount, term_months) "
            "VALUES ('b', '2024-02-28 10:00:00', '12.5', '36'), ('a', '2024-02-28', '1e3', '60')")  # fmt: skip
    read = empty.read_applications(portfolio, DAY, DAY).read_all()
    assert sorted(
        zip(*(read[n].to_pylist() for n in ("application_id", "loan_amount", "term_months")), strict=True)
    ) == [
        ("a", 1000.0, 60),
        ("b", 12.5, 36),
    ]
    assert empty.daily_counts(portfolio, DAY, DAY) == {DAY: 2}
    assert empty.date_range(portfolio) == (DAY, DAY)
    # Days in another form look like an empty day, which would be taken for a valid one.
    execute(empty, "UPDATE loan_applications SET application_date = '28.02.2024'")
    with pytest.raises(PermanentError, match=r"application_date \(2 rows are not date32"):
        empty.read_applications(portfolio, DAY, DAY).read_all()


def test_a_date_column_without_dates_is_refused(empty: Warehouse) -> None:
    _lenders_table(empty)
    numbers = OTHER.model_copy(
        update={"columns": (*(c for c in OTHER.columns if c.role != "date"), OTHER.column("Day").model_copy(
            update={"name": "order"}))}
    )  # fmt: skip
    numbers = numbers.model_copy(update={"columns": tuple({c.name: c for c in numbers.columns}.values())})
    with pytest.raises(PermanentError, match=r"column order of table .* holds no dates"):
        empty.date_range(numbers)


def test_table_in_a_schema(request: pytest.FixtureRequest, tmp_path: Path, portfolio: Portfolio) -> None:
    for kind in ("duckdb", "postgresql"):
        warehouse = open_warehouse(_url(kind, tmp_path, request))
        execute(warehouse, "CREATE SCHEMA risk")
        placed = portfolio.model_copy(update={"applications_table": "risk.loans"})
        warehouse.create_tables(placed)
        assert warehouse.write(placed, applications(placed, 3), None).applications.inserted == 3
        assert warehouse.read_applications(placed, DAY, DAY).read_all().num_rows == 3
        with pytest.raises(PermanentError, match="no table loan_applications"):
            warehouse.date_range(portfolio)


def test_ids_sort_by_bytes_everywhere(empty: Warehouse, portfolio: Portfolio) -> None:
    empty.create_tables(portfolio)
    ids = ["b", "A", "a", "B", "_", "ä"]
    empty.write(portfolio, applications(portfolio, 6, application_id=ids), None)
    read = empty.read_applications(portfolio, DAY, DAY).read_all()
    assert read["application_id"].to_pylist() == ["A", "B", "_", "a", "b", "ä"]


def test_streams_in_batches(empty: Warehouse, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch) -> None:
    from credit_assets.warehouse import duckdb_file, ordering, sql

    for module in (sql, duckdb_file, ordering):
        monkeypatch.setattr(module, "BATCH_ROWS", 2_048)
    empty.create_tables(portfolio)
    empty.write(portfolio, applications(portfolio, 10_000), None)
    sizes = [batch.num_rows for batch in empty.read_applications(portfolio, DAY, date(2034, 1, 1))]
    assert sum(sizes) == 10_000
    assert len(sizes) >= 4
    # A reader that is dropped halfway gives its connection back: DuckDB would refuse the write otherwise.
    reader = empty.read_applications(portfolio, DAY, date(2034, 1, 1))
    reader.read_next_batch()
    del reader
    untouched = empty.read_applications(portfolio, DAY, date(2034, 1, 1))
    del untouched
    assert empty.write(portfolio, applications(portfolio, 10), None).applications.inserted == 0


def _read_slowly(warehouse: Warehouse, portfolio: Portfolio, ready: Any, go_on: Any, found: Any) -> None:
    reader = warehouse.read_applications(portfolio, DAY, DAY + timedelta(days=9))
    ready.put(1)
    go_on.wait()
    found.put(reader.read_all().num_rows)


def test_two_processes_read_at_once(filled: Warehouse, portfolio: Portfolio) -> None:
    context = multiprocessing.get_context("spawn")
    ready, found, go_on = context.Queue(), context.Queue(), context.Event()
    process = context.Process(target=_read_slowly, args=(filled, portfolio, ready, go_on, found))
    process.start()
    assert ready.get(timeout=250) == 1
    # The other process holds an open reader while this one opens its own; then both read on.
    here = filled.read_applications(portfolio, DAY, DAY + timedelta(days=9))
    go_on.set()
    assert found.get(timeout=250) == here.read_all().num_rows == 30
    process.join()
    assert process.exitcode == 0


def _held(code: str) -> subprocess.Popen[str]:
    """A process that says so when it holds what it should, and holds it until it is ended."""
    holding = subprocess.Popen(
        [sys.executable, "-c", code + "\nprint('held', flush=True)\nimport time; time.sleep(60)"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holding.stdout is not None
    assert holding.stdout.readline().strip() == "held"
    return holding


def test_duckdb_held_by_a_writer_is_transient(tmp_path: Path, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/w.duckdb")
    warehouse.create_tables(portfolio)
    holding = _held(f"import duckdb; connection = duckdb.connect({str(tmp_path / 'w.duckdb')!r})")
    try:
        with pytest.raises(TransientError, match=r"duckdb:///.*held by another process"):
            warehouse.date_range(portfolio)
        with pytest.raises(TransientError, match="held by another process"):
            warehouse.write(portfolio, applications(portfolio, 1), None)
    finally:
        holding.terminate()
        holding.wait(30)
    assert warehouse.date_range(portfolio) is None


def test_duckdb_held_by_an_open_reader_of_this_process_is_transient(tmp_path: Path, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/w.duckdb")
    warehouse.create_tables(portfolio)
    reader = warehouse.read_applications(portfolio, DAY, DAY)
    with pytest.raises(TransientError, match="held by another"):
        warehouse.write(portfolio, applications(portfolio, 1), None)
    assert reader.read_all().num_rows == 0


def test_sqlite_held_by_a_writer_is_transient(tmp_path: Path, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(f"sqlite:///{tmp_path}/w.db?timeout=0.2")
    warehouse.create_tables(portfolio)
    holding = _held(
        f"import sqlite3; connection = sqlite3.connect({str(tmp_path / 'w.db')!r})\n"
        "connection.execute('BEGIN EXCLUSIVE')"
    )
    try:
        with pytest.raises(TransientError, match="database is locked"):
            warehouse.date_range(portfolio)
    finally:
        holding.terminate()
        holding.wait(30)
    assert warehouse.date_range(portfolio) is None


def test_unreachable_server_is_transient_and_masked(portfolio: Portfolio) -> None:
    warehouse = open_warehouse("postgresql://risk:s3cret@127.0.0.1:9/loans?connect_timeout=3")
    with pytest.raises(TransientError, match=r"postgresql://risk:\*\*\*@127.0.0.1:9/loans.* is unreachable") as failed:
        warehouse.ping()
    assert "s3cret" not in str(failed.value)
    assert failed.value.__suppress_context__


@pytest.mark.parametrize("way", ["sorted in memory", "sorted by DuckDB", "row by row"])
def test_a_connection_that_breaks_while_streaming_is_transient(
    way: str, postgres_database: str, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    from credit_assets.warehouse import arrow_columns, ordering, postgres, sql

    monkeypatch.setattr(sql, "BATCH_ROWS", 500)
    monkeypatch.setattr(postgres, "BATCH_BYTES", 2**16)
    if way == "sorted by DuckDB":
        monkeypatch.setattr(ordering, "HELD_BYTES", 1)
    warehouse = open_warehouse(postgres_database)
    warehouse.create_tables(portfolio)
    warehouse.write(portfolio, applications(portfolio, 20_000), None)
    if way == "row by row":
        execute(warehouse, NOT_FOR_ARROW)
    met: list[type] = []

    def break_it(values: Any, wanted: pa.DataType) -> tuple[pa.Array, int]:
        if not met:
            _end_connections(postgres_database)
        met.append(type(values))
        return fit(values, wanted)

    monkeypatch.setattr(arrow_columns, "fit", break_it)
    with pytest.raises(TransientError, match="postgresql://postgres:"):
        warehouse.read_applications(portfolio, DAY, date(2034, 1, 1)).read_all()
    assert met[0] is (tuple if way == "row by row" else pa.StringArray)
    assert len(met) < 20_000 / 100 * len(portfolio.columns)


# A type that the Arrow driver is not trusted with.
NOT_FOR_ARROW = "ALTER TABLE loan_applications ALTER state TYPE BYTEA USING convert_to(state, 'UTF8')"


def _end_connections(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _connections(url: str) -> list[str]:
    """Application names of the other connections to the database."""
    import psycopg

    with psycopg.connect(url) as connection:
        return [
            name
            for (name,) in connection.execute(
                "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        ]


def test_a_reader_from_postgresql_holds_one_connection_and_gives_it_back(
    postgres_database: str, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    from credit_assets.warehouse import ordering, postgres

    monkeypatch.setattr(ordering, "BATCH_ROWS", 1_000)
    monkeypatch.setattr(postgres, "BATCH_BYTES", 2**16)
    # Options of libpq reach both drivers: spaces and quotes, as in a password.
    named = open_warehouse(f"{postgres_database}&application_name=it%27s%20%5Cours&options=-c%20geqo%3Doff")
    named.create_tables(portfolio)
    named.write(portfolio, applications(portfolio, 20_000), None)

    def left() -> list[str]:
        for _ in range(100):
            if not (found := _connections(postgres_database)):
                break
            time.sleep(0.05)
        return found

    untouched = named.read_applications(portfolio, DAY, date(2034, 1, 1))
    assert _connections(postgres_database) == ["it's \\ours"]
    del untouched
    assert left() == []
    begun = named.read_applications(portfolio, DAY, date(2034, 1, 1))
    assert begun.read_next_batch().num_rows == 1_000
    del begun
    assert left() == []

    # The stream itself dropped in the middle, as by an error of whoever sorts.
    monkeypatch.setattr(ordering.Ascending, "add", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        named.read_applications(portfolio, DAY, date(2034, 1, 1)).read_all()
    assert left() == []


def test_connection_arguments_survive_the_way_to_libpq() -> None:
    from psycopg.conninfo import conninfo_to_dict

    from credit_assets.warehouse.postgres import conninfo

    url = "postgresql+psycopg://us%40er:p%40ss%20w%2Ford%27%5C@/d?host=a:1&host=b:2&sslmode=verify-full&prepare_threshold=0"
    engine = sa.create_engine(url)
    assert conninfo_to_dict(conninfo(engine.dialect.create_connect_args(engine.url)[1])) == {
        "user": "us@er",
        "password": "p@ss w/ord'\\",
        "host": "a,b",
        "port": "1,2",
        "dbname": "d",
        "sslmode": "verify-full",
    }


def test_a_server_without_a_second_connection_is_read_row_by_row(
    postgres_database: str, portfolio: Portfolio, caplog: pytest.LogCaptureFixture
) -> None:
    from sqlalchemy import make_url

    owner = open_warehouse(postgres_database)
    owner.create_tables(portfolio)
    owner.write(portfolio, applications(portfolio, 30), None)
    role = f"single_{time.time_ns()}"
    execute(
        owner, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    )
    url = make_url(postgres_database).set(username=role, password="s3cret").render_as_string(hide_password=False)
    read = open_warehouse(url).read_applications(portfolio, DAY, DAY + timedelta(days=9)).read_all()
    assert read.equals(owner.read_applications(portfolio, DAY, DAY + timedelta(days=9)).read_all())
    assert "row by row, which is slow: the Arrow driver could not connect (OperationalError)" in caplog.text
    assert "s3cret" not in caplog.text


# Type of the portfolio, type in PostgreSQL, a value as SQL, and what is read.
AS_ARROW = [
    ("integer", "int2", "7", 7),
    ("integer", "int4", "-7", -7),
    ("integer", "int8", "9007199254740993", 9007199254740993),
    ("integer", "numeric(12,2)", "3.00", 3),
    ("integer", "numeric", "9007199254740993", 9007199254740993),
    ("integer", "numeric", "'NaN'", None),
    ("integer", "float4", "16777216", 16777216),
    ("integer", "float8", "5", 5),
    ("integer", "varchar(9)", "' 8 '", 8),
    ("integer", "boolean", "true", 1),
    ("integer", "whole", "12", 12),
    ("float", "float4", "1.1", 1.1),
    ("float", "float4", "'-infinity'", float("-inf")),
    ("float", "float4", "'NaN'", None),
    ("float", "float4", "1e-40", 1e-40),
    ("float", "float8", "0.1", 0.1),
    ("float", "float8", "'NaN'", None),
    ("float", "numeric(12,2)", "-0.07", -0.07),
    ("float", "numeric", "123456789012345678901234567890.5", 123456789012345678901234567890.5),
    ("float", "numeric", "'NaN'", None),
    ("float", "int2", "3", 3.0),
    ("float", "text", "'1e3'", 1000.0),
    ("float", "boolean", "true", 1.0),
    ("boolean", "int2", "1", True),
    ("boolean", "int4", "0", False),
    ("boolean", "numeric(3,2)", "1.00", True),
    ("boolean", "text", "'f'", False),
    ("boolean", "boolean", "true", True),
    ("boolean", "float8", "0", False),
    ("category", "text", "'ä %s :x ?'", "ä %s :x ?"),
    ("category", "char(3)", "'a'", "a  "),
    ("category", "kind", "'b'", "b"),
    ("category", "int4", "12", "12"),
    ("category", "uuid", "'7B0B5B5E-0000-4000-8000-000000000001'", "7b0b5b5e-0000-4000-8000-000000000001"),
    ("category", "short", "'dd'", "dd"),
    ("category", "name", "'nn'", "nn"),
    ("date", "date", "'2024-02-29'", date(2024, 2, 29)),
    ("date", "timestamp", "'2024-02-29 23:59:59'", date(2024, 2, 29)),
    ("date", "timestamptz", "'2024-02-29 22:00:00-03'", date(2024, 3, 1)),
    ("date", "text", "'2024-02-29 23:59:59'", date(2024, 2, 29)),
]
ROW_BY_ROW = [
    ("category", "numeric(4,2)", "1.50", "1.50"),
    ("category", "bytea", "'x'", "x"),
    ("category", "boolean", "true", "true"),
    ("category", "date", "'2024-02-28'", "2024-02-28"),
]


@pytest.mark.parametrize(("cases", "as_arrow"), [(AS_ARROW, True), *(([one], False) for one in ROW_BY_ROW)])
def test_types_of_postgresql_read_the_same_either_way(
    cases: list[tuple[str, str, str, Any]], as_arrow: bool, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Arrow, and row by row through psycopg; in a database whose own time zone is not UTC."""
    from credit_assets.warehouse import postgres

    warehouse = open_warehouse(postgres_database)
    columns = [{"name": "id", "type": "integer", "role": "id", "nullable": False},
               {"name": "day", "type": "date", "role": "date", "nullable": False},
               *({"name": f"c{n}", "type": kind, "role": "ignored" if kind == "date" else "feature"}
                 for n, (kind, *_) in enumerate(cases))]  # fmt: skip
    results = {"table": "r", "id": "id", "date": "d", "defaulted": "b"}
    typed = Portfolio.model_validate(
        {"name": "typed", "applications_table": "typed", "outcomes": results, "columns": columns}
    )
    made = ", ".join(f"c{n} {kind}" for n, (_, kind, *_) in enumerate(cases))
    values = ", ".join(value for *_, value, _ in cases)
    with sa.create_engine(postgres_database).begin() as connection:
        for statement in (
            "CREATE TYPE kind AS ENUM ('b', 'a')",
            "CREATE DOMAIN short AS varchar(9)",
            "CREATE DOMAIN whole AS int4",
            f"ALTER DATABASE {connection.engine.url.database} SET timezone = 'Asia/Tokyo'",
            f'CREATE TABLE typed ("id" int4, day timestamptz, {made})',
            f"INSERT INTO typed VALUES (1, '2024-02-28 23:00+00', {values})",
            "INSERT INTO typed VALUES (2, '2024-02-28 01:00+00'), (3, '2024-02-29 00:00+00')",
        ):
            connection.execute(sa.text(statement.replace(":", "\\:")))
    expected = {"id": [1, 2], "day": [DAY, DAY]} | {f"c{n}": [one[-1], None] for n, one in enumerate(cases)}
    opened = Mock(wraps=postgres.open_stream)
    monkeypatch.setattr(postgres, "open_stream", opened)
    assert warehouse.read_applications(typed, DAY, DAY).read_all().to_pydict() == expected
    assert opened.called == as_arrow
    monkeypatch.setattr(postgres, "columns_to_cast", lambda *_: None)
    assert warehouse.read_applications(typed, DAY, DAY).read_all().to_pydict() == expected


def test_days_that_no_calendar_has_are_refused(postgres_database: str, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(postgres_database)
    _lenders_table(warehouse, "(7, '2024-02-28', 1, 1, 1, 'a')")
    execute(warehouse, 'ALTER TABLE "Applicants-2024" ADD COLUMN "opened" DATE')
    opened = OTHER.model_copy(
        update={
            "columns": (*OTHER.columns, OTHER.column("Day").model_copy(update={"name": "opened", "role": "ignored"}))
        }
    )
    for odd in ("infinity", "-infinity", "0001-01-01 BC", "10000-01-01"):
        execute(warehouse, f"UPDATE \"Applicants-2024\" SET opened = '{odd}'")
        with pytest.raises(PermanentError, match="column opened of table Applicants-2024 holds days before year 1"):
            warehouse.read_applications(opened, DAY, DAY).read_all()
    for day in (date.min, date.max):
        execute(warehouse, f"UPDATE \"Applicants-2024\" SET opened = '{day.isoformat()}'")
        assert warehouse.read_applications(opened, DAY, DAY).read_all()["opened"].to_pylist() == [day]


def test_a_view_that_fails_on_a_value_does_not_show_it(postgres_database: str, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(postgres_database)
    warehouse.create_tables(portfolio)
    warehouse.write(portfolio, applications(portfolio, 3, state=["1", "secret-value", "2"]), None)
    others = ", ".join(c.name for c in portfolio.columns if c.name != "open_accounts")
    execute(warehouse, f"CREATE VIEW shown AS SELECT {others}, state::int AS open_accounts FROM loan_applications")
    viewed = portfolio.model_copy(update={"applications_table": "shown"})
    with pytest.raises(PermanentError, match="refused a value") as refused:
        warehouse.read_applications(viewed, DAY, DAY).read_all()
    assert "secret-value" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_rows_stored_in_order_are_not_sorted_by_duckdb(
    tmp_path: Path, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    from credit_assets.warehouse import duckdb_file

    asked: list[str] = []
    compiled = duckdb_file._compiled
    monkeypatch.setattr(duckdb_file, "_compiled", lambda s: asked.append(str(compiled(s)[0])) or compiled(s))
    monkeypatch.setattr(duckdb_file, "BATCH_ROWS", 2_048)
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/w.duckdb")
    warehouse.create_tables(portfolio)
    keys = [("application_date", "ascending"), ("application_id", "ascending")]
    ordered = applications(portfolio, 20_000).sort_by(keys)
    warehouse.write(portfolio, ordered, None)
    execute(
        warehouse,
        "CREATE SCHEMA s",
        "CREATE TABLE s.ordered AS FROM loan_applications",
        # The first rows in order, and the last one not; and the other way about.
        "CREATE TABLE late AS FROM s.ordered ORDER BY application_id = 'A0007', application_date, application_id",
        "CREATE TABLE soon AS FROM s.ordered ORDER BY application_id != 'A0007', application_date, application_id",
        "CREATE VIEW viewed AS FROM loan_applications",
        "CREATE TABLE lacking AS FROM loan_applications",
        "UPDATE lacking SET application_id = NULL WHERE application_id = 'A0003'",
    )
    for table, sorts in {
        "loan_applications": False, "s.ordered": False, "LOAN_APPLICATIONS": False, "late": True, "soon": True,
        "viewed": True, "lacking": True,
    }.items():  # fmt: skip
        asked.clear()
        placed = portfolio.model_copy(update={"applications_table": table})
        read = warehouse.read_applications(placed, DAY, date(2034, 1, 1)).read_all()
        assert ("ORDER BY" in asked[-1]) == sorts, table
        assert read.equals(read.sort_by(keys))
        assert read.num_rows == 20_000
        assert table == "lacking" or read.equals(ordered)


def _keyed(ids: list[Any], kind: pa.DataType, days: int) -> pa.Table:
    """Rows of (day, id, number), in many batches."""
    day = [DAY + timedelta(days=n * 7919 % days) for n in range(len(ids))]
    table = pa.table({"day": day, "id": pa.array(ids, kind), "n": range(len(ids))})
    return pa.Table.from_batches(table.to_batches(100), table.schema)


@pytest.mark.parametrize("held", [2**30, 5_000])
@pytest.mark.parametrize("days", [1, 3])
@pytest.mark.parametrize("kind", ["sequence", "uuid", "text", "few", "integer", "null"])
def test_in_order(kind: str, days: int, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from credit_assets.warehouse import ordering

    monkeypatch.setattr(ordering, "HELD_BYTES", held)
    monkeypatch.setattr(ordering, "BATCH_ROWS", 700)
    draw = random.Random(kind)
    ids: list[Any] = {
        "sequence": [f"L-2024-{n:07d}" for n in draw.sample(range(3_000), 3_000)],
        "uuid": [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(3_000)],
        # Shorter than eight bytes and longer, equal in their first eight, with bytes of zero and above 127.
        "text": ["".join(draw.choices("a\0ä€😀", k=draw.randrange(14))) for _ in range(3_000)],
        "few": draw.choices(["same so far as this, A", "same so far as this, B"], k=3_000),
        "integer": draw.sample(range(-3_000, 3_000), 3_000),
        "null": [draw.choice([None, "a", "b"]) for _ in range(3_000)],
    }[kind]
    rows = _keyed(ids, pa.int64() if kind == "integer" else pa.string(), days)

    def key(row: int) -> Any:
        plain = ids[row] if kind == "integer" else (ids[row] or "").encode()
        return rows["day"][row].as_py(), ids[row] is None, plain

    batches = list(ordering.in_order((b for b in rows.to_batches()), rows.schema, ("day", "id")))
    found = pa.Table.from_batches(batches, rows.schema)
    expected = sorted(range(3_000), key=key)
    assert sorted(found["n"].to_pylist()) == list(range(3_000))
    assert [key(row) for row in found["n"].to_pylist()] == [key(row) for row in expected]
    if held > 5_000:
        assert found["n"].to_pylist() == expected  # Rows of equal keys stay as they came.
        assert max(batch.num_rows for batch in batches) <= 700


@pytest.mark.parametrize("held", [2**30, 5_000])
def test_in_order_passes_errors_on_and_leaves_nothing_behind(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from credit_assets.warehouse import ordering

    monkeypatch.setattr(ordering, "HELD_BYTES", held)
    monkeypatch.setattr(ordering, "BATCH_ROWS", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = _keyed([f"{n * 7919 % 3_000:04d}" for n in range(3_000)], pa.string(), 1)
    closed = []

    def source(*, breaks: bool) -> Generator[pa.RecordBatch, None, None]:
        try:
            yield from rows.to_batches()
            if breaks:
                raise TransientError("gone")
        finally:
            closed.append(1)

    with pytest.raises(TransientError, match="gone"):
        list(ordering.in_order(source(breaks=True), rows.schema, ("day", "id")))
    begun = ordering.in_order(source(breaks=False), rows.schema, ("day", "id"))
    next(begun)
    del begun
    assert closed == [1, 1]
    assert list(tmp_path.iterdir()) == []


def test_refused_by_the_server_is_permanent(postgres_url: str) -> None:
    from sqlalchemy import make_url

    absent = make_url(postgres_url).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(PermanentError, match=r"refused the connection: .*nowhere.*correct CREDIT_WAREHOUSE_URL"):
        open_warehouse(absent).ping()


def test_two_writers_of_the_same_ids(postgres_database: str, portfolio: Portfolio) -> None:
    """The second waits for the first, then finds its rows: no duplicate key, no lost row."""
    warehouse = open_warehouse(postgres_database)
    warehouse.create_tables(portfolio)
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_write_rows, args=(warehouse, portfolio, started))
    process.start()
    assert started.wait(60)
    _write_rows(warehouse, portfolio, started)
    process.join()
    assert process.exitcode == 0
    assert sum(warehouse.daily_counts(portfolio, DAY, date(2034, 1, 1)).values()) == 3_000


def _write_rows(warehouse: Warehouse, portfolio: Portfolio, started: Any) -> None:
    started.set()
    for _ in range(3):
        warehouse.write(portfolio, applications(portfolio, 3_000), outcomes(portfolio, 3_000))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not of the form dialect"),
        ("postgresql:/host/x", "not of the form dialect"),
        ("cobol://user:s3cret@host/x", "knows no such dialect"),
        ("postgresql+nodriver://user:s3cret@host/x", "knows no such dialect"),
        ("mysql+mysqldb://user:s3cret@host/x", "driver MySQLdb is not installed"),
        ("postgresql://user:s3cret@host:port/x", "not a SQLAlchemy URL"),
        ("postgresql://user:s3@cret@host/x", "more than one @"),
        ("duckdb:///:memory:", "name a file"),
        ("duckdb://", "name a file"),
        ("duckdb:///x.duckdb?access_mode=read_only", "no options"),
        ("sqlite://", "name a file"),
    ],
)
def test_bad_urls_are_permanent(url: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message) as refused:
        open_warehouse(url).ping()
    assert "s3cret" not in str(refused.value)
    assert "cret@" not in str(refused.value)


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_missing_and_broken_files(kind: str, tmp_path: Path, portfolio: Portfolio) -> None:
    absent = open_warehouse(f"{kind}:///{tmp_path}/none.db")
    with pytest.raises(PermanentError, match="no such file; run `credit-assets generate`"):
        absent.read_applications(portfolio, DAY, DAY)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("not a database, but long enough to hold the header of one" * 100)
    with pytest.raises(PermanentError, match=r"text\.db"):
        open_warehouse(f"{kind}:///{tmp_path}/text.db").ping()


def test_url_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portfolio: Portfolio) -> None:
    assert open_warehouse("postgres://u:p@h/d").describe() == "postgresql://u:***@h/d"
    monkeypatch.chdir(tmp_path)
    relative = open_warehouse("duckdb:///in/a/folder.duckdb")
    relative.create_tables(portfolio)
    monkeypatch.chdir("/")
    copied = pickle.loads(pickle.dumps(relative))
    assert copied.date_range(portfolio) is None
    assert copied.describe() == f"duckdb:///{tmp_path}/in/a/folder.duckdb"
    assert "hunter2" not in repr(open_warehouse("postgresql://u:hunter2@h/d"))


def test_opening_is_cheap() -> None:
    code = (
        "import sys; from credit_assets.warehouse import open_warehouse\n"
        "for url in ('duckdb:///x.duckdb', 'postgresql://u@h/d'): open_warehouse(url).describe()\n"
        "assert not {'duckdb', 'sqlalchemy', 'pyarrow', 'pandas', 'psycopg'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=250)


@pytest.mark.parametrize(
    ("values", "kind", "expected", "bad"),
    [
        ([1, None, 2.0], pa.int64(), [1, None, 2], 0),
        ([1.5, 2.0], pa.int64(), [None, 2], 1),
        ([2**70, 1], pa.int64(), [None, 1], 1),
        ([Decimal("3.00"), Decimal("3.5")], pa.int64(), [3, None], 1),
        (["7", " 8 ", "x", "9007199254740993"], pa.int64(), [7, 8, None, 9007199254740993], 1),
        ([Decimal("1.25"), None], pa.float64(), [1.25, None], 0),
        ([float("nan"), 1.0], pa.float64(), [None, 1.0], 0),
        ([True, 0.5, "1e3", ""], pa.float64(), [1.0, 0.5, 1000.0, None], 1),
        ([date(2024, 1, 1)], pa.float64(), [None], 1),
        ([0, 1, 2], pa.bool_(), [False, True, None], 1),
        (["true", "F", "maybe"], pa.bool_(), [True, False, None], 1),
        ([300, 1], pa.int8(), [None, 1], 1),
        ([True, False], pa.int8(), [1, 0], 0),
        ([datetime(2024, 1, 1, 23, 59), None], pa.date32(), [date(2024, 1, 1), None], 0),
        ([datetime(2024, 1, 1, 23, tzinfo=UTC)], pa.date32(), [date(2024, 1, 1)], 0),
        (["2024-01-01T10:00:00", "2024-13-01", "1.1.2024"], pa.date32(), [date(2024, 1, 1), None, None], 2),
        ([19000], pa.date32(), [None], 1),
        ([1, "a", None], pa.string(), ["1", "a", None], 0),
        ([Decimal("10")], pa.string(), ["10"], 0),
        ([None, None], pa.bool_(), [None, None], 0),
        ([], pa.date32(), [], 0),
    ],
)
def test_fit(values: list[Any], kind: pa.DataType, expected: list[Any], bad: int) -> None:
    array, misfits = fit(values, kind)
    assert (array.type, array.to_pylist(), misfits) == (kind, expected, bad)


def test_a_large_book_goes_into_duckdb_whole(tmp_path: Path, portfolio: Portfolio) -> None:
    from credit_assets.loans.generator import generate_book

    rows, known = generate_book(200_000, date(2022, 1, 1), date(2023, 12, 31), 1)
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/w.duckdb")
    warehouse.create_tables(portfolio)
    assert warehouse.write(portfolio, rows, known).applications.inserted == 200_000
    assert (
        warehouse.read_applications(portfolio, date(2022, 1, 1), date(2023, 12, 31))
        .read_all()
        .equals(rows.cast(applications_schema(portfolio)))
    )


_READS_A_BOOK = """
import sys
from datetime import date

import duckdb, pyarrow.compute, sqlalchemy, adbc_driver_postgresql.dbapi, psycopg

from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import open_warehouse

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024

before, rows, bytes_read, last = peak(), 0, 0, -1
portfolio = Portfolio.model_validate_json(sys.argv[2])
for batch in open_warehouse(sys.argv[1]).read_applications(portfolio, date(2024, 2, 28), date(2024, 2, 28)):
    first = batch["select"][0].as_py()
    assert last < first
    assert pyarrow.compute.all(pyarrow.compute.less(batch["select"][:-1], batch["select"][1:])).as_py() is not False
    last, rows, bytes_read = batch["select"][-1].as_py(), rows + batch.num_rows, bytes_read + batch.nbytes
print(rows, bytes_read // 2**20, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["duckdb", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_two_million_rows_stream_in_bounded_memory(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Stored in no order, and more than is sorted in memory: DuckDB spills, in either case."""
    url = _url(kind, tmp_path, request)
    numbers = "range(2000000) AS r(n)" if kind == "duckdb" else "generate_series(0, 1999999) AS r(n)"
    execute(
        open_warehouse(url),
        f'CREATE {"" if kind == "duckdb" else "UNLOGGED"} TABLE "Applicants-2024" AS SELECT '
        """mod(n * CAST(1999993 AS BIGINT), 2000000) AS "select", DATE '2024-02-28' AS "Day", """
        """CAST(n AS BIGINT) AS "DaysPastDue30-59", CAST(n AS FLOAT) / 3 AS "order", mod(n, 2) = 0 AS "qualify", """
        """repeat('text that is long, ', 10) || n AS "group" """
        f"FROM {numbers}",
    )
    result = subprocess.run(
        [sys.executable, "-c", _READS_A_BOOK, url, OTHER.model_dump_json()],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    rows, read, peak = map(int, result.stdout.split())
    assert rows == 2_000_000
    assert read > 400
    # Held whole it would take its size, and as much again for the sorted copy.
    assert peak < 700
