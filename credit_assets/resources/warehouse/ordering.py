"""Rows put in order on this side, in bounded memory.

Belongs here: sorting a stream of Arrow batches, and the test whether one is sorted. Does not belong here: which
columns order a table (`base`).

A server that sorts wide rows for one reader pays about as much as for reading them; Arrow, which holds them by column,
pays a quarter of it, and nothing where they come in order, as rows that were stored in order mostly do.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError

if TYPE_CHECKING:
    import pyarrow as pa

# Rows of a batch: about 35 MB of the packaged portfolio's table.
BATCH_ROWS = 250_000
# Arrow bytes that are sorted in memory, where a sorted copy stands beside them: about 1.8 million loans.
HELD_BYTES = 256 * 2**20
# What DuckDB may hold for itself; beyond it spills to disk. Twice as much saved nothing when ten million loans were
# sorted, for then it spills too.
DUCKDB_MEMORY = "512MiB"


def duckdb_threads() -> int:
    """Threads of a reading DuckDB: each holds rows of its own, so that many would not fit into its memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


class Ascending:
    """Whether batches come in order, told by two keys: no row before its predecessor by (first, second).

    Text compares by its bytes. A null in a key counts as out of order: where nulls stand is the sorter's to say.
    """

    def __init__(self) -> None:
        self._last: tuple[pa.Array, pa.Array] | None = None

    def add(self, first: pa.Array, second: pa.Array) -> bool:
        """Whether these keys, which follow those added before, are in order."""
        import pyarrow as pa

        if first.null_count or second.null_count:
            return False
        if not len(first):
            return True
        whole = _ascending(first[:-1], first[1:], second[:-1], second[1:])
        if self._last is not None:
            whole = whole and _ascending(self._last[0], first[:1], self._last[1], second[:1])
        # Copied: a slice would hold its batch in memory.
        self._last = pa.concat_arrays([first[-1:]]), pa.concat_arrays([second[-1:]])
        return whole


def _ascending(first: pa.Array, first_after: pa.Array, second: pa.Array, second_after: pa.Array) -> bool:
    import pyarrow.compute as pc

    tied = pc.and_(pc.equal(first, first_after), pc.less_equal(second, second_after))
    return pc.all(pc.or_(pc.less(first, first_after), tied)).as_py() is not False


def in_order(
    batches: Generator[pa.RecordBatch, None, None], schema: pa.Schema, keys: tuple[str, str]
) -> Iterator[pa.RecordBatch]:
    """The rows of `batches`, of `schema`, ordered by the two columns `keys`, text by its bytes, nulls last.

    Up to HELD_BYTES they are sorted in memory; more are sorted by DuckDB, which spills to the folder for temporary
    files. Raises what `batches` raises, and PermanentError where that folder is full.
    """
    import pyarrow as pa

    order, ordered, size = Ascending(), True, 0
    held: list[pa.RecordBatch] = []
    with closing(batches):
        for batch in batches:
            ordered = ordered and order.add(*(batch.column(key) for key in keys))
            held.append(batch)
            size += batch.nbytes
            if size > HELD_BYTES:
                yield from _by_duckdb(_emptied(held), batches, schema, keys)
                return
    table = pa.Table.from_batches(held, schema)
    held.clear()
    if not ordered:
        table = _sorted(table, keys)
    yield from table.to_batches(BATCH_ROWS)


def _sorted(table: pa.Table, keys: tuple[str, str]) -> pa.Table:
    import pyarrow.compute as pc

    # By one key is half the work, and one day is what is mostly read.
    ends = pc.min_max(table[keys[0]])
    one = ends["min"].equals(ends["max"]) and not table[keys[0]].null_count
    order = pc.sort_indices(table, [(key, "ascending") for key in keys[1 if one else 0 :]])
    return table.take(order)


def _emptied(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each batch, let go of as it is handed on."""
    batches.reverse()
    while batches:
        yield batches.pop()


def _by_duckdb(
    first: Iterable[pa.RecordBatch], rest: Iterable[pa.RecordBatch], schema: pa.Schema, keys: tuple[str, str]
) -> Iterator[pa.RecordBatch]:
    import duckdb
    import pyarrow as pa

    raised: list[Exception] = []

    def source() -> Iterator[pa.RecordBatch]:
        try:
            yield from first
            yield from rest
        except Exception as error:
            # DuckDB would pass on no more than its text.
            raised.append(error)
            raise

    with tempfile.TemporaryDirectory(prefix="credit-assets-sort-", ignore_cleanup_errors=True) as folder:
        config = {"memory_limit": DUCKDB_MEMORY, "threads": str(duckdb_threads()), "temp_directory": folder}
        try:
            with duckdb.connect(config=config) as connection:
                reader = pa.RecordBatchReader.from_batches(schema, source())
                named = ", ".join('"' + key.replace('"', '""') + '"' for key in keys)
                query = connection.from_arrow(reader).query("incoming", f"SELECT * FROM incoming ORDER BY {named}")
                for batch in query.to_arrow_reader(BATCH_ROWS):
                    yield batch.cast(schema)
        except duckdb.Error as error:
            if raised:
                raise raised[0] from None
            # Not chained: DuckDB quotes values.
            raise PermanentError(
                f"rows too many to be sorted in memory could not be sorted in {tempfile.gettempdir()} "
                f"({type(error).__name__}): make room there, or set TMPDIR to a folder that has it"
            ) from None
