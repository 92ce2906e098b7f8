"""Rows that are equal in all columns, counted.

Belongs here: which row is the how many-th of its kind. Does not belong here: rows of the same id (`rejections`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def copy_numbers(rows: pa.Table) -> NDArray[np.int64]:
    """Of each row how many rows before it are equal to it in all columns; null equals null.

    >>> import pyarrow as pa
    >>> copy_numbers(pa.table({"id": ["a", "a", "b", "a"], "n": [1, None, 1, None]})).tolist()
    [0, 0, 0, 1]
    """
    import numpy as np
    import pandas as pd

    codes = pd.DataFrame({place: _codes(column) for place, column in enumerate(rows.columns)})
    if codes.empty:
        return np.zeros(rows.num_rows, dtype=np.int64)
    return codes.groupby(list(codes.columns), sort=False).cumcount().to_numpy().astype(np.int64)


def _codes(column: pa.ChunkedArray) -> NDArray[np.int32]:
    """Equal numbers for equal values. Not pandas' own values: whole numbers with gaps would be rounded as floats."""
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif str(kind) == "string_view":
        column = column.cast(pa.string())
    if not len(column):
        return np.empty(0, dtype=np.int32)
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    array = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes: NDArray[np.int32] = array.indices.to_numpy(zero_copy_only=False)
    return codes
