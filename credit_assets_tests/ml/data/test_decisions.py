"""Decisions as known on a day, held against a reference that walks through the rows of one application at a time."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data import cohorts
from credit_assets.ml.data.cohorts import CohortWindow, Known, Loans
from credit_assets.ml.data.decisions import Decisions
from credit_assets.ml.data.population import CLASSES
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.tiny import LOOKBACK, TINY, WINDOW, W, days, features, outcomes

POPULATION = {"table": "decided", "id": "loan", "date": "on", "status": "status", "booked_on": "paid_on"}
LISTS = {"booked": ["booked", "live"], "declined": ["no"], "withdrawn": ["lapsed"], "undecided": ["open", "approved"]}
FIRST = WINDOW.first


def tiny(**more: object) -> Portfolio:
    given = TINY.model_dump(mode="json")
    return Portfolio.model_validate({**given, "population": {**POPULATION, **LISTS}, **more})


DECIDED, FROM_BOOKING = tiny(), tiny(performance_window_from="booking")
Row = tuple[int, int, int, "str | None", "int | None"]


def decided(rows: list[Row], portfolio: Portfolio = DECIDED) -> pd.DataFrame:
    """Rows of number, days from FIRST, moment, status, days from FIRST of booking."""
    frame = pd.DataFrame(
        {
            "loan": pd.Series([f"a{n}" for n, *_ in rows], dtype=object),
            "on": np.array([FIRST + timedelta(day) for _, day, *_ in rows], dtype="datetime64[ms]"),
            "status": pd.Series([row[3] for row in rows], dtype=object),
            "known_at": np.array([row[2] for row in rows], dtype=np.int64),
        }
    )
    if portfolio.performance_window_from == "booking":
        paid = [None if row[4] is None else FIRST + timedelta(row[4]) for row in rows]
        frame["paid_on"] = pd.Series(np.array(paid, dtype="datetime64[ms]"))
    return frame


def class_of(status: str | None, portfolio: Portfolio = DECIDED) -> str | None:
    return "undecided" if status is None else portfolio.decisions.classes.get(status)


def reference(rows: list[Row], number: int, day: int) -> tuple[str | None, int | None]:
    """The class of an application on a day and its day of booking, by walking through its rows."""
    found, booked_on, best = "undecided", None, None
    for n, known, moment, status, paid in rows:
        if n != number or known > day:
            continue
        name = class_of(status)
        here = (known, moment, -1 if name is None else CLASSES.index(name))
        if best is None or here >= best:
            found, booked_on, best = name, known if paid is None else paid, here
    return found, booked_on


statuses = st.sampled_from(["booked", "live", "no", "lapsed", "open", "approved", "frozen", None])
decision_rows = st.lists(
    st.tuples(st.integers(0, 7), st.integers(-3, 60), st.integers(0, 2), statuses, st.none() | st.integers(-5, 60)),
    max_size=40,
).filter(lambda rows: len({(*row[:3], class_of(row[3])) for row in rows}) == len(rows))


@fuzz(150)
@given(rows=decision_rows, day=st.integers(-5, 65), shuffled=st.randoms(use_true_random=False))
def test_the_last_decision_known_by_a_day_holds(rows: list[Row], day: int, shuffled):
    frame = decided(rows).sample(frac=1.0, random_state=shuffled.randint(0, 1000))
    standing = Decisions(frame, DECIDED).as_of(FIRST + timedelta(day))
    ids = pd.Series([f"a{n}" for n in range(9)])
    assert list(standing.classes(ids)) == [reference(rows, n, day)[0] for n in range(9)]
    unknown = [n for n in range(9) if reference(rows, n, day)[0] is None]
    assert sum(standing.unmapped.values()) == len(unknown)
    assert set(standing.unmapped) <= {"frozen"}


@fuzz(120)
@given(
    rows=decision_rows,
    applied=st.lists(st.integers(-20, LOOKBACK + 5), min_size=8, max_size=8),
    bads=st.lists(st.tuples(st.integers(0, 7), st.integers(-5, 80)), max_size=12),
    day=st.integers(0, 90),
    booking=st.booleans(),
)
def test_a_target_is_of_booked_loans_whose_window_has_closed(rows, applied, bads, day, booking):
    portfolio = FROM_BOOKING if booking else DECIDED
    inputs = features(*((f"a{n}", FIRST + timedelta(on)) for n, on in enumerate(applied)))
    known = outcomes(*((f"a{n}", FIRST + timedelta(on), 1) for n, on in bads))
    loans = Loans(inputs, Known(known, decided(rows, portfolio)), W, portfolio).on(FIRST + timedelta(day))
    expected = []
    for n, on in enumerate(applied):
        name, paid = reference(rows, n, day)
        start = max(on, paid) if booking and paid is not None else on
        if name != "booked" or start + W > day:
            expected.append(None)
        else:
            expected.append(float(any(m == n and start <= bad <= start + W and bad <= day for m, bad in bads)))
    assert [None if np.isnan(value) else value for value in loans.targets] == expected


@fuzz(60)
@given(rows=decision_rows, booking=st.booleans(), later=decision_rows)
def test_a_training_set_has_booked_loans_and_nothing_known_later(rows, booking, later):
    portfolio = FROM_BOOKING if booking else DECIDED
    spread = [(8 + n, n, 0, "booked", n) for n in range(LOOKBACK)]
    inputs = features(*((f"a{n}", FIRST + timedelta(n)) for n in range(8 + LOOKBACK)))
    inputs["day"] = [np.datetime64(FIRST + timedelta(max(0, n - 8)), "ms") for n in range(8 + LOOKBACK)]
    as_of = (WINDOW.as_of - FIRST).days
    after = [(n, as_of + 1 + abs(day), moment, status, paid) for n, day, moment, status, paid in later]

    def assembled(given: list[Row]) -> pd.DataFrame:
        known = Known(outcomes(), decided([*spread, *given], portfolio))
        shares = {"test_share": 0.25, "validation_share": 0.25}
        return cohorts.assemble_training_set(inputs, known, WINDOW, portfolio, **shares).to_pandas()

    found = assembled(rows)
    pd.testing.assert_frame_equal(found, assembled([*rows, *after]))
    expected = set()
    for n in range(8 + LOOKBACK):
        name, paid = reference([*spread, *rows], n, as_of)
        start = max(0, n - 8) if not booking or paid is None else max(0, n - 8, paid)
        if name == "booked" and start <= (WINDOW.last - FIRST).days:
            expected.add(f"a{n}")
    assert set(found["id"]) == expected
    assert found["default"].sum() == 0


def test_who_is_in_a_training_set_and_who_is_not_is_counted():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    rows = [(n, n, 0, status, None) for n, status in enumerate(["booked", "no", "lapsed", "approved", "frozen", None])]
    cohort = cohorts.Cohort(inputs, Known(outcomes(("a0", FIRST, 1), ("a1", FIRST, 0)), decided(rows)), WINDOW, DECIDED)
    found = cohort.counts()
    assert found.applications == LOOKBACK
    assert found.population == {"undecided": LOOKBACK - 4, "declined": 1, "withdrawn": 1, "booked": 1}
    assert found.outcomes == {"good": 0, "indeterminate": 0, "bad": 1, "excluded": 0}
    assert found.unmapped == {"frozen": 1}
    assert (found.with_outcome, found.lent_to_nobody) == (2, 1)
    assert cohort.training_set(0.25, 0.25)["id"].to_pylist() == ["a0"]


def test_decisions_are_not_forgotten():
    inputs = features(*((f"a{n}", day) for n, day in enumerate(days(LOOKBACK))))
    with pytest.raises(ValueError, match="says who was lent to"):
        cohorts.assemble_training_set(inputs, outcomes(), WINDOW, DECIDED, test_share=0.25, validation_share=0.25)
    known = Known(outcomes(), decided([(1, 1, 0, "booked", None)]))
    with pytest.raises(ValueError, match="19 applications were not lent to"):
        cohorts.targets(inputs[["id", "day"]], known, WINDOW, DECIDED)


def test_a_window_that_starts_at_the_booking_is_open_for_longer():
    window = CohortWindow(WINDOW.as_of, W, LOOKBACK)
    inputs = features(("a0", window.last), ("a1", window.last - timedelta(1)), ("a2", window.first - timedelta(1)))
    rows = [(n, 0, 0, "booked", None if paid is None else (paid - FIRST).days) for n, paid in enumerate(
        [window.last + timedelta(1), window.last, window.first]
    )]  # fmt: skip
    known = Known(outcomes(("a1", window.as_of, 1)), decided(rows, FROM_BOOKING))
    cohort = cohorts.Cohort(inputs, known, window, FROM_BOOKING)
    assert cohort.table["id"].to_pylist() == ["a2", "a1"]
    assert cohort.on_the_day.targets.tolist() == [0.0, 1.0]
