"""Whether a column of numbers written as text has a decimal point or a decimal comma.

Belongs here: the forms in which numbers are written, and what each is evidence of. Does not belong here: units and
scales (`scales`) and what a plain number is (`credit_assets.ml.data.values`).

Each column decides for itself, since one export may write its money in one way and its rates in another. Evidence is a
value that can be read in one way only: 12,5 and 1.234,56 have a comma, 12.5 and 1,234.56 a point. 1,234 and 1.234 are
none: they are thousands or fractions, and whole numbers beside them say nothing, since people type 45000 and 45,000
into one column. In a column of such values alone the sign parts thousands where the other columns have the other sign
for decimals. Otherwise the file is refused: an income would be wrong by a thousand, and nothing would say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from credit_assets.failures import PermanentError

Mark = Literal["", ".", ","]
"""The decimal mark; empty where a column has whole numbers alone, or is not text."""

# Of a column's values with a mark, the share that may contradict the others: they are rejected as unreadable, row by
# row. More is no slip of the pen.
MAX_CONTRADICTING_SHARE = 0.01

_POWER = r"([eE][+-]?\d+)?$"
_COMMA = (
    r"(\d{4,}|0+|),\d+",  # 1234,567 has no thousands, nor has 0,123
    r"\d+,(\d{1,2}|\d{4,})",
    r"\d{1,3}(\.\d{3})+,\d+",
    r"\d{1,3}(\.\d{3}){2,}",
)
_POINT = (
    r"(\d{4,}|0+|)\.\d*",
    r"\d+\.(\d{0,2}|\d{4,})",
    r"\d{1,3}(,\d{2,3})*,\d{3}\.\d*",  # 12,34,567.00 in India
    r"\d{1,3}(,\d{2,3})+,\d{3}",
)
_FORMS = {
    # Read in one way only.
    "comma": rf"^[+-]?({'|'.join(_COMMA)}){_POWER}",
    "point": rf"^[+-]?({'|'.join(_POINT)}){_POWER}",
    # Read in two ways.
    "one_comma": r"^[+-]?[1-9]\d{0,2},\d{3}$",
    "one_point": r"^[+-]?[1-9]\d{0,2}\.\d{3}$",
}
_THOUSANDS: dict[str, str] = {
    ".": r"^[+-]?\d{1,3}([,]\d{2,3})*[,]\d{3}([.]\d*)?$",
    ",": r"^[+-]?\d{1,3}([.]\d{3})+([,]\d*)?$",
}
# A blank of any width, or an apostrophe, between groups of three.
_SPACED = r"^[+-]?\d{1,3}([ \x{00A0}\x{2009}\x{202F}'’]\d{3})+([.,]\d*)?$"
_SPACES = r"[ \x{00A0}\x{2009}\x{202F}'’]"


@dataclass(frozen=True)
class Forms:
    """How many different values of a column are written in each form."""

    comma: int = 0
    point: int = 0
    one_comma: int = 0
    one_point: int = 0

    @property
    def certain(self) -> Mark:
        """What the column's own values say; empty where they say nothing. Call where they do not contradict."""
        if self.comma == self.point:
            return ""
        return "," if self.comma > self.point else "."

    @property
    def unclear(self) -> bool:
        """Whether there are values that can be read in two ways, and nothing that decides."""
        return bool(self.one_comma or self.one_point) and not self.certain

    @property
    def if_thousands(self) -> Mark:
        """The decimal mark, where what can be read in two ways parts thousands."""
        if self.one_comma and self.one_point:
            return ""
        return "." if self.one_comma else ","

    @property
    def contradicting(self) -> int:
        return min(self.comma, self.point)


def forms_of(column: pa.ChunkedArray) -> Forms:
    """The forms of a column of bare numbers: no signs of currency or percent, no blanks around."""
    valid = column.drop_null()
    if not pc.any(pc.match_substring_regex(valid, "[.,]")).as_py():
        return Forms()
    return Forms(
        **{form: pc.sum(pc.match_substring_regex(valid, pattern)).as_py() or 0 for form, pattern in _FORMS.items()}
    )


def decimal_marks(columns: Mapping[str, pa.ChunkedArray], given: Mark, where: object) -> dict[str, Mark]:
    """The decimal mark of each column of bare numbers.

    Raises PermanentError naming the column where its values contradict each other, or can be read in two ways.
    """
    forms = {name: forms_of(column) for name, column in columns.items()}
    if given:
        return dict.fromkeys(columns, given)
    for name, found in forms.items():
        if found.contradicting > MAX_CONTRADICTING_SHARE * (found.comma + found.point):
            raise PermanentError(
                f"{where}: column {name} has both decimal commas ({found.comma:,} values) and decimal points "
                f"({found.point:,}): write it in one way"
            )
    certain = {found.certain for found in forms.values()} - {""}
    marks: dict[str, Mark] = {}
    for name, found in forms.items():
        if not found.unclear:
            marks[name] = found.certain
        elif certain == {found.if_thousands}:
            marks[name] = found.if_thousands
        else:
            count, sign = (found.one_comma, "comma") if found.one_comma else (found.one_point, "point")
            raise PermanentError(
                f"{where}: column {name} has {count:,} values with one {sign} before three digits, which parts "
                "thousands or decimals, and no other column tells: give --decimal . or --decimal , for the file, or "
                "write the column without it"
            )
    return marks


def without_spaces(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """1 234,56 and 1'234.56 without what stands between the groups."""
    spaced = pc.fill_null(pc.match_substring_regex(column, _SPACED), False)
    if not pc.any(spaced).as_py():
        return column
    return pc.if_else(spaced, pc.replace_substring_regex(column, _SPACES, ""), column)


def plain(column: pa.ChunkedArray, mark: Mark) -> pa.ChunkedArray:
    """The numbers with a decimal point and no thousands, as `values.read` takes them; what is none stays as it is."""
    mark = mark or "."
    other = "," if mark == "." else "."
    marked = pc.fill_null(pc.match_substring(column, ","), False)
    if not pc.any(marked).as_py() and mark == ".":
        return column
    grouped = pc.fill_null(pc.match_substring_regex(column, _THOUSANDS[mark]), False)
    column = pc.if_else(grouped, pc.replace_substring(column, other, ""), column)
    if mark == ",":
        # A point that is left over is none of thousands: it must not become a decimal one.
        left = pc.fill_null(pc.match_substring(column, "."), False)
        column = pc.if_else(left, "no number", pc.replace_substring(column, ",", "."))
    return column
