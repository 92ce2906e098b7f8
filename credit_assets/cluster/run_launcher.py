"""The launcher of runs as Kubernetes Jobs: dagster-k8s's, to which an API server that is away says nothing of a run.

Dagster's daemon looks at runs under way, and fails one whose worker it cannot find. dagster-k8s says "unknown" of a Job
that is gone and of an API that does not answer alike, so that an API server that was restarted ended every run that the
daemon looked at just then, while their pods worked on. A run whose Job was refused had failed, too, for want of a
moment's room in a quota: here it goes back into the queue.

Belongs here: what becomes of a run's Job. Does not belong here: the queue (`credit_assets.cluster.run_queue`), and Jobs
of steps (`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster_k8s import K8sRunLauncher

from credit_assets.cluster import job_sender
from credit_assets.cluster.job_remover import LaterRemover
from credit_assets.cluster.job_sender import JobSender
from credit_assets.cluster.losses import Loss
from credit_assets.cluster.refusals import ask_bounded, is_missing, refusal_of
from credit_assets.cluster.run_queue import PatientRunCoordinator
from credit_assets.instance.dagster_internals import (
    CheckRunHealthResult,
    ConfigurableClassData,
    LaunchRunContext,
    ResumeRunContext,
    WorkerStatus,
    get_job_name_from_run_id,
)
from credit_assets.settings import load_settings

_LOG = logging.getLogger(__name__)
# Where a pod finds the namespace that it is in.
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# On the Job of a run: CREDIT_PENDING_MINUTES of the code location that it is of. The daemon has settings of none.
PENDING_MINUTES = "credit-assets/pending-minutes"


class JobNotMadeError(Exception):
    """The Kubernetes API did not take the Job of a run: for good, or for now and until when it is not asked again."""

    def __init__(self, words: str, patience: timedelta, loss: Loss | None, until: datetime) -> None:
        super().__init__(words)
        self.words, self.patience, self.loss, self.until = words, patience, loss, until


class PatientK8sRunLauncher(K8sRunLauncher):
    """`K8sRunLauncher` for which a run is lost when the API says so, and not when it says nothing.

    A run whose Job the API does not take for now waits where `PatientRunCoordinator` keeps the queue, and has failed
    where nobody does. Its `job_namespace`, where none is given, is that of the pod that launches.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, **config: Any) -> None:
        super().__init__(inst_data=inst_data, **config)
        batch = self._api_client.batch_api
        ask_bounded(batch)
        ask_bounded(self._api_client.core_api)
        self._remover = LaterRemover(batch, job_sender.PAUSE)
        self._sender = JobSender(batch, lambda _: None, job_sender.PAUSE)
        # Jobs of runs that go on in another pod and wait for it, with how long they may.
        self._resumed: dict[str, timedelta] = {}
        # dagster-k8s makes the Job and hands it to its client, which would sleep, and say too little of a refusal.
        self._api_client.create_namespaced_job_with_retries = self._send

    @classmethod
    def config_type(cls) -> Any:
        """As K8sRunLauncher's, without a namespace that holds for everybody who gives none."""
        theirs = super().config_type()  # type: ignore[no-untyped-call]
        return {**theirs, "job_namespace": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        own = NAMESPACE.read_text("utf-8").strip() if NAMESPACE.exists() else "default"
        return cls(inst_data=inst_data, **{"job_namespace": own, **config_value})

    # How a run starts

    def launch_run(self, context: LaunchRunContext) -> None:
        run, queue = context.dagster_run, self._instance.run_coordinator
        try:
            super().launch_run(context)
        except JobNotMadeError as refused:
            # What is remembered of it stands in the run's log, also for the daemon that comes after this one.
            self._sender.forget(_name_of(run))
            if not isinstance(queue, PatientRunCoordinator) or run.remote_job_origin is None:
                raise
            if queue.was_canceled(run):
                return
            if refused.loss is None:
                queue.put_back(run, refused.until, _waits(run, refused))
            else:
                words = f"The run was not started: {refused.loss.words} [{refused.loss.kind}]"
                self._instance.report_run_failed(run, words)

    def _send(self, body: Any, namespace: str) -> None:
        name, queue, now = body.metadata.name, self._instance.run_coordinator, datetime.now(UTC)
        run_id = body.metadata.labels["dagster/run-id"]
        since = queue.waits_since(run_id) if isinstance(queue, PatientRunCoordinator) else None
        self._sender.send(body, namespace, now, lambda _: "", since)
        words = self._sender.waits(name)
        if words is not None:
            patience = _patience(body)
            loss, until = self._sender.loss_of(name, now, patience), self._sender.next_try(name, now)
            raise JobNotMadeError(words, patience, loss, until)

    def resume_run(self, context: ResumeRunContext) -> None:
        """As K8sRunLauncher's. A Job that is not taken for now is sent again by the looks at the run."""
        run, name = context.dagster_run, _name_of(context.dagster_run, context.resume_attempt_number)
        try:
            super().resume_run(context)
        except JobNotMadeError as refused:
            if refused.loss is not None:
                self._sender.forget(name)
                raise
            self._resumed[name] = refused.patience
            self._instance.report_engine_event(_waits(run, refused), run)

    # What becomes of it

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """As K8sRunLauncher's; RUNNING where the API does not say what became of the Job: the next look will tell."""
        name = _name_of(run, self._get_resume_attempt_number(run))
        if self._sender.waits(name) is not None:
            return self._health_of_unsent(name)
        found: CheckRunHealthResult = super().check_run_worker_health(run)
        if found.status != WorkerStatus.UNKNOWN:
            return found
        # Of what the API said only words are left: asked again, to know whether it said anything.
        namespace = self.get_container_context_for_run(run).namespace
        try:
            self._api_client.batch_api.read_namespaced_job_status(name, namespace)
        except Exception as error:
            refusal = None if is_missing(error) else refusal_of(error)
            if refusal is None:
                return found
            words = (
                f"run {run.run_id[:8]} is taken to be under way: its Job {name} cannot be looked at, {refusal.words}"
            )
            _LOG.warning(words)
            return CheckRunHealthResult(WorkerStatus.RUNNING, words)
        answered: CheckRunHealthResult = super().check_run_worker_health(run)
        return answered

    def terminate(self, run_id: str) -> Any:
        """As K8sRunLauncher's; where the API fails, the Job is deleted later, since a run is ended once."""
        ended = super().terminate(run_id)  # type: ignore[no-untyped-call]
        run = self._instance.get_run_by_id(run_id)
        # Not False, which says that there is no Job.
        if ended is None and run is not None:
            namespace = str(self.get_container_context_for_run(run).namespace)
            words = self._remover.delete(_name_of(run, self._get_resume_attempt_number(run)), namespace)
            if words:
                self._instance.report_engine_event(words, run)
        return ended

    def _health_of_unsent(self, name: str) -> CheckRunHealthResult:
        now = datetime.now(UTC)
        self._sender.again(name, now)
        words = self._sender.waits(name)
        loss = None if words is None else self._sender.loss_of(name, now, self._resumed[name])
        if loss is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, words)
        self._sender.forget(name)
        return CheckRunHealthResult(WorkerStatus.FAILED, loss.words)


def _name_of(run: dg.DagsterRun, resumed: int | None = None) -> str:
    """Of a run's Job; the pods in which it goes on have Jobs of their own."""
    return str(get_job_name_from_run_id(run.run_id, resumed))  # type: ignore[no-untyped-call]


def _waits(run: dg.DagsterRun, refused: JobNotMadeError) -> str:
    return (
        f"Run {run.run_id[:8]} waits for its Job, which is not taken for now: {refused.words.rstrip('.')}. It is "
        "tried again within a minute; where a quota has no room, runs that end make some. It is given up after "
        f"{int(refused.patience.total_seconds() / 60)} minutes (CREDIT_PENDING_MINUTES)."
    )


def _patience(job: Any) -> timedelta:
    """How long the Job of a run may wait."""
    of_location = (job.metadata.annotations or {}).get(PENDING_MINUTES)
    return timedelta(minutes=int(of_location) if of_location else load_settings().pending_minutes)
