"""The external trigger: events by the command, by the API of a real web server, and ones that cannot be meant."""

from __future__ import annotations

import json
import re
import urllib.request
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.build import build_definitions
from credit_assets.cli.trigger import report_trigger
from credit_assets.failures import PermanentError
from credit_assets.instance.home import instance_of
from credit_assets.ledger.retraining import CALIBRATION, recalibrations, retrainings, training_mode, triggers_of
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.store import Store
from credit_assets_tests.support.mlflow_server import running
from credit_assets_tests.support.registry import move
from credit_assets_tests.support.trigger_world import DAY, D, World, the_run

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.trigger_world"]


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
        (
            "the model is bad",
            D,
            "KIND one of drift, performance, volume, calibration, replace, other; it is 'the model is bad'",
        ),
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


def test_a_new_calibration_is_asked_for_by_its_own_name(world: World) -> None:
    """Nobody asks for more: the run recalibrates, and keeps no retraining of the day from being started."""
    world.ingest(D)
    world.external("calibration: twice as many defaults as expected", D)
    assert "no champion is in force, so that there is nothing to recalibrate" in world.tick("external_trigger")
    move(world.registry, world.register(date(2024, 2, 1)), date(2024, 2, 2))
    world.external("Calibration: twice as many defaults as expected", D)
    run = the_run(world.tick("external_trigger"))
    assert (run.run_key, run.tags["credit/trigger"]) == ("external:2024-03-20:calibration", CALIBRATION)
    assert training_mode(triggers_of(world.claims, D)) == "recalibration"
    assert (recalibrations(world.claims), retrainings(world.claims)) == ({D}, set())
    world.external("drift: PSI of income 0.4", D)
    assert the_run(world.tick("external_trigger")).run_key == "external:2024-03-20:drift"
    assert training_mode(triggers_of(world.claims, D)) == "improvement"
    # A retraining gives the day a new calibration too.
    other = D + DAY
    world.ingest(other)
    world.external("drift: again", other)
    the_run(world.tick("external_trigger"))
    world.external("calibration: again", other)
    assert "the retraining as of 2024-03-21 was started already" in world.tick("external_trigger")
    assert other not in recalibrations(world.claims)


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
    asked = {"kind": "performance", "reason": "more defaults", "by": "ana", "as_of": "2024-03-20"}
    assert record == {**asked, "not_due": None}
    run = the_run(world.tick("external_trigger"))
    assert run.run_key == "external:2024-03-20:performance"
    assert run.tags["credit/reason"] == "performance: more defaults (ana)"


def test_a_request_as_of_a_day_that_is_not_due_is_recorded_and_passed_by(world: World) -> None:
    early = date(2024, 1, 20)
    world.ingest(early)
    record = report_trigger(world.settings, world.instance, "other", reason="an audit", by="ana", as_of=early)
    why = "the first as-of date with a model can be 2024-02-02"
    assert record["not_due"].startswith("not due: ")
    assert why in record["not_due"]
    # Without a day it is the newest one ingested.
    assert why in report_trigger(world.settings, world.instance, "other", reason="x", by="ana", as_of=None)["not_due"]
    said = str(world.tick("external_trigger"))
    assert why in said
    assert "an audit (ana)" in said
    # It was asked for and stays so; the day is not taken from whoever asks once it is due.
    assert world.claims.names("retraining") == []
    assert world.tick("external_trigger") == "no external event"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"kind": "weather"},
            "unknown kind of trigger 'weather'; known: drift, performance, volume, calibration, replace, other",
        ),
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


# Over GraphQL

GRAPHQL_DAY = date(2024, 3, 31)

# What such a system sends; the README tells people the same.
MUTATION = """
mutation Report($day: [String], $description: String) {
  reportRunlessAssetEvents(eventParams: {
    eventType: ASSET_MATERIALIZATION,
    assetKey: {path: ["external_trigger"]},
    partitionKeys: $day,
    description: $description
  }) {
    __typename
    ... on ReportRunlessAssetEventsSuccess { assetKey { path } }
    ... on PythonError { message }
  }
}
"""
SENSORS = """
{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { name targets { pipelineName } } } } } }
"""


def post(url: str, query: str, **variables: Any) -> Any:
    request = urllib.request.Request(
        f"{url}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        answer = json.load(response)
    assert "errors" not in answer, answer
    return answer["data"]


def ask(url: str, description: str, *days: date) -> None:
    found = post(url, MUTATION, description=description, day=[str(day) for day in days] or None)
    assert found["reportRunlessAssetEvents"] == {
        "__typename": "ReportRunlessAssetEventsSuccess",
        "assetKey": {"path": ["external_trigger"]},
    }


def evaluate(settings: Settings, instance: dg.DagsterInstance, cursor: str | None) -> Any:
    """A tick as the code server makes it for the daemon."""
    definitions = build_definitions(settings)
    sensor = definitions.resolve_sensor_def("external_trigger")
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        definitions=definitions,
        resources=build_resources(settings),
        sensor_name=sensor.name,
    ) as context:
        return sensor.evaluate_tick(context)


@pytest.mark.slow
def test_an_event_posted_over_graphql_starts_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    # Of a window that has closed for the first days: the as-of date is due.
    settings = load_settings(home=home, start_date=date(2024, 1, 1), performance_window_days=30)
    store = Store(settings.store)
    env = {"CREDIT_HOME": str(home), "CREDIT_START_DATE": "2024-01-01", "CREDIT_PERFORMANCE_WINDOW_DAYS": "30"}
    with (
        instance_of(settings) as instance,
        running(
            "dagster-webserver", "-m", "credit_assets.definitions", folder=tmp_path, path="/server_info", **env
        ) as url,
    ):
        for asset in ("loan_outcomes", "processed_features"):
            for number in range((GRAPHQL_DAY - settings.start_date).days + 1):
                day = settings.start_date + timedelta(number)
                store.write_bytes(store.path(asset, f"{day}.parquet"), b"looked for, not read")
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=str(GRAPHQL_DAY)))
        ask(url, "drift: PSI of income 0.4 in Evidently")
        ask(url, "it rains")
        first = evaluate(settings, instance, None)
        (run,) = first.run_requests
        assert (run.run_key, run.tags["dagster/partition"]) == ("external:2024-03-31:drift", "2024-03-31")
        assert run.tags["credit/reason"] == "drift: PSI of income 0.4 in Evidently"
        found = post(url, SENSORS)["repositoriesOrError"]["nodes"][0]["sensors"]
        assert {"name": "external_trigger", "targets": [{"pipelineName": RETRAIN}]} in found
        # The same day from another system, named by its partition: no second retraining.
        ask(url, "performance: AUC 0.52 in the branch's own report", GRAPHQL_DAY)
        second = evaluate(settings, instance, first.cursor)
        assert second.run_requests == []
        assert "the retraining as of 2024-03-31 was started already by external:2024-03-31:drift" in second.skip_message


# Switched on for the first time


def test_requests_from_before_the_newest_day_are_history(world: World) -> None:
    world.ingest(D - DAY)
    for number in range(60):
        world.external(f"drift: reason {number}")
    world.external("drift: of a day long past", D - 40 * DAY)
    world.external("drift: of a day to come", D + DAY)
    world.ingest(D)
    world.external("performance: seen this morning", D - DAY)
    world.reset("external_trigger")
    found = world.look("external_trigger")
    assert isinstance(found, dg.SensorResult)
    assert [run.run_key for run in found.run_requests or ()] == ["external:2024-03-19:performance"]
    world.tick("external_trigger")
    # The one that names a later day waits for it, as ever.
    world.ingest(D + DAY)
    assert the_run(world.tick("external_trigger")).partition_key == "2024-03-21"
    assert world.tick("external_trigger") == "no external event"


def test_what_is_passed_by_is_said(world: World) -> None:
    world.external("drift: a year ago")
    world.ingest(D)
    world.reset("external_trigger")
    said = world.tick("external_trigger")
    assert said.startswith("1 events from before the newest day was ingested are passed by")
    assert "to ask again: credit-assets trigger" in said
    world.external("drift: now")
    assert the_run(world.tick("external_trigger")).partition_key == "2024-03-20"


def test_before_any_day_is_ingested_nothing_is_history(world: World) -> None:
    world.external("drift: the first of all")
    world.reset("external_trigger")
    assert "waits: it names no day" in world.tick("external_trigger")
    world.ingest(D)
    assert the_run(world.tick("external_trigger")).partition_key == "2024-03-20"
