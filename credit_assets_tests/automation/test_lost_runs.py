"""Runs lost together with the code server: Dagster's own daemon gives them up, the sensor starts them again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import consume_new_runs_for_automatic_reexecution

from credit_assets.automation.lost_runs import LOST_RUNS_SENSOR
from credit_assets.build import build_definitions
from credit_assets.instance.home import instance_of
from credit_assets.settings import load_settings
from credit_assets.tags import LOST_BEFORE_TAG, LOST_RUN_TAG
from credit_assets_tests.support.ports import free_port

pytest_plugins = ["credit_assets_tests.support.trigger_world"]

DAY = "2025-01-31"
LOCATION = "credit-assets"


@pytest.fixture
def instance(tmp_path: Path, fresh_dagster_home: Path) -> Iterator[dg.DagsterInstance]:
    shutil.copytree(fresh_dagster_home, tmp_path / "dagster")
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


def tick(instance: dg.DagsterInstance, defs: dg.Definitions) -> Any:
    repository = defs.get_repository_def()
    context = dg.build_sensor_context(instance=instance, repository_def=repository)
    return repository.get_sensor_def(LOST_RUNS_SENSOR).evaluate_tick(context)


def test_a_run_that_the_daemon_gave_up_is_started_again(
    instance: dg.DagsterInstance, defs: dg.Definitions, nobody_listens: int
) -> None:
    run = lost(instance, defs, nobody_listens, **{"credit-assets/trigger": "drift"})
    assert tick(instance, defs).skip_message == "no run was lost"  # while the daemon's own retry is to come
    daemon_tries_again(instance, nobody_listens)
    (request,) = tick(instance, defs).run_requests
    assert (request.job_name, request.partition_key, request.run_key) == ("retrain_model", DAY, run.run_id)
    asked = {name: value for name, value in request.tags.items() if name.startswith("credit-assets/")}
    assert asked == {"credit-assets/trigger": "drift", LOST_RUN_TAG: run.run_id, LOST_BEFORE_TAG: "1"}
    assert "dagster/will_retry" not in request.tags


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
    assert tick(instance, defs).skip_message == "no run was lost"
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
    assert tick(instance, defs).skip_message == "no run was lost"
