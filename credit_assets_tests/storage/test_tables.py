"""Places that fail are named: a disk that is full, a folder that cannot be written, a store that does not answer."""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.failures import TransientError, explained, is_transient, kind_in_words
from credit_assets.storage.store import Store
from credit_assets_tests.support.store_files import write_table

DAY, ASSET = "2024-01-01", "raw_loan_data"
LARGE = pa.table({"x": np.random.default_rng(1).normal(size=400_000)})
WAYS: dict[str, Callable[[Store], object]] = {
    "a table": lambda store: write_table(store, store.path(ASSET, f"{DAY}.parquet"), LARGE),
    "a record": lambda store: store.write_record(store.path("trained_model", f"{DAY}.json"), {"a": "x" * 2_000_000}),
}


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("a small disk can be mounted by root alone, and not in every container")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_is_named_with_file_and_setting_and_nothing_half_written_stays(full: Path, way: str) -> None:
    store = Store(str(full / "store"))
    with pytest.raises(OSError, match="No space left") as told:
        WAYS[way](store)
    line = explained(told.value)
    assert line.startswith(str(full / "store")), line
    assert line.endswith("no space left on the disk; free some space, or set CREDIT_HOME (and CREDIT_STORE_URI) to a "
                         "folder on another disk")  # fmt: skip
    assert kind_in_words(told.value) == "permanent"
    assert [path for path in full.rglob("*") if path.is_file()] == []


def _limited(uri: str, way: str, told: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        WAYS[way](Store(uri))
    except OSError as error:
        told.put(explained(error))


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_may_not_be_so_large_is_named(tmp_path: Path, way: str) -> None:
    context = multiprocessing.get_context("fork")
    told: Any = context.Queue()
    child = context.Process(target=_limited, args=(str(tmp_path / "store"), way, told))
    child.start()
    line = told.get(timeout=300)
    child.join()
    assert line.startswith(str(tmp_path / "store"))
    assert line.endswith("a file would be larger than this user may write; raise the limit (ulimit -f)")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, way: str) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"exists|directory") as told:
        WAYS[way](Store(str(tmp_path / "store")))
    assert str(tmp_path / "store") in explained(told.value)


class EndpointConnectionError(Exception):
    """As botocore's."""


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.read_record(store.path("trained_model", f"{DAY}.json")),
        lambda store: store.read_table(store.path(ASSET, f"{DAY}.parquet")),
        lambda store: store.footers(ASSET, [DAY]),
        lambda store: store.read_partitions(ASSET, [DAY, "2024-01-02"]),
        lambda store: store.days(ASSET),
        *WAYS.values(),
    ],
)
def test_a_store_that_does_not_answer_is_transient_and_named(
    call: Callable[[Store], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def away(*_: Any, **__: Any) -> None:
        raise EndpointConnectionError("Could not connect to the endpoint URL: https://key:secret@s3")

    for name in ("open", "_open", "cat_file", "info", "ls", "put_file", "pipe_file", "exists", "isdir", "makedirs"):
        monkeypatch.setattr(MemoryFileSystem, name, away)
    with pytest.raises(TransientError, match=r"CREDIT_STORE_URI\) does not answer \(EndpointConnectionError\)") as told:
        call(Store("memory://lender/store"))
    assert is_transient(told.value)
    assert "secret" not in explained(told.value)
