"""What became of a step's pod, read from what the Kubernetes API says of its Job and pods.

Belongs here: reading. Does not belong here: what is done about it (`credit_assets.cluster.step_jobs`), and what the API
says to a request (`credit_assets.cluster.refusals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

# How much longer than its grace period a pod may take to go before its node is taken for dead.
_OVERDUE = timedelta(seconds=15)
# How long an image or a configuration may be not to be had: a registry that is restarted, a Secret that is on its way.
UNSTARTABLE = timedelta(minutes=5)
_FINISHED = ("Succeeded", "Failed")
_ON_ITS_WAY = ("ContainerCreating", "PodInitializing")
# What the kubelet says of a container that it cannot start, and which more time does not change.
_CANNOT_START = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "ImageInspectError",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
_NEVER_STARTS = {"InvalidImageName", "ErrImageNeverPull"}
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
# How the kubelet words an eviction for what the pod itself used of its disk; one for the node's disk reads "The node
# was low on resource: ephemeral-storage".
_OWN_DISK = (
    "exceeds the total limit of containers",
    "exceeded its local ephemeral storage limit",
    "Usage of EmptyDir volume",
)


class LossKind(StrEnum):
    """Why a step's pod is no more, as it stands in the label `credit-assets/retry-reason`."""

    OUT_OF_MEMORY = "out-of-memory"
    OUT_OF_DISK = "out-of-disk"
    TAKEN_AWAY = "taken-away"
    DELETED = "deleted"
    NODE_LOST = "node-lost"
    REPLACED = "replaced"
    PENDING = "pending"
    REFUSED = "refused"
    CANNOT_START = "cannot-start"
    DEADLINE = "deadline"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Loss:
    """A pod that is gone, or is as good as gone, with its step not ended: of which kind, and in words. A permanent one
    would come again at each attempt."""

    kind: LossKind
    words: str
    permanent: bool = False


@dataclass(frozen=True)
class Sight:
    """A step's Job (V1Job, None where it is gone) and its pods (V1Pod, oldest first) as the API gives them, and what
    earlier looks and the Job's events say."""

    job: Any
    pods: Sequence[Any]
    now: datetime
    # Why one of its pods was to go, by its condition DisruptionTarget: it is there only while the pod terminates.
    disruption: str = ""
    # When its pod was first seen as one that cannot start.
    unstartable_since: datetime | None = None
    # Why the Job's controller could not make its pod, by the Job's events.
    refusal: str = ""


def job_finished(job: Any) -> bool:
    """Whether a Job (V1Job) will have no other pod."""
    return any(one.type in ("Complete", "Failed") and one.status == "True" for one in job.status.conditions or [])


def finished(pod: Any) -> bool:
    """Whether a pod (V1Pod) has ended, one way or the other."""
    return pod.status.phase in _FINISHED


def at_work(pod: Any, now: datetime) -> bool:
    """Whether a pod may work yet: it has not ended, and its node is not silent about it."""
    return not finished(pod) and not _overdue(pod, now)


def _overdue(pod: Any, now: datetime) -> bool:
    # Set to when the pod should be gone at the latest.
    leaves = pod.metadata.deletion_timestamp
    return leaves is not None and bool(now > leaves + _OVERDUE)


def disruption_of(pod: Any) -> str:
    """Why a pod was to go: pre-emption, eviction, a taint, a node that is shut down; empty where it was not."""
    for one in pod.status.conditions or []:
        if one.type == "DisruptionTarget" and one.status == "True":
            return f"{one.reason}: {one.message or ''}".strip(": ")
    return ""


def loss_of(sight: Sight, patience: timedelta) -> Loss | None:
    """What happened to the pod of a step that has not ended, or None where there is nothing to say.

    The event log does not know the step as ended, so that a Job which is complete is a loss as well: its pod was a
    replacement that found the step started and left. While a pod works, whatever its Job says, nothing is lost: since
    Kubernetes 1.26 a Job counts a pod as failed as soon as it is to go, though its step may end within the grace.
    """
    container = step_container(sight.job)
    for pod in sight.pods:
        loss = _loss_of_pod(pod, container, sight.now)
        if loss is not None:
            return loss
    alive = [pod for pod in sight.pods if not finished(pod)]
    if not alive:
        loss = _loss_by_job(sight)
        if loss is not None:
            return loss
    return _loss_by_waiting(sight, alive, patience)


def step_container(job: Any) -> str:
    """The name of the container that works: the Job's first. A mesh may put its own before it in the pod."""
    spec = job.spec.template.spec if job is not None else None
    return str(spec.containers[0].name) if spec is not None else "dagster"


def _loss_by_job(sight: Sight) -> Loss | None:
    job = sight.job
    if job is None:
        return _gone("the Job was deleted", sight.disruption)
    conditions = {one.type: one for one in job.status.conditions or [] if one.status == "True"}
    failed = conditions.get("Failed")
    if failed is not None and failed.reason == "DeadlineExceeded":
        limit = job.spec.active_deadline_seconds
        why = "" if sight.pods else sight.refusal
        return Loss(LossKind.DEADLINE, f"it was not done within its deadline of {limit} s. {why}".strip())
    if failed is not None and failed.reason == "PodFailurePolicy" and "DisruptionTarget" in (failed.message or ""):
        return Loss(LossKind.TAKEN_AWAY, f"its pod was taken away ({sight.disruption or failed.message})")
    if failed is not None or job.status.failed:
        return _gone("its pod was deleted", sight.disruption)
    if "Complete" in conditions or job.status.succeeded:
        return Loss(LossKind.REPLACED, "its pod was replaced by one that found the step started, and left it")
    return None


def _gone(words: str, disruption: str) -> Loss:
    if disruption:
        return Loss(LossKind.TAKEN_AWAY, f"its pod was taken away ({disruption})")
    return Loss(LossKind.DELETED, words)


def _loss_of_pod(pod: Any, container: str, now: datetime) -> Loss | None:
    status = pod.status
    where = f"pod {pod.metadata.name} on node {pod.spec.node_name or '(none)'}"
    end = _end_of(container, status.container_statuses)
    if end is not None and end.reason == "OOMKilled" and end.exit_code != 0:
        limit = _limit(pod, container, "memory")
        return Loss(LossKind.OUT_OF_MEMORY, f"{where} needed more than its memory limit ({limit}) and was killed")
    if status.phase in _FINISHED:
        return _loss_of_finished(pod, container, where)
    if _overdue(pod, now):
        leaves = pod.metadata.deletion_timestamp
        return Loss(LossKind.NODE_LOST, f"{where} should have gone by {leaves:%H:%M:%S} UTC: its node is silent")
    # The step's container has ended and another one of the pod works on, a proxy perhaps: the pod never ends.
    if end is not None and end.exit_code != 0:
        return Loss(LossKind.CRASHED, f"{where} ended with exit code {end.exit_code}")
    if end is not None:
        return Loss(LossKind.REPLACED, f"{where} found the step started, and left it")
    return None


def _loss_of_finished(pod: Any, container: str, where: str) -> Loss | None:
    status = pod.status
    disruption = disruption_of(pod)
    if status.reason == "Evicted" and any(words in (status.message or "") for words in _OWN_DISK):
        return _out_of_disk(pod, container, where)
    if status.reason in _TAKEN_AWAY or disruption:
        why = status.message or disruption.partition(": ")[2]
        reason = status.reason or disruption.partition(": ")[0]
        return Loss(LossKind.TAKEN_AWAY, f"{where} was taken away ({reason}). {why}".strip())
    if status.phase == "Failed":
        end, which = _end_of(container, status.container_statuses), ""
        if end is None:
            end, which = _first_failure(status.init_container_statuses)
        code = f"{which}exit code {end.exit_code}" if end else "exit code unknown"
        return Loss(LossKind.CRASHED, f"{where} ended with {code}. {status.message or ''}".strip())
    return None


def _out_of_disk(pod: Any, container: str, where: str) -> Loss:
    message = pod.status.message.strip()
    in_memory = [one.name for one in pod.spec.volumes or [] if one.empty_dir and one.empty_dir.medium == "Memory"]
    if any(f'"{name}"' in message for name in in_memory):
        # More disk changes nothing about it, and the volume's size is its profile's.
        return Loss(LossKind.CRASHED, f"{where} filled a volume in memory; raise `shm` of its profile. {message}")
    limit = _limit(pod, container, "ephemeral-storage")
    return Loss(LossKind.OUT_OF_DISK, f"{where} needed more disk than it may have ({limit}) and was evicted. {message}")


def _end_of(container: str, statuses: Sequence[Any] | None) -> Any:
    for one in statuses or []:
        if one.name == container and one.state and one.state.terminated:
            return one.state.terminated
    return None


def _first_failure(statuses: Sequence[Any] | None) -> tuple[Any, str]:
    for one in statuses or []:
        if one.state and one.state.terminated and one.state.terminated.exit_code != 0:
            return one.state.terminated, f"init container {one.name} and "
    return None, ""


def _limit(pod: Any, container: str, resource: str) -> str:
    for one in pod.spec.containers:
        if one.name == container and one.resources and one.resources.limits:
            return str(one.resources.limits.get(resource, "none"))
    return "none"


def _loss_by_waiting(sight: Sight, alive: Sequence[Any], patience: timedelta) -> Loss | None:
    minutes = int(patience.total_seconds() / 60)
    if not alive:
        since = waits_for_pod_since(sight.job)
        if since is None or sight.now - since <= patience:
            return None
        words = sight.refusal or "nothing says why"
        return Loss(LossKind.REFUSED, f"its Job had no pod for {minutes} minutes: {words}")
    pod = alive[-1]
    if pod.status.phase != "Pending":
        return None
    if (reason := unstartable(pod)) and (
        reason in _NEVER_STARTS
        or (sight.unstartable_since is not None and sight.now - sight.unstartable_since > UNSTARTABLE)
    ):
        return Loss(LossKind.CANNOT_START, f"its pod cannot start: {why_it_waits(pod)}", permanent=True)
    if sight.now - pod.metadata.creation_timestamp > patience:
        words = why_it_waits(pod) or "it did not start"
        return Loss(LossKind.PENDING, f"its pod waited for {minutes} minutes: {words}")
    return None


def waits_for_pod_since(job: Any) -> datetime | None:
    """Since when a Job could have had a pod; None for one that somebody holds back, such as Kueue's queue."""
    if job is None or job.spec.suspend:
        return None
    # A Job that was held back begins its time anew when it is let go.
    since: datetime | None = job.status.start_time or job.metadata.creation_timestamp
    return since


def why_it_waits(pod: Any) -> str:
    """Why a pod has not started, in Kubernetes' own words; empty where it has, or is about to."""
    if pod.status.phase != "Pending":
        return ""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"no node fits ({condition.reason}): {condition.message or ''}".strip()
    for waiting in _waiting(pod):
        if waiting.reason not in _ON_ITS_WAY:
            return f"{waiting.reason}: {waiting.message or ''}".strip()
    return ""


def unstartable(pod: Any) -> str:
    """The reason for which a container of a pod cannot start, empty where there is none."""
    if pod.status.phase != "Pending":
        return ""
    return next((str(waiting.reason) for waiting in _waiting(pod) if waiting.reason in _CANNOT_START), "")


def _waiting(pod: Any) -> list[Any]:
    statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    return [one.state.waiting for one in statuses if one.state and one.state.waiting and one.state.waiting.reason]


def requested(pod: Any, container: str) -> str:
    """What the step's container in a pod requests, in a line."""
    requests = next((one.resources.requests for one in pod.spec.containers if one.name == container), None) or {}
    labels = [f"{name}={value}" for name, value in (pod.spec.node_selector or {}).items()]
    return ", ".join([*(f"{name} {value}" for name, value in requests.items()), *labels])
