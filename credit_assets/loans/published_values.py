"""What texts of files are read as: numbers with their signs and units, months, levels.

Belongs here: forms in which people and programs write a value. Does not belong here: decimal marks (`decimal_marks`),
which column is written how (`lending_club`), and what a plain value is read as (`credit_assets.ml.data.values`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans.dates import Order, month_of
from credit_assets.loans.decimal_marks import Mark, decimal_marks, plain, without_spaces
from credit_assets.ml.data.calendar_days import within_calendar
from credit_assets.ml.data.values import MISSING_WORDS, read

_CURRENCIES = "$€£¥₹"
# Months since year 0 that a loan may have: 1900 to 2199.
_MONTHS = (1900 * 12, 2200 * 12)


@dataclass(frozen=True)
class Numbers:
    """A column as float64, NaN where missing or unreadable, and which rows hold something that cannot be read."""

    values: NDArray[np.float64]
    unreadable: NDArray[np.bool_]
    percent: NDArray[np.bool_] | None = None
    """Rows with a percent sign; None where there is none."""


@dataclass(frozen=True)
class NumberColumns:
    """The numbers of a file's columns, and what their texts said of how they are written."""

    columns: dict[str, Numbers]
    marks: dict[str, Mark] = field(default_factory=dict)
    currency: str = ""

    @property
    def notes(self) -> dict[str, str]:
        """What the numbers were taken for, to be shown."""
        commas = [name for name, mark in self.marks.items() if mark == ","]
        points = [name for name, mark in self.marks.items() if mark == "."]
        found = {"decimal comma": commas, "decimal point": points}
        notes = {what: ", ".join(names) for what, names in found.items() if names}
        return notes | ({"currency sign": self.currency} if self.currency else {})


def text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Trimmed text; what stands for nothing is null."""
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.is_in(pc.utf8_lower(trimmed), pa.array(MISSING_WORDS)), pa.scalar(None, pa.string()), trimmed)


def read_numbers(columns: Mapping[str, pa.ChunkedArray], given: Mark, where: object) -> NumberColumns:
    """Numbers as they are, or as text with signs of currency and percent, thousands, and the word months.

    `given` is the decimal mark of all columns; empty: each is recognised. Raises PermanentError where a column's mark
    cannot be told, or the file has more than one currency.
    """
    written = {name: text(column) for name, column in columns.items() if is_text(column.type)}
    currency = _currency(written, where)
    bare = {
        name: without_spaces(
            pc.utf8_trim_whitespace(pc.replace_substring_regex(given, rf"[%{_CURRENCIES}]|\s*months?$", ""))
        )
        for name, given in written.items()
    }
    marks = decimal_marks(bare, given, where)
    read_columns = {name: _typed(column) for name, column in columns.items() if name not in written}
    for name, given in written.items():
        values = read(plain(bare[name], marks[name]), pa.float64()).values.to_numpy()
        percent = np.asarray(pc.fill_null(pc.ends_with(given, "%"), False).to_numpy(), dtype=bool)
        unreadable = np.isnan(values) & _valid(given)
        read_columns[name] = Numbers(values, unreadable, percent if percent.any() else None)
    return NumberColumns(read_columns, {name: mark for name, mark in marks.items() if mark}, currency)


def _typed(column: pa.ChunkedArray) -> Numbers:
    reading = read(column, pa.float64())
    values = reading.values.to_numpy()
    # What a division by zero left is neither a number nor missing.
    infinite = np.isinf(values)
    unreadable = infinite if reading.misfits is None else infinite | reading.misfits
    return Numbers(np.where(infinite, np.nan, values), unreadable)


def _currency(columns: Mapping[str, pa.ChunkedArray], where: object) -> str:
    """The sign of currency of the file's amounts; empty where none stands there."""
    found = [
        sign
        for sign in _CURRENCIES
        if any(pc.any(pc.match_substring(column, sign)).as_py() for column in columns.values())
    ]
    if len(found) > 1:
        raise PermanentError(f"{where}: amounts in more than one currency ({', '.join(found)}): load each by itself")
    return "".join(found)


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or (pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)))


def by_level(column: pa.ChunkedArray, value_of: Callable[[str], float | None]) -> Numbers:
    """What each of a column's texts stands for; unreadable where `value_of` gives None."""
    given = text(column)
    encoded = given.combine_chunks().dictionary_encode()
    meant = [value_of(level) for level in encoded.dictionary.to_pylist()]
    table = np.array([np.nan if value is None else value for value in meant] + [np.nan])
    values = table[pc.fill_null(encoded.indices, len(meant)).to_numpy()]
    return Numbers(values, np.isnan(values) & _valid(given))


def months(column: pa.ChunkedArray, order: Order = "") -> Numbers:
    """Months since year 0, from timestamps, days or text."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column, outside = within_calendar(column)
        counted = pc.add(pc.multiply(pc.year(column), 12), pc.subtract(pc.month(column), 1))
        nowhere = np.zeros(len(column), dtype=bool)
        found = Numbers(counted.cast(pa.float64()).to_numpy(), nowhere if outside is None else outside)
    else:
        found = by_level(column, lambda level: month_of(level, order))
    no_loans = (found.values < _MONTHS[0]) | (found.values >= _MONTHS[1])
    return Numbers(np.where(no_loans, np.nan, found.values), found.unreadable | no_loans)


def _valid(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.is_valid().to_numpy(), dtype=bool)
