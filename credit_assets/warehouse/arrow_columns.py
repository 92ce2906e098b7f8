"""Values from a warehouse or a file, brought to the Arrow type that the portfolio wants.

Belongs here: conversion without loss, and the count of values that do not fit. Does not belong here: ranges, allowed
values and nulls (`credit_assets.ml.data.contracts`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Converter = Callable[[Any], Any]


def fit(values: pa.Array | pa.ChunkedArray | Sequence[Any], wanted: pa.DataType) -> tuple[pa.Array, int]:
    """The values as an array of type `wanted`, and how many did not fit (null in the array).

    NaN becomes null, a timestamp its day. 3.0 fits an integer, 3.5 does not; 0 and 1 fit a boolean, 2 does not;
    text fits a number or a day when it reads as one (days in ISO form).
    """
    array: Any = values
    try:
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            array = pa.array(values, from_pandas=True)
        return _cast(array, wanted), 0
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        plain = array.to_pylist() if isinstance(array, pa.Array | pa.ChunkedArray) else array
        return _one_by_one(plain, wanted)


def _cast(array: Any, wanted: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if kind == wanted:
        return _without_nan(array)
    # Arrow would read a number as days since 1970, a day as a number, and any number but 0 as true.
    if not pa.types.is_null(kind):
        if pa.types.is_date32(wanted) and not (_is_text(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
            raise pa.ArrowInvalid("not a day")
        if pa.types.is_temporal(kind) and not (pa.types.is_temporal(wanted) or _is_text(wanted)):
            raise pa.ArrowInvalid("a day is not a number")
        if pa.types.is_boolean(wanted) and not _is_text(kind):
            array = pc.cast(_without_nan(array), pa.int8())
            if not pc.all(pc.is_in(array, pa.array([0, 1, None], pa.int8()))).as_py():
                raise pa.ArrowInvalid("not 0 or 1")
    return _without_nan(pc.cast(_without_nan(array), wanted))


def _without_nan(array: pa.Array) -> pa.Array:
    if not pa.types.is_floating(array.type) or not pc.any(pc.is_nan(array)).as_py():
        return array
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _one_by_one(values: Sequence[Any], wanted: pa.DataType) -> tuple[pa.Array, int]:
    convert = _converter(wanted)
    converted: list[Any] = []
    bad = 0
    for value in values:
        if value is None or value != value:  # NaN and NaT, whatever their class
            converted.append(None)
            continue
        try:
            converted.append(convert(value))
        except (TypeError, ValueError, ArithmeticError):
            converted.append(None)
            bad += 1
    try:
        return _without_nan(pa.array(converted, type=wanted)), bad
    except (pa.ArrowInvalid, OverflowError):  # an integer beyond its type's bits
        kept = [value if value is None or _in_range(value, wanted) else None for value in converted]
        return pa.array(kept, type=wanted), bad + sum(a is not b for a, b in zip(kept, converted, strict=True))


def _in_range(value: Any, wanted: pa.DataType) -> bool:
    half = 2 ** (wanted.bit_width - 1)
    return bool(-half <= value < half)


def _converter(wanted: pa.DataType) -> Converter:
    if pa.types.is_date32(wanted):
        return _day
    if pa.types.is_boolean(wanted):
        return _flag
    if pa.types.is_integer(wanted):
        return _whole
    if pa.types.is_floating(wanted):
        return _number
    return _text


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        return datetime.fromisoformat(value.strip()).date()
    raise TypeError


def _number(value: Any) -> float:
    if isinstance(value, date):
        raise TypeError
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    number = _number(value)
    if not math.isfinite(number) or number != int(number):
        raise ValueError
    return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else int(number)


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        value = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}.get(value.lower(), value)
    number = _number(value)
    if number not in (0, 1):
        raise ValueError
    return bool(number)


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode()
    if isinstance(value, dict | list | tuple | set):
        raise TypeError
    return str(value)
