"""Which days a command is about: those between two, and those to train on."""

from __future__ import annotations

from datetime import date, timedelta

from credit_assets.failures import PermanentError


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def training_days(start: date, end: date, when: str) -> list[date]:
    """As-of dates in start .. end: `every`, `last`, `none`, `month-end`, `quarter-end`, or a number of days.

    A number N takes the last day and every N-th before it. Raises PermanentError for anything else.
    """
    days = days_between(start, end)
    last_of_month = [day for day in days if (day + timedelta(1)).day == 1]
    if when.isdigit() and int(when) > 0:
        return sorted(days[:: -int(when)])
    choices = {
        "none": [],
        "last": days[-1:],
        "every": days,
        "month-end": last_of_month,
        "quarter-end": [day for day in last_of_month if day.month % 3 == 0],
    }
    if when not in choices:
        raise PermanentError(f"--train {when!r}: use {', '.join(choices)} or a number of days")
    return choices[when]
