"""Delimited and Parquet files as columns, with the number of each row and the lines that are no rows.

Belongs here: compression, the header and what stands above it, rows of another number of fields. Does not belong here:
what a column means (`lending_club`) and what a text is read as (`published_values`).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from credit_assets.failures import PermanentError

_BLOCK_BYTES = 1 << 24
_HEADER_LINES = 10
_HEADER_LINE_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Layout:
    """The columns of a published file, by which its header is found."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    sign: str
    """A required column whose name stands in no other line than the header."""
    few_values: frozenset[str]
    """Columns of few different texts: each is held once."""
    advice: str
    """What to do with a file that lacks columns."""

    def is_header(self, names: Sequence[str]) -> bool:
        return self.sign in names or len(set(names) & set(self.required)) > len(self.required) // 2

    def missing(self, names: Sequence[str]) -> str:
        """The required columns that are not among the names, to be shown."""
        return ", ".join(name for name in self.required if name not in names)

    def present(self, path: Path, names: Sequence[str]) -> list[str]:
        """Those of the names that the layout knows. Raises PermanentError where a required one is missing."""
        if missing := self.missing(names):
            raise PermanentError(f"{path} has no known {self.name} layout: missing columns {missing}; {self.advice}")
        return [name for name in names if name in self.required + self.optional]


@dataclass(frozen=True)
class StrayLine:
    """A line between the rows that is none: it has another number of fields."""

    number: int
    text: str


@dataclass(frozen=True)
class RawTable:
    """A file's rows as they were published.

    Rows are counted from 1 after the header, blank lines not counted, stray lines counted.
    """

    container: Literal["CSV", "Parquet"]
    columns: pa.Table
    numbers: NDArray[np.int64]
    stray_lines: tuple[StrayLine, ...]


def read_columns(path: Path, layout: Layout) -> RawTable:
    """The columns of `layout` in a CSV, gzipped CSV or Parquet file; those of a CSV file as text.

    Raises PermanentError where the file cannot be read, or lacks required columns: it lists them.
    """
    return _read_parquet(path, layout) if _begin(path, 4) == b"PAR1" else _read_csv(path, layout)


def _begin(path: Path, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(length)
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}") from error


def _read_parquet(path: Path, layout: Layout) -> RawTable:
    try:
        columns = pq.read_table(path, columns=layout.present(path, pq.read_schema(path).names))
    except (pa.ArrowInvalid, OSError) as error:
        raise PermanentError(f"{path} is not a readable Parquet file") from error
    return RawTable("Parquet", columns, np.arange(1, columns.num_rows + 1), ())


def _read_csv(path: Path, layout: Layout) -> RawTable:
    """Only the columns of the layout are held, so that a file of any size need not fit into memory."""
    gzipped = _begin(path, 2) == b"\x1f\x8b"
    above, names = _header(path, layout, gzipped=gzipped)
    present = layout.present(path, names)
    stray: list[StrayLine] = []

    def set_aside(row: Any) -> str:
        stray.append(StrayLine(row.number - above, row.text))
        return "skip"

    batches: list[pa.RecordBatch] = []
    try:
        with pa.input_stream(str(path), compression="gzip" if gzipped else None) as stream:
            reader = pa.csv.open_csv(
                stream,
                # One thread: only then are the rows that have another number of fields reported with their number.
                read_options=pa.csv.ReadOptions(
                    column_names=names, skip_rows=above, block_size=_BLOCK_BYTES, use_threads=False
                ),
                parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=set_aside),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=present, column_types=dict.fromkeys(present, pa.string()), strings_can_be_null=False
                ),
            )
            for batch in reader:
                held = [
                    column.dictionary_encode() if name in layout.few_values else column
                    for name, column in zip(present, batch.columns, strict=True)
                ]
                batches.append(pa.RecordBatch.from_arrays(held, names=present))
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise PermanentError(f"{path} is not a readable CSV file: {str(error).split(':')[0]}") from error
    kinds = [pa.dictionary(pa.int32(), pa.string()) if name in layout.few_values else pa.string() for name in present]
    columns = pa.Table.from_batches(batches, schema=pa.schema(list(zip(present, kinds, strict=True))))
    everything = np.arange(1, columns.num_rows + len(stray) + 1)
    rows = everything[~np.isin(everything, [line.number for line in stray])]
    return RawTable("CSV", columns, rows, tuple(stray))


def _header(path: Path, layout: Layout, *, gzipped: bool) -> tuple[int, list[str]]:
    """Lines up to and including the header, and its names. Published files carry a note above it."""
    longest: list[str] = []
    with _opened(path, gzipped=gzipped) as file:
        for number in range(1, _HEADER_LINES + 1):
            names = next(csv.reader([file.readline(_HEADER_LINE_CHARACTERS)]), [])
            names = [name.strip() for name in names]
            if layout.is_header(names):
                return number, names
            longest = max(longest, names, key=len)
    raise PermanentError(
        f"{path} has no known {layout.name} layout: no header in its first {_HEADER_LINES} lines; missing columns "
        f"{layout.missing(longest)}"
    )


def _opened(path: Path, *, gzipped: bool) -> IO[str]:
    opened: IO[str] = (gzip.open if gzipped else open)(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return opened
