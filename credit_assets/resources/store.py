"""The store: Parquet tables and JSON records of the assets, on a local path or any object store.

Belongs here: paths, atomic writing, reading many partitions at once, and the refusal to hand out data that a gate has
rejected. Does not belong here: what the tables mean (`credit_assets.ml`) and which asset writes what.

Layout: `<store>/<asset>/<partition>.parquet` or `.json`; quarantined rows in `<store>/quarantine/<asset>/`.

Gate results travel in the footer of the Parquet file they judge, so that data and verdict appear in one atomic step
and whoever loads a partition meets the verdict: a blocking check stops its own run only, this stops every other one.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.failures import PermanentError

if TYPE_CHECKING:
    import pyarrow as pa
    from upath import UPath

    from credit_assets.ml.gates import GateResult

GATES_KEY = b"credit_assets.gates"
_READERS = 8


def canonical_json(record: Any) -> bytes:
    """JSON with sorted keys and a final newline: equal records give equal bytes. NaN is refused."""
    return (json.dumps(record, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


class Store:
    """Files of the pipeline under one root (local path, s3://, gs://, ...)."""

    def __init__(self, uri: str, **storage_options: Any) -> None:
        self.uri = uri
        self._options = storage_options

    @property
    def root(self) -> UPath:
        from upath import UPath

        try:
            root = UPath(self.uri, **self._options)
            return root.absolute() if _is_local(root) else root
        except (ValueError, ImportError) as error:
            raise PermanentError(
                f"CREDIT_STORE_URI {self.uri!r} cannot be opened: {error}; use a folder or a URL of an installed "
                "filesystem (pip install 'credit-assets[s3]' or '[gcs]')"
            ) from error

    def path(self, *parts: str) -> UPath:
        return self.root.joinpath(*parts)

    # Writing: a reader sees the old file or the new one, never half of either.

    def write_bytes(self, path: UPath, data: bytes) -> None:
        """Write aside and rename on a local path; object stores publish an object only when it is complete.

        A killed process leaves the old file or the new one. The disk is not waited for: a file that a power failure
        leaves empty is found out when it is read, and its partition is materialized again.
        """
        if not _is_local(path):
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with open(str(aside), "xb") as file:
                file.write(data)
            os.replace(str(aside), str(path))
        finally:
            if os.path.exists(str(aside)):
                os.unlink(str(aside))

    def write_table(self, path: UPath, table: pa.Table, gates: Sequence[GateResult] = ()) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        metadata = {GATES_KEY: json.dumps([gate.to_record() for gate in gates], sort_keys=True)} if gates else None
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
        self.write_bytes(path, sink.getvalue().to_pybytes())

    def write_record(self, path: UPath, record: Any) -> None:
        self.write_bytes(path, canonical_json(record))

    def remove(self, path: UPath) -> None:
        path.unlink(missing_ok=True)

    # Reading

    def read_record(self, path: UPath) -> Any:
        """One JSON record. Raises PermanentError where it is not there or damaged."""
        try:
            return json.loads(path.read_bytes())
        except (FileNotFoundError, json.JSONDecodeError) as error:
            raise PermanentError(f"{path}: no readable record ({error}); materialize its partition") from error

    def read_table(self, path: UPath) -> pa.Table:
        """One Parquet file. Raises FileNotFoundError, PermanentError where the file is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = path.read_bytes()
        try:
            return pq.ParquetFile(pa.BufferReader(data)).read()
        except pa.ArrowInvalid as error:
            raise PermanentError(f"{path} is not a Parquet file ({error}); materialize its partition again") from error

    def read_partitions(self, asset: str, days: Sequence[str]) -> pa.Table:
        """The partitions of an asset as one table, in the order of `days`.

        Raises PermanentError naming the partitions that are missing, that a gate has rejected, or that were written
        with other columns than the newest of them.
        """
        import pyarrow as pa

        def read(day: str) -> pa.Table | None:
            try:
                return self.read_table(self.path(asset, f"{day}.parquet"))
            except FileNotFoundError:
                return None

        with ThreadPoolExecutor(min(_READERS, max(1, len(days)))) as pool:
            tables = list(pool.map(read, days))
        missing = [day for day, table in zip(days, tables, strict=True) if table is None]
        if missing:
            raise PermanentError(
                f"{asset}: {len(missing)} of {len(days)} partitions needed are not there ({_range(missing)}); "
                f"materialize them, for instance with `credit-assets replay --start {missing[0]} --end {missing[-1]}`"
            )
        found = [table for table in tables if table is not None]
        for day, table in zip(days, found, strict=True):
            rejected = [gate for gate in gates_of(table) if gate.blocks]
            if rejected:
                reasons = "; ".join(f"{g.name} is {g.value}, allowed {g.threshold}" for g in rejected)
                raise PermanentError(
                    f"{asset} {day} was rejected by its gate ({reasons}); correct its source, then materialize it again"
                )
        bare = [table.replace_schema_metadata(None) for table in found]
        others = [day for day, table in zip(days, bare, strict=True) if table.schema != bare[-1].schema]
        if others:
            raise PermanentError(
                f"{asset}: {len(others)} partitions ({_range(others)}) have other columns than {days[-1]}: the "
                "portfolio has changed since; materialize them again"
            )
        return pa.concat_tables(bare)

    def gates(self, asset: str, day: str) -> list[GateResult]:
        """The recorded gate results of one partition, read from the file's footer alone."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self.path(asset, f"{day}.parquet").open("rb") as file:
            return gates_of(pa.Table.from_batches([], schema=pq.read_schema(file)))

    def row_count(self, asset: str, day: str) -> int:
        """Rows of one partition, from the file's footer alone."""
        import pyarrow.parquet as pq

        with self.path(asset, f"{day}.parquet").open("rb") as file:
            return int(pq.ParquetFile(file).metadata.num_rows)

    def days(self, asset: str) -> list[str]:
        """Partitions of an asset that are there, oldest first."""
        folder = self.path(asset)
        if not folder.exists():
            return []
        return sorted(p.stem for p in folder.iterdir() if p.suffix in (".parquet", ".json") and p.name[0] != ".")

    def quarantine(self, asset: str, day: str, rows: pa.Table) -> UPath | None:
        """Keep rejected rows aside for the partition; an earlier quarantine of the same partition is replaced."""
        path = self.path("quarantine", asset, f"{day}.parquet")
        if rows.num_rows == 0:
            self.remove(path)
            return None
        self.write_table(path, rows)
        return path


def gates_of(table: pa.Table) -> list[GateResult]:
    """Gate results that a table read from the store carries."""
    from credit_assets.ml.gates import GateResult

    recorded = (table.schema.metadata or {}).get(GATES_KEY)
    return [GateResult.from_record(item) for item in json.loads(recorded)] if recorded else []


def _is_local(path: UPath) -> bool:
    return getattr(path, "protocol", "") in ("", "file", "local")


def _range(days: Sequence[str]) -> str:
    return days[0] if len(days) == 1 else f"{days[0]} .. {days[-1]}"


class ByDay(dict[str, Any]):
    """What an asset returns from a step over several days: partition key (ISO day) -> value of that day."""


@contextmanager
def _permanent_is_not_retried() -> Iterator[None]:
    # Inputs are loaded outside the asset's own function, where nobody else sorts failures.
    try:
        yield
    except PermanentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


class _StoreIOManager(dg.UPathIOManager):
    """Base of the two I/O managers: same paths, same atomic writes, ranges of partitions as well as one."""

    def __init__(self, store: Store) -> None:
        self.store = store
        super().__init__(base_path=store.root)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write one partition, or each partition of a `ByDay`."""
        # UPathIOManager refuses several partitions at once, which a backfill in a single run is made of.
        if not isinstance(obj, ByDay):
            if context.has_asset_partitions and len(context.asset_partition_keys) != 1:
                raise PermanentError("a run over several partitions must return a value for each of them")
            super().handle_output(context, obj)
            return
        if set(obj) != set(context.asset_partition_keys):
            raise PermanentError("a run over several partitions must return a value for each of them")
        for partition, path in self._get_paths_for_partitions(context).items():
            self.dump_to_path(context, obj[partition], path)
        context.add_output_metadata({"folder": dg.MetadataValue.path(str(self._get_path_without_extension(context)))})


class ParquetIOManager(_StoreIOManager):
    """Tables as Parquet. Hands over one Arrow table of all partitions asked for; None for an empty window."""

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        table, gates = obj if isinstance(obj, tuple) else (obj, ())
        self.store.write_table(path, table, gates)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        return self.store.read_table(path)

    def load_input(self, context: dg.InputContext) -> Any:
        days = sorted(context.asset_partition_keys) if context.has_asset_partitions else []
        with _permanent_is_not_retried():
            return self.store.read_partitions(context.asset_key.path[-1], days) if days else None


class RecordIOManager(_StoreIOManager):
    """Small records as JSON."""

    extension = ".json"

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        self.store.write_record(path, obj)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        with _permanent_is_not_retried():
            return self.store.read_record(path)
