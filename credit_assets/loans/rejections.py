"""Rows of a file that cannot be used: why each, and the account of all of them.

Belongs here: reasons, repeated rows and ids, what is kept aside, the share that is too much. Does not belong here:
which rows cannot be used (`lending_club`, `portfolio_file`).
"""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans.layouts import NO_ROWS, RawTable

Mask: TypeAlias = NDArray[np.bool_]

REPEATED = "repeats an earlier row"
SAME_ID = "another row has the same id and other values"
LOST_ID = "id in scientific notation: a spreadsheet has cut off its digits"
# Rows of real files are rejected at a rate of about nothing; at one in twenty the file was misunderstood.
MAX_REJECTED_SHARE = 0.05
_SCIENTIFIC = r"^[+-]?\d([.,]\d+)?[eE]\+?\d+$"
# What a spreadsheet takes for a formula, by the first sign that is no blank; a sign alone or a number with one is none.
_FORMULA = r"^[\s\x00\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20][\s\S]"
_SIGNED = r"^\s*[+-]?(\d[\d.,'\s]*|[\d.,]*\d)([eE][+-]?\d+)?\s*%?\s*$"


class Rejections:
    """The rows that cannot be used, each with the first reason that was found."""

    def __init__(self, rows: int) -> None:
        self.usable = np.ones(rows, dtype=bool)
        self.reasons = np.full(rows, None, dtype=object)

    def add(self, where: Mask, reason: str) -> None:
        self.reasons[where & self.usable] = reason
        self.usable &= ~where

    def add_lost_ids(self, ids: pa.ChunkedArray) -> None:
        """Reject what a spreadsheet made of long numbers: 1.00E+09 is the id of many loans."""
        lost = pc.fill_null(pc.match_substring_regex(ids, _SCIENTIFIC), False)
        self.add(np.asarray(lost.to_numpy(), dtype=bool), LOST_ID)

    def add_repeated(self, raw: pa.Table, ids: NDArray[np.object_]) -> None:
        """Reject rows whose id an earlier usable row has: as a repetition where all values are the same."""
        rows = np.flatnonzero(self.usable)
        repeated = np.zeros(len(ids), dtype=bool)
        other = repeated.copy()
        later = rows[pd.Series(ids[rows]).duplicated().to_numpy()]
        if len(later):
            wanted = set(ids[later])
            first = {ids[row]: row for row in rows[::-1] if ids[row] in wanted}
            originals = raw.take([first[ids[row]] for row in later]).to_pylist()
            same = [copy == original for copy, original in zip(raw.take(later).to_pylist(), originals, strict=True)]
            repeated[later], other[later] = same, np.invert(same)
        self.add(repeated, REPEATED)
        self.add(other, SAME_ID)

    def rows(self, raw: RawTable) -> pd.DataFrame:
        """What was left out, in the order of the file: row, line, reason, the line's text where it was no row, and the
        values as text.
        """
        left = np.flatnonzero(~self.usable)
        values = pa.table(
            {name: column.take(pa.array(left)).cast(pa.string()) for name, column in
             zip(raw.columns.column_names, raw.columns.columns, strict=True)}
        ).to_pandas()  # fmt: skip
        values.insert(0, "row", raw.numbers[left])
        values.insert(1, "line", raw.numbers[left] if raw.lines is None else raw.lines[left])
        values.insert(2, "reason", self.reasons[left])
        values.insert(3, "text", None)
        strays = raw.stray_lines
        lines = pd.DataFrame(
            {
                "row": [stray.number for stray in strays],
                "line": [stray.line for stray in strays],
                "reason": [stray.reason for stray in strays],
                "text": [stray.text for stray in strays],
            }
        )
        both = [frame for frame in (values, lines) if len(frame)]
        rejected: pd.DataFrame = pd.concat(both, ignore_index=True) if both else values
        return rejected.reindex(columns=values.columns).sort_values("row", kind="stable", ignore_index=True)


def for_spreadsheets(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as text for a file that people open: a cell that a spreadsheet would run, or a name of a column, begins
    with an apostrophe. Whoever loads such a file again takes it away first.
    """
    shown = rows.copy()
    for place in range(rows.shape[1]):
        column = rows.iloc[:, place]
        if column.dtype == object:
            texts = column.astype("string")
            runs = texts.str.match(_FORMULA).fillna(False) & ~texts.str.match(_SIGNED).fillna(False)
            shown.isetitem(place, column.where(~runs.astype(bool), "'" + texts.astype(object)).to_numpy())
    names = pd.Series([str(name) for name in rows.columns], dtype=object)
    shown.columns = pd.Index(names.where(~names.str.match(_FORMULA), "'" + names))
    return shown


def account(raw: RawTable, kept: int, rejected: pd.DataFrame) -> tuple[int, dict[str, int]]:
    """Rows read, and the rejected ones counted by reason, most frequent first.

    Raises AssertionError unless every row is kept or rejected.
    """
    read = raw.columns.num_rows + len(raw.stray_lines)
    reasons = dict(Counter(rejected["reason"]).most_common())
    if kept + sum(reasons.values()) != read:
        raise AssertionError(f"{read} rows were read, but {kept} kept and {sum(reasons.values())} rejected")
    return read, reasons


def refuse_too_many(kept: int, reasons: dict[str, int], allowed: float, where: object, aside: str | None) -> None:
    """Raise PermanentError where more than the allowed share of the rows was rejected: lines that are no rows and rows
    that repeat an earlier one do not count.
    """
    # A row that is there already is not lost either: files put together of overlapping ones have many.
    counted = {reason: count for reason, count in reasons.items() if reason not in NO_ROWS | {REPEATED}}
    rejected = sum(counted.values())
    of = kept + rejected
    if kept and rejected <= allowed * of:
        return
    if not of:
        raise PermanentError(f"{where}: none of its {sum(reasons.values()):,} lines is a row; nothing was written")
    why = ", ".join(f"{reason} ({count:,})" for reason, count in list(counted.items())[:3])
    advice = "" if not kept else f", or raise --max-rejected (now {allowed:g}) where so many are to be left out"
    rows = f"; they stand in {aside}" if aside else ""
    raise PermanentError(
        f"{where}: {rejected:,} of {of:,} rows ({rejected / of:.2%}) cannot be used: {why}{rows}; nothing was "
        f"written. Correct the file, or say how it is to be read (--decimal, --dates, --encoding, --delimiter){advice}"
    )
