"""What a tick of each sensor and schedule costs, and whether it grows with what there is.

Run: `python -m benchmarks ticks`. Two deployments with real storages, one of 100 and one of 3,650 days, take turns, so
that both meet the same noise of the machine. Each day has its run and its reports; every ten days there is a version
that was asked for and brought into force. Each is measured on a tick that finds nothing new, which is nearly every
tick; those that follow something on one event, and those that start runs where they start one, which costs the most.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from benchmarks.soak import message_service
from credit_assets.automation.housekeeping import HOUSEKEEPING
from credit_assets.automation.jobs import DAILY_SCHEDULE
from credit_assets.automation.refresh import REFRESH_SCHEDULE
from credit_assets.build import build_definitions
from credit_assets.instance.home import instance_of
from credit_assets.ledger.alias_log import Move, MoveDetails, MoveKind
from credit_assets.ledger.deployment import ALIASES, Deployment
from credit_assets.ledger.reported import report_moves
from credit_assets.ledger.requests import DONE
from credit_assets.ml.rules.periods import Period, moved
from credit_assets.ml.rules.triggers import TriggerState
from credit_assets.notify.watch import WATCH
from credit_assets.resources import objects_of
from credit_assets.settings import Settings, load_settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tags import EVENT_TAG, WILL_RETRY_TAG

FEW, MANY = 100, 3_650
TICKS = 40
# CPU seconds of one tick that the target allows.
LIMIT_S = 0.2
# What it may cost of one with few days.
LIMIT_OF_FEW = 1.1
LAST = date(2024, 3, 31)
DAYS_A_VERSION = 10
# Trainings that are younger keep others waiting.
_LAST_VERSION = LAST - timedelta(days=60)
# Each sensor that starts runs, and the asset whose newest materialization it finds new on the tick that starts one.
SENSORS = {
    "drift_trigger": "drift_report",
    "performance_trigger": "performance_report",
    "volume_trigger": "performance_report",
    "external_trigger": "external_trigger",
}
# Each that follows runs, and the event that is the newest of its kind.
FOLLOWERS = {
    "failure_alerts": dg.DagsterEventType.RUN_FAILURE,
    "retraining_notices": dg.DagsterEventType.RUN_START,
    "gate_notices": dg.DagsterEventType.RUN_SUCCESS,
}
NOTHING, EVENT, STARTS = "nothing new", "one event", "starts a run"
Tick = Callable[[], Any]


@dataclass(frozen=True)
class Cost:
    """Median of one tick in milliseconds, with few and with many days, and the median of their differences."""

    sensor: str
    tick: str
    cpu: tuple[float, float]
    wall: tuple[float, float]
    cpu_more: float
    wall_more: float


def main(ticks: int = TICKS, many: int = MANY) -> list[Cost]:
    """Measure, print a table, return its rows."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with (
        tempfile.TemporaryDirectory() as folder,
        message_service() as address,
        _deployment(Path(folder), FEW, address) as young,
        _deployment(Path(folder), many, address) as old,
    ):
        costs = [_cost(name, what, young[name, what], tick, ticks) for (name, what), tick in old.items()]
    _print(costs)
    return costs


@contextmanager
def _deployment(folder: Path, days: int, address: str) -> Iterator[dict[tuple[str, str], Tick]]:
    """What a tick is, by sensor and kind, in a deployment of that many days."""
    home = folder / str(days)
    start = LAST - timedelta(days=days - 1)
    settings = load_settings(
        home=home,
        dagster_home=home / "dagster",
        start_date=start,
        retraining="triggered",
        performance_window_days=30,
        alert_urls=address,
    )
    with instance_of(settings) as instance:
        every = [start + timedelta(days=n) for n in range(days)]
        definitions = build_definitions(settings)
        resources = objects_of(definitions)
        _fill_days(settings, instance, resources["store"], every)
        trained = [day for day in every[::DAYS_A_VERSION] if day <= _LAST_VERSION]
        _fill_models(resources["deployment"], trained)
        report_moves(instance, resources["registry"])
        yield _ticks(settings, instance, definitions, trained)


def _fill_days(settings: Settings, instance: dg.DagsterInstance, store: Store, days: list[date]) -> None:
    """A run and reports of every day, the last ones asking for a retraining, and an external event a day."""
    low = {"bads": 200, "evaluation": {"auc": 0.42}, "auc_error": 0.01, "observed_over_expected": None}
    for day in days:
        asking = (LAST - day).days < settings.drift_trigger_window
        records: dict[str, dict[str, Any]] = {
            "drift_report": {"verdict": "shifted" if asking else "stable", "shifted": ["income"], "why": None},
            "performance_report": {
                "registered": {"auc": 0.68},
                "realised": None,
                "since_training": low if asking else None,
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
        # In both as many as are younger than a day when they are looked at, since all are made now.
        _made(instance, failed=day == LAST - timedelta(days=1))


def _made(instance: dg.DagsterInstance, *, failed: bool) -> None:
    """A run that began and ended."""
    kinds = dg.DagsterEventType
    run = instance.create_run_for_job(_started, tags={WILL_RETRY_TAG: "false"} if failed else {})
    for kind in (kinds.RUN_START, kinds.RUN_FAILURE if failed else kinds.RUN_SUCCESS):
        instance.report_dagster_event(dg.DagsterEvent(kind.value, run.job_name), run.run_id)


def _fill_models(deployment: Deployment, days: Sequence[date]) -> None:
    """A version as of each of these days, every one of them asked for and brought into force by all aliases."""
    registry, requests = deployment.registry, deployment.requests
    client, experiment = registry.tracking.server.client, registry.tracking.server.experiment_id
    logs, histories = None, dict[str, list[Period]]()
    for number, day in enumerate(days, 1):
        run = registry.tracking.runs.parent(f"run-{number}", RETRAIN)
        model = client.create_logged_model(experiment, name="model", source_run_id=run)
        version = registry.register(f"models:/{model.model_id}", run_id=run, fingerprint=f"f{number}", as_of=day)
        request = requests.add("promote", version.version, by="ann", reason="better", effective_from=day)
        requests.finish(request, DONE)
        logs = logs or {alias: deployment.aliases.log(alias) for alias in ALIASES}
        for alias, log in logs.items():
            history = histories[alias] = moved(histories.get(alias, []), version.version, day)
            change = MoveDetails(day, MoveKind.PROMOTE, "ann", "better", request.number)
            held = tuple(str(one) for one in range(1, number + 1))
            log.enter(Move(number, version.version, change, datetime.now(UTC).isoformat(), tuple(history), held))
            log.done("shown", number)
            log.done("settled", number)


def _ticks(
    settings: Settings, instance: dg.DagsterInstance, definitions: dg.Definitions, trained: Sequence[date]
) -> dict[tuple[str, str], Tick]:
    built, repository = objects_of(definitions), definitions.get_repository_def()

    def resources(name: str, wanted: Sequence[str]) -> dict[str, Any]:
        found = {key: built[key] for key in wanted}
        if "claims" in found and name != HOUSEKEEPING:
            # Claims of its own: each shall start its run, and finds its claim again in every round.
            found["claims"] = claims = Claims(f"{settings.store}-{name}")
            for day in trained:
                claims.bind(f"retraining/{day}", "{}")
        return found

    def sense(name: str, given: Mapping[str, Any], cursor: str | None) -> Any:
        context = dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            resources=dict(given),
            sensor_name=name,
            repository_def=repository if name == WATCH else None,
        )
        found = repository.get_sensor_def(name)(context)
        return getattr(found, "cursor", None) or context.cursor, found

    def schedule(name: str, given: Mapping[str, Any], when: datetime) -> Any:
        # Opens the instance anew from its reference, which is most of what this tick costs here.
        with dg.build_schedule_context(instance, when, dict(given)) as context:
            return None, repository.get_schedule_def(name)(context)

    # The refresh of February was started; that of March is asked for again each time, since nobody makes its run.
    instance.create_run_for_job(_started, tags={EVENT_TAG: "refresh:2024-02"})
    ticks: dict[tuple[str, str], Tick] = {}
    for one in repository.sensor_defs:
        given, cursor = resources(one.name, sorted(one.required_resource_keys)), None
        if one.name in SENSORS:
            last, former = instance.fetch_materializations(dg.AssetKey(SENSORS[one.name]), limit=2).records
            state = {"waiting": []} if one.name == "external_trigger" else TriggerState().to_record()
            begins: dict[str, str | None] = {
                what: json.dumps({"storage_id": record.storage_id, "state": state})
                for what, record in ((NOTHING, last), (STARTS, former))
            }
        else:
            # The first ticks read how things stand.
            for _ in range(3):
                cursor, _ = sense(one.name, given, cursor)
            begins = {NOTHING: cursor, **_before_the_last(instance, one.name, cursor)}
        for what, begin in begins.items():
            ticks[one.name, what] = partial(sense, one.name, given, begin)
    for name, what, month in (
        (DAILY_SCHEDULE, STARTS, 4),
        (REFRESH_SCHEDULE, NOTHING, 3),
        (REFRESH_SCHEDULE, STARTS, 4),
    ):
        wanted = sorted(repository.get_schedule_def(name).required_resource_keys)
        ticks[name, what] = partial(schedule, name, resources(name, wanted), datetime(2024, month, 1, 7, tzinfo=UTC))
    return ticks


def _before_the_last(instance: dg.DagsterInstance, name: str, cursor: str | None) -> dict[str, str]:
    """The cursor of a sensor that follows events with which it finds one of them; none of any other sensor."""
    if name == HOUSEKEEPING:
        read = json.loads(cursor or "{}")
        return {EVENT: json.dumps({**read, "SUCCESS": read["SUCCESS"] - 1})}
    if (kind := FOLLOWERS.get(name)) is None:
        return {}
    (last,) = instance.fetch_run_status_changes(kind, limit=1).records
    state = json.loads(cursor or "{}")
    return {EVENT: json.dumps({"at": {service: [last.storage_id - 1, 0, 0.0] for service in state["at"]}})}


@dg.job
def _started() -> None: ...


def _cost(name: str, what: str, few: Tick, many: Tick, ticks: int) -> Cost:
    taken: tuple[list[tuple[float, float]], ...] = ([], [])
    for number in range(ticks + 2):
        # In turns, so that what else the machine does hits both alike.
        pair = list(zip((few, many), taken, strict=True))
        for tick, times in pair if number % 2 else reversed(pair):
            cpu, wall = time.process_time(), time.perf_counter()
            _, found = tick()
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
        text = f"dearest tick ({what}) of a house of {MANY:,} days, CPU"
        note = f"{dearest.sensor}; {dearest.cpu_more / 1000:+.3f} s against {FEW} days"
        found.append(Row("3 load", text, dearest.cpu[1] / 1000, None, "s", "", LIMIT_S, note=note))
    return found


def markdown(costs: list[Cost]) -> str:
    """Every tick, for the report."""
    head = ["sensor", "tick", f"CPU, {FEW} days", f"CPU, {MANY:,}", "more"]
    head += [f"wall, {FEW} days", f"wall, {MANY:,}", "more"]
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
    table = Table(title=f"One tick in milliseconds, median of pairs: {FEW} and {MANY:,} days", title_justify="left")
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
