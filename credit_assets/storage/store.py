"""The store: Parquet tables and JSON records of the assets, on a local path or any object store.

Belongs here: paths, atomic writing, reading many partitions at once, and the refusal to hand out data that a gate has
rejected. Does not belong here: writing Parquet files (`partition_files`), names that are taken once (`claims`), what
Dagster wants of the store (`io_managers`), what the tables mean (`credit_assets.ml`) and which asset writes what.

Layout: `<store>/<asset>/<partition>.parquet` or `.json`; quarantined rows in `<store>/quarantine/<asset>/`.

Gate results travel in the footer of the Parquet file they judge, so that data and verdict appear in one atomic step
and whoever loads a partition meets the verdict: a blocking check stops its own run only, this stops every other one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from credit_assets.aside import aside
from credit_assets.failures import PermanentError
from credit_assets.places import store_uri
from credit_assets.storage.footers import Footer, footer_of
from credit_assets.storage.seals import canonical_json, decoding, looked_at_twice, record_of, sealed
from credit_assets.storage.tables import (
    DamagedFileError,
    answering,
    check_parquet,
    is_local,
    open_parquet,
    parquet_metadata,
    read_bytes,
    rows_of,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from upath import UPath

    from credit_assets.ml.data.gate_results import GateResult

_READERS = 8
_STRETCH = 32
_T = TypeVar("_T")


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
        with answering(path):
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
            with answering(path):
                path.fs.put_file(str(staging), path.path)
            staging.unlink()

    def write_record(self, path: UPath, record: Any) -> None:
        """A record, sealed: `read_record` tells whether it is as it was written."""
        self.write_bytes(path, canonical_json(sealed(record)))

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

    # Reading: what is not as it was written is never handed out

    def read_record(self, path: UPath) -> Any:
        """One JSON record. Raises PermanentError where it is not there, DamagedFileError where it is not what was
        written, TransientError where it does not come whole.
        """
        try:
            return self._twice(path, lambda: record_of(read_bytes(path)))
        except FileNotFoundError as error:
            raise PermanentError(f"{path}: no readable record ({error}); materialize its partition") from error

    def open_table(self, path: UPath, *, whole: bool = False) -> pa.parquet.ParquetFile:
        """One open Parquet file, whose footer is as it was written; of its pages that shows as they are read, or at
        once where they are to be read `whole`. A small one is whole in memory, since one read is cheaper than several.

        Raises FileNotFoundError, DamagedFileError, TransientError where it does not come whole.
        """
        return self._twice(path, lambda: open_parquet(path, whole=whole).file)

    def read_table(self, path: UPath, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one Parquet file, or these columns of it, without the words of its footer. Raises as `footer`."""
        return self._twice(path, lambda: rows_of(path, columns)[0])

    def check(self, path: UPath) -> None:
        """Read a whole file, table or record, for what may be wrong with it. Raises as what reads it."""
        if path.suffix == ".json":
            self.read_record(path)
        else:
            self._twice(path, lambda: check_parquet(path))

    def damaged(self, asset: str, days: Sequence[str]) -> dict[str, str]:
        """Those of these partitions that are there and damaged, or have damaged rows in quarantine, and what is wrong
        with each.
        """

        def look(name: str) -> str:
            try:
                self.check(self.path(name))
            except (DamagedFileError, FileNotFoundError) as error:
                return str(error) if isinstance(error, DamagedFileError) else ""
            return ""

        wanted, folders = set(days), (asset, f"quarantine/{asset}")
        names = [f"{one}/{name}" for one in folders for name in self._names(one) if name.rpartition(".")[0] in wanted]
        found = zip(names, _at_once(look, names), strict=True)
        return {name.rpartition("/")[2].rpartition(".")[0]: why for name, why in found if why}

    def _twice(self, path: UPath, look: Callable[[], _T]) -> _T:
        """What a look at the file gives, by `looked_at_twice`."""
        forget = (lambda: None) if is_local(path) else path.fs.invalidate_cache
        with answering(path):
            return looked_at_twice(look, lambda why: DamagedFileError(path, why), str(path), forget)

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
                table, footer = self._twice(path, lambda: rows_of(path, columns, lenient=True))
            except FileNotFoundError:
                return None
            refuse_unusable(asset, day, footer)
            if footer.content:
                contents[day] = footer.as_input
            return table

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
        """What the end of one file says. Raises FileNotFoundError, DamagedFileError."""

        def look() -> Footer:
            with decoding():
                return footer_of(parquet_metadata(path))

        return self._twice(path, look)

    def metadata(self, path: UPath) -> pa.parquet.FileMetaData:
        """Parquet's own words on one file. Raises as `footer`."""
        return self._twice(path, lambda: parquet_metadata(path))

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
        return sorted(name.rpartition(".")[0] for name in self._names(asset))

    def _names(self, asset: str) -> list[str]:
        """The files of an asset's partitions."""
        folder = self.path(asset)
        if is_local(folder):
            try:
                names = os.listdir(str(folder))
            except FileNotFoundError:
                return []
        else:
            with answering(folder):
                names = [path.name for path in folder.iterdir()] if folder.exists() else []
        return [name for name in names if name[0] != "." and name.rpartition(".")[2] in ("parquet", "json")]


class RefusedPartitionError(PermanentError):
    """A partition is not there, or a gate has rejected it: what it was to be read for cannot be made."""


class RejectedPartitionError(RefusedPartitionError):
    """A gate has rejected the partition."""


S3_WAITS: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 20, "retries": {"total_max_attempts": 2}}
"""Seconds for which an S3 service may say nothing, and how often it is asked: botocore waits a minute, five times, and
s3fs has it do so five times. fsspec's own variable (FSSPEC_S3, as JSON) is heard where it says otherwise.
"""


def open_root(uri: str, options: Mapping[str, Any]) -> UPath:
    """The folder of a store; a local one absolute. Raises PermanentError where no installed filesystem has the URI."""
    from fsspec.config import conf  # type: ignore[import-untyped]
    from upath import UPath

    # As defaults of the file system, not as options of this root: whoever opens the same store by its URI shares it.
    conf.setdefault("s3", {}).setdefault("config_kwargs", S3_WAITS)
    try:
        root: UPath = UPath(store_uri(uri), **options)
        return root
    except (ValueError, ImportError) as error:
        raise PermanentError(
            f"CREDIT_STORE_URI {uri!r} cannot be opened: {error}; use a folder or a URL of an installed "
            "filesystem (pip install 'credit-assets[s3]' or '[gcs]')"
        ) from error


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


def range_of(days: Sequence[str]) -> str:
    return days[0] if len(days) == 1 else f"{days[0]} .. {days[-1]}"
