"""Tables of very many columns, through every kind of warehouse."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks import processes
from credit_assets.failures import PermanentError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import applications_schema
from credit_assets.warehouse import Warehouse, open_warehouse, sql
from credit_assets.warehouse.duckdb_file import reading_bounds
from credit_assets.warehouse.ordering import batch_rows
from credit_assets_tests.support.warehouses import DAY, wide_portfolio

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


def rows_of(portfolio: Portfolio, rows: int, *, off: float = 0.0) -> pa.Table:
    numbers = {f"f{n}": [row * 10_000.0 + n + off for row in range(rows)] for n in range(len(portfolio.columns) - 2)}
    ids = [f"A{row:05d}" for row in reversed(range(rows))]
    return pa.table({"id": ids, "day": [DAY] * rows, **numbers}, schema=applications_schema(portfolio))


@pytest.mark.slow
def test_a_table_of_a_thousand_columns_is_written_changed_and_read(empty: Warehouse) -> None:
    # A row of PostgreSQL lies on a page of 8 KB.
    columns = 1_000 if empty.describe().startswith("postgresql") else 1_200
    portfolio = wide_portfolio(columns)
    empty.create_tables(portfolio)
    first = rows_of(portfolio, 30)
    assert empty.write(portfolio, first, None).applications.inserted == 30
    changed = first.set_column(columns - 1, first.field(columns - 1), pa.array([float(row == 7) for row in range(30)]))
    again = empty.write(portfolio, changed, None).applications
    assert (again.inserted, again.updated, again.unchanged) == (0, 30, 0)
    assert empty.write(portfolio, changed, None).applications.unchanged == 30
    found = empty.read_applications(portfolio, DAY, DAY).read_all()
    assert found == changed.sort_by("id")


def test_a_table_too_wide_for_postgresql_says_what_to_do(postgres_database: str) -> None:
    warehouse, portfolio = open_warehouse(postgres_database), wide_portfolio(1_200)
    warehouse.create_tables(portfolio)
    with pytest.raises(PermanentError, match="more columns than this database takes"):
        warehouse.write(portfolio, rows_of(portfolio, 1), None)


def test_batches_are_bounded_by_bytes_and_not_by_rows() -> None:
    narrow, many = applications_schema(wide_portfolio(20)), applications_schema(wide_portfolio(1_000))
    assert batch_rows(narrow.types) == 122_880
    assert batch_rows(many.types) * 8_000 <= 32 * 2**20
    assert (sql._batch_rows(narrow), sql._batch_rows(many)) == (50_000, 1_250)


def test_memory_and_threads_of_a_reading_duckdb_follow_the_columns() -> None:
    bounds = {columns: reading_bounds(columns) for columns in (0, 25, 400, 1_000)}
    assert bounds[0] == bounds[25]
    assert bounds[25]["memory_limit"] == f"{384 * 2**20}B"
    assert bounds[400]["threads"] == bounds[1_000]["threads"] == 1
    # A block of values and one of nulls for each column, and half as much again.
    assert bounds[1_000]["memory_limit"] == f"{750 * 2**20}B"


_INGEST = """
import sys
from datetime import date
import duckdb, pyarrow as pa
from credit_assets.ml.data.contracts import Contract, applications_rules
from credit_assets.storage.partition_files import PartitionWriter, in_pieces
from credit_assets.storage.store import Store
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.warehouses import DAY, wide_portfolio

columns, rows, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
portfolio = wide_portfolio(columns).model_copy(update={"applications_table": "loans"})
numbers = ", ".join(f"random() AS f{n}" for n in range(columns - 2))
with duckdb.connect(f"{folder}/w.duckdb", config={"memory_limit": "1GiB", "threads": 1}) as connection:
    ids = "'A' || (hash(i) % 100000000) || '-' || i AS id"
    connection.execute(f"CREATE TABLE held AS SELECT {ids}, DATE '{DAY}' AS day, {numbers} FROM range({rows}) t(i)")
    connection.execute("CREATE VIEW loans AS FROM held")
warehouse = open_warehouse(f"duckdb:///{folder}/w.duckdb")
store, contract, kept = Store(f"{folder}/store"), Contract(applications_rules(portfolio), [DAY]), 0
with PartitionWriter(store, "raw", [DAY], contract.schema, "day") as writer:
    batches = warehouse.read_applications(portfolio, DAY, DAY, noted=True)
    last = ""
    for piece in in_pieces(pa.Table.from_batches([batch]) for batch in batches):
        assert piece.nbytes <= 2 * 128 * 2**20, piece.nbytes
        rows_ = contract.check(piece).kept
        ids = rows_["id"].to_pylist()
        assert last < ids[0] and ids == sorted(ids)
        last, kept = ids[-1], kept + len(ids)
        writer.write(rows_)
    file = writer.close()[DAY]
    store.publish(file.file, store.path("raw", f"{DAY}.parquet"))
assert kept == rows == store.row_count("raw", DAY.isoformat()), kept
"""


@pytest.mark.slow
def test_a_view_of_1000_columns_in_no_order_is_ingested_in_bounded_memory(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", _INGEST, "1000", "80000", str(tmp_path)]
    # 640 MB of values, of a view that DuckDB cannot sort within a gigabyte.
    assert processes.run(arguments).peak < 2 * 2**30
