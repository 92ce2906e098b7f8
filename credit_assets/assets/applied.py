"""Columns of applications that no model reads, beside rows that are to be judged: amounts, protected attributes.

Belongs here: finding them in `raw_loan_data`, by the ids of the rows. Does not belong here: what is measured with them.

What is found here is evidence alone. It is joined to nothing that a learner is given, and written nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

from credit_assets.failures import PermanentError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

_RAW = "raw_loan_data"


def columns_beside(store: Store, portfolio: Portfolio, rows: pa.Table, names: Sequence[str]) -> dict[str, pa.Array]:
    """These columns for the rows, which have id and date and are sorted by date; null where the store does not have a
    value any more, or the day was ingested before the column was there or while it was of another type.
    """
    import pyarrow as pa

    from credit_assets.ml.data.schemas import applications_schema

    schema = applications_schema(portfolio)
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    for day, some in by_day(rows, portfolio.date_column):
        found = _of_day(store, portfolio, day, some[portfolio.id_column], names)
        for name in names:
            kind = schema.field(name).type
            parts[name].append(_as(found.get(name), kind, some.num_rows))
    return {
        name: pa.concat_arrays(some) if some else pa.nulls(0, schema.field(name).type) for name, some in parts.items()
    }


def _as(values: pa.Array | None, kind: pa.DataType, rows: int) -> pa.Array:
    """Values as the column is declared now; null where the day has none, or has them as something else."""
    import pyarrow as pa

    try:
        return pa.nulls(rows, kind) if values is None else values.cast(kind)
    except pa.ArrowException:
        return pa.nulls(rows, kind)


def _of_day(
    store: Store, portfolio: Portfolio, day: date, ids: pa.ChunkedArray, names: Sequence[str]
) -> dict[str, pa.Array]:
    import pyarrow.compute as pc

    key = portfolio.id_column
    try:
        there = store.footer(store.path(_RAW, f"{day}.parquet")).columns
        wanted = [name for name in names if name in there]
        table = store.read_partitions(_RAW, [day.isoformat()], [key, *wanted])
    except (FileNotFoundError, PermanentError):
        return {}
    places = pc.index_in(ids, value_set=table[key].combine_chunks()).combine_chunks()
    return {name: table[name].combine_chunks().take(places) for name in wanted}


def by_day(rows: pa.Table, column: str) -> Sequence[tuple[date, pa.Table]]:
    """Runs of rows of one day, in their order."""
    import numpy as np

    if not rows.num_rows:
        return []
    days = rows[column].to_numpy().astype("datetime64[D]")
    starts = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)]
    return [(days[a].item(), rows.slice(a, b - a)) for a, b in pairwise(starts)]
