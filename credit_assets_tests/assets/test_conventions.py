"""What a step over a range of days leaves in Dagster: a check result, metadata and a file for each day."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from credit_assets.assets.conventions import (
    GATES_HASH,
    daily_result,
    days_of,
    made_or_refused,
    retry_transient_only,
    stopped_by_gates,
)
from credit_assets.assets.runs import failures
from credit_assets.checks import GATE_FAILED, gate_specs
from credit_assets.instance.home import instance_of
from credit_assets.ml.data.gate_results import GateResult, detail
from credit_assets.notify.alerts import failure_alert
from credit_assets.settings import load_settings
from credit_assets.storage.io_managers import ParquetIOManager
from credit_assets.storage.partition_files import stage
from credit_assets.storage.store import RejectedPartitionError, Store

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01")
GATES = {"values": "Values keep the contract.", "volume": "As many as usual."}
pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")


def graph(store: Store, faults: dict[str, str]) -> dg.AssetsDefinition:
    """An asset of one row more each day; `faults` says on which day the gate `values` warns or blocks."""

    def daily(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        staged, gates = {}, {}
        for rows, day in enumerate(days_of(context), 1):
            fault: Any = faults.get(day.isoformat())
            values = GateResult(
                "values", not fault, fault or "error", 7, "0 rows", "broken" if fault else "kept",
                (detail("income", "below 0", 7),) if fault else (), setting="columns: income: minimum",
            )  # fmt: skip
            gates[day] = (values, GateResult("volume", True, "warn", rows, "at least 1", "in line"))
            table = pa.table({"x": [float(n) for n in range(rows)]})
            staged[day] = stage(store, store.path("daily", f"{day}.parquet"), table, gates[day])
        return daily_result(context, staged, gates, {day: {"of": day.isoformat()} for day in staged})

    made: dg.AssetsDefinition = dg.asset(
        partitions_def=DAYS,
        io_manager_key="parquet",
        check_specs=gate_specs("daily", GATES, DAYS),
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=dg.RetryPolicy(max_retries=2),
    )(stopped_by_gates(retry_transient_only(daily), GATES))
    return made


def run(tmp_path: Path, faults: dict[str, str], last: str) -> tuple[bool, dict[str, Any], dict[str, Any]]:
    """Success; by check its result of each partition; and the metadata of each partition."""
    store = Store(str(tmp_path / "store"))
    settings = load_settings(home=tmp_path, dagster_home=tmp_path / "dagster")
    with instance_of(settings) as instance:
        tags = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": last}
        done = dg.materialize(
            [graph(store, faults)],
            resources={"parquet": ParquetIOManager(store)},
            tags=tags,
            instance=instance,
            raise_on_error=False,
        )
        found: dict[str, Any] = {}
        for name in GATES:
            key = dg.AssetCheckKey(dg.AssetKey("daily"), name)
            history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
            assert len({record.partition for record in history}) == len(history)
            found[name] = {record.partition: (record.status.value, record.evaluation) for record in history}
        records = instance.fetch_materializations(dg.AssetKey("daily"), limit=100).records
        metadata = {record.partition_key: record.asset_materialization.metadata for record in records}
    return done.success, found, metadata


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))


def test_every_day_of_a_range_has_its_own_results(tmp_path: Path) -> None:
    success, found, metadata = run(tmp_path, {"2024-01-03": "warn"}, "2024-01-05")
    assert success
    days = [f"2024-01-0{n}" for n in range(1, 6)]
    assert sorted(found["values"]) == sorted(found["volume"]) == sorted(metadata) == days
    for n, day in enumerate(days, 1):
        status, values = found["values"][day]
        assert (status, values.partition) == ("FAILED" if n == 3 else "SUCCEEDED", day)
        assert found["volume"][day][1].metadata["value"].value == n
        assert metadata[day]["dagster/row_count"].value == n
        assert metadata[day]["of"].value == day
    warned = found["values"]["2024-01-03"][1]
    assert warned.severity == dg.AssetCheckSeverity.WARN
    assert warned.description == (
        "2024-01-03: broken Found 7, allowed 0 rows. Columns: income below 0 (7). Ruled by columns: income: minimum."
    )
    assert warned.metadata["offending"].records[0].data == {"column": "income", "problem": "below 0", "count": "7"}


def test_days_that_block_are_left_out_and_the_others_are_made(tmp_path: Path) -> None:
    success, found, metadata = run(
        tmp_path, {"2024-01-02": "error", "2024-01-04": "error", "2024-01-01": "warn"}, "2024-01-05"
    )
    assert success
    assert sorted(metadata) == ["2024-01-01", "2024-01-03", "2024-01-05"]
    store = Store(str(tmp_path / "store"))
    assert store.read_partitions("daily", sorted(metadata)).num_rows == 1 + 3 + 5
    for day in ("2024-01-02", "2024-01-04"):
        with pytest.raises(RejectedPartitionError, match=f"daily {day} was rejected by its gate"):
            store.read_partitions("daily", ["2024-01-01", day])
    assert {day: status for day, (status, _) in found["values"].items()} == {
        "2024-01-01": "FAILED",
        "2024-01-02": "FAILED",
        "2024-01-03": "SUCCEEDED",
        "2024-01-04": "FAILED",
        "2024-01-05": "SUCCEEDED",
    }
    blocking = dg.AssetCheckSeverity.ERROR
    failed = {day for day, (_, result) in found["values"].items() if not result.passed and result.severity == blocking}
    assert failed == {"2024-01-02", "2024-01-04"}


def test_a_range_of_which_nothing_is_left_fails(tmp_path: Path) -> None:
    success, found, metadata = run(tmp_path, {"2024-01-01": "error", "2024-01-02": "error"}, "2024-01-02")
    assert not success
    assert metadata == {}
    assert [status for status, _ in found["values"].values()] == ["FAILED", "FAILED"]
    assert not run(tmp_path / "one", {"2024-01-01": "error"}, "2024-01-01")[0]


def test_a_day_that_its_gates_stop_is_failed_and_says_value_and_threshold(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    with instance_of(load_settings(home=tmp_path, dagster_home=tmp_path / "dagster")) as instance:
        asset = graph(store, {"2024-01-01": "error"})
        done = dg.materialize(
            [asset],
            resources={"parquet": ParquetIOManager(store)},
            partition_key="2024-01-01",
            instance=instance,
            raise_on_error=False,
        )
        ((gate, said),) = failures(done)
        assert instance.get_materialized_partitions(asset.key) == set()
        found = instance.get_status_by_partition(asset.key, ["2024-01-01"], DAYS)
        assert {day: str(status) for day, status in (found or {}).items()} == {
            "2024-01-01": "AssetPartitionStatus.FAILED"
        }
        observed = instance.fetch_observations(asset.key, limit=2).records
        (rejection,) = [record.asset_observation for record in observed]
        message = failure_alert(instance, done.dagster_run, "http://dagster.example.org")
    assert rejection is not None
    assert rejection.partition == "2024-01-01"
    assert (rejection.description or "").startswith("rejected: values: error, 7 (0 rows)")
    assert {"dagster/row_count", "content_hash", "gates", GATES_HASH, "of"} <= set(rejection.metadata)
    # Once: what a gate stops is not retried.
    (event,) = [event for event in done.all_events if event.is_step_failure]
    assert event.step_failure_data.error.cls_name == GATE_FAILED
    words = "values: broken Found 7, allowed 0 rows. Columns: income below 0 (7). Ruled by columns: income: minimum."
    assert event.step_failure_data.user_failure_data.description == f"daily 2024-01-01 is stopped by a gate: {words}"
    assert gate
    assert words.removeprefix("values: ") in said
    assert message is not None
    assert f"daily 2024-01-01 is stopped by a gate: {words}" in message.body
    assert "see the checks of the asset" in message.body
    assert event.step_failure_data.user_failure_data.metadata["values"].value == "value 7, threshold 0 rows"
    # Every result is there, of the gate that passed too, and the file with its verdict.
    results = {one.check_name: (one.passed, one.partition) for one in done.get_asset_check_evaluations()}
    assert results == {"values": (False, "2024-01-01"), "volume": (True, "2024-01-01")}
    with pytest.raises(RejectedPartitionError, match="daily 2024-01-01 was rejected by its gate"):
        store.read_partitions("daily", ["2024-01-01"])


def test_a_range_is_halved_until_the_refused_days_stand_alone() -> None:
    days = [date(2024, 1, n) for n in range(1, 32)]
    bad = {date(2024, 1, 7), date(2024, 1, 8), date(2024, 1, 31)}

    def make(some: Any) -> dict[str, date]:
        for day in some:
            if day in bad:
                raise RejectedPartitionError(f"{day} was rejected")
        return {day.isoformat(): day for day in some}

    made, refused = made_or_refused(days, make)
    assert sorted(made.values()) == [day for day in days if day not in bad]
    assert refused == {day.isoformat(): f"{day} was rejected" for day in bad}
    with pytest.raises(RejectedPartitionError):
        made_or_refused(sorted(bad), make)


def test_a_single_day_has_a_result_of_its_partition(tmp_path: Path) -> None:
    success, found, metadata = run(tmp_path, {}, "2024-01-01")
    assert success
    assert {name: list(results) for name, results in found.items()} == {name: ["2024-01-01"] for name in GATES}
    assert metadata["2024-01-01"]["gates"].value == "2 passed"
    assert found["values"]["2024-01-01"][1].description == "kept"
    assert date.fromisoformat(metadata["2024-01-01"]["of"].value) == date(2024, 1, 1)
