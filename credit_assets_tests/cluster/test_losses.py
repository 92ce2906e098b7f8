"""What became of a pod, read from the answers of the Kubernetes API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.client import V1Job, V1Pod

from credit_assets.cluster.losses import Kind, loss_of, why_it_waits
from credit_assets_tests.support.kubernetes_objects import objects

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_job(**status: Any) -> V1Job:
    spec = {"activeDeadlineSeconds": 60, "template": {}}
    return objects("V1Job", {"metadata": {"name": "j"}, "spec": spec, "status": status})


def a_pod(phase: str, created: datetime = NOW, **other: Any) -> V1Pod:
    return objects(
        "V1Pod",
        {
            "metadata": {"name": "p", "creationTimestamp": created.isoformat(), **other.pop("metadata", {})},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "dagster", "resources": {"limits": {"memory": "1Gi"}}}],
            },
            "status": {"phase": phase, **other},
        },
    )


def ended(code: int, reason: str = "Error") -> list[dict[str, Any]]:
    state = {"terminated": {"exitCode": code, "reason": reason}}
    common = {"name": "dagster", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    return [{**common, "state": state}]


FAILED = {"failed": 1, "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
LATE = {"failed": 1, "conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
UNFIT = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]
TAINTED = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "taint"}]


@pytest.mark.parametrize(
    ("job", "pods", "kind"),
    [
        (None, [], Kind.DELETED),
        (a_job(**FAILED), [], Kind.DELETED),
        (a_job(**FAILED), [a_pod("Failed", containerStatuses=ended(137, "OOMKilled"))], Kind.OUT_OF_MEMORY),
        (a_job(**FAILED), [a_pod("Failed", containerStatuses=ended(1))], Kind.CRASHED),
        (a_job(**FAILED), [a_pod("Failed", reason="Evicted", message="The node was low on memory")], Kind.TAKEN_AWAY),
        (a_job(**FAILED), [a_pod("Failed", conditions=TAINTED, containerStatuses=ended(143))], Kind.TAKEN_AWAY),
        (a_job(**LATE), [], Kind.DEADLINE),
        (a_job(succeeded=1, conditions=[{"type": "Complete", "status": "True"}]), [a_pod("Succeeded")], Kind.REPLACED),
        (a_job(active=1), [a_pod("Running")], None),
        (a_job(active=1), [a_pod("Pending", NOW - timedelta(minutes=9), conditions=UNFIT)], None),
        (a_job(active=1), [a_pod("Pending", NOW - timedelta(minutes=11), conditions=UNFIT)], Kind.PENDING),
        (a_job(active=1), [a_pod("Running", metadata={"deletionTimestamp": NOW.isoformat()})], None),
        (
            a_job(active=1),
            [a_pod("Running", metadata={"deletionTimestamp": (NOW - timedelta(seconds=16)).isoformat()})],
            Kind.NODE_LOST,
        ),
        (a_job(), [], None),
    ],
)
def test_what_became_of_a_pod(job: Any, pods: list[Any], kind: Kind | None) -> None:
    loss = loss_of(job, pods, NOW, timedelta(minutes=10))
    assert (loss.kind if loss else None) == kind


def test_a_pod_that_cannot_start_says_why() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    common = {"name": "dagster", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    assert why_it_waits(a_pod("Pending", containerStatuses=[{**common, "state": waiting}])) == (
        "ImagePullBackOff: no such image"
    )
    creating = {"waiting": {"reason": "ContainerCreating"}}
    assert why_it_waits(a_pod("Pending", containerStatuses=[{**common, "state": creating}])) == ""
    assert why_it_waits(a_pod("Running", conditions=UNFIT)) == ""
