"""Runs whose process was killed: ended by whoever comes next, with their pool slots, and never those that live."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import dagster as dg
import psutil
import pytest

from credit_assets.failures import TransientError
from credit_assets.instance.home import instance_of
from credit_assets.instance.lost_runs import end_lost_runs, in_this_process, lost_runs, process_of, process_tags
from credit_assets.naming import PLAIN
from credit_assets.processes import own_mark
from credit_assets.settings import load_settings
from credit_assets.tags import PORTFOLIO_TAG, PROCESS_TAG
from credit_assets_tests.support.lost import COMMAND, POOL, run_under_way

Status = dg.DagsterRunStatus
# No process has it: above what Linux gives.
NOBODY = 2**22 + 1


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_of(load_settings(home=tmp_path)) as found:
        yield found


def left(instance: dg.DagsterInstance, status: Status = Status.STARTED, of: str = "", **tags: str) -> dg.DagsterRun:
    """A run as a process that is gone leaves it."""
    mark = {**json.loads(replace(own_mark(), pid=NOBODY).to_json())}
    run = instance.create_run_for_job(dg.JobDefinition(graph_def=dg.GraphDefinition("some")), tags=tags)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: json.dumps({**mark, "run": of or run.run_id})})
    for event in _EVENTS[status]:
        instance.report_dagster_event(dg.DagsterEvent(event.value, "some", message=""), run.run_id)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == status
    return found


_EVENTS = {
    Status.NOT_STARTED: (),
    Status.STARTING: (dg.DagsterEventType.RUN_STARTING,),
    Status.STARTED: (dg.DagsterEventType.RUN_START,),
    Status.CANCELING: (dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_CANCELING),
    Status.SUCCESS: (dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS),
}


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Status:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


@pytest.mark.parametrize(
    "way", [COMMAND, *(pytest.param(one, marks=pytest.mark.slow) for one in ("in_process", "multiprocess"))]
)
def test_a_run_whose_process_was_killed_is_ended_and_gives_its_pool_back(
    instance: dg.DagsterInstance, tmp_path: Path, way: str
) -> None:
    process = run_under_way(way, tmp_path)
    (run,) = instance.get_runs()
    mark = process_of(run)
    assert mark is not None
    assert mark.pid == process.pid
    assert end_lost_runs(instance, PLAIN) == []
    assert instance.event_log_storage.get_concurrency_info(POOL).active_slot_count == 1
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    closed: list[tuple[str, str]] = []
    (line,) = end_lost_runs(instance, PLAIN, lambda *end: closed.append(end))
    assert str(process.pid) in line
    assert closed == [(run.run_id, "FAILURE")]
    assert status(instance, run) == Status.FAILURE
    assert instance.event_log_storage.get_concurrency_info(POOL).active_slot_count == 0
    assert end_lost_runs(instance, PLAIN, lambda *end: closed.append(end)) == []
    assert len(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)) == 1
    # Nothing could start it again, and nobody is told of a run that will be.
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.tags["dagster/will_retry"] == "false"


@pytest.mark.slow
def test_steps_in_processes_of_their_own_end_with_that_of_their_run(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Killed alone, it takes nothing with it: they have to notice."""
    process = run_under_way("multiprocess", tmp_path)
    others = psutil.Process(process.pid).children(recursive=True)
    assert len(others) >= 3, "the fork server, what it tracks, and the step"
    process.kill()
    process.wait()
    _, left = psutil.wait_procs(others, timeout=300)
    assert left == []
    assert len(end_lost_runs(instance, PLAIN)) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Status.NOT_STARTED, Status.FAILURE),
        (Status.STARTING, Status.FAILURE),
        (Status.STARTED, Status.FAILURE),
        (Status.CANCELING, Status.CANCELED),
        (Status.SUCCESS, Status.SUCCESS),
    ],
)
def test_every_run_that_has_not_ended_is_ended_as_it_stood(
    instance: dg.DagsterInstance, before: Status, after: Status
) -> None:
    run, closed = left(instance, before), []
    end_lost_runs(instance, PLAIN, lambda _, end: closed.append(end))
    assert status(instance, run) == after
    assert closed == {Status.FAILURE: ["FAILURE"], Status.CANCELED: ["CANCELED"]}.get(
        after if before != after else before, []
    )


def test_two_that_look_at_once_report_an_end_once(instance: dg.DagsterInstance) -> None:
    closed: list[tuple[str, str]] = []
    run, both_have_looked = left(instance), Barrier(2)

    def look() -> list[str]:
        assert any(True for _ in lost_runs(instance, PLAIN))
        both_have_looked.wait()
        return end_lost_runs(instance, PLAIN, lambda *end: closed.append(end))

    with ThreadPoolExecutor(2) as pool:
        ended = [one.result() for one in [pool.submit(look), pool.submit(look)]]
    assert sorted(map(len, ended)) == [0, 1]
    assert closed == [(run.run_id, "FAILURE")]
    assert len(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)) == 1


def test_a_run_stays_to_be_found_where_mlflow_does_not_answer(instance: dg.DagsterInstance) -> None:
    run = left(instance)

    def fails(*_: str) -> None:
        raise TransientError("MLflow does not answer")

    with pytest.raises(TransientError):
        end_lost_runs(instance, PLAIN, fails)
    assert [one.run_id for one, _ in lost_runs(instance, PLAIN)] == [run.run_id]


def test_the_mark_of_another_run_says_nothing(instance: dg.DagsterInstance) -> None:
    # Dagster copies the tags of a lost run to the one that takes its place.
    run = left(instance, of="the-lost-one")
    assert end_lost_runs(instance, PLAIN) == []
    assert status(instance, run) == Status.STARTED


def test_runs_of_others_and_of_living_processes_are_left_alone(instance: dg.DagsterInstance) -> None:
    cars = left(instance, **{PORTFOLIO_TAG: "cars"})
    mine = left(instance)
    instance.add_run_tags(mine.run_id, process_tags(mine.run_id))
    assert end_lost_runs(instance, PLAIN) == []
    assert [status(instance, run) for run in (cars, mine)] == [Status.STARTED, Status.STARTED]


def test_tags_are_kept_beside_the_mark() -> None:
    how = in_this_process({"a": "b"})
    assert how["tags"] == {"a": "b", **process_tags(how["run_id"])}
