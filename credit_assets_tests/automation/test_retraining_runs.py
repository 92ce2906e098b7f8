"""One run a day whichever trigger comes first, and no event lost where a service is away."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.automation.external_trigger import external_sensor
from credit_assets.automation.refresh import refresh_schedule
from credit_assets.automation.report_triggers import report_sensors
from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import triggers_of
from credit_assets.settings import MODEL_NAME, load_settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking
from credit_assets_tests.support.trigger_world import DAY, D, World, the_run

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.trigger_world"]


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


def test_cooldown_does_not_hold_back_people_and_the_calendar(world: World) -> None:
    world.ingest(D, date(2024, 3, 31))
    world.drift(D - DAY)
    world.drift(D)
    the_run(world.tick("drift_trigger"))
    world.external("performance: complaints of the branches", D - DAY)
    world.ingest(D - DAY)
    assert the_run(world.tick("external_trigger")).partition_key == "2024-03-19"
    assert isinstance(world.refresh(4, 1, 7), dg.RunRequest)


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
    before = world.cursors[name]
    assert str(world.tick(name, registry=away)).startswith("cannot reach MLflow: ")
    assert world.cursors[name] == before
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
    before = world.cursors[name]
    assert str(world.tick(name, **away)).startswith("cannot reach the store: ")
    assert world.cursors[name] == before
    assert the_run(world.tick(name)).partition_key == "2024-03-20"


def test_damaged_claims_and_cursors_fail_the_tick(world: World) -> None:
    world.ingest(D)
    world.claims.claim("retraining/2024-03-20", "not ours")
    world.external("other: an audit", D)
    with pytest.raises(PermanentError, match=r"claim retraining/2024-03-20 in the store is damaged.*from a backup"):
        world.tick("external_trigger")
    for cursor in ("[]", "12", '{"storage_id": 1}', '{"storage_id": 1, "state": {"day": "x"}}'):
        world.cursors["drift_trigger"] = cursor
        with pytest.raises(PermanentError, match="cursor of this sensor is damaged"):
            world.tick("drift_trigger")


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
    all_sensors = [*report_sensors(settings), external_sensor(settings)]
    sensors = {one.name: one.default_status.value for one in all_sensors}
    assert sensors == {
        "drift_trigger": triggers,
        "performance_trigger": triggers,
        "volume_trigger": triggers,
        "external_trigger": "RUNNING",
    }
    assert refresh_schedule(settings).default_status.value == refresh
