"""A status column recorded day by day, held against what it said on each day, and against readings that come late."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.decisions import Decisions
from credit_assets.ml.data.recorded import news
from credit_assets.ml.data.schemas import decisions_schema, statuses_schema
from credit_assets_tests.support.decided import by_column, lives, standing
from credit_assets_tests.support.fuzz import fuzz

FIRST, WITHIN = date(2024, 1, 1), 40
PORTFOLIO = by_column(decided_within_days=WITHIN)
KEY, DAY = PORTFOLIO.id_column, PORTFOLIO.date_column


def applied(per_day: list[int]) -> pd.DataFrame:
    days = [FIRST + timedelta(n) for n, count in enumerate(per_day) for _ in range(count)]
    return pd.DataFrame({KEY: [f"L{n:03}" for n in range(len(days))], DAY: days})


def says(applications: pd.DataFrame, decisions: pd.DataFrame, on: date, first: date, last: date) -> pa.Table:
    """What the column says on the evening of `on` about the applications of first .. last."""
    status = standing(decisions, on)
    rows = [(k, d, status.get(k)) for k, d in applications.itertuples(index=False) if first <= d <= last and d <= on]
    names = statuses_schema(PORTFOLIO).names
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=statuses_schema(PORTFOLIO))


def record(
    record_: pa.Table, applications: pd.DataFrame, decisions: pd.DataFrame, days: list[date], read_on: date
) -> pa.Table:
    now = says(applications, decisions, read_on, days[0] - timedelta(WITHIN), days[-1])
    return pa.concat_tables([record_, news(now, record_, days, WITHIN)])


books = st.lists(st.integers(0, 3), min_size=10, max_size=25)


@fuzz(20)
@given(per_day=books, seed=st.integers(0, 99))
def test_read_every_day_the_record_knows_on_each_day_what_the_column_said_on_it(per_day: list[int], seed: int):
    applications = applied(per_day)
    decisions = lives(applications.rename(columns={DAY: "application_date"}), seed)
    days = [FIRST + timedelta(n) for n in range(len(per_day) + 30)]
    found = decisions_schema(PORTFOLIO).empty_table()
    for day in days:
        found = record(found, applications, decisions, [day], day)
    reader = Decisions(found, PORTFOLIO)
    classes = PORTFOLIO.decisions.classes
    for day in days:
        told = standing(decisions, day)
        expected = [classes[told[key]] if key in told else "undecided" for key in applications[KEY]]
        assert list(reader.as_of(day).classes(applications[KEY])) == expected
    # Every change is there once, and nothing that is not one.
    changes = decisions.drop_duplicates(["loan_no", "decided_on"], keep="last")
    changes = changes[
        changes["loan_no"].ne(changes["loan_no"].shift()) | changes["status"].ne(changes["status"].shift())
    ]
    assert found.num_rows == len(changes)


@fuzz(20)
@given(per_day=books, seed=st.integers(0, 99), cuts=st.lists(st.integers(1, 50), max_size=4))
def test_read_years_later_in_any_ranges_the_record_is_the_same(per_day: list[int], seed: int, cuts: list[int]):
    applications = applied(per_day)
    decisions = lives(applications.rename(columns={DAY: "application_date"}), seed)
    days = [FIRST + timedelta(n) for n in range(len(per_day) + 30)]
    later = days[-1] + timedelta(900)
    edges = sorted({0, len(days), *(cut for cut in cuts if cut < len(days))})
    found = decisions_schema(PORTFOLIO).empty_table()
    for a, b in pairwise(edges):
        found = record(found, applications, decisions, days[a:b], later)
    whole = record(decisions_schema(PORTFOLIO).empty_table(), applications, decisions, days, later)
    by_all = [(name, "ascending") for name in found.column_names]
    assert found.sort_by(by_all).equals(whole.sort_by(by_all))
    # What stands there then counts from the day of each application.
    assert dict(zip(found[KEY].to_pylist(), found["known_on"].to_pylist(), strict=True)) == dict(
        zip(applications[KEY], applications[DAY], strict=True)
    )


def test_a_loan_booked_after_the_next_morning_is_not_lost():
    applications = applied([20, 20, 20])
    decisions = lives(applications.rename(columns={DAY: "application_date"}), seed=1)
    days = [FIRST + timedelta(n) for n in range(60)]
    found = decisions_schema(PORTFOLIO).empty_table()
    for day in days:
        found = record(found, applications, decisions, [day], day)
    booked = {key for key, status in standing(decisions, days[-1]).items() if status == "booked"}
    seen_next_morning = {
        key for key, day in applications.itertuples(index=False) if standing(decisions, day).get(key) == "booked"
    }
    assert len(booked) > len(seen_next_morning) + 10
    last = Decisions(found, PORTFOLIO).as_of(days[-1])
    assert set(applications[KEY][last.booked(applications[KEY])]) == booked


def test_a_day_that_was_left_out_takes_nothing_from_the_days_after_it():
    applications, on = applied([2, 2, 2]), [FIRST + timedelta(n) for n in range(6)]
    decisions = pd.DataFrame(
        [("L000", on[0], "open"), ("L000", on[2], "booked"), ("L002", on[1], "open")],
        columns=["loan_no", "decided_on", "status"],
    )
    found = decisions_schema(PORTFOLIO).empty_table()
    for day in (on[0], on[3]):
        found = record(found, applications, decisions, [day], day)
    filled = record(found, applications, decisions, [on[1]], on[5])
    assert filled.equals(found)
    assert [row["status"] for row in found.filter(pc.equal(found[KEY], "L000")).to_pylist()] == [
        "open",
        "booked",
    ]
    # Those first seen on the fourth day, statuses that nobody gave among them.
    late = found.filter(pc.equal(found["known_on"], pa.scalar(on[3])))
    assert sorted(late[KEY].to_pylist()) == ["L000", "L002", "L003", "L004", "L005"]


def test_a_change_goes_to_the_last_of_the_days_that_are_made_late():
    applications, on = applied([1]), [FIRST + timedelta(n) for n in range(WITHIN + 10)]
    decisions = pd.DataFrame(
        [("L000", on[0], "open"), ("L000", on[7], "booked")], columns=["loan_no", "decided_on", "status"]
    )
    found = record(decisions_schema(PORTFOLIO).empty_table(), applications, decisions, [on[0]], on[0])
    found = record(found, applications, decisions, on[1:6], on[8])
    assert found["known_on"].to_pylist() == [on[0], on[5]]
    beyond = record(found.slice(0, 1), applications, decisions, on[1:], on[-1])
    assert beyond["known_on"].to_pylist() == [on[0], FIRST + timedelta(WITHIN)]


def test_statuses_that_are_missing_are_recorded_once():
    applications = applied([3])
    nothing = pd.DataFrame(columns=["loan_no", "decided_on", "status"])
    found = decisions_schema(PORTFOLIO).empty_table()
    for n in range(3):
        found = record(found, applications, nothing, [FIRST + timedelta(n)], FIRST + timedelta(n))
    assert found["status"].to_pylist() == [None] * 3
    assert np.unique(found["known_on"].to_pylist()).tolist() == [FIRST]
