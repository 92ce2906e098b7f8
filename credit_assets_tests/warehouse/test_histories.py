"""History features are what their definition says, to the last bit, wherever they are computed."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.history_features import history_features
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse import Warehouse, open_warehouse
from credit_assets.warehouse.histories import HistoryCounts
from credit_assets_tests.support.histories import (
    DAY,
    DERIVED,
    Record,
    days_only,
    fill,
    instants,
    made_up,
    naive_moments,
    portfolio_of,
    reference,
)
from credit_assets_tests.support.warehouses import execute, kind_of

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]

MOMENTS = {"days": days_only, "naive": naive_moments, "instants": instants}
NAMES = [one["name"] for one in DERIVED]


def zoned(warehouse: Warehouse, zone: str) -> Warehouse:
    return open_warehouse(warehouse._url, zone)


def computed(
    warehouse: Warehouse,
    portfolio: Portfolio,
    first: date = DAY - timedelta(days=6),
    last: date = DAY + timedelta(days=1),
) -> dict[str, dict[str, Any]]:
    table = warehouse.read_history_features(portfolio, first, last).read_all()
    return {row["id"]: row for row in table.to_pylist()}


def bits(features: dict[str, Any]) -> dict[str, str | None]:
    return {name: None if features[name] is None else float(features[name]).hex() for name in NAMES}


@pytest.mark.parametrize(("moments", "zone", "naive"), [
    ("days", "UTC", None),
    ("days", "America/New_York", "Asia/Tokyo"),
    ("naive", "UTC", None),
    ("naive", "America/New_York", "Asia/Tokyo"),
    ("instants", "UTC", None),
    ("instants", "Asia/Tokyo", None),
    ("instants", "America/St_Johns", None),
])  # fmt: skip
@pytest.mark.parametrize("known", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["known", "date alone"])
def test_every_feature_is_that_of_the_plain_reference(
    empty: Warehouse, moments: str, zone: str, naive: str | None, known: bool
) -> None:
    if kind_of(empty) == "sqlite" and (naive or zone != "UTC") and moments != "days":
        pytest.skip("SQLite knows no zones: see the test of what it counts as undated")
    portfolio, (applications, rows) = portfolio_of(known=known, timezone=naive), made_up_book(moments, zone)
    fill(empty, applications, rows, moments)
    found = computed(zoned(empty, zone), portfolio)
    expected = referred(moments, zone, naive, known)
    assert {key: bits(features) for key, features in found.items()} == expected
    if kind_of(empty) != "duckdb":
        # Rows in memory know nothing of where they come from: once is enough.
        return
    for application in applications:
        own = [row for row in rows if row["holder"] == application["customer"]]
        random.Random(1).shuffle(own)
        in_memory = history_features(portfolio, found[application["id"]]["day"], {"months": own}, timezone=zone)
        assert bits(in_memory) == expected[application["id"]], application["id"]
        assert list(in_memory) == NAMES


def made_up_book(moments: str, zone: str) -> tuple[list[Record], list[Record]]:
    return made_up(len(zone) + 10 * len(moments), MOMENTS[moments])


@functools.cache
def referred(moments: str, zone: str, naive: str | None, known: bool) -> dict[str, dict[str, str | None]]:
    """The features of the book by the plain reference, which is the same for every warehouse."""
    portfolio, (applications, rows) = portfolio_of(known=known, timezone=naive), made_up_book(moments, zone)
    return {one["id"]: bits(reference(portfolio, one, rows, zone)) for one in applications}


@pytest.mark.parametrize("seed", range(6))
def test_duckdb_and_rows_in_memory_agree_with_the_reference_on_many_books(seed: int, tmp_path: Any) -> None:
    warehouse, portfolio = open_warehouse(f"duckdb:///{tmp_path / 'w.db'}"), portfolio_of()
    applications, rows = made_up(seed, MOMENTS[["days", "naive"][seed % 2]])
    fill(warehouse, applications, rows, ["days", "naive"][seed % 2])
    found = computed(warehouse, portfolio)
    for application in applications:
        assert bits(found[application["id"]]) == bits(reference(portfolio, application, rows, "UTC"))


def small(empty: Warehouse, rows: Sequence[Record], known: bool = True) -> dict[str, Any]:
    fill(empty, [{"id": "A", "day": DAY, "customer": "C"}], rows, "days")
    return computed(empty, portfolio_of(known=known))["A"]


def row(age: int, late: int = 0, **values: Any) -> Record:
    on = DAY - timedelta(days=age)
    given = {"dpd": 30, "paid": 10.0, "status": "open", "closed": False, **values}
    return {"holder": "C", "month_end": on, "loaded_at": on + timedelta(days=late), **given}


def test_a_row_that_became_known_on_the_day_or_later_is_as_if_it_were_not_there(empty: Warehouse) -> None:
    sound = [row(10), row(40, dpd=0, paid=3.0)]
    without = small(empty, sound)
    for late in (10, 11, 400):
        execute(empty, "DROP TABLE applications", "DROP TABLE account_months")
        with_late = small(empty, [*sound, row(10, late, dpd=90, paid=500.0)])
        assert with_late == without
    execute(empty, "DROP TABLE applications", "DROP TABLE account_months")
    assert small(empty, [*sound, row(10, 9, dpd=90, paid=500.0)])["rows_all"] == 3


def test_rows_of_the_day_and_after_do_not_count(empty: Warehouse) -> None:
    found = small(empty, [row(0), row(-3), row(1, dpd=60)], known=False)
    assert (found["rows_all"], found["since_any"], found["dpd_last"]) == (1, 1, 60)


def test_windows_end_on_their_last_day(empty: Warehouse) -> None:
    found = small(empty, [row(60), row(61), row(90), row(91)])
    assert (found["late_count"], found["paid_sum"], found["rows_all"]) == (1, 30.0, 4)


def test_without_rows_stands_the_default(empty: Warehouse) -> None:
    found = small(empty, [])
    assert found["months.rows"] is None
    assert (found["rows_all"], found["late_count_ever"], found["paid_sum_open"], found["paid_sum"]) == (0, -1, -5, 0)
    assert (found["paid_mean"], found["paid_mean_other"], found["since_any"], found["late_share"]) == (
        0,
        None,
        999,
        None,
    )


def test_with_rows_of_which_none_is_meant_counts_and_sums_are_zero(empty: Warehouse) -> None:
    found = small(empty, [row(200, dpd=0, status="late")])
    assert found["months.rows"] == 1
    assert (found["late_count_ever"], found["paid_sum_open"], found["since_any"]) == (0, 0, 999)


def test_of_rows_that_stand_last_together_the_later_known_then_the_larger_value(empty: Warehouse) -> None:
    tied = [row(5, 1, dpd=60), row(5, 2, dpd=15), row(5, 2, dpd=0), row(5, 2, dpd=None)]
    for rows in (tied, tied[::-1]):
        assert small(empty, rows)["dpd_last"] == 15
        execute(empty, "DROP TABLE applications", "DROP TABLE account_months")


def test_sums_of_cents_are_exact_in_any_order(empty: Warehouse) -> None:
    found = small(empty, [row(age, paid=0.1) for age in range(1, 11)])
    assert (found["paid_sum"], found["paid_mean"]) == (1.0, 0.1)


def test_what_has_no_day_and_what_is_no_number_is_counted(empty: Warehouse) -> None:
    rows = [
        row(5),
        {**row(6), "month_end": None},
        {**row(7), "loaded_at": None},
        row(8, paid=float("inf")),
        row(9, paid=1e15),
    ]
    fill(empty, [{"id": "A", "day": DAY, "customer": "C"}], rows, "days")
    counts = HistoryCounts()
    empty.read_history_features(portfolio_of(), DAY, DAY, counts).read_all()
    assert counts.rows == {(DAY, "months"): 3}
    assert counts.undated == {(DAY, "months"): 2}
    assert counts.unreadable == {(DAY, "months"): 2}


def test_sqlite_counts_days_that_it_cannot_tell_and_never_guesses(tmp_path: Any) -> None:
    warehouse = open_warehouse(f"sqlite:///{tmp_path / 'w.db'}", "Asia/Tokyo")
    execute(warehouse, "CREATE TABLE unrelated (a INTEGER)")
    fill(warehouse, [{"id": "A", "day": DAY, "customer": "C"}], [row(5), row(6)], "days")
    execute(
        warehouse,
        "UPDATE account_months SET month_end = '2024-03-01T22:00:00Z' WHERE month_end = '2024-03-25'",
        "UPDATE account_months SET month_end = '5000000', loaded_at = '2024-03-01' WHERE month_end = '2024-03-26'",
        "INSERT INTO account_months (holder, month_end, loaded_at, paid) "
        "VALUES ('C', '2024-03-02 10:00', '2024-03-02', 'much')",
    )
    counts = HistoryCounts()
    table = warehouse.read_history_features(portfolio_of(), DAY, DAY, counts).read_all()
    assert (table["months.rows"].to_pylist(), counts.undated) == ([1], {(DAY, "months"): 2})
    assert counts.unreadable == {(DAY, "months"): 1}


def test_keys_of_another_type_are_compared_as_text(empty: Warehouse) -> None:
    number = "BIGINT" if kind_of(empty) != "sqlite" else "INTEGER"
    fill(empty, [{"id": "A", "day": DAY, "customer": "17"}], [], "days")
    execute(
        empty,
        "DROP TABLE account_months",
        f"CREATE TABLE account_months (holder {number}, month_end DATE, loaded_at DATE, dpd INTEGER, "
        "paid NUMERIC(12,2), status TEXT, closed BOOLEAN)",
        "INSERT INTO account_months VALUES (17, '2024-03-01', '2024-03-02', 30, 12.34, 'open', NULL)",
    )
    assert computed(empty, portfolio_of())["A"]["paid_sum"] == 12.34


def test_days_are_read_as_one_and_as_many(empty: Warehouse) -> None:
    applications, rows = made_up(5, days_only)
    fill(empty, applications, rows, "days")
    together = empty.read_history_features(portfolio_of(), DAY - timedelta(days=4), DAY).read_all()
    apart = [
        empty.read_history_features(portfolio_of(), DAY - timedelta(days=n), DAY - timedelta(days=n)).read_all()
        for n in range(4, -1, -1)
    ]
    assert together.equals(pa.concat_tables(apart))
    assert together["day"].to_pylist() == sorted(together["day"].to_pylist())


def test_names_may_be_as_long_as_the_portfolio_allows(empty: Warehouse) -> None:
    fill(empty, [{"id": "A", "day": DAY, "customer": "C"}], [row(5), row(6, paid=3.5)], "days")
    content = portfolio_of().model_dump(mode="json", exclude_defaults=True)
    content["derived"] = [{**one, "name": f"{one['name']:_<63}"} for one in content["derived"]]
    found = computed(empty, Portfolio.model_validate(content))["A"]
    assert (found[f"{'paid_sum':_<63}"], found[f"{'dpd_last':_<63}"], found[f"{'paid_last':_<63}"]) == (13.5, 30, 10)


def test_two_histories_of_keys_of_their_own_are_read_by_one_query(empty: Warehouse) -> None:
    fill(empty, [{"id": "A", "day": DAY, "customer": "C"}, {"id": "C", "day": DAY, "customer": None}], [row(5)], "days")
    content = portfolio_of().model_dump(mode="json", exclude_defaults=True)
    content["histories"].append({**content["histories"][0], "name": "own", "application_key": "id"})
    content["derived"].append({"name": "own_rows", "history": "own", "aggregate": "count"})
    found = computed(empty, Portfolio.model_validate(content))
    assert [(found[key]["rows_all"], found[key]["own_rows"]) for key in ("A", "C")] == [(1, 0), (0, 1)]


def test_a_table_or_column_that_is_missing_or_of_another_kind_is_named(empty: Warehouse) -> None:
    fill(empty, [{"id": "A", "day": DAY, "customer": "C"}], [row(5)], "days")
    rename = "ALTER TABLE account_months RENAME COLUMN dpd TO days"
    execute(empty, rename)
    with pytest.raises(PermanentError, match=r"table account_months in .* has no column dpd"):
        empty.check_histories(portfolio_of())
    if kind_of(empty) != "sqlite":
        execute(empty, "ALTER TABLE account_months ADD COLUMN dpd VARCHAR")
        with pytest.raises(PermanentError, match="column dpd of table account_months is integer in the portfolio"):
            computed(empty, portfolio_of())
    execute(empty, "DROP TABLE account_months")
    with pytest.raises(PermanentError, match="has no table account_months"):
        computed(empty, portfolio_of())
