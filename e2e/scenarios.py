"""What is shown on the cluster: one function a scenario, each a run of its own for a day of its own.

Belongs here: what is done to a run and what must come of it. Every scenario ends with `Run.must_be_whole`: the run
succeeded, each asset was materialized once, and there is one model version of the day, whatever happened to its pods.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from e2e.cluster import GPU, Cluster, FailedError, Watch, wait_for
from e2e.installation import FIRST_DAY, Given, Installation, profiles

RUN_SECONDS = 2400
STEP_SECONDS = 1200
_INSIDE = Path(__file__).with_name("inside.py")
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
TRAINED = ("xgboost_candidate", "lightgbm_candidate", "catboost_candidate")
ON_GPU = {"xgboost_candidate", "catboost_candidate"}


class Run:
    """A run on the cluster: launched as the UI launches it, and watched by its pods and its event log."""

    def __init__(self, installation: Installation, day: date, report: Callable[[str], None], run_id: str) -> None:
        self.installation, self.cluster, self.day, self.report = installation, installation.cluster, day, report
        self.run_id = run_id
        self.watch = Watch(self.cluster, run_id)

    def launch(self, job: str, **profile: dict[str, Any]) -> None:
        """Start it; `profile`: fields over the resource profiles, by the profile's name."""
        tags = {"dagster/partition": self.day.isoformat()}
        env: dict[str, str] = {}
        if profile:
            # Read twice: here for the steps' tags, which are part of the run, and in its pod for what retries ask for.
            env["CREDIT_PROFILES"] = json.dumps(profiles(self.installation.given, **profile))
            variable = {"name": "CREDIT_PROFILES", "value": env["CREDIT_PROFILES"]}
            tags["dagster-k8s/config"] = json.dumps({"container_config": {"env": [variable]}})
        self.installation.run(
            "dagster", "job", "launch", "-m", "credit_assets.definitions", "-j", job,
            "--run-id", self.run_id, "--tags", json.dumps(tags), env=env,
        )  # fmt: skip
        self.report(f"run {self.run_id[:8]} of {job} for {self.day} launched")

    def record(self) -> dict[str, Any]:
        """Status, tags and events, from inside."""
        return _query(self.installation, "run", self.run_id)

    def run_pods(self) -> list[Any]:
        return self.cluster.pods(f"dagster/run-id={self.run_id},!dagster/op")

    def run_pod_ended(self) -> bool:
        pods = self.run_pods()
        return bool(pods) and all(pod.status.phase in ("Succeeded", "Failed") for pod in pods)

    def running(self, step: str, seconds: float = STEP_SECONDS) -> Any:
        """The pod in which a step is at work, once it has begun."""

        def begun() -> Any | None:
            pod = self.watch.running(step)
            if pod is not None and "STEP_START" in self.log(pod.metadata.name):
                return pod
            if self.run_pod_ended():
                raise FailedError(f"the run ended before {step} was seen at work: {self._why()}")
            return None

        return wait_for(f"step {step} to work", seconds, begun, every=0.5)

    def log(self, pod: str) -> str:
        import kubernetes

        try:
            return str(self.cluster.core.read_namespaced_pod_log(pod, self.cluster.namespace))
        except kubernetes.client.ApiException as error:
            if error.status in (400, 404):
                return ""
            raise

    def event_with(self, *words: str) -> str | None:
        """The text of the first event that has all of these words; None while there is none."""
        for event in self.record()["events"]:
            if all(word in event["text"] for word in words):
                return str(event["text"])
        return None

    def wait(self, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        """The run's record once it has ended, with all pods seen until then."""
        deadline = time.monotonic() + seconds
        while True:
            self.watch.look()
            if self.run_pod_ended():
                record = self.record()
                if record["status"] in _ENDED:
                    self.report(f"run {self.run_id[:8]} ended: {record['status']}")
                    return record
            if time.monotonic() > deadline:
                raise FailedError(f"run {self.run_id} did not end within {seconds:.0f} s: {self._why()}")
            time.sleep(2)

    def again(self) -> Run:
        """The run that goes on with this one, which was lost."""
        successor = wait_for(
            f"a run that goes on with {self.run_id[:8]}",
            STEP_SECONDS,
            lambda: _query(self.installation, "again", self.run_id)["run_id"],
            every=10,
        )
        self.report(f"run {self.run_id[:8]} ended: {self.record()['status']}; run {successor[:8]} goes on")
        return Run(self.installation, self.day, self.report, successor)

    def must_be_whole(self, assets: set[str], before: Run | None = None) -> dict[str, Any]:
        """Wait for the end. Raises FailedError unless all assets were made once, in this run or in the lost one
        `before` it, and the day has no model twice.
        """
        record = self.wait()
        if record["status"] != "SUCCESS":
            raise FailedError(f"the run ended as {record['status']}: {self._why(record)}")
        events = [*(before.record()["events"] if before else []), *record["events"]]
        made = [event["step"] for event in events if event["type"] == "ASSET_MATERIALIZATION"]
        wrong = {asset: made.count(asset) for asset in assets | set(made) if made.count(asset) != 1}
        if wrong:
            raise FailedError(f"assets not materialized exactly once: {wrong}")
        if set(TRAINED) <= assets:
            self._one_model_a_day()
        return record

    def _one_model_a_day(self) -> None:
        day = self.day.isoformat()
        models = _query(self.installation, "models", day)
        versions, counted = models["versions"][day], models["candidates"][day]
        if len(versions) > 1:
            raise FailedError(f"{len(versions)} model versions of {day}: {', '.join(versions)}")
        if counted != dict.fromkeys(TRAINED, 1):
            raise FailedError(f"MLflow runs that count, by candidate of {day}: {counted}")
        self.report(f"one MLflow run a candidate; versions registered for {day}: {', '.join(versions) or 'none'}")

    def _why(self, record: dict[str, Any] | None = None) -> str:
        events = (record or self.record())["events"]
        last = [event for event in events if "FAILURE" in event["type"]] or events[-3:]
        return "; ".join(f"{event['step'] or 'run'}: {event['text'][:600]}" for event in last)

    def retry_of(self, record: dict[str, Any], step: str, *words: str) -> str:
        """Why the step was tried again. Raises FailedError where it was not, or for another reason."""
        retries = [str(e["text"]) for e in record["events"] if e["type"] == "STEP_UP_FOR_RETRY" and e["step"] == step]
        fitting = [text for text in retries if all(word in text for word in words)]
        if not fitting:
            because = f" because of {', '.join(words)}" if words else ""
            raise FailedError(f"{step} was not tried again{because}; its retries: {retries or 'none'}")
        return fitting[0]


def _query(installation: Installation, *question: str) -> dict[str, Any]:
    text = installation.run("python", "-c", _INSIDE.read_text("utf-8"), *question)
    line = next(line for line in reversed(text.splitlines()) if line.startswith("ANSWER "))
    return dict(json.loads(line.removeprefix("ANSWER ")))


@dataclass
class Stage:
    """What a scenario works with."""

    installation: Installation
    given: Given
    report: Callable[[str], None]
    number: int = 0

    @property
    def cluster(self) -> Cluster:
        return self.installation.cluster

    @property
    def day(self) -> date:
        return FIRST_DAY + timedelta(self.number)

    @cached_property
    def gpu_nodes(self) -> list[str]:
        return self.cluster.gpu_nodes(self.given.gpu_type)

    def launch(self, job: str, **profile: dict[str, Any]) -> Run:
        run = Run(self.installation, self.day, self.report, str(uuid.uuid4()))
        run.launch(job, **profile)
        return run


DAILY = {
    "restated_days", "raw_loan_data", "loan_outcomes", "processed_features", "training_set", *TRAINED, "trained_model",
    "registered_model", "deployed_model", "model_dossier", "loan_scores", "drift_report", "performance_report",
    "shadow_report",
}  # fmt: skip
RETRAINED = {"training_set", *TRAINED, "trained_model", "registered_model", "deployed_model", "model_dossier"}


def daily_run_on_its_nodes(stage: Stage) -> None:
    """The daily run: a pod a step, XGBoost and CatBoost on a GPU node with a GPU, everything else elsewhere."""
    run = stage.launch("credit_scoring_daily")
    run.must_be_whole(DAILY)
    seen = {one.step: one for one in run.watch.seen.values()}
    for step in sorted(DAILY):
        if step not in seen:
            raise FailedError(f"no pod of step {step} was seen")
        one = seen[step]
        stage.report(f"{step}: node {one.node}, {GPU} {one.gpus}, {one.ended}, {_seconds(one)}")
        if (one.node in stage.gpu_nodes) != (step in ON_GPU) or one.gpus != int(step in ON_GPU):
            raise FailedError(f"{step} ran on node {one.node} with {one.gpus} GPUs")
        expected = {"asset": step, "partition": stage.day.isoformat(), "cost-centre": "e2e", "attempt": "1"}
        wrong = {k: one.labels.get(f"credit-assets/{k}") for k, v in expected.items()} != expected
        if wrong:
            raise FailedError(f"labels of {step}'s pod: {one.labels}, expected {expected}")


def step_without_a_fitting_node(stage: Stage) -> None:
    """With every GPU node cordoned the GPU's steps wait, their event says why, and they start once a node is there."""
    for node in stage.gpu_nodes:
        stage.cluster.cordon(node)
    try:
        run = stage.launch("retrain_model")
        event = wait_for(
            "an event that says why xgboost_candidate waits",
            STEP_SECONDS,
            lambda: (run.watch.look(), run.event_with("The pod of step xgboost_candidate waits", "no node fits"))[1],
            every=5,
        )
        stage.report(f"event: {event}")
        # Asking the event log took longer than the pod took to appear.
        run.watch.look()
        (pod,) = run.watch.of("xgboost_candidate")
        reasons = [text for text in stage.cluster.events(pod.name) if text.startswith("FailedScheduling")]
        if not reasons:
            raise FailedError(f"Kubernetes has no FailedScheduling event of {pod.name}")
        stage.report(f"Kubernetes: {reasons[0]}")
    finally:
        for node in stage.gpu_nodes:
            stage.cluster.cordon(node, on=False)
    run.must_be_whole(RETRAINED)
    (pod,) = run.watch.of("xgboost_candidate")
    if pod.node not in stage.gpu_nodes:
        raise FailedError(f"xgboost_candidate ran on {pod.node}")


def deleted_pods(stage: Stage) -> None:
    """Pods of a training and of the registration are deleted at work, without grace: each is tried again."""
    run = stage.launch("retrain_model")
    victims = {}
    for step in ("lightgbm_candidate", "registered_model"):
        pod = run.running(step)
        victims[step] = pod.metadata.name
        stage.cluster.delete_pod(pod.metadata.name, grace_seconds=0)
        stage.report(f"deleted {pod.metadata.name} of {step}")
    record = run.must_be_whole(RETRAINED)
    for step in victims:
        stage.report(f"{step}: {run.retry_of(record, step)}")
        _report_attempts(stage, run, step)


def out_of_memory(stage: Stage) -> None:
    """A step gets too little memory and is killed; its next attempts ask for more until it is enough."""
    small = {"memory": "192Mi", "memory_growth": 3, "max_memory": "2Gi"}
    run = stage.launch("retrain_model", train_cpu=small)
    record = run.must_be_whole(RETRAINED)
    stage.report(run.retry_of(record, "lightgbm_candidate", "out-of-memory", "192Mi"))
    attempts = _report_attempts(stage, run, "lightgbm_candidate")
    memories = [one.memory for one in attempts]
    if memories[:2] != ["192Mi", "576Mi"]:
        raise FailedError(f"the attempts asked for {memories}")
    if attempts[1].labels.get("credit-assets/retry-reason") != "out-of-memory":
        raise FailedError(f"labels of the second attempt: {attempts[1].labels}")


def drained_node(stage: Stage) -> None:
    """The GPU nodes are drained under a training: it waits until there is a node, and is trained there."""
    run = stage.launch("retrain_model")
    run.running("catboost_candidate")
    try:
        for node in stage.gpu_nodes:
            gone = stage.cluster.drain(node, run.watch.selector)
            stage.report(f"drained {node} of {', '.join(gone) or 'nothing'}")
        time.sleep(60)
        run.watch.look()
    finally:
        for node in stage.gpu_nodes:
            stage.cluster.cordon(node, on=False)
    record = run.must_be_whole(RETRAINED)
    for step in sorted(ON_GPU):
        _report_attempts(stage, run, step)
    retries = [f"{e['step']}: {e['text']}" for e in record["events"] if e["type"] == "STEP_UP_FOR_RETRY"]
    for text in retries:
        stage.report(text)
    if not any(text.startswith("catboost_candidate") for text in retries):
        stage.report("catboost_candidate ended within its grace period")


def lost_run_pod(stage: Stage) -> None:
    """The pod of the run itself is deleted under a training: the run is given up, and another goes on from there."""
    run = stage.launch("retrain_model")
    run.running("lightgbm_candidate")
    for pod in run.run_pods():
        stage.cluster.delete_pod(pod.metadata.name, grace_seconds=0)
        stage.report(f"deleted {pod.metadata.name}")
    again = run.again()
    again.must_be_whole(RETRAINED, before=run)
    if "training_set" in {one.step for one in again.watch.seen.values()}:
        raise FailedError("the run that went on made training_set again")


def _report_attempts(stage: Stage, run: Run, step: str) -> list[Any]:
    never = datetime.max.replace(tzinfo=UTC)
    attempts = sorted(run.watch.of(step), key=lambda one: one.since or never)
    for one in attempts:
        number, reason = (one.labels.get(f"credit-assets/{name}", "none") for name in ("attempt", "retry-reason"))
        stage.report(
            f"{step} attempt {number} (retry reason {reason}): {one.name}, node {one.node}, memory {one.memory}, "
            f"{' > '.join(one.phases)}, {one.ended or 'deleted'}"
        )
    return attempts


def _seconds(one: Any) -> str:
    return f"{(one.until - one.since).total_seconds():.0f} s" if one.since and one.until else "no end seen"


SCENARIOS: dict[str, Callable[[Stage], None]] = {
    "daily": daily_run_on_its_nodes,
    "waiting": step_without_a_fitting_node,
    "deleted": deleted_pods,
    "out-of-memory": out_of_memory,
    "drained": drained_node,
    "lost-run": lost_run_pod,
}
