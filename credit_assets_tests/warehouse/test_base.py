"""The same contract on DuckDB, SQLite and a real PostgreSQL: what is read, and its order, types and limits."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import applications_schema, outcomes_schema
from credit_assets.warehouse import Warehouse, open_warehouse, ordering, sql
from credit_assets_tests.support.warehouses import (
    DAY,
    LENDERS,
    OTHER,
    applications,
    execute,
    kind_of,
    lenders_table,
    warehouse_url,
)

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


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


def test_a_lenders_own_types_take_on_the_portfolios(empty: Warehouse) -> None:
    late = LENDERS[kind_of(empty)][-1]
    lenders_table(empty, f"(7, '{late}', 3.00, 1.25, 1, 'a')", f"(6, '{late}', NULL, NULL, NULL, NULL)")
    assert empty.read_applications(OTHER, DAY, DAY).read_all().to_pylist() == [
        dict.fromkeys(("DaysPastDue30-59", "order", "qualify", "group")) | {"select": 6, "Day": DAY},
        {"select": 7, "Day": DAY, "DaysPastDue30-59": 3, "order": 1.25, "qualify": True, "group": "a"},
    ]
    assert empty.read_applications(OTHER, DAY + timedelta(days=1), DAY + timedelta(days=1)).read_all().num_rows == 0
    assert empty.daily_counts(OTHER, DAY, DAY) == {DAY: 2}
    assert empty.date_range(OTHER) == (DAY, DAY)


def test_values_that_do_not_fit_are_counted_not_shown(empty: Warehouse) -> None:
    late = LENDERS[kind_of(empty)][-1]
    lenders_table(empty, f"(7, '{late}', 3.77, 1.25, 5, 'a')", f"(6, '{late}', 1.99, 2.5, 0, 'a')")
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
    lenders_table(empty)
    numbers = OTHER.model_copy(
        update={"columns": (*(c for c in OTHER.columns if c.role != "date"), OTHER.column("Day").model_copy(
            update={"name": "order"}))}
    )  # fmt: skip
    numbers = numbers.model_copy(update={"columns": tuple({c.name: c for c in numbers.columns}.values())})
    with pytest.raises(PermanentError, match=r"column order of table .* holds no dates"):
        empty.date_range(numbers)


def test_table_in_a_schema(request: pytest.FixtureRequest, tmp_path: Path, portfolio: Portfolio) -> None:
    for kind in ("duckdb", "postgresql"):
        warehouse = open_warehouse(warehouse_url(kind, tmp_path, request))
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
    for module in (sql, ordering):
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


# DuckDB lets many processes read or one write; the others are made for more.
@pytest.mark.parametrize(
    "kind", ["duckdb", *(pytest.param(one, marks=pytest.mark.slow) for one in ("sqlite", "postgresql"))]
)
def test_two_processes_read_at_once(
    kind: str, tmp_path: Path, portfolio: Portfolio, request: pytest.FixtureRequest
) -> None:
    filled = open_warehouse(warehouse_url(kind, tmp_path, request))
    filled.create_tables(portfolio)
    filled.write(portfolio, applications(portfolio, 30), None)
    context = multiprocessing.get_context("spawn")
    ready, found, go_on = context.Queue(), context.Queue(), context.Event()
    process = context.Process(target=_read_slowly, args=(filled, portfolio, ready, go_on, found))
    process.start()
    assert ready.get() == 1
    # The other process holds an open reader while this one opens its own; then both read on.
    here = filled.read_applications(portfolio, DAY, DAY + timedelta(days=9))
    go_on.set()
    assert found.get() == here.read_all().num_rows == 30
    process.join()
    assert process.exitcode == 0


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
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["duckdb", "postgresql"])
def test_two_million_rows_stream_in_bounded_memory(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Stored in no order, and more than is sorted in memory: DuckDB spills, in either case."""
    url = warehouse_url(kind, tmp_path, request)
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
    )
    assert result.returncode == 0, result.stderr
    rows, read, peak = map(int, result.stdout.split())
    assert rows == 2_000_000
    assert read > 400
    # Held whole it would take its size, and as much again for the sorted copy.
    assert peak < 700
