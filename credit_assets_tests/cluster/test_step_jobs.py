"""Steps as Jobs: what the executor sends to a Kubernetes API, and what becomes of a step whose pod is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from credit_assets.cli.replay import Replay
from credit_assets.cluster.op_tags import op_tags
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.settings import load_settings
from credit_assets.stages import DAILY
from credit_assets_tests.support import two_steps
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import END, SMALL, START, fast_forward, write_book
from credit_assets_tests.support.kube_api import Cluster, Pod, run
from credit_assets_tests.support.kubernetes_objects import VERSIONS, schema_errors
from credit_assets_tests.support.step_runs import DAY, Run, run_of_two_steps
from credit_assets_tests.support.synthetic import canonical_book

SNAPSHOTS = Path(__file__).parent / "snapshots" / "step_jobs"


# The daily job


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The daily job of the real graph, each step a process behind the endpoint; gives the endpoint afterwards."""
    place = tmp_path_factory.mktemp("cluster")
    values = {**SMALL, "variants": "xgboost,lightgbm,catboost", "executor": "k8s", "cost_centre": "retail-credit"}
    given = {
        **environment({**values, "gpu_fallback": "cpu"}),
        "CREDIT_HOME": str(place / "home"),
        "DAGSTER_HOME": str(place / "home" / "dagster"),
    }
    with pytest.MonkeyPatch.context() as patch, Cluster(place, given) as cluster:
        for name, value in given.items():
            patch.setenv(name, value)
        settings = load_settings()
        write_book(settings, *fast_forward(canonical_book(6_000, START, END, seed=7)))
        with instance_of(settings) as instance:
            Replay(settings, instance).run(START, date.fromisoformat(DAY), "none")
        config = settings.dagster_dir / "dagster.yaml"
        written = yaml.safe_load(config.read_text())
        written["run_launcher"] = cluster.instance_config(settings.dagster_dir)
        config.write_text(yaml.safe_dump(written))
        command = [str(Path(sys.executable).parent / "dagster"), "job", "execute", "-m", "credit_assets.definitions"]
        command += ["-j", DAILY, "--tags", json.dumps({"dagster/partition": DAY})]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=800)
        assert done.returncode == 0, done.stderr[-4000:]
        yield cluster


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_step_is_a_job_that_three_kubernetes_versions_accept(sent: Cluster) -> None:
    steps = [job["metadata"]["labels"]["dagster/op"] for job in sent.jobs]
    assert len(steps) == len(set(steps)) == 16
    assert {job["metadata"]["name"]: schema_errors(job) for job in sent.jobs} == {
        job["metadata"]["name"]: [] for job in sent.jobs
    }
    assert {request.split("?")[0] for request in sent.requests} <= {
        "POST /apis/batch/v1/namespaces/credit/jobs",
        "GET /apis/batch/v1/namespaces/credit/jobs",
        "GET /api/v1/namespaces/credit/pods",
    }, "the calls that the service account of a run has to be allowed"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_step_asks_for_what_its_snapshot_says(sent: Cluster) -> None:
    """Written anew with UPDATE_SNAPSHOTS=1; a change of them is a change of what a deployment runs."""
    found = {job["metadata"]["labels"]["dagster/op"]: settled(job) for job in sent.jobs}
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOTS.mkdir(parents=True, exist_ok=True)
        for step, job in found.items():
            (SNAPSHOTS / f"{step}.yaml").write_text(yaml.safe_dump(job, sort_keys=True))
    kept = {path.stem: yaml.safe_load(path.read_text()) for path in SNAPSHOTS.glob("*.yaml")}
    assert found == kept


def settled(job: dict[str, Any]) -> dict[str, Any]:
    """A Job without what differs from run to run: ids, places, and the arguments, which carry both."""
    found: dict[str, Any] = json.loads(json.dumps(job))
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["args"][:3] == ["dagster", "api", "execute_step"]
    container["args"] = container["args"][:3]
    home = next(one for one in container["env"] if one["name"] == "DAGSTER_HOME")
    home["value"] = "/opt/dagster/dagster_home"
    container["env"] = [one for one in container["env"] if one["name"] != "DAGSTER_COMPRESSED_EXECUTE_STEP_ARGS"]
    for part in (found, found["spec"]["template"]):
        part["metadata"]["name"] = re.sub(r"[0-9a-f]{32}", "ID", part["metadata"]["name"])
        part["metadata"]["labels"]["dagster/run-id"] = "RUN"
        part["metadata"]["labels"]["app.kubernetes.io/version"] = "VERSION"
    return found


def test_a_manifest_with_a_mistake_is_refused_by_the_schemas() -> None:
    job = yaml.safe_load((SNAPSHOTS / "xgboost_candidate.yaml").read_text())
    assert schema_errors(job) == []
    job["spec"]["template"]["spec"]["nodeSelecter"] = {}
    assert len(schema_errors(job)) == len(VERSIONS)


# Losses


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with run_of_two_steps(tmp_path, monkeypatch) as run_of_two:
        yield run_of_two


def held(end: Any) -> Any:
    """A pod whose step works until `end` is called with the pod."""

    def rule(pod: Pod) -> None:
        hold = Path(pod.environment["TWO_STEPS"]) / "hold"
        hold.touch()
        pod.start()
        pod.until_started()
        try:
            end(pod)
        finally:
            hold.unlink()

    return rule


@pytest.mark.slow
def test_an_oom_kill_is_named_and_the_next_attempt_asks_for_more_memory(two: Run) -> None:
    def out_of_memory(pod: Pod) -> None:
        pod.kill()
        pod.end(137, "OOMKilled")

    two.cluster.rules["model"] = [held(out_of_memory), run]
    assert two.execute()
    (reason,) = two.reasons()
    assert "needed more than its memory limit (16Gi) and was killed [out-of-memory]" in reason
    first, second = two.labels()
    assert (first["attempt"], first.get("retry-reason")) == ("1", None)
    assert (second["attempt"], second["retry-reason"]) == ("2", "out-of-memory")
    assert two.asked(0)[0]["memory"] == "16Gi"
    limits, selector = two.asked(1)
    assert limits["memory"] == "24576Mi"
    assert limits["cpu"] == "4", "what is not memory stays"
    assert selector == {"gpu-type": "a100"}
    run_record = two.instance.get_run_by_id(two.run_id)
    assert run_record is not None
    assert run_record.tags["credit-assets/retry/model"] == "attempt 2, out-of-memory, memory 24576Mi"
    assert two.done == ["1"]


@pytest.mark.slow
def test_an_evicted_pod_goes_on_on_demand_nodes(two: Run) -> None:
    def evict(pod: Pod) -> None:
        pod.kill()
        pod.reason = "Evicted"
        pod.end(137)

    two.cluster.rules["model"] = [held(evict), run]
    assert two.execute()
    assert two.labels()[1]["retry-reason"] == "taken-away"
    assert two.asked(1) == (two.asked(0)[0], {"gpu-type": "a100", "capacity": "on-demand"})


@pytest.mark.slow
def test_a_deleted_pod_is_tried_again(two: Run) -> None:
    def delete(pod: Pod) -> None:
        pod.deleted = datetime.now(UTC) + timedelta(seconds=30)
        time.sleep(2)
        pod.kill()
        pod.gone = True

    two.cluster.rules["model"] = [held(delete), run]
    assert two.execute()
    (reason,) = two.reasons()
    assert "its pod was deleted [deleted]" in reason
    assert [labels["attempt"] for labels in two.labels()] == ["1", "2"]
    assert two.done == ["1"]


@pytest.mark.slow
def test_a_step_that_ends_within_its_grace_period_is_not_tried_again(two: Run) -> None:
    def drain(pod: Pod) -> None:
        hold = Path(pod.environment["TWO_STEPS"]) / "hold"
        hold.touch()
        pod.start()
        pod.until_started()
        pod.deleted = datetime.now(UTC) + timedelta(seconds=30)
        time.sleep(2)
        hold.unlink()
        pod.wait()
        pod.gone = True

    two.cluster.rules["model"] = [drain]
    assert two.execute()
    assert (two.reasons(), two.done) == ([], ["0"])


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 3), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_step_works_on_when_its_pod_is_told_to_stop(tmp_path: Path, signum: int, code: int) -> None:
    config = op_tags(two_steps.SETTINGS, "deployed_model")["dagster-k8s/config"]
    work = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(1); raise SystemExit(3)"
    command = [*config["container_config"]["command"], sys.executable, "-c", work, str(tmp_path / "at_work")]
    container = subprocess.Popen(command)
    while not (tmp_path / "at_work").exists():
        time.sleep(0.02)
    container.send_signal(signum)
    assert container.wait(20) == code


@pytest.mark.slow
def test_a_pod_that_kubernetes_replaced_does_not_leave_its_step_waiting(two: Run) -> None:
    def lose(pod: Pod) -> None:
        pod.kill()
        pod.gone = True

    two.cluster.replaces_deleted = True
    two.cluster.rules["model"] = [lambda pod: held(lose)(pod) if pod.number == 0 else run(pod), run]
    assert two.execute()
    (reason,) = two.reasons()
    assert "its pod was replaced by one that found the step started, and left it [replaced]" in reason
    assert two.done == ["1"]


@pytest.mark.slow
def test_a_pod_without_a_node_says_why_and_starts_when_one_comes(two: Run) -> None:
    def late(pod: Pod) -> None:
        pod.conditions = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
            }
        ]
        time.sleep(3)
        run(pod)

    two.cluster.rules["model"] = [late]
    assert two.execute()
    (said,) = [
        one.dagster_event
        for one in two.events(dg.DagsterEventType.ENGINE_EVENT)
        if "waits" in (one.dagster_event.message or "")
    ]
    assert said.message == (
        "The pod of step model waits: no node fits (Unschedulable): 0/2 nodes are available: 2 Insufficient "
        "nvidia.com/gpu. It is given up after 1 minutes (CREDIT_PENDING_MINUTES)."
    )
    asked = said.engine_event_data.metadata["asks for"].text
    assert "nvidia.com/gpu 1" in asked
    assert "gpu-type=a100" in asked
    assert two.done == ["0"]


@pytest.mark.slow
def test_attempts_end_with_the_retry_policy_and_the_last_loss_is_the_failure(two: Run) -> None:
    def crash(pod: Pod) -> None:
        pod.start()
        pod.until_started()
        pod.kill()
        pod.end(139)

    (two.folder / "hold").touch()
    two.cluster.rules["model"] = [crash]
    assert not two.execute()
    assert [labels["attempt"] for labels in two.labels()] == ["1", "2", "3"]
    (failure,) = two.events(dg.DagsterEventType.STEP_FAILURE)
    words = failure.dagster_event.step_failure_data.error.message
    assert "ended with exit code 139" in words
    assert two.done == []


def test_an_instance_without_the_launcher_is_refused_with_what_it_needs() -> None:
    with (
        dg.instance_for_test() as instance,
        pytest.raises(PermanentError, match="needs an instance whose run launcher"),
    ):
        dg.execute_job(dg.reconstructable(two_steps.make_job), instance, tags={"dagster/partition": DAY})
