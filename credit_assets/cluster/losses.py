"""What became of a step's pod, read from what the Kubernetes API says of its Job and pods.

Belongs here: reading. Does not belong here: what is done about it (`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

# How much longer than its grace period a pod may take to go before its node is taken for dead.
_OVERDUE = timedelta(seconds=15)
_FINISHED = ("Succeeded", "Failed")
_ON_ITS_WAY = ("ContainerCreating", "PodInitializing")
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


def finished(pod: Any) -> bool:
    """Whether a pod (V1Pod) has ended, one way or the other."""
    return pod.status.phase in _FINISHED


def loss_of(job: Any, pods: Sequence[Any], now: datetime, patience: timedelta) -> Loss | None:
    """What happened to the pod of a step that has not ended, or None where there is nothing to say.

    `job` (V1Job, None where it is gone) and `pods` (V1Pod, oldest first) as the API gives them. The event log does not
    know the step as ended, so that a Job which is complete is a loss as well: its pod was a replacement that found the
    step started and left.
    """
    if job is None:
        return Loss(Kind.DELETED, "the Job was deleted")
    for pod in pods:
        loss = _loss_of_pod(pod, now)
        if loss is not None:
            return loss
    loss = _loss_by_job(job, pods)
    if loss is not None:
        return loss
    if pods and pods[-1].status.phase == "Pending" and now - pods[-1].metadata.creation_timestamp > patience:
        words = why_it_waits(pods[-1]) or "it did not start"
        return Loss(Kind.PENDING, f"its pod waited for {int(patience.total_seconds() / 60)} minutes: {words}")
    return None


def _loss_by_job(job: Any, pods: Sequence[Any]) -> Loss | None:
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
    return None


def _loss_of_pod(pod: Any, now: datetime) -> Loss | None:
    status = pod.status
    where = f"pod {pod.metadata.name} on node {pod.spec.node_name or '(none)'}"
    ends = [one.state.terminated for one in status.container_statuses or [] if one.state and one.state.terminated]
    if any(end.reason == "OOMKilled" and end.exit_code != 0 for end in ends):
        limit = (pod.spec.containers[0].resources.limits or {}).get("memory", "none")
        return Loss(Kind.OUT_OF_MEMORY, f"{where} needed more than its memory limit ({limit}) and was killed")
    if status.phase in _FINISHED:
        return _loss_of_finished(pod, where, ends)
    leaves = pod.metadata.deletion_timestamp
    # Set to when the pod should be gone at the latest. Until then its step may end by itself, and say so.
    if leaves is not None and now > leaves + _OVERDUE:
        return Loss(Kind.NODE_LOST, f"{where} should have gone by {leaves:%H:%M:%S} UTC: its node is silent")
    return None


def _loss_of_finished(pod: Any, where: str, ends: Sequence[Any]) -> Loss | None:
    status = pod.status
    disruptions = [one for one in status.conditions or [] if one.type == "DisruptionTarget" and one.status == "True"]
    if status.reason in _TAKEN_AWAY or disruptions:
        reason = status.reason or disruptions[0].reason
        why = status.message or (disruptions[0].message if disruptions else None) or ""
        return Loss(Kind.TAKEN_AWAY, f"{where} was taken away ({reason}). {why}".strip())
    if status.phase == "Failed":
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
        if waiting and waiting.reason and waiting.reason not in _ON_ITS_WAY:
            return f"{waiting.reason}: {waiting.message or ''}".strip()
    return ""


def requested(pod: Any) -> str:
    """What a pod requests, in a line."""
    requests = pod.spec.containers[0].resources.requests or {}
    labels = [f"{name}={value}" for name, value in (pod.spec.node_selector or {}).items()]
    return ", ".join([*(f"{name} {value}" for name, value in requests.items()), *labels])
