"""Sensors on reports: real events, records, claims, MLflow and run storage."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.failures import PermanentError
from credit_assets.ledger.retraining import retrainings, triggers_of
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.settings import load_settings
from credit_assets_tests.support.lender import TRIGGER, Lender
from credit_assets_tests.support.trigger_world import DAY, TRIGGERED, D, World, the_run

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.trigger_world"]


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


def test_pds_that_are_off_ask_for_a_recalibration_by_the_same_sensor(world: World) -> None:
    world.ingest(D, D + DAY)
    world.performance(D - DAY, ratio=0.5)
    world.performance(D, ratio=0.5)
    run = the_run(world.tick("performance_trigger"))
    assert (run.run_key, run.tags["credit/trigger"]) == ("calibration:2024-03-20:v1", "calibration")
    assert "off on 2 of the last 3 days" in run.tags["credit/reason"]
    assert "observed over expected defaults 0.50" in run.tags["credit/reason"]
    assert triggers_of(world.claims, D) == ("calibration",)
    # The cooldown and the repetition are those of every trigger, and each remembers by itself.
    world.performance(D + DAY, ratio=0.5)
    said = world.tick("performance_trigger")
    assert "calibration 2024-03-21: it fired on 2024-03-20 for version 1 already" in said
    assert "performance 2024-03-21: too low on 0 of the last 3 days" in said


def test_both_reasons_of_one_day_start_one_run_and_are_both_known(world: World) -> None:
    world.ingest(D)
    world.performance(D - DAY, auc=0.55, ratio=0.5)
    world.performance(D, auc=0.55, ratio=0.5)
    run = the_run(world.tick("performance_trigger"))
    assert run.tags["credit/trigger"] == "performance"
    assert triggers_of(world.claims, D) == ("calibration", "performance")


def test_a_cursor_of_before_there_were_two_triggers_is_read(world: World) -> None:
    world.ingest(D)
    old = {"storage_id": 0, "state": {"day": str(D - 3 * DAY), "fired": None, "fired_for": None, "calm": 0}}
    world.cursors["performance_trigger"] = json.dumps(old)
    world.performance(D - 4 * DAY, ratio=0.5)
    world.performance(D - DAY, ratio=0.5)
    world.performance(D, ratio=0.5)
    assert the_run(world.tick("performance_trigger")).run_key == "calibration:2024-03-20:v1"
    world.cursors["performance_trigger"] = json.dumps({"storage_id": 0, "state": {"volume": old["state"]}})
    with pytest.raises(PermanentError, match="cursor of this sensor is damaged"):
        world.look("performance_trigger")


def test_a_trigger_of_a_lenders_own_starts_a_run_as_the_others_do(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lender = Lender(tmp_path, monkeypatch).write(rules=TRIGGER).install(module="rules")
    file = tmp_path / "own.yaml"
    used = {"triggers": [{"name": "own_shift", "days": 2, "window": 3, "parameters": {"psi": 0.2}}]}
    file.write_text(json.dumps({**load_portfolio().model_dump(mode="json"), "extensions": used}))
    own = replace(world, settings=load_settings(portfolio=file, **TRIGGERED))
    own.ingest(D)
    own.drift(D - DAY, "stable", psi=0.3)
    own.drift(D, "stable", psi=0.21)
    run = the_run(own.tick("own_shift_trigger"))
    assert run.run_key == "own_shift:2024-03-20:v1"
    assert run.tags["credit/trigger"] == "own_shift"
    assert "met on 2 of the last 3 days" in run.tags["credit/reason"]
    assert f"own_shift of {lender.name} 1.2.0" in run.tags["credit/reason"]
    assert triggers_of(own.claims, D) == ("own_shift",)
    # What goes wrong in it is told with its name, and not as a report that is to be made again.
    own.report("drift_report", D + DAY, {"verdict": "stable", "shifted": [], "why": None})
    with pytest.raises(
        PermanentError, match=r"trigger own_shift of .* failed with KeyError \(rules.py, line 10\)"
    ) as told:
        own.look("own_shift_trigger")
    assert "materialize" not in str(told.value)


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


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (b'{"day": "2024-03-20", "champ', "is damaged: it is no JSON"),
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


def test_claims_outlive_the_dagster_home(world: World) -> None:
    world.ingest(D)
    world.drift(D - DAY)
    world.drift(D)
    the_run(world.tick("drift_trigger"))
    # A new home knows no cursor and no event; the reports are made again, and then those of the next days.
    world.instance.wipe_assets([dg.AssetKey("drift_report")])
    world.cursors.clear()
    for number in range(1, 4):
        world.ingest(D + number * DAY)
        world.drift(D + number * DAY)
    assert "as of 2024-03-20 is 3 days old: cooldown" in world.tick("drift_trigger")


# Switched on for the first time


def report(world: World, name: str, day: date) -> None:
    """A report that gives the sensor a reason."""
    if name == "drift_trigger":
        world.drift(day)
    else:
        world.performance(day, 0.55, matured=5_000)


@pytest.mark.parametrize("name", ["drift_trigger", "performance_trigger", "volume_trigger"])
def test_a_sensor_begins_at_the_newest_day_ingested(world: World, name: str) -> None:
    """Half a year of reports that all give a reason: none of them is acted on but that of the newest day."""
    days = [D + number * DAY for number in range(-180, 1)]
    for day in days[:-1]:
        report(world, name, day)
    world.ingest(*days[-30:])
    world.reset(name)
    # The newest day is ingested, and its reports are still to come.
    assert world.tick(name).startswith("no new ")
    # An old day that is made again is no news either.
    report(world, name, D - 12 * DAY)
    assert "2024-03-08: not newer than 2024-03-19" in world.tick(name)
    report(world, name, D)
    run = the_run(world.tick(name))
    # The days before count in the window of the rule.
    assert run.partition_key == "2024-03-20"
    assert retrainings(world.claims) == {D}


@pytest.mark.parametrize("name", ["drift_trigger", "performance_trigger", "volume_trigger"])
def test_the_first_tick_finds_the_report_of_the_newest_day(world: World, name: str) -> None:
    days = [D + number * DAY for number in range(-120, 1)]
    world.ingest(*days[-30:])
    for day in days:
        report(world, name, day)
    # Days that were made again afterwards, more than a tick takes: they do not hide the newest.
    for day in days[:60]:
        report(world, name, day)
    world.reset(name)
    assert the_run(world.tick(name)).partition_key == "2024-03-20"
    for _ in range(2):
        assert world.tick(name).endswith(": not newer than 2024-03-20, which was considered already")
    assert world.tick(name).startswith("no new ")


def test_a_house_without_any_day_is_not_switched_on_yet(world: World) -> None:
    world.reset("drift_trigger")
    assert world.tick("drift_trigger") == "no new drift_report"
    for number in range(-30, 1):
        world.ingest(D + number * DAY)
        world.drift(D + number * DAY)
    assert the_run(world.tick("drift_trigger")).partition_key == "2024-03-20"
