"""What became of loans as known on a day, held against a reference that walks through the rows of one at a time."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from credit_assets.ml.data.cohorts import Cohort, Loans, final
from credit_assets.ml.data.instants import read_days, read_moments
from credit_assets.ml.data.outcomes import OUTCOME_CLASSES, Outcomes, definition
from credit_assets.ml.data.portfolio import OutcomeTable, Portfolio
from credit_assets.ml.data.recorded import new_rows, telling_rows
from credit_assets.ml.data.schemas import outcomes_schema
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.tiny import LOOKBACK, TINY, WINDOW, W, features

LISTS = {"bad": ["lost", "90"], "good": ["paid", "live"], "indeterminate": ["30"], "excluded": ["fraud"],
         "reversed": ["undone"]}  # fmt: skip
STATUSES = [*(status for statuses in LISTS.values() for status in statuses), "sold", None]
FIRST = WINDOW.first


def tiny(**outcomes: Any) -> Portfolio:
    given = TINY.model_dump(mode="json", exclude_unset=True)
    return Portfolio.model_validate({**given, "outcomes": {"id": "id", "date": "on", **outcomes}})


BY_STATUS = tiny(status="status", known="seen", **LISTS)
UNDATED = tiny(status="status", **LISTS)
BY_FLAG = tiny(defaulted="bad", known="seen")
# Number of the loan, days from FIRST to which it is booked and on which it became known, moment, what it says.
Row = tuple[int, "int | None", int, int, Any]


def table(rows: list[Row], portfolio: Portfolio = BY_STATUS) -> pd.DataFrame:
    names = portfolio.outcomes
    booked = [None if on is None else FIRST + timedelta(on) for _, on, *_ in rows]
    return pd.DataFrame(
        {
            "id": pd.Series([f"a{n}" for n, *_ in rows], dtype=object),
            names.day: np.array([FIRST + timedelta(known) for _, _, known, *_ in rows], dtype="datetime64[ms]"),
            "on": pd.Series(np.array(booked, dtype="datetime64[ms]")),
            names.says: pd.Series([row[4] for row in rows], dtype=object if names.status else "Int64"),
            "known_at": np.array([row[3] for row in rows], dtype=np.int64),
        }
    )


def reference(rows: list[Row], number: int, applied: int, day: int, portfolio: Portfolio = BY_STATUS) -> str:
    """Walk through what was known of a loan by a day, in the order in which it became known."""
    order = ["reversed", "good", "indeterminate", "bad", "excluded"]

    def says(value: Any) -> str | None:
        if portfolio.outcomes.status is None:
            return {1: "bad", 0: "reversed"}.get(value)
        return portfolio.outcomes.classes.get(value)

    mine = [
        (known, moment, known if on is None else on, order.index(said), said)
        for n, on, known, moment, value in rows
        if n == number and known <= day and (said := says(value)) is not None
    ]
    found = "good"
    for *_, booked_to, _, said in sorted(mine):
        if said == "reversed":
            found = "good"
        elif applied <= booked_to <= applied + W:
            settles = said == "good" and found == "indeterminate"
            found = said if settles or order.index(said) > order.index(found) else found
    return found


def outcome_rows(says: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Row]]:
    on = st.none() | st.integers(-5, LOOKBACK + W + 5)
    return st.lists(
        st.tuples(st.integers(0, 5), on, st.integers(0, LOOKBACK + 3 * W), st.integers(0, 2), says), max_size=40
    )


@fuzz(200)
@given(
    rows=outcome_rows(st.sampled_from(STATUSES)),
    applied=st.lists(st.integers(0, LOOKBACK), min_size=6, max_size=6),
    day=st.integers(0, LOOKBACK + 3 * W),
    shuffled=st.integers(0, 1000),
)
def test_what_was_known_by_a_day_decides(rows: list[Row], applied: list[int], day: int, shuffled: int):
    frame = pd.concat([table(rows), table(rows[::3])]).sample(frac=1.0, random_state=shuffled)
    inputs = features(*((f"a{n}", FIRST + timedelta(on)) for n, on in enumerate(applied)))
    found = Loans(inputs, frame, W, BY_STATUS).on(FIRST + timedelta(day))
    expected = [reference(rows, n, on, day) for n, on in enumerate(applied)]
    assert [OUTCOME_CLASSES[number] for number in found.classes] == expected
    targets = [None if np.isnan(value) else value for value in found.targets]
    assert targets == [
        {"good": 0.0, "bad": 1.0}.get(said) if on + W <= day else None
        for said, on in zip(expected, applied, strict=True)
    ]


@fuzz(80)
@given(rows=outcome_rows(st.sampled_from([0, 1, None])), day=st.integers(0, LOOKBACK + 3 * W))
def test_of_flags_that_became_known_one_after_another_the_last_holds(rows: list[Row], day: int):
    inputs = features(*((f"a{n}", FIRST) for n in range(6)))
    found = Loans(inputs, table(rows, BY_FLAG), W, BY_FLAG).on(FIRST + timedelta(day))
    expected = [reference(rows, n, 0, day, BY_FLAG) for n in range(6)]
    assert [OUTCOME_CLASSES[number] for number in found.classes] == expected


def test_a_default_that_is_reversed_is_one_until_that_is_known():
    rows = [(0, 10, 12, 0, "90"), (0, 10, W + 40, 0, "undone"), (1, 10, 12, 0, "90"), (1, 20, W + 9, 0, "undone"),
            (1, 25, W + 9, 5, "lost")]  # fmt: skip
    inputs = features(("a0", FIRST), ("a1", FIRST))
    loans = Loans(inputs, table(rows), W, BY_STATUS)
    days = (W, W + 39, W + 40, W + 400)
    assert [loans.on(FIRST + timedelta(day)).targets.tolist() for day in days] == [
        [1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]
    ]  # fmt: skip
    assert not final(BY_STATUS)
    assert final(TINY)


def test_a_default_that_is_recorded_late_counts_from_then_on_and_one_after_the_window_never():
    rows = [(0, W, W + 30, 0, "90"), (1, W + 1, W + 1, 0, "90"), (2, None, 5, 0, "90")]
    loans = Loans(features(*((f"a{n}", FIRST) for n in range(3))), table(rows), W, BY_STATUS)
    assert loans.on(FIRST + timedelta(W + 29)).targets.tolist() == [0.0, 0.0, 1.0]
    assert loans.on(FIRST + timedelta(W + 30)).targets.tolist() == [1.0, 0.0, 1.0]


def test_a_good_row_settles_what_was_indeterminate_and_undoes_no_default():
    rows = [(0, 3, 3, 0, "30"), (0, 9, 9, 0, "live"), (1, 3, 3, 0, "90"), (1, 9, 9, 0, "paid"), (2, 3, 3, 0, "30"),
            (2, W + 9, W + 9, 0, "paid"), (3, 3, 3, 0, "live"), (3, 9, 9, 0, "30")]  # fmt: skip
    loans = Loans(features(*((f"a{n}", FIRST) for n in range(4))), table(rows), W, BY_STATUS)
    assert loans.on(FIRST + timedelta(8)).classes.tolist() == [1, 2, 1, 0]
    assert loans.on(FIRST + timedelta(2 * W)).classes.tolist() == [0, 2, 1, 1]


def test_indeterminate_and_excluded_loans_are_left_out_and_counted():
    inputs = features(*((f"a{n}", FIRST + timedelta(n)) for n in range(LOOKBACK)))
    rows = [(0, 3, 3, 0, "90"), (1, 3, 3, 0, "30"), (2, 3, 3, 0, "fraud"), (3, 4, 4, 0, None), (4, 5, 5, 0, "sold")]
    cohort = Cohort(inputs, table(rows), WINDOW, BY_STATUS)
    counts = cohort.counts()
    assert counts.outcomes == {"good": LOOKBACK - 3, "indeterminate": 1, "bad": 1, "excluded": 1}
    assert counts.unmapped_outcomes == {"sold": 1}
    assert counts.without_outcome == 1
    made = cohort.training_set(0.25, 0.25)
    assert "a1" not in made["id"].to_pylist()
    assert "a2" not in made["id"].to_pylist()
    assert made.num_rows == LOOKBACK - 2


@fuzz(60)
@given(rows=outcome_rows(st.sampled_from(STATUSES)), later=outcome_rows(st.sampled_from(STATUSES)))
def test_nothing_that_became_known_later_changes_a_target(rows: list[Row], later: list[Row]):
    day = LOOKBACK + W
    after = [(n, on, day + 1 + known, moment, status) for n, on, known, moment, status in later]
    inputs = features(*((f"a{n}", FIRST + timedelta(n)) for n in range(6)))
    then = Loans(inputs, table([row for row in rows if row[2] <= day]), W, BY_STATUS).on(FIRST + timedelta(day))
    now = Loans(inputs, table([*rows, *after]), W, BY_STATUS).on(FIRST + timedelta(day))
    np.testing.assert_array_equal(then.targets, now.targets)


# Recorded by us


@fuzz(60)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25), st.integers(0, 12), st.sampled_from(STATUSES)),
                  max_size=30),
    read=st.lists(st.booleans(), min_size=40, max_size=40),
)  # fmt: skip
def test_a_row_is_known_from_the_first_day_on_which_it_was_seen(
    rows: list[tuple[int, int, int, Any]], read: list[bool]
):
    """`rows`: loan, day to which it is booked, by how many days later it appears in the table, status."""
    schema = outcomes_schema(UNDATED)
    within, record = 20, schema.empty_table()
    there = pa.schema([schema.field(0), schema.field("on"), schema.field("status")])
    expected: dict[tuple[str, date, str], date] = {}
    for n, reads in enumerate(read):
        day = FIRST + timedelta(n)
        if not reads:
            continue
        shown = [
            (f"a{k}", FIRST + timedelta(on), says)
            for k, on, late, says in rows
            if on + late <= n and n - within <= on <= n
        ]
        now = pa.Table.from_pylist([dict(zip(there.names, row, strict=True)) for row in shown], schema=there)
        record = pa.concat_tables([record, new_rows(telling_rows(now, "status"), record, [day], within)])
        for row in shown:
            if row[2] is not None:
                expected.setdefault(row, day)
    found = {(r["id"], r["on"], r["status"]): r["known_on"] for r in record.to_pylist()}
    assert record.num_rows == len(found)
    assert found == expected


def test_a_row_that_came_after_a_later_day_was_recorded_is_left_to_the_next():
    schema = outcomes_schema(UNDATED)
    now = pa.table({"id": ["a", "b"], "on": [FIRST, FIRST - timedelta(30)], "status": ["90", "paid"]}).cast(
        pa.schema([schema.field(0), schema.field("on"), schema.field("status")])
    )
    found = new_rows(now, schema.empty_table(), [FIRST], 20, later=FIRST + timedelta(3))
    assert found.num_rows == 0
    assert new_rows(now, schema.empty_table(), [FIRST], 20)["id"].to_pylist() == ["a"]


# The keys


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"status": "s"}, "needs the list `bad`"),
        ({"bad": ["lost"]}, "name their column"),
        ({"status": "s", "bad": ["b"], "defaulted": "d"}, "not both"),
        ({"status": "s", "bad": ["b"], "good": ["b"]}, "'b' stands in good and in bad"),
        ({"status": "outcome_date", "bad": ["b"]}, "three different columns"),
        ({"known": "application_id"}, "another column than id"),
        ({"status": "s", "bad": [90], "good": [False]}, "put the status in quotes"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        OutcomeTable(**given)


def test_when_rows_became_known():
    assert (OutcomeTable().day, OutcomeTable().recorded) == ("outcome_date", False)
    assert OutcomeTable(known="seen").day == "seen"
    assert (UNDATED.outcomes.day, UNDATED.outcomes.recorded) == ("known_on", True)
    assert outcomes_schema(TINY).names == ["id", "known", "bad"]
    assert outcomes_schema(BY_STATUS).names == ["id", "seen", "on", "status", "known_at"]
    assert outcomes_schema(UNDATED).names == ["id", "known_on", "on", "status"]
    assert "status in lost, 90" in definition(BY_STATUS, W)


# Moments


@fuzz(80)
@given(
    moments=st.lists(st.datetimes(datetime(2024, 1, 1), datetime(2024, 12, 31)), min_size=2, max_size=12),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo", "America/New_York"]),
)
def test_moments_order_rows_whatever_their_zone(moments: list[datetime], zone: str):
    aware = [moment.replace(tzinfo=ZoneInfo(zone)) for moment in moments]
    utc = [moment.timestamp() for moment in aware]
    as_texts = read_moments([moment.isoformat() for moment in aware], "UTC").values.to_pylist()
    as_instants = read_moments(pa.array(aware, pa.timestamp("us", "UTC")), zone).values.to_pylist()
    assert as_texts == as_instants == [round(second * 1e6) for second in utc]
    dates = read_moments(pa.array([moment.date() for moment in moments]), zone).values.to_pylist()
    assert np.argsort(dates, kind="stable").tolist() == np.argsort([m.date() for m in moments], kind="stable").tolist()
    known = read_days([moment.isoformat() for moment in aware], zone).values.to_pylist()
    assert known == [moment.date() for moment in moments]


def test_what_is_no_moment_is_null():
    assert read_moments(["soon", None, ""], "UTC").values.to_pylist() == [None] * 3
    assert read_moments([[1], [2]], "UTC").values.to_pylist() == [None] * 2


def test_rows_that_lack_an_id_or_a_day_are_of_nobody():
    frame = table([(0, 1, 1, 0, "90"), (1, 1, 1, 0, "90")])
    frame.loc[0, "id"] = None
    assert Outcomes(frame, BY_STATUS).rows.applications == 1
