"""The store as Dagster's I/O managers.

Belongs here: what an asset hands over and what the next one gets. Does not belong here: files (`store`,
`partition_files`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.failures import PermanentError
from credit_assets.storage.partition_files import Partitions, Staged
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    from upath import UPath

# Input metadata of an asset that takes its partitions piece by piece instead of as one table.
IN_PIECES = {"in_pieces": True}


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
        # Without the parent's: it wants the path at once, and paths import file systems, which the definitions never
        # touch. That was a third of loading them.
        self.store = store

    @property
    def _base_path(self) -> UPath:
        return self.store.root

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
    """Tables as Parquet, handed over as staged files or tables.

    An asset gets one Arrow table of all partitions asked for, or `Partitions` where its input says IN_PIECES; None for
    an empty window.
    """

    extension = ".parquet"

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        if isinstance(obj, Staged):
            self.store.publish(obj.aside, path)
        else:
            self.store.write_table(path, obj)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        return self.store.read_table(path)

    def load_input(self, context: dg.InputContext) -> Any:
        days = sorted(context.asset_partition_keys) if context.has_asset_partitions else []
        if not days:
            return None
        asset = context.asset_key.path[-1]
        # The metadata of the input itself: that of the upstream asset is the same for all who read it.
        if (context.definition_metadata or {}).items() >= IN_PIECES.items():
            return Partitions(self.store, asset, days)
        with _permanent_is_not_retried():
            return self.store.read_partitions(asset, days)


class RecordIOManager(_StoreIOManager):
    """Small records as JSON."""

    extension = ".json"

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: UPath) -> None:
        self.store.write_record(path, obj)

    def load_from_path(self, context: dg.InputContext, path: UPath) -> Any:
        with _permanent_is_not_retried():
            return self.store.read_record(path)
