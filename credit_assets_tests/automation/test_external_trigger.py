"""A monitoring system outside asks for a retraining through the GraphQL API of a real web server."""

from __future__ import annotations

import json
import urllib.request
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.build import build_definitions
from credit_assets.instance.home import instance_of
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.store import Store
from credit_assets_tests.support.mlflow_server import running

D = date(2024, 3, 31)

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
    with urllib.request.urlopen(request, timeout=250) as response:
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
    settings = load_settings(home=home, start_date=date(2024, 1, 1))
    store = Store(settings.store)
    env = {"CREDIT_HOME": str(home), "CREDIT_START_DATE": "2024-01-01"}
    with (
        instance_of(settings) as instance,
        running(
            "dagster-webserver", "-m", "credit_assets.definitions", folder=tmp_path, path="/server_info", **env
        ) as url,
    ):
        for asset in ("loan_outcomes", "processed_features"):
            store.write_bytes(store.path(asset, f"{D}.parquet"), b"looked for, not read")
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=str(D)))
        ask(url, "drift: PSI of income 0.4 in Evidently")
        ask(url, "it rains")
        first = evaluate(settings, instance, None)
        (run,) = first.run_requests
        assert (run.run_key, run.tags["dagster/partition"]) == ("external:2024-03-31:drift", "2024-03-31")
        assert run.tags["credit/reason"] == "drift: PSI of income 0.4 in Evidently"
        found = post(url, SENSORS)["repositoriesOrError"]["nodes"][0]["sensors"]
        assert {"name": "external_trigger", "targets": [{"pipelineName": RETRAIN}]} in found
        # The same day from another system, named by its partition: no second retraining.
        ask(url, "performance: AUC 0.52 in the branch's own report", D)
        second = evaluate(settings, instance, first.cursor)
        assert second.run_requests == []
        assert "the retraining as of 2024-03-31 was started already by external:2024-03-31:drift" in second.skip_message
