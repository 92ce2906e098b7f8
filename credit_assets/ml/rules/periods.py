"""Days on which a version holds an alias: which version is in force when, and what a move does to the days around it.

Belongs here: arithmetic on periods, for the champion and for the model on trial. Does not belong here: where the
periods are kept (`credit_assets.ledger`) and what may take an alias (`decisions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import NamedTuple, Protocol

_DAY = timedelta(days=1)


class Period(NamedTuple):
    """A version's time with an alias: first and last day, both inclusive; `last` is None while it lasts."""

    version: str
    first: date
    last: date | None

    def covers(self, day: date) -> bool:
        return self.first <= day and (self.last is None or day <= self.last)


class HasBeenChampion(Protocol):
    """A version that knows its days in force, as (first, last) with None for a period that lasts."""

    @property
    def version(self) -> str: ...

    @property
    def champion_periods(self) -> Sequence[tuple[date, date | None]]: ...


def champion_history(versions: Iterable[HasBeenChampion]) -> list[Period]:
    """The periods of all champions, oldest first.

    Parameters
    ----------
    versions
        Registered versions with their days in force, in any order.

    Returns
    -------
    list of Period
        Sorted by first day, then by number of the version.
    """
    periods = [Period(v.version, first, last) for v in versions for first, last in v.champion_periods]
    return sorted(periods, key=lambda period: (period.first, int(period.version)))


def first_day_in_force(versions: Iterable[HasBeenChampion]) -> date | None:
    """The first day on which any of the versions was champion, None where none ever was."""
    return min((first for version in versions for first, _ in version.champion_periods), default=None)


def period_on(day: date, history: Sequence[Period]) -> Period | None:
    """The period that a day lies in.

    Parameters
    ----------
    day
        Any day.
    history
        Periods of one alias, oldest first. While a move is being written two of them cover a day for a moment; the
        later start is the move's.

    Returns
    -------
    Period or None
        None where no version holds the alias on that day.

    Examples
    --------
    >>> from datetime import date
    >>> history = [Period("1", date(2024, 4, 1), date(2024, 6, 30)), Period("2", date(2024, 7, 1), None)]
    >>> period_on(date(2024, 6, 30), history).version
    '1'
    >>> period_on(date(2024, 3, 31), history) is None
    True
    """
    return next((period for period in reversed(history) if period.covers(day)), None)


def holder_now(history: Sequence[Period]) -> Period | None:
    """The period that still lasts, None where nobody holds the alias."""
    return next((period for period in history if period.last is None), None)


def ended(history: Sequence[Period], end: date) -> list[Period]:
    """The history when nobody holds the alias from `end` on: days before it stay as they are."""
    before = end - _DAY
    return [Period(v, a, before if b is None or b >= end else b) for v, a, b in history if a < end]


def moved(history: Sequence[Period], version: str, start: date) -> list[Period]:
    """The history when `version` holds the alias from `start` on.

    Parameters
    ----------
    history
        Periods of the alias so far, oldest first.
    version
        The new holder. A period of its own that ends on the day before `start` goes on.
    start
        Its first day. Earlier days stay as they are, later ones are its own.

    Returns
    -------
    list of Period
        Oldest first, the last one without an end.

    Examples
    --------
    >>> from datetime import date
    >>> for period in moved([Period("1", date(2024, 4, 1), None)], "2", date(2024, 7, 1)):
    ...     print(*period)
    1 2024-04-01 2024-06-30
    2 2024-07-01 None
    """
    kept = ended(history, start)
    if kept and kept[-1].version == version and kept[-1].last == start - _DAY:
        start = kept.pop().first
    return [*kept, Period(version, start, None)]
