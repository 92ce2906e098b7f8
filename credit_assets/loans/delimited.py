"""The rows of a delimited file as columns of text: every line is a row, a part of one, or set aside and named.

Belongs here: rows of another number of fields, repeated headers, quotes that do not close, the count of lines. Does
not belong here: unpacking (`containers`), encoding and header (`text_files`), what a column means (`lending_club`,
`portfolio_file`).

Python's csv module reads the rows: slower than Arrow's, but it is strict with quotes, and says at which line it stands.
Two stray quotes far apart make one valid field of all rows between them; no grammar tells. So a field that spans lines
is taken only where its lines do not look like rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from credit_assets.failures import PermanentError
from credit_assets.loans.containers import Container
from credit_assets.loans.layouts import (
    ANOTHER_NUMBER_OF_FIELDS,
    NOT_A_ROW,
    REPEATED_HEADER,
    Layout,
    RawTable,
    ReadOptions,
    StrayLine,
)
from credit_assets.loans.text_files import TextFile, delimiter_name, not_decoded, recognise, rows_of, zero_bytes

# Rows held as Python texts, at most: of some 30 columns, and fewer of more.
_BATCH_ROWS = 1 << 15
_BATCH_VALUES = 1 << 20
_STRAY_CHARACTERS = 2_000
# Lines that are no rows, where they are more than the rows: an export has some, a file of nothing else has no end.
_MOST_OTHER_LINES = 1_000_000


def read_delimited(container: Container, layout: Layout, reading: ReadOptions) -> RawTable:
    """The columns of `layout` as text. Only they are held, so that a file of any size need not fit into memory.

    Raises PermanentError where the text cannot be read strictly, naming the line.
    """
    file = recognise(container, layout, reading)
    rows = _Rows(file, layout)
    rows.read()
    lines = {
        "lines": f"{rows.lines.count:,}",
        "header": f"line {file.above}",
        "blank lines": f"{rows.blank:,}",
        **({"rows over several lines": rows.spanning_note} if rows.spanning else {}),
        **({"rows that end with a delimiter": f"{rows.trailing:,}"} if rows.trailing else {}),
    }
    return RawTable(
        columns=rows.table(),
        numbers=np.concatenate([np.empty(0, np.int64), *rows.numbers]),
        stray_lines=tuple(rows.stray),
        digest=container.digest,
        read_as={
            "file": container.described.replace("text", "delimited text", 1),
            "encoding": file.shown_encoding,
            "delimiter": delimiter_name(file.delimiter),
            **lines,
        },
        lines=np.concatenate([np.empty(0, np.int64), *rows.starts]),
    )


class _Lines:
    """The lines of a file, counted; those of the row that is being read are kept."""

    def __init__(self, text: Iterator[str], file: TextFile) -> None:
        self._text = text
        self._file = file
        self.count = 0
        self.held: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self.count += 1
            if "\0" in line:
                raise zero_bytes(self._file.container, self.count, self._file.described)
            self.held.append(line)
            yield line


class _Rows:
    """Reads the rows of one file, in batches."""

    def __init__(self, file: TextFile, layout: Layout) -> None:
        self._file = file
        self._layout = layout
        self._present = layout.present(file.container.path, file.names, file.described)
        places = [file.names.index(name) for name in self._present]
        self._pick: Any = itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)
        self._most = max(1, min(_BATCH_ROWS, _BATCH_VALUES // max(1, len(places))))
        self._batches: list[pa.RecordBatch] = []
        self._rows: list[Sequence[str]] = []
        self._numbers: list[int] = []
        self._starts: list[int] = []
        self.numbers: list[Any] = []
        self.starts: list[Any] = []
        self.stray: list[StrayLine] = []
        self.blank = self.spanning = self.extra_lines = self.trailing = 0
        self.first_spanning = 0

    @property
    def spanning_note(self) -> str:
        return f"{self.spanning:,}, the first at line {self.first_spanning:,}"

    def read(self) -> None:
        try:
            with self._file.opened() as text:
                self.lines = _Lines(iter(text), self._file)
                self._read(iter(self.lines))
        except UnicodeError as error:
            raise not_decoded(self._file.container, self._file.shown_encoding, self.lines.count + 1, error) from error
        rows = sum(len(batch) for batch in self._batches)
        if self._file.above + self.blank + self.extra_lines + len(self.stray) + rows != self.lines.count:
            raise AssertionError(
                f"{self._file.container.path}: {self.lines.count} lines are not {self._file.above} up to the header, "
                f"{self.blank} blank, {self.extra_lines} within rows, {len(self.stray)} set aside and {rows} rows"
            )

    def table(self) -> pa.Table:
        few = self._layout.few_values
        kinds = [pa.dictionary(pa.int32(), pa.string()) if name in few else pa.string() for name in self._present]
        return pa.Table.from_batches(
            self._batches, schema=pa.schema(list(zip(self._present, kinds, strict=True)))
        ).unify_dictionaries()

    def _read(self, lines: Iterator[str]) -> None:
        for _ in range(self._file.above):
            next(lines)
        names = set(self._file.names)
        self.lines.held.clear()
        reader = rows_of(lines, self._file.delimiter, quotes=self._file.quotes)
        number, start = 0, self._file.above + 1
        while (row := self._next(reader, start)) is not None:
            end = self.lines.count
            if end > start:
                self._spans(start, end)
            if not row:
                self.blank += 1
            else:
                number += 1
                self._take(row, number, start, names)
            if self.blank + len(self.stray) > max(_MOST_OTHER_LINES, number - len(self.stray)):
                raise PermanentError(
                    f"{self._file.container.path}, line {end:,}: {self.blank:,} lines up to here are blank and "
                    f"{len(self.stray):,} are no rows, more than there are rows: it is no table, or damaged"
                )
            self.lines.held.clear()
            start = end + 1
        self._flush()

    def _next(self, reader: Iterator[list[str]], start: int) -> list[str] | None:
        try:
            return next(reader, None)
        except csv.Error as error:
            what = str(error).split("(")[0].strip()
            if "field limit" in what:
                raise PermanentError(
                    f"{self._file.container.path}, line {start:,}: a field of more than {csv.field_size_limit():,} "
                    f"characters, {self._file.described}: no value is so long; a quote that is not closed makes such "
                    "fields (--no-quotes where quotes are plain characters), or another --delimiter"
                ) from error
            raise PermanentError(
                f"{self._file.container.path}, line {start:,}: a quote is opened or closed in the wrong place (seen at "
                f"line {self.lines.count:,}: {what}), {self._file.described}; correct the line, or give --no-quotes "
                "where quotes are plain characters"
            ) from error

    def _take(self, row: list[str], number: int, start: int, names: set[str]) -> None:
        width = len(self._file.names)
        if len(row) == width + 1 and not row[-1]:
            self.trailing += 1
            row.pop()
        elif len(row) == width - 1 and not self._file.names[-1]:
            row.append("")
        if len(row) != width:
            self._set_aside(row, number, start)
            return
        picked = self._pick(row)
        if not names.isdisjoint(picked) and self._layout.is_header([name.strip() for name in row]):
            self._set_aside(row, number, start)
            return
        self._rows.append(picked)
        self._numbers.append(number)
        self._starts.append(start)
        if len(self._rows) == self._most:
            self._flush()

    def _set_aside(self, row: list[str], number: int, start: int) -> None:
        names = tuple(name.strip() for name in row)
        if names == self._file.names:
            reason = REPEATED_HEADER
        elif self._layout.is_header(names):
            raise PermanentError(
                f"{self._file.container.path}, line {start:,}: a second header with other columns, or in another "
                "order, than the first: the file is put together of two; load each by itself"
            )
        else:
            # A note or total line has one text, perhaps beside its number.
            filled = sum(1 for value in row if value.strip())
            reason = NOT_A_ROW if filled <= 2 else ANOTHER_NUMBER_OF_FIELDS
        text = "".join(self.lines.held).rstrip("\r\n")[:_STRAY_CHARACTERS]
        self.stray.append(StrayLine(number, start, text, reason))

    def _spans(self, start: int, end: int) -> None:
        """A row of several lines. Raises PermanentError where its lines look like rows themselves."""
        width = len(self._file.names)
        alike = [len(line.split(self._file.delimiter)) == width for line in self.lines.held]
        if any(alike[1:-1]) or (alike[0] and alike[-1]):
            raise PermanentError(
                f"{self._file.container.path}: a quote that opens in line {start:,} closes in line {end:,}, and the "
                "lines between look like rows of their own: they would be lost in one field; correct the quotes "
                "there, or give --no-quotes where quotes are plain characters"
            )
        self.spanning += 1
        self.extra_lines += end - start
        self.first_spanning = self.first_spanning or start

    def _flush(self) -> None:
        if not self._rows:
            return
        arrays = [
            pa.array(values, pa.string()).dictionary_encode()
            if name in self._layout.few_values
            else pa.array(values, pa.string())
            for name, values in zip(self._present, zip(*self._rows, strict=True), strict=True)
        ]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, names=self._present))
        self.numbers.append(np.array(self._numbers, np.int64))
        self.starts.append(np.array(self._starts, np.int64))
        self._rows, self._numbers, self._starts = [], [], []
