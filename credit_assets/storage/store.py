"""The store: Parquet tables and JSON records of the assets, on a local path or any object store.

Belongs here: paths, atomic writing, reading many partitions at once, and the refusal to hand out data that a gate has
rejected. Does not belong here: writing Parquet files (`partition_files`), names that are taken once (`claims`), what
Dagster wants of the store (`io_managers`), what the tables mean (`credit_assets.ml`) and which asset writes what.

Layout: `<store>/<asset>/<partition>.parquet` or `.json`; quarantined rows in `<store>/quarantine/<asset>/`.

Gate results travel in the footer of the Parquet file they judge, so that data and verdict appear in one atomic step
and whoever loads a partition meets the verdict: a blocking check stops its own run only, this stops every other one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from credit_assets.aside import aside
from credit_assets.failures import PermanentError
from credit_assets.places import store_uri

if TYPE_CHECKING:
    import pyarrow as pa
    from upath import UPath

    from credit_assets.ml.data.gate_results import GateResult

GATES_KEY = b"credit_assets.gates"
CONTENT_KEY = b"credit_assets.content"
INPUTS_KEY = b"credit_assets.inputs"
EXTENSIONS_KEY = b"credit_assets.extensions"
_READERS = 8
_STRETCH = 32
_SHORT = 16
_T = TypeVar("_T")
_SMALL_FILE = 64 * 2**20


def canonical_json(record: Any) -> bytes:
    """JSON with sorted keys and a final newline: equal records give equal bytes. NaN is refused."""
    return (json.dumps(record, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Footer:
    """What the end of a partition's file says of it, without its rows.

    `content` is the hash of its rows, `inputs` by asset and day the beginning of that of the partitions it was made of
    (`same_content` compares them); "" and nothing in files of before. `made_by` are the extensions whose code is in its
    columns. `texts` are the columns that are no numbers, days or flags. `without_pd` counts the rows of scores whose
    applications the model refuses.
    """

    rows: int
    gates: tuple[GateResult, ...]
    content: str
    inputs: Mapping[str, Mapping[str, str]]
    made_by: tuple[Mapping[str, str], ...] = ()
    columns: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()
    without_pd: int = 0

    @property
    def rejected(self) -> bool:
        return any(gate.blocks for gate in self.gates)

    @property
    def as_input(self) -> str:
        """The beginning of the hash: a training set has inputs of more than a thousand days."""
        return self.content[:_SHORT]


class RowCount(NamedTuple):
    """Rows of a partition, those scores among them that have no PD since the model refuses the application, and whether
    gates reject it.
    """

    rows: int
    without_pd: int
    rejected: bool = False


class Store:
    """Files of the pipeline under one root (local path, s3://, gs://, ...)."""

    def __init__(self, uri: str, **storage_options: Any) -> None:
        self.uri = uri
        self.options = storage_options

    @property
    def root(self) -> UPath:
        return open_root(self.uri, self.options)

    def path(self, *parts: str) -> UPath:
        return self.root.joinpath(*parts)

    # Writing: a reader sees the old file or the new one, never half of either.

    def write_bytes(self, path: UPath, data: bytes) -> None:
        """Write a staging file and rename it on a local path; object stores publish an object only when it is complete.

        A killed process leaves the old file or the new one. The disk is not waited for: a file that a power failure
        leaves empty is found out when it is read, and its partition is materialized again.
        """
        if not is_local(path):
            path.write_bytes(data)
            return
        staging = self.staging_file(path)
        try:
            staging.write_bytes(data)
            self.publish(staging, path)
        finally:
            staging.unlink(missing_ok=True)

    def staging_file(self, path: UPath) -> Path:
        """A local file name for what is to become `path`: in its folder, else in the machine's temporary one."""
        if not is_local(path):
            return aside(Path(tempfile.gettempdir()) / path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return aside(Path(str(path)))

    def publish(self, staging: Path, path: UPath) -> None:
        """Make a whole staging file the content of `path`."""
        if is_local(path):
            os.replace(staging, str(path))
        else:
            path.fs.put_file(str(staging), path.path)
            staging.unlink()

    def write_record(self, path: UPath, record: Any) -> None:
        self.write_bytes(path, canonical_json(record))

    def copy(self, source: UPath, target: UPath) -> None:
        """Make the file `source` that of `target` too, whatever becomes of the former: a partition is replaced and
        never changed, so that a second name will do on a local path. Raises FileNotFoundError.
        """
        if not is_local(target):
            target.fs.cp_file(source.path, target.path)
            return
        staging = self.staging_file(target)
        try:
            try:
                os.link(str(source), staging)
            except FileNotFoundError:
                raise
            except OSError:
                # No second names here: some network and FAT file systems, or another device.
                shutil.copyfile(str(source), staging)
            self.publish(staging, target)
        finally:
            staging.unlink(missing_ok=True)

    def remove(self, path: UPath) -> None:
        path.unlink(missing_ok=True)

    # Reading

    def read_record(self, path: UPath) -> Any:
        """One JSON record. Raises PermanentError where it is not there or damaged."""
        try:
            return json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError, RecursionError) as error:
            raise PermanentError(f"{path}: no readable record ({error}); materialize its partition") from error

    def open_table(self, path: UPath) -> pa.parquet.ParquetFile:
        """One open Parquet file: a small one whole in memory, since one read is cheaper than several.

        Raises FileNotFoundError, PermanentError where the file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if is_local(path):
                return pq.ParquetFile(str(path))
            # Several are opened at once, so that all of them together bound what is held.
            if path.stat().st_size <= _SMALL_FILE:
                return pq.ParquetFile(pa.BufferReader(path.read_bytes()))
            return pq.ParquetFile(path.open("rb"))
        except pa.ArrowInvalid as error:
            raise damaged(path, error) from error

    def read_partitions(self, asset: str, days: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The partitions of an asset as one table, in the order of `days`; with the columns that are named, else those
        of the newest. A partition may have others besides: of a portfolio that had them then.

        Raises PermanentError naming the partitions that are missing, that a gate has rejected, or that lack one of the
        columns or have it in another type.
        """
        return self.read_with_contents(asset, days, columns)[0]

    def read_with_contents(
        self, asset: str, days: Sequence[str], columns: Sequence[str] | None = None
    ) -> tuple[pa.Table, dict[str, str]]:
        """What `read_partitions` gives, and the content hash of each day where its file has one. Raises as it does."""
        import pyarrow as pa

        contents: dict[str, str] = {}

        def read(day: str) -> pa.Table | None:
            path = self.path(asset, f"{day}.parquet")
            try:
                file = self.open_table(path)
                footer = footer_of(file.metadata)
                refuse_unusable(asset, day, footer)
                if footer.content:
                    contents[day] = footer.as_input
                wanted = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
                return file.read(wanted).replace_schema_metadata(None)
            except FileNotFoundError:
                return None
            except (pa.ArrowInvalid, OSError) as error:
                raise damaged(path, error) from error

        tables = _at_once(read, days)
        refuse_missing(asset, [day for day, table in zip(days, tables, strict=True) if table is None], len(days))
        there = [table for table in tables if table is not None]
        names = list(columns) if columns is not None else there[-1].column_names if there else []
        newest = there[-1].schema if there else pa.schema([])
        there = [with_later_columns(asset, table, newest) for table in there]
        refuse_other_columns(
            asset, {day: lacking(table.schema, names, newest) for day, table in zip(days, there, strict=True)}
        )
        return pa.concat_tables([table.select(names) for table in there]), contents

    def footer(self, path: UPath) -> Footer:
        """What the end of one file says. Raises FileNotFoundError, PermanentError where it is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if is_local(path):
                # By name: Arrow calls a file of Python's back several times a footer.
                return footer_of(pq.read_metadata(str(path)))
            with path.open("rb") as file:
                return footer_of(pq.read_metadata(file))
        except pa.ArrowInvalid as error:
            raise damaged(path, error) from error

    def footers(self, asset: str, days: Sequence[str], *, damaged_too: bool = True) -> dict[str, Footer]:
        """The footers of those partitions that are there, several read at once.

        Raises PermanentError where a file is damaged; such a day is left out unless `damaged_too`.
        """

        def read(day: str) -> Footer | None:
            try:
                return self.footer(self.path(asset, f"{day}.parquet"))
            except FileNotFoundError:
                return None
            except PermanentError:
                if damaged_too:
                    raise
                return None

        found = zip(days, _at_once(read, days), strict=True)
        return {day: footer for day, footer in found if footer is not None}

    def row_counts(self, asset: str, days: Sequence[str]) -> dict[str, RowCount]:
        """Rows of those partitions that are there; a file that cannot be read is as good as none."""
        found = self.footers(asset, days, damaged_too=False)
        return {day: RowCount(one.rows, one.without_pd, one.rejected) for day, one in found.items()}

    def gates(self, asset: str, day: str) -> list[GateResult]:
        """The recorded gate results of one partition. Raises FileNotFoundError, PermanentError as `footers`."""
        found = self.footers(asset, [day])
        if day not in found:
            raise FileNotFoundError(f"{asset} {day}")
        return list(found[day].gates)

    def row_count(self, asset: str, day: str) -> int:
        """Rows of one partition. Raises as `gates`."""
        found = self.footers(asset, [day])
        if day not in found:
            raise FileNotFoundError(f"{asset} {day}")
        return found[day].rows

    def days(self, asset: str) -> list[str]:
        """Partitions of an asset that are there, oldest first."""
        folder = self.path(asset)
        if is_local(folder):
            try:
                names = os.listdir(str(folder))
            except FileNotFoundError:
                return []
        elif folder.exists():
            names = [path.name for path in folder.iterdir()]
        else:
            return []
        parts = (name.rpartition(".") for name in names)
        return sorted(stem for stem, _, kind in parts if kind in ("parquet", "json") and stem[:1] not in ("", "."))


class RefusedPartitionError(PermanentError):
    """A partition is not there, or a gate has rejected it: what it was to be read for cannot be made."""


class RejectedPartitionError(RefusedPartitionError):
    """A gate has rejected the partition."""


def open_root(uri: str, options: Mapping[str, Any]) -> UPath:
    """The folder of a store; a local one absolute. Raises PermanentError where no installed filesystem has the URI."""
    from upath import UPath

    try:
        root: UPath = UPath(store_uri(uri), **options)
        return root
    except (ValueError, ImportError) as error:
        raise PermanentError(
            f"CREDIT_STORE_URI {uri!r} cannot be opened: {error}; use a folder or a URL of an installed "
            "filesystem (pip install 'credit-assets[s3]' or '[gcs]')"
        ) from error


def damaged(path: UPath, error: Exception) -> PermanentError:
    return PermanentError(f"{path} is not a Parquet file ({error}); materialize its partition again")


def _at_once(read: Callable[[str], _T], days: Sequence[str]) -> list[_T]:
    """What `read` makes of each day, in their order: several at a time, for a store that answers slowly.

    Each thread takes a stretch of days at once: handing over days one by one costs more than reading their footers.
    """
    if len(days) < 2:
        return [read(day) for day in days]
    size = max(1, min(_STRETCH, len(days) // (2 * _READERS)))
    stretches = [days[n : n + size] for n in range(0, len(days), size)]
    with ThreadPoolExecutor(min(_READERS, len(stretches))) as pool:
        return list(chain.from_iterable(pool.map(lambda some: [read(day) for day in some], stretches)))


def same_content(one: str, other: str) -> bool:
    """Whether two content hashes, either of which may be its beginning alone, are of the same rows."""
    return one[:_SHORT] == other[:_SHORT]


def footer_of(metadata: pa.parquet.FileMetaData) -> Footer:
    kept = metadata.metadata or {}
    return Footer(
        rows=int(metadata.num_rows),
        gates=tuple(gates_of(metadata)),
        content=kept.get(CONTENT_KEY, b"").decode(),
        inputs=json.loads(kept.get(INPUTS_KEY, b"{}")),
        made_by=tuple(json.loads(kept.get(EXTENSIONS_KEY, b"[]"))),
        columns=tuple(metadata.schema.names),
        texts=frozenset(_texts(metadata.schema)),
        without_pd=_missing(metadata, "pd"),
    )


def _texts(schema: pa.parquet.ParquetSchema) -> Iterator[str]:
    for number, name in enumerate(schema.names):
        if schema.column(number).physical_type == "BYTE_ARRAY":
            yield name


def _missing(metadata: pa.parquet.FileMetaData, column: str) -> int:
    """How many rows have no value in a column, by the statistics of the file; 0 where it has no such column."""
    names = metadata.schema.names
    if column not in names:
        return 0
    parts = (metadata.row_group(number).column(names.index(column)) for number in range(metadata.num_row_groups))
    return sum(part.statistics.null_count for part in parts if part.statistics and part.statistics.has_null_count)


def gates_of(footer: pa.parquet.FileMetaData) -> list[GateResult]:
    """Gate results that the footer of a file of the store carries."""
    from credit_assets.ml.data.gate_results import GateResult

    recorded = (footer.metadata or {}).get(GATES_KEY)
    return [GateResult.from_record(item) for item in json.loads(recorded)] if recorded else []


def with_makers(schema: pa.Schema, made_by: Sequence[Mapping[str, str]]) -> pa.Schema:
    """The schema of a file in whose columns is the code of these extensions: its footer will name them."""
    return schema.with_metadata({EXTENSIONS_KEY: json.dumps(list(made_by), sort_keys=True)}) if made_by else schema


def refuse_unusable(asset: str, day: str, footer: Footer) -> None:
    """Raise RefusedPartitionError where a gate has rejected the partition, or an extension made it that is absent here
    or another one now: its columns would mean something else than their names say.
    """
    rejected = [gate for gate in footer.gates if gate.blocks]
    if rejected:
        reasons = "; ".join(f"{g.name} is {g.value}, allowed {g.threshold}, ruled by {g.setting}" for g in rejected)
        raise RejectedPartitionError(
            f"{asset} {day} was rejected by its gate ({reasons}); correct its source, then materialize it again"
        )
    if footer.made_by:
        from credit_assets.ml.data.extensions import why_other

        if why := why_other(footer.made_by):
            raise RefusedPartitionError(
                f"{asset} {day} was made with an extension: {why} (`credit-assets backfill --again --assets {asset}` "
                "with --start and --end makes the days again that are to be used)"
            )


def refuse_missing(asset: str, missing: Sequence[str], of: int) -> None:
    """Raise PermanentError naming the partitions that are not there, if any."""
    if missing:
        raise RefusedPartitionError(
            f"{asset}: {len(missing)} of {of} partitions needed are not there ({range_of(missing)}); "
            f"materialize them, for instance with `credit-assets replay --start {missing[0]} --end {missing[-1]}`"
        )


def lacking(schema: pa.Schema, names: Sequence[str], newest: pa.Schema) -> list[str]:
    """Those of the columns that a partition lacks, or has in another type than the newest."""
    return [
        name
        for name in names
        if name not in schema.names or (name in newest.names and schema.field(name).type != newest.field(name).type)
    ]


def refuse_other_columns(asset: str, lacks: Mapping[str, Sequence[str]]) -> None:
    """Raise PermanentError naming the partitions (ISO day: columns that it lacks) that lack any, and these columns."""
    others = [day for day, names in lacks.items() if names]
    if others:
        names = ", ".join(dict.fromkeys(name for day in others for name in lacks[day]))
        raise PermanentError(
            f"{asset}: {len(others)} partitions ({range_of(others)}) have other columns than are needed: without, or "
            f"with another type of, {names}. The portfolio has changed since: `credit-assets backfill --again --assets "
            f"{asset} --start {others[0]} --end {others[-1]}` makes them again, raw_loan_data first where it "
            "lacks them too"
        )


def with_later_columns(asset: str, table: pa.Table, newest: pa.Schema) -> pa.Table:
    """A partition with the columns of the newest that files of former releases lack, null."""
    import pyarrow as pa

    from credit_assets.ml.data.schemas import ADDED_LATER

    for field in newest:
        if field.name in ADDED_LATER.get(asset, ()) and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def is_local(path: UPath) -> bool:
    return getattr(path, "protocol", "") in ("", "file", "local")


def range_of(days: Sequence[str]) -> str:
    return days[0] if len(days) == 1 else f"{days[0]} .. {days[-1]}"
