"""Assembles the Definitions from settings.

Belongs here: which parts make the house. Takes overrides, so that a test builds the same house with other resources.
"""

from __future__ import annotations

import warnings
from typing import Any

import dagster as dg

from credit_assets.assets.deployment import deployment_assets
from credit_assets.assets.drift import drift_assets
from credit_assets.assets.features import feature_assets
from credit_assets.assets.ingestion import ingestion_assets
from credit_assets.assets.performance import performance_assets
from credit_assets.assets.scoring import scoring_assets
from credit_assets.assets.selection import trained_model_asset
from credit_assets.assets.shadow import shadow_assets
from credit_assets.assets.training import candidate_asset, training_set_asset
from credit_assets.automation.deployment import alias_specs, deployment_sensor
from credit_assets.automation.jobs import daily_schedule, jobs
from credit_assets.automation.lost_runs import lost_runs_sensor
from credit_assets.automation.triggers import external_trigger_spec, refresh_schedule, trigger_sensors
from credit_assets.executors import executor
from credit_assets.notify.follow import notice_sensors
from credit_assets.notify.messages import tracking_close_sensors
from credit_assets.partitions import daily_partitions
from credit_assets.resources import build_resources
from credit_assets.settings import Settings


def build_definitions(settings: Settings, **overrides: Any) -> dg.Definitions:
    """The code location. `overrides` replace resources by name: warehouse, store, claims, tracking, registry, requests,
    notifier, parquet, record.
    """
    resources = build_resources(settings)
    unknown = sorted(set(overrides) - set(resources))
    if unknown:
        raise ValueError(f"no resource {', '.join(unknown)}; known: {', '.join(resources)}")
    partitions = daily_partitions(settings)
    asset_jobs = jobs(settings, partitions)
    with warnings.catch_warnings():
        # Partitioned checks and backfill policies are marked so. The lock file pins the Dagster that they are tested
        # with, and every process that loads the code location would repeat the warning.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.Definitions(
            assets=[*assets(settings, partitions), *alias_specs(), external_trigger_spec(partitions)],
            resources={**resources, **overrides},
            jobs=asset_jobs,
            schedules=[daily_schedule(settings), refresh_schedule(settings)],
            sensors=[
                *trigger_sensors(settings, partitions),
                deployment_sensor(),
                lost_runs_sensor(asset_jobs),
                *notice_sensors(settings),
                *tracking_close_sensors(),
            ],
            executor=executor(settings),
        )


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The asset graph, in the order of its stages."""
    return [
        *ingestion_assets(settings, partitions),
        *feature_assets(settings, partitions),
        training_set_asset(settings, partitions),
        *(candidate_asset(settings, partitions, variant) for variant in settings.variants),
        trained_model_asset(settings, partitions),
        *deployment_assets(settings, partitions),
        *scoring_assets(settings, partitions),
        *drift_assets(settings, partitions),
        *performance_assets(settings, partitions),
        *shadow_assets(settings, partitions),
    ]
