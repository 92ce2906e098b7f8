"""When a date is due, what a shortage means while the lookback fills, and how often that is judged wrongly."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from credit_assets.ml.rules.due import (
    DUE,
    NOT_DUE,
    Calendar,
    due_gate,
    first_enough,
    unjudged_gates,
    why_not_due,
)

FIRST = date(2022, 1, 1)
CALENDAR = Calendar(FIRST, window_days=365, lookback_days=90, named="the start date (CREDIT_START_DATE)")


def as_of(days: int) -> date:
    """The as-of date on which so many days are mature."""
    return FIRST + timedelta(365 + days - 1)


def test_the_first_due_day_has_a_mature_day_for_each_split() -> None:
    assert CALENDAR.first_due == as_of(3) == date(2023, 1, 3)
    assert CALENDAR.days_there(as_of(3)) == [FIRST, FIRST + timedelta(1), FIRST + timedelta(2)]
    assert CALENDAR.why_not(as_of(3)) == ""
    assert CALENDAR.days_there(as_of(0)) == []
    assert CALENDAR.full == as_of(90)
    assert len(CALENDAR.days_there(as_of(200))) == 90


def test_what_is_not_due_says_from_when_on_it_is_and_by_which_settings() -> None:
    assert CALENDAR.why_not(date(2022, 1, 31)) == (
        "not due: the applications of no day are mature by 2022-01-31, and a training set needs those of 3; the start "
        "date (CREDIT_START_DATE) is 2022-01-01 and the performance window 365 days, so that the first as-of date with "
        "a model can be 2023-01-03"
    )
    assert "the applications of 2 days are mature by 2023-01-02" in CALENDAR.why_not(as_of(2))
    assert "the applications of 1 day is" not in CALENDAR.why_not(as_of(2))


@pytest.mark.parametrize("lookback", [1, 2])
def test_a_lookback_that_holds_no_three_days_is_no_matter_of_waiting(lookback: int) -> None:
    calendar = Calendar(FIRST, 30, lookback)
    assert calendar.why_not(FIRST + timedelta(30 + lookback - 1)) == ""
    assert calendar.why_growing(FIRST + timedelta(100), {"test bads": (0, 10)}) == ""


def test_a_shortage_is_none_yet_while_the_lookback_fills_and_may_bring_enough() -> None:
    why = CALENDAR.why_growing(as_of(20), {"bads": (12, 40)})
    assert why == (
        "not due: 20 of the 90 days of the lookback are mature by 2023-01-20, with 12 bads of at least 40; the start "
        "date (CREDIT_START_DATE) is 2022-01-01, and the lookback is full on 2023-03-31"
    )


def test_a_shortage_that_more_days_cannot_mend_is_a_failure() -> None:
    # 45 days without one bad: outcomes are missing, or the book will not have 40 bads in 90 days.
    assert CALENDAR.why_growing(as_of(45), {"bads": (0, 40)}) == ""
    assert CALENDAR.why_growing(as_of(90), {"bads": (39, 40)}) == ""
    assert CALENDAR.why_growing(as_of(500), {"bads": (0, 40)}) == ""
    assert CALENDAR.why_growing(as_of(20), {}) == ""


def judged(rate: float, rng: np.random.Generator, least: int = 40) -> tuple[bool, int]:
    """A young book of so many bads a day: whether any morning until its lookback is full ended as a failure, and on
    which of them first."""
    found = rng.poisson(rate, 90).cumsum()
    for days in range(3, 90):
        short = {"bads": (int(found[days - 1]), least)} if found[days - 1] < least else {}
        if short and not CALENDAR.why_growing(as_of(days), short):
            return True, days
    return False, 90


def test_how_often_a_morning_fails_that_waiting_would_mend_and_how_soon_one_that_it_would_not() -> None:
    rng = np.random.default_rng(3)
    enough = [judged(1.25 * 40 / 90, rng)[0] for _ in range(300)]
    assert np.mean(enough) < 0.02
    without_outcomes = judged(0.0, rng)
    assert without_outcomes == (True, 16)
    too_few = [judged(0.25 * 40 / 90, rng) for _ in range(300)]
    assert np.mean([failed for failed, _ in too_few]) > 0.98


def test_the_first_day_with_enough_applications() -> None:
    days = {FIRST + timedelta(n): 10 for n in range(30)}
    assert first_enough(days, CALENDAR, 240) == as_of(24)
    assert first_enough(days, CALENDAR, 30) == as_of(3)
    assert first_enough(days, CALENDAR, 301) is None
    # Never together in one lookback.
    assert first_enough(days, Calendar(FIRST, 365, 20), 240) is None
    # Sundays are no day to cut at.
    assert first_enough({day: 10 * (n != 1) for n, day in enumerate(days)}, CALENDAR, 30) == as_of(4)
    assert first_enough({}, CALENDAR, 1) is None


def test_a_set_that_is_not_due_says_so_and_fails_no_gate() -> None:
    gates = unjudged_gates(("due", "enough_outcomes"), "not due: too early")
    assert [gate.name for gate in gates] == ["due", "enough_outcomes"]
    assert all(gate.passed and gate.value == NOT_DUE for gate in gates)
    assert why_not_due(gates) == "not due: too early"
    assert due_gate().value == DUE
    assert why_not_due((due_gate(),)) == ""
    assert why_not_due(()) == ""
