"""The sensor that starts a lost run again where Dagster could not.

Belongs here: runs whose own retry failed. Does not belong here: retries of runs, which Dagster's daemon does
(`run_retries` of the instance), and of steps.

The daemon asks the code server for the run that is to be retried, once. Where a node takes run and code server with it,
that fails, the run is marked as not to be retried, and nobody comes back to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from credit_assets.instance.dagster_internals import retry_failed
from credit_assets.instance.own_runs import is_own
from credit_assets.naming import PLAIN, Names
from credit_assets.notify.ticks import told
from credit_assets.tags import (
    DAGSTER_PARTITION_TAG,
    DAGSTER_PREFIX,
    LOST_BEFORE_TAG,
    LOST_RUN_TAG,
    PARENT_RUN_TAG,
    WILL_RETRY_TAG,
)

LOST_RUNS_SENSOR = "lost_runs"
MOST = 2
_LOOKBACK = timedelta(days=1)


def lost_runs_sensor(jobs: Sequence[dg.UnresolvedAssetJobDefinition], naming: Names = PLAIN) -> dg.SensorDefinition:
    """Starts runs of these jobs again, for the same partition and with the same configuration, at most twice each."""
    names = {job.name for job in jobs}

    @dg.sensor(
        name=naming.dagster(LOST_RUNS_SENSOR),
        jobs=list(jobs),
        description="Starts a run again that was lost together with the code server, so that Dagster's own retry "
        f"failed. At most {MOST} times.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
    )
    @told("Dagster's database")
    def lost_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        lost = list(_lost(context.instance, names, naming))
        if not lost:
            return dg.SkipReason("no run was lost")
        return dg.SensorResult(run_requests=[_again(run) for run in lost])

    return lost_runs


def _lost(instance: dg.DagsterInstance, names: set[str], naming: Names) -> Iterator[dg.DagsterRun]:
    since = datetime.now(UTC) - _LOOKBACK
    wanted = RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={WILL_RETRY_TAG: "false"}, updated_after=since)
    for run in instance.get_runs(wanted):
        mine = run.job_name in names and DAGSTER_PARTITION_TAG in run.tags and is_own(naming, run)
        if not mine or int(run.tags.get(LOST_BEFORE_TAG, 0)) >= MOST or not retry_failed(instance, run.run_id):
            continue
        # Somebody else may have started it again by then.
        if not instance.get_run_records(RunsFilter(tags={PARENT_RUN_TAG: run.run_id}), limit=1):
            yield run


def _again(run: dg.DagsterRun) -> dg.RunRequest:
    # Dagster's own tags are about the lost run: its image, its end, its retries.
    tags = {name: value for name, value in run.tags.items() if not name.startswith(DAGSTER_PREFIX)}
    before = int(run.tags.get(LOST_BEFORE_TAG, 0))
    return dg.RunRequest(
        # One for each lost run, however often this looks.
        run_key=run.run_id,
        job_name=run.job_name,
        partition_key=run.tags[DAGSTER_PARTITION_TAG],
        run_config=run.run_config,
        tags={**tags, LOST_RUN_TAG: run.run_id, LOST_BEFORE_TAG: str(before + 1)},
    )
