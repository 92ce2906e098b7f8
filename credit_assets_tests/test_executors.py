"""The daily job as a deployment runs it: a process a step, a real MLflow server, and two runs of one day at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.cli.models import models_record
from credit_assets.cli.replay import Replay
from credit_assets.executors import health
from credit_assets.instance.home import instance_of
from credit_assets.notify.alerts import failure_alert
from credit_assets.partitions import daily_partitions
from credit_assets.settings import load_settings
from credit_assets.stages import DAILY, INGEST
from credit_assets.storage.store import Store
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import END, SMALL, START, fast_forward, write_book
from credit_assets_tests.support.mlflow_server import Server
from credit_assets_tests.support.synthetic import canonical_book

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]

DAY = date(2024, 3, 31)


# Beside much other work it takes longer than a test that hangs is given.
@pytest.mark.timeout(1800)
@pytest.mark.slow
def test_two_runs_of_one_day_at_once_on_a_server_leave_one_model(
    tmp_path: Path, empty_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**SMALL, "variants": "lightgbm,xgboost", "executor": "multiprocess", "retries": 2}
    values["retry_delay_seconds"] = 1
    values["variant_params"] = {k: v for k, v in SMALL["variant_params"].items() if k != "catboost"}
    for name, value in environment(values).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_server.uri)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    settings = load_settings()
    write_book(settings, *fast_forward(canonical_book(6_000, START, END, seed=7)))
    with instance_of(settings) as instance:
        Replay(settings, instance).run(START, DAY, "none")
        command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "credit_assets.definitions"]
        command += ["-j", DAILY, "--tags", json.dumps({"dagster/partition": DAY.isoformat()})]
        runs = [
            subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(2)
        ]
        outputs = [process.communicate()[0] for process in runs]
        assert [process.returncode for process in runs] == [0, 0], outputs
        assert DAY.isoformat() in instance.get_materialized_partitions(dg.AssetKey("deployed_model"))
        replay = Replay(settings, instance)
        finished = [run.run_id for run in instance.get_runs() if run.job_name == DAILY]
        assert len(finished) == 2
        for run_id in finished:
            replay.tracking.runs.close(run_id, "SUCCESS")
    (version,) = models_record(settings)["versions"]
    assert "champion" in version["aliases"]
    client = replay.tracking.server.client
    found = client.search_runs([replay.tracking.server.experiment_id], max_results=1000)
    assert {run.info.status for run in found} == {"FINISHED"}
    for run_id in finished:
        mine = [run for run in found if run.data.tags["dagster_run_id"] == run_id]
        parents = [run for run in mine if run.data.tags["role"] == "parent"]
        assert len(parents) <= 1
        children = [run for run in mine if run.data.tags["role"] == "candidate"]
        assert all(child.data.tags["mlflow.parentRunId"] == parents[0].info.run_id for child in children)
        assert len({child.data.tags["asset"] for child in children}) == len(children)
    counting = [r for r in found if r.data.tags["role"] == "candidate" and "superseded_by" not in r.data.tags]
    assert sorted(run.data.tags["variant"] for run in counting) == ["lightgbm", "xgboost"]


@pytest.mark.slow
def test_a_gate_that_fails_in_a_process_of_its_own_is_not_tried_again_and_is_told_with_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**SMALL, "variants": "xgboost", "executor": "multiprocess", "retries": 2, "retry_delay_seconds": 1}
    values["variant_params"] = {}
    for name, value in environment(values).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    settings = load_settings()
    applications, outcomes = canonical_book(300, START, date(2024, 1, 10), seed=1)
    first = applications["application_date"] == applications["application_date"].min()
    # Above the share that a day may lose to quarantine.
    applications.loc[first, "interest_rate"] = 900.0
    write_book(settings, applications, outcomes)
    key, day = dg.AssetKey("raw_loan_data"), START.isoformat()
    with instance_of(settings) as instance:
        command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "credit_assets.definitions"]
        command += ["-j", INGEST, "--tags", json.dumps({"dagster/partition": day})]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
        (run,) = instance.get_runs()
        assert (done.returncode != 0, run.status) == (True, dg.DagsterRunStatus.FAILURE), done.stderr
        kinds = [record.dagster_event.event_type for record in instance.all_logs(run.run_id) if record.dagster_event]
        message = failure_alert(instance, run, "http://dagster.example.org")
        partitions = instance.get_status_by_partition(key, [day], daily_partitions(settings))
    assert kinds.count(dg.DagsterEventType.STEP_FAILURE) == 1
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds
    assert str((partitions or {})[day]) == "AssetPartitionStatus.FAILED"
    assert message is not None
    stopped = f"- raw_loan_data: raw_loan_data {day} is stopped by a gate: quarantined_share: "
    (line,) = [one for one in message.body.splitlines() if one.startswith(stopped)]
    assert "Found 1, allowed at most 0.05 of the rows" in line
    assert Store(settings.store).days("raw_loan_data") == [day]


def test_kubernetes_needs_things_that_pods_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    local = health(load_settings(executor="k8s"))
    assert local.status == "fail"
    assert "CREDIT_WAREHOUSE_URL, CREDIT_STORE_URI, MLFLOW_TRACKING_URI" in local.advice
    shared: dict[str, Any] = {
        "executor": "k8s",
        "warehouse_url": "postgresql://h/db",
        "store_uri": "s3://bucket/credit",
        "mlflow_tracking_uri": "http://mlflow:5000",
    }
    outside = health(load_settings(**shared))
    assert outside.status == "warn"
    assert "K8sRunLauncher" in outside.advice
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert health(load_settings(**shared)).status == "ok"
