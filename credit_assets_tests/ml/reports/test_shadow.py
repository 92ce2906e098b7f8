"""Which trial a day's report looks at, while it runs and afterwards."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from credit_assets.ml.reports.shadow import Trial, TrialView, followed_up, trial_on
from credit_assets.ml.rules.periods import Period

VIEW = TrialView(date(2024, 1, 1), window_days=30, cohort_days=20, approval_rate=0.8)
D = date(2024, 1, 1)


def day(number: int) -> date:
    return D + timedelta(number)


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (9, None),  # Before the trial.
        (10, ("1", "2", 10, 10)),
        (15, ("1", "2", 10, 15)),
        (20, ("1", "2", 10, 20)),
        (21, None),  # Between two trials.
        (35, ("1", "3", 30, 35)),
        (45, ("4", "3", 40, 45)),  # Another champion since day 40: the comparison begins anew.
        (60, None),  # The model on trial has become champion.
        (500, ("3", "5", 135, 500)),  # The newest 366 days of it.
        (700, None),  # No champion.
    ],
)
def test_a_trial_is_two_models_and_days(on: int, expected: tuple[str, str, int, int] | None) -> None:
    champions = [
        Period("1", day(0), day(39)),
        Period("4", day(40), day(49)),
        Period("3", day(50), day(650)),
    ]
    trials = [
        Period("2", day(10), day(20)),
        Period("3", day(30), day(69)),
        Period("5", day(70), None),
    ]
    found = trial_on(day(on), champions, trials)
    if expected is None:
        assert found is None
    else:
        champion, shadow, first, last = expected
        since = next(period.first for period in trials if period.version == shadow)
        assert found == Trial(champion, shadow, since, day(first), day(last))


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (39, None),  # None of it has matured.
        (40, (10, 10)),
        (45, (10, 15)),
        (60, (10, 20)),  # Stays, complete, for as long as a performance report looks back.
        (69, (10, 20)),
        (70, None),
    ],
)
def test_a_former_trial_is_followed_as_it_matures(on: int, expected: tuple[int, int] | None) -> None:
    champions, trials = [Period("1", day(0), None)], [Period("2", day(10), day(20))]
    found = followed_up(day(on), VIEW, champions, trials)
    assert (found and (found.first, found.last)) == (expected and (day(expected[0]), day(expected[1])))
    running = [Period("2", day(10), None)]
    assert followed_up(day(on), VIEW, champions, running) is None
