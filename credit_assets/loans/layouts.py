"""What a reader asks of a file, what it is told of it, and what it hands back.

Belongs here: the columns by which a header is found, the options that overrule what is recognised, rows as they were
read. Does not belong here: reading (`table_files` and what it calls) and what columns mean (`lending_club`,
`portfolio_file`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from credit_assets.failures import PermanentError

_SHOWN_NAMES = 40
NOT_A_ROW = "not a row: a note, heading or total line"
REPEATED_HEADER = "not a row: the header once more"
ANOTHER_NUMBER_OF_FIELDS = "another number of fields than the header"
WITHOUT_OUTCOME = "an application without an outcome"
NO_ROWS = frozenset({NOT_A_ROW, REPEATED_HEADER, WITHOUT_OUTCOME})
"""Reasons of lines that are set aside without being rows: no share of rejected rows counts them."""


@dataclass(frozen=True)
class ReadOptions:
    """What the user says of a file; what is empty is recognised from the file."""

    encoding: str = ""
    """A codec of Python: utf-8, utf-16, cp1252, shift_jis, ..."""
    delimiter: str = ""
    """One character, or `tab`."""
    decimal: Literal["", ".", ","] = ""
    dates: Literal["", "day-first", "month-first"] = ""
    """The order of days like 01/02/2015."""
    quotes: bool = True
    """Whether a double quote encloses a field; else it is a character as any other."""

    def __post_init__(self) -> None:
        if self.delimiter and self.delimiter != "tab" and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise PermanentError("--delimiter takes one character, or the word tab")
        for option, given, known in (
            ("--decimal", self.decimal, (".", ",")),
            ("--dates", self.dates, ("day-first", "month-first")),
        ):
            if given and given not in known:
                raise PermanentError(f"{option} is {' or '.join(known)}, not {given!r}")


@dataclass(frozen=True)
class Layout:
    """The columns of a file, by which its header is found. `names` gives a column of the file another name."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    sign: str
    """A required column whose name stands in no other line than the header."""
    few_values: frozenset[str]
    """Columns of few different texts: each is held once."""
    advice: str
    """What to do with a file that lacks columns."""

    @property
    def known(self) -> frozenset[str]:
        return frozenset(self.required + self.optional)

    def is_header(self, names: Sequence[str]) -> bool:
        return self.sign in names or len(set(names) & set(self.required)) > len(self.required) // 2

    def count_known(self, names: Sequence[str]) -> int:
        """How many of the names the layout knows: of several lines that may be the header, the one with most is."""
        return len(self.known & set(names))

    def present(self, path: Path, names: Sequence[str], how: str) -> list[str]:
        """Those of the names that the layout knows, in the order of the file.

        `how` says in messages how the file was read. Raises PermanentError where a required column is missing, or one
        that is wanted stands there twice.
        """
        missing = [name for name in self.required if name not in names]
        if missing:
            raise PermanentError(
                f"{path} has no known {self.name} layout: missing columns {', '.join(missing)}; {how}"
                f"{shown_names(names)}; {self.advice}"
            )
        twice = sorted({name for name in names if name in self.known and list(names).count(name) > 1})
        if twice:
            raise PermanentError(
                f"{path}: column {', '.join(twice)} stands in the header more than once, so it is not known which is "
                "meant: rename or remove one"
            )
        return [name for name in names if name in self.known]


def shown_names(names: Sequence[str]) -> str:
    """The names in a file's header for a message; nothing where they may be the values of a first row."""
    if not names or any(not name or not (name[0].isalpha() or name[0] == "_") for name in names):
        return ""
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"; it has the columns {', '.join(names[:_SHOWN_NAMES])}{more}"


@dataclass(frozen=True)
class StrayLine:
    """A line between the rows that was set aside, and why."""

    number: int
    line: int
    text: str
    reason: str


@dataclass(frozen=True)
class RawTable:
    """A file's rows as they were published.

    Rows are counted from 1 after the header, blank lines not counted, stray lines counted; lines as an editor counts
    them. `read_as` says what the file was taken for.
    """

    columns: pa.Table
    numbers: NDArray[np.int64]
    stray_lines: tuple[StrayLine, ...]
    digest: str
    """SHA-256 of the file, in hex."""
    read_as: dict[str, str] = field(default_factory=dict)
    lines: NDArray[np.int64] | None = None
    """The line of each row; None where the file has no lines."""
