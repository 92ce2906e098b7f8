"""PostgreSQL as Arrow: types read as by psycopg, connections given back, and breaks in the middle."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest
import sqlalchemy as sa

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.data import values
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.unreadable import UNREADABLE
from credit_assets.warehouse import open_warehouse, ordering, postgres, sql
from credit_assets_tests.support.warehouses import DAY, OTHER, applications, execute, lenders_table

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


@pytest.mark.parametrize("way", ["sorted in memory", "sorted in runs", "row by row"])
def test_a_connection_that_breaks_while_streaming_is_transient(
    way: str, postgres_database: str, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "BATCH_ROWS", 500)
    monkeypatch.setattr(postgres, "BATCH_BYTES", 2**16)
    if way == "sorted in runs":
        monkeypatch.setattr(ordering, "HELD_BYTES", 1)
    warehouse = open_warehouse(postgres_database)
    warehouse.create_tables(portfolio)
    warehouse.write(portfolio, applications(portfolio, 20_000), None)
    if way == "row by row":
        execute(warehouse, NOT_FOR_ARROW)
    met, read = list[type](), values.read

    def break_it(given: Any, type_: pa.DataType) -> values.Reading:
        if not met:
            _end_connections(postgres_database)
        met.append(type(given))
        return read(given, type_)

    monkeypatch.setattr(values, "read", break_it)
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

    url = "postgresql+psycopg://us%40er:p%40ss%20w%2Ford%27%5C@/d?host=a:1&host=b:2&sslmode=verify-full&prepare_threshold=0"
    engine = sa.create_engine(url)
    assert conninfo_to_dict(postgres.conninfo(engine.dialect.create_connect_args(engine.url)[1])) == {
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
    lenders_table(warehouse, "(7, '2024-02-28', 1, 1, 1, 'a')")
    execute(warehouse, 'ALTER TABLE "Applicants-2024" ADD COLUMN "opened" DATE')
    opened = OTHER.model_copy(
        update={
            "columns": (*OTHER.columns, OTHER.column("Day").model_copy(update={"name": "opened", "role": "ignored"}))
        }
    )
    for odd in ("infinity", "-infinity", "0001-01-01 BC", "10000-01-01"):
        execute(warehouse, f"UPDATE \"Applicants-2024\" SET opened = '{odd}'")
        with pytest.raises(PermanentError, match=r"Applicants-2024 .* opened \(1 rows are not date32"):
            warehouse.read_applications(opened, DAY, DAY).read_all()
        noted = warehouse.read_applications(opened, DAY, DAY, noted=True).read_all()
        assert noted["opened"].null_count == noted.num_rows - noted[UNREADABLE].null_count == 1
    for day in (date.min, date.max):
        execute(warehouse, f"UPDATE \"Applicants-2024\" SET opened = '{day.isoformat()}'")
        assert warehouse.read_applications(opened, DAY, DAY).read_all()["opened"].to_pylist() == [day]
