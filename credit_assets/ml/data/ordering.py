"""The order of rows in a table: whether it is there, and sorting where it is not.

Belongs here: order by columns without nulls, as Arrow compares them (text by its bytes). Does not belong here: which
columns order a table (`schemas`), and sorting what no memory holds (`credit_assets.warehouse.ordering`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# Rows compared at once: what a comparison makes is gone before the next.
_AT_ONCE = 1_000_000


def is_sorted(table: pa.Table, keys: Sequence[str]) -> bool:
    """Whether the rows rise by the columns `keys`, the first of them first; equal rows may follow one another."""
    import pyarrow.compute as pc

    rows = table.num_rows
    for begin in range(0, max(rows - 1, 0), _AT_ONCE):
        length = min(_AT_ONCE, rows - 1 - begin)
        here, after = table.slice(begin, length), table.slice(begin + 1, length)
        ordered = pc.less_equal(here[keys[-1]], after[keys[-1]])
        for key in reversed(keys[:-1]):
            ordered = pc.or_(pc.less(here[key], after[key]), pc.and_(pc.equal(here[key], after[key]), ordered))
        if not pc.all(ordered, skip_nulls=False).as_py():
            return False
    return True


def in_order(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The table sorted by the columns `keys`; itself where it is so already. Equal rows keep their order."""
    return table if is_sorted(table, keys) else table.sort_by([(key, "ascending") for key in keys])
