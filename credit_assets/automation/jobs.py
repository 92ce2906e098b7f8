"""Jobs and the daily schedule.

Belongs here: what starts together and when. Does not belong here: which assets a job makes (`credit_assets.stages`).
"""

from __future__ import annotations

import warnings
from datetime import time, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from credit_assets.assets.due import planned, without_training
from credit_assets.notify.ticks import handles_tick_errors
from credit_assets.settings import Settings
from credit_assets.stages import DAILY, INGEST, JOBS, RECHECK, RETRAIN, SCORE
from credit_assets.tags import MAX_RETRIES_TAG, PORTFOLIO_TAG, RETRY_ON_STEP_FAILURE_TAG

DAILY_SCHEDULE, DAILY_TIME = f"{DAILY}_schedule", time(6)
# The daily job has assets that take a range of days in one run and others that train a day at a time. Dagster makes a
# run of each day of its backfills then, which is what is wanted, and would say so in every process of every step.
warnings.filterwarnings("ignore", message=r"Asset job \S+ materializes assets with varying BackfillPolicies")

# A lost worker or pod is worth another run; a step that failed has had its own retries.
_RUN_TAGS = {MAX_RETRIES_TAG: "2", RETRY_ON_STEP_FAILURE_TAG: "false"}


def jobs(settings: Settings) -> list[dg.UnresolvedAssetJobDefinition]:
    descriptions = {
        DAILY: "The whole graph for one day: recheck, ingest, validate, train, decide, deploy, score, report.",
        RECHECK: f"Holds the last {settings.recheck_days} days (CREDIT_RECHECK_DAYS) against the warehouse, and makes "
        "again what has changed there. Part of the daily job, before its training.",
        INGEST: "Applications, outcomes and features of a day, or of a range of days in one run.",
        RETRAIN: "Training set to deployment for one as-of date.",
        SCORE: "Scores and reports of a day, or of a range of days in one run.",
    }
    made = dict(JOBS)
    if settings.retraining == "triggered":
        descriptions[DAILY] = "Recheck, ingest, validate, score and report one day. Training waits for a trigger."
        made[DAILY] = tuple(stage for stage in made[DAILY] if stage not in made[RETRAIN])
    return [
        dg.define_asset_job(
            settings.naming.dagster(job),
            selection=dg.AssetSelection.assets(*map(settings.naming.asset, settings.graph.names(*made[job]))),
            description=description,
            run_tags={**_RUN_TAGS, PORTFOLIO_TAG: settings.portfolio_contract.name},
        )
        for job, description in descriptions.items()
    ]


def daily_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """06:00 in CREDIT_TIMEZONE, for the day that has just closed. The run key is the day: one run a day, for ever."""
    on = settings.daily_schedule == "on"

    @dg.schedule(
        name=settings.naming.dagster(DAILY_SCHEDULE),
        job_name=settings.naming.dagster(DAILY),
        cron_schedule=f"0 {DAILY_TIME.hour} * * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description=f"Every day at 06:00 the job {settings.naming.dagster(DAILY)} for the day before.",
    )
    @handles_tick_errors("Dagster's database", skips=False)
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(ZoneInfo(settings.timezone))
        closed = now.date() - timedelta(days=1)
        if closed < settings.start_date:
            return dg.SkipReason(f"no day has closed since {settings.start_date} (CREDIT_START_DATE)")
        day = closed.isoformat()
        selection = without_training(settings, DAILY, planned(settings).why_not(closed))
        if selection and settings.retraining == "triggered":
            # Its job makes no training set either: a trigger asks for one once it is due.
            selection = None
        return dg.RunRequest(run_key=day, partition_key=day, asset_selection=selection)

    return schedule
