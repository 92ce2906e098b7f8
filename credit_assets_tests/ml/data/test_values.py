"""A value as its type: the rules, each kind of source, and that no reading depends on the rows around a value."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.values import as_column, as_table, numbers, read, texts
from credit_assets_tests.support.fuzz import fuzz

AHEAD = timezone(timedelta(hours=5))
LONG = 2**53 + 1


@pytest.mark.parametrize(
    ("values", "kind", "expected", "misfits"),
    [
        ([1, None, 2.0], pa.int64(), [1, None, 2], 0),
        ([1.5, 2.0], pa.int64(), [None, 2], 1),
        ([2**70, 1], pa.int64(), [None, 1], 1),
        ([2**63 - 1, -(2**63)], pa.int64(), [2**63 - 1, -(2**63)], 0),
        ([str(2**63 - 1), str(2**63), str(-(2**63))], pa.int64(), [2**63 - 1, None, -(2**63)], 1),
        ([float("inf"), 2.0**63, 7.0], pa.int64(), [None, None, 7], 2),
        ([Decimal("3.00"), Decimal("3.5")], pa.int64(), [3, None], 1),
        ([Decimal(LONG), Decimal("0.5")], pa.int64(), [LONG, None], 1),
        (["7", " 8 ", "x", str(LONG), "12.0", "1e3", "0x10"], pa.int64(), [7, 8, None, LONG, 12, 1000, None], 2),
        ([LONG, "x"], pa.int64(), [LONG, None], 1),
        ([300, 1], pa.int8(), [None, 1], 1),
        (["127", "128"], pa.int8(), [127, None], 1),
        ([True, False], pa.int8(), [1, 0], 0),
        ([Decimal("0.41"), None], pa.float64(), [0.41, None], 0),
        ([float("nan"), 1.0, float("inf")], pa.float64(), [None, 1.0, float("inf")], 0),
        ([True, 0.5, "1e3", ""], pa.float64(), [1.0, 0.5, 1000.0, None], 0),
        ([LONG, 2**70], pa.float64(), [2.0**53, 2.0**70], 0),
        (["unknown", "inf", "1_000", "1,000", "\u0663", "1e400"], pa.float64(), [None] * 6, 6),
        ([" N/A", "null", "NaN ", "NONE", "#N/A", "<NA>", ".", "-", "?", "\\N", "NaT"], pa.float64(), [None] * 11, 0),
        (["n/a", "NULL", "nothing"], pa.bool_(), [None] * 3, 1),
        (["n/a", "NULL", "never"], pa.date32(), [None] * 3, 1),
        (["n/a", "NULL", " "], pa.string(), ["n/a", "NULL", " "], 0),
        ([" .5", "+5.", "-1E-2 "], pa.float64(), [0.5, 5.0, -0.01], 0),
        ([date(2024, 1, 1)], pa.float64(), [None], 1),
        ([b"12"], pa.float64(), [None], 1),
        ([0, 1, 2], pa.bool_(), [False, True, None], 1),
        ([0.0, 1.0, 0.5, None], pa.bool_(), [False, True, None, None], 1),
        (["true", "F", " YES ", "n", "1.0", "maybe", " "], pa.bool_(), [True, False, True, False, True, None, None], 1),
        ([True, "no", 1, 2], pa.bool_(), [True, False, True, None], 1),
        ([datetime(2024, 1, 1, 23, 59), None], pa.date32(), [date(2024, 1, 1), None], 0),
        ([datetime(2024, 1, 1, 23, tzinfo=UTC)], pa.date32(), [date(2024, 1, 1)], 0),
        (
            [datetime(2024, 1, 2, 1, tzinfo=AHEAD), datetime(2024, 1, 2, 23, tzinfo=UTC)],
            pa.date32(),
            [date(2024, 1, 2), date(2024, 1, 2)],
            0,
        ),
        ([date(9999, 12, 31), date(1, 1, 1)], pa.date32(), [date(9999, 12, 31), date(1, 1, 1)], 0),
        ([datetime(2024, 1, 2, 13), date(2024, 1, 3)], pa.date32(), [date(2024, 1, 2), date(2024, 1, 3)], 0),
        (["2024-01-01T10:00:00Z", " 20240102 ", ""], pa.date32(), [date(2024, 1, 1), date(2024, 1, 2), None], 0),
        (["2024-01-01", "2024-13-01", "1.1.2024"], pa.date32(), [date(2024, 1, 1), None, None], 2),
        ([19000], pa.date32(), [None], 1),
        ([date(2024, 1, 1), 19000], pa.date32(), [date(2024, 1, 1), None], 1),
        ([datetime(2024, 1, 1), 19000], pa.date32(), [date(2024, 1, 1), None], 1),
        ([True], pa.date32(), [None], 1),
        ([1, "a", None, ""], pa.string(), ["1", "a", None, ""], 0),
        ([3.0, 2.5, None], pa.string(), ["3", "2.5", None], 0),
        ([3.0, "x", True], pa.string(), ["3", "x", "true"], 0),
        ([True, False], pa.string(), ["true", "false"], 0),
        ([Decimal("10"), Decimal("1.50")], pa.string(), ["10", "1.50"], 0),
        ([10**10, 0.5, None], pa.string(), ["10000000000", "0.5", None], 0),
        ([math.inf, ""], pa.float64(), [math.inf, None], 0),
        ([date(2024, 1, 1)], pa.string(), ["2024-01-01"], 0),
        ([b"ab", b"\xff"], pa.string(), ["ab", None], 1),
        ([uuid.UUID(int=5)], pa.string(), [str(uuid.UUID(int=5))], 0),
        ([{"a": 1}, None], pa.string(), [None, None], 1),
        ([[1], "x"], pa.string(), [None, "x"], 1),
        ([[1]], pa.int64(), [None], 1),
        ([None, None], pa.bool_(), [None, None], 0),
        ([], pa.date32(), [], 0),
    ],
)
def test_values_are_read_by_the_rules(values: list[Any], kind: pa.DataType, expected: list[Any], misfits: int):
    reading = read(values, kind)
    assert (reading.values.type, reading.values.to_pylist(), reading.misfit_count) == (kind, expected, misfits)
    assert reading.array.to_pylist() == expected
    series = read(pd.Series(values, dtype=object), kind)
    assert (series.values.to_pylist(), series.misfit_count) == (expected, misfits)


@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.date32()])
def test_a_column_of_its_type_comes_back_itself(kind: pa.DataType):
    given = pa.chunked_array([pa.array([None, None], kind), pa.array([], kind)])
    assert read(given, kind).values is given
    assert read(given.dictionary_encode(), kind).values.equals(given)


ONE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 3),
    st.floats(width=64),
    st.sampled_from(["", " 7 ", "12.0", "1e3", "yes", "2024-02-03", "x", "nan", str(LONG), "\u00e9"]),
    st.dates(),
    st.decimals(-1000, 1000),
    st.datetimes(),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14))])),
    st.just(pd.NA),
    st.just(pd.NaT),
)


@fuzz(300)
@given(st.lists(ONE, max_size=6), st.sampled_from([pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.date32()]))
def test_no_reading_depends_on_the_rows_around_a_value(values: list[Any], kind: pa.DataType):
    together = read(values, kind)
    alone = [read([value], kind) for value in values]
    assert together.values.to_pylist() == [one.values[0].as_py() for one in alone]
    assert together.misfit_count == sum(one.misfit_count for one in alone)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series([Decimal("1.5"), None], dtype=object), [1.5, np.nan]),
        (pd.Series(["1", " 2 ", "x", "", "inf", None], dtype=object), [1, 2, np.nan, np.nan, np.nan, np.nan]),
        (pd.Series([True, False, None], dtype=object), [1, 0, np.nan]),
        (pd.Series([True, None], dtype="boolean"), [1, np.nan]),
        (pd.Series([7, None], dtype="Int64"), [7, np.nan]),
        (pd.Series([7, None], dtype="int64[pyarrow]"), [7, np.nan]),
        (pd.Series([1.0, np.inf, -np.inf]), [1, np.nan, np.nan]),
        (pd.Series(["1", None], dtype="category"), [1, np.nan]),
        (np.array([1.0, np.inf]), [1, np.nan]),
        (pd.Series([], dtype=object), []),
    ],
)
def test_numbers(values: Any, expected: list[float]):
    result = numbers(values)
    assert result.dtype == "float64"
    np.testing.assert_array_equal(result, expected)


def test_numbers_without_gaps_are_views():
    memory = np.arange(5.0)
    assert np.shares_memory(numbers(pa.chunked_array([pa.array(memory)])), memory)
    assert np.shares_memory(numbers(pd.Series(memory, copy=False)), memory)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series(["a", None, np.nan, pd.NA], dtype=object), ["a", None, None, None]),
        (pd.Series(["a", None], dtype="category"), ["a", None]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        # An integer column with gaps arrives as float; its levels must be those of a day without gaps.
        (pd.Series([3.0, np.nan]), ["3", None]),
        (pd.Series([3, 4]), ["3", "4"]),
        (pd.Series([True, None], dtype=object), ["true", None]),
        (pd.Series([1, "1", 2.0, None, "x", Decimal("1.50")], dtype=object), ["1", "1", "2", None, "x", "1.50"]),
    ],
)
def test_texts(values: pd.Series, expected: list[str | None]):
    places, different = texts(values)
    assert different[-1] is None
    assert [different[place] for place in places] == expected


NUMBERS: list[Any] = [
    [1.5, None, 3.0],
    [1.0, float("inf"), float("nan")],
    [1, 2, None],
    [1, 2**53 + 1],
    [True, False, None],
    ["1", "2.5", "none", None],
    [Decimal("0.1"), Decimal("2.30"), None],
    [None, None],
    [],
]


@pytest.mark.parametrize("values", NUMBERS, ids=repr)
def test_numbers_are_those_of_a_frame(values: list[Any]):
    expected = numbers(pd.Series(values, dtype=object))
    arrow = pa.chunked_array([pa.array(values)])
    np.testing.assert_array_equal(numbers(arrow), expected)
    halves = pa.chunked_array([pa.array(values)[:1], pa.array(values)[1:]])
    np.testing.assert_array_equal(numbers(halves), expected)
    if not pa.types.is_null(arrow.type):
        np.testing.assert_array_equal(numbers(arrow.dictionary_encode()), expected)


CATEGORIES: list[Any] = [
    ["b", None, "a", "b", ""],
    [3.0, None, 1.0, 2.5, float("nan")],
    [3, 1, None],
    [True, None, False],
    [None, None],
    [],
]


@pytest.mark.parametrize("values", CATEGORIES, ids=repr)
def test_texts_are_those_of_a_frame(values: list[Any]):
    def read(column: Any) -> list[str | None]:
        places, different = texts(column)
        assert different[-1] is None
        return [different[place] for place in places]

    expected = read(pd.Series(values, dtype=object))
    arrow = pa.chunked_array([pa.array(values)])
    assert read(arrow) == expected
    assert read(pa.chunked_array([pa.array(values)[:2], pa.array(values)[2:]])) == expected
    assert read(pd.Series(values, dtype=object).astype("category")) == expected
    if not pa.types.is_null(arrow.type):
        assert read(arrow.dictionary_encode()) == expected
        # Chunks with dictionaries of their own.
        parts = [pa.array(values)[:2].dictionary_encode(), pa.array(values)[2:].dictionary_encode()]
        assert read(pa.chunked_array(parts)) == expected


def test_nested_values_are_no_column():
    for values in ([[1]], [{"a": 1}, "x"], pd.Series([[1], "x"])):
        with pytest.raises(TypeError, match="lists or mappings"):
            as_column(values)


def test_a_table_takes_on_a_schema():
    schema = pa.schema([("id", pa.int64()), ("day", pa.date32()), ("rate", pa.float64()), ("kind", pa.string())])
    frame = pd.DataFrame(
        {
            "kind": ["a", None],
            "rate": [np.inf, 2.5],
            "more": 0,
            "day": pd.to_datetime(["2024-01-02"] * 2),
            "id": ["7", "8"],
        },
        index=[5, 5],
    )
    result = as_table(frame, schema)
    assert result.schema.equals(schema)
    assert result.to_pydict() == {
        "id": [7, 8], "day": [date(2024, 1, 2)] * 2, "rate": [None, 2.5], "kind": ["a", None]
    }  # fmt: skip
    assert as_table(result, schema).equals(result)
    with pytest.raises(ValueError, match=r"lacks the columns kind, rate; it has id"):
        as_table(frame[["id"]], pa.schema([("kind", pa.string()), ("id", pa.int64()), ("rate", pa.float64())]))
    with pytest.raises(ValueError, match=r"'id' of the given table is string and cannot be read as int64: 1 of its 2"):
        as_table(frame.assign(id=["7", "eight"]), schema)
