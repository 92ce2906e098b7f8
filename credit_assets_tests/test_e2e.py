"""What `make e2e-k8s` brings to a cluster and how it judges, without one: objects, settings, verdicts, exit codes.

What it shows on a cluster is shown there alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from kubernetes.client import ApiException

from credit_assets.cluster.op_tags import profiles as known_profiles
from credit_assets.settings import load_settings
from credit_assets_tests.support.kubernetes_objects import schema_errors
from e2e.__main__ import NOT_READY, _show
from e2e.cluster import FailedError, NotReadyError, refusal
from e2e.installation import NEEDED, Given, instance, manifests, profiles, settings
from e2e.scenarios import DAILY, RETRAINED, SCENARIOS, TRAINED, Run

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    "CREDIT_E2E_IMAGE": "registry.example.org/credit-assets:0.1.0",
    "CREDIT_E2E_POSTGRES_URL": "postgresql://dagster:of-the-test@10.0.0.1:5432",
    "CREDIT_E2E_STORE_URI": "s3://bucket",
    "MLFLOW_TRACKING_URI": "http://10.0.0.1:5000",
    "AWS_ACCESS_KEY_ID": "of-the-test",
    "HOME": "/nowhere",
}
GIVEN = Given.of_environment(ENVIRONMENT)


def test_everything_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(NotReadyError) as caught:
        Given.of_environment({})
    assert all(name in str(caught.value) for name in NEEDED)


@pytest.mark.parametrize("url", ["mysql://a:b@host", "postgresql://host:5432", "postgresql://a:b@host/dagster", "host"])
def test_a_database_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(NotReadyError, match="CREDIT_E2E_POSTGRES_URL must be postgresql://user:password@host:port"):
        Given.of_environment({**ENVIRONMENT, "CREDIT_E2E_POSTGRES_URL": url})


def test_only_credentials_of_store_and_tracking_go_to_the_pods() -> None:
    assert dict(GIVEN.passed_on) == {
        "AWS_ACCESS_KEY_ID": "of-the-test",
        "MLFLOW_TRACKING_URI": "http://10.0.0.1:5000",
    }


def test_the_code_location_loads_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings(GIVEN).items():
        monkeypatch.setenv(name, value)
    known = known_profiles(load_settings())
    assert {name for name, profile in known.items() if profile.gpu} == {"train-gpu"}
    assert known["train-gpu"].gpu_node_selector == {"gpu-type": "a100"}
    assert profiles(GIVEN, train_cpu={"memory": "192Mi"})["train-cpu"]["memory"] == "192Mi"


def test_kubernetes_takes_the_objects_and_dagster_the_instance(tmp_path: Path) -> None:
    objects = manifests(GIVEN)
    assert {f"{m['kind']} {m['metadata']['name']}": errors for m in objects if (errors := schema_errors(m))} == {}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance(GIVEN)))
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["run_launcher"]["class"] == "K8sRunLauncher"
    secret = next(m for m in objects if m["kind"] == "Secret")
    assert "of-the-test" in secret["stringData"]["CREDIT_WAREHOUSE_URL"]
    assert not [m["kind"] for m in objects if m["kind"] != "Secret" and "of-the-test" in yaml.safe_dump(m)]


def test_without_a_cluster_it_says_so_and_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    env = {**os.environ, **ENVIRONMENT, "KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "e2e"], env=env, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1][:16]) == (NOT_READY, "e2e: no cluster:")


# Verdicts


def event(kind: str, step: str, text: str = "") -> dict[str, Any]:
    return {"at": 0, "type": kind, "step": step, "text": text}


def run_of(record: dict[str, Any]) -> Run:
    """A run that ended with this record, without a cluster."""
    run = object.__new__(Run)
    run.day, run.report, run.installation = date(2025, 1, 30), print, SimpleNamespace()  # type: ignore[assignment]
    run.wait = lambda seconds=0: record  # type: ignore[method-assign]
    run.record = lambda: record  # type: ignore[method-assign]
    return run


def whole(assets: set[str]) -> dict[str, Any]:
    return {"status": "SUCCESS", "tags": {}, "events": [event("ASSET_MATERIALIZATION", a) for a in sorted(assets)]}


@pytest.fixture
def mlflow_holds(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What MLflow holds."""
    answer = {"versions": {"2025-01-30": ["1"]}, "candidates": {"2025-01-30": dict.fromkeys(TRAINED, 1)}}
    monkeypatch.setattr("e2e.scenarios._query", lambda *_: answer)
    return answer


def test_a_run_that_made_everything_once_is_whole(mlflow_holds: dict[str, Any]) -> None:
    run_of(whole(DAILY)).must_be_whole(DAILY)
    mlflow_holds["versions"]["2025-01-30"] = []
    run_of(whole(RETRAINED)).must_be_whole(RETRAINED)


def test_what_a_lost_run_made_counts_with_what_the_next_one_makes(mlflow_holds: dict[str, Any]) -> None:
    made = whole(RETRAINED)["events"]
    lost = run_of({"status": "FAILURE", "events": made[:2]})
    run_of({"status": "SUCCESS", "events": made[2:]}).must_be_whole(RETRAINED, before=lost)
    with pytest.raises(FailedError, match="not materialized exactly once"):
        run_of({"status": "SUCCESS", "events": made[1:]}).must_be_whole(RETRAINED, before=lost)


@pytest.mark.parametrize(
    ("spoil", "reported"),
    [
        (lambda r, t: r.update(status="FAILURE"), "the run ended as FAILURE"),
        (lambda r, t: r["events"].pop(), "not materialized exactly once: {'xgboost_candidate': 0}"),
        (lambda r, t: r["events"].append(r["events"][0]), "not materialized exactly once: {'catboost_candidate': 2}"),
        (lambda r, t: t["versions"].update({"2025-01-30": ["1", "2"]}), "2 model versions of 2025-01-30: 1, 2"),
        (lambda r, t: t["candidates"]["2025-01-30"].update(lightgbm_candidate=2), "MLflow runs that count"),
    ],
)
def test_a_run_that_did_not_is_not(mlflow_holds: dict[str, Any], spoil: Any, reported: str) -> None:
    record = whole(RETRAINED)
    spoil(record, mlflow_holds)
    with pytest.raises(FailedError, match=reported):
        run_of(record).must_be_whole(RETRAINED)


def test_a_retry_must_have_been_and_for_the_reason_that_was_made() -> None:
    record = {"events": [event("STEP_UP_FOR_RETRY", "lightgbm_candidate", "killed: out-of-memory at 192Mi")]}
    run = run_of(record)
    assert "192Mi" in run.retry_of(record, "lightgbm_candidate", "out-of-memory", "192Mi")
    with pytest.raises(FailedError, match="was not tried again because of node-lost"):
        run.retry_of(record, "lightgbm_candidate", "node-lost")
    with pytest.raises(FailedError, match="registered_model was not tried again; its retries: none"):
        run.retry_of(record, "registered_model")


def test_a_scenario_that_fails_or_is_refused_is_named_and_the_next_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ApiException(status=403, reason="Forbidden")
    error.body = '{"message": "nodes is forbidden"}'
    assert refusal(error) == "the Kubernetes API answered 403 Forbidden: nodes is forbidden"
    assert refusal(ApiException(status=500, reason="Oops")) == "the Kubernetes API answered 500 Oops: "

    def refused(stage: Any) -> None:
        """Refused."""
        raise error

    def failed(stage: Any) -> None:
        """Failed."""
        raise FailedError("no pod")

    reported: list[str] = []
    monkeypatch.setattr("e2e.__main__.SCENARIOS", {"a": refused, "b": failed, "c": lambda stage: None})
    stage: Any = SimpleNamespace(report=reported.append)
    assert _show(stage, ["a", "b", "c"]) == ["a", "b"]
    assert "FAILED after 0 s: the Kubernetes API answered 403 Forbidden: nodes is forbidden" in "\n".join(reported)
    assert any(text.startswith("--- c: shown") for text in reported)


def test_every_scenario_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "kubernetes.md").read_text()
    assert [name for name in SCENARIOS if f"| `{name}` |" not in guide] == []
