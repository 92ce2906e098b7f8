"""What `make e2e-k8s` brings to a cluster and how it judges, without one: objects, settings, verdicts, exit codes.

What it shows on a cluster is shown there alone.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiException

from credit_assets.cluster.op_tags import profiles as known_profiles
from credit_assets.settings import load_settings
from credit_assets_tests.support.chart import rendered
from e2e.__main__ import NOT_READY, _show
from e2e.backups import drill
from e2e.chart import adapted, alone, defaults
from e2e.cluster import FailedError, NotReadyError, applied_before, changes, refusal, remembered
from e2e.installation import Installation
from e2e.names import Forwarder
from e2e.runs import TRAINED, Run, Stage
from e2e.scenarios import DAILY, RETRAINED, SCENARIOS, _quota
from e2e.trial_values import DASK, NEEDED, Given, backup_values, dask_values, secrets, settings, values

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    "CREDIT_E2E_IMAGE": "registry.example.org:5000/credit-assets:0.1.0",
    "CREDIT_E2E_POSTGRES_URL": "postgresql://dagster:of-the-test@10.0.0.1:5433",
    "CREDIT_E2E_STORE_URI": "s3://bucket",
    "CREDIT_E2E_NAMES_ADDRESS": "10.0.0.2",
    "AWS_ACCESS_KEY_ID": "of-the-test",
    "HOME": "/nowhere",
}


@pytest.fixture(autouse=True)
def chart_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An archive of the official chart is there, which these tests do not open."""
    archive = tmp_path / "dagster.tgz"
    archive.touch()
    monkeypatch.setenv("DAGSTER_HELM_CHART", str(archive))


@pytest.fixture
def given(chart_there: None) -> Given:
    return Given.of_environment(ENVIRONMENT)


def test_everything_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError) as caught:
        Given.of_environment({})
    assert all(name in str(caught.value) for name in NEEDED)
    monkeypatch.setenv("DAGSTER_HELM_CHART", str(tmp_path / "none.tgz"))
    with pytest.raises(NotReadyError, match="helm dependency build helm"):
        Given.of_environment(ENVIRONMENT)


@pytest.mark.parametrize("url", ["mysql://a:b@host", "postgresql://host:5432", "postgresql://a:b@host/dagster", "host"])
def test_a_database_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(NotReadyError, match="CREDIT_E2E_POSTGRES_URL must be postgresql://user:password@host:port"):
        Given.of_environment({**ENVIRONMENT, "CREDIT_E2E_POSTGRES_URL": url})


def test_the_chart_takes_the_values_and_the_code_location_its_settings(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chart without the official one: its schema refuses what it does not know."""
    found = values(given, {"settings": {"CREDIT_RETRIES": "2"}})
    assert found["image"] == {
        "repository": "registry.example.org:5000/credit-assets",
        "tag": "0.1.0",
        "pullPolicy": "IfNotPresent",
    }
    theirs = [found["dagster"][name]["image"] for name in ("dagsterWebserver", "dagsterDaemon")]
    assert theirs == [found["image"]] * 2
    own_values = {key: value for key, value in found.items() if key != "dagster"}
    manifests = rendered(alone(tmp_path), {**own_values, "dagster": {"enabled": False}})
    for manifest in manifests:
        for name, value in manifest.get("data", {}).items() if manifest["kind"] == "ConfigMap" else ():
            if name.startswith("CREDIT_"):
                monkeypatch.setenv(name, value)
    loaded = load_settings()
    assert (loaded.executor, loaded.retries) == ("k8s", 2)
    profiles = known_profiles(loaded)
    assert {name for name, profile in profiles.items() if profile.gpu} == {"train-gpu"}
    assert profiles["train-gpu"].gpu_node_selector == {"gpu-type": "a100"}
    assert all(profile.priority_class for profile in profiles.values())


def test_secrets_stand_in_the_secrets_that_the_chart_names_and_nowhere_else(given: Given) -> None:
    held = secrets(given)
    assert set(held) == set(defaults()["secrets"].values())
    assert "of-the-test" in str(held)
    assert "of-the-test" not in str(values(given))


def test_an_object_is_changed_for_what_a_cluster_lacks_and_for_nothing_else(given: Given) -> None:
    template = {"spec": {"initContainers": [{"name": "init-user-deployment-x"}, {"name": "other"}], "containers": []}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"template": template},
    }
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": {}}
    assert adapted(deployment, (1, 31), {}) == deployment
    assert adapted(budget, (1, 21), given.names) == budget
    assert adapted(budget, (1, 20), {})["apiVersion"] == "policy/v1beta1"
    job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {"jobTemplate": {"spec": {}}},
    }
    assert adapted(job, (1, 20), {}) == {**job, "apiVersion": "batch/v1beta1"}
    pod = adapted(deployment, (1, 20), given.names)["spec"]["template"]["spec"]
    assert [one["name"] for one in pod["initContainers"]] == ["other"]
    hostnames = ["credit-assets-code", "credit-assets-dask", "credit-assets-mlflow", "credit-dagster-webserver"]
    assert pod["hostAliases"] == [{"ip": "10.0.0.2", "hostnames": hostnames}]
    assert (pod["dnsPolicy"], pod["dnsConfig"]) == ("None", {"nameservers": ["10.0.0.2"]})
    assert "hostAliases" not in deployment["spec"]["template"]["spec"]


def test_what_an_upgrade_does_not_say_any_more_is_taken_out_and_what_others_said_stays() -> None:
    old = {
        "kind": "ConfigMap",
        "metadata": {"name": "c", "labels": {"a": "1"}, "annotations": {"checksum": "x"}},
        "data": {"KEPT": "1", "CHANGED": "1", "GONE": "1"},
        "items": [{"a": 1}, {"b": 2}],
    }
    new = {
        "kind": "ConfigMap",
        "metadata": {"name": "c"},
        "data": {"KEPT": "1", "CHANGED": "2", "NEW": "1"},
        "items": [],
    }
    there = remembered(old)
    # Somebody else's, which is neither in the one nor in the other.
    there["metadata"]["labels"] = {**there["metadata"]["labels"], "of": "the cluster"}
    patch = changes(applied_before(there), remembered(new))
    assert patch["data"] == {"KEPT": "1", "CHANGED": "2", "NEW": "1", "GONE": None}
    assert patch["items"] == []
    assert patch["metadata"]["labels"] is None
    assert patch["metadata"]["annotations"]["checksum"] is None
    assert applied_before(patch) == new
    secret = {"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "of-the-test"}}
    assert remembered(secret) == secret
    assert applied_before(secret) == {}


def test_what_an_upgrade_has_no_more_is_deleted_by_the_name_that_the_cluster_knows(given: Given) -> None:
    deleted: list[Any] = []
    cluster: Any = SimpleNamespace(minor=(1, 20), delete=deleted.append)
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "j"},
        "spec": {"jobTemplate": {"spec": {}}},
    }
    staying = {**job, "metadata": {"name": "s", "annotations": {"helm.sh/resource-policy": "keep"}}}
    Installation(cluster, given)._take_away([kept, job, staying], [kept])
    assert [(m["apiVersion"], m["metadata"]["name"]) for m in deleted] == [("batch/v1beta1", "j")]


def test_the_chart_takes_dask_and_the_backup_of_the_trial(given: Given, tmp_path: Path) -> None:
    over = {**dask_values(), **backup_values(given), "dagster": {"enabled": False}}
    found = values(given, over)
    manifests = {
        (m["kind"], m["metadata"]["name"]): m
        for m in rendered(alone(tmp_path), {**found, "dagster": {"enabled": False}})
    }
    assert manifests["Deployment", "credit-assets-dask-worker"]["spec"]["replicas"] == over["dask"]["workers"]
    assert ("Service", DASK) in manifests
    pod = manifests["CronJob", "credit-assets-backup"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "s3://bucket/backups-of-credit-assets-e2e" in pod["containers"][0]["args"]
    assert {one["name"]: one["image"] for one in pod["initContainers"]}["dump"] == defaults()["backup"]["postgresImage"]


def test_a_drill_is_told_the_settings_of_the_trial_and_none_of_its_own(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDIT_E2E_IMAGE", "of the run")
    asked: list[Any] = []

    def ended(command: list[str], **how: Any) -> Any:
        asked.append((command, how["env"]))
        return SimpleNamespace(returncode=len(asked) - 1, stdout="fits together", stderr="")

    monkeypatch.setattr("e2e.backups.subprocess.run", ended)
    assert drill(given, "s3://bucket/backups/one") == "fits together"
    (command, env), wanted = asked[0], settings(given)
    assert command[2:] == ["drill", "s3://bucket/backups/one", "--postgres", f"{given.postgres}/postgres"]
    assert {name: env[name] for name in wanted} == wanted
    assert (env["CREDIT_WAREHOUSE_URL"], env["AWS_ACCESS_KEY_ID"]) == (f"{given.postgres}/loans", "of-the-test")
    assert "CREDIT_E2E_IMAGE" not in env
    with pytest.raises(FailedError, match="ended with exit code 1: fits together"):
        drill(given, "s3://bucket/backups/one")


def test_a_service_is_stood_in_for_by_its_ports() -> None:
    """Both ways at once, to whatever pod is there at that moment, and none while there is none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        there: list[tuple[str, int]] = []
        forwarder = Forwarder("127.0.0.1")
        port = forwarder.listen(0, lambda: there[0] if there else None)
        # A release that is upgraded names its services again.
        assert forwarder.listen(port, lambda: None) == port
        address = ("127.0.0.1", port)
        with socket.create_connection(address, timeout=10) as client:
            assert client.recv(10) == b""
        there.append(server.getsockname())
        with socket.create_connection(address, timeout=10) as client:
            pod, _ = server.accept()
            with pod:
                client.sendall(b"question")
                client.shutdown(socket.SHUT_WR)
                assert b"".join(iter(lambda: pod.recv(100), b"")) == b"question"
                pod.sendall(b"answer")
            assert b"".join(iter(lambda: client.recv(100), b"")) == b"answer"
        forwarder.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=10)


def test_a_quota_leaves_what_is_used_and_so_much_more_and_is_given_back() -> None:
    allowed: list[tuple[str, dict[str, str]]] = []
    quotas = {"requests.memory": [("steps", "48Gi", "3Gi"), ("all", "64Gi", "5Gi")]}
    cluster = SimpleNamespace(
        quotas_of=lambda resource: quotas.get(resource, []), allow=lambda name, hard: allowed.append((name, hard))
    )
    stage: Any = SimpleNamespace(cluster=cluster, report=lambda text: None)
    with pytest.raises(FailedError, match="nothing was refused"), _quota(stage, "requests.memory", 1 << 20):
        raise FailedError("nothing was refused")
    assert [(name, hard["requests.memory"]) for name, hard in allowed] == [
        ("steps", str((3 << 30) + (1 << 20))),
        ("all", str((5 << 30) + (1 << 20))),
        ("steps", "48Gi"),
        ("all", "64Gi"),
    ]
    with (
        pytest.raises(FailedError, match=r"no ResourceQuota of count/jobs\.batch"),
        _quota(stage, "count/jobs.batch", 0),
    ):
        pass


def test_a_command_of_the_environment_is_run_with_its_arguments_and_judged_by_its_exit_code(given: Given) -> None:
    said: list[str] = []
    stage = Stage(SimpleNamespace(), given, said.append)  # type: ignore[arg-type]
    stage.shell("LOSE", "test node-1 =", "node-1")
    assert said == ["LOSE node-1: done"]
    with pytest.raises(FailedError, match="LOSE ended with exit code 1"):
        stage.shell("LOSE", "test node-1 =", "node-2")
    with pytest.raises(NotReadyError, match="set LOSE"):
        stage.shell("LOSE", "")


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
    run.day, run.report = date(2025, 1, 30), print
    run.installation = SimpleNamespace(ask=lambda *_: MODELS)  # type: ignore[assignment]
    run.wait = lambda seconds=0: record  # type: ignore[method-assign]
    run.record = lambda: record  # type: ignore[method-assign]
    return run


def whole(assets: set[str]) -> dict[str, Any]:
    return {"status": "SUCCESS", "tags": {}, "events": [event("ASSET_MATERIALIZATION", a) for a in sorted(assets)]}


MODELS: dict[str, Any] = {}


@pytest.fixture
def mlflow_holds() -> dict[str, Any]:
    """What MLflow holds."""
    MODELS.clear()
    MODELS.update(versions={"2025-01-30": ["1"]}, candidates={"2025-01-30": dict.fromkeys(TRAINED, 1)})
    return MODELS


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


def test_every_scenario_is_in_the_guide_and_every_situation_has_a_test_that_is_there() -> None:
    guide = (ROOT / "docs" / "kubernetes.md").read_text()
    assert [name for name in SCENARIOS if f"| `{name}` |" not in guide] == []
    section = guide.split("## What happens when")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    proofs = {row: re.findall(r"`([^`]+)`", row.rsplit(" | ", 1)[1]) for row in rows}
    assert [row for row, proof in proofs.items() if not proof] == []
    named = {one for proof in proofs.values() for one in proof}
    assert [one for one in named - set(SCENARIOS) if not (ROOT / "credit_assets_tests" / one).is_file()] == []
    assert [name for name in SCENARIOS if name not in named] == ["daily"]
