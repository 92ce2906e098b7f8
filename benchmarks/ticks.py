"""What a tick of each trigger costs, and whether it grows with the partitions that exist.

Run: `python -m benchmarks ticks`. Two deployments with real storages, one with 100 and one with 3,650 days of reports,
take turns, so that both meet the same noise of the machine. Each sensor is measured on a tick that finds nothing new,
which is nearly every tick, and on one that starts a run, which costs the most: reports, claims and MLflow.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from benchmarks.report import Row
from credit_assets.automation.external_trigger import external_sensor
from credit_assets.automation.refresh import refresh_schedule
from credit_assets.automation.report_triggers import report_sensors
from credit_assets.instance.home import instance_of
from credit_assets.ml.rules.triggers import TriggerState
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tags import EVENT_TAG

FEW, MANY = 100, 3_650
TICKS = 40
# CPU seconds of one tick that the target allows.
LIMIT_S = 0.2
LAST = date(2024, 3, 31)
# Each sensor, and the asset whose newest materialization it finds new on the tick that starts a run.
SENSORS = {
    "drift_trigger": "drift_report",
    "performance_trigger": "performance_report",
    "volume_trigger": "performance_report",
    "external_trigger": "external_trigger",
}
NOTHING, STARTS = "nothing new", "starts a run"


@dataclass(frozen=True)
class Cost:
    """Median of one tick in milliseconds, with few and with many partitions, and the median of their differences."""

    sensor: str
    tick: str
    cpu: tuple[float, float]
    wall: tuple[float, float]
    cpu_more: float
    wall_more: float


def main(ticks: int = TICKS) -> list[Cost]:
    """Measure, print a table, return its rows."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with (
        tempfile.TemporaryDirectory() as folder,
        _deployment(Path(folder), FEW) as few,
        _deployment(Path(folder), MANY) as many,
    ):
        costs = [
            _cost(name, what, few[name, what], many[name, what], ticks)
            for name in (*SENSORS, "monthly_refresh")
            for what in (NOTHING, STARTS)
        ]
    _print(costs)
    return costs


@contextmanager
def _deployment(folder: Path, days: int) -> Iterator[dict[tuple[str, str], Callable[[], Any]]]:
    """What a tick is, by sensor and kind, in a deployment with that many days of reports."""
    home = folder / str(days)
    start = LAST - timedelta(days=days - 1)
    settings = load_settings(
        home=home, dagster_home=home / "dagster", start_date=start, retraining="triggered", performance_window_days=30
    )
    with instance_of(settings) as instance:
        store = build_resources(settings)["store"]
        _fill(settings, instance, store, [start + timedelta(days=n) for n in range(days)])
        yield _ticks(settings, instance)


def _fill(settings: Settings, instance: dg.DagsterInstance, store: Store, days: list[date]) -> None:
    """Reports of every day, the last ones asking for a retraining, and an external event a day."""
    low = {"rows": 2000, "bads": 200, "evaluation": {"auc": 0.52, "auc_ci_low": 0.5, "auc_ci_high": 0.54}}
    for day in days:
        asking = (LAST - day).days < settings.drift_trigger_window
        records: dict[str, dict[str, Any]] = {
            "drift_report": {"verdict": "shifted" if asking else "stable", "shifted": ["income"], "why": None},
            "performance_report": {
                "registered": {"auc": 0.68},
                "realised": {"versions": {"1": low}} if asking else None,
                "estimated": None,
                "newly_matured": 5_000 if asking else 0,
                "training_rows": 4_000,
            },
        }
        for asset, record in records.items():
            store.write_record(store.path(asset, f"{day}.json"), {"day": str(day), "champion": "1", **record})
        for asset in ("loan_outcomes", "processed_features"):
            store.write_bytes(store.path(asset, f"{day}.parquet"), b"looked for, not read")
        for asset in ("loan_outcomes", *records, "external_trigger"):
            # Without a day the external sensor has to find the newest, which costs more.
            partition = None if asset == "external_trigger" else str(day)
            event = dg.AssetMaterialization(asset, partition=partition, description="drift: seen outside")
            instance.report_runless_asset_event(event)


def _ticks(settings: Settings, instance: dg.DagsterInstance) -> dict[tuple[str, str], Callable[[], Any]]:
    sensors = {one.name: one for one in [*report_sensors(settings), external_sensor(settings)]}
    schedule = refresh_schedule(settings)
    built = build_resources(settings)

    def resources(name: str) -> dict[str, Any]:
        # Claims of its own: each sensor shall start its run, and finds its claim again in every round.
        return {"store": built["store"], "registry": built["registry"], "claims": Claims(f"{settings.store}-{name}")}

    def sense(name: str, cursor: str) -> Any:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources(name), sensor_name=name)
        return sensors[name](context)

    def refresh(month: int) -> Any:
        when = datetime(2024, month, 1, 7, tzinfo=UTC)
        named = resources("refresh")
        # Opens the instance anew from its reference, which is most of what this tick costs here.
        with dg.build_schedule_context(instance, when, named) as context:
            return schedule(context)

    # The refresh of February was started; that of March is asked for again each time, since nobody makes its run.
    instance.create_run_for_job(_started, tags={EVENT_TAG: "refresh:2024-02"})
    ticks: dict[tuple[str, str], Callable[[], Any]] = {
        ("monthly_refresh", NOTHING): lambda: refresh(3),
        ("monthly_refresh", STARTS): lambda: refresh(4),
    }
    for name, asset in SENSORS.items():
        last, former = instance.fetch_materializations(dg.AssetKey(asset), limit=2).records
        state = {"waiting": []} if name == "external_trigger" else TriggerState().to_record()
        for what, record in ((NOTHING, last), (STARTS, former)):
            cursor = json.dumps({"storage_id": record.storage_id, "state": state})
            ticks[name, what] = partial(sense, name, cursor)
    return ticks


@dg.job
def _started() -> None: ...


def _cost(name: str, what: str, few: Callable[[], Any], many: Callable[[], Any], ticks: int) -> Cost:
    taken: tuple[list[tuple[float, float]], ...] = ([], [])
    for number in range(ticks + 2):
        # In turns, so that what else the machine does hits both alike.
        pair = list(zip((few, many), taken, strict=True))
        for tick, times in pair if number % 2 else reversed(pair):
            cpu, wall = time.process_time(), time.perf_counter()
            found = tick()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            starts = isinstance(found, dg.RunRequest) or bool(getattr(found, "run_requests", None))
            if starts != (what == STARTS):
                raise AssertionError(f"{name}: this tick was to be one that {what!r}, and was not: {found}")
            if number >= 2:  # The first two open connections.
                times.append((cpu * 1000, wall * 1000))
    medians = [[statistics.median(column) for column in zip(*times, strict=True)] for times in taken]
    more = [statistics.median(b[column] - a[column] for a, b in zip(*taken, strict=True)) for column in (0, 1)]
    cpu_pair, wall_pair = zip(*medians, strict=True)
    return Cost(name, what, cpu_pair, wall_pair, *more)


def rows(costs: list[Cost]) -> list[Row]:
    """The dearest tick of each kind with many partitions, in CPU seconds."""
    found = []
    for what in (NOTHING, STARTS):
        dearest = max((cost for cost in costs if cost.tick == what), key=lambda cost: cost.cpu[1])
        text = f"dearest tick ({what}) with {MANY:,} partitions, CPU"
        note = f"{dearest.sensor}; {dearest.cpu_more / 1000:+.3f} s against {FEW} partitions"
        found.append(Row("3 load", text, dearest.cpu[1] / 1000, None, "s", "", LIMIT_S, note=note))
    return found


def markdown(costs: list[Cost]) -> str:
    """Every tick, for the report."""
    head = ["sensor", "tick", f"CPU, {FEW} partitions", f"CPU, {MANY:,}", "more"]
    head += [f"wall, {FEW} partitions", f"wall, {MANY:,}", "more"]
    lines = [
        [f"`{one.sensor}`", one.tick]
        + [f"{value:.1f}" for value in one.cpu]
        + [f"{one.cpu_more:+.1f}"]
        + [f"{value:.1f}" for value in one.wall]
        + [f"{one.wall_more:+.1f}"]
        for one in costs
    ]
    table = [f"| {' | '.join(line)} |" for line in (head, ["---"] * 2 + ["---:"] * 6, *lines)]
    return "\n".join(table) + "\n\nMilliseconds a tick, medians; `more` is the median of the differences of pairs."


def _print(costs: list[Cost]) -> None:
    table = Table(
        title=f"One tick in milliseconds, median of pairs: {FEW} and {MANY:,} partitions", title_justify="left"
    )
    table.add_column("sensor")
    table.add_column("tick")
    for head in (f"CPU {FEW}", f"CPU {MANY:,}", "more", f"wall {FEW}", f"wall {MANY:,}", "more"):
        table.add_column(head, justify="right")
    for cost in costs:
        figures = (*cost.cpu, cost.cpu_more, *cost.wall, cost.wall_more)
        table.add_row(
            cost.sensor,
            cost.tick,
            *(f"{value:+.2f}" if n in (2, 5) else f"{value:.2f}" for n, value in enumerate(figures)),
        )
    Console(width=120).print(table)
