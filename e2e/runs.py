"""A run on the cluster, and when it counts as whole.

Belongs here: launching, watching and judging. What is done to a run is in `scenarios`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from e2e.cluster import Cluster, FailedError, NotReadyError, Watch, wait_for
from e2e.installation import Installation
from e2e.trial_values import FIRST_DAY, LOCATION, WEBSERVER_URL, Given

RUN_SECONDS = 2400
STEP_SECONDS = 1200
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
TRAINED = ("xgboost_candidate", "lightgbm_candidate", "catboost_candidate", "scorecard_candidate")


class Run:
    """A run on the cluster: launched as the UI launches it, and watched by its pods and its event log."""

    def __init__(self, installation: Installation, day: date, report: Callable[[str], None], run_id: str) -> None:
        self.installation, self.cluster, self.day, self.report = installation, installation.cluster, day, report
        self.run_id = run_id
        self.watch = Watch(self.cluster, run_id)

    def record(self) -> dict[str, Any]:
        """Status, tags and events, from inside."""
        return self.installation.ask("run", self.run_id)

    def begun(self) -> Any:
        """The run's own pod, once it is at work: the run has left the queue and was launched."""

        def pod() -> Any | None:
            return next((one for one in self.run_pods() if one.status.phase == "Running"), None)

        return wait_for(f"the pod of run {self.run_id[:8]}", STEP_SECONDS, pod)

    def says(self, *words: str, seconds: float = STEP_SECONDS) -> str:
        """The text of the first event that has all of these words, once there is one."""

        def found() -> str | None:
            self.watch.look()
            return self.event_with(*words)

        return wait_for(f"an event of run {self.run_id[:8]} that says {', '.join(words)}", seconds, found, every=5)

    def run_pods(self) -> list[Any]:
        return self.cluster.pods(f"dagster/run-id={self.run_id},!dagster/op")

    def run_pod_ended(self) -> bool:
        pods = self.run_pods()
        return bool(pods) and all(pod.status.phase in ("Succeeded", "Failed") for pod in pods)

    def running(self, step: str, seconds: float = STEP_SECONDS) -> Any:
        """The pod in which a step is at work, once it has begun."""

        def begun() -> Any | None:
            pod = self.watch.running(step)
            if pod is not None and "STEP_START" in (self.cluster.log(pod.metadata.name) or ""):
                return pod
            if self.run_pod_ended():
                raise FailedError(f"the run ended before {step} was seen at work: {self._why()}")
            return None

        return wait_for(f"step {step} to work", seconds, begun, every=0.5)

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
            lambda: self.installation.ask("again", self.run_id)["run_id"],
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
        models = self.installation.ask("models", day)
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

    def launch(self, job: str) -> Run:
        """A run of the stage's day, asked of the webserver, which the daemon takes from the queue."""
        answer = self.installation.ask("launch", WEBSERVER_URL, LOCATION, job, self.day.isoformat())
        self.report(f"run {answer['run_id'][:8]} of {job} for {self.day} is in the queue")
        return Run(self.installation, self.day, self.report, answer["run_id"])

    def shell(self, variable: str, command: str, *arguments: str) -> None:
        """Run a command that the environment gave for what only its owner can do to a cluster."""
        if not command:
            raise NotReadyError(f"set {variable} to a command that does it")
        done = subprocess.run(
            ["sh", "-c", f'{command} "$@"', variable, *arguments], capture_output=True, text=True, timeout=600
        )
        if done.returncode:
            raise FailedError(
                f"{variable} ended with exit code {done.returncode}: {(done.stdout + done.stderr)[-500:]}"
            )
        self.report(f"{variable} {' '.join(arguments)}: done")
