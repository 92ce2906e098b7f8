"""Gates on rows of a training set that are not independent: copies under new ids, and customers who apply again.

Belongs here: what is counted as a copy, and what is held against what. Does not belong here: leaving rows out of a
split (`ml.data.customers`), and intervals (`ml.evidence.clusters`).

A copy is a row with the inputs of another one: all of them, all but one, as when an application comes again with
another amount, or all of them nearly, as when numbers were rounded or disturbed: in the same of _GRID parts of each
column's ranks. Derived features follow from inputs and say nothing more. Where inputs are coarse, applicants who have
never met are alike: a row counts only where its values are too rare for that, taken together 2 log2(n) + 10 bits among
n rows, with the values of the input that may differ left out. So many bits make a chance meeting of two in n rows
improbable even where half of them follow from the other half, as income and loan amount do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from credit_assets.ml.data.cohorts import SPLIT
from credit_assets.ml.data.customers import LeftOutRows, groups_of
from credit_assets.ml.data.gate_results import GateResult, detail
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.data.values import numbers, texts
from credit_assets.ml.rules.day_gates import exceeds

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

COPIES, CUSTOMERS = "copies", "customers"
_CHANCE = 0.01
_BITS_OVER = 10.0
_MOST_LEFT_OUT = 0.5
# Applications of one customer, and their share, above which it is none: a word for "unknown", a dealer, zero.
_MOST_OF_ONE, _MOST_SHARE_OF_ONE = 50, 0.01
_ODD = 0x9E3779B97F4A7C15


def copies_gate(training_set: Data, portfolio: Portfolio) -> GateResult:
    """The gate `copies`: the share of rows that repeat another row of another customer, or of none, under their own id.

    Parameters
    ----------
    training_set
        As of `training_gates`.
    portfolio
        Its inputs, its customer, and the limit `max_copied_share`.

    Raises
    ------
    ValueError
        Where the rows lack the customer column.
    """
    import numpy as np

    rows, limit = Rows.of(training_set), portfolio.gates.max_copied_share
    known = set(rows.names)
    made = [feature.name for feature in portfolio.history_features]
    names = [name for name in (*(one.name for one in portfolio.input_columns), *made) if name in known]
    copied = _copied(rows, names, portfolio) if names else np.zeros(len(rows), dtype=np.int8)
    exact, nearly, alike = (int((copied == kind).sum()) for kind in (_EXACT, _NEARLY, _ALIKE))
    found = exact + nearly + alike
    failed = bool(exceeds(found, max(len(rows), 1), limit, _CHANCE))
    across = _across(rows, copied > 0)
    share = found / len(rows) if len(rows) else 0.0
    summary = (
        f"{found:,} of {len(rows):,} rows ({share:.1%}) have the inputs of an earlier row under another id"
        + (f", {nearly:,} of them all inputs but one" if nearly else "")
        + (f", {alike:,} of them all inputs but for small differences of numbers" if alike else "")
        + (f"; {across:,} of them stand in validation or test" if across else "")
    )
    column = portfolio.customer_column
    remedy = (
        "Name the column that says whose applications they are (`role: customer`), so that those of one stay together"
        if column is None
        else f"They are of other customers by the column {column!r}: see whether it tells them apart that are one"
    )
    return GateResult(
        name=COPIES,
        passed=not failed,
        severity="error",
        value=share,
        threshold=f"at most {limit:.4g} of the rows, beyond chance",
        description=f"{summary}: the test is partly what the model learned from, and every interval is too narrow. "
        f"{remedy}; where rows were loaded twice, remove the copies and ingest again."
        if failed
        else f"{summary}."
        if found
        else "No row repeats another.",
        details=tuple(
            detail(which, "as of an earlier row", count)
            for which, count in (("all inputs", exact), ("all inputs but one", nearly), ("all inputs nearly", alike))
            if failed and count
        ),
        setting="gates: max_copied_share",
    )


def customers_gate(left_out: LeftOutRows | None, portfolio: Portfolio) -> GateResult | None:
    """The gate `customers`, a warning: so many of the test's applications are of known customers that what is left is
    no picture of those that are scored; or one customer has so many that it must stand for nobody. None where the
    portfolio names no customer.
    """
    column = portfolio.customer_column
    if column is None:
        return None
    found = left_out or LeftOutRows(0, 0, 0, 0, 0, 0, 0, 0)
    share = found.test_share
    summary = (
        f"{found.rows - found.unnamed:,} of {found.rows:,} rows are of {found.customers:,} customers, {found.most:,} "
        "of one at most; left out, since their customer stands in an earlier split: "
        f"{found.test:,} of {found.of_test:,} test rows and {found.validation:,} of {found.of_validation:,} validation "
        "rows"
    )
    allowed = max(_MOST_OF_ONE, _MOST_SHARE_OF_ONE * found.rows)
    against = []
    if share > _MOST_LEFT_OUT:
        against.append(
            "Most who apply are known already, and the test says nothing of them; a shorter CREDIT_LOOKBACK_DAYS "
            "brings fewer of them back within the set"
        )
    if found.most > allowed:
        against.append(
            f"{found.most:,} applications within {found.rows:,} are nobody's own: where a value stands for an unknown "
            "customer, let a view show it as missing, so that each is a customer of its own"
        )
    passed = not against
    return GateResult(
        name=CUSTOMERS,
        passed=passed,
        severity="warn",
        value=share,
        threshold=f"at most {_MOST_LEFT_OUT:.0%} of the test left out, and {allowed:.0f} applications of one customer",
        description=f"{summary}." if passed else f"{summary}. {'; '.join(against)}.",
        details=() if passed else (detail(column, "of a customer of an earlier split", found.test),),
        setting="role: customer, and CREDIT_LOOKBACK_DAYS",
    )


_EXACT, _NEARLY, _ALIKE = 1, 2, 3
_GRID, _SHIFTS = 64, (0.0, 0.5)
"""Parts of a number's ranks, and by how much of a part they begin later: what lies at an edge of one lies within
another."""
_MOST_INPUTS = 100
"""Inputs up to which rows are compared in all but one: each takes a sort of all rows."""


def _copied(rows: Rows, names: list[str], portfolio: Portfolio) -> NDArray[np.int8]:
    """Of each row whether it repeats an earlier one, in all inputs, in all but one, or in all of them nearly."""
    import numpy as np

    needed, customers = 2 * math.log2(max(2, len(rows))) + _BITS_OVER, _customers(rows, portfolio)
    # As they are, and in parts; a column at a time, since there may be many rows.
    wholes = [np.zeros(len(rows), dtype=np.uint64) for _ in (None, *_SHIFTS)]
    bits = [np.zeros(len(rows)) for _ in wholes]
    for place, name in enumerate(names):
        codes, number = _codes(rows.column(name))
        for way, shift in enumerate((None, *_SHIFTS)):
            mark, information = _marked(codes if shift is None or not number else _in_parts(codes, shift), place)
            wholes[way] += mark
            bits[way] += information
    found = np.zeros(len(rows), dtype=np.int8)
    for whole, rare in zip(wholes[1:], bits[1:], strict=True):
        found[_repeats(whole, customers) & (rare >= needed)] = _ALIKE
    if 1 < len(names) <= _MOST_INPUTS:
        for place, name in enumerate(names):
            mark, information = _marked(_codes(rows.column(name))[0], place)
            found[_repeats(wholes[0] - mark, customers) & (bits[0] - information >= needed)] = _NEARLY
    found[_repeats(wholes[0], customers) & (bits[0] >= needed)] = _EXACT
    return found


def _customers(rows: Rows, portfolio: Portfolio) -> NDArray[np.int64] | None:
    import pyarrow as pa

    if portfolio.customer_column is None:
        return None
    named = [name for name in rows.names if name == portfolio.customer_column]
    return groups_of(pa.table({name: rows.column(name) for name in named}), portfolio)


def _repeats(marks: NDArray[np.uint64], customers: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Rows whose mark an earlier row has, of another customer."""
    import numpy as np

    order = np.argsort(marks, kind="stable")
    starts = np.r_[True, marks[order][1:] != marks[order][:-1]]
    first = np.empty(len(marks), dtype=np.int64)
    first[order] = order[np.maximum.accumulate(np.where(starts, np.arange(len(marks)), 0))]
    repeats = first != np.arange(len(marks))
    return repeats if customers is None else np.asarray(repeats & (customers[first] != customers))


def _codes(values: pa.ChunkedArray) -> tuple[NDArray[np.int64], bool]:
    """A number for each different value, of numbers by their size; and whether they are numbers."""
    import numpy as np
    import pyarrow as pa

    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(texts(values)[0], dtype=np.int64), False
    return np.asarray(np.unique(numbers(values), return_inverse=True)[1], dtype=np.int64), True


def _in_parts(codes: NDArray[np.int64], shift: float) -> NDArray[np.int64]:
    """Values as parts of their ranks; where there are few, as they are."""
    import numpy as np

    counts = np.bincount(codes)
    if len(counts) <= _GRID:
        return codes
    middles = (np.cumsum(counts) - counts / 2) / len(codes)
    return np.asarray(np.floor(middles * _GRID + shift).astype(np.int64)[codes])


def _marked(codes: NDArray[np.int64], place: int) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """A number for each value of a column, which tells the values of all columns apart and adds up to one of the row;
    and how rare it is, in bits.
    """
    import numpy as np

    counts = np.bincount(codes)
    begin = np.uint64((place + 1) * _ODD % 2**64)
    return _mixed(codes.astype(np.uint64) + begin), -np.log2(np.maximum(counts, 1) / len(codes))[codes]


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014)."""
    import numpy as np

    mixed = values
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _across(rows: Rows, copied: NDArray[np.bool_]) -> int:
    """Copies outside of train: an earlier row of theirs was learned from, or chosen by."""
    import numpy as np

    places, different = texts(rows.column(SPLIT))
    later = np.array([text != "train" for text in different])[places]
    return int((copied & later).sum())
