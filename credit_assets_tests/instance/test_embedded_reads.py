"""What is read of an embedded instance's files is what the opened instance says."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorType, ScheduleInstigatorData, TickData
from dagster._daemon.types import DaemonHeartbeat

from credit_assets.instance.dagster_internals import InstigatorState, InstigatorStatus, TickStatus
from credit_assets.instance.embedded_reads import _FILES, Readable, _EmbeddedReads, readable_instance
from credit_assets.instance.home import CONFIG_FILE, instance_of
from credit_assets.instance.own_runs import own_runs
from credit_assets.instance.ownership import own_store
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.claims import Claims

KEY = dg.AssetKey("raw_loan_data")
DAYS = dg.DailyPartitionsDefinition("2024-01-01")
ENDED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


@dg.asset(partitions_def=DAYS)
def raw_loan_data() -> None: ...


@dg.op
def fails() -> None:
    raise dg.Failure("as planned")


@dg.job
def failing_job() -> None:
    fails()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with runs that went well and failed, partitions, and an asset that was wiped."""
    made = load_settings(home=tmp_path_factory.mktemp("read"))
    own_store(made, Claims(made.store))
    job = dg.define_asset_job("daily_job", [raw_loan_data])
    with environment_of(made) as instance:
        repository = dg.Definitions(assets=[raw_loan_data], jobs=[job]).get_repository_def()
        found = repository.get_job("daily_job")
        for day in ("2024-01-01", "2024-01-02", "2024-01-02"):
            assert found.execute_in_process(instance=instance, partition_key=day).success
        failing_job.execute_in_process(instance=instance, raise_on_error=False)
    return made


@contextmanager
def environment_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("DAGSTER_HOME", raising=False)
        with instance_of(settings) as instance:
            yield instance


def told(seen: Readable, settings: Settings) -> dict[str, Any]:
    """All that `status` asks."""
    states = sorted(seen.all_instigator_state(), key=lambda one: one.instigator_name)
    return {
        "partitions": {key: seen.get_materialized_partitions(dg.AssetKey(key)) for key in ("raw_loan_data", "nothing")},
        "runs": own_runs(seen, settings.naming, 10),
        "newest": seen.get_runs(limit=2),
        "after": seen.get_runs(cursor=seen.get_runs(limit=1)[0].run_id, limit=1),
        "beats": {name: one.timestamp for name, one in seen.get_daemon_heartbeats().items()},
        "states": states,
        "ticks": [
            (tick.tick_id, tick.status)
            for one in states
            for tick in seen.get_ticks(one.instigator_origin_id, one.selector_id, limit=1, statuses=ENDED)
        ],
    }


def test_the_files_say_what_the_instance_says(settings: Settings) -> None:
    with environment_of(settings) as instance:
        expected = told(instance, settings)
    with readable_instance(settings) as seen:
        assert isinstance(seen, _EmbeddedReads)
        assert told(seen, settings) == expected
    assert expected["partitions"]["raw_loan_data"] == {"2024-01-01", "2024-01-02"}
    assert [run.status.value for run in expected["newest"]] == ["FAILURE", "SUCCESS"]
    assert len(expected["runs"]) == 4


def test_a_wiped_asset_has_the_partitions_that_came_after(settings: Settings) -> None:
    with environment_of(settings) as instance:
        instance.wipe_assets([KEY])
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition="2024-01-09"))
        expected = instance.get_materialized_partitions(KEY)
    with readable_instance(settings) as seen:
        assert isinstance(seen, _EmbeddedReads)
        assert seen.get_materialized_partitions(KEY) == expected == {"2024-01-09"}


def test_schedules_ticks_and_heartbeats_are_read(settings: Settings) -> None:
    repository = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin("localhost", 1, None, "here"), "there")
    origin = RemoteInstigatorOrigin(repository, "daily")
    state = InstigatorState(
        origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, ScheduleInstigatorData("0 6 * * *", time.time())
    )
    with environment_of(settings) as instance:
        instance.add_instigator_state(state)
        for number, status in enumerate((TickStatus.SKIPPED, TickStatus.SKIPPED, TickStatus.STARTED)):
            instance.create_tick(
                TickData(
                    state.instigator_origin_id, "daily", InstigatorType.SCHEDULE, status, 1000.0 + number,
                    selector_id=state.selector_id,
                )
            )  # fmt: skip
        instance.add_daemon_heartbeat(DaemonHeartbeat(1234.5, "SENSOR", "id", []))
        expected = told(instance, settings)
    with readable_instance(settings) as seen:
        assert isinstance(seen, _EmbeddedReads)
        assert told(seen, settings) == expected
    assert expected["beats"] == {"SENSOR": 1234.5}
    assert [status for _, status in expected["ticks"]] == [TickStatus.SKIPPED]


@pytest.mark.parametrize("file", _FILES.values())
def test_files_that_do_not_fit_have_the_instance_opened(file: str, tmp_path: Path) -> None:
    made = load_settings(home=tmp_path)
    own_store(made, Claims(made.store))
    with environment_of(made), readable_instance(made) as seen:
        assert isinstance(seen, _EmbeddedReads)
    with closing(sqlite3.connect(made.dagster_dir / file)) as opened:
        for (table,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            opened.execute(f'ALTER TABLE "{table}" RENAME TO "of another version {table}"')
        opened.commit()
    # Whether Dagster can open it then is its own affair: nothing is read from it past Dagster.
    with ExitStack() as stack, pytest.raises(sqlite3.Error):
        _EmbeddedReads.of(made, stack)


def test_an_instance_of_somebodys_own_is_opened(tmp_path: Path) -> None:
    made = load_settings(home=tmp_path)
    own_store(made, Claims(made.store))
    with environment_of(made):
        config = made.dagster_dir / CONFIG_FILE
        config.write_text(config.read_text("utf-8") + "# mine\n", "utf-8")
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("DAGSTER_HOME", raising=False)
        with readable_instance(made) as seen:
            assert isinstance(seen, dg.DagsterInstance)
