"""Days and months as files write them, and the order of day and month, decided once for a file.

Belongs here: forms of a day and of a moment. Does not belong here: the zone of a book's days, and plain ISO days
(`credit_assets.ml.data`).

01/02/2015 is a day in January or in February. A file has one order: that of its values which have one reading only
(31/01/2015), in any of its columns of days. Where no value tells, the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans.decimal_marks import MAX_CONTRADICTING_SHARE
from credit_assets.ml.data.values import read

Order = Literal["", "day-first", "month-first"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# A time of day, or none: "2020-01-01 to 2020-03-31" is no day, and midnight as 24:00 is of two.
_TIME = (
    r"([t ]\s*([01]?\d|2[0-3])[:.][0-5]\d([:.]([0-5]\d|60)([.,]\d+)?)?\s*([ap]m)?\s*"
    r"(z|utc|gmt|[+-]\d{2}:?(\d{2})?|\[?[a-z_]+/[a-z_]+\]?)?)?"
)
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
_DAY_ALONE = re.compile(r"\d{1,4}[-/. ][0-9a-z]{1,9}[-/., ]+\d{1,4}|[a-z]{3,9} \d{1,2},? \d{4}")
_MOMENT = re.compile(
    r"(?P<day>.*?\d)[t ]+(?P<hour>\d{1,2})[:.](?P<minute>\d{2})([:.](?P<second>\d{2})([.,](?P<part>\d+))?)?"
    r"\s*(?P<half>[ap]m)?\s*(?P<zone>z|utc|(?P<sign>[+-])(?P<apart>\d{2}):?(?P<and>\d{2})?)?"
)


def order_of(columns: Iterable[pa.ChunkedArray], given: Order, where: object, *, monthly: bool = False) -> Order:
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
    if given or not pairs or all(first == second for first, second in pairs):
        return given
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


def moments(column: pa.ChunkedArray, order: Order, zone: str) -> tuple[pa.ChunkedArray, NDArray[np.bool_], str]:
    """A column as moments by the clock of `zone`, or as days where it has no times (at all, or midnight alone); which
    rows are unreadable; and what to say of it, empty for days.
    """
    kind = column.type
    apart = pa.types.is_timestamp(kind) and kind.tz is not None
    if pa.types.is_timestamp(kind):
        values = column.cast(pa.timestamp("us", zone if apart else None), safe=False)
        values = pc.local_timestamp(values) if apart else values
        unreadable = np.zeros(len(column), dtype=bool)
    elif pa.types.is_string(kind):
        here = ZoneInfo(zone)
        meant = {text: _moment_of(text, order, here) for text in column.unique().drop_null().to_pylist()}
        apart = any(found is not None and found[1] for found in meant.values())
        plain = {text: None if found is None else found[0] for text, found in meant.items()}
        given = column.to_pylist()
        moments_ = [None if text is None else plain[text] for text in given]
        values = pa.chunked_array([pa.array(moments_, pa.timestamp("us"))])
        unreadable = np.array([text is not None and plain[text] is None for text in given], dtype=bool)
    else:
        return *days(column, order), ""
    if apart:
        return values, unreadable, f"moments, by the clock of {zone}"
    dated = values.cast(pa.date32(), safe=False)
    if pc.all(pc.equal(dated.cast(values.type), values)).as_py() in (True, None):
        return dated, unreadable, ""
    return values, unreadable, "moments"


def _moment_of(text: str, order: Order, here: ZoneInfo) -> tuple[datetime, bool] | None:
    """By the clock of `here`, and whether the text has a distance from UTC; None where it is neither day nor moment."""
    text = text.strip().lower()
    match = _MOMENT.fullmatch(text)
    day = day_of(text if match is None else match["day"], order)
    if day is None or (match is None and not _DAY_ALONE.fullmatch(text)):
        return None
    if match is None:
        return datetime.combine(day, time()), False
    if not _DAY_ALONE.fullmatch(match["day"]) or (match["half"] and not 1 <= int(match["hour"]) <= 12):
        return None
    hour = int(match["hour"]) if match["half"] is None else int(match["hour"]) % 12 + 12 * (match["half"] == "pm")
    part = int((match["part"] or "0")[:6].ljust(6, "0"))
    try:
        moment = datetime.combine(day, time(hour, int(match["minute"]), int(match["second"] or 0), part))
        if match["zone"] is None:
            return moment, False
        apart = timedelta(hours=int(match["apart"] or 0), minutes=int(match["and"] or 0))
        there = timezone(-apart if match["sign"] == "-" else apart) if apart else UTC
        return moment.replace(tzinfo=there).astimezone(here).replace(tzinfo=None), True
    except (ValueError, OverflowError):
        return None


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
