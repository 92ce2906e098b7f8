"""A value as its type: the one reading of text, numbers, truth values, days and ids, wherever they come from.

Belongs here: what a value is read as, on Arrow columns, and the ways from pandas in and to numpy out. Does not belong
here: which values a column may have (`contracts`), and the published forms of one file (`credit_assets.loans`: its
percent signs and months are taken off before a number or a day is read here).

    as_column(given)        Array, Series, numpy array or sequence as an Arrow column; mixed objects as their texts
    read(given, type)    a column as an Arrow type: `values`, `misfits` (rows that hold something else) and their count
    finite(column)       floats with null for what is not finite
    numbers(column)      float64 for numpy: NaN for what is missing, infinite or no number
    texts(column)        categories for numpy: places among the different texts
    as_table(data, schema)  a table or a frame as a table of exactly this schema; misfits raise ValueError

The rules. Missing are null, NaN, NaT, and where anything but text is wanted blank text and the MISSING_WORDS, in any
case and with blanks around. A number is a finite decimal number, with exponent or without, or infinite where floats say
so: "1e3" and " 12 " are, "1,000", "unknown" and "0x10" are not. A whole number may be written with zeros after the
point. True and false are 1 and 0, and read from true, t, yes, y and their opposites in any case. A day comes from a
date, a timestamp (the day of its own zone) or ISO text, never from a number: as days since 1970 a customer's number
would be a valid date; of years 1 to 9999 only. Text is what a value looks like: 3.0 as "3", since whole numbers with
gaps arrive as floats, true as "true". No reading depends on the rows around a value.

pyarrow, numpy and pandas are imported where they are used: the definitions load without them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from credit_assets.ml.data.calendar_days import within_calendar

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

Values: TypeAlias = Union["pa.Array", "pa.ChunkedArray", "pd.Series[Any]", "NDArray[Any]", Sequence[Any]]
"""The values of a column, in anything that `as_column` takes."""

MISSING_WORDS = (
    *("", "n/a", "na", "#n/a", "nan", "nat", "null", "none", "nil", "<na>", "<null>", "(null)", "\\n"),
    *("-", "--", ".", "?"),
)
"""Texts that say of a number, a truth value or a day that there is none, in small letters: those that databases,
spreadsheets, pandas, R and SAS write."""
_NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"
_TRUE, _FALSE = ("true", "t", "yes", "y"), ("false", "f", "no", "n")
# From here on float64 has gaps, and a long customer number would become its neighbour's.
_EXACT = 2.0**53


@dataclass(frozen=True)
class Reading:
    """A column of n rows as its type.

    `values`: null where missing or no value of the type; the given column itself where nothing had to be changed.
    `misfits`: n values, true where something was given that is not of the type; None where there is none.
    """

    values: pa.ChunkedArray
    misfits: Mask | None = None

    @property
    def misfit_count(self) -> int:
        return 0 if self.misfits is None else int(self.misfits.sum())

    @property
    def array(self) -> pa.Array:
        """`values` in one piece; not copied where they are."""
        return self.values.chunk(0) if self.values.num_chunks == 1 else self.values.combine_chunks()


def read(given: Values, type_: pa.DataType) -> Reading:
    """A column as an Arrow type: string, a kind of integer, float64, bool or date32. The module's head has the rules.

    Parameters
    ----------
    given
        The values, in anything that `as_column` takes.
    type_
        The type wanted.

    Examples
    --------
    >>> import pyarrow as pa
    >>> reading = read([" 7", "12.0", "seven", None], pa.int64())
    >>> reading.values.to_pylist(), reading.misfit_count
    ([7, 12, None, None], 1)
    >>> read(pa.array([0, 1, 2]), pa.bool_()).values.to_pylist()
    [False, True, None]
    """
    import pyarrow as pa

    values, nested = _column(given, type_)
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    values, outside = within_calendar(values)
    if kind == type_:
        result = Reading(_without_nan(values))
    elif pa.types.is_null(kind):
        result = Reading(values.cast(type_))
    elif pa.types.is_nested(kind) or _other_kind(kind, type_):
        result = Reading(_nulls(values, type_), mask_of(values.is_valid()))
    else:
        result = _converted(_without_nan(values), type_)
    for misfits in (nested, outside):
        if misfits is not None:
            result = Reading(result.values, misfits if result.misfits is None else misfits | result.misfits)
    return result


def as_column(given: Values) -> pa.ChunkedArray:
    """Values as an Arrow column. Objects of several kinds become their texts, from which `read` makes what they were.

    Raises TypeError for nested values (lists, mappings).
    """
    import pyarrow as pa

    values, nested = _column(given, pa.string())
    if nested is not None or pa.types.is_nested(values.type):
        raise TypeError("a column holds lists or mappings: give it single values")
    return values


def as_table(data: pa.Table | pd.DataFrame, schema: pa.Schema, name: str = "given") -> pa.Table:
    """The columns of `schema` from a table or frame, in its order and types, with null for what is not finite.

    `name` says in messages which table it is. Raises ValueError naming columns that are missing, or one that holds
    values of another type.
    """
    import pyarrow as pa

    given = data.column_names if isinstance(data, pa.Table) else list(map(str, data.columns))
    missing = sorted(set(schema.names) - set(given))
    if missing:
        raise ValueError(f"the {name} table lacks the columns {', '.join(missing)}; it has {', '.join(given)}")
    columns = []
    for field in schema:
        values = as_column(data[field.name])
        reading = read(values, field.type)
        if reading.misfits is not None:
            raise ValueError(
                f"column {field.name!r} of the {name} table is {values.type} and cannot be read as {field.type}: "
                f"{reading.misfit_count} of its {len(values)} values do not fit"
            )
        columns.append(finite(reading.values))
    return pa.Table.from_arrays(columns, schema=schema)


def all_finite(values: pa.ChunkedArray) -> bool:
    """Whether no float is infinite or NaN, in one pass: a sum is finite only if every value is.

    False may also mean that sound values add up to more than a float holds; then it costs a second look.
    """
    import pyarrow.compute as pc

    total = pc.sum(values).as_py()
    return total is None or math.isfinite(total)


def finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with null where a float is not finite; itself where all are, or where it holds no floats."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(values.type) or all_finite(values):
        return values
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


def numbers(given: Values) -> NDArray[np.float64]:
    """The column as float64, NaN for what is missing, infinite or no number.

    A view of the column where it is float64 in one piece and nothing is missing. Do not write into it.
    """
    import numpy as np
    import pyarrow as pa

    if isinstance(given, pa.ChunkedArray) and pa.types.is_float64(given.type):
        values = given
    else:
        values = read(given, pa.float64()).values
    chunks: list[NDArray[np.float64]] = [chunk.to_numpy(zero_copy_only=False) for chunk in values.chunks]
    result = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0), *chunks])
    infinite = np.isinf(result)
    return np.where(infinite, np.nan, result) if infinite.any() else result


def texts(given: Values) -> tuple[NDArray[np.int32], list[str | None]]:
    """The column as text, as (places, different): the text of row i is different[places[i]].

    The last of `different` is None, which stands for missing; others may be None as well, and a text may stand there
    more than once.
    """
    import numpy as np
    import pyarrow as pa

    values = as_column(given)
    if not len(values):
        return np.empty(0, dtype=np.int32), [None]
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    values = values.unify_dictionaries()
    different = [*read(values.chunk(0).dictionary, pa.string()).values.to_pylist(), None]
    missing = len(different) - 1
    places = [np.asarray(chunk.indices.fill_null(missing), dtype=np.int32) for chunk in values.chunks]
    return (places[0] if len(places) == 1 else np.concatenate([np.empty(0, dtype=np.int32), *places])), different


# From values of one kind to the type wanted


def _other_kind(kind: pa.DataType, type_: pa.DataType) -> bool:
    """Whether no value of the kind can be one of the type: a number is no day, and nothing but text is any of them."""
    import pyarrow as pa

    if pa.types.is_string(type_) or _is_text(kind):
        return False
    if pa.types.is_date(type_):
        return not (pa.types.is_date(kind) or pa.types.is_timestamp(kind))
    return bool(pa.types.is_temporal(kind)) or _is_bytes(kind)


def _converted(values: pa.ChunkedArray, type_: pa.DataType) -> Reading:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _is_text(values.type):
        try:
            if pa.types.is_boolean(type_):
                whole = values.cast(pa.int8())
                if pc.all(pc.is_in(whole, pa.array([0, 1, None], pa.int8()))).as_py():
                    return Reading(whole.cast(type_))
            elif pa.types.is_floating(type_) and pa.types.is_decimal(values.type):
                # Not directly: Arrow multiplies by 10^-scale, and every seventh amount in cents misses its last bit.
                return Reading(values.cast(pa.string()).cast(type_))
            else:
                # Unsafe: integers beyond 2^53 are rounded to the nearest float, as everywhere.
                return Reading(values.cast(type_, safe=not pa.types.is_floating(type_)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
        try:
            values = values.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            values, misfits = _texts_of(values.to_pylist(), type_)
            return Reading(_of_texts(values, type_).values, misfits)
    return _of_texts(values.cast(pa.string()), type_)


def _of_texts(values: pa.ChunkedArray, type_: pa.DataType) -> Reading:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(type_):
        return Reading(values)
    given = pc.utf8_trim_whitespace(values)
    given = nulls_where(pc.is_in(pc.utf8_lower(given), pa.array(MISSING_WORDS)), given)
    if pa.types.is_date(type_):
        result = _days(given, type_)
    elif pa.types.is_boolean(type_):
        given = pc.utf8_lower(given)
        given = pc.if_else(pc.is_in(given, pa.array(_TRUE)), "1", given)
        given = pc.if_else(pc.is_in(given, pa.array(_FALSE)), "0", given)
        floats = _floats(given)
        neither = pc.and_(pc.not_equal(floats, 0), pc.not_equal(floats, 1))
        result = pc.not_equal(nulls_where(neither, floats), 0)
    elif pa.types.is_floating(type_):
        result = _floats(given).cast(type_)
    else:
        result = _whole(given, type_)
    misfits = mask_of(pc.and_not(given.is_valid(), result.is_valid())) if result.null_count > given.null_count else None
    return Reading(result, misfits)


def _floats(given: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    return finite(nulls_where(pc.invert(pc.match_substring_regex(given, _NUMBER)), given).cast(pa.float64()))


def _whole(given: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    import numpy as np
    import pyarrow as pa

    floats, half = _floats(given).to_numpy(), 2.0 ** (type_.bit_width - 1)
    whole = floats == np.floor(floats)
    fits = whole & (floats >= -half) & (floats < half)
    integers = np.where(fits, floats, 0).astype(np.int64)
    long = np.flatnonzero(whole & (np.abs(floats) >= _EXACT) & (np.abs(floats) <= half))
    for row, text in zip(long.tolist(), given.take(long).to_pylist(), strict=True):
        digits, _, zeros = text.partition(".")
        exact = int(digits if digits.lstrip("+-").isdigit() and not zeros.strip("0") else floats[row])
        fits[row] = -half <= exact < half
        integers[row] = exact if fits[row] else 0
    return pa.chunked_array([pa.array(integers, mask=~fits).cast(type_)])


def _days(given: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        return within_calendar(given.cast(type_))[0]
    except pa.ArrowInvalid:
        encoded = given.combine_chunks().dictionary_encode()
        different = pa.array([_day(text) for text in encoded.dictionary.to_pylist()], type_)
        return pa.chunked_array([different.take(encoded.indices)])


def _day(text: str) -> date | None:
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        return None


# From objects to values of one kind


def _column(given: Values, type_: pa.DataType) -> tuple[pa.ChunkedArray, Mask | None]:
    """The values as an Arrow column from which the type can be read, and which of them, null there, are nested."""
    import pyarrow as pa

    if isinstance(given, pa.ChunkedArray):
        return _plain(given, type_)
    if isinstance(given, pa.Array):
        return _plain(pa.chunked_array([given]), type_)
    objects = given if isinstance(given, Sequence) else given.tolist() if given.dtype == object else None
    kinds = set() if objects is None else _kinds(objects)
    if objects is not None and len(kinds) > 1:
        return _each_by_its_kind(objects, type_)
    try:
        # Of decimals Arrow gives all the digits of the longest.
        if not kinds & {_Zoned, Decimal}:
            values = pa.array(given, from_pandas=True)
            return _plain(values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values]), type_)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        pass
    return _texts_of(_objects(given) if objects is None else objects, type_)


class _Zoned(datetime):
    """Stands for times with a zone of their own: Arrow moves them all into the zone of the first."""


def _kinds(objects: Sequence[Any]) -> set[type]:
    """The classes of the values that are there."""
    classes = set(map(type, objects)) - {type(None)}
    if len(classes) > 1 or any(issubclass(one, datetime) for one in classes):
        return {_kind(value) for value in objects if not _is_missing(value)}
    return classes


def _kind(value: Any) -> type:
    return _Zoned if isinstance(value, datetime) and value.tzinfo is not None else type(value)


def _each_by_its_kind(given: Sequence[Any], type_: pa.DataType) -> tuple[pa.ChunkedArray, Mask | None]:
    """Objects of several kinds as the type: those of each are read among themselves, since Arrow would make one kind
    of all (10000000000 beside 0.5 a float, whose text is "1e+10"; 5 beside a date a day).
    """
    import numpy as np
    import pyarrow as pa

    rows: dict[type, list[int]] = {}
    for row, value in enumerate(given):
        if not _is_missing(value):
            rows.setdefault(_kind(value), []).append(row)
    misfits, places = np.zeros(len(given), dtype=bool), np.full(len(given), -1)
    arrays: list[pa.Array] = []
    for chosen in rows.values():
        reading = read([given[row] for row in chosen], type_)
        places[chosen] = sum(len(array) for array in arrays) + np.arange(len(chosen))
        if reading.misfits is not None:
            misfits[chosen] = reading.misfits
        arrays.append(reading.array)
    taken = pa.concat_arrays(arrays).take(pa.array(places, mask=places < 0))
    return pa.chunked_array([taken]), misfits if misfits.any() else None


def _is_missing(value: Any) -> bool:
    """Whether a value is None, pandas' NA, or NaN or NaT of whatever class, which are unlike themselves."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # NA is neither like itself nor unlike.
        return True
    except ValueError:  # An array.
        return False


def _plain(values: pa.ChunkedArray, type_: pa.DataType) -> tuple[pa.ChunkedArray, Mask | None]:
    import pyarrow as pa

    # Arrow has a type of its own for UUIDs, whose bytes would be taken for text.
    return _texts_of(values.to_pylist(), type_) if isinstance(values.type, pa.BaseExtensionType) else (values, None)


def _objects(given: Any) -> list[Any]:
    """The values of a Series or numpy array, None where missing."""
    import pandas as pd

    series = pd.Series(given, copy=False)
    objects: list[Any] = series.astype(object).where(series.notna(), None).tolist()
    return objects


def _texts_of(given: Sequence[Any], type_: pa.DataType) -> tuple[pa.ChunkedArray, Mask | None]:
    """The values as the texts that the type is read from, and which of them have none."""
    import numpy as np
    import pyarrow as pa

    flags = ("false", "true") if pa.types.is_string(type_) else ("0", "1")
    result, misfits = [], np.zeros(len(given), dtype=bool)
    for row, value in enumerate(given):
        missing = _is_missing(value)
        result.append(None if missing else _text(value, flags))
        misfits[row] = not missing and result[-1] is None
    return pa.chunked_array([pa.array(result, pa.string())]), misfits if misfits.any() else None


def _text(value: Any, flags: tuple[str, str]) -> str | None:
    """The text of one value as Arrow writes it, None where it has none."""
    import numpy as np
    import pyarrow as pa

    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, bool | np.bool_):
        return flags[bool(value)]
    if isinstance(value, float | np.floating):
        return str(pa.scalar(float(value)).cast(pa.string()).as_py())
    return None if isinstance(value, dict | list | tuple | set | np.ndarray) else str(value)


# Pieces


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _without_nan(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(values.type) or all_finite(values):
        return values
    missing = pc.is_nan(values)
    return nulls_where(missing, values) if pc.any(missing).as_py() else values


def nulls_where(where: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(where, pa.scalar(None, values.type), values)


def _nulls(values: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([pa.nulls(len(values), type_)])


def mask_of(where: pa.ChunkedArray) -> Mask:
    """Truth values for numpy; null is false."""
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray((pc.fill_null(where, False) if where.null_count else where).to_numpy(), dtype=bool)
