"""Days and moments that no calendar has, told before anything makes a date of them.

Belongs here: the bounds of the calendar. Does not belong here: what a value is read as (`values`) and which day an
instant belongs to (`instants`).

Databases hold infinite days, files a year 0, and Arrow counts on beyond the year 9999; Python's dates raise there.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_FIRST, _LAST = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
# A moment within a day of the ends has no day in some zone.
_SECONDS = ((_FIRST + 1) * 86_400, _LAST * 86_400 - 1)
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def within_calendar(values: pa.ChunkedArray) -> tuple[pa.ChunkedArray, NDArray[np.bool_] | None]:
    """A column with null for the days and moments of no calendar, and which rows those are; itself and None where there
    are none, or where it holds neither.

    >>> import pyarrow as pa
    >>> within_calendar(pa.chunked_array([pa.array([0, -800_000], pa.date32())]))[0].to_pylist()
    [datetime.date(1970, 1, 1), None]
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_date32(kind):
        numbers, first, last = values.cast(pa.int32()), _FIRST, _LAST
    elif pa.types.is_date64(kind):
        numbers, first, last = values.cast(pa.int64()), _FIRST * 86_400_000, _LAST * 86_400_000
    elif pa.types.is_timestamp(kind):
        numbers = values.cast(pa.int64())
        # Of nanoseconds all that 64 bits hold are within.
        first, last = (0, -1) if kind.unit == "ns" else (end * _UNITS[kind.unit] for end in _SECONDS)
    else:
        return values, None
    ends = pc.min_max(numbers)
    if first > last or ends["min"].as_py() is None or (ends["min"].as_py() >= first and ends["max"].as_py() <= last):
        return values, None
    outside = pc.or_(pc.less(numbers, first), pc.greater(numbers, last))
    kept = pc.if_else(outside, pa.scalar(None, kind), values)
    return kept, np.asarray(pc.fill_null(outside, False).to_numpy(), dtype=bool)
