"""What a table's values were where they are none of their column's type: kept beside the rows as one more column.

Belongs here: writing that column and taking it off again. Does not belong here: telling what can be read (`values`)
and what becomes of a row (`contracts`).

A stream of rows has one schema, so what does not fit its type cannot stand in its column. It stands in `UNREADABLE`, a
column of text that is null for every sound row: the rest of a million rows is not turned into text for one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.values import Mask, Values

UNREADABLE = "(unreadable)"
"""The column's name: none that a portfolio can give to one of its own."""


@dataclass(frozen=True)
class UnreadableRows:
    """The rows of a column that hold something else than its type, and their texts by row."""

    rows: Mask
    texts: Mapping[int, str]


def notes(given: Mapping[str, Values], misfits: Mapping[str, Mask | None], rows: int) -> pa.Array:
    """The column UNREADABLE of a batch of rows: of each row the texts of its `misfits`, by the column's name."""
    import numpy as np
    import pyarrow as pa

    noted: dict[int, dict[str, str]] = {}
    for name, mask in misfits.items():
        if mask is not None:
            at = np.flatnonzero(mask)
            for row, text in zip(at.tolist(), _texts(given[name], at), strict=True):
                noted.setdefault(row, {})[name] = text
    if not noted:
        return pa.nulls(rows, pa.string())
    return pa.array([json.dumps(noted[row]) if row in noted else None for row in range(rows)], pa.string())


def taken_off(rows: pa.Table) -> tuple[pa.Table, dict[str, UnreadableRows]]:
    """The rows without the column UNREADABLE, where they have it, and what it says, by column."""
    import numpy as np
    import pyarrow.compute as pc

    if UNREADABLE not in rows.column_names:
        return rows, {}
    column = rows.column(UNREADABLE)
    rows = rows.drop_columns([UNREADABLE])
    if column.null_count == len(column):
        return rows, {}
    at = np.flatnonzero(pc.is_valid(column).to_numpy())
    texts: dict[str, dict[int, str]] = {}
    for row, record in zip(at.tolist(), column.take(at).to_pylist(), strict=True):
        for name, text in json.loads(record).items():
            texts.setdefault(name, {})[row] = text
    noted = {}
    for name, by_row in texts.items():
        mask = np.zeros(len(column), dtype=bool)
        mask[list(by_row)] = True
        noted[name] = UnreadableRows(mask, by_row)
    return rows, noted


def _texts(given: Values, at: Any) -> Sequence[str]:
    import pyarrow as pa

    if isinstance(given, pa.Array | pa.ChunkedArray):
        some = given.take(pa.array(at))
        try:
            # Arrow has a text for days of no calendar, Python has none.
            return [str(text) for text in some.cast(pa.string()).to_pylist()]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            values = some.to_pylist()
    else:
        values = [given[row] for row in at.tolist()]
    return [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
