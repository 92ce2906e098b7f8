"""What became of a pod, read from the answers of the Kubernetes API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.client import V1Job, V1Pod

from credit_assets.cluster.losses import UNSTARTABLE, Loss, LossKind, Sight, loss_of, why_it_waits
from credit_assets_tests.support.kubernetes_objects import objects

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


PATIENCE = timedelta(minutes=10)
GRACE = {"deletionTimestamp": (NOW + timedelta(seconds=30)).isoformat()}
SILENT = {"deletionTimestamp": (NOW - timedelta(seconds=16)).isoformat()}


def a_job(created: Any = NOW, spec: Any = None, **status: Any) -> V1Job:
    template = {"spec": {"containers": [{"name": "dagster"}]}}
    content = {"activeDeadlineSeconds": 60, "template": template, **(spec or {})}
    metadata = {"name": "j", "creationTimestamp": created.isoformat()}
    return objects("V1Job", {"metadata": metadata, "spec": content, "status": status})


def a_pod(phase: str, created: datetime = NOW, **other: Any) -> V1Pod:
    return objects(
        "V1Pod",
        {
            "metadata": {"name": "p", "creationTimestamp": created.isoformat(), **other.pop("metadata", {})},
            "spec": {
                "nodeName": "n",
                # A mesh may put its own container before the step's.
                "containers": [
                    {"name": "proxy", "resources": {"limits": {"memory": "64Mi", "ephemeral-storage": "1Gi"}}},
                    {"name": "dagster", "resources": {"limits": {"memory": "1Gi", "ephemeral-storage": "2Gi"}}},
                ],
                "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}, {"name": "tmp", "emptyDir": {}}],
            },
            "status": {"phase": phase, **other},
        },
    )


def ended(code: int, reason: str = "Error", name: str = "dagster") -> list[dict[str, Any]]:
    return [container(name, {"terminated": {"exitCode": code, "reason": reason}})]


def waiting(reason: str, message: str = "") -> list[dict[str, Any]]:
    return [container("dagster", {"waiting": {"reason": reason, "message": message}})]


def container(name: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state}


def evicted(message: str) -> V1Pod:
    return a_pod("Failed", reason="Evicted", message=message, containerStatuses=ended(137))


def seen(job: Any, pods: list[Any], **other: Any) -> Loss | None:
    return loss_of(Sight(job, pods, NOW, **other), PATIENCE)


FAILED = {"failed": 1, "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
LATE = {"failed": 1, "conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]}
UNFIT = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]
TAINTED = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "taint"}]


@pytest.mark.parametrize(
    ("job", "pods", "kind"),
    [
        (None, [], LossKind.DELETED),
        (a_job(**FAILED), [], LossKind.DELETED),
        (a_job(**FAILED), [a_pod("Failed", containerStatuses=ended(137, "OOMKilled"))], LossKind.OUT_OF_MEMORY),
        (a_job(**FAILED), [a_pod("Failed", containerStatuses=ended(1))], LossKind.CRASHED),
        (
            a_job(**FAILED),
            [a_pod("Failed", reason="Evicted", message="The node was low on memory")],
            LossKind.TAKEN_AWAY,
        ),
        (a_job(**FAILED), [a_pod("Failed", conditions=TAINTED, containerStatuses=ended(143))], LossKind.TAKEN_AWAY),
        (a_job(**LATE), [], LossKind.DEADLINE),
        (
            a_job(succeeded=1, conditions=[{"type": "Complete", "status": "True"}]),
            [a_pod("Succeeded")],
            LossKind.REPLACED,
        ),
        (a_job(active=1), [a_pod("Running")], None),
        (a_job(active=1), [a_pod("Pending", NOW - timedelta(minutes=9), conditions=UNFIT)], None),
        (a_job(active=1), [a_pod("Pending", NOW - timedelta(minutes=11), conditions=UNFIT)], LossKind.PENDING),
        (a_job(active=1), [a_pod("Running", metadata={"deletionTimestamp": NOW.isoformat()})], None),
        (
            a_job(active=1),
            [a_pod("Running", metadata={"deletionTimestamp": (NOW - timedelta(seconds=16)).isoformat()})],
            LossKind.NODE_LOST,
        ),
        (a_job(), [], None),
    ],
)
def test_what_became_of_a_pod(job: Any, pods: list[Any], kind: LossKind | None) -> None:
    loss = seen(job, pods)
    assert (loss.kind if loss else None) == kind


def test_a_pod_that_is_to_go_is_waited_for_whatever_its_job_says() -> None:
    """Since Kubernetes 1.26 its Job counts it as failed at once; so does one whose deadline is over."""
    leaving = a_pod("Running", metadata=GRACE)
    for job in (a_job(**FAILED), a_job(**LATE), None):
        assert seen(job, [leaving]) is None
    silent = seen(a_job(**FAILED), [a_pod("Running", metadata=SILENT)])
    assert silent is not None
    assert silent.kind == LossKind.NODE_LOST, "the wait has an end"


def test_a_pod_that_was_seen_to_be_taken_away_was_taken_away_once_it_is_gone() -> None:
    words = "EvictionByEvictionAPI: Eviction API: evicting"
    for job in (a_job(**FAILED), None):
        loss = seen(job, [], disruption=words)
        assert loss == Loss(LossKind.TAKEN_AWAY, f"its pod was taken away ({words})")
    policy = {
        "type": "Failed",
        "status": "True",
        "reason": "PodFailurePolicy",
        "message": "Pod credit/p has condition DisruptionTarget matching FailJob rule at index 0",
    }
    never_seen = seen(a_job(failed=1, conditions=[policy]), [])
    assert never_seen is not None
    assert never_seen.kind == LossKind.TAKEN_AWAY, "the Job noted it"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Pod ephemeral local storage usage exceeds the total limit of containers 2Gi. ", LossKind.OUT_OF_DISK),
        ('Container dagster exceeded its local ephemeral storage limit "2Gi". ', LossKind.OUT_OF_DISK),
        ('Usage of EmptyDir volume "tmp" exceeds the limit "2Gi". ', LossKind.OUT_OF_DISK),
        ('Usage of EmptyDir volume "shm" exceeds the limit "1Gi". ', LossKind.CRASHED),
        (
            "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 9Mi.",
            LossKind.TAKEN_AWAY,
        ),
        ("The node was low on resource: memory.", LossKind.TAKEN_AWAY),
    ],
)
def test_a_pod_that_filled_its_own_disk_was_not_taken_away(message: str, kind: LossKind) -> None:
    loss = seen(a_job(**FAILED), [evicted(message)])
    assert loss is not None
    assert loss.kind == kind
    assert message.strip() in loss.words
    if kind == LossKind.OUT_OF_DISK:
        assert "more disk than it may have (2Gi)" in loss.words, "the step's limit, not the proxy's"


def test_what_happens_to_another_container_of_the_pod_is_not_the_steps_loss() -> None:
    at_work = container("dagster", {"running": {}})
    proxy = ended(137, "OOMKilled", "proxy")
    assert seen(a_job(active=1), [a_pod("Running", containerStatuses=[*proxy, at_work])]) is None
    both = a_pod("Failed", containerStatuses=[*proxy, *ended(139)])
    loss = seen(a_job(**FAILED), [both])
    assert loss is not None
    assert (loss.kind, "exit code 139" in loss.words) == (LossKind.CRASHED, True)
    killed = seen(
        a_job(**FAILED), [a_pod("Failed", containerStatuses=[*ended(0, "", "proxy"), *ended(137, "OOMKilled")])]
    )
    assert killed is not None
    assert (killed.kind, "limit (1Gi)" in killed.words) == (LossKind.OUT_OF_MEMORY, True)


def test_a_step_that_died_beside_a_proxy_that_works_on_is_lost() -> None:
    proxy = container("proxy", {"running": {}})
    died = seen(a_job(active=1), [a_pod("Running", containerStatuses=[proxy, *ended(1)])])
    left = seen(a_job(active=1), [a_pod("Running", containerStatuses=[proxy, *ended(0)])])
    assert died is not None
    assert left is not None
    assert (died.kind, left.kind) == (LossKind.CRASHED, LossKind.REPLACED)


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError", "CreateContainerError"]
)
def test_a_container_that_cannot_start_is_given_up_within_minutes_and_for_good(reason: str) -> None:
    pod = a_pod("Pending", containerStatuses=waiting(reason, "no such thing"))
    assert seen(a_job(active=1), [pod], unstartable_since=NOW - UNSTARTABLE) is None
    loss = seen(a_job(active=1), [pod], unstartable_since=NOW - UNSTARTABLE - timedelta(seconds=1))
    assert loss == Loss(LossKind.CANNOT_START, f"its pod cannot start: {reason}: no such thing", permanent=True)
    assert UNSTARTABLE < PATIENCE


def test_a_name_that_no_image_can_have_is_given_up_at_once() -> None:
    pod = a_pod("Pending", containerStatuses=waiting("InvalidImageName", 'couldn\'t parse image name "Credit"'))
    loss = seen(a_job(active=1), [pod], unstartable_since=NOW)
    assert loss is not None
    assert (loss.kind, loss.permanent) == (LossKind.CANNOT_START, True)


def test_an_image_that_is_being_pulled_for_long_is_no_error() -> None:
    pod = a_pod("Pending", NOW - timedelta(minutes=9), containerStatuses=waiting("ContainerCreating"))
    assert seen(a_job(active=1), [pod]) is None


def test_a_job_without_a_pod_is_given_up_as_refused_with_what_its_controller_says() -> None:
    words = 'Error creating: pods "j-x" is forbidden: exceeded quota: credit, requested: requests.cpu=4'
    late = NOW - PATIENCE - timedelta(seconds=1)
    assert seen(a_job(NOW - PATIENCE), [], refusal=words) is None
    assert seen(a_job(late), [], refusal=words) == Loss(LossKind.REFUSED, f"its Job had no pod for 10 minutes: {words}")
    silent = seen(a_job(late), [])
    assert silent is not None
    assert silent.words.endswith("nothing says why")
    held_back = a_job(late, {"suspend": True})
    assert seen(held_back, []) is None, "a queue such as Kueue's holds it back, and lets it go in its turn"
    let_go = a_job(late, startTime=NOW.isoformat())
    assert seen(let_go, []) is None


def test_a_pod_that_cannot_start_says_why() -> None:
    pod = a_pod("Pending", containerStatuses=waiting("ImagePullBackOff", "no such image"))
    assert why_it_waits(pod) == "ImagePullBackOff: no such image"
    assert why_it_waits(a_pod("Pending", containerStatuses=waiting("ContainerCreating"))) == ""
    assert why_it_waits(a_pod("Running", conditions=UNFIT)) == ""
    first = a_pod("Pending", initContainerStatuses=waiting("ErrImagePull", "gone"))
    assert why_it_waits(first) == "ErrImagePull: gone"
