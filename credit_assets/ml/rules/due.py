"""Whether an as-of date is due: whether a model can be made as of it at all.

Belongs here: arithmetic on days, and what a shortage of outcomes means while the lookback is still filling. Does not
belong here: the gates on a training set (`training_gates`), and which days are ingested (`credit_assets.assets.due`).

A date that is not due is a state and no failure: nothing is wrong, and waiting mends it. So only the calendar may say
it. Where the days are all there and what they hold is too little, a gate fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from credit_assets.ml.data.cohorts import SPLITS, CohortWindow
from credit_assets.ml.data.gate_results import GateResult

DUE, NOT_DUE = "due", "not due"
# Time cuts a training set between days: one day at least for each split.
LEAST_DAYS = len(SPLITS)
# Chance with which a book that will just have enough once its lookback is full is told that it will not.
_FALSE_ALARM = 0.001


@dataclass(frozen=True)
class Calendar:
    """On which as-of dates a book can be trained.

    Parameters
    ----------
    first_day
        First day of applications that there is: the first partition, or the first day ingested where that is later.
    window_days, lookback_days
        As in `CohortWindow`.
    named
        What the first day is, for messages.

    Examples
    --------
    >>> from datetime import date
    >>> calendar = Calendar(date(2022, 1, 1), window_days=365, lookback_days=90)
    >>> calendar.first_due
    datetime.date(2023, 1, 3)
    >>> calendar.why_not(date(2023, 1, 3))
    ''
    """

    first_day: date
    window_days: int
    lookback_days: int
    named: str = "the first day"

    @property
    def first_due(self) -> date:
        """The first as-of date by which enough days of applications are mature to be cut into the splits."""
        return self.first_day + timedelta(self.window_days + min(LEAST_DAYS, self.lookback_days) - 1)

    @property
    def full(self) -> date:
        """The first as-of date whose lookback is full of days."""
        return self.first_day + timedelta(self.window_days + self.lookback_days - 1)

    def cohorts(self, as_of: date) -> CohortWindow:
        return CohortWindow(as_of, self.window_days, self.lookback_days)

    def days_there(self, as_of: date) -> list[date]:
        """The application dates of the cohorts of `as_of`, without those before the first day; empty where none is
        mature."""
        window = self.cohorts(as_of)
        first = max(window.first, self.first_day)
        return [first + timedelta(n) for n in range((window.last - first).days + 1)]

    def why_not(self, as_of: date) -> str:
        """Why no model can be made as of this day yet; nothing where the calendar has no objection."""
        if as_of >= self.first_due:
            return ""
        mature = len(self.days_there(as_of))
        found = f"of {mature} day{'s are' if mature > 1 else ' is'}" if mature else "of no day are"
        return (
            f"not due: the applications {found} mature by {as_of}, and a training set needs those of "
            f"{min(LEAST_DAYS, self.lookback_days)}; {self.named} is {self.first_day} and the performance window "
            f"{self.window_days} days, so that the first as-of date with a model can be {self.first_due}"
        )

    def why_growing(self, as_of: date, short: Mapping[str, tuple[int, int]]) -> str:
        """Why what is `short` (by what it is: count and least) is no failure yet: the lookback is still filling, and
        with the days that it lacks there may be enough. Nothing where the lookback is full, and where what was found so
        far excludes that there will be enough.
        """
        days = len(self.days_there(as_of))
        if not short or days >= self.lookback_days:
            return ""
        if any(_most(count) * self.lookback_days / days < least for count, least in short.values()):
            return ""
        found = ", ".join(f"{count} {what} of at least {least}" for what, (count, least) in short.items())
        return (
            f"not due: {days} of the {self.lookback_days} days of the lookback are mature by {as_of}, with {found}; "
            f"{self.named} is {self.first_day}, and the lookback is full on {self.full}"
        )


def first_enough(rows: Mapping[date, int], calendar: Calendar, least: int) -> date | None:
    """The first as-of date whose cohorts have at least `least` applications on `LEAST_DAYS` days; None where no such
    day is among those counted.

    Parameters
    ----------
    rows
        Applications of each day that is ingested, from the calendar's first day on.
    calendar
        When a day is mature, and how many of them a training set spans.
    least
        Applications below which no set can have enough goods and bads.
    """
    days = sorted(rows)
    first, total, with_rows = 0, 0, 0
    for day in days:
        total, with_rows = total + rows[day], with_rows + (rows[day] > 0)
        while (day - days[first]).days >= calendar.lookback_days:
            total, with_rows = total - rows[days[first]], with_rows - (rows[days[first]] > 0)
            first += 1
        if total >= least and with_rows >= LEAST_DAYS:
            return day + timedelta(calendar.window_days)
    return None


def due_gate(why_not: str = "") -> GateResult:
    """What a training set says of itself: due, or not and why. It never fails: being early is no fault."""
    return GateResult(
        name="due",
        passed=True,
        severity="error",
        value=NOT_DUE if why_not else DUE,
        threshold="a state, not a limit",
        description=why_not or "A model can be made as of this day.",
    )


def unjudged_gates(names: Sequence[str], why_not: str) -> tuple[GateResult, ...]:
    """The gates of a training set that is not due, by their names: there is nothing to hold against anything."""
    return tuple(
        due_gate(why_not)
        if name == "due"
        else GateResult(name, True, "error", NOT_DUE, "judged once due", "Not judged: the as-of date is not due.")
        for name in names
    )


def why_not_due(gates: Sequence[GateResult]) -> str:
    """Why the training set with these gates was not due; nothing where it was."""
    return next((gate.description for gate in gates if gate.name == "due" and gate.value == NOT_DUE), "")


def _most(count: int) -> float:
    """The upper limit of what is to be expected where `count` was found (Poisson)."""
    from scipy.special import gammaincinv

    return float(gammaincinv(count + 1, 1 - _FALSE_ALARM))
