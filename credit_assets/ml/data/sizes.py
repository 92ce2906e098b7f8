"""How many rows of a table fit into so many bytes, by the types of its columns.

Belongs here: the width of a row, and the rows of a batch, piece or row group that follow from it. Does not belong here:
how large these are to be, which is said where they are made.

The width is that of the types alone, never of the values: what is cut by it is cut in the same places whatever was read
together, so that a file has the same bytes again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# What a text of a few letters takes with its offset. Long ones are met by counting the bytes that are there.
_TEXT_BYTES = 16


def row_bytes(types: Iterable[pa.DataType]) -> int:
    """Bytes of a row of columns of these types.

    >>> import pyarrow as pa
    >>> row_bytes([pa.int64(), pa.float64(), pa.string(), pa.date32(), pa.bool_()])
    37
    """
    return sum(_bytes(kind) for kind in types)


def _bytes(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return _TEXT_BYTES


def rows_within(size: int, types: Iterable[pa.DataType], most: int) -> int:
    """Rows of these types in `size` bytes, at least one and at most `most`.

    >>> import pyarrow as pa
    >>> rows_within(2**20, [pa.float64()] * 4, 5_000), rows_within(2**20, [pa.float64()] * 1_024, 5_000)
    (5000, 128)
    """
    return max(1, min(most, size // max(1, row_bytes(types))))
