"""Runs whose own Job the Kubernetes API refuses, and what the daemon makes of them, which takes them from the queue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.remote_origin import RemoteJobOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from credit_assets.cluster import job_sender, refusals, run_launcher, run_queue
from credit_assets.cluster.run_launcher import JobNotMadeError
from credit_assets_tests.support import two_steps
from credit_assets_tests.support.sensors import repository_origin
from credit_assets_tests.support.step_runs import Run, run_of_two_steps

Answer = tuple[int, str, dict[str, str]]
POST = "POST /apis/batch/v1/namespaces/credit/jobs"
Status = dg.DagsterRunStatus
QUOTA = (
    'jobs.batch "dagster-run-1" is forbidden: exceeded quota: credit-assets, requested: count/jobs.batch=1, '
    "used: count/jobs.batch=500, limited: count/jobs.batch=500"
)
NO_ROOM: Answer = (403, QUOTA, {})


class Queue:
    """Runs in the queue of an instance, and the daemon that takes them from it."""

    def __init__(self, two: Run) -> None:
        self.cluster, self.folder = two.cluster, two.folder
        self.refused: dict[str, list[Answer | str]] = {}
        two.cluster.no_pods[""] = "no pods of runs here"
        two.cluster.refuses = self._answer
        self.instance = two.instance
        self.restart()

    def _answer(self, job: dict[str, Any]) -> Answer | str | None:
        left = self.refused.get(job["metadata"]["labels"]["dagster/run-id"], [])
        # The last goes on for ever.
        return (left.pop(0) if len(left) > 1 else left[0]) if left else None

    def add(
        self, *refused: Answer | str, status: Status = Status.NOT_STARTED, context: dict[str, Any] | None = None
    ) -> str:
        """A run in the queue, to whose Job the API answers this, and the last for ever."""
        job = dg.reconstructable(two_steps.make_job)
        origin = job.get_python_origin()
        repository = origin.repository_origin._replace(container_context=context)
        run = self.instance.create_run_for_job(
            job.get_definition(),
            job_code_origin=origin._replace(repository_origin=repository),
            remote_job_origin=RemoteJobOrigin(repository_origin(), "two_steps"),
            status=status,
        )
        self.refused[run.run_id] = list(refused)
        if status is Status.NOT_STARTED:
            self.instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run.run_id)
        return str(run.run_id)

    def restart(self) -> None:
        """The daemon is another process afterwards, which knows what is stored."""
        self.instance = dg.DagsterInstance.from_ref(self.instance.get_ref())
        self.daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)

    def round(self) -> None:
        """The daemon takes from the queue what it takes at a time."""
        process: Any = SimpleNamespace(instance=self.instance, create_request_context=lambda: None)
        for _ in self.daemon.run_iteration(process):
            pass

    def cancel(self, run_id: str) -> None:
        """As the pages do."""
        coordinator: Any = self.instance.run_coordinator
        assert coordinator.cancel_run(run_id)

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def status(self, run_id: str) -> Status:
        return self.run(run_id).status

    def made(self) -> list[str]:
        """Ids of the runs whose Jobs were made."""
        return [job["metadata"]["labels"]["dagster/run-id"] for job in self.cluster.jobs]

    def asked(self) -> int:
        return self.cluster.requests.count(POST)

    def said(self, run_id: str, kind: dg.DagsterEventType = dg.DagsterEventType.ENGINE_EVENT) -> list[str]:
        events = [one.dagster_event for one in self.instance.all_logs(run_id, of_type=kind)]
        return [one.message or "" for one in events if one is not None]

    def waits(self, run_id: str) -> list[str]:
        return [one for one in self.said(run_id) if one.startswith(f"Run {run_id[:8]} waits")]

    def failure(self, run_id: str) -> str:
        (words,) = self.said(run_id, dg.DagsterEventType.RUN_FAILURE)
        return words


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with (
        pytest.MonkeyPatch.context() as patch,
        run_of_two_steps(tmp_path_factory.mktemp("runs"), patch) as found,
    ):
        yield found


@pytest.fixture
def queue(two: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """Of which a run that was put back may be taken at once."""
    monkeypatch.setattr(job_sender, "PAUSE", timedelta(0))
    monkeypatch.setattr(job_sender, "_MOST", timedelta(0))
    monkeypatch.setenv("CREDIT_PENDING_MINUTES", "7")
    two.cluster.jobs.clear()
    two.cluster.requests.clear()
    found = Queue(two)
    yield found
    two.cluster.away = False
    two.cluster.speaks.set()
    for run in found.instance.get_runs():
        if not run.is_finished:
            found.instance.report_run_canceled(run)
    found.instance.dispose()


@pytest.fixture
def held(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Of which no run that was put back is taken again before the test is over."""
    monkeypatch.setattr(job_sender, "PAUSE", timedelta(hours=1))
    queue.restart()
    return queue


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_launcher, "_patience", lambda job: timedelta(0))


@pytest.mark.parametrize(
    "answer",
    [
        NO_ROOM,
        (403, 'jobs.batch "r" is forbidden: status unknown for quota: credit-assets, resources: count/jobs.batch', {}),
        (409, "Operation cannot be fulfilled on resourcequotas: the object has been modified", {}),
        (429, "too many requests", {"Retry-After": "0"}),
        (500, 'Internal error occurred: failed calling webhook "kyverno": context deadline exceeded', {}),
        (503, "apiserver is shutting down", {}),
        (401, "Unauthorized", {}),
    ],
)
def test_a_run_whose_job_is_not_taken_for_now_waits_and_starts(queue: Queue, answer: Answer) -> None:
    run_id = queue.add(answer)
    for asked in (1, 2):
        queue.round()
        assert (queue.status(run_id), queue.asked()) == (Status.QUEUED, asked)
    queue.refused[run_id].clear()
    queue.round()
    assert (queue.status(run_id), queue.made()) == (Status.STARTING, [run_id])
    (said,) = queue.waits(run_id)
    assert said == (
        f"Run {run_id[:8]} waits for its Job, which is not taken for now: the Kubernetes API answers {answer[0]}: "
        f"{answer[1].rstrip('.')}. It is tried again within a minute; where a quota has no room, runs that end make "
        "some. It is given up after 7 minutes (CREDIT_PENDING_MINUTES)."
    )
    queue.round()
    assert queue.asked() == 3, "what has started is not launched again"


@pytest.mark.parametrize("silent", [False, True])
def test_a_run_waits_while_the_api_is_away(queue: Queue, monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    monkeypatch.setattr(refusals, "TIMEOUT", (0.2, 0.2))
    run_id = queue.add()
    queue.cluster.away = not silent
    if silent:
        queue.cluster.speaks.clear()
    queue.round()
    assert queue.status(run_id) is Status.QUEUED
    assert "the Kubernetes API does not answer" in queue.waits(run_id)[0]
    queue.cluster.away = False
    queue.cluster.speaks.set()
    queue.round()
    assert (queue.status(run_id), queue.made()) == (Status.STARTING, [run_id])


def test_a_job_whose_answer_was_lost_is_made_once(queue: Queue) -> None:
    run_id = queue.add("lost")
    queue.round()
    assert (queue.status(run_id), queue.made()) == (Status.QUEUED, [run_id])
    queue.refused.clear()
    queue.round()
    assert (queue.status(run_id), queue.made(), queue.asked()) == (Status.STARTING, [run_id], 2)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("restarted", [False, True])
def test_a_run_that_waits_for_long_is_given_up_as_refused(queue: Queue, restarted: bool) -> None:
    run_id = queue.add(NO_ROOM)
    queue.round()
    assert queue.status(run_id) is Status.QUEUED, "the first refusal is the beginning of its wait"
    if restarted:
        queue.restart()
    queue.round()
    assert queue.status(run_id) is Status.FAILURE
    assert queue.failure(run_id) == (
        "The run was not started: its Job could not be made for 0 minutes: the Kubernetes API answers 403: "
        f"{QUOTA} [refused]"
    )
    queue.round()
    assert (queue.asked(), queue.made()) == (2, [])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (422, 'Job.batch "r" is invalid: spec.template.spec.containers[0].resources.limits: must be greater'),
        (403, 'jobs.batch is forbidden: User "system:serviceaccount:credit:dagster" cannot create resource "jobs"'),
        (404, 'namespaces "credit" not found'),
    ],
)
def test_a_run_whose_job_is_refused_for_good_fails_at_once(queue: Queue, code: int, words: str) -> None:
    run_id = queue.add((code, words, {}))
    queue.round()
    assert queue.failure(run_id) == (
        f"The run was not started: its Job was refused: the Kubernetes API answers {code}: {words} [refused]"
    )
    assert queue.asked() == 1


def test_a_run_that_waits_holds_up_no_other_and_is_not_asked_for_before_it_is_time(held: Queue) -> None:
    waits, other, later = held.add(NO_ROOM), held.add(), held.add()
    for _ in range(3):
        held.round()
    assert (held.made(), held.asked()) == ([other, later], 3)
    assert [held.status(one) for one in (waits, other, later)] == [Status.QUEUED, Status.STARTING, Status.STARTING]
    starts = [held.instance.all_logs(waits, of_type=kind) for kind in (dg.DagsterEventType.RUN_STARTING,)]
    assert [len(one) for one in starts] == [1], "nor does its log grow meanwhile"


def test_while_the_api_is_away_one_run_finds_out_for_all(held: Queue) -> None:
    first, second = held.add(), held.add((503, "not asked", {}))
    held.cluster.away = True
    held.round()
    held.cluster.away = False
    assert [held.status(one) for one in (first, second)] == [Status.QUEUED] * 2
    assert "is not asked again yet" in held.waits(second)[0]


def test_what_a_daemon_put_back_the_next_one_launches(held: Queue) -> None:
    run_id = held.add(NO_ROOM)
    held.round()
    held.refused.clear()
    held.round()
    assert held.made() == [], "it is not time to"
    held.restart()
    held.round()
    assert (held.status(run_id), held.made()) == (Status.STARTING, [run_id])


def test_a_run_in_the_place_of_one_that_was_canceled_does_not_wait_for_it(held: Queue) -> None:
    first, second = held.add(NO_ROOM), held.add()
    held.round()
    held.cancel(first)
    again = held.add()
    held.instance.add_run_tags(again, {run_queue.PUT_BACK: held.run(first).tags[run_queue.PUT_BACK]})
    held.round()
    assert held.made() == [second, again]


@pytest.mark.parametrize("room", [False, True])
def test_a_run_that_is_canceled_while_it_waits_is_not_launched_any_more(queue: Queue, room: bool) -> None:
    run_id = queue.add(NO_ROOM)
    queue.round()
    queue.cancel(run_id)
    if room:
        queue.refused.clear()
    queue.round()
    assert (queue.status(run_id), queue.made()) == (Status.CANCELED, [])


@pytest.mark.parametrize("patient", [False, True])
def test_a_run_that_is_canceled_while_the_api_is_asked_is_not_put_back(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    """At that moment the run is starting, and whoever cancels it asks for a Job that is not there."""
    run_id = queue.add(NO_ROOM)
    launcher: Any = queue.instance.run_launcher

    def canceled(job: dict[str, Any]) -> Answer:
        launcher.terminate(run_id)
        return NO_ROOM

    queue.cluster.refuses = canceled
    if not patient:
        monkeypatch.setattr(run_launcher, "_patience", lambda job: timedelta(minutes=-1))
    queue.round()
    assert queue.status(run_id) is Status.CANCELED
    queue.round()
    assert (queue.status(run_id), queue.asked()) == (Status.CANCELED, 1)


def test_a_run_that_is_canceled_just_as_it_is_put_back_is_canceled(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = queue.add(NO_ROOM)
    instance: Any = queue.instance
    tag = instance.add_run_tags

    def tagged(about: str, tags: dict[str, str]) -> None:
        tag(about, tags)
        if run_queue.PUT_BACK in tags:
            instance.run_launcher.terminate(about)

    monkeypatch.setattr(instance, "add_run_tags", tagged)
    queue.round()
    assert queue.status(run_id) is Status.CANCELED


def test_what_a_run_waits_for_is_said_once_a_minute(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = queue.add(NO_ROOM, (503, "apiserver is shutting down", {}), NO_ROOM)
    for _ in range(3):
        queue.round()
    assert [QUOTA in said for said in queue.waits(run_id)] == [True]
    monkeypatch.setattr(run_queue, "_EVERY", timedelta(0))
    queue.round()
    assert len(queue.waits(run_id)) == 2


def test_the_patience_of_a_run_is_that_of_its_code_location(queue: Queue) -> None:
    annotations = {run_launcher.PENDING_MINUTES: "3"}
    context = {"k8s": {"run_k8s_config": {"job_metadata": {"annotations": annotations}}}}
    run_id, of_location = queue.add(NO_ROOM), queue.add(NO_ROOM, context=context)
    queue.round()
    assert "given up after 7 minutes" in queue.waits(run_id)[0]
    assert "given up after 3 minutes" in queue.waits(of_location)[0]


def test_without_a_queue_a_refusal_is_what_whoever_launches_is_told(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = queue.add(NO_ROOM, status=Status.STARTING)
    monkeypatch.setattr(run_launcher, "PatientRunCoordinator", type(None))
    with pytest.raises(JobNotMadeError, match="exceeded quota"):
        queue.instance.launch_run(run_id, None)  # type: ignore[arg-type]
    assert queue.status(run_id) is Status.FAILURE


# A run that goes on in another pod


def resumed(queue: Queue, *refused: Answer) -> dg.DagsterRun:
    run_id = queue.add(*refused, status=Status.STARTED)
    queue.instance.resume_run(run_id, None, 1)  # type: ignore[arg-type]
    return queue.run(run_id)


def test_a_run_that_goes_on_in_another_pod_waits_for_its_job(queue: Queue) -> None:
    run = resumed(queue, NO_ROOM)
    launcher: Any = queue.instance.run_launcher
    assert queue.status(run.run_id) is Status.STARTED
    assert QUOTA in queue.waits(run.run_id)[0]
    looks = [launcher.check_run_worker_health(run) for _ in range(2)]
    assert [look.status for look in looks] == [WorkerStatus.RUNNING] * 2
    assert QUOTA in looks[0].msg
    queue.refused.clear()
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
    assert [job["metadata"]["name"] for job in queue.cluster.jobs] == [f"dagster-run-{run.run_id}-1"]


@pytest.mark.usefixtures("no_patience")
def test_a_run_that_cannot_go_on_for_long_is_given_up(queue: Queue) -> None:
    run = resumed(queue, NO_ROOM)
    launcher: Any = queue.instance.run_launcher
    look = launcher.check_run_worker_health(run)
    assert (look.status, QUOTA in look.msg) == (WorkerStatus.FAILED, True)


def test_a_run_that_may_not_go_on_fails_at_once(queue: Queue) -> None:
    with pytest.raises(JobNotMadeError, match="cannot create"):
        resumed(queue, (403, 'User "dagster" cannot create resource "jobs"', {}))
