"""Days around a move: none lost, none counted twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pytest

from credit_assets.ml.rules.periods import Period, champion_history, ended, first_day_in_force, moved, period_on

APRIL, MAY, JUNE = date(2024, 4, 1), date(2024, 5, 1), date(2024, 6, 1)


@dataclass(frozen=True)
class Known:
    version: str
    champion_periods: tuple[tuple[date, date | None], ...]


def test_of_two_that_cover_a_day_the_later_start_counts_and_then_the_higher_version() -> None:
    versions = [Known("10", ((MAY, None),)), Known("9", ((MAY, None), (APRIL, date(2024, 4, 9)))), Known("11", ())]
    history = champion_history(versions)
    assert [(p.version, p.first) for p in history] == [("9", APRIL), ("9", MAY), ("10", MAY)]
    assert period_on(JUNE, history) == Period("10", MAY, None)
    assert period_on(date(2024, 4, 10), history) is None
    assert first_day_in_force(versions) == APRIL
    assert first_day_in_force([]) is None


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (APRIL, []),
        (date(2024, 4, 2), [("1", APRIL, APRIL)]),
        (MAY, [("1", APRIL, date(2024, 4, 30))]),
        (JUNE, [("1", APRIL, date(2024, 4, 30)), ("2", MAY, date(2024, 5, 31))]),
    ],
)
def test_what_ends_keeps_the_days_before(end: date, left: list[tuple[str, date, date]]) -> None:
    assert ended([Period("1", APRIL, date(2024, 4, 30)), Period("2", MAY, None)], end) == left


def test_a_version_that_comes_back_on_the_day_it_went_was_never_away() -> None:
    history = moved(moved([], "1", APRIL), "2", MAY)
    assert moved(history, "1", MAY) == [("1", APRIL, None)]
    assert moved(history, "1", JUNE) == [*history[:1], ("2", MAY, date(2024, 5, 31)), ("1", JUNE, None)]
