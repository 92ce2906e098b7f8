"""The watch over sensors and schedules, with states and ticks of a real Dagster instance and a real SMTP server."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorEvaluationContext
from dagster._core.remote_origin import RemoteInstigatorOrigin, RemoteJobOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._utils.error import SerializableErrorInfo

from credit_assets.failures import TransientError
from credit_assets.notify.follow import event_sensors
from credit_assets.notify.notifier import Notifier
from credit_assets.notify.ticks import Unreachable
from credit_assets.notify.watch import WATCH, watch_sensor
from credit_assets.settings import load_settings
from credit_assets_tests.support.mail import Relay
from credit_assets_tests.support.sensors import APPLICANT, DAGSTER_URL, DAYS, repository_origin


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("home"))) as instance:
        yield instance


@pytest.fixture
def home(on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance that keeps ticks, which one in memory does not; nobody has ticked yet."""
    assert on_disk.schedule_storage is not None
    on_disk.schedule_storage.wipe()
    return on_disk


@dg.asset(partitions_def=DAYS)
def broken() -> None:
    raise ValueError(f"could not convert string to float: {APPLICANT!r}")


@dg.sensor()
def troubled() -> dg.SkipReason:
    raise TransientError("the service says 503\nsecond line")


@dg.schedule(job_name="broken_job", cron_schedule="0 6 * * *")
def nightly() -> dg.SkipReason:
    return dg.SkipReason("not tonight")


def house(*urls: str) -> dg.Definitions:
    settings = load_settings(dagster_url=f"{DAGSTER_URL}/")
    return dg.Definitions(
        [broken],
        jobs=[dg.define_asset_job("broken_job", selection=[broken])],
        sensors=[*event_sensors(settings), watch_sensor(settings), troubled],
        schedules=[nightly],
        resources={"notifier": Notifier(urls, attempts=1)},
    )


class Watched:
    """`sensor_watch` with the states and ticks of others, which the test writes into the instance."""

    def __init__(self, instance: dg.DagsterInstance, *urls: str) -> None:
        self.instance, self.defs, self.cursor = instance, house(*urls), None
        self.now = time.time()
        self.states: dict[str, InstigatorState] = {}

    def state(self, name: str, status: InstigatorStatus = InstigatorStatus.RUNNING, **data: Any) -> InstigatorState:
        schedule = name == "nightly"
        state = InstigatorState(
            RemoteInstigatorOrigin(repository_origin(), name),
            InstigatorType.SCHEDULE if schedule else InstigatorType.SENSOR,
            status,
            ScheduleInstigatorData("0 6 * * *", **data) if schedule else SensorInstigatorData(min_interval=30, **data),
        )
        known = name in self.states
        self.states[name] = state
        return self.instance.update_instigator_state(state) if known else self.instance.add_instigator_state(state)

    def ticks(self, name: str, *outcomes: str) -> None:
        """Ticks a second apart: "ok", "error", or why it skipped. They are the newest there are."""
        state = self.states.get(name) or self.state(name)
        for one in outcomes:
            self.now += 1
            error = SerializableErrorInfo(
                "dagster._core.errors.SensorExecutionError: Error occurred\n",
                [],
                "SensorExecutionError",
                SerializableErrorInfo(f"ValueError: {APPLICANT}\n", [], "ValueError"),
            )
            self.instance.create_tick(
                TickData(
                    instigator_origin_id=state.instigator_origin_id,
                    instigator_name=name,
                    instigator_type=state.instigator_type,
                    status={"ok": TickStatus.SUCCESS, "error": TickStatus.FAILURE}.get(one, TickStatus.SKIPPED),
                    timestamp=self.now,
                    run_ids=["run"] if one == "ok" else [],
                    error=error if one == "error" else None,
                    skip_reason=None if one in ("ok", "error") else one,
                    selector_id=state.selector_id,
                )
            )

    def tick(self) -> str:
        repository = self.defs.get_repository_def()
        with SensorEvaluationContext(
            instance_ref=None,
            instance=self.instance,
            cursor=self.cursor,
            repository_name="__repository__",
            repository_def=repository,
            resources=repository.get_top_level_resources(),
            code_location_origin=repository_origin().code_location_origin,
        ) as context:
            data = repository.get_sensor_def(WATCH).evaluate_tick(context)
        self.cursor = data.cursor
        return data.skip_message or ""


def test_three_failures_in_a_row_are_one_message_and_so_is_the_recovery(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.ticks("troubled", "ok", "error", "error")
    assert "1 watched, 0 in trouble" in watched.tick()
    watched.ticks("troubled", "error")
    watched.tick()
    watched.ticks("troubled", "error", "error")
    watched.tick()
    assert relay.subjects == ["sensor troubled in trouble"]
    (text,) = relay.texts
    assert "- troubled failed: ValueError (its message stands in the tick only), 3 times in a row, since 20" in text
    assert f"{DAGSTER_URL}/locations/credit_assets/sensors/troubled" in text
    assert "4711" not in text
    watched.ticks("troubled", "nothing to do")
    watched.tick()
    watched.tick()
    assert relay.subjects[1:] == ["sensor troubled works again"]
    watched.ticks("troubled", "error", "error", "error")
    watched.tick()
    assert len(relay.texts) == 3


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ((str(Unreachable("MLflow", "'x4711'")), "error", str(Unreachable("MLflow", "'x4711'"))), True),
        (("no new drift_report",) * 3, False),
        (("error", "ok", "error"), False),
    ],
)
def test_a_service_out_of_reach_counts_and_its_words_stay_here(
    said: tuple[str, ...], trouble: bool, relay: Relay, home: dg.DagsterInstance
) -> None:
    watched = Watched(home, relay.url())
    watched.ticks("troubled", *said)
    watched.tick()
    assert bool(relay.texts) == trouble
    if trouble:
        assert "- troubled cannot reach MLflow, 3 times in a row" in relay.texts[0]
        assert "4711" not in relay.texts[0]


def test_a_schedule_that_failed_once_is_told(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.ticks("nightly", "error")
    watched.tick()
    assert relay.subjects == ["schedule nightly in trouble"]
    assert f"{DAGSTER_URL}/locations/credit_assets/schedules/nightly" in relay.texts[0]


def test_several_in_one_tick_are_one_message(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    for name in ("troubled", "failure_alerts"):
        watched.ticks(name, *[str(Unreachable("the store", "gone"))] * 3)
    watched.tick()
    for name in ("troubled", "failure_alerts"):
        watched.ticks(name, "ok")
    watched.tick()
    assert relay.subjects == ["2 sensors in trouble", "2 sensors work again"]


def test_what_is_switched_off_or_not_in_the_code_is_not_watched(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.state("troubled", InstigatorStatus.DECLARED_IN_CODE)
    watched.state("removed_sensor")
    watched.state("failure_alerts", InstigatorStatus.STOPPED)
    for name in ("troubled", "removed_sensor", "failure_alerts", WATCH):
        watched.ticks(name, "error", "error", "error")
    assert watched.tick().startswith("0 watched, 0 in trouble")
    # Started again long after: what failed before does not count.
    watched.state("failure_alerts", last_sensor_start_timestamp=watched.now + 1)
    assert watched.tick().startswith("1 watched, 0 in trouble")


def test_a_sensor_that_does_not_tick_while_others_do_is_told(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.state("failure_alerts", last_tick_start_timestamp=time.time())
    watched.state("troubled", last_tick_start_timestamp=time.time() - 3000)
    watched.tick()
    assert relay.texts == []
    # The watch itself has ticked for an hour without a gap.
    watched.cursor = json.dumps({**json.loads(watched.cursor or ""), "awake": time.time() - 3600})
    watched.tick()
    assert relay.subjects == ["sensor troubled in trouble"]
    assert "is switched on and does not tick" in relay.texts[0]
    watched.state("troubled", last_tick_start_timestamp=time.time())
    watched.tick()
    assert relay.subjects[1:] == ["sensor troubled works again"]


def test_after_a_time_without_any_tick_only_the_gap_is_told(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.state("troubled", last_tick_start_timestamp=time.time() - 3000)
    watched.tick()
    hour_ago = {"seen": time.time() - 3600, "awake": time.time() - 7200}
    watched.cursor = json.dumps({**json.loads(watched.cursor or ""), **hour_ago})
    watched.tick()
    watched.tick()
    assert relay.subjects == ["sensors were not watched"]


def test_trouble_and_recovery_while_the_mail_server_was_down_are_both_told_later(home: dg.DagsterInstance) -> None:
    relay = Relay()
    watched = Watched(home, relay.url())
    watched.ticks("troubled", "error", "error", "error")
    assert "cannot reach 1 of 1 alert services" in watched.tick()
    watched.ticks("troubled", "ok")
    with relay:
        watched.tick()
        watched.tick()
    assert relay.subjects == ["sensor troubled in trouble", "sensor troubled works again"]
    assert json.loads(watched.cursor or "")["unsent"] == []


def test_without_urls_nothing_is_watched_and_nothing_is_kept(home: dg.DagsterInstance) -> None:
    watched = Watched(home)
    watched.ticks("troubled", "error", "error", "error")
    assert "nobody is told" in watched.tick()
    assert watched.cursor == "{}"


@pytest.mark.slow
def test_the_real_daemon_ticks_fails_and_is_watched(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A code location in a process of its own, ticked by the daemon's own loop: states, ticks and cursors are real."""
    monkeypatch.setenv("CREDIT_ALERT_URLS", relay.url())
    monkeypatch.setenv("CREDIT_DAGSTER_URL", DAGSTER_URL)
    module = tmp_path / "notices_location.py"
    module.write_text(
        "import dagster as dg\n"
        "from credit_assets.notify.follow import event_sensors\n"
        "from credit_assets.notify.watch import watch_sensor\n"
        "from credit_assets.notify.notifier import Notifier\n"
        "from credit_assets.settings import load_settings\n"
        "settings = load_settings()\n"
        "@dg.sensor(default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=1)\n"
        "def troubled():\n"
        f"    raise ValueError({APPLICANT!r})\n"
        "@dg.asset\n"
        "def broken():\n"
        "    raise KeyError('x')\n"
        "defs = dg.Definitions([broken], sensors=[*event_sensors(settings), watch_sensor(settings), troubled],\n"
        "    resources={'notifier': Notifier(settings.alert_targets)})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    target = ModuleTarget("notices_location", None, str(tmp_path), "credit_assets")
    with (
        dg.instance_for_test(temp_dir=str(tmp_path)) as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):

        def iterate() -> None:
            list(execute_sensor_iteration(workspace, logging.getLogger("test"), None, None))

        def again(name: str) -> None:
            # As if its interval had passed.
            for state in instance.all_instigator_state():
                if state.instigator_name == name:
                    data = state.instigator_data._replace(last_tick_start_timestamp=1.0, last_tick_timestamp=1.0)
                    instance.update_instigator_state(state.with_data(data))

        for _ in range(4):
            iterate()
            again("troubled")
        again(WATCH)
        iterate()
        job = house().resolve_job_def("broken_job")
        for _ in range(2):
            origin = RemoteJobOrigin(repository_origin(), "broken_job")
            instance.report_run_failed(instance.create_run_for_job(job, remote_job_origin=origin))
            instance.report_run_failed(instance.create_run_for_job(job))
            again("failure_alerts")
            iterate()
    assert relay.subjects == ["sensor troubled in trouble", "broken_job failed", "broken_job failed"]
    assert "failed: ValueError (its message stands in the tick only)" in relay.texts[0]
    assert f"{DAGSTER_URL}/locations/credit_assets/sensors/troubled" in relay.texts[0]
    assert "4711" not in relay.texts[0]


def test_it_runs_by_default_where_somebody_is_to_be_told() -> None:
    assert watch_sensor(load_settings()).default_status is dg.DefaultSensorStatus.STOPPED
    told = watch_sensor(load_settings(alert_urls="json://hook.example.org"))
    assert told.default_status is dg.DefaultSensorStatus.RUNNING
