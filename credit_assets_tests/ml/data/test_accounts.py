"""The account of a table: every row by name, and a sum that comes out whatever warehouse and store hold."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.accounts import Account, DayCounts, account, plausible_days
from credit_assets_tests.support.fuzz import fuzz

START, TODAY = date(2024, 1, 1), date(2024, 2, 1)


def day(number: int) -> date:
    return START + timedelta(days=number)


def of(counted: DayCounts, stored: dict[date, tuple[int, int]]) -> Account:
    return account("outs", "known_on", counted, stored, start=START, today=TODAY)


def test_every_place_where_a_row_can_be_has_its_name() -> None:
    counted = DayCounts(
        {day(-3): 2, day(0): 10, day(1): 7, day(2): 3, TODAY: 4, TODAY + timedelta(days=1): 5},
        missing=6,
        unreadable=8,
        implausible=9,
    )
    found = of(counted, {day(0): (7, 3), day(1): (4, 1), day(4): (1, 1)})
    assert found.to_record() == {
        "table": "outs",
        "rows": 54,
        "ingested": 12,
        "quarantined": 5,
        "before_start": 2,
        "not_ingested": 3,
        "open": 4,
        "future": 5,
        "missing": 6,
        "unreadable": 8,
        "implausible": 9,
        "arrived": 2,
        "gone": 2,
        "restated_days": 2,
        "first_restated": "2024-01-02",
        "last_restated": "2024-01-05",
    }
    assert found.undated == 23
    assert "2 arrived after their day was ingested (2024-01-02)" in found.line()
    assert "- 2 ingested and no longer in the warehouse (2024-01-05)" in found.line()


def test_a_day_before_the_first_partition_that_was_ingested_stays_ingested() -> None:
    found = of(DayCounts({day(-1): 3}), {day(-1): (3, 0)})
    assert (found.ingested, found.before_start) == (3, 0)


def test_a_sum_that_does_not_come_out_is_refused() -> None:
    with pytest.raises(AssertionError, match="9 rows are accounted for, 10 are there"):
        Account("outs", "known_on", 10, ingested=9)


def test_an_empty_table() -> None:
    assert of(DayCounts({}), {}).line() == "outs: 0 rows = nothing"


numbers = st.integers(-40, 80)


@fuzz(100)
@given(
    st.dictionaries(numbers, st.integers(0, 9)),
    st.dictionaries(numbers, st.tuples(st.integers(0, 9), st.integers(0, 3))),
    st.tuples(*[st.integers(0, 5)] * 3),
)
def test_the_sum_comes_out(
    counts: dict[int, int], stored: dict[int, tuple[int, int]], odd: tuple[int, int, int]
) -> None:
    counted = DayCounts({day(n): count for n, count in counts.items()}, *odd)
    found = of(counted, {day(n): both for n, both in stored.items()})
    record = found.to_record()
    parts = sum(v for k, v in record.items() if isinstance(v, int) and k not in ("rows", "gone", "restated_days"))
    assert parts - record["gone"] == record["rows"] == sum(counts.values()) + sum(odd)


def test_no_day_of_a_system_is_plausible() -> None:
    first, last = plausible_days(date(2024, 1, 1), date(2026, 11, 29))
    for system in (date(1, 1, 1), date(202, 3, 1), date(1899, 12, 30), date(1900, 1, 1), date(1970, 1, 1)):
        assert system < first
    for system in (date(2202, 3, 1), date(9999, 12, 31)):
        assert system > last
    assert first <= date(1999, 1, 1)
    assert last >= date(2031, 1, 1)
    assert plausible_days(date(1960, 5, 1), date(2026, 11, 29))[0] == date(1960, 5, 1)
