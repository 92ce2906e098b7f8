"""The Jobs and pods of runs, asked of an endpoint: one list a round, and what passes from one run's pod to the next."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes
import pytest

from credit_assets.cluster.handover import Handover
from credit_assets.cluster.job_remover import JobRemover
from credit_assets.cluster.pods_of_run import PodsOfRun, PodsSeen
from credit_assets.cluster.refusals import ask_bounded, refusal_of
from credit_assets.tags import LOST_RUN_TAG, PARENT_RUN_TAG
from credit_assets_tests.support.kube_api import Cluster


class Asked(Cluster):
    """An endpoint and its clients, with the Jobs a, b and c of run "r"."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        client = kubernetes.config.new_client_from_config(str(self.kubeconfig))
        self.batch, self.core = kubernetes.client.BatchV1Api(client), kubernetes.client.CoreV1Api(client)
        ask_bounded(self.batch)
        self.rules["s"] = [lambda pod: None]

    def step_jobs(self, run: str, *names: str) -> None:
        labels = {"dagster/run-id": run, "app.kubernetes.io/component": "step_worker", "dagster/op": "s"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "dagster"}]}}
        for name in names:
            self.create({"metadata": {"name": name, "labels": labels}, "spec": {"template": template}})

    def run_job(self, name: str, created: str) -> None:
        labels = {"dagster/run-id": "r", "app.kubernetes.io/component": "run_worker"}
        metadata = {"name": name, "uid": name, "labels": labels, "creationTimestamp": created}
        self.alive[name] = {"metadata": metadata, "spec": {"template": {}}}

    def look(self, run: str = "r") -> PodsSeen:
        return PodsOfRun(self.batch, self.core).look("a", run, "credit")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Asked]:
    with Asked(tmp_path) as asked:
        yield asked


def test_one_list_serves_all_steps_of_a_round(cluster: Asked) -> None:
    names = "a", "b", "c"
    cluster.step_jobs("r", *names)
    pods = PodsOfRun(cluster.batch, cluster.core)
    first = [pods.look(name, "r", "credit").pods_of(name)[0] for name in names]
    assert [pod.metadata.name for pod in first] == ["a-00000", "b-00000", "c-00000"]
    assert len(cluster.requests) == 2
    cluster.pods[1].phase = "Running"
    second = [pods.look(name, "r", "credit").pods_of(name)[0] for name in names]
    assert len(cluster.requests) == 4
    assert [pod.status.phase for pod in second] == ["Pending", "Running", "Pending"]
    assert [one is other for one, other in zip(first, second, strict=True)] == [True, False, True]


def test_an_api_that_is_away_is_asked_once_a_round(cluster: Asked) -> None:
    cluster.denied["GET /apis/batch/v1/namespaces/credit/jobs"] = {"code": 503, "message": "shutting down"}
    pods = PodsOfRun(cluster.batch, cluster.core)
    for name in ("a", "b", "c"):
        with pytest.raises(kubernetes.client.ApiException):
            pods.look(name, "r", "credit")
    assert len(cluster.requests) == 1


def test_a_server_that_asks_for_patience_does_not_stop_the_executor(cluster: Asked) -> None:
    """The client would sleep for as long as it is asked to, and then ask again, three times."""
    cluster.refuses = lambda job: (429, "too many requests", {"Retry-After": "3600"})
    with pytest.raises(kubernetes.client.ApiException) as caught:
        cluster.batch.create_namespaced_job("credit", {"metadata": {"name": "a", "labels": {}}})
    refusal = refusal_of(caught.value)
    assert refusal is not None
    assert (refusal.wait, refusal.permanent, refusal.for_all) == (3600.0, False, True)
    assert len(cluster.requests) == 1


def test_steps_belong_to_the_newest_job_of_their_run_and_follow_it(cluster: Asked) -> None:
    """A run pod that is moved to another node takes no training with it: the run is resumed in another Job."""
    cluster.run_job("dagster-run-r", "2026-03-01T12:00:00Z")
    handover = Handover(cluster.batch, cluster.core, JobRemover(cluster.batch))
    job = kubernetes.client.V1Job(metadata=kubernetes.client.V1ObjectMeta(name="a"))
    handover.own(job, "r", "credit")
    assert [(one.kind, one.uid) for one in job.metadata.owner_references] == [("Job", "dagster-run-r")]

    cluster.step_jobs("r", "a", "b")
    cluster.pods[1].end(0)
    cluster.run_job("dagster-run-r-1", "2026-03-01T13:00:00Z")
    resumed = Handover(cluster.batch, cluster.core, JobRemover(cluster.batch))
    resumed.adopt(cluster.look(), "r", "credit")
    owners = {name: cluster.alive[name]["metadata"].get("ownerReferences") for name in ("a", "b")}
    newest = {"apiVersion": "batch/v1", "kind": "Job", "name": "dagster-run-r-1", "uid": "dagster-run-r-1"}
    assert owners == {"a": [newest], "b": None}, "one that has ended stays as it is"
    asked = len(cluster.requests)
    resumed.adopt(cluster.look(), "r", "credit")
    assert len(cluster.requests) == asked + 2, "once"


def test_steps_that_cannot_follow_for_now_follow_later_and_those_that_may_not_work_on(cluster: Asked) -> None:
    cluster.step_jobs("r", "a")
    cluster.run_job("dagster-run-r-1", "2026-03-01T13:00:00Z")
    resumed = Handover(cluster.batch, cluster.core, JobRemover(cluster.batch))
    patch = "PATCH /apis/batch/v1/namespaces/credit/jobs/a"
    cluster.denied[patch] = {"code": 503, "message": "shutting down"}
    with pytest.raises(kubernetes.client.ApiException) as refused:
        resumed.adopt(cluster.look(), "r", "credit")
    refusal = refusal_of(refused.value)
    assert refusal is not None
    assert not refusal.permanent, "the look at the steps is tried again"
    cluster.denied.clear()
    resumed.adopt(cluster.look(), "r", "credit")
    assert [one["name"] for one in cluster.alive["a"]["metadata"]["ownerReferences"]] == ["dagster-run-r-1"]

    cluster.step_jobs("r", "b")
    cluster.denied[patch.replace("jobs/a", "jobs/b")] = {"code": 403, "message": "cannot patch resource jobs"}
    Handover(cluster.batch, cluster.core, JobRemover(cluster.batch)).adopt(cluster.look(), "r", "credit")
    assert "ownerReferences" not in cluster.alive["b"]["metadata"]


@pytest.mark.parametrize("tag", [PARENT_RUN_TAG, LOST_RUN_TAG])
def test_a_run_in_the_place_of_a_lost_one_ends_its_steps_first(cluster: Asked, tag: str) -> None:
    cluster.step_jobs("lost", "a", "b", "c")
    cluster.pods[0].end(0)
    cluster.pods[1].outlives = True
    handover = Handover(cluster.batch, cluster.core, JobRemover(cluster.batch))
    run: Any = SimpleNamespace(tags={tag: "lost"})
    at_work: Any = SimpleNamespace(get_run_by_id=lambda run_id: SimpleNamespace(is_finished=False))
    beside = Handover(cluster.batch, cluster.core, JobRemover(cluster.batch))
    assert beside.run_before(at_work, run, "credit", datetime.now(UTC)) == ""
    assert set(cluster.alive) == {"a", "b", "c"}, "a run that has not ended keeps its steps"

    ended: Any = SimpleNamespace(get_run_by_id=lambda run_id: SimpleNamespace(is_finished=True))
    words = handover.run_before(ended, run, "credit", datetime.now(UTC))
    assert words == "pod b-00000 of run lost has to end first"
    assert set(cluster.alive) == {"a"}, "one that has ended is left for who looks at it"
    assert handover.run_before(ended, run, "credit", datetime.now(UTC)) == words
    cluster.pods[1].end(0)
    assert handover.run_before(ended, run, "credit", datetime.now(UTC)) == ""
    asked = len(cluster.requests)
    assert handover.run_before(ended, run, "credit", datetime.now(UTC)) == ""
    assert len(cluster.requests) == asked


def test_a_job_that_cannot_be_deleted_for_now_is_deleted_later(cluster: Asked) -> None:
    cluster.step_jobs("r", "a", "b")
    remover = JobRemover(cluster.batch)
    cluster.denied["DELETE /apis/batch/v1/namespaces/credit/jobs/a"] = {"code": 503, "message": "shutting down"}
    assert not remover.delete("a", "credit")
    remover.again()
    assert set(cluster.alive) == {"a", "b"}
    cluster.denied.clear()
    remover.again()
    assert set(cluster.alive) == {"b"}
    assert remover.delete("a", "credit"), "it is gone"
    asked = len(cluster.requests)
    remover.again()
    assert len(cluster.requests) == asked, "nothing is left to do"


def test_a_pod_that_works_on_when_its_step_has_ended_is_ended(cluster: Asked) -> None:
    cluster.step_jobs("r", "a", "b")
    cluster.pods[1].end(0)
    remover, now = JobRemover(cluster.batch), datetime.now(UTC)
    for later in (0, 2, 3):
        for name in ("a", "b"):
            remover.end_of(name, "credit", cluster.look(), now + timedelta(minutes=later))
        assert ("a" in cluster.alive) == (later < 3)
    assert "b" in cluster.alive, "one that has ended goes by its own time"
