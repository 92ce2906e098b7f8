"""Tables as files of the store, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from upath import UPath

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage.partition_files import stage
from credit_assets.storage.store import Store


def write_table(store: Store, path: UPath, table: pa.Table, gates: Sequence[GateResult] = ()) -> None:
    """Make the table, with the results of its gates, the file at `path`."""
    staged = stage(store, path, table, gates)  # held until it is published: let go of, it is removed
    store.publish(staged.file, path)


def read_table(store: Store, path: UPath) -> pa.Table:
    """The table without the results of its gates."""
    return store.read_table(path)
