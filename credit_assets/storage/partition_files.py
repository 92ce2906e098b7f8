"""Partitions as Parquet files, those larger than memory too: written from a stream of tables, read as one.

Belongs here: a table, or a stream cut by its days, as one file a day with its content hash; rows that are quarantined;
and reading many days in pieces of bounded size. Does not belong here: where files lie and how they are published
(`store`).
"""

from __future__ import annotations

import json
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from credit_assets.failures import TransientError
from credit_assets.ml.data.sizes import rows_within
from credit_assets.storage.footers import CONTENT_KEY, EXTENSIONS_KEY, GATES_KEY, INPUTS_KEY, footer_of
from credit_assets.storage.seals import SEALED_KEY, UnsoundError, decoding, seal_table
from credit_assets.storage.store import (
    RefusedPartitionError,
    Store,
    lacking,
    refuse_missing,
    refuse_other_columns,
    refuse_unusable,
    with_later_columns,
)
from credit_assets.storage.tables import answering, refuse_other_rows, unsealed_content

if TYPE_CHECKING:
    import pyarrow as pa
    from upath import UPath

    from credit_assets.ml.data.fingerprints import ContentHash
    from credit_assets.ml.data.gate_results import GateResult

Inputs: TypeAlias = Mapping[str, Mapping[str, str]]
"""By asset and ISO day, the content hashes of the partitions that a partition was made of."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

PIECE_ROWS = 250_000
PIECE_BYTES = 128 * 2**20
"""A piece at most: some 40 MB of the packaged portfolio's table, enough that the cost of a call does not show."""
# A row group at most, by the types of the columns.
_ROW_GROUP = 262_144
_ROW_GROUP_BYTES = 64 * 2**20
# What a writer holds before it writes: small days of a long range go to their files in one go, in parallel.
_BUFFERED_BYTES = 128 * 2**20
_AHEAD = 16


@dataclass(frozen=True, eq=False)
class Staged:
    """A partition's file, whole and not yet to be seen: `Store.publish` makes it the partition.

    Removed with this object where nobody published it, at the latest when the process ends.
    """

    file: Path
    rows: int
    content_hash: str

    def __post_init__(self) -> None:
        weakref.finalize(self, _remove, self.file)


class PartitionWriter:
    """One staged file a day from a stream of tables whose rows are in order of days.

    Holds at most some 300 MB, whatever the size of a day. A day's file has the same bytes however the stream was cut
    and whichever other days it held. Days without rows get an empty file. Used as a context: what an error leaves is
    removed.
    """

    def __init__(self, store: Store, asset: str, days: Sequence[date], schema: pa.Schema, day_column: str) -> None:
        self._column = day_column
        # One thread: compressing and hashing go on during the work on the next rows, and never more than one flush.
        self._background = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._files = {day: _DayFile(store, store.path(asset, f"{day}.parquet"), schema) for day in days}

    def __enter__(self) -> PartitionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.shutdown(wait=True)
        for file in self._files.values():
            file.abandon()

    def write(self, table: pa.Table) -> None:
        """Add rows, which have the writer's schema. Rows of a day that is none of the writer's are left out."""
        if not table.num_rows:
            return
        for day, rows in split_by_day(table, self._column, list(self._files)).items():
            self._files[day].add(rows)
        waiting = [file for file in self._files.values() if file.waiting]
        if sum(file.bytes for file in waiting) > _BUFFERED_BYTES:
            self._settle()
            # The last day may go on with the next table.
            taken = [(file, file.take(whole_groups_only=file is waiting[-1])) for file in waiting]
            self._writing = self._background.submit(_write_all, taken)

    def write_undated(self, table: pa.Table) -> None:
        """Add the rows that have no day to the first one's."""
        undated = table.filter(table.column(self._column).is_null())
        if undated.num_rows:
            next(iter(self._files.values())).add(undated)

    def _settle(self) -> None:
        """Wait for the flush that is going on, and raise what it raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(
        self,
        gates: Mapping[date, Sequence[GateResult]] | None = None,
        inputs: Mapping[str, Mapping[str, str]] | None = None,
    ) -> dict[date, Staged]:
        """The staged files by day, each with the results of its gates in its footer, and of `inputs` (asset, ISO day:
        content hash) those of its own day.
        """
        return self._close({day: (gates or {}).get(day, ()) for day in self._files}, inputs or {})

    def close_nonempty(self) -> dict[date, Staged]:
        """The staged files of the days that have rows."""
        return self._close({day: () for day, file in self._files.items() if file.rows})

    def _close(self, gates: Mapping[date, Sequence[GateResult]], inputs: Inputs | None = None) -> dict[date, Staged]:
        def finish(day: date) -> Staged:
            named = day.isoformat()
            own = {asset: {named: days[named]} for asset, days in (inputs or {}).items() if named in days}
            return self._files[day].close(gates[day], own)

        self._settle()

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return dict(zip(gates, pool.map(finish, gates), strict=True))


class _DayFile:
    """The file of one day while it is being made: rows that wait, and the writer once some do not."""

    def __init__(self, store: Store, path: UPath, schema: pa.Schema) -> None:
        self._store, self._path, self._schema = store, path, schema
        self._row_group = rows_within(_ROW_GROUP_BYTES, schema.types, _ROW_GROUP)
        self.waiting: list[pa.Table] = []
        self.bytes = 0
        self.rows = 0
        self._staging: Path | None = None
        self._writer: pa.parquet.ParquetWriter | None = None
        self._content: ContentHash | None = None

    def add(self, rows: pa.Table) -> None:
        self.waiting.append(rows)
        self.bytes += rows.nbytes
        self.rows += rows.num_rows

    def take(self, *, whole_groups_only: bool = False) -> pa.Table:
        """What waits, to be written. Row groups begin every so many rows of the day, whatever came at once."""
        import pyarrow as pa

        rows = pa.concat_tables(self.waiting) if self.waiting else self._schema.empty_table()
        keep = rows.num_rows % self._row_group if whole_groups_only else 0
        self.waiting = [rows.slice(rows.num_rows - keep).combine_chunks()] if keep else []
        self.bytes = sum(table.nbytes for table in self.waiting)
        return rows.slice(0, rows.num_rows - keep)

    def close(self, gates: Sequence[GateResult], inputs: Inputs | None = None) -> Staged:
        if self.waiting or self._writer is None:
            self.write(self.take())
        assert self._writer is not None
        assert self._staging is not None
        assert self._content is not None
        metadata = {CONTENT_KEY: self._content.hexdigest(), SEALED_KEY: "1"}
        if gates:
            metadata[GATES_KEY] = json.dumps([gate.to_record() for gate in gates], sort_keys=True)
        if inputs:
            metadata[INPUTS_KEY] = json.dumps(inputs, sort_keys=True)
        with answering(self._path):
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()
            seal_table(self._staging)
        file, self._staging = self._staging, None
        return Staged(file, self.rows, self._content.hexdigest())

    def abandon(self) -> None:
        """Remove what was not closed."""
        if self._staging is not None:
            with suppress(OSError):
                # A disk that is full has no room for the footer either.
                if self._writer is not None:
                    self._writer.close()
            _remove(self._staging)

    def write(self, rows: pa.Table) -> None:
        """Append rows to the file, which begins with the first call."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from credit_assets.ml.data.fingerprints import ContentHash

        if self._writer is None or self._content is None:
            self._staging = self._store.staging_file(self._path)
            # Numbers hardly repeat: looking for those that do took half the time of writing and of reading.
            texts = [field.name for field in self._schema if pa.types.is_string(field.type)]
            with answering(self._path):
                self._writer = pq.ParquetWriter(
                    str(self._staging),
                    self._schema,
                    compression="zstd",
                    use_dictionary=texts or False,
                    write_page_checksum=True,
                )
            self._content = ContentHash()
        with answering(self._path):
            self._writer.write_table(rows, row_group_size=self._row_group)
        self._content.update(rows)


def _write_all(taken: Sequence[tuple[_DayFile, pa.Table]]) -> None:
    for file, rows in taken:
        if rows.num_rows:
            file.write(rows)


class Partitions:
    """Partitions of an asset, to be read piece by piece in the order of their days.

    Of several days those are left out that are not there or that a gate has rejected: once all pieces are read,
    `refused` says why, by ISO day.
    """

    def __init__(self, store: Store, asset: str, days: Sequence[str]) -> None:
        self.store, self.asset, self.days = store, asset, list(days)
        self.refused: dict[str, str] = {}
        self.contents: dict[str, str] = {}
        """Content hashes of the files read so far, by ISO day; of files of before none."""

    def pieces(self, rows: int = PIECE_ROWS) -> Iterator[pa.Table]:
        """Tables as of `in_pieces`; a piece may end within a day. Nothing for empty days.

        They have the columns of the newest partition; others may have more, which are left out. Raises PermanentError
        naming partitions that are damaged or lack one of these columns, and RefusedPartitionError where none is left.
        """
        there = set(self.store.days(self.asset))
        missing = [day for day in self.days if day not in there]
        if len(missing) == len(self.days):
            refuse_missing(self.asset, missing, len(self.days))
        self.refused = {day: f"{self.asset} {day} is not there" for day in missing}
        return in_pieces(self._tables(), rows)

    def _tables(self) -> Iterator[pa.Table]:
        days = [day for day in self.days if day not in self.refused]
        schema = self._newest(days)
        with ThreadPoolExecutor(min(_AHEAD, max(1, len(days)))) as pool:
            for day, file in zip(days, _read_ahead(pool, self._open, days, _AHEAD), strict=True):
                with self._as_written(day):
                    footer, empty = footer_of(file.metadata), file.schema_arrow.empty_table()
                try:
                    refuse_unusable(self.asset, day, footer)
                except RefusedPartitionError as refusal:
                    self.refused[day] = str(refusal)
                    if len(self.refused) == len(self.days):
                        raise
                    continue
                if content := footer.as_input:
                    self.contents[day] = content
                whole = with_later_columns(self.asset, empty, schema).schema
                refuse_other_columns(self.asset, {day: lacking(whole, schema.names, schema)})
                for table in self._row_groups(file, day, pool):
                    yield with_later_columns(self.asset, table, schema).select(schema.names)

    def _newest(self, days: Sequence[str]) -> pa.Schema:
        """The columns of the newest partition that is not refused; without any where all are."""
        import pyarrow as pa

        for day in reversed(days):
            file = self._open(day, whole=False)
            with self._as_written(day):
                if not footer_of(file.metadata).rejected:
                    return file.schema_arrow.remove_metadata()
        return pa.schema([])

    def _open(self, day: str, whole: bool = True) -> pa.parquet.ParquetFile:
        try:
            return self.store.open_table(self.store.path(self.asset, f"{day}.parquet"), whole=whole)
        except FileNotFoundError:
            refuse_missing(self.asset, [day], len(self.days))
            raise

    def _row_groups(self, file: pa.parquet.ParquetFile, day: str, pool: ThreadPoolExecutor) -> Iterator[pa.Table]:
        """The row groups of a file, the next one read while this one is worked on.

        Not `iter_batches`, which reads all of them ahead and so holds the whole file.
        """
        content = unsealed_content(file.metadata)
        with self._as_written(day):
            for table in _read_ahead(pool, file.read_row_group, range(file.num_row_groups), 1):
                if content is not None:
                    content.update(table)
                yield table.replace_schema_metadata(None)
            if content is not None:
                refuse_other_rows(content, footer_of(file.metadata))

    @contextmanager
    def _as_written(self, day: str) -> Iterator[None]:
        """What cannot be decoded is damaged as a second look at the whole file sees it too, or its answer was cut."""
        try:
            with decoding():
                yield
        except UnsoundError as error:
            path = self.store.path(self.asset, f"{day}.parquet")
            self.store.check(path)
            raise TransientError(f"{path} did not come whole ({error}); try again") from error


def _read_ahead(
    pool: ThreadPoolExecutor, read: Callable[[_Item], _Result], items: Iterable[_Item], count: int
) -> Iterator[_Result]:
    """`read` of each item, in order; up to `count` of them are begun before they are needed."""
    waiting = iter(items)
    begun = deque(pool.submit(read, item) for item in islice(waiting, count))
    while begun:
        result = begun.popleft().result()
        begun.extend(pool.submit(read, item) for item in islice(waiting, 1))
        yield result


def in_pieces(tables: Iterable[pa.Table], rows: int = PIECE_ROWS) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows, or of as many as PIECE_BYTES hold, each of one chunk; the last one has
    the rest, of which there may be none.

    Small tables are gathered and larger ones cut, so that what is done with a piece is done seldom and on little.
    """
    import pyarrow as pa

    waiting: list[pa.Table] = []
    held = size = 0
    for table in tables:
        waiting.append(table)
        held, size = held + table.num_rows, size + table.nbytes
        while held and (held >= rows or size >= PIECE_BYTES):
            most = rows if size < PIECE_BYTES else max(1, min(rows, held, held * PIECE_BYTES // size))
            together = pa.concat_tables(waiting)
            yield together.slice(0, most).combine_chunks()
            waiting = [together.slice(most)]
            held, size = waiting[0].num_rows, waiting[0].nbytes
    if held:
        yield pa.concat_tables(waiting).combine_chunks()


def stage(
    store: Store, path: UPath, table: pa.Table, gates: Sequence[GateResult] = (), inputs: Inputs | None = None
) -> Staged:
    """The table as a staged file for `path`, with the results of its gates and what it was made of. Of the metadata of
    its schema those of `with_makers` are kept.
    """
    kept = {key: text for key, text in (table.schema.metadata or {}).items() if key == EXTENSIONS_KEY}
    file = _DayFile(store, path, table.schema.with_metadata(kept) if kept else table.schema.remove_metadata())
    try:
        file.add(table.replace_schema_metadata(None))
        return file.close(gates, inputs)
    finally:
        file.abandon()


def quarantine(store: Store, asset: str, day: str, rows: Staged | None) -> UPath | None:
    """Keep the rejected rows of the partition; an earlier quarantine of the same partition is replaced.

    Returns where they are, None where there are none.
    """
    path = store.path("quarantine", asset, f"{day}.parquet")
    if rows is None:
        store.remove(path)
        return None
    store.publish(rows.file, path)
    return path


def split_by_day(table: pa.Table, column: str, days: Sequence[date]) -> dict[date, pa.Table]:
    """One table for each of `days` that has rows. `table` must be sorted by `column` (date32) but for rows without."""
    import numpy as np

    table = table.filter(table.column(column).is_valid()) if table.column(column).null_count else table
    values = table.column(column).to_numpy().astype("datetime64[D]")
    edges = np.array([np.datetime64(day, "D") for day in days])
    starts, ends = np.searchsorted(values, edges, "left"), np.searchsorted(values, edges, "right")
    # Slices share their parent's buffers; writing and hashing read the slice only.
    edges_of = zip(days, starts.tolist(), ends.tolist(), strict=True)
    return {day: table.slice(first, last - first) for day, first, last in edges_of if last > first}


def _remove(file: Path) -> None:
    with suppress(OSError):
        file.unlink(missing_ok=True)
