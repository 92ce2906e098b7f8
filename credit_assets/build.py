"""Assembles the Definitions from settings.

Belongs here: which parts make the house. Takes overrides, so that a test builds the same house with other resources.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import dagster as dg

from credit_assets.assets.outside import outside_specs
from credit_assets.assets.presented import mlflow_ui
from credit_assets.assets.runs import BuiltJobs
from credit_assets.automation.deployment import alias_specs, deployment_sensor
from credit_assets.automation.dry_run import dry_run_job
from credit_assets.automation.external_trigger import external_sensor, external_trigger_spec
from credit_assets.automation.housekeeping import RETAIN_AT_ONCE, housekeeping_sensor
from credit_assets.automation.jobs import daily_schedule, jobs
from credit_assets.automation.refresh import refresh_schedule
from credit_assets.automation.report_triggers import report_sensors
from credit_assets.executors import executor
from credit_assets.instance.rubbish import sweep
from credit_assets.ledger.retention import Gone, Retention
from credit_assets.ml.extensions import try_used
from credit_assets.notify.follow import event_sensors
from credit_assets.notify.watch import watch_sensor
from credit_assets.partitions import daily_partitions
from credit_assets.resources import build_resources, shown_resources
from credit_assets.settings import Settings


def build_definitions(settings: Settings, **overrides: Any) -> dg.Definitions:
    """The code location. `overrides` replace resources by name: warehouse, store, claims, tracking, registry, requests,
    notifier, parquet, record.
    """
    resources = build_resources(settings)
    unknown = sorted(set(overrides) - set(resources))
    if unknown:
        raise ValueError(f"no resource {', '.join(unknown)}; known: {', '.join(resources)}")
    # What can be seen of them on tiny tables is seen here, and not by a step of the night.
    try_used(settings.portfolio_contract)
    partitions = daily_partitions(settings)
    asset_jobs = jobs(settings)
    with warnings.catch_warnings():
        # Partitioned checks and backfill policies are marked so. The lock file pins the Dagster that they are tested
        # with, and every process that loads the code location would repeat the warning.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        runs = BuiltJobs(settings.naming)
        runs.definitions = dg.Definitions(
            assets=[
                *assets(settings, partitions),
                *outside_specs(settings),
                *alias_specs(settings),
                external_trigger_spec(settings, partitions),
            ],
            resources=shown_resources(settings, {**resources, "runs": runs, **overrides}),
            jobs=[*asset_jobs, dry_run_job(settings)],
            schedules=schedules(settings),
            sensors=sensors(settings, asset_jobs, partial(_retained, settings, {**resources, **overrides})),
            executor=executor(settings),
        )
        return runs.definitions


def schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """What asks for runs by the clock."""
    return [daily_schedule(settings), refresh_schedule(settings)]


def sensors(
    settings: Settings,
    asset_jobs: Sequence[dg.UnresolvedAssetJobDefinition],
    retain: Callable[[dg.DagsterInstance], Iterable[object]],
) -> list[dg.SensorDefinition]:
    """What looks at everything else. `retain`: see `housekeeping_sensor`."""
    return [
        *report_sensors(settings),
        external_sensor(settings),
        deployment_sensor(settings.naming),
        housekeeping_sensor(asset_jobs, settings.naming, partial(sweep, settings), retain),
        *event_sensors(settings, mlflow_ui(settings) or settings.tracking_uri),
        watch_sensor(settings),
    ]


def declared(settings: Settings) -> dict[str, dg.SensorDefinition | dg.ScheduleDefinition]:
    """By name all that ticks, for who has to know what is declared of it."""
    found: dict[str, dg.SensorDefinition | dg.ScheduleDefinition] = {one.name: one for one in schedules(settings)}
    return found | {one.name: one for one in sensors(settings, jobs(settings), lambda _: ())}


def _retained(settings: Settings, resources: Mapping[str, Any], instance: dg.DagsterInstance) -> Iterator[Gone]:
    """What the settings no longer keep, as much of it as a tick may take out."""
    found = Retention(settings, instance, resources["registry"], resources["store"])
    return found.apply(seconds=RETAIN_AT_ONCE)


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The asset graph: what each module of the table defines, in its order."""
    modules = dict.fromkeys(row.module for row in settings.graph.assets)
    return [
        asset
        for module in modules
        for asset in import_module(f"credit_assets.assets.{module}").assets(settings, partitions)
    ]
