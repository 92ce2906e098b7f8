"""Parquet and Arrow files: the same loans whatever types their writer chose, and files that are damaged."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.layouts import Layout, ReadOptions
from credit_assets.loans.lending_club import read_lending_club
from credit_assets.loans.table_files import read_columns
from credit_assets.ml.data.values import read as read_values
from credit_assets_tests.support.lending_club_files import loan

ONE = Layout("one", ("key",), ("other",), "key", frozenset(), "give a file with a key")
LOANS = [loan(id=str(i), tot_cur_bal="", purpose=["car", "credit_card"][i % 2]) for i in range(40)]
TEXTS: dict[str, Callable[[list[str]], pa.Array]] = {
    "string": lambda texts: pa.array(texts, pa.string()),
    "large_string": lambda texts: pa.array(texts, pa.large_string()),
    "string_view": lambda texts: pa.array(texts, pa.string_view()),
    "binary": lambda texts: pa.array([text.encode() for text in texts], pa.binary()),
    "large_binary": lambda texts: pa.array([text.encode() for text in texts], pa.large_binary()),
    "binary_view": lambda texts: pa.array([text.encode() for text in texts], pa.binary_view()),
    "dictionary": lambda texts: pa.array(texts).dictionary_encode(),
    "dictionary of large_string": lambda texts: _levels(texts, pa.int8(), pa.large_string()),
    "dictionary of string_view": lambda texts: _levels(texts, pa.uint16(), pa.string_view()),
}


def _levels(texts: list[str], places: pa.DataType, kind: pa.DataType) -> pa.Array:
    levels = sorted(set(texts))
    return pa.DictionaryArray.from_arrays(
        pa.array([levels.index(text) for text in texts], places), pa.array(levels, kind)
    )


def write_arrow(path: Path, table: pa.Table) -> Path:
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=15)
    return path


@pytest.mark.parametrize("kind", TEXTS)
def test_loans_as_any_kind_of_text(tmp_path: Path, kind: str) -> None:
    """Rates were null in every row where text came as large_string, as polars writes it."""
    table = pa.table({name: TEXTS[kind]([row[name] for row in LOANS]) for name in LOANS[0]})
    book = read_lending_club(write_arrow(tmp_path / "loans.arrow", table))
    assert book.report.rows_kept == 40
    assert book.applications["interest_rate"].to_pylist() == [13.56] * 40
    assert book.applications["purpose"].to_pylist() == [row["purpose"] for row in LOANS]
    assert book.applications["annual_income"].to_pylist() == [24_000.0] * 40
    assert book.applications["employment_years"].null_count == 0


NUMBERS = {
    **{str(kind): pa.array([24_000, None], kind) for kind in (pa.int16(), pa.int32(), pa.int64(), pa.uint32())},
    **{str(kind): pa.array([24_000.0, None], kind) for kind in (pa.float16(), pa.float32(), pa.float64())},
    **{
        str(kind): pa.array([Decimal("24000.00"), None], kind)
        for kind in (pa.decimal32(9, 2), pa.decimal64(12, 2), pa.decimal128(20, 2), pa.decimal256(50, 2))
    },
    "dictionary": pa.array([24_000, None]).dictionary_encode(),
    "run ends": pa.RunEndEncodedArray.from_arrays([1, 2], pa.array([24_000.0, None])),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_any_kind_of_number(tmp_path: Path, kind: str) -> None:
    path = write_arrow(tmp_path / "a.arrow", pa.table({"key": NUMBERS[kind]}))
    column = read_columns(path, ONE, ReadOptions()).columns["key"]
    assert read_values(column, pa.float64()).values.to_pylist() == [24_000.0, None]


@pytest.mark.parametrize(
    "given",
    [
        pa.array([date(2011, 12, 1)] * 40, pa.date32()),
        pa.array([date(2011, 12, 1)] * 40, pa.date64()),
        *(pa.array([datetime(2011, 12, 1)] * 40, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        pa.array([datetime(2011, 12, 1)] * 40, pa.timestamp("us", "America/New_York")),
        pa.array([datetime(2011, 12, 1, 12)] * 40, pa.timestamp("us", "Asia/Tokyo")),
    ],
    ids=lambda given: str(given.type),
)
def test_any_kind_of_day(tmp_path: Path, given: pa.Array) -> None:
    """A timestamp with a zone is the day of its own zone: midnight UTC is November in New York."""
    table = pa.table({name: pa.array([row[name] for row in LOANS]) for name in LOANS[0]})
    table = table.set_column(table.column_names.index("issue_d"), "issue_d", given)
    book = read_lending_club(write_arrow(tmp_path / "a.arrow", table))
    months = {(day.year, day.month) for day in book.applications["application_date"].to_pylist()}
    assert months == {(2011, 11 if str(given.type).endswith("New_York]") else 12)}


def test_ids_of_other_kinds(tmp_path: Path) -> None:
    key = uuid.UUID(int=7)
    path = write_arrow(tmp_path / "a.arrow", pa.table({"key": pa.array([key.bytes], pa.uuid())}))
    assert read_columns(path, ONE, ReadOptions()).columns["key"].to_pylist() == [str(key)]


@pytest.mark.parametrize("column", [pa.array([[1]]), pa.array([{"a": 1}]), pa.array([b"\xff\xfe"])])
def test_columns_without_one_value_a_row(tmp_path: Path, column: pa.Array) -> None:
    path = write_arrow(tmp_path / "a.arrow", pa.table({"key": column}))
    with pytest.raises(PermanentError, match=r"a\.arrow: column key holds"):
        read_columns(path, ONE, ReadOptions())


def test_only_wanted_columns_and_all_rows_are_read(tmp_path: Path) -> None:
    table = pa.table({"nested": [[1]] * 3, "key": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    raw = read_columns(tmp_path / "a.parquet", ONE, ReadOptions())
    assert raw.columns.to_pydict() == {"key": ["a", "b", "c"]}
    assert raw.read_as == {"file": "Parquet", "types": "string"}
    assert raw.lines is None


def test_unknown_layouts_and_empty_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"loan_amnt": [1]}), tmp_path / "c.parquet")
    with pytest.raises(
        PermanentError, match=r"missing columns term, int_rate.* read as Parquet; it has the columns loan_"
    ):
        read_lending_club(tmp_path / "c.parquet")
    pq.write_table(pa.table({"key": pa.array([], pa.string())}), tmp_path / "d.parquet")
    with pytest.raises(PermanentError, match="holds no rows: it has a header alone"):
        read_columns(tmp_path / "d.parquet", ONE, ReadOptions())
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["key", "key"])
    with pytest.raises(PermanentError, match="column key stands in the header more than once"):
        read_columns(write_arrow(tmp_path / "e.arrow", twice), ONE, ReadOptions())


@pytest.mark.parametrize("kind", ["Parquet", "Arrow file", "Arrow stream"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
def test_files_that_end_early(tmp_path: Path, kind: str, share: float) -> None:
    table = pa.table({"key": [f"loan {i}" for i in range(5_000)]})
    path = tmp_path / "a"
    writers: dict[str, Callable[..., Any]] = {"Arrow file": pa.ipc.new_file, "Arrow stream": pa.ipc.new_stream}
    if kind == "Parquet":
        pq.write_table(table, path)
    else:
        with writers[kind](path, table.schema) as writer:
            writer.write_table(table, max_chunksize=1_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PermanentError, match=f"cannot be read to its end as {kind} .*damaged or cut short"):
        read_columns(path, ONE, ReadOptions())
