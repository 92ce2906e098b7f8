"""Which day an instant belongs to: the rule that both tables' days are cut by, on values.

Belongs here: the day, in one zone, of dates, timestamps and ISO texts. Does not belong here: the same rule as SQL
(`credit_assets.warehouse.queries`), and all other readings (`values`).

A date is that day, whatever the zone. A timestamp with a zone, or a text with a distance from UTC, is an instant, and
its day is that of the calendar on the wall of `zone` at that instant. A timestamp without a zone is read off a clock on
the wall of another zone, `naive`: where the two are equal, it is of its own date. What that clock showed twice, or
never, is standard time, as PostgreSQL and DuckDB take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from credit_assets.ml.data.calendar_days import within_calendar
from credit_assets.ml.data.values import MISSING_WORDS, Reading, Values, as_column, mask_of, read

if TYPE_CHECKING:
    import pyarrow as pa


_MICROSECONDS = 86_400_000_000


def read_days(given: Values, zone: str, naive: str | None = None) -> Reading:
    """A column as days of `zone`, otherwise as `values.read` reads date32. `naive`: None for `zone` itself.

    Examples
    --------
    >>> read_days(["2024-03-01T15:30:00Z", "2024-03-01 23:30", "2024-03-01"], "Asia/Tokyo").values.to_pylist()
    [datetime.date(2024, 3, 2), datetime.date(2024, 3, 1), datetime.date(2024, 3, 1)]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        values = as_column(given)
    except TypeError:
        return read(given, pa.date32())
    kind = values.type
    if pa.types.is_timestamp(kind) and (kind.tz or naive not in (None, zone)):
        values, outside = within_calendar(values)
        # Microseconds: of finer ones Arrow makes objects of pandas.
        values = values.cast(pa.timestamp("us", kind.tz), safe=False)
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return read(values, pa.date32())
    elif (plain := read(_dates_alone(values), pa.date32())).values.null_count == values.null_count:
        return plain
    encoded = values.combine_chunks().dictionary_encode()
    different = pa.array(_days(encoded.dictionary.to_pylist(), zone, naive or zone), pa.date32())
    days = pa.chunked_array([different.take(encoded.indices)])
    if pa.types.is_timestamp(kind):
        return Reading(days, outside)
    missing = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(values)), pa.array([*MISSING_WORDS, None], values.type))
    misfits = mask_of(pc.and_(pc.invert(missing), days.is_null()))
    return Reading(days, misfits if misfits.any() else None)


def read_moments(given: Values, zone: str, naive: str | None = None) -> Reading:
    """A column as microseconds since 1970, in UTC where it says its zone: what orders the rows of a day. A date is its
    first moment. Null where `read_days` finds no day.

    Examples
    --------
    >>> read_moments(["1970-01-01T01:00:00+01:00", "1970-01-01 00:00:01", "1970-01-02", None], "UTC").values.to_pylist()
    [0, 1000000, 86400000000, None]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        values = as_column(given)
    except TypeError:
        return read([None] * len(given), pa.int64())
    kind = values.type
    if pa.types.is_timestamp(kind):
        values, _ = within_calendar(values)
        return Reading(values.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = values.combine_chunks().dictionary_encode()
        there = ZoneInfo(naive or zone)
        different = [None if text is None else _moment(text, there) for text in encoded.dictionary.to_pylist()]
        return Reading(pa.chunked_array([pa.array(different, pa.int64()).take(encoded.indices)]))
    days = read(values, pa.date32()).values.cast(pa.int32()).cast(pa.int64())
    return Reading(pc.multiply(days, _MICROSECONDS))


def _moment(text: str, there: ZoneInfo) -> int | None:
    try:
        value = datetime.fromisoformat(text.strip())
        value = value.replace(tzinfo=there) if value.tzinfo is None else value
        since = value.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return since // timedelta(microseconds=1)


def _dates_alone(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts with null for those that are more than a date."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(pc.utf8_length(texts), len("2024-03-01")), texts, pa.scalar(None, texts.type))


def _days(different: Sequence[Any], zone: str, naive: str) -> list[date | None]:
    here, there = ZoneInfo(zone), ZoneInfo(naive)
    return [_day(value, here, there) for value in different]


def _day(value: datetime | str | None, here: ZoneInfo, there: ZoneInfo) -> date | None:
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            return None
        if len(text) <= len("2024-03-01"):
            return value.date()
    if value.tzinfo is None:
        if there.key == here.key:
            return value.date()
        value = value.replace(tzinfo=there)
    try:
        return max(value.replace(fold=fold).astimezone(UTC) for fold in (0, 1)).astimezone(here).date()
    except OverflowError:
        # Within a day of the ends of the calendar.
        return None
