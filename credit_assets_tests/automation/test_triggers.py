"""The trigger sensors and the refresh schedule: real events, records, claims, MLflow and run storage."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.automation.triggers import (
    refresh_schedule,
    trigger_sensors,
)
from credit_assets.cli.trigger import report_trigger
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import retrainings, triggers_of
from credit_assets.partitions import daily_partitions
from credit_assets.settings import MODEL_NAME, Settings, load_settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tags import EVENT_TAG
from credit_assets.tracking import Tracking

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]

START = date(2024, 1, 1)
D = date(2024, 3, 20)
# Two of three days, so that a test needs few reports.
TRIGGERED: dict[str, Any] = {
    "start_date": START,
    "performance_window_days": 30,
    "retraining": "triggered",
    "drift_trigger_days": 2,
    "drift_trigger_window": 3,
    "cooldown_days": 30,
    "repeat_days": 90,
}
DAY = timedelta(days=1)


@dataclass
class World:
    """One deployment: what monitoring wrote, and the sensors that look at it."""

    settings: Settings
    instance: dg.DagsterInstance
    store: Store
    registry: Registry
    claims: Claims

    def __post_init__(self) -> None:
        self.partitions = daily_partitions(self.settings)
        self.sensors = {one.name: one for one in trigger_sensors(self.settings, self.partitions)}
        self.cursors: dict[str, str | None] = {}

    @property
    def resources(self) -> dict[str, Any]:
        return {"store": self.store, "registry": self.registry, "claims": self.claims}

    def report(self, asset: str, day: date, record: dict[str, Any]) -> None:
        self.store.write_record(self.store.path(asset, f"{day}.json"), {"day": str(day), "champion": "1", **record})
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=str(day)))

    def drift(self, day: date, verdict: str = "shifted", **more: Any) -> None:
        names = ["income"] if verdict == "shifted" else []
        self.report("drift_report", day, {"verdict": verdict, "shifted": names, "why": None, **more})

    def performance(self, day: date, auc: float = 0.68, matured: int = 0, **more: Any) -> None:
        evaluation = {"auc": auc, "auc_ci_low": auc - 0.02, "auc_ci_high": auc + 0.02}
        found = {"versions": {"1": {"rows": 2000, "bads": 200, "evaluation": evaluation}}}
        record = {"registered": {"auc": 0.68}, "realised": found, "estimated": None, "newly_matured": matured}
        self.report("performance_report", day, {**record, "training_rows": 1000, **more})

    def ingest(self, *days: date) -> None:
        for day in days:
            for asset in ("loan_outcomes", "processed_features"):
                self.store.write_bytes(self.store.path(asset, f"{day}.parquet"), b"looked for, not read")
                self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=str(day)))

    def external(self, description: str | None, day: date | str | None = None) -> None:
        partition = str(day) if day else None
        event = dg.AssetMaterialization("external_trigger", partition=partition, description=description)
        self.instance.report_runless_asset_event(event)

    def register(self, as_of: date, fingerprint: str = "f") -> str:
        tracking = self.registry.tracking
        run = tracking.runs.parent("dagster-1", "job")
        model = tracking.server.client.create_logged_model(
            tracking.server.experiment_id, name="model", source_run_id=run
        )
        uri = f"models:/{model.model_id}"
        return self.registry.register(uri, run_id=run, fingerprint=fingerprint, as_of=as_of).version

    def look(self, name: str, **resources: Any) -> dg.SensorResult | dg.SkipReason:
        """What a tick says, without storing its cursor: a daemon that is killed before it does."""
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            resources={**self.resources, **resources},
            sensor_name=name,
        )
        found: Any = self.sensors[name](context)
        return found

    def tick(self, name: str, **resources: Any) -> list[dg.RunRequest] | str:
        """A whole tick as the daemon makes it: the requests, or why there are none."""
        found = self.look(name, **resources)
        if isinstance(found, dg.SkipReason):
            return str(found.skip_message)
        self.cursors[name] = found.cursor or self.cursors.get(name)
        return list(found.run_requests or []) or str(found.skip_reason and found.skip_reason.skip_message)

    def refresh(self, *when: int, **resources: Any) -> dg.RunRequest | str:
        at = datetime(2024, *when, tzinfo=UTC)
        with dg.build_schedule_context(self.instance, at, {**self.resources, **resources}) as context:
            found: Any = refresh_schedule(self.settings)(context)
        return str(found.skip_message) if isinstance(found, dg.SkipReason) else found


@pytest.fixture(scope="module")
def fresh_dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Dagster home with its databases made: copying it saves each test the migrations."""
    home = tmp_path_factory.mktemp("dagster-template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with instance_of(load_settings(home=home)) as instance:
            instance.get_runs(limit=1)
            assert instance.schedule_storage
        yield home


@pytest.fixture
def world(
    tmp_path: Path, tracking: Tracking, fresh_dagster_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    home = tmp_path / "home"
    shutil.copytree(fresh_dagster_home, home / "dagster")
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    settings = load_settings(home=home, **TRIGGERED)
    claims = Claims(settings.store)
    with instance_of(settings) as instance:
        yield World(settings, instance, Store(settings.store), Registry(tracking, MODEL_NAME, claims), claims)


def the_run(found: Any) -> dg.RunRequest:
    assert isinstance(found, list), found
    assert len(found) == 1
    return found[0]


def test_drift_starts_one_run_that_tells_what_and_why(world: World) -> None:
    world.ingest(D)
    assert world.tick("drift_trigger") == "no new drift_report"
    world.drift(D - DAY)
    assert "shifted on 1 of the last 3 days" in world.tick("drift_trigger")
    world.drift(D)
    run = the_run(world.tick("drift_trigger"))
    assert (run.run_key, run.partition_key) == ("drift:2024-03-20:v1", "2024-03-20")
    assert run.tags == {
        "credit/trigger": "drift",
        "credit/event": "drift:2024-03-20:v1",
        "credit/reason": "shifted on 2 of the last 3 days (2 needed, 1 without a verdict); shifted: income",
    }
    assert triggers_of(world.claims, D) == ("drift",)
    assert retrainings(world.claims) == {D}
    world.drift(D + DAY)
    said = world.tick("drift_trigger")
    assert "it fired on 2024-03-20 for version 1 already" in said
    assert "cooldown of 30 days" in said
    assert world.tick("drift_trigger") == "no new drift_report"


def test_performance_and_volume_start_runs(world: World) -> None:
    world.ingest(D, D + 40 * DAY)
    world.performance(D - DAY, 0.55)
    world.performance(D, 0.55)
    run = the_run(world.tick("performance_trigger"))
    assert run.run_key == "performance:2024-03-20:v1"
    assert "too low on 2 of the last 3 days" in run.tags["credit/reason"]
    assert "realised AUC 0.5500" in run.tags["credit/reason"]
    world.performance(D + 40 * DAY, matured=1_200)
    run = the_run(world.tick("volume_trigger"))
    assert run.run_key == "volume:2024-04-29:v1"
    assert run.tags["credit/reason"].startswith("1,200 loans matured since champion version 1")


def test_one_retraining_a_day_whoever_asks(world: World) -> None:
    world.ingest(D)
    for day in (D - DAY, D):
        world.drift(day)
        world.performance(day, 0.55, matured=5_000)
    world.external("drift: seen outside", D)
    the_run(world.tick("drift_trigger"))
    by_drift = "started already by drift:2024-03-20:v1 (shifted on 2 of the last 3 days"
    assert by_drift in world.tick("performance_trigger")
    assert by_drift in world.tick("external_trigger")
    assert by_drift in world.tick("volume_trigger")
    # Each of them has fired, and remembers it.
    world.performance(D + DAY, 0.55)
    assert "it fired on 2024-03-20" in world.tick("performance_trigger")
    assert triggers_of(world.claims, D) == ("drift", "external", "performance", "volume")


@pytest.mark.parametrize("trigger", ["drift", "performance", "volume", "external"])
def test_a_tick_killed_between_claim_and_cursor_asks_for_the_same_run(world: World, trigger: str) -> None:
    world.ingest(D)
    world.drift(D - DAY, "stable")
    for day in (D - DAY, D):
        world.drift(day)
        world.performance(day, 0.55)
    world.performance(D, 0.55, matured=5_000)
    world.external("other: an audit", D)
    name = f"{trigger}_trigger"
    killed: Any = world.look(name)
    again = the_run(world.tick(name))
    assert [again] == killed.run_requests
    assert again.run_key
    # The run that it started has meanwhile registered its model: that is no cooldown of its own.
    world.register(D)
    world.cursors.clear()
    assert the_run(world.tick(name)).run_key == again.run_key


def test_cooldown_after_a_retraining_of_any_origin(world: World) -> None:
    world.ingest(D, D + DAY)
    # By hand or by the daily run: known by its version, and after the Dagster home is gone.
    world.register(D - 29 * DAY)
    world.drift(D - DAY)
    world.drift(D)
    assert "as of 2024-02-20 is 29 days old: cooldown of 30 days" in world.tick("drift_trigger")
    world.drift(D + DAY)
    assert the_run(world.tick("drift_trigger")).run_key == "drift:2024-03-21:v1"
    world.performance(D + 2 * DAY, matured=5_000)
    assert "as of 2024-03-21 is 1 days old" in world.tick("volume_trigger")


def test_cooldown_does_not_hold_back_people_and_the_calendar(world: World) -> None:
    world.ingest(D, date(2024, 3, 31))
    world.drift(D - DAY)
    world.drift(D)
    the_run(world.tick("drift_trigger"))
    world.external("performance: complaints of the branches", D - DAY)
    world.ingest(D - DAY)
    assert the_run(world.tick("external_trigger")).partition_key == "2024-03-19"
    assert isinstance(world.refresh(4, 1, 7), dg.RunRequest)


def test_days_that_come_late_are_ignored(world: World) -> None:
    for number in (0, 1):
        world.drift(D + number * DAY, "stable")
    assert "shifted on 0" in world.tick("drift_trigger")
    for number in range(-40, 0):
        world.drift(D + number * DAY)
    assert world.tick("drift_trigger") == "2024-02-09: not newer than 2024-03-21, which was considered already"
    assert world.tick("drift_trigger") == "no new drift_report"
    assert retrainings(world.claims) == set()


def test_a_backfill_longer_than_a_tick_is_taken_in_turn(world: World) -> None:
    world.ingest(*(D + n * DAY for n in range(-20, 0)))
    for number in range(-60, 3):
        world.drift(D + number * DAY, "shifted" if number > -20 else "stable")
    found = [world.tick("drift_trigger") for _ in range(4)]
    # Shifted from 1 March on, so that 2 March is the first with two days; then the cooldown.
    assert [run.run_key for one in found if isinstance(one, list) for run in one] == ["drift:2024-03-02:v1"]
    assert found[-1] == "no new drift_report"


def test_reports_after_one_that_started_a_run_wait_for_the_next_tick(world: World) -> None:
    often = load_settings(**{**TRIGGERED, "cooldown_days": 0, "repeat_days": 2})
    eager = World(often, world.instance, world.store, world.registry, world.claims)
    for number in range(5):
        eager.ingest(D + number * DAY)
        eager.drift(D + number * DAY)
    # Two shifted days are there on the 21st; the batch goes on where the first run left it.
    runs = [the_run(eager.tick("drift_trigger")).run_key for _ in range(2)]
    assert runs == ["drift:2024-03-21:v1", "drift:2024-03-23:v1"]
    assert "it fired on 2024-03-23" in eager.tick("drift_trigger")


def test_a_day_that_is_not_ingested_waits(world: World) -> None:
    world.drift(D - DAY)
    world.drift(D)
    before = world.cursors.get("drift_trigger")
    assert world.tick("drift_trigger") == (
        "loan_outcomes and processed_features of 2024-03-20 must be materialized first (drift: shifted on 2 of the "
        "last 3 days (2 needed, 1 without a verdict); shifted: income)"
    )
    assert world.cursors.get("drift_trigger") == before
    assert world.claims.names("retraining") == []
    world.ingest(D)
    assert the_run(world.tick("drift_trigger")).run_key == "drift:2024-03-20:v1"


@pytest.mark.parametrize("trigger", ["drift", "performance", "volume", "external"])
def test_unreachable_mlflow_skips_and_keeps_the_event(
    world: World, tmp_path: Path, trigger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    world.ingest(D)
    for day in (D - DAY, D):
        world.drift(day)
        world.performance(day, 0.55)
    world.performance(D, 0.55, matured=5_000)
    world.external("other: an audit", D)
    name = f"{trigger}_trigger"
    away = Registry(Tracking("http://127.0.0.1:9", "nowhere", world.claims), MODEL_NAME, world.claims)
    assert str(world.tick(name, registry=away)).startswith("cannot reach MLflow: ")
    assert name not in world.cursors
    assert world.claims.names("retraining") == []
    assert the_run(world.tick(name)).partition_key == "2024-03-20"


@pytest.mark.parametrize("trigger", ["drift", "external"])
def test_unreachable_store_skips_and_keeps_the_event(world: World, trigger: str) -> None:
    pytest.importorskip("s3fs")
    world.ingest(D)
    world.drift(D - DAY)
    world.drift(D)
    world.external("other: an audit", D)
    name = f"{trigger}_trigger"
    nobody: dict[str, Any] = {
        "endpoint_url": "http://127.0.0.1:9",
        "key": "k",
        "secret": "s",
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    away = {"store": Store("s3://bucket/x", **nobody), "claims": Claims("s3://bucket/x", **nobody)}
    assert str(world.tick(name, **away)).startswith("cannot reach the store: ")
    assert name not in world.cursors
    assert the_run(world.tick(name)).partition_key == "2024-03-20"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (b'{"day": "2024-03-20", "champ', "no readable record"),
        (b'{"day": "2024-03-20", "champion": "1"}', "the drift report of 2024-03-20 has no usable verdict"),
        (b"[]", "a drift report has no usable day or champion"),
        (None, "was materialized and is not in the store"),
    ],
)
def test_a_damaged_report_fails_the_tick(world: World, damage: bytes | None, says: str) -> None:
    world.drift(D)
    path = world.store.path("drift_report", f"{D}.json")
    world.store.remove(path) if damage is None else world.store.write_bytes(path, damage)
    with pytest.raises(PermanentError, match=says):
        world.tick("drift_trigger")
    # Nothing is lost: once it is made again, the tick goes on.
    world.drift(D, "stable")
    found: Any = world.look("drift_trigger")
    assert "shifted on 0 of the last 3 days" in found.skip_reason.skip_message


def test_damaged_claims_and_cursors_fail_the_tick(world: World) -> None:
    world.ingest(D)
    world.claims.claim("retraining/2024-03-20", "not ours")
    world.external("other: an audit", D)
    with pytest.raises(PermanentError, match=r"claim retraining/2024-03-20 in the store is damaged.*delete it"):
        world.tick("external_trigger")
    for cursor in ("[]", "12", '{"storage_id": 1}', '{"storage_id": 1, "state": {"day": "x"}}'):
        world.cursors["drift_trigger"] = cursor
        with pytest.raises(PermanentError, match="cursor of this sensor is damaged"):
            world.tick("drift_trigger")


def test_external_events(world: World) -> None:
    world.ingest(D - DAY, D)
    world.external("Drift: PSI of income 0.4 in Evidently")
    world.external("drift: the same tick", D)
    run = the_run(world.tick("external_trigger"))
    assert (run.run_key, run.partition_key) == ("external:2024-03-20:drift", "2024-03-20")
    assert run.tags["credit/trigger"] == "external"
    assert run.tags["credit/reason"] == "drift: PSI of income 0.4 in Evidently"
    # The same again is the same event: Dagster knows its run key.
    world.external("drift: once more")
    assert the_run(world.tick("external_trigger")).run_key == run.run_key


@pytest.mark.parametrize(
    ("description", "day", "says"),
    [
        (None, D, "its description must be `KIND: reason`.*it is 'nothing'"),
        ("the model is bad", D, "KIND one of drift, performance, volume, other; it is 'the model is bad'"),
        ("weather: rain", D, "it is 'weather: rain'"),
        ("drift:", D, "it is 'drift:'"),
        ("drift: x", "2023-12-31", "2023-12-31 is no partition; the first is 2024-01-01"),
        ("drift: x", "yesterday", "yesterday is no partition"),
        ("drift: x", "2199-01-01", "2199-01-01 is no partition"),
    ],
)
def test_an_external_event_that_cannot_be_meant_is_passed_by(
    world: World, description: str | None, day: Any, says: str
) -> None:
    world.ingest(D)
    world.external(description, day)
    found = world.tick("external_trigger")
    assert isinstance(found, str)
    assert re.search(says, found), found
    world.external("other: an audit", D)
    assert the_run(world.tick("external_trigger")).run_key == "external:2024-03-20:other"


def test_an_external_event_that_waits_holds_up_no_other(world: World) -> None:
    world.external("drift: no day is known yet")
    assert "waits: it names no day, and loan_outcomes of no day is materialized" in world.tick("external_trigger")
    world.ingest(D)
    world.external("drift: a day that is not ingested", D + DAY)
    world.external("volume: a branch was bought", D)
    first = world.tick("external_trigger")
    # Of the two events of this day the older one starts the run.
    assert the_run(first).run_key == "external:2024-03-20:drift"
    assert "loan_outcomes and processed_features of 2024-03-21 must be" in world.tick("external_trigger")
    world.ingest(D + DAY)
    assert the_run(world.tick("external_trigger")).run_key == "external:2024-03-21:drift"
    assert world.tick("external_trigger") == "no external event"


def test_the_command_reports_what_the_sensor_understands(world: World) -> None:
    world.ingest(D)
    record = report_trigger(world.settings, world.instance, "performance", reason="more\ndefaults", by="ana", as_of=D)
    assert record == {"kind": "performance", "reason": "more defaults", "by": "ana", "as_of": "2024-03-20"}
    run = the_run(world.tick("external_trigger"))
    assert run.run_key == "external:2024-03-20:performance"
    assert run.tags["credit/reason"] == "performance: more defaults (ana)"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "weather"}, "unknown kind of trigger 'weather'; known: drift, performance, volume, other"),
        ({"reason": " "}, "needs who and why"),
        ({"by": ""}, "needs who and why"),
        ({"as_of": date(2023, 12, 31)}, "2023-12-31 is no partition: the first is 2024-01-01"),
        ({"as_of": date(2199, 1, 1)}, "2199-01-01 is no partition"),
    ],
)
def test_the_command_refuses_what_the_sensor_would_pass_by(world: World, change: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"kind": "drift", "reason": "why", "by": "ana", "as_of": D, **change}
    with pytest.raises(PermanentError, match=says):
        report_trigger(world.settings, world.instance, given.pop("kind"), **given)
    assert world.tick("external_trigger") == "no external event"


MARCH_END = date(2024, 3, 31)


def test_the_refresh_waits_for_its_day_and_is_started_once(world: World) -> None:
    assert world.refresh(4, 1, 7).startswith("loan_outcomes and processed_features of 2024-03-31 must be")
    world.ingest(MARCH_END)
    run = world.refresh(4, 1, 8)
    assert isinstance(run, dg.RunRequest)
    assert (run.run_key, run.partition_key) == ("refresh:2024-03", "2024-03-31")
    assert run.tags["credit/reason"] == "monthly refresh of March 2024"
    assert triggers_of(world.claims, MARCH_END) == ("refresh",)
    # Killed before the run was made: the next hour asks again.
    assert world.refresh(4, 1, 9) == run
    made = world.instance.create_run_for_job(_anything, tags=run.tags)
    assert world.refresh(4, 1, 10) == f"the refresh of 2024-03 was started: run {made.run_id}"


@dg.job
def _anything() -> None: ...


def test_a_missed_refresh_is_told_on_its_last_tick(world: World) -> None:
    assert "missed" not in world.refresh(4, 7, 22)
    said = world.refresh(4, 7, 23)
    assert said.startswith("the refresh of 2024-03 was missed, this was its last attempt: loan_outcomes and processed")
    assert "job retrain_model" in said


def test_the_refresh_skips_where_mlflow_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    world.ingest(MARCH_END)
    away = Registry(Tracking("http://127.0.0.1:9", "nowhere", world.claims), MODEL_NAME, world.claims)
    assert str(world.refresh(4, 1, 7, registry=away)).startswith("cannot reach MLflow: ")
    assert isinstance(world.refresh(4, 1, 8), dg.RunRequest)


def test_the_refresh_joins_a_retraining_of_its_day(world: World) -> None:
    world.ingest(MARCH_END)
    world.drift(MARCH_END - DAY)
    world.drift(MARCH_END)
    the_run(world.tick("drift_trigger"))
    assert "was started already by drift:2024-03-31:v1" in world.refresh(4, 1, 7)
    assert triggers_of(world.claims, MARCH_END) == ("drift", "refresh")
    path = world.store.path("registered_model", f"{MARCH_END}.json")
    # Judged by the rule of improvement before the refresh was asked for: judged again, by its own rule.
    world.store.write_record(path, {"decision": "rejected", "triggers": ["drift"]})
    again = world.refresh(4, 1, 8)
    assert isinstance(again, dg.RunRequest)
    assert again.tags[EVENT_TAG] == "refresh:2024-03"
    for decided in ({"decision": "rejected", "triggers": ["drift", "refresh"]}, {"decision": "registered"}):
        world.store.write_record(path, {"triggers": [], **decided})
        assert world.refresh(4, 1, 9) == f"the model as of 2024-03-31 is trained: {decided['decision']}"


def test_the_refresh_before_the_first_month_has_ended(world: World) -> None:
    assert world.refresh(1, 1, 7) == "no month has ended since 2024-01-01 (CREDIT_START_DATE)"


def test_the_refresh_before_the_first_cohort_is_mature(world: World) -> None:
    assert world.settings.window_days == 30
    world.settings = world.settings.model_copy(update={"performance_window_days": 31})
    world.settings.__dict__.pop("window_days", None)
    said = world.refresh(2, 1, 7)
    assert said.startswith("no cohort is mature by 2024-01-31: the first, of 2024-01-01")


@pytest.mark.parametrize(
    ("given", "triggers", "refresh"),
    [
        ({"retraining": "daily"}, "STOPPED", "STOPPED"),
        ({"retraining": "triggered"}, "RUNNING", "RUNNING"),
        ({"retraining": "triggered", "refresh": "none"}, "RUNNING", "STOPPED"),
    ],
)
def test_what_runs_by_default(given: dict[str, Any], triggers: str, refresh: str) -> None:
    settings = load_settings(**given)
    sensors = {one.name: one.default_status.value for one in trigger_sensors(settings, daily_partitions(settings))}
    assert sensors == {
        "drift_trigger": triggers,
        "performance_trigger": triggers,
        "volume_trigger": triggers,
        "external_trigger": "RUNNING",
    }
    assert refresh_schedule(settings).default_status.value == refresh


def test_claims_outlive_the_dagster_home(world: World) -> None:
    world.ingest(D)
    world.drift(D - DAY)
    world.drift(D)
    the_run(world.tick("drift_trigger"))
    # A new home knows no cursor and no event; the reports are made again, and then those of the next days.
    world.instance.wipe_assets([dg.AssetKey("drift_report")])
    world.cursors.clear()
    for number in range(1, 4):
        world.drift(D + number * DAY)
    assert "as of 2024-03-20 is 3 days old: cooldown" in world.tick("drift_trigger")
