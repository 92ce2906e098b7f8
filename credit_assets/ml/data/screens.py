"""One column of a chunk of rows: read as its type and screened against its rules.

Belongs here: what a value means (missing, unreadable, out of range, not allowed) and the kernels that find it. Does not
belong here: what follows for the row or the day (`contracts`).

Columns that have their Arrow type already are screened as they lie in memory: a kernel says whether the column holds
anything wrong at all, and only where it does is it found out where. Columns of any other type, and columns of a frame,
are read value by value first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.portfolio import Column
from credit_assets.ml.data.values import all_finite, as_categories, as_days, as_numbers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

MISSING = "missing"
UNREADABLE: Mapping[str, str] = {
    "integer": "not a whole number",
    "float": "not a finite number",
    "boolean": "not true or false",
    "date": "not a date",
}
_FLAGS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}


@dataclass(frozen=True)
class Reading:
    """A column of n rows as its type. Masks have n values; None says that no row is concerned.

    `values`: null where missing or unreadable; the given column itself where nothing had to be changed.
    `missing`: nothing was given (null, NaN, empty text). `unreadable`: something was, which is not of the type.
    `broken`: rows by the text of the range or list that they break. Neither judges missing values.
    """

    values: pa.ChunkedArray
    missing: Mask | None
    unreadable: Mask | None
    broken: Mapping[str, Mask]


def read(column: Column, type_: pa.DataType, given: pa.ChunkedArray | pd.Series[Any]) -> Reading:
    """Read a column as `type_`, the Arrow type in which it is stored, and hold it against its rules.

    Empty text counts as missing: loads from CSV files leave it where a value is absent. A boolean is read from 0 and 1
    and from the usual texts, and may be stored as a number.
    """
    import pyarrow as pa

    if isinstance(given, pa.ChunkedArray) and given.type == type_:
        values, unreadable = _of_arrow(column, given)
    else:
        # As objects: as floats, long integers with a missing value beside them would be rounded.
        series = given.to_pandas(integer_object_nulls=True) if isinstance(given, pa.ChunkedArray) else given
        values, unreadable = _of_series(column, type_, series)
    missing = None
    if values.null_count:
        missing = _mask(values.is_null())
        if unreadable is not None:
            missing = missing & ~unreadable
            missing = missing if missing.any() else None
    return Reading(values, missing, unreadable, _broken(column, values))


def _of_arrow(column: Column, given: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Mask | None]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(given.type):
        shortest = pc.min(pc.binary_length(given)).as_py()
        return (_without(given, pc.equal(given, "")) if shortest == 0 else given), None
    if pa.types.is_floating(given.type):
        if all_finite(given):
            return given, None
        infinite = _mask(pc.is_inf(given))
        return _without(given, pc.invert(pc.is_finite(given))), infinite if infinite.any() else None
    if column.type == "boolean" and not pa.types.is_boolean(given.type):
        low, high = _ends(given)
        if low is not None and high is not None and (low < 0 or high > 1):
            other = pc.invert(pc.is_in(given, value_set=pa.array([0, 1, None], given.type)))
            return _without(given, other), _mask(other)
    return given, None


def _broken(column: Column, values: pa.ChunkedArray) -> dict[str, Mask]:
    import pyarrow as pa
    import pyarrow.compute as pc

    broken = {}
    if column.minimum is not None or column.maximum is not None:
        numbers = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
        low, high = _ends(numbers)
        if column.minimum is not None and low is not None and low < column.minimum:
            broken[f"below {column.minimum:g}"] = _mask(pc.less(numbers, column.minimum))
        if column.maximum is not None and high is not None and high > column.maximum:
            broken[f"above {column.maximum:g}"] = _mask(pc.greater(numbers, column.maximum))
    if column.allowed is not None:
        found = pc.is_in(values, value_set=pa.array(column.allowed, values.type))
        if (pc.sum(found).as_py() or 0) < len(values) - values.null_count:
            broken["not an allowed value"] = ~_mask(found) & _mask(values.is_valid())
    return {text: mask for text, mask in broken.items() if mask.any()}


def _ends(numbers: pa.ChunkedArray) -> tuple[float | None, float | None]:
    """Smallest and largest of finite values, None where there is none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(numbers.type):
        ends = pc.min_max(numbers).as_py()
        return ends["min"], ends["max"]
    # numpy takes a quarter of the time that Arrow's min_max takes on floats.
    chunks = [chunk.drop_null().to_numpy() for chunk in numbers.iterchunks() if len(chunk) > chunk.null_count]
    if not chunks:
        return None, None
    return float(np.min([chunk.min() for chunk in chunks])), float(np.max([chunk.max() for chunk in chunks]))


def _without(values: pa.ChunkedArray, where: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(where, pa.scalar(None, values.type), values)


def _mask(found: pa.ChunkedArray) -> Mask:
    import numpy as np
    import pyarrow.compute as pc

    if found.null_count:
        found = pc.fill_null(found, False)
    return np.asarray(found.to_numpy(), dtype=bool)


# Values of unknown type


def _of_series(column: Column, type_: pa.DataType, series: pd.Series[Any]) -> tuple[pa.ChunkedArray, Mask | None]:
    import pyarrow as pa

    read, unreadable = _read(series, column)
    if column.type == "date":
        array = pa.array(read.to_numpy().astype("datetime64[D]"), type=type_, from_pandas=True)
    elif column.type == "boolean" and not pa.types.is_boolean(type_):
        array = pa.array(read.astype("Int8"), type=type_, from_pandas=True)
    else:
        array = pa.array(read, type=type_, from_pandas=True)
    values = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array], type_)
    return values, unreadable if unreadable is not None and unreadable.any() else None


def _read(values: pd.Series[Any], column: Column) -> tuple[pd.Series[Any], Mask | None]:
    """The column as its contract type, and where a value was there but could not be read."""
    import numpy as np

    if not isinstance(values.dtype, np.dtype) or values.dtype == object:
        values = values.astype(object)
        values = values.where(values.notna() & ~values.isin([""]), None)
    if column.type in ("string", "category"):
        return as_categories(values), None
    if column.type == "date":
        days = as_days(values)
        return days, (days.isna() & values.notna()).to_numpy(dtype=bool)
    if column.type == "boolean" and values.dtype == object:
        lowered = values.map(
            lambda value: _FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value
        )
        numbers = as_numbers(lowered)
    else:
        numbers = as_numbers(values)
    given = values.notna().to_numpy(dtype=bool)
    if column.type == "float":
        return numbers, given & numbers.isna().to_numpy(dtype=bool)
    fits = (numbers == np.floor(numbers)) & (numbers.abs() < 2.0**63)
    if column.type == "boolean":
        fits = numbers.isin((0.0, 1.0))
    numbers = numbers.where(fits)
    unreadable = given & numbers.isna().to_numpy(dtype=bool)
    if column.type == "boolean":
        return numbers.astype("boolean"), unreadable
    if values.dtype.kind in "iu" and not unreadable.any():
        return values.astype("Int64"), unreadable
    whole = numbers.astype("Int64")
    if values.dtype == object:
        # From 2^53 on float64 has gaps, and a long customer number would become its neighbour's.
        long = np.flatnonzero((numbers.abs() >= 2.0**53).to_numpy(dtype=bool))
        for row in long:
            text = str(values.iloc[row]).strip()
            whole.iloc[int(row)] = int(text) if text.lstrip("+-").isdigit() else int(numbers.iloc[row])
    return whole, unreadable
