"""Days and months as files write them, and the order of day and month, decided once for a file.

Belongs here: forms of a day. Does not belong here: time zones and plain ISO days (`credit_assets.ml.data.values`).

01/02/2015 is a day in January or in February. A file has one order: that of its values which have one reading only
(31/01/2015), in any of its columns of days. Where no value tells, the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans.decimal_marks import MAX_CONTRADICTING_SHARE
from credit_assets.ml.data.values import read

Order = Literal["", "day-first", "month-first"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = r"([t ].*)?"
_TWO_ORDERS = re.compile(rf"(\d{{1,2}})([/-])(\d{{1,2}})\2(\d{{4}}|\d{{2}}){_TIME}")
_MONTH_FORMS = (
    r"(?P<name>[a-z]{3})[a-z]*[-/ ](?P<year>\d{4}|\d{2})",
    r"(?P<year>\d{4}|\d{2})[-/ ](?P<name>[a-z]{3})[a-z]*",  # "15-Dec", as spreadsheets turn "Dec-15"
    rf"(?P<day>\d{{1,2}})[-/ ](?P<name>[a-z]{{3}})[a-z]*[-/ ](?P<year>\d{{4}}|\d{{2}}){_TIME}",
    rf"(?P<name>[a-z]{{3}})[a-z]* (?P<day>\d{{1,2}}),? (?P<year>\d{{4}}){_TIME}",
    rf"(?P<year>\d{{4}})[-/](?P<month>\d{{1,2}})([-/](?P<day>\d{{1,2}}){_TIME})?",
    rf"(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.(?P<year>\d{{4}}|\d{{2}}){_TIME}",
    r"(?P<month>\d{1,2})/(?P<year>\d{4})",
)


def order_of(columns: Iterable[pa.ChunkedArray], told: Order, where: object, *, monthly: bool = False) -> Order:
    """The order of day and month in columns of text; empty where no value has two readings, or both are the same.

    `monthly`: the columns hold months, written as their first days. Raises PermanentError where the values contradict
    each other, or none tells.
    """
    pairs = [
        (int(match[1]), int(match[3]))
        for column in columns
        for level in column.unique().drop_null().to_pylist()
        if (match := _TWO_ORDERS.fullmatch(level.strip().lower()))
    ]
    if told or not pairs or all(first == second for first, second in pairs):
        return told
    days_first, months_first = (sum(pair[place] > 12 for pair in pairs) for place in (0, 1))
    if min(days_first, months_first) > MAX_CONTRADICTING_SHARE * (days_first + months_first):
        raise PermanentError(
            f"{where}: its days are written in both orders ({days_first:,} different ones as day/month, "
            f"{months_first:,} as month/day): write them in one"
        )
    if days_first or months_first:
        return "day-first" if days_first > months_first else "month-first"
    order = _of_first_days(pairs) if monthly else ""
    if not order:
        raise PermanentError(
            f"{where}: its days can be read as day/month and as month/day, and none of them tells ({len(pairs):,} "
            "different ones): give --dates day-first or --dates month-first"
        )
    return order


def _of_first_days(pairs: Sequence[tuple[int, int]]) -> Order:
    firsts, seconds = ({pair[place] for pair in pairs} for place in (0, 1))
    if seconds == {1}:
        return "month-first"
    return "day-first" if firsts == {1} else ""


def month_of(text: str, order: Order = "") -> int | None:
    """Months since year 0 of a month as files write it; None where it is no month.

    >>> month_of("Dec-2015") == month_of("2015-12-01") == month_of("31.12.2015") == month_of("Dec-15") == 2015 * 12 + 11
    True
    >>> month_of("12/1/2015", "month-first") == month_of("1/12/2015", "day-first") == 2015 * 12 + 11
    True
    """
    found = _parts(text, order)
    return None if found is None else found[0] * 12 + found[1] - 1


def day_of(text: str, order: Order = "") -> date | None:
    """The day that a text is, None where it is none."""
    found = _parts(text, order)
    if found is None or found[2] is None:
        return None
    try:
        return date(*found)  # type: ignore[arg-type]
    except ValueError:
        return None


def days(column: pa.ChunkedArray, order: Order) -> tuple[pa.ChunkedArray, NDArray[np.bool_]]:
    """A column as days, null where missing or unreadable, and which rows are unreadable."""
    reading = read(column, pa.date32())
    if reading.misfits is None:
        return reading.values, np.zeros(len(column), dtype=bool)
    if not pa.types.is_string(column.type):
        return reading.values, reading.misfits
    iso = reading.values.to_pylist()
    meant = {text: day_of(text, order) for text in column.filter(pa.array(reading.misfits)).unique().to_pylist()}
    values = [meant.get(text) if day is None else day for day, text in zip(iso, column.to_pylist(), strict=True)]
    unreadable = reading.misfits & np.array([value is None for value in values])
    return pa.chunked_array([pa.array(values, pa.date32())]), unreadable


def _parts(text: str, order: Order) -> tuple[int, int, int | None] | None:
    """Year, month and, where it stands there, day."""
    text = text.strip().lower()
    if match := _TWO_ORDERS.fullmatch(text):
        first, second = int(match[1]), int(match[3])
        day, month = (first, second) if order == "day-first" else (second, first)
        return (_year(match[4]), month, day) if 1 <= month <= 12 and 1 <= day <= 31 else None
    for form in _MONTH_FORMS:
        if match := re.fullmatch(form, text):
            parts = match.groupdict()
            name = parts.get("name")
            month = int(parts["month"]) if name is None else 1 + _MONTHS.index(name) if name in _MONTHS else 0
            day_text = parts.get("day")
            return (_year(parts["year"]), month, int(day_text) if day_text else None) if 1 <= month <= 12 else None
    return None


def _year(text: str) -> int:
    return int(text) + (2000 if len(text) == 2 else 0)
