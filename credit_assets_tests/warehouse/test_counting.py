"""Every row of a table is counted, on DuckDB, SQLite and PostgreSQL: by the day whose query finds it, else by why."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from credit_assets.ml.data.accounts import DayCounts, plausible_days
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import Warehouse
from credit_assets_tests.support.warehouses import DAY, OTHER, execute, kind_of

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]

EARLIEST, LATEST = plausible_days(date(2024, 1, 1), date(2026, 11, 29))
NEXT = DAY + timedelta(days=1)
SOUND = [f"{DAY}", f"{DAY}", f"{NEXT}"]
# By the type of the column: values that no day's query finds, and as what they are counted.
ODD: dict[str, list[tuple[str | None, str]]] = {
    "DATE": [
        (None, "missing"),
        ("0202-03-01", "implausible"),
        ("2202-03-01", "implausible"),
        ("1970-01-01", "implausible"),
        ("1900-01-01", "implausible"),
        ("9999-12-31", "implausible"),
    ],
    "VARCHAR(40)": [
        (None, "missing"),
        ("", "missing"),
        ("   ", "missing"),
        ("01/03/2024", "unreadable"),
        ("2024/03/01", "unreadable"),
        ("20240301", "unreadable"),
        ("2024-3-1", "unreadable"),
        (" 2024-03-01", "unreadable"),
        ("2024-02-30", "unreadable"),
        ("1 March 2024", "unreadable"),
        ("unknown", "unreadable"),
        ("infinity", "unreadable"),
        ("0000-00-00", "unreadable"),
        ("0202-03-01", "implausible"),
        ("9999-12-31", "implausible"),
    ],
}
INFINITE = [("infinity", "implausible"), ("-infinity", "implausible")]
ODD["TIMESTAMP"] = ODD["DATE"]


def fill(warehouse: Warehouse, kind: str, values: list[str | None]) -> None:
    columns = {
        "Applicants-2024": '"DaysPastDue30-59" INTEGER, "order" FLOAT, "qualify" BOOLEAN, "group" TEXT',
        "Results": '"bad" INTEGER',
    }
    for table, rest in columns.items():
        execute(warehouse, f'CREATE TABLE "{table}" ("select" INTEGER, "Day" {kind}, {rest})')
        for number, value in enumerate(values):
            shown = "NULL" if value is None else f"'{value}'"
            execute(warehouse, f'INSERT INTO "{table}" ("select", "Day") VALUES ({number}, {shown})')


@pytest.mark.parametrize("kind", list(ODD))
def test_every_row_is_counted_once(empty: Warehouse, kind: str) -> None:
    odd = ODD[kind]
    if kind != "VARCHAR(40)":
        # SQLite holds days as text.
        odd = [(v, "unreadable" if v == "0000-00-00" else why) for v, why in odd]
        odd += INFINITE if kind_of(empty) != "sqlite" else [("infinity", "unreadable")]
    fill(empty, kind, [*SOUND, *(value for value, _ in odd)])
    expected = DayCounts(
        {DAY: 2, NEXT: 1}, **{w: sum(x == w for _, x in odd) for w in ("missing", "unreadable", "implausible")}
    )
    assert empty.count_applications(OTHER, EARLIEST, LATEST) == expected
    assert empty.count_outcomes(OTHER, EARLIEST, LATEST) == expected
    assert expected.rows == len(odd) + len(SOUND)
    # Neither an infinite day nor one of a system is where the book begins or ends.
    assert empty.date_range(OTHER) == (DAY, NEXT)
    assert empty.daily_outcomes(OTHER, DAY, NEXT) == {DAY: 2, NEXT: 1}


def test_numbers_in_a_column_of_days_are_counted(empty: Warehouse) -> None:
    if kind_of(empty) != "sqlite":
        pytest.skip("only SQLite lets a column hold values of another type")
    fill(empty, "DATE", [*SOUND])
    for number in (20240301, 1709251200):
        execute(empty, f'INSERT INTO "Results" ("select", "Day") VALUES (8, {number})')
    assert empty.count_outcomes(OTHER, EARLIEST, LATEST) == DayCounts({DAY: 2, NEXT: 1}, unreadable=2)


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "VARCHAR(40)"])
def test_a_day_is_counted_as_its_query_finds_it(empty: Warehouse, kind: str) -> None:
    times = [] if kind == "DATE" else [f"{DAY} 00:00:00", f"{DAY} 23:59:59.999", f"{NEXT} 00:00:00"]
    fill(empty, kind, [*SOUND, *times])
    counted = empty.count_outcomes(OTHER, EARLIEST, LATEST)
    assert counted.rows == len(SOUND) + len(times)
    for day in (DAY, NEXT):
        assert counted.days[day] == empty.read_applications(OTHER, day, day).read_all().num_rows


def test_an_empty_table(empty: Warehouse, portfolio: Portfolio) -> None:
    empty.create_tables(portfolio)
    assert empty.count_applications(portfolio, EARLIEST, LATEST) == DayCounts({})
