"""What texts of published files are read as: numbers with their signs and units, months, levels.

Belongs here: forms in which publishers write a value. Does not belong here: which column is written how
(`lending_club`), and what a plain value is read as (`credit_assets.ml.data.values`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from credit_assets.ml.data.values import read

_MISSING = ("", "n/a", "na", "nan", "null", "none", "<na>", "nat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_FORMS = (
    r"(?P<name>[a-z]{3})[a-z]*[-/ ](?P<year>\d{4}|\d{2})",
    r"(?P<year>\d{4}|\d{2})[-/ ](?P<name>[a-z]{3})[a-z]*",  # "15-Dec", as spreadsheets turn "Dec-15"
    r"\d{1,2}[-/ ](?P<name>[a-z]{3})[a-z]*[-/ ](?P<year>\d{4}|\d{2})",
    r"(?P<year>\d{4})-(?P<month>\d{1,2})(-\d{1,2}([t ].*)?)?",
    r"(?P<month>\d{1,2})/(\d{1,2}/)?(?P<year>\d{4})",
)


@dataclass(frozen=True)
class Numbers:
    """A column as float64, NaN where missing or unreadable, and which rows hold something that cannot be read."""

    values: NDArray[np.float64]
    unreadable: NDArray[np.bool_]
    percent_signs: bool = False


def text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Trimmed text; what stands for nothing is null."""
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.is_in(pc.utf8_lower(trimmed), pa.array(_MISSING)), pa.scalar(None, pa.string()), trimmed)


def numbers(column: pa.ChunkedArray) -> Numbers:
    """Numbers as they are, or as text with a currency sign, thousands commas, a percent sign or the word months."""
    if not (pa.types.is_string(column.type) or pa.types.is_dictionary(column.type)):
        reading = read(column, pa.float64())
        nowhere = np.zeros(len(column), dtype=bool)
        return Numbers(reading.values.to_numpy(), nowhere if reading.misfits is None else reading.misfits)
    given = text(column)
    bare = pc.replace_substring_regex(given, r"[%$,]|\s*months?$", "")
    values = read(bare, pa.float64()).values.to_numpy()
    return Numbers(values, np.isnan(values) & _valid(given), bool(pc.any(pc.ends_with(given, "%")).as_py()))


def by_level(column: pa.ChunkedArray, value_of: Callable[[str], float | None]) -> Numbers:
    """What each of a column's texts stands for; unreadable where `value_of` gives None."""
    given = text(column)
    encoded = given.combine_chunks().dictionary_encode()
    meant = [value_of(level) for level in encoded.dictionary.to_pylist()]
    table = np.array([np.nan if value is None else value for value in meant] + [np.nan])
    values = table[pc.fill_null(encoded.indices, len(meant)).to_numpy()]
    return Numbers(values, np.isnan(values) & _valid(given))


def months(column: pa.ChunkedArray) -> Numbers:
    """Months since year 0, from timestamps, days or text."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        counted = pc.add(pc.multiply(pc.year(column), 12), pc.subtract(pc.month(column), 1))
        return Numbers(counted.cast(pa.float64()).to_numpy(), np.zeros(len(column), dtype=bool))
    return by_level(column, month_of)


def month_of(text: str) -> int | None:
    """Months since year 0 of a month as files write it; None where it is no month.

    >>> month_of("Dec-2015") == month_of("2015-12-01") == month_of("12/1/2015") == month_of("Dec-15") == 2015 * 12 + 11
    True
    """
    text = text.strip().lower()
    for form in _MONTH_FORMS:
        match = re.fullmatch(form, text)
        if match:
            parts = match.groupdict()
            name = parts.get("name")
            if name is None:
                month = int(parts["month"]) - 1
            else:
                month = _MONTHS.index(name) if name in _MONTHS else -1
            year = int(parts["year"]) + (2000 if len(parts["year"]) == 2 else 0)
            return year * 12 + month if 0 <= month < 12 else None
    return None


def _valid(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(column.is_valid().to_numpy(), dtype=bool)
