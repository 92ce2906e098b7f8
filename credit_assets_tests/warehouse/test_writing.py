"""Writing, on DuckDB, SQLite and a real PostgreSQL: all or nothing, each row once, and what is refused."""

from __future__ import annotations

import multiprocessing
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.loaded_file import Load, LoadedFile
from credit_assets.loans.tables import table_named
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import TableCounts, Warehouse, open_warehouse
from credit_assets_tests.support.decided import restated
from credit_assets_tests.support.warehouses import DAY, applications, execute, fetched, kind_of, outcomes

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


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


def keyless(portfolio: Portfolio, table: str, collation: str = "") -> str:
    """A table as a lender may have it: nothing says that an id is there once."""
    types = {"integer": "INTEGER", "float": "DOUBLE PRECISION", "boolean": "BOOLEAN", "date": "DATE"}
    columns = [f"{column.name} {types.get(column.type, 'VARCHAR(40)')}" for column in portfolio.application_columns]
    return f"CREATE TABLE {table} ({', '.join(columns)})".replace("VARCHAR(40)", f"VARCHAR(40) {collation}", 1)


def test_an_id_that_stands_in_the_table_twice_is_not_guessed_at(filled: Warehouse, portfolio: Portfolio) -> None:
    rows, book = applications(portfolio, 30), portfolio.model_copy(update={"applications_table": "twice"})
    execute(filled, keyless(portfolio, "twice"))
    filled.write(book, rows, None)
    execute(filled, "INSERT INTO twice SELECT * FROM twice WHERE application_id = "
            "(SELECT min(application_id) FROM twice)")  # fmt: skip
    before = filled.read_applications(book, DAY, date(2025, 1, 1)).read_all()
    changed = rows.set_column(rows.column_names.index("annual_income"), "annual_income", pa.array([1.0] * 30))
    with pytest.raises(PermanentError, match="31 rows of the 30 application_id given: one stands there more than once"):
        filled.write(book, changed, None)
    assert filled.read_applications(book, DAY, date(2025, 1, 1)).read_all().equals(before)


def test_ids_that_the_table_takes_for_equal_are_refused(tmp_path: Path, portfolio: Portfolio) -> None:
    warehouse = open_warehouse(f"sqlite:///{tmp_path / 'book.db'}")
    warehouse.create_tables(portfolio)
    book = portfolio.model_copy(update={"applications_table": "alike"})
    execute(warehouse, keyless(portfolio, "alike", "COLLATE NOCASE"))
    warehouse.write(book, applications(portfolio, 1, application_id=["a1"]), None)
    with pytest.raises(PermanentError, match="holds 1 of 2 rows given: it takes some application_id for equal"):
        warehouse.write(book, applications(portfolio, 2, application_id=["a1", "A1"]), None)


def test_rows_that_get_another_day_are_counted(filled: Warehouse, portfolio: Portfolio) -> None:
    rows = applications(portfolio, 30)
    place = rows.column_names.index("application_date")
    days = rows["application_date"].to_pylist()
    moved = rows.set_column(place, "application_date", pa.array([DAY + timedelta(days=40), *days[1:]]))
    assert filled.write(portfolio, moved, None).applications == TableCounts(0, 1, 29, moved=1)


def test_write_names_columns_that_are_lacking_or_misfit(empty: Warehouse, portfolio: Portfolio) -> None:
    empty.create_tables(portfolio)
    rows = applications(portfolio, 3)
    with pytest.raises(PermanentError, match=r"lack annual_income, purpose, which portfolio consumer_loans"):
        empty.write(portfolio, rows.drop_columns(["annual_income", "purpose"]), None)
    odd = rows.set_column(2, "annual_income", pa.array(["1", "secret-value", "2"]))
    with pytest.raises(PermanentError, match=r"annual_income \(1 rows are not double\)") as refused:
        empty.write(portfolio, odd, None)
    assert "secret-value" not in str(refused.value)


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
    assert sum(warehouse.daily_counts(portfolio, DAY, date(2034, 1, 1)).values()) == 1_000


def _write_rows(warehouse: Warehouse, portfolio: Portfolio, started: Any) -> None:
    started.set()
    for _ in range(3):
        warehouse.write(portfolio, applications(portfolio, 1_000), outcomes(portfolio, 1_000))


def test_rows_of_a_key_are_replaced(empty: Warehouse) -> None:
    """Tables of a lender beside the portfolio's: several rows a key, instants, made where they are not there."""
    at = datetime(2024, 2, 28, 23, 59, 59)
    rows = pa.table({"order": ["a", "a", "b"], "day": [DAY] * 3, "loaded_at": [at] * 3, "size": [1.5, None, 2.0]})
    once = {"Months": ("order", rows), "other": ("order", rows.slice(2))}
    assert empty.replace_rows(once) == {"Months": 3, "other": 1}
    assert empty.replace_rows({"Months": ("order", rows.slice(1))}) == {"Months": 2}
    found = fetched(empty, 'SELECT "order", "size", CAST("loaded_at" AS VARCHAR(26)) FROM "Months" ORDER BY "order"')
    assert [(*values, when[:19]) for *values, when in found] == [("a", None, str(at)), ("b", 2.0, str(at))]
    # One transaction: of a book whose second table is another's, nothing is there.
    with pytest.raises(PermanentError, match="table unrelated is there without column order, day"):
        empty.replace_rows({"Months": ("order", rows), "unrelated": ("order", rows)})
    assert len(fetched(empty, 'SELECT 1 FROM "Months"')) == 2


def test_several_rows_of_a_loan_are_written_once_each(empty: Warehouse) -> None:
    lists = {"bad": ["lost"], "good": ["paid"], "reversed": ["undone"]}
    several = restated(outcomes={"table": "outs", "date": "on_day", "known": "seen", "status": "status", **lists})
    days, statuses = [DAY, DAY + timedelta(9), DAY + timedelta(9), DAY], ["lost", "undone", "undone", "paid"]
    rows = pa.table({"application_id": ["A1"] * 4, "seen": days, "on_day": days, "status": statuses})
    empty.create_tables(several)
    assert empty.write(several, None, rows.slice(0, 3)).outcomes == TableCounts(2, 0, 0)
    assert empty.write(several, None, rows).outcomes == TableCounts(1, 0, 2)
    read = empty.read_outcomes(several, DAY, DAY + timedelta(9)).read_all()
    assert read["status"].to_pylist() == ["lost", "paid", "undone"]


MANY_ROWS = Portfolio.model_validate(
    {
        "name": "many",
        "population": {"table": "decisions", "id": "app", "date": "seen", "status": "status", "booked": ["booked"]},
        "histories": [
            {"name": "months", "table": "months", "key": "customer", "application_key": "id", "date": "day",
             "known": "seen", "columns": [{"name": "copy", "type": "integer"}, {"name": "text", "type": "category"}]},
        ],
        "columns": [
            {"name": "id", "type": "string", "role": "id", "nullable": False},
            {"name": "day", "type": "date", "role": "date", "nullable": False},
            {"name": "amount", "type": "float"},
        ],
    }
)  # fmt: skip


def load_of(name: str, warehouse: Warehouse) -> Load:
    file = LoadedFile(digest=name, name=name, kind="history months", rows_read=1, rows_kept=1)
    return Load(file, tuple(warehouse.loaded_files(MANY_ROWS)))


def test_rows_of_a_history_are_appended_once(empty: Warehouse) -> None:
    """Equal rows are several, nulls too, large numbers beside nulls are themselves, and none takes another's place."""
    months = table_named(MANY_ROWS, "months")
    morning, evening = datetime(2024, 2, 3, 8), datetime(2024, 2, 3, 18, 30, 1)
    rows = pa.table(
        {
            "customer": ["a", "a", "a", "a", "b"],
            "day": [DAY] * 5,
            "seen": pa.array([morning, morning, morning, evening, morning], pa.timestamp("us")),
            "copy": pa.array([2**53, 2**53 + 1, None, None, None], pa.int64()),
            "text": pa.array(["x", "x", None, None, ""]),
        }
    )
    given = pa.concat_tables([rows, rows.slice(2, 1)])
    assert empty.append(MANY_ROWS, months, given, load_of("1", empty)) == TableCounts(6, 0, 0)
    assert empty.append(MANY_ROWS, months, given, load_of("1", empty)) == TableCounts(0, 0, 6)
    more = pa.concat_tables([given, given.slice(2, 1), given.slice(0, 1)])
    assert empty.append(MANY_ROWS, months, more, load_of("2", empty)) == TableCounts(2, 0, 6)
    assert empty.append(MANY_ROWS, months, rows, load_of("3", empty)) == TableCounts(0, 0, 5)
    counted = fetched(empty, "SELECT customer, copy, COUNT(*) FROM months GROUP BY 1, 2, text, seen ORDER BY 3, 1, 2")
    assert sorted(counted, key=str) == sorted(
        [("a", 2**53, 2), ("a", 2**53 + 1, 1), ("a", None, 3), ("a", None, 1), ("b", None, 1)], key=str
    )
    assert [file.name for file in empty.loaded_files(MANY_ROWS)] == ["1", "2", "3"]


def test_decisions_are_appended_by_the_moment(empty: Warehouse) -> None:
    decisions = table_named(MANY_ROWS, "decisions")
    at = pa.array([datetime(2024, 2, 3, 8), datetime(2024, 2, 3, 18)], pa.timestamp("us"))
    rows = pa.table({"app": ["a", "a"], "seen": at, "status": ["open", "booked"]})
    days = pa.table({"app": ["a", "b"], "seen": [date(2024, 2, 3), date(2024, 2, 4)], "status": ["open", None]})
    for name, given, counts in (
        ("1", rows, (2, 0, 0)),
        ("2", days, (2, 0, 0)),
        ("3", rows, (0, 0, 2)),
        ("4", days, (0, 0, 2)),
    ):
        assert empty.append(MANY_ROWS, decisions, given, load_of(name, empty)) == TableCounts(*counts)
    read = empty.read_decisions(MANY_ROWS, date(2024, 2, 3), date(2024, 2, 4)).read_all().sort_by("known_at")
    assert read["status"].to_pylist() == ["open", "open", "booked", None]


def test_a_table_that_rounds_is_refused(empty: Warehouse) -> None:
    execute(empty, "CREATE TABLE months (customer VARCHAR(9), day DATE, seen DATE, copy BIGINT, text VARCHAR(9))")
    if kind_of(empty) == "sqlite":
        pytest.skip("SQLite keeps what it is given, whatever the column's type")
    at = pa.array([datetime(2024, 2, 3, 8)], pa.timestamp("us"))
    rows = pa.table({"customer": ["a"], "day": [DAY], "seen": at, "copy": pa.array([1]), "text": ["x"]})
    with pytest.raises(PermanentError, match="months does not keep 1 of 1 rows as they are given"):
        empty.append(MANY_ROWS, table_named(MANY_ROWS, "months"), rows, load_of("1", empty))
    assert (fetched(empty, "SELECT * FROM months"), empty.loaded_files(MANY_ROWS)) == ([], [])
