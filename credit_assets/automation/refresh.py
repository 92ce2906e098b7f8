"""The calendar's trigger: the monthly refresh.

Belongs here: for which month a training is due and whether it was made. Does not belong here: how the run is started
(`retraining_runs`), and by which rule a refresh is judged (`credit_assets.ml.rules.decisions`).
"""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from credit_assets.assets.due import planned
from credit_assets.assets.policies import policy_of
from credit_assets.automation.retraining_runs import NoRun, NotNow, RetrainingEvent, Services, record_of, start
from credit_assets.instance.own_runs import own_runs
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import REFRESH
from credit_assets.notify.ticks import handles_tick_errors
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tags import EVENT_TAG

REFRESH_SCHEDULE = "monthly_refresh"
REFRESH_DAYS = 7


def refresh_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The monthly refresh: a training as of the last day of the month before, asked for until it is started.

    It also trains the first model where nothing else does: drift and performance need a champion to speak of.
    """
    on = settings.refresh == "monthly" and settings.retraining == "triggered"
    margin = policy_of(settings).comparison.non_inferiority_margin

    @dg.schedule(
        name=settings.naming.dagster(REFRESH_SCHEDULE),
        job_name=settings.naming.dagster(RETRAIN),
        # A day that is ingested late, or an hour in which nothing answers, delays the refresh and does not cancel it.
        cron_schedule=f"0 7-23 1-{REFRESH_DAYS} * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description="Regulatory refresh: once a month a training as of the last day of the month before. It is "
        f"registered where it is shown not to be worse by {margin:g} of AUC than the champion and the first of its "
        "chain of refreshes, or better as measured where drift says that applicants are others than the champion's.",
    )
    @handles_tick_errors("the store or MLflow")
    def monthly_refresh(
        context: dg.ScheduleEvaluationContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        claims: dg.ResourceParam[Claims],
    ) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(ZoneInfo(settings.timezone))
        as_of = now.date().replace(day=1) - timedelta(days=1)
        if as_of < settings.start_date:
            return dg.SkipReason(f"no month has ended since {settings.start_date} (CREDIT_START_DATE)")
        if why := planned(settings).why_not(as_of):
            return dg.SkipReason(why)
        try:
            started = _refresh(context.instance, Services(settings, store, registry, claims), as_of)
        except NotNow as why:
            started = NoRun(str(why))
            if now.day == REFRESH_DAYS and now.hour == 23:
                started = NoRun(
                    f"the refresh of {as_of:%Y-%m} was missed, this was its last attempt: {why}; then materialize the "
                    f"training assets as of {as_of}, for instance with the job {settings.naming.dagster(RETRAIN)}"
                )
                context.log.error(started.why)
        return dg.SkipReason(started.why) if isinstance(started, NoRun) else started

    return monthly_refresh


def _refresh(instance: dg.DagsterInstance, services: Services, as_of: date) -> dg.RunRequest | NoRun:
    """The run of a month's refresh, or why it needs none. Raises NotNow where it has to wait."""
    event = RetrainingEvent(REFRESH, f"{REFRESH}:{as_of:%Y-%m}", as_of, f"monthly refresh of {as_of:%B %Y}")
    # The run key of a schedule counts within one tick only.
    naming, runs_filter = services.settings.naming, dg.RunsFilter(tags={EVENT_TAG: event.identity})
    if runs := own_runs(instance, naming, 1, runs_filter):
        return NoRun(f"the refresh of {as_of:%Y-%m} was started: run {runs[0].run_id}")
    decided = record_of(services.store, "registered_model", as_of) or {}
    if decided.get("decision") == "registered" or REFRESH in decided.get("triggers", ()):
        return NoRun(f"the model as of {as_of} is trained: {decided['decision']}")
    started = start(services, event)
    if isinstance(started, NoRun) and decided.get("decision") == "rejected":
        # By the rule of improvement, before anybody asked for a refresh, which has to be no worse only.
        return event.run_request()
    return started
