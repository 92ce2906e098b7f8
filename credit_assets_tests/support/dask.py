"""Dask clusters for tests, and how a test learns that a training is under way on one.

`python -m credit_assets_tests.support.dask FILE VARIANT SCHEDULER` trains there without end, for whoever kills it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.ml.learners.dask import train_on_dask
from credit_assets.ml.learners.dask_cluster import Cluster
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config

ENDLESS = {"max_rounds": 1_000_000, "early_stopping_rounds": 1_000_000}


def written(frame: pd.DataFrame, path: Path, group: int = 1000) -> Path:
    """The frame as a Parquet file of row groups of this size."""
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=group)
    return path


def local_cluster(**options: Any) -> Any:
    """Two workers of one thread: processes, or threads of this process (`processes=False`), which start at once, have
    the libraries loaded, and train the same models."""
    distributed = pytest.importorskip("distributed", reason="the dask extra is not installed")
    return distributed.LocalCluster(
        n_workers=options.pop("n_workers", 2),
        threads_per_worker=1,
        # Threads too are reached by an address that settings take.
        protocol="tcp://",
        dashboard_address=None,
        worker_dashboard_address=None,
        silence_logs="ERROR",
        **options,
    )


def impatient(scheduler: str) -> Cluster:
    """For tests that lose something: a long wait for the cluster, which may be busy, and a short one for the lost."""
    return Cluster(scheduler, connect_seconds=60, watch_seconds=0.2, silent_seconds=20)


def train_without_end(path: Path, variant: str, scheduler: str) -> None:
    train_on_dask(path, variant, PORTFOLIO, quick_config(variant, **ENDLESS), impatient(scheduler))


def when_training(client: Any, folder: Path, act: Callable[[list[int]], object], workers: int = 2) -> threading.Thread:
    """Calls `act` with the workers' process ids as soon as a round of a training has ended on each of them.

    Until it returns no training may have begun; `folder` is one that no other call was given.
    """
    client.wait_for_workers(workers)
    client.run(_announce_rounds, str(folder))

    def target() -> None:
        while len(list(folder.iterdir())) < workers:
            time.sleep(0.05)
        act(sorted(int(file.name) for file in folder.iterdir()))

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def _announce_rounds(folder: str) -> None:
    """On a worker: from now on a file in `folder` says that a round has ended in this process."""
    import credit_assets.ml.learners.dask_fits as fits
    import credit_assets.ml.learners.dask_internals as internals

    wanted = internals.still_wanted

    def announcing() -> bool:
        Path(folder, str(os.getpid())).touch()
        return wanted()

    # What both learners' callbacks call after each round.
    fits.still_wanted = internals.still_wanted = announcing


if __name__ == "__main__":
    train_without_end(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
