"""The record of loaded files, kept in each kind of warehouse in the transaction of the rows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.loans.loaded_file import Load, LoadedFile, Size
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import Warehouse, open_warehouse
from credit_assets.warehouse.loaded_files import table_of
from credit_assets_tests.support.warehouses import DAY, OTHER, applications, outcomes

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


def file(digest: str, loaded_at: str = "2024-01-01T00:00:00", **more: object) -> LoadedFile:
    return LoadedFile(
        digest,
        f"{digest}.csv",
        "applications",
        10,
        9,
        read_as={"encoding": "UTF-8"},
        conventions={"total_debt": "balance"},
        sizes={"income": Size(9, 1.0, 2.5, 3.0)},
        loaded_at=loaded_at,
        **more,  # type: ignore[arg-type]
    )


def test_nothing_is_known_of_a_warehouse_that_is_not_there(tmp_path: Path, portfolio: Portfolio) -> None:
    for url in (f"duckdb:///{tmp_path}/none.duckdb", f"sqlite:///{tmp_path}/none.db"):
        warehouse = open_warehouse(url, "UTC")
        assert warehouse.loaded_files(portfolio) == []
        assert not warehouse.holds_applications(portfolio)
    assert list(tmp_path.iterdir()) == []


def test_records_are_kept_with_the_rows(empty: Warehouse, portfolio: Portfolio) -> None:
    assert empty.loaded_files(portfolio) == []
    assert not empty.holds_applications(portfolio)
    empty.create_tables(portfolio)
    first, second = file("a"), file("b", "2024-01-02T00:00:00", made_ids=True)
    empty.write(portfolio, applications(portfolio, 3), None, Load(first, ()))
    empty.write(portfolio, None, outcomes(portfolio, 3), Load(second, (first,)))
    assert empty.loaded_files(portfolio) == [first, second]
    assert empty.holds_applications(portfolio)
    again = file("a", "2024-01-03T00:00:00")
    empty.write(portfolio, applications(portfolio, 3), None, Load(again, (first, second)))
    assert empty.loaded_files(portfolio) == [second, again]
    # Another portfolio on the same warehouse knows nothing of them.
    other = portfolio.model_copy(update={"name": "other"})
    assert empty.loaded_files(other) == []


def test_a_load_that_was_overtaken_writes_nothing(empty: Warehouse, portfolio: Portfolio) -> None:
    """Two at once would each be compared with a book without the other."""
    empty.create_tables(portfolio)
    empty.write(portfolio, applications(portfolio, 3), None, Load(file("a"), ()))
    with pytest.raises(TransientError, match="another file was loaded into loan_applications meanwhile: nothing was"):
        empty.write(portfolio, applications(portfolio, 30), None, Load(file("b"), ()))
    assert [one.digest for one in empty.loaded_files(portfolio)] == ["a"]
    assert sum(empty.daily_counts(portfolio, *empty.date_range(portfolio)).values()) == 3  # type: ignore[misc]


def test_ids_of_other_rows_are_not_overwritten(empty: Warehouse, portfolio: Portfolio) -> None:
    empty.create_tables(portfolio)
    first = file("a")
    empty.write(portfolio, applications(portfolio, 30), outcomes(portfolio, 3), Load(first, (), 0.0))
    later = applications(portfolio, 30, application_date=[DAY + timedelta(days=90)] * 30)
    with pytest.raises(
        PermanentError, match="30 of 30 rows for table loan_applications have an application_id that is"
    ):
        empty.write(portfolio, later, None, Load(file("b"), (first,), 0.99))
    assert empty.date_range(portfolio) == (DAY, DAY + timedelta(days=2))
    assert empty.loaded_files(portfolio) == [first]
    # Corrections of other columns, and days that are allowed to move, are written.
    richer = applications(portfolio, 30, annual_income=[1.0] * 30)
    assert empty.write(portfolio, richer, None, Load(file("b"), (first,), 0.0)).applications.updated == 30
    assert empty.write(portfolio, later, outcomes(portfolio, 4)).applications.updated == 30


def test_no_record_without_its_rows(empty: Warehouse, portfolio: Portfolio) -> None:
    empty.create_tables(portfolio)
    twice = applications(portfolio, 3, application_id=["A", "A", "B"])
    with pytest.raises(PermanentError, match="repeat"):
        empty.write(portfolio, twice, None, Load(file("a"), ()))
    assert empty.loaded_files(portfolio) == []


def test_odd_names(empty: Warehouse) -> None:
    empty.create_tables(OTHER)
    empty.write(OTHER, None, None, Load(file("a"), ()))
    assert [one.digest for one in empty.loaded_files(OTHER)] == ["a"]


def test_long_names_are_not_cut_by_the_database() -> None:
    long = OTHER.model_copy(update={"applications_table": "lender." + "a" * 56})
    assert table_of(long) == "lender." + "a" * 56 + "_files"
    longer = OTHER.model_copy(update={"applications_table": "a" * 63})
    assert table_of(longer) == "a" * 57 + "_files"
