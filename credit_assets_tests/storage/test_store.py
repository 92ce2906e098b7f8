"""The store: atomic writes, identical bytes, and the refusal of missing, rejected or mismatched partitions."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage.seals import canonical_json
from credit_assets.storage.store import Store
from credit_assets_tests.support.store_files import write_table

PASSED = GateResult("values", True, "error", 0, "0 rows", "all values keep the contract")
REJECTED = GateResult("values", False, "error", 7, "0 rows", "7 rows break the contract", setting="columns: x")
WARNED = GateResult("volume", False, "warn", 0, "at least 1", "the day is empty", setting="gates: x")


def table(rows: int = 3) -> pa.Table:
    return pa.table({"application_id": [f"a{i}" for i in range(rows)], "x": [float(i) for i in range(rows)]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_a_written_partition_reads_back_with_its_gates(store: Store) -> None:
    write_table(store, store.path("raw", "2024-01-01.parquet"), table(), [PASSED, WARNED])
    assert store.read_partitions("raw", ["2024-01-01"]) == table()
    assert store.gates("raw", "2024-01-01") == [PASSED, WARNED]
    assert store.days("raw") == ["2024-01-01"]
    assert store.row_count("raw", "2024-01-01") == 3


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_aside(store: Store) -> None:
    path = store.path("raw", "2024-01-01.parquet")
    write_table(store, path, table(), [PASSED])
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    write_table(store, path, table(), [PASSED])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == first
    assert [p.name for p in path.parent.iterdir()] == ["2024-01-01.parquet"]


def test_missing_partitions_are_named_with_what_to_do(store: Store) -> None:
    write_table(store, store.path("raw", "2024-01-02.parquet"), table())
    with pytest.raises(PermanentError, match=r"2 of 3 partitions .*2024-01-01 \.\. 2024-01-03.*replay --start"):
        store.read_partitions("raw", ["2024-01-01", "2024-01-02", "2024-01-03"])


def test_a_rejected_partition_is_refused_whoever_asks(store: Store) -> None:
    write_table(store, store.path("raw", "2024-01-01.parquet"), table(), [REJECTED])
    with pytest.raises(
        PermanentError,
        match=r"raw 2024-01-01 was rejected by its gate \(values is 7, allowed 0 rows, ruled by columns: x\)",
    ):
        store.read_partitions("raw", ["2024-01-01"])


def test_a_partition_with_a_warning_is_handed_out(store: Store) -> None:
    write_table(store, store.path("raw", "2024-01-01.parquet"), table(0), [WARNED])
    assert store.read_partitions("raw", ["2024-01-01"]).num_rows == 0


def test_partitions_of_another_portfolio_are_not_silently_filled_with_nulls(store: Store) -> None:
    write_table(store, store.path("raw", "2024-01-01.parquet"), table().drop_columns(["x"]))
    write_table(store, store.path("raw", "2024-01-02.parquet"), table())
    both = ["2024-01-01", "2024-01-02"]
    with pytest.raises(PermanentError, match=r"\(2024-01-01\) have other columns .* another type of, x\. .*backfill"):
        store.read_partitions("raw", both)
    with pytest.raises(PermanentError, match=r"\(2024-01-01\) have other columns"):
        store.read_partitions("raw", both, ["application_id", "x"])
    other = table().set_column(1, "x", table()["x"].cast("string"))
    write_table(store, store.path("raw", "2024-01-01.parquet"), other)
    with pytest.raises(PermanentError, match=r"\(2024-01-01\) have other columns"):
        store.read_partitions("raw", both)


def test_columns_that_have_left_the_portfolio_are_left_out_of_older_partitions(store: Store) -> None:
    """They stop no reader, and none gets them."""
    write_table(store, store.path("raw", "2024-01-01.parquet"), table())
    write_table(store, store.path("raw", "2024-01-02.parquet"), table().drop_columns(["x"]))
    assert "x" not in store.read_partitions("raw", ["2024-01-01", "2024-01-02"]).column_names
    named = [name for name in table().column_names if name != "x"]
    assert store.read_partitions("raw", ["2024-01-01"], named[::-1]).column_names == named[::-1]
    with pytest.raises(PermanentError, match=r"1 partitions \(2024-01-02\) have other columns"):
        store.read_partitions("raw", ["2024-01-01", "2024-01-02"], [*named, "x"])


def test_a_damaged_file_is_named(store: Store) -> None:
    store.write_bytes(store.path("raw", "2024-01-01.parquet"), b"no parquet")
    with pytest.raises(PermanentError, match=r"2024-01-01\.parquet is damaged"):
        store.read_partitions("raw", ["2024-01-01"])


def _write_forever(uri: str) -> None:
    store, n = Store(uri), 0
    while True:
        n += 1
        write_table(store, store.path("raw", "2024-01-01.parquet"), table(20_000 + n % 2))


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(store: Store) -> None:
    path = store.path("raw", "2024-01-01.parquet")
    for delay in (0.31, 0.37, 0.43):
        writer = multiprocessing.get_context("spawn").Process(target=_write_forever, args=(store.uri,))
        writer.start()
        while not path.exists():
            assert writer.is_alive()
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        assert store.read_partitions("raw", ["2024-01-01"]).num_rows in (20_000, 20_001)
        assert store.days("raw") == ["2024-01-01"]


def test_records_are_canonical_and_refuse_nan() -> None:
    assert canonical_json({"b": 1, "a": [1.5]}) == canonical_json({"a": [1.5], "b": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json({"auc": float("nan")})


def test_an_unknown_filesystem_is_a_clear_error() -> None:
    with pytest.raises(PermanentError, match="CREDIT_STORE_URI 'nosuch://bucket/x' cannot be opened"):
        _ = Store("nosuch://bucket/x").root
