"""The store: atomic writes, identical bytes, and the refusal of missing, rejected or mismatched partitions."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage.io_managers import ByDay, ParquetIOManager, RecordIOManager
from credit_assets.storage.partition_files import stage
from credit_assets.storage.store import Store, canonical_json

PASSED = GateResult("values", True, "error", 0, "0 rows", "all values keep the contract")
REJECTED = GateResult("values", False, "error", 7, "0 rows", "7 rows break the contract")
WARNED = GateResult("volume", False, "warn", 0, "at least 1", "the day is empty")


def table(rows: int = 3) -> pa.Table:
    return pa.table({"application_id": [f"a{i}" for i in range(rows)], "x": [float(i) for i in range(rows)]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_a_written_partition_reads_back_with_its_gates(store: Store) -> None:
    store.write_table(store.path("raw", "2024-01-01.parquet"), table(), [PASSED, WARNED])
    assert store.read_partitions("raw", ["2024-01-01"]) == table()
    assert store.gates("raw", "2024-01-01") == [PASSED, WARNED]
    assert store.days("raw") == ["2024-01-01"]
    assert store.row_count("raw", "2024-01-01") == 3


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_aside(store: Store) -> None:
    path = store.path("raw", "2024-01-01.parquet")
    store.write_table(path, table(), [PASSED])
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    store.write_table(path, table(), [PASSED])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == first
    assert [p.name for p in path.parent.iterdir()] == ["2024-01-01.parquet"]


def test_missing_partitions_are_named_with_what_to_do(store: Store) -> None:
    store.write_table(store.path("raw", "2024-01-02.parquet"), table())
    with pytest.raises(PermanentError, match=r"2 of 3 partitions .*2024-01-01 \.\. 2024-01-03.*replay --start"):
        store.read_partitions("raw", ["2024-01-01", "2024-01-02", "2024-01-03"])


def test_a_rejected_partition_is_refused_whoever_asks(store: Store) -> None:
    store.write_table(store.path("raw", "2024-01-01.parquet"), table(), [REJECTED])
    with pytest.raises(
        PermanentError, match=r"raw 2024-01-01 was rejected by its gate \(values is 7, allowed 0 rows\)"
    ):
        store.read_partitions("raw", ["2024-01-01"])


def test_a_partition_with_a_warning_is_handed_out(store: Store) -> None:
    store.write_table(store.path("raw", "2024-01-01.parquet"), table(0), [WARNED])
    assert store.read_partitions("raw", ["2024-01-01"]).num_rows == 0


def test_partitions_of_another_portfolio_are_not_silently_filled_with_nulls(store: Store) -> None:
    store.write_table(store.path("raw", "2024-01-01.parquet"), table().drop_columns(["x"]))
    store.write_table(store.path("raw", "2024-01-02.parquet"), table())
    with pytest.raises(PermanentError, match=r"2024-01-01\) have other columns than 2024-01-02"):
        store.read_partitions("raw", ["2024-01-01", "2024-01-02"])


def test_a_damaged_file_is_named(store: Store) -> None:
    store.write_bytes(store.path("raw", "2024-01-01.parquet"), b"no parquet")
    with pytest.raises(PermanentError, match=r"2024-01-01\.parquet is not a Parquet file"):
        store.read_partitions("raw", ["2024-01-01"])


def test_quarantine_is_replaced_and_removed_when_clean(store: Store) -> None:
    rows = stage(store, store.path("quarantine", "raw", "2024-01-01.parquet"), table(2))
    path = store.quarantine("raw", "2024-01-01", rows)
    assert path is not None
    assert pq.read_table(str(path)).num_rows == 2
    assert store.quarantine("raw", "2024-01-01", None) is None
    assert not path.exists()


def _write_forever(uri: str) -> None:
    store, n = Store(uri), 0
    while True:
        n += 1
        store.write_table(store.path("raw", "2024-01-01.parquet"), table(20_000 + n % 2))


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(store: Store) -> None:
    path = store.path("raw", "2024-01-01.parquet")
    for delay in (0.31, 0.37, 0.43):
        writer = multiprocessing.get_context("spawn").Process(target=_write_forever, args=(store.uri,))
        writer.start()
        deadline = time.monotonic() + 250
        while not path.exists() and time.monotonic() < deadline:
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


# Through Dagster

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05")


def _graph(store: Store) -> tuple[list[dg.AssetsDefinition], dict[str, object]]:
    @dg.asset(partitions_def=DAYS, io_manager_key="parquet", backfill_policy=dg.BackfillPolicy.single_run())
    def daily(context) -> dg.MaterializeResult:  # type: ignore[no-untyped-def]
        return dg.MaterializeResult(
            value=ByDay(
                {
                    key: stage(store, store.path("daily", f"{key}.parquet"), table(n + 1), [PASSED])
                    for n, key in enumerate(sorted(context.partition_keys))
                }
            )
        )

    @dg.asset(
        partitions_def=DAYS,
        io_manager_key="record",
        ins={
            "daily": dg.AssetIn(
                partition_mapping=dg.TimeWindowPartitionMapping(
                    start_offset=-2, end_offset=-1, allow_nonexistent_upstream_partitions=True
                )
            )
        },
    )
    def window(daily: object) -> dict[str, object]:
        return {"rows": None if daily is None else daily.num_rows}

    return [daily, window], {"parquet": ParquetIOManager(store), "record": RecordIOManager(store)}


def test_a_range_in_one_run_writes_each_partition_and_a_window_reads_them(store: Store) -> None:
    assets, resources = _graph(store)
    tags = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-01-03"}
    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize(assets[:1], resources=resources, tags=tags, instance=instance).success
        assert store.days("daily") == ["2024-01-01", "2024-01-02", "2024-01-03"]
        assert instance.get_materialized_partitions(dg.AssetKey("daily")) == set(store.days("daily"))
        for day, rows in (("2024-01-03", 3), ("2024-01-02", 1), ("2024-01-01", None)):
            result = dg.materialize(
                assets, selection=["window"], resources=resources, partition_key=day, instance=instance
            )
            assert result.success
            assert store.read_record(store.path("window", f"{day}.json")) == {"rows": rows}


def test_records_of_a_range_in_one_run(store: Store) -> None:
    @dg.asset(partitions_def=DAYS, io_manager_key="record", backfill_policy=dg.BackfillPolicy.single_run())
    def reports(context) -> dg.MaterializeResult:  # type: ignore[no-untyped-def]
        days = sorted(context.partition_keys)
        return dg.MaterializeResult(value=ByDay({day: {"day": day} for day in days[: 3 - missing]}))

    tags = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-01-03"}
    resources = {"record": RecordIOManager(store)}
    missing = 0
    assert dg.materialize([reports], resources=resources, tags=tags).success
    assert store.read_record(store.path("reports", "2024-01-02.json")) == {"day": "2024-01-02"}
    missing = 1
    result = dg.materialize([reports], resources=resources, tags=tags, raise_on_error=False)
    assert "a value for each" in str(result.all_events)


def test_the_store_on_a_real_s3_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="the s3 extra is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="loans")
        store = Store("s3://loans/store", endpoint_url=endpoint)
        assets, resources = _graph(store)
        tags = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-01-03"}
        assert dg.materialize(assets[:1], resources=resources, tags=tags).success
        assert store.days("daily") == ["2024-01-01", "2024-01-02", "2024-01-03"]
        assert store.gates("daily", "2024-01-02") == [PASSED]
        result = dg.materialize(assets, selection=["window"], resources=resources, partition_key="2024-01-03")
        assert result.success
        assert store.read_record(store.path("window", "2024-01-03.json")) == {"rows": 3}
        with pytest.raises(PermanentError, match="1 of 1 partitions"):
            store.read_partitions("daily", ["2024-01-05"])
        kept_aside = store.path("quarantine", "raw", "2024-01-01.parquet")
        store.quarantine("raw", "2024-01-01", stage(store, kept_aside, table(2)))
        assert kept_aside.exists()
        assert store.quarantine("raw", "2024-01-01", None) is None
        assert not store.path("quarantine", "raw", "2024-01-01.parquet").exists()
    finally:
        server.stop()
