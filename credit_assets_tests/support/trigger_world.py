"""A deployment whose reports, ingested days and events a test writes, and ticks of the triggers that look at it.

A test file that needs `world` names this module and `mlflow_server` in its `pytest_plugins`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.automation.event_cursors import write_cursor
from credit_assets.automation.external_trigger import EXTERNAL_ASSET, external_sensor
from credit_assets.automation.refresh import refresh_schedule
from credit_assets.automation.report_triggers import report_sensors
from credit_assets.instance.home import instance_of
from credit_assets.ledger.registry import Registry
from credit_assets.ml.rules.triggers import TriggerState
from credit_assets.partitions import daily_partitions
from credit_assets.settings import MODEL_NAME, Settings, load_settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking

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
        sensors = [*report_sensors(self.settings), external_sensor(self.settings)]
        self.sensors = {one.name: one for one in sensors}
        # Switched on when there was nothing yet.
        report_cursor = write_cursor(0, TriggerState().to_record())
        self.cursors: dict[str, str | None] = {name: report_cursor for name in self.sensors if name != EXTERNAL_ASSET}
        self.cursors[EXTERNAL_ASSET] = write_cursor(0, {"waiting": []})
        # The book has been ingested from its first day on.
        self.store.write_bytes(self.store.path("raw_loan_data", f"{START}.parquet"), b"looked for, not read")

    def reset(self, name: str) -> None:
        """The sensor is switched on for the first time."""
        self.cursors.pop(name)

    @property
    def resources(self) -> dict[str, Any]:
        return {"store": self.store, "registry": self.registry, "claims": self.claims}

    def report(self, asset: str, day: date, record: dict[str, Any]) -> None:
        self.store.write_record(self.store.path(asset, f"{day}.json"), {"day": str(day), "champion": "1", **record})
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=str(day)))

    def drift(self, day: date, verdict: str = "shifted", **more: Any) -> None:
        names = ["income"] if verdict == "shifted" else []
        self.report("drift_report", day, {"verdict": verdict, "shifted": names, "why": None, **more})

    def performance(self, day: date, auc: float = 0.68, matured: int = 0, ratio: float = 1.0, **more: Any) -> None:
        baseline = {"auc": 0.68, "auc_error": 0.005, "bads": 200, "estimated_auc": None, "estimated_auc_drawn": None}
        baseline |= {"rows": 2000, "level": 0.0, "level_error": 0.02, "level_bads": 400}
        level = {"observed_over_expected": {"value": ratio}, "expected": 400 / ratio, "level_error": 0.05}
        ranking = {"rows": 2000, "bads": 400, "evaluation": {"auc": auc}, "auc_error": 0.005}
        found = {**level, **ranking, "from": "2023-01-01", "to": "2023-03-31"}
        record = {"registered": {"auc": 0.68, "baseline": baseline}, "since_training": found, "estimated": None}
        self.report("performance_report", day, {**record, "newly_matured": matured, "training_rows": 1000, **more})

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


@pytest.fixture
def world(tmp_path: Path, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    home = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    settings = load_settings(home=home, **TRIGGERED)
    claims = Claims(settings.store)
    with instance_of(settings) as instance:
        yield World(settings, instance, Store(settings.store), Registry(tracking, MODEL_NAME, claims), claims)


def the_run(found: Any) -> dg.RunRequest:
    """The one run that a tick requested."""
    assert isinstance(found, list), found
    assert len(found) == 1
    return found[0]
