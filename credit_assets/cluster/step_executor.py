"""The executor of a run on Kubernetes: Dagster's, with `StepJobs` as its step handler.

Belongs here: what the executor makes of the ends of steps. Does not belong here: their Jobs and pods
(`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from dagster_k8s import K8sRunLauncher

from credit_assets.cluster import step_jobs
from credit_assets.failures import PermanentError
from credit_assets.instance.dagster_internals import RetryMode, StepDelegatingExecutor, StepFailureData
from credit_assets.settings import Settings


def step_job_executor(settings: Settings) -> dg.ExecutorDefinition:
    """dagster-k8s's executor with `StepJobs` as its step handler."""

    def create(context: dg.InitExecutorContext) -> StepDelegatingExecutor:
        launcher = context.instance.run_launcher
        if not isinstance(launcher, K8sRunLauncher):
            raise PermanentError(
                "CREDIT_EXECUTOR=k8s needs an instance whose run launcher is K8sRunLauncher, which says image, "
                f"namespace and service account of the pods; this one has {type(launcher).__name__} (dagster.yaml)"
            )
        return StepExecutor(
            step_jobs.StepJobs(settings, launcher),
            retries=RetryMode.ENABLED,
            check_step_health_interval_seconds=step_jobs.HEALTH_SECONDS,
            max_concurrent=settings.max_concurrent,
            should_verify_step=True,
        )

    return dg.ExecutorDefinition(
        name="k8s",
        requirements=dg.multiple_process_executor_requirements(),
        executor_creation_fn=create,
        description="Each step in a pod of its own, with the resources of its profile.",
    )


class StepExecutor(StepDelegatingExecutor):
    """Dagster's executor, which hears of each end of a step once, and does not repeat what would fail again.

    A pod on a node that was silent may come back and end its step after it was given up, before or beside the next
    attempt. To Dagster an end of a step that is not under way is an error that ends the run with everything in it. Here
    a late success counts as what it is when the next attempt begins, which then needs no pod; any other late end is
    passed over.
    """

    def __init__(self, jobs: step_jobs.StepJobs, **options: Any) -> None:
        super().__init__(jobs, **options)
        self._jobs = jobs
        # By step: whether it is under way, by the events so far. One that no event has named may be anything.
        self._under_way: dict[str, bool] = {}

    def log_failure_or_retry_event_after_error(
        self, step_context: Any, err_info: Any, known_state: Any
    ) -> dg.DagsterEvent:
        if step_context.step.key in self._jobs.permanent:
            failed = StepFailureData(error=err_info, user_failure_data=None)  # type: ignore[no-untyped-call]
            return dg.DagsterEvent.step_failure_event(step_context=step_context, step_failure_data=failed)
        return super().log_failure_or_retry_event_after_error(step_context, err_info, known_state)

    def _pop_events(
        self, instance: dg.DagsterInstance, run_id: str, seen_storage_ids: set[int]
    ) -> Sequence[dg.DagsterEvent]:
        return [
            event
            for read in super()._pop_events(instance, run_id, seen_storage_ids)
            for event in self._heard_once(read)
        ]

    def _heard_once(self, event: dg.DagsterEvent) -> Iterator[dg.DagsterEvent]:
        step, late = event.step_key, self._jobs.late
        if step is None:
            yield event
        elif event.event_type is dg.DagsterEventType.STEP_WORKER_STARTING:
            self._under_way[step] = step not in late
            yield event
            if step in late:
                yield late.pop(step)
        elif not (event.is_step_success or event.is_step_failure or event.is_step_up_for_retry):
            yield event
        elif self._under_way.get(step, True):
            self._under_way[step] = False
            if not event.is_step_up_for_retry:
                self._jobs.ended.add(step)
            yield event
        elif event.is_step_success and step not in self._jobs.ended:
            late[step] = event
