"""Runs of two steps on an endpoint that plays the Kubernetes API, with pods that are processes or that only say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions import NodeHandle
from dagster._core.events import EngineEventData
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.plan.handle import StepHandle
from dagster._core.execution.plan.objects import StepFailureData, StepRetryData, StepSuccessData
from dagster._core.execution.plan.outputs import StepOutputData, StepOutputHandle
from dagster._utils.error import SerializableErrorInfo
from dagster_k8s.job import get_k8s_job_name

from credit_assets.cluster import step_jobs
from credit_assets_tests.support import two_steps
from credit_assets_tests.support.kube_api import Cluster, Pod

DAY = "2024-03-31"
LOOK = "GET /api/v1/namespaces/credit/pods"


@dataclass
class Run:
    """A run of the two steps on an endpoint, and what the event log says of it."""

    cluster: Cluster
    instance: dg.DagsterInstance
    folder: Path

    def execute(self) -> bool:
        job, tags = dg.reconstructable(two_steps.make_job), {"dagster/partition": DAY}
        with dg.execute_job(job, self.instance, tags=tags, raise_on_error=False) as result:
            self.run_id = result.run_id
            return result.success

    def was_at_work(self, *said: tuple[str, str]) -> str:
        """The name of the model's Job in a run whose own pod has gone, with what its log says of its steps."""
        job = two_steps.make_job()
        status, tags = dg.DagsterRunStatus.STARTED, {"dagster/partition": DAY}
        self.run_id = self.instance.create_run_for_job(job, status=status, tags=tags).run_id
        for step, kind in said:
            self.instance.report_dagster_event(step_event(step, kind), self.run_id)
        return f"dagster-step-{get_k8s_job_name(self.run_id, 'model')}"

    def resume(self) -> bool:
        """In the place of the pod that has gone, as the daemon does."""
        run = self.instance.get_run_by_id(self.run_id)
        assert run is not None
        job = dg.reconstructable(two_steps.make_job)
        kinds = [one.event_type for one in execute_run_iterator(job, run, self.instance, resume_from_failure=True)]
        return kinds[-1] is dg.DagsterEventType.RUN_SUCCESS

    @property
    def done(self) -> list[str]:
        file = self.folder / "done"
        return file.read_text().split() if file.exists() else []

    def events(self, kind: dg.DagsterEventType) -> list[Any]:
        return [one for one in self.instance.all_logs(self.run_id, of_type=kind) if one.step_key == "model"]

    def said(self) -> list[str]:
        """What the run's log says of the step beside what Dagster says."""
        return [one.dagster_event.message for one in self.events(dg.DagsterEventType.ENGINE_EVENT)]

    def failure(self) -> str:
        (failed,) = self.events(dg.DagsterEventType.STEP_FAILURE)
        return str(failed.dagster_event.step_failure_data.error.message)

    def ends(self) -> list[str]:
        """The ends of the step, as they stand in the log."""
        kinds = (
            dg.DagsterEventType.STEP_SUCCESS,
            dg.DagsterEventType.STEP_FAILURE,
            dg.DagsterEventType.STEP_UP_FOR_RETRY,
        )
        logs = self.instance.all_logs(self.run_id)
        events = [one.dagster_event for one in logs if one.dagster_event and one.step_key == "model"]
        return [one.event_type_value for one in events if one.event_type in kinds]

    def reasons(self) -> list[str]:
        """What the retries say of what became of the attempts before them, causes included."""
        reasons = []
        for entry in self.events(dg.DagsterEventType.STEP_UP_FOR_RETRY):
            error, messages = entry.dagster_event.step_retry_data.error, []
            while error is not None:
                messages.append(error.message)
                error = error.cause
            reasons.append("\n".join(messages))
        return reasons

    def labels(self) -> list[dict[str, str]]:
        return [
            {
                name.removeprefix("credit-assets/"): value
                for name, value in job["spec"]["template"]["metadata"]["labels"].items()
                if name.startswith("credit-assets/")
            }
            for job in self.cluster.of_step("model")
        ]

    def asked(self, number: int) -> tuple[dict[str, str], dict[str, str]]:
        """Limits and node selector of an attempt's pod."""
        spec = self.cluster.of_step("model")[number]["spec"]["template"]["spec"]
        return spec["containers"][0]["resources"]["limits"], spec["nodeSelector"]

    def says(self, pod: Pod, *kinds: str) -> None:
        """Let the pod's step write events of its beginning or end, as its process would."""
        labels = pod.template["metadata"]["labels"]
        for kind in kinds:
            event = step_event(labels["dagster/op"], kind)
            self.instance.report_dagster_event(event, labels["dagster/run-id"])

    def works(self, pod: Pod) -> None:
        """A pod at work, without a process."""
        pod.node, pod.phase = "node-0", "Running"
        self.says(pod, "STEP_START" if pod.labels["credit-assets/attempt"] == "1" else "STEP_RESTARTED")

    def succeeds(self, pod: Pod) -> None:
        self.says(pod, "STEP_OUTPUT", "STEP_SUCCESS")
        pod.end(0)

    def until_said(self, words: str) -> None:
        """Until the run's log says of a step what begins or goes on with these words."""
        while not any(words in (one.message or one.user_message or "") for one in self._logs()):
            time.sleep(0.01)

    def until_looked(self, times: int) -> None:
        looks = self.cluster.requests.count(LOOK)
        while self.cluster.requests.count(LOOK) < looks + times:
            time.sleep(0.01)

    def _logs(self) -> list[Any]:
        runs = self.instance.get_run_ids()
        return list(self.instance.all_logs(runs[0], of_type=dg.DagsterEventType.ENGINE_EVENT)) if runs else []

    def plays(self, *rules: Callable[[Pod], None]) -> None:
        """What becomes of the model's pods, by attempt, and no process for the other step either."""

        def well(pod: Pod) -> None:
            self.works(pod)
            self.succeeds(pod)

        self.cluster.rules = {"source": [well], "model": [*rules, well]}


def step_event(step: str, kind: str) -> dg.DagsterEvent:
    """An event of a step, as its process or the executor would write it."""
    error = SerializableErrorInfo("a failure", [], None)
    data: dict[str, Any] = {
        "STEP_WORKER_STARTING": lambda: EngineEventData(),
        "STEP_OUTPUT": lambda: StepOutputData(StepOutputHandle(step, "result")),
        "STEP_SUCCESS": lambda: StepSuccessData(duration_ms=1.0),
        "STEP_FAILURE": lambda: StepFailureData(error=error, user_failure_data=None),
        "STEP_UP_FOR_RETRY": lambda: StepRetryData(error=error, seconds_to_wait=0.1),
    }
    return dg.DagsterEvent(
        event_type_value=kind,
        job_name="two_steps",
        step_handle=StepHandle(NodeHandle(step, None)),
        event_specific_data=data.get(kind, lambda: None)(),
        message=kind,
    )


@contextmanager
def run_of_two_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(step_jobs, "HEALTH_SECONDS", 0)
    monkeypatch.setenv("TWO_STEPS", str(folder))
    with Cluster(folder, {"TWO_STEPS": str(folder)}) as cluster:
        home = folder / "dagster"
        home.mkdir()
        overrides = cluster.instance_overrides(home)
        with dg.instance_for_test(temp_dir=str(home), overrides=overrides) as instance:
            yield Run(cluster, instance, folder)
