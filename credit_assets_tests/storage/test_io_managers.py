"""The store through Dagster: a range of days in one run, windows of days, and on S3."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.storage.io_managers import ByDay, ParquetIOManager, RecordIOManager
from credit_assets.storage.partition_files import quarantine, stage
from credit_assets.storage.store import Store

pytest_plugins = ["credit_assets_tests.support.s3"]

PASSED = GateResult("values", True, "error", 0, "0 rows", "all values keep the contract")


def table(rows: int) -> pa.Table:
    return pa.table({"application_id": [f"a{i}" for i in range(rows)], "x": [float(i) for i in range(rows)]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


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


def test_assets_on_a_real_s3_api(bucket: str) -> None:
    store = Store(bucket)
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
    quarantine(store, "raw", "2024-01-01", stage(store, kept_aside, table(2)))
    assert kept_aside.exists()
    assert quarantine(store, "raw", "2024-01-01", None) is None
    assert not store.path("quarantine", "raw", "2024-01-01.parquet").exists()
