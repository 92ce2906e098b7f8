"""Steps as Kubernetes Jobs: dagster-k8s's executor with an eye on the pods.

dagster-k8s makes each step a Job and looks at one number of it, whether it failed. So it misses a pod that no node
takes, says nothing of why a pod died, waits for ever for a step whose pod Kubernetes replaced, and tries an OOM-killed
step again with the memory that was too little. Here the pods are looked at as well:

* a pod that waits says why in the run's log, and is given up after CREDIT_PENDING_MINUTES;
* a lost pod is told by kind (`Loss`), the step is retried by its own retry policy, and the next attempt asks for what
  the loss calls for: more memory after an OOM kill, on-demand nodes after a pre-emption (`Profile`);
* attempt and reason stand on the pod as labels and on the run as a tag.

Belongs here: what happens to a step's pod. Does not belong here: what a step asks for in the first place
(`credit_assets.cluster.op_tags`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import dagster as dg
import kubernetes
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.events import DagsterEvent, DagsterEventType, EngineEventData
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepDelegatingExecutor, StepHandlerContext
from dagster_k8s import K8sRunLauncher, k8s_job_executor
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.job import UserDefinedDagsterK8sConfig

from credit_assets.cluster.op_tags import profile_name, profiles
from credit_assets.failures import PermanentError
from credit_assets.profiles import Profile, label_value
from credit_assets.settings import Settings
from credit_assets.tags import (
    ATTEMPT_LABEL,
    PARTITION_LABEL,
    PROFILE_LABEL,
    RETRY_REASON_LABEL,
    partition_of,
    retry_tag,
)

# How often pods are looked at. A loss counts when it is seen twice: between the two looks the executor has read what
# the step wrote last, so that one that ended by itself is never taken for lost.
HEALTH_SECONDS = 10
# How much longer than its grace period a pod may take to go before its node is taken for dead.
_OVERDUE = timedelta(seconds=15)
_FINISHED = ("Succeeded", "Failed")
_ARRIVED_WITHOUT = ("ContainerCreating", "PodInitializing")
_TAKEN_AWAY = {
    "Preempting",
    "Preempted",
    "Evicted",
    "NodeLost",
    "NodeAffinity",
    "Shutdown",
    "NodeShutdown",
    "Terminated",
}


class Kind(StrEnum):
    """Why a step's pod is no more, as it stands in the label `credit-assets/retry-reason`."""

    OUT_OF_MEMORY = "out-of-memory"
    TAKEN_AWAY = "taken-away"
    DELETED = "deleted"
    NODE_LOST = "node-lost"
    REPLACED = "replaced"
    PENDING = "pending"
    DEADLINE = "deadline"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Loss:
    """A pod that is gone, or is as good as gone, with its step not ended: of which kind, and in words."""

    kind: Kind
    words: str

    @property
    def reason(self) -> str:
        """What the event log keeps, from which the next attempt reads the kind again."""
        return f"{self.words} [{self.kind}]"


_KIND = re.compile(rf"\[({'|'.join(Kind)})\]")


def step_job_executor(settings: Settings) -> dg.ExecutorDefinition:
    """dagster-k8s's executor under its own name and config schema, with `StepJobs` as its step handler."""

    def create(context: InitExecutorContext) -> StepDelegatingExecutor:
        launcher = context.instance.run_launcher
        if not isinstance(launcher, K8sRunLauncher):
            raise PermanentError(
                "CREDIT_EXECUTOR=k8s needs an instance whose run launcher is K8sRunLauncher, which says image, "
                f"namespace and service account of the pods; this one has {type(launcher).__name__} (dagster.yaml)"
            )
        creation = k8s_job_executor.executor_creation_fn
        assert creation is not None
        executor = creation(context)
        assert isinstance(executor, StepDelegatingExecutor)
        executor._step_handler = StepJobs.taking_over(executor._step_handler, settings)
        executor._check_step_health_interval_seconds = HEALTH_SECONDS
        return executor

    return dg.ExecutorDefinition(
        name="k8s",
        config_schema=k8s_job_executor.config_schema,
        requirements=multiple_process_executor_requirements(),
        executor_creation_fn=create,
        description="Each step in a pod of its own, with the resources of its profile.",
    ).configured({"max_concurrent": settings.max_concurrent, "enable_owner_references": True})


class StepJobs(K8sStepHandler):
    """dagster-k8s's step handler that knows pods, losses and what the next attempt needs."""

    settings: Settings
    profiles: Mapping[str, Profile]
    # By Job: the loss seen at the last look, and what was said of why it waits.
    _suspected: dict[str, Kind]
    _told: dict[str, str]

    @classmethod
    def taking_over(cls, handler: Any, settings: Settings) -> StepJobs:
        """The same handler, with its clients and its part of the executor's config."""
        found = cls.__new__(cls)
        found.__dict__.update(vars(handler))
        found.settings, found.profiles = settings, profiles(settings)
        found._suspected = {}
        found._told = {}
        return found

    # What an attempt asks for

    def _get_container_context(self, step_handler_context: StepHandlerContext) -> K8sContainerContext:
        found = super()._get_container_context(step_handler_context)
        more = self._of_attempt(step_handler_context)
        return found.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(more)))

    def _of_attempt(self, context: StepHandlerContext) -> dict[str, Any]:
        """What this attempt asks for beyond the op tags: labels always, and what earlier losses call for."""
        step_key = self._get_step_key(context)
        attempt = self._attempt(context)
        partition = label_value(partition_of(context.dagster_run.tags, between="_"))
        labels = {ATTEMPT_LABEL: str(attempt), PARTITION_LABEL: partition}
        pod: dict[str, Any] = {}
        container: dict[str, Any] = {}
        kinds = self._losses(context) if attempt > 1 else []
        if attempt > 1:
            labels[RETRY_REASON_LABEL] = str(kinds[-1]) if kinds else "failed"
        profile = self._profile(context, step_key)
        kills = kinds.count(Kind.OUT_OF_MEMORY)
        if profile and kills:
            memory = {"memory": profile.memory_of_attempt(kills)}
            container["resources"] = {"requests": memory, "limits": memory}
        if profile and profile.on_demand and {Kind.TAKEN_AWAY, Kind.NODE_LOST} & set(kinds):
            pod["node_selector"] = profile.on_demand
        labels = {name: value for name, value in labels.items() if value}
        return {
            "container_config": container,
            "pod_spec_config": pod,
            "pod_template_spec_metadata": {"labels": labels},
            "job_metadata": {"labels": labels},
        }

    def _profile(self, context: StepHandlerContext, step_key: str) -> Profile | None:
        labels = _labels(context, step_key)
        return self.profiles.get(labels.get(PROFILE_LABEL) or profile_name(self.settings, step_key))

    def _attempt(self, context: StepHandlerContext) -> int:
        known = context.execute_step_args.known_state
        return 1 + (known.get_retry_state().get_attempt_count(self._get_step_key(context)) if known else 0)

    def _losses(self, context: StepHandlerContext) -> list[Kind]:
        """What became of the earlier attempts, from the event log: a run pod that took over knows it as well."""
        step_key = self._get_step_key(context)
        records = context.instance.all_logs(context.dagster_run.run_id, of_type={DagsterEventType.STEP_UP_FOR_RETRY})
        found = []
        for entry in records:
            if entry.step_key == step_key and entry.dagster_event is not None:
                match = _KIND.search(_words(entry.dagster_event.step_retry_data.error))
                if match:
                    found.append(Kind(match.group(1)))
        return found

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        attempt = self._attempt(step_handler_context)
        if attempt > 1:
            self._clear(step_handler_context, attempt)
        yield from super().launch_step(step_handler_context)

    def _clear(self, context: StepHandlerContext, attempt: int) -> None:
        """Note why there is another attempt, and see that the pod of the last one does not work on beside it."""
        step_key, run = self._get_step_key(context), context.dagster_run
        kinds = self._losses(context)
        more = self._of_attempt(context)["container_config"].get("resources", {}).get("requests", {})
        words = [f"attempt {attempt}", str(kinds[-1]) if kinds else "failed", *(f"{k} {v}" for k, v in more.items())]
        context.instance.add_run_tags(run.run_id, {retry_tag(step_key): ", ".join(words)})
        before = re.sub(r"-\d+$", "", self._get_k8s_step_job_name(context))
        name = before if attempt == 2 else f"{before}-{attempt - 2}"
        namespace = str(super()._get_container_context(context).namespace)
        if any(pod.status.phase not in _FINISHED for pod in self._pods(name, namespace)):
            self._delete(name, namespace)

    def _delete(self, name: str, namespace: str) -> None:
        try:
            self._api_client.batch_api.delete_namespaced_job(name, namespace, propagation_policy="Background")
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise

    # What becomes of it

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        name = self._get_k8s_step_job_name(step_handler_context)
        namespace = str(super()._get_container_context(step_handler_context).namespace)
        try:
            job = self._api_client.batch_api.read_namespaced_job_status(name, namespace)
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
            job = None
        pods = self._pods(name, namespace)
        now = datetime.now(UTC)
        loss = loss_of(job, pods, now, timedelta(minutes=self.settings.pending_minutes))
        if loss is None:
            self._suspected.pop(name, None)
            self._tell_why_it_waits(step_handler_context, name, pods)
            return CheckStepHealthResult.healthy()
        seen_before = self._suspected.get(name) == loss.kind
        self._suspected[name] = loss.kind
        if not seen_before:
            return CheckStepHealthResult.healthy()
        if loss.kind in (Kind.PENDING, Kind.NODE_LOST):
            # So that its pod does not start, or come back, when nobody waits for it any more.
            self._delete(name, namespace)
        return CheckStepHealthResult.unhealthy(reason=f"Job {name}: {loss.reason}")

    def _pods(self, name: str, namespace: str) -> list[Any]:
        """The pods of a Job, oldest first."""
        found = self._api_client.core_api.list_namespaced_pod(namespace, label_selector=f"job-name={name}").items
        return sorted(found, key=lambda pod: pod.metadata.creation_timestamp)

    def _tell_why_it_waits(self, context: StepHandlerContext, name: str, pods: Sequence[Any]) -> None:
        words = why_it_waits(pods[-1]) if pods else ""
        # The scheduler counts nodes in its message, which changes with every node that comes or goes.
        if words and self._told.get(name) != (same := re.sub(r"\d+", "", words)):
            self._told[name] = same
            step_key = self._get_step_key(context)
            DagsterEvent.engine_event(
                context.get_step_context(step_key),
                f"The pod of step {step_key} waits: {words.rstrip('.')}. It is given up after "
                f"{self.settings.pending_minutes} minutes (CREDIT_PENDING_MINUTES).",
                EngineEventData(
                    metadata={
                        "pod": dg.MetadataValue.text(pods[-1].metadata.name),
                        "asks for": dg.MetadataValue.text(asked(pods[-1])),
                    }
                ),
            )


def _words(error: Any) -> str:
    """The messages of an error and of what caused it."""
    return "" if error is None else f"{error.message}\n{_words(error.cause)}"


def _labels(context: StepHandlerContext, step_key: str) -> Mapping[str, str]:
    from dagster_k8s.job import get_user_defined_k8s_config

    config = get_user_defined_k8s_config(context.step_tags[step_key])
    labels: Mapping[str, str] = config.pod_template_spec_metadata.get("labels", {})
    return labels


def loss_of(job: Any, pods: Sequence[Any], now: datetime, patience: timedelta) -> Loss | None:
    """What happened to the pod of a step that has not ended, or None where there is nothing to say.

    `job` (V1Job, None where it is gone) and `pods` (V1Pod, oldest first) as the API gives them. Asked about a step that
    the event log does not know as ended, so that a Job which is complete is a loss as well: its pod was a replacement
    that found the step started and left.
    """
    if job is None:
        return Loss(Kind.DELETED, "the Job was deleted")
    for pod in pods:
        loss = _loss_of_pod(pod, now)
        if loss is not None:
            return loss
    conditions = {one.type: one for one in job.status.conditions or [] if one.status == "True"}
    failed = conditions.get("Failed")
    if failed is not None and failed.reason == "DeadlineExceeded":
        waits = why_it_waits(pods[-1]) if pods else ""
        limit = job.spec.active_deadline_seconds
        return Loss(Kind.DEADLINE, f"it was not done within its deadline of {limit} s. {waits}".strip())
    if failed is not None or job.status.failed:
        return Loss(Kind.DELETED, "its pod was deleted")
    if "Complete" in conditions or job.status.succeeded:
        return Loss(Kind.REPLACED, "its pod was replaced by one that found the step started, and left it")
    if pods and pods[-1].status.phase == "Pending" and now - pods[-1].metadata.creation_timestamp > patience:
        words = why_it_waits(pods[-1]) or "it did not start"
        return Loss(Kind.PENDING, f"its pod waited for {int(patience.total_seconds() / 60)} minutes: {words}")
    return None


def _loss_of_pod(pod: Any, now: datetime) -> Loss | None:
    status = pod.status
    where = f"pod {pod.metadata.name} on node {pod.spec.node_name or '(none)'}"
    for container in status.container_statuses or []:
        ended = container.state.terminated if container.state else None
        if ended is None or ended.exit_code == 0:
            continue
        if ended.reason == "OOMKilled":
            limit = (pod.spec.containers[0].resources.limits or {}).get("memory", "none")
            return Loss(Kind.OUT_OF_MEMORY, f"{where} needed more than its memory limit ({limit}) and was killed")
    disrupted = next((c for c in status.conditions or [] if c.type == "DisruptionTarget" and c.status == "True"), None)
    if status.phase in _FINISHED and (status.reason in _TAKEN_AWAY or disrupted):
        why = status.message or (disrupted and disrupted.message) or ""
        return Loss(Kind.TAKEN_AWAY, f"{where} was taken away ({status.reason or disrupted.reason}). {why}".strip())
    if pod.metadata.deletion_timestamp is not None and status.phase not in _FINISHED:
        # Set to when the pod should be gone at the latest. Until then its step may end by itself, and say so.
        if now > pod.metadata.deletion_timestamp + _OVERDUE:
            due = f"{pod.metadata.deletion_timestamp:%H:%M:%S}"
            return Loss(Kind.NODE_LOST, f"{where} should have gone by {due} UTC: its node is silent")
        return None
    if status.phase == "Failed":
        ends = [one.state.terminated for one in status.container_statuses or [] if one.state and one.state.terminated]
        code = ends[0].exit_code if ends else "unknown"
        return Loss(Kind.CRASHED, f"{where} ended with exit code {code}. {status.message or ''}".strip())
    return None


def why_it_waits(pod: Any) -> str:
    """Why a pod has not started, in Kubernetes' own words; empty where it has, or is about to."""
    if pod.status.phase != "Pending":
        return ""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"no node fits ({condition.reason}): {condition.message or ''}".strip()
    for container in pod.status.container_statuses or []:
        waiting = container.state.waiting if container.state else None
        if waiting and waiting.reason and waiting.reason not in _ARRIVED_WITHOUT:
            return f"{waiting.reason}: {waiting.message or ''}".strip()
    return ""


def asked(pod: Any) -> str:
    """What a pod asks for, in a line."""
    requests = pod.spec.containers[0].resources.requests or {}
    labels = [f"{name}={value}" for name, value in (pod.spec.node_selector or {}).items()]
    return ", ".join([*(f"{name} {value}" for name, value in requests.items()), *labels])
