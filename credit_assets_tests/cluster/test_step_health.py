"""What a run says and does while the cluster refuses, waits, drains, and comes back: pods here only say that they work,
so that each case is a matter of a second."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from credit_assets.cluster import attempts, losses, step_jobs
from credit_assets.cluster.step_executor import StepExecutor
from credit_assets.instance.dagster_internals import RetryMode
from credit_assets_tests.support.kube_api import Pod, event
from credit_assets_tests.support.step_runs import Run, run_of_two_steps, step_event

QUOTA = (
    'pods "dagster-step-1-abcde" is forbidden: exceeded quota: credit-assets, requested: requests.cpu=4, '
    "used: requests.cpu=14, limited: requests.cpu=16"
)
JOB_QUOTA = (
    'jobs.batch "dagster-step-1" is forbidden: exceeded quota: credit-assets, requested: count/jobs.batch=1, '
    "used: count/jobs.batch=500, limited: count/jobs.batch=500"
)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setenv("DAGSTER_STEP_DELEGATING_EXECUTOR_SLEEP_SECONDS", "0.02")
    with run_of_two_steps(tmp_path, monkeypatch) as run_of_two:
        run_of_two.plays()
        yield run_of_two


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """CREDIT_PENDING_MINUTES is over as soon as the run's log says that something waits."""
    say = step_jobs.StepJobs._say

    def say_and_lose_patience(self: step_jobs.StepJobs, *args: Any, **metadata: Any) -> None:
        say(self, *args, **metadata)
        self._patience = timedelta(0)

    monkeypatch.setattr(step_jobs.StepJobs, "_say", say_and_lose_patience)


def is_of_model(job: dict[str, Any]) -> bool:
    return bool(job["metadata"]["labels"]["dagster/op"] == "model")


# A pod that is refused


@pytest.mark.parametrize(
    "words",
    [
        f"Error creating: {QUOTA}",
        'Error creating: pods "s-1" is forbidden: maximum memory usage per Container is 8Gi, but limit is 16Gi',
        'Error creating: pods "s-1" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        'Error creating: admission webhook "validate.kyverno.svc-fail" denied the request: no label team',
        'Error creating: pods "s-1" is forbidden: error looking up service account credit/run: serviceaccount "run" '
        "not found",
    ],
)
@pytest.mark.usefixtures("hasty")
def test_a_pod_that_is_refused_is_said_and_given_up(two: Run, words: str) -> None:
    two.cluster.no_pods["model"] = words
    assert not two.execute()
    (said,) = [one for one in two.said() if "has no pod" in one]
    assert said == f"Step model has no pod: {words}. It is given up after 1 minutes (CREDIT_PENDING_MINUTES)."
    assert words in two.failure()
    assert two.failure().endswith("[refused]")
    assert [one.get("retry-reason") for one in two.labels()] == [None, "refused", "refused"]
    assert len(two.cluster.alive) == 1, "no Job is left whose pod may come when nobody waits for it"


def there_is_room_once_it_is_said(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pod that is refused comes after the run's log has said why it does not."""
    say = step_jobs.StepJobs._say

    def say_and_make_room(self: step_jobs.StepJobs, *args: Any, **metadata: Any) -> None:
        say(self, *args, **metadata)
        if two.cluster.no_pods.pop("model", None):
            two.cluster.place(two.cluster.of_step("model")[0], 0)

    monkeypatch.setattr(step_jobs.StepJobs, "_say", say_and_make_room)


def test_a_pod_that_is_refused_for_a_while_starts_when_there_is_room(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    two.cluster.no_pods["model"] = f"Error creating: {QUOTA}"
    there_is_room_once_it_is_said(two, monkeypatch)
    assert two.execute()
    assert (two.ends(), len(two.cluster.of_step("model"))) == (["STEP_SUCCESS"], 1)


@pytest.mark.parametrize("code", [403, 503])
def test_events_that_cannot_be_read_explain_nothing_and_end_nothing(
    two: Run, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    two.cluster.no_pods["model"] = f"Error creating: {QUOTA}"
    two.cluster.denied["GET /api/v1/namespaces/credit/events"] = {"code": code, "message": "no events for you"}
    there_is_room_once_it_is_said(two, monkeypatch)
    assert two.execute()
    (said,) = [one for one in two.said() if "has no pod" in one]
    assert f"its events cannot be read (the Kubernetes API answers {code}: no events for you)" in said


# A Job that is refused


class Refusals:
    """Answers of the API to the model's Job: one after the other, then it is made."""

    def __init__(self, *answers: tuple[int, str, dict[str, str]] | str) -> None:
        self.left, self.asked = list(answers), 0

    def __call__(self, job: dict[str, Any]) -> tuple[int, str, dict[str, str]] | str | None:
        if not is_of_model(job):
            return None
        self.asked += 1
        return self.left.pop(0) if self.left else None


@pytest.mark.parametrize(
    "answer",
    [
        (403, JOB_QUOTA, {}),
        (403, 'jobs.batch "s" is forbidden: status unknown for quota: credit-assets, resources: count/jobs.batch', {}),
        (409, "Operation cannot be fulfilled on resourcequotas: the object has been modified", {}),
        (429, "too many requests", {"Retry-After": "0"}),
        (500, 'Internal error occurred: failed calling webhook "kyverno": context deadline exceeded', {}),
        (503, "apiserver is shutting down", {}),
        (401, "Unauthorized", {}),
    ],
)
def test_a_job_that_is_not_taken_for_now_is_sent_again(two: Run, answer: tuple[int, str, dict[str, str]]) -> None:
    two.cluster.refuses = refusals = Refusals(*[answer] * 3)
    assert two.execute()
    assert (refusals.asked, two.ends()) == (4, ["STEP_SUCCESS"])
    (said,) = [one for one in two.said() if "waits" in one]
    assert said.startswith(f"Step model waits: the Kubernetes API answers {answer[0]}: {answer[1]}")


def test_a_job_whose_answer_was_lost_is_made_once(two: Run) -> None:
    two.cluster.refuses = Refusals("lost")
    assert two.execute()
    assert (two.ends(), len(two.cluster.of_step("model"))) == (["STEP_SUCCESS"], 1)


@pytest.mark.usefixtures("hasty")
def test_a_job_that_is_refused_for_long_is_given_up_as_refused(two: Run) -> None:
    two.cluster.refuses = Refusals(*[(403, JOB_QUOTA, {})] * 1000)
    assert not two.execute()
    assert JOB_QUOTA in two.failure()
    assert two.failure().endswith("[refused]")
    assert len(two.ends()) == 3


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (422, 'Job.batch "s" is invalid: spec.template.spec.containers[0].resources.limits: must be greater'),
        (403, 'jobs.batch is forbidden: User "system:serviceaccount:credit:run" cannot create resource "jobs"'),
        (404, 'namespaces "credit" not found'),
    ],
)
def test_a_job_that_is_refused_for_good_fails_its_step_at_once_and_no_other(two: Run, code: int, words: str) -> None:
    two.cluster.refuses = refusals = Refusals(*[(code, words, {})] * 9)
    assert not two.execute()
    assert (refusals.asked, two.ends()) == (1, ["STEP_FAILURE"]), "not tried again"
    assert words in two.failure()
    logs = two.instance.all_logs(two.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
    assert [one.step_key for one in logs] == ["source"]


def test_a_step_is_at_work_while_the_api_is_away(two: Run) -> None:
    """Longer than any number of looks; nothing is lost by it, and it is said once."""

    def away(pod: Pod) -> None:
        two.works(pod)
        two.cluster.away = True
        two.until_said("cannot be looked at")
        two.cluster.away = False
        two.succeeds(pod)

    two.plays(away)
    assert two.execute()
    assert two.ends() == ["STEP_SUCCESS"]
    assert len([one for one in two.said() if "cannot be looked at: the Kubernetes API does not answer" in one]) == 1


def test_an_api_that_is_away_when_a_job_is_to_be_made_is_waited_for(two: Run) -> None:
    made = two.cluster.refuses = Refusals()

    def gone(pod: Pod) -> None:
        two.works(pod)
        two.cluster.away = True
        two.succeeds(pod)
        two.until_said("Step model waits: the Kubernetes API does not answer")
        two.cluster.away = False

    two.plays()
    two.cluster.rules["source"] = [gone]
    assert two.execute()
    assert (made.asked, two.ends()) == (1, ["STEP_SUCCESS"])


def test_a_step_that_is_ended_while_the_api_refuses_goes_later(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    check, ended = step_jobs.StepJobs.check_step_health, []

    def end_it_once(self: step_jobs.StepJobs, context: Any) -> Any:
        name = self._get_k8s_step_job_name(context)
        if "model" in context.execute_step_args.step_keys_to_execute and not ended:
            ended.append(name)
            path = f"DELETE /apis/batch/v1/namespaces/credit/jobs/{name}"
            two.cluster.denied[path] = {"code": 503, "message": "apiserver is shutting down"}
            assert list(self.terminate_step(context)) == []
            assert name in two.cluster.alive
            del two.cluster.denied[path]
        return check(self, context)

    monkeypatch.setattr(step_jobs.StepJobs, "check_step_health", end_it_once)
    two.plays(two.works)
    assert two.execute()
    assert f"Kubernetes job {ended[0]} could not be deleted now. It goes with the run's Job." in two.said()
    assert two.reasons()[0].endswith("the Job was deleted [deleted]")


# A pod that is to go

EVICTION = [
    {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
]


def told_to_go(pod: Pod) -> None:
    pod.conditions, pod.deleted = EVICTION, datetime.now(UTC) + timedelta(seconds=30)


@pytest.mark.parametrize("waits", [True, False], ids=["podReplacementPolicy", "1.26"])
def test_a_drained_step_that_ends_within_its_grace_is_started_once(
    two: Run, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its Job counts it as failed at once as well."""
    if not waits:
        monkeypatch.setattr(attempts, "_ENDS", {})

    def drained(pod: Pod) -> None:
        two.works(pod)
        told_to_go(pod)
        two.until_looked(5)
        two.succeeds(pod)
        pod.gone = True

    two.plays(drained)
    assert two.execute()
    assert (two.ends(), len(two.cluster.of_step("model"))) == (["STEP_SUCCESS"], 1)


def test_a_drained_step_that_does_not_end_goes_on_demand_nodes(two: Run) -> None:
    """The pod's condition goes with the pod: it was seen before."""

    def drained(pod: Pod) -> None:
        two.works(pod)
        told_to_go(pod)
        two.until_said("is to go")
        pod.gone = True

    two.plays(drained)
    assert two.execute()
    assert two.ends() == ["STEP_UP_FOR_RETRY", "STEP_SUCCESS"]
    assert "its pod was taken away (EvictionByEvictionAPI: Eviction API: evicting) [taken-away]" in two.reasons()[0]
    assert two.asked(1)[1] == {"gpu-type": "a100", "capacity": "on-demand"}


def test_a_step_that_filled_its_disk_gets_more_of_it(two: Run) -> None:
    """Request, limit and the volume alike: one without the other bounds nothing more."""

    def full(pod: Pod) -> None:
        two.works(pod)
        pod.reason, pod.message = "Evicted", 'Usage of EmptyDir volume "tmp" exceeds the limit "10Gi". '
        pod.end(137)

    two.plays(full)
    assert two.execute()
    assert two.reasons()[0].endswith('exceeds the limit "10Gi". [out-of-disk]')
    first, second = (job["spec"]["template"]["spec"] for job in two.cluster.of_step("model"))
    for spec, disk in ((first, "10Gi"), (second, "20480Mi")):
        resources = spec["containers"][0]["resources"]
        assert (resources["requests"]["ephemeral-storage"], resources["limits"]["ephemeral-storage"]) == (disk, disk)
        assert [one["emptyDir"] for one in spec["volumes"] if one["name"] == "tmp"] == [{"sizeLimit": disk}]
    assert second["containers"][0]["resources"]["limits"]["memory"] == "16Gi"
    assert "capacity" not in second["nodeSelector"], "another node would not have helped"


def test_no_attempt_begins_beside_the_pod_of_the_one_before(two: Run) -> None:
    pods: list[Pod] = []

    def fails_and_stays(pod: Pod) -> None:
        pods.append(pod)
        pod.outlives = True
        two.works(pod)
        two.says(pod, "STEP_UP_FOR_RETRY")
        two.until_said("has to end first")
        pod.end(1)

    def second(pod: Pod) -> None:
        assert pods[0].phase == "Failed"
        two.works(pod)
        two.succeeds(pod)

    two.plays(fails_and_stays, second)
    assert two.execute()
    assert two.ends() == ["STEP_UP_FOR_RETRY", "STEP_SUCCESS"]
    assert pods[0].deleted is not None, "it was told to go"


@pytest.mark.parametrize("when", ["before", "beside"])
def test_a_step_that_ends_after_it_was_given_up_ends_once(two: Run, when: str) -> None:
    """Its node was silent and comes back, before or beside the next attempt: the run goes on with what it did."""
    pods: list[Pod] = []

    def silent(pod: Pod) -> None:
        pods.append(pod)
        two.works(pod)
        pod.outlives, pod.deleted = True, datetime.now(UTC) - timedelta(minutes=1)
        if when == "before":
            two.until_said("is lost")
            two.succeeds(pod)

    def second(pod: Pod) -> None:
        two.works(pod)
        two.succeeds(pods[0])
        two.succeeds(pod)

    two.plays(silent, second)
    assert two.execute()
    assert set(two.ends()) == {"STEP_UP_FOR_RETRY", "STEP_SUCCESS"}
    assert len(two.cluster.of_step("model")) <= 2


def test_the_executor_hears_of_each_end_of_a_step_once() -> None:
    starting, success, failure, retry = "STEP_WORKER_STARTING", "STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY"
    heard = {
        (starting, success): [starting, success],
        (starting, retry, starting, failure): [starting, retry, starting, failure],
        # It was given up, ended after all, and counts when it is under way again, without a second pod.
        (starting, retry, success, starting): [starting, retry, starting, success],
        (starting, retry, success, starting, failure): [starting, retry, starting, success],
        # It ended beside the attempt that was to follow it.
        (starting, retry, starting, success, success): [starting, retry, starting, success],
        (starting, success, retry): [starting, success],
        (starting, retry, failure, starting, success): [starting, retry, starting, success],
    }
    for said, expected in heard.items():
        jobs = SimpleNamespace(permanent=set(), late={}, ended=set())
        executor = StepExecutor(jobs, retries=RetryMode.ENABLED)  # type: ignore[arg-type]
        events = [step_event("model", kind) for kind in said]
        found = [one.event_type_value for event in events for one in executor._heard_once(event)]
        assert found == expected


# A container that cannot start


def test_an_image_that_no_registry_has_fails_the_step_for_good(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "UNSTARTABLE", timedelta(0))

    def pulls(pod: Pod) -> None:
        pod.node = "node-0"
        pod.waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "credit-assets:0.0.9"'}

    two.plays(pulls)
    assert not two.execute()
    assert two.ends() == ["STEP_FAILURE"]
    assert two.failure().endswith(
        'its pod cannot start: ImagePullBackOff: Back-off pulling image "credit-assets:0.0.9" [cannot-start]'
    )
    assert not [name for name in two.cluster.alive if two.cluster.pods_of(name)[0].phase == "Pending"], "it is deleted"


def test_a_pod_that_is_on_its_way_for_long_says_what_the_kubelet_says(two: Run) -> None:
    """A volume that is not there leaves no trace in the pod itself."""
    words = 'MountVolume.SetUp failed for volume "ca" : secret "ca" not found'

    def stuck(pod: Pod) -> None:
        pod.node, pod.waiting = "node-0", {"reason": "ContainerCreating"}
        two.cluster.events.append(event("Pod", pod.name, "FailedMount", words))
        two.until_said("FailedMount")
        pod.waiting = None
        two.works(pod)
        two.succeeds(pod)

    two.plays(stuck)
    assert two.execute()
    (said,) = [one for one in two.said() if "waits" in one]
    assert said.startswith(f"The pod of step model waits: FailedMount: {words}. It is given up after 1 minutes")


# Whose they are


def test_jobs_of_steps_belong_to_the_runs_job(two: Run) -> None:
    """A run pod that is moved to another node takes no training with it."""
    found: list[Any] = []

    def of_the_run(job: dict[str, Any]) -> None:
        found.append(job["metadata"].get("ownerReferences"))

    two.cluster.refuses = of_the_run
    run_jobs = [
        a_run_job("dagster-run-1", "2026-03-01T12:00:00Z"),
        a_run_job("dagster-run-1-1", "2026-03-01T13:00:00Z"),
    ]
    two.cluster.found = with_jobs(two.cluster.found, run_jobs)  # type: ignore[method-assign]
    assert two.execute()
    newest = {"apiVersion": "batch/v1", "kind": "Job", "name": "dagster-run-1-1", "uid": "dagster-run-1-1"}
    assert found == [[newest], [newest]]


def a_run_job(name: str, created: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "creationTimestamp": created}, "spec": {"template": {}}}


def with_jobs(found: Any, jobs: list[dict[str, Any]]) -> Any:
    def with_run_jobs(kind: str, query: dict[str, list[str]]) -> Any:
        of_run = kind == "jobs" and "component=run_worker" in query.get("labelSelector", [""])[0]
        return jobs if of_run else found(kind, query)

    return with_run_jobs


SOURCE_IS_DONE = [("source", one) for one in ("STEP_WORKER_STARTING", "STEP_START", "STEP_OUTPUT", "STEP_SUCCESS")]


@pytest.mark.parametrize("made", [True, False], ids=["at work", "not made yet"])
def test_a_run_pod_that_takes_over_goes_on_with_the_steps_at_work(two: Run, made: bool) -> None:
    """Its predecessor was moved away: the training goes on, and a Job that was to be made is made, as one attempt."""
    name = two.was_at_work(*SOURCE_IS_DONE, ("model", "STEP_WORKER_STARTING"))

    def goes_on(pod: Pod) -> None:
        two.works(pod)
        if made:
            two.until_looked(3)
        two.succeeds(pod)

    two.plays(goes_on)
    if made:
        labels = {
            "dagster/run-id": two.run_id,
            "dagster/op": "model",
            "app.kubernetes.io/component": "step_worker",
            "credit-assets/attempt": "1",
        }
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "dagster"}]}}
        two.cluster.create({"metadata": {"name": name, "labels": labels}, "spec": {"template": template}})
    assert two.resume()
    assert two.ends() == ["STEP_SUCCESS"]
    assert [job["metadata"]["name"] for job in two.cluster.of_step("model")] == [name]
