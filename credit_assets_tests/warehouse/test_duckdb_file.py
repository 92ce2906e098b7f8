"""A warehouse in a DuckDB file: who holds it, and rows that come in order by themselves."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from credit_assets.failures import TransientError
from credit_assets.loans.generator import generate_book
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import applications_schema
from credit_assets.warehouse import open_warehouse, ordering
from credit_assets_tests.support.warehouses import DAY, applications, execute, held

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


def test_duckdb_held_by_a_writer_is_transient(tmp_path: Path, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/w.duckdb")
    warehouse.create_tables(portfolio)
    holding = held(f"import duckdb; connection = duckdb.connect({str(tmp_path / 'w.duckdb')!r})")
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


def test_rows_stored_in_order_are_not_sorted(
    tmp_path: Path, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorted_: list[int] = []
    in_order = ordering.in_order
    monkeypatch.setattr(ordering, "in_order", lambda *given: sorted_.append(1) or in_order(*given))
    monkeypatch.setattr(ordering, "BATCH_ROWS", 2_048)
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
        sorted_.clear()
        placed = portfolio.model_copy(update={"applications_table": table})
        read = warehouse.read_applications(placed, DAY, date(2034, 1, 1)).read_all()
        assert bool(sorted_) == sorts, table
        assert read.equals(read.sort_by(keys))
        assert read.num_rows == 20_000
        assert table == "lacking" or read.equals(ordered)


def test_a_book_of_many_batches_goes_in_and_comes_out_whole(
    tmp_path: Path, portfolio: Portfolio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "BATCH_ROWS", 4_096)
    start, end = date(2022, 1, 1), date(2023, 12, 31)
    rows, known = generate_book(30_000, start, end, 1)
    warehouse = open_warehouse(f"duckdb:///{tmp_path}/w.duckdb")
    warehouse.create_tables(portfolio)
    assert warehouse.write(portfolio, rows, known).applications.inserted == 30_000
    found = warehouse.read_applications(portfolio, start, end).read_all()
    assert found.equals(rows.cast(applications_schema(portfolio)))
    assert found["application_id"].num_chunks > 5
