"""The store as Dagster's I/O managers.

Belongs here: what an asset hands over and what the next one gets. Does not belong here: files (`store`,
`partition_files`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.failures import PermanentError, without_values
from credit_assets.storage.claims import RECORDS, in_store, journal_of, write_ledger_record
from credit_assets.storage.partition_files import Partitions, Staged
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    from upath import UPath

# Input metadata of an asset that takes its partitions piece by piece instead of as one table.
IN_PIECES = {"in_pieces": True}


class ByDay(dict[str, Any]):
    """What an asset returns from a step over several days: partition key (ISO day) -> value of that day.

    `left_out`: days that could not be made. A value that one of them has is written, for whoever reads it is to meet
    its verdict; without one, what an earlier step wrote goes. `leave_out` keeps Dagster from taking them for made.
    `tell` is told where each day was written.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        left_out: Collection[str] = (),
        leave_out: Callable[[dg.OutputContext, Collection[str]], None] | None = None,
        tell: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        super().__init__(values)
        self.left_out, self.leave_out, self.tell = frozenset(left_out), leave_out, tell


class Stopped:
    """A value that gates have stopped: it is written, for whoever reads it is to meet its verdict, and then the step
    fails with `failure`, so that its partitions are not taken for made.
    """

    def __init__(self, value: Any, failure: dg.Failure) -> None:
        self.value, self.failure = value, failure


@contextmanager
def _failures_sorted() -> Iterator[None]:
    # Values are read and written outside the asset's own function, where nobody else sorts failures.
    failure = None
    try:
        yield
    except Exception as error:
        failure = without_values(error)
    if isinstance(failure, PermanentError):
        raise dg.Failure(description=str(failure), allow_retries=False) from failure
    if failure is not None:
        raise failure


class _StoreIOManager(dg.IOManager):
    """One file a partition, `<store>/<asset>/<partition>` and the extension; ranges of partitions as well as one.

    Not Dagster's UPathIOManager: it refuses to write several partitions at once, which a backfill in a single run is
    made of, opens its folder when it is built, and notes each file as an event.
    """

    extension: str

    def __init__(self, store: Store) -> None:
        self.store = store

    @abstractmethod
    def write(self, path: UPath, value: Any) -> None:
        """Make the value of one partition the file at `path`."""

    def remove(self, path: UPath) -> None:
        """Take away the file of a partition that is not made any more."""
        self.store.remove(path)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write one partition, or each partition of a `ByDay`; raises the failure of what gates have stopped."""
        if isinstance(obj, Stopped):
            self.handle_output(context, obj.value)
            raise obj.failure
        keys = context.asset_partition_keys
        values = obj if isinstance(obj, ByDay) else {keys[0]: obj}
        left_out = values.left_out if isinstance(values, ByDay) else frozenset()
        if set(values) | left_out != set(keys):
            raise PermanentError("a run over several partitions must return a value for each of them")
        folder = self.store.path(_folder(context))
        paths = {key: folder / (key + self.extension) for key in values}
        with _failures_sorted():
            for key, value in values.items():
                self.write(paths[key], value)
            for key in left_out.difference(values):
                self.remove(folder / (key + self.extension))
        if left_out and isinstance(values, ByDay) and values.leave_out:
            values.leave_out(context, left_out)
        if not isinstance(values, ByDay):
            context.add_output_metadata({"path": dg.MetadataValue.path(str(paths[keys[0]]))})
        elif values.tell:
            values.tell({key: str(path) for key, path in paths.items()})


def _folder(context: dg.InputContext | dg.OutputContext) -> str:
    """The asset's folder in the portfolio's part of the store."""
    return context.asset_key.path[-1]


class ParquetIOManager(_StoreIOManager):
    """Tables as Parquet, handed over as staged files.

    An asset gets one Arrow table of all partitions that it needs, or `Partitions` where its input says IN_PIECES; None
    for an empty window.
    """

    extension = ".parquet"

    def write(self, path: UPath, value: Staged) -> None:
        self.store.publish(value.file, path)

    def load_input(self, context: dg.InputContext) -> Any:
        days = sorted(context.asset_partition_keys)
        if not days:
            return None
        asset = _folder(context)
        # The metadata of the input itself: that of the upstream asset is the same for all who read it.
        if (context.definition_metadata or {}).items() >= IN_PIECES.items():
            return Partitions(self.store, asset, days)
        with _failures_sorted():
            return self.store.read_partitions(asset, days)


class RecordIOManager(_StoreIOManager):
    """Small records as JSON. An asset gets the record of its partition, or those of several by partition key."""

    extension = ".json"

    def write(self, path: UPath, value: Any) -> None:
        if path.parent.name in RECORDS:
            write_ledger_record(self.store, path, value)
        else:
            self.store.write_record(path, value)

    def remove(self, path: UPath) -> None:
        if path.parent.name in RECORDS and path.exists():
            journal_of(self.store).enter(in_store(self.store, path), "")
        super().remove(path)

    def load_input(self, context: dg.InputContext) -> Any:
        keys, asset = context.asset_partition_keys, _folder(context)
        with _failures_sorted():
            records = {key: self.store.read_record(self.store.path(asset, key + self.extension)) for key in keys}
        return records[keys[0]] if len(keys) == 1 else records or None
