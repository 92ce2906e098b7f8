"""Sensors that close in MLflow what a Dagster run left open.

Belongs here: when a run has ended. Does not belong here: how MLflow runs are ended (`credit_assets.tracking`).
"""

from __future__ import annotations

import dagster as dg

from credit_assets.instance.own_runs import is_own
from credit_assets.naming import PLAIN, Names
from credit_assets.notify.ticks import told
from credit_assets.tracking import Tracking


def tracking_close_sensors(naming: Names = PLAIN) -> list[dg.SensorDefinition]:
    """One sensor per final status: each ends the MLflow runs that a Dagster run has left open.

    They are told of every run of the instance, since `credit-assets replay` starts runs that belong to no code
    location, and look at those of their portfolio. A run without an MLflow run costs one look.
    """
    return [
        _tracking_close_sensor(status, naming)
        for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    ]


def _tracking_close_sensor(status: dg.DagsterRunStatus, naming: Names) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=naming.dagster(f"close_tracking_{status.value.lower()}"),
        description=f"Ends the MLflow runs of Dagster runs that ended as {status.value}.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        monitor_all_code_locations=True,
    )
    @told("MLflow", skips=False)
    def close_tracking(context: dg.RunStatusSensorContext, tracking: dg.ResourceParam[Tracking]) -> None:
        if is_own(naming, context.dagster_run):
            tracking.runs.close(context.dagster_run.run_id, status.value)

    return close_tracking
