"""One column of a chunk of rows: read as its type and screened against its rules.

Belongs here: which values a column may have, and the kernels that find the others. Does not belong here: what a value
is read as (`values`) and what follows for the row or the day (`contracts`).

One kernel tells whether the column holds anything wrong at all; which rows are wrong is looked up only then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from credit_assets.ml.data.ids import normal_ids
from credit_assets.ml.data.portfolio import Column
from credit_assets.ml.data.values import Values, finite, mask_of, nulls_where, read

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.unreadable import UnreadableRows

    Mask = NDArray[np.bool_]

MISSING = "missing"
UNREADABLE: Mapping[str, str] = {
    "string": "not text",
    "category": "not text",
    "integer": "not a whole number",
    "float": "not a finite number",
    "boolean": "not true or false",
    "date": "not a date",
}


@dataclass(frozen=True)
class Screened:
    """A column of n rows as its type. Masks have n values; None says that no row is concerned.

    `values`: null where missing or unreadable; the given column itself where nothing had to be changed.
    `missing`: nothing was given (null, NaN, empty text). `unreadable`: something was, which is not of the type.
    `broken`: rows by the text of the range or list that they break. Neither judges missing values.
    """

    values: pa.ChunkedArray
    missing: Mask | None
    unreadable: Mask | None
    broken: Mapping[str, Mask]


def screen(column: Column, type_: pa.DataType, given: Values, noted: UnreadableRows | None = None) -> Screened:
    """Read a column as `type_`, the Arrow type in which it is stored, and hold it against its rules.

    Blanks around a text are no part of it: databases pad text of a fixed length. Empty text counts as missing: loads
    from CSV files leave it where a value is absent. A boolean may be stored as a number. An infinite number is
    unreadable, and so are the rows `noted`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    reading = read(given, pa.bool_() if column.type == "boolean" else type_)
    values, unreadable = reading.values, reading.misfits
    if values.type != type_:
        values = values.cast(type_)
    if pa.types.is_floating(type_):
        all_values, values = values, finite(values)
        if values is not all_values:
            infinite = mask_of(pc.and_(all_values.is_valid(), values.is_null()))
            if infinite.any():
                unreadable = infinite if unreadable is None else unreadable | infinite
    elif pa.types.is_string(type_):
        values = normal_ids(values) if column.role == "id" else _stripped(values)
        if pc.min(pc.binary_length(values)).as_py() == 0:
            values = nulls_where(pc.equal(values, ""), values)
    if noted is not None:
        unreadable = noted.rows if unreadable is None else unreadable | noted.rows
    missing = None
    if values.null_count:
        missing = mask_of(values.is_null())
        if unreadable is not None:
            missing = missing & ~unreadable
            missing = missing if missing.any() else None
    return Screened(values, missing, unreadable, _broken(column, values))


def _stripped(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without blanks around; the column itself where there are none."""
    import pyarrow.compute as pc

    bare = pc.utf8_trim_whitespace(texts)
    same = pc.sum(pc.binary_length(bare)).as_py() == pc.sum(pc.binary_length(texts)).as_py()
    return texts if same else bare


def _broken(column: Column, values: pa.ChunkedArray) -> dict[str, Mask]:
    import pyarrow as pa
    import pyarrow.compute as pc

    broken = {}
    if column.minimum is not None or column.maximum is not None:
        numbers = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
        low, high = _ends(numbers)
        if column.minimum is not None and low is not None and low < column.minimum:
            broken[f"below {column.minimum:g}"] = mask_of(pc.less(numbers, column.minimum))
        if column.maximum is not None and high is not None and high > column.maximum:
            broken[f"above {column.maximum:g}"] = mask_of(pc.greater(numbers, column.maximum))
    if column.allowed is not None:
        allowed = pc.is_in(values, value_set=pa.array(column.allowed, values.type))
        if (pc.sum(allowed).as_py() or 0) < len(values) - values.null_count:
            broken["not an allowed value"] = ~mask_of(allowed) & mask_of(values.is_valid())
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
