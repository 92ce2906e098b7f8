"""The demo's loan book: the same loans whatever day it ends on, quiet until it is not."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.stats import ks_2samp

from credit_assets.loans.demo_book import PLANTED, WEEKS, demo_book, first_day

END = date(2026, 2, 25)  # a Wednesday
WATCHED = ("annual_income", "total_debt", "credit_used", "interest_rate", "term_months", "loan_amount", "inquiries_6m")
# Columns that say on which day a loan was applied for.
_DATED = ["application_id", "application_date"]


@pytest.fixture(scope="module")
def tables() -> tuple[pa.Table, pa.Table]:
    return demo_book(END, 20071)


@pytest.fixture(scope="module")
def loans(tables: tuple[pa.Table, pa.Table]) -> pd.DataFrame:
    """One row a loan, with its day of the book, and whether it was known to default within a year."""
    applications, outcomes = (table.to_pandas() for table in tables)
    rows = applications.merge(outcomes, on="application_id", how="left")
    applied, known = (pd.to_datetime(rows[name]) for name in ("application_date", "outcome_date"))
    rows["day"] = (applied - pd.Timestamp(first_day(END))).dt.days
    rows["bad"] = (rows["defaulted"] == 1) & ((known - applied).dt.days <= 365)
    rows["utilisation"] = rows["credit_used"] / rows["credit_limit"]
    rows["loan_to_income"] = rows["loan_amount"] / rows["annual_income"]
    return rows


def test_the_book_ends_on_its_day_and_knows_nothing_later(tables: tuple[pa.Table, pa.Table]) -> None:
    applications, outcomes = tables
    assert pc.max(applications["application_date"]).as_py() == END
    assert pc.max(outcomes["outcome_date"]).as_py() == END
    assert pc.min(applications["application_date"]).as_py() == first_day(END)
    assert set(outcomes["application_id"].to_pylist()) <= set(applications["application_id"].to_pylist())


@pytest.mark.parametrize("end", [date(2026, 3, 1), date(2026, 3, 2), date(2028, 2, 29), date(2031, 12, 31)])
def test_models_of_a_day_of_the_book_see_the_same_loans_whenever_it_ends(
    end: date, tables: tuple[pa.Table, pa.Table]
) -> None:
    start, moved = first_day(end), first_day(end) - first_day(END)
    assert start.weekday() == 0
    assert (WEEKS - 1) * 7 <= (end - start).days < WEEKS * 7
    assert moved.days % 7 == 0
    last = min(end - moved, END)
    (before, known_before), (applications, outcomes) = tables, demo_book(end, 20071)

    def until(table: pa.Table, column: str, day: date) -> pa.Table:
        return table.filter(pc.less_equal(table[column], pa.scalar(day)))

    a, b = until(before, _DATED[1], last), until(applications, _DATED[1], last + moved)
    assert a.drop_columns(_DATED).equals(b.drop_columns(_DATED))
    days = [np.asarray(table[_DATED[1]].cast(pa.int32())) for table in (a, b)]
    assert np.array_equal(days[0] + moved.days, days[1])
    known = [until(known_before, "outcome_date", last), until(outcomes, "outcome_date", last + moved)]
    assert known[0].num_rows == known[1].num_rows
    assert known[0]["defaulted"].to_pylist() == known[1]["defaulted"].to_pylist()


def test_the_same_seed_gives_the_same_loans_and_another_one_others(tables: tuple[pa.Table, pa.Table]) -> None:
    assert all(a.equals(b) for a, b in zip(tables, demo_book(END, 20071), strict=True))
    other = demo_book(END, 1)[0]
    assert not set(other["application_id"].to_pylist()) & set(tables[0]["application_id"].to_pylist())


def test_every_change_lies_in_the_shortest_book_and_the_last_leaves_time_to_be_seen(loans: pd.DataFrame) -> None:
    shortest = (WEEKS - 1) * 7
    assert [one.day for one in PLANTED] == sorted(one.day for one in PLANTED)
    assert shortest - 30 < PLANTED[-1].day <= shortest - 20
    assert loans["day"].max() >= shortest


def test_nothing_drifts_before_the_last_change_and_then_three_columns_do(loans: pd.DataFrame) -> None:
    """`term_months` above all: its share of long terms rises for a year in a young book."""
    drift = PLANTED[-1].day
    old = loans[loans["day"].between(0, 89)]
    for first in range(90, drift - 30, 30):
        part = loans[loans["day"].between(first, first + 29)]
        for column in WATCHED:
            assert ks_2samp(old[column].dropna(), part[column].dropna()).statistic < 0.05, (column, first)
    since = loans[loans["day"] >= drift]
    moved = {column: ks_2samp(old[column].dropna(), since[column].dropna()).statistic for column in WATCHED}
    drifted = {"annual_income", "total_debt", "loan_amount"}
    assert {column for column, by in moved.items() if by > 0.2} == drifted
    assert all(by < 0.05 for column, by in moved.items() if column not in drifted)


def test_defaults_keep_their_level_while_what_makes_them_changes(loans: pd.DataFrame) -> None:
    mature = loans[loans["day"] <= loans["day"].max() - 365]
    by_quarter = mature.groupby(mature["day"] // 90)["bad"].mean()
    assert by_quarter.between(0.07, 0.10).all(), by_quarter.to_dict()
    first, second, _ = (one.day for one in PLANTED)

    def slope(column: str, part: pd.DataFrame) -> float:
        """How much more often the upper third by the column defaults than the lower one."""
        low, high = part[column].quantile([1 / 3, 2 / 3])
        return float(part.loc[part[column] >= high, "bad"].mean() / part.loc[part[column] <= low, "bad"].mean())

    parts = [mature[mature["day"].between(*span)] for span in ((0, first - 1), (first, second - 1), (second, 9_999))]
    of_utilisation = [slope("utilisation", part) for part in parts]
    of_loan = [slope("loan_to_income", part) for part in parts]
    assert min(of_utilisation[1:]) > 1.5 * of_utilisation[0]
    assert of_loan[2] > 1.5 * max(of_loan[:2])


def test_the_first_day_is_a_monday_far_enough_back() -> None:
    for n in range(14):
        end = END + timedelta(n)
        assert first_day(end).weekday() == 0
        assert 0 <= (end - first_day(end)).days - (WEEKS - 1) * 7 <= 6
