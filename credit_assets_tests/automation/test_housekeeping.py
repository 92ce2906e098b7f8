"""Tidying up after runs: every end of a run closes what it left open in MLflow, and runs lost together with the code
server, which Dagster's own daemon gives up, are started again.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution

from credit_assets.automation import housekeeping
from credit_assets.automation.housekeeping import HOUSEKEEPING, housekeeping_sensor
from credit_assets.build import build_definitions
from credit_assets.failures import TransientError
from credit_assets.instance.home import instance_of
from credit_assets.processes import began, own_mark
from credit_assets.settings import load_settings
from credit_assets.storage.claims import Claims
from credit_assets.tags import LOST_BEFORE_TAG, LOST_RUN_TAG, PROCESS_TAG
from credit_assets_tests.support.ports import free_port
from credit_assets_tests.support.sensors import DAYS, Ticker, run

DAY = "2025-01-31"
LOCATION = "credit-assets"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_of(load_settings(home=tmp_path)) as found:
        yield found


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(load_settings(home=tmp_path_factory.mktemp("home"), start_date="2025-01-01"))


@pytest.fixture
def nobody_listens() -> int:
    """A port of this machine on which no code server answers."""
    return free_port()


def lost(instance: dg.DagsterInstance, defs: dg.Definitions, port: int, **tags: str) -> dg.DagsterRun:
    """A run whose worker is gone, as run monitoring leaves it."""
    origin = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin("localhost", port, None, LOCATION), "__repository__")
    run = instance.create_run_for_job(
        defs.resolve_job_def("retrain_model"),
        tags={"dagster/partition": DAY, "dagster/max_retries": "2", **tags},
        remote_job_origin=RemoteJobOrigin(origin, "retrain_model"),
    )
    instance.report_run_failed(run, "the run worker is gone")
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.tags["dagster/will_retry"] == "true"
    return found


def daemon_tries_again(instance: dg.DagsterInstance, port: int) -> None:
    """One look of the daemon at failed runs, while the code server does not answer."""
    target = GrpcServerTarget(host="localhost", port=port, socket=None, location_name=LOCATION)
    with WorkspaceProcessContext(instance, target) as workspace:
        records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        list(consume_new_runs_for_automatic_reexecution(workspace, records, logging.getLogger(__name__)))


class Closed:
    """Stands in for the tracking resource and remembers what was closed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fails: Exception | None = None
        self.runs = self

    def close(self, dagster_run_id: str, status: str) -> None:
        if self.fails:
            raise self.fails
        self.calls.append((dagster_run_id, status))


def tick(instance: dg.DagsterInstance, defs: dg.Definitions, tracking: Closed | None = None) -> Any:
    repository, claims = defs.get_repository_def(), Claims(str(Path(instance.root_directory).parent / "store"))
    resources = {"tracking": tracking or Closed(), "claims": claims}
    context = dg.build_sensor_context(instance=instance, repository_def=repository, resources=resources)
    return repository.get_sensor_def(HOUSEKEEPING).evaluate_tick(context)


def test_a_run_that_the_daemon_gave_up_is_started_again(
    instance: dg.DagsterInstance, defs: dg.Definitions, nobody_listens: int
) -> None:
    run = lost(instance, defs, nobody_listens, **{"credit-assets/trigger": "drift"})
    assert tick(instance, defs).skip_message.endswith("no run was lost")  # while the daemon's own retry is to come
    daemon_tries_again(instance, nobody_listens)
    (request,) = tick(instance, defs).run_requests
    assert (request.job_name, request.partition_key, request.run_key) == ("retrain_model", DAY, run.run_id)
    asked = {name: value for name, value in request.tags.items() if name.startswith("credit-assets/")}
    assert asked == {"credit-assets/trigger": "drift", LOST_RUN_TAG: run.run_id, LOST_BEFORE_TAG: "1"}
    assert "dagster/will_retry" not in request.tags


def test_two_daemons_that_look_at_once_start_a_lost_run_once(
    instance: dg.DagsterInstance, defs: dg.Definitions, nobody_listens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lost(instance, defs, nobody_listens)
    daemon_tries_again(instance, nobody_listens)
    barrier = threading.Barrier(2)
    take = housekeeping.take

    def together(*arguments: Any) -> bool:
        # Both have looked, and neither has started anything.
        barrier.wait()
        return take(*arguments)

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(housekeeping, "take", together)
        found = list(pool.map(lambda _: tick(instance, defs).run_requests or [], range(2)))
    assert [request.run_key for requests in found for request in requests] == [run.run_id]
    # Whoever had the turn was killed before it started the run: it is started by the next, when the time is up.
    assert not tick(instance, defs).run_requests
    monkeypatch.setattr(housekeeping, "_TURN", timedelta(0))
    assert [request.run_key for request in tick(instance, defs).run_requests] == [run.run_id]
    # And no more once it is there.
    instance.create_run_for_job(defs.resolve_job_def("retrain_model"), tags={LOST_RUN_TAG: run.run_id})
    assert tick(instance, defs).skip_message.endswith("no run was lost")


def test_a_lost_run_is_started_again_while_mlflow_does_not_answer(
    instance: dg.DagsterInstance, defs: dg.Definitions, nobody_listens: int
) -> None:
    run, tracking = lost(instance, defs, nobody_listens), Closed()
    daemon_tries_again(instance, nobody_listens)
    tracking.fails = TransientError("MLflow does not answer")
    (request,) = tick(instance, defs, tracking).run_requests
    assert request.run_key == run.run_id


def test_a_run_whose_process_was_killed_is_ended_and_left_to_the_daemon(
    instance: dg.DagsterInstance, defs: dg.Definitions, nobody_listens: int
) -> None:
    origin = RemoteRepositoryOrigin(
        GrpcServerCodeLocationOrigin("localhost", nobody_listens, None, LOCATION), "__repository__"
    )
    run = instance.create_run_for_job(
        defs.resolve_job_def("retrain_model"),
        tags={"dagster/partition": DAY},
        remote_job_origin=RemoteJobOrigin(origin, "retrain_model"),
    )
    killed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    mark = replace(own_mark(), pid=killed.pid, began=began(killed.pid) or "")
    instance.add_run_tags(run.run_id, {PROCESS_TAG: json.dumps({**json.loads(mark.to_json()), "run": run.run_id})})
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", run.job_name, message=""), run.run_id)
    tracking = Closed()
    tick(instance, defs, tracking)
    assert [one.run_id for one in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))]
    killed.kill()
    killed.wait()
    tick(instance, defs, tracking)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    # Dagster's own retry starts it again, and MLflow is told in the same tick.
    assert (found.status, found.tags["dagster/will_retry"]) == (dg.DagsterRunStatus.FAILURE, "true")
    assert tracking.calls == [(run.run_id, "FAILURE")]


def test_twice_and_no_more(instance: dg.DagsterInstance, defs: dg.Definitions, nobody_listens: int) -> None:
    lost(instance, defs, nobody_listens, **{LOST_BEFORE_TAG: "1"})
    lost(instance, defs, nobody_listens, **{LOST_BEFORE_TAG: "2"})
    daemon_tries_again(instance, nobody_listens)
    (request,) = tick(instance, defs).run_requests
    assert request.tags[LOST_BEFORE_TAG] == "2"


def test_a_run_that_failed_by_itself_or_was_started_again_by_hand_stays_as_it_is(
    instance: dg.DagsterInstance, defs: dg.Definitions, nobody_listens: int
) -> None:
    by_itself = lost(instance, defs, nobody_listens)
    instance.add_run_tags(by_itself.run_id, {"dagster/will_retry": "false"})
    assert tick(instance, defs).skip_message.endswith("no run was lost")
    instance.delete_run(by_itself.run_id)
    by_hand = lost(instance, defs, nobody_listens)
    daemon_tries_again(instance, nobody_listens)
    assert tick(instance, defs).run_requests
    instance.create_run_for_job(
        defs.resolve_job_def("retrain_model"),
        parent_run_id=by_hand.run_id,
        root_run_id=by_hand.run_id,
        tags={"dagster/parent_run_id": by_hand.run_id, "dagster/root_run_id": by_hand.run_id},
    )
    assert tick(instance, defs).skip_message.endswith("no run was lost")


@dg.asset(partitions_def=DAYS)
def broken() -> None:
    raise ValueError("broken")


@dg.asset(partitions_def=DAYS)
def fine() -> None: ...


def test_each_end_of_a_run_closes_its_tracking_once(tmp_path: Path) -> None:
    tracking = Closed()
    jobs = [dg.define_asset_job(f"{name}_job", selection=[name]) for name in ("broken", "fine")]
    defs = dg.Definitions(
        [broken, fine],
        jobs=jobs,
        sensors=[housekeeping_sensor(jobs)],
        resources={"tracking": tracking, "claims": Claims(str(tmp_path))},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        ticker = Ticker(defs, HOUSEKEEPING, instance)
        good, bad = run(defs, "fine_job", instance), run(defs, "broken_job", instance)
        gone = instance.create_run_for_job(defs.resolve_job_def("fine_job"))
        instance.report_run_canceled(gone)
        ticker.tick()
        ends = [(good, "SUCCESS"), (bad, "FAILURE"), (gone.run_id, "CANCELED")]
        assert tracking.calls == ends
        ticker.tick()
        assert tracking.calls == ends
        # Where MLflow does not answer, the tick says so and the next one meets the same run.
        tracking.fails = TransientError("MLflow does not answer")
        last = run(defs, "fine_job", instance)
        assert "cannot reach MLflow" in (ticker.tick().skip_message or "")
        tracking.fails = None
        ticker.tick()
        assert tracking.calls == [*ends, (last, "SUCCESS")]
