"""The external trigger: an asset by which people and other systems ask for a retraining, and the sensor that answers.

Belongs here: what such an event must say. Does not belong here: how the run is started (`retraining_runs`), and the
command that reports an event (`credit-assets trigger`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg

from credit_assets.assets.conventions import asset_key
from credit_assets.assets.presented import presented
from credit_assets.automation.event_cursors import beginning, events_after, newest_day, read_cursor, write_cursor
from credit_assets.automation.retraining_runs import NoRun, NotNow, NotReady, RetrainingEvent, Services, reaching, start
from credit_assets.ledger.registry import CHAMPION, Registry
from credit_assets.ledger.retraining import CALIBRATION
from credit_assets.ml.data.left_columns import REPLACE
from credit_assets.naming import Names
from credit_assets.notify.messages import one_line
from credit_assets.notify.ticks import handles_tick_errors
from credit_assets.partitions import daily_partitions
from credit_assets.settings import Settings
from credit_assets.stages import GOVERNANCE, RETRAIN
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store

EXTERNAL = "external"
EXTERNAL_ASSET = "external_trigger"
KINDS = ("drift", "performance", "volume", CALIBRATION, REPLACE, "other")
_OWN = (CALIBRATION, REPLACE)
"""Triggers of their own: what a training is for depends on whether there was one."""
_HISTORY = (
    "{} events from before the newest day was ingested are passed by, since this sensor was not switched on; to ask "
    "again: credit-assets trigger"
)


def external_trigger_spec(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetSpec:
    """The external asset by which others ask for a retraining: each materialization of it is one event."""
    return dg.AssetSpec(
        asset_key(settings, EXTERNAL_ASSET),
        group_name=GOVERNANCE,
        **presented(settings),
        partitions_def=partitions,
        description="Retrainings, or new calibrations of the champion, that others ask for. Report a materialization "
        "(GraphQL `reportRunlessAssetEvents`, "
        "`credit-assets trigger`, or 'Report materialization' here) with the description `KIND: reason`, KIND one of "
        f"{', '.join(KINDS)}, and as partition the as-of date; without one, the newest day ingested counts.",
    )


def external_sensor(settings: Settings) -> dg.SensorDefinition:
    partitions = daily_partitions(settings)

    @dg.sensor(
        name=settings.naming.dagster(EXTERNAL_ASSET),
        job_name=settings.naming.dagster(RETRAIN),
        description="Retrains where somebody outside asks for it by materializing "
        f"`{asset_key(settings, EXTERNAL_ASSET).to_user_string()}` with the "
        "description `KIND: reason`. No cooldown; one retraining an as-of date.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    @handles_tick_errors("the store or MLflow")
    def external_trigger(
        context: dg.SensorEvaluationContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        claims: dg.ResourceParam[Claims],
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            return _follow(context, partitions, Services(settings, store, registry, claims))
        except NotNow as why:
            return dg.SkipReason(str(why))

    return external_trigger


def _follow(
    context: dg.SensorEvaluationContext, partitions: dg.PartitionsDefinition, services: Services
) -> dg.SensorResult | dg.SkipReason:
    # Events whose day is not ingested wait in the cursor, and do not hold up those that came after them.
    position, waiting = read_cursor(context.cursor, lambda state: list(state["waiting"]))
    naming, asset = services.settings.naming, asset_key(services.settings, EXTERNAL_ASSET)
    events, passed_by = (events_after(context.instance, asset, position), 0)
    if waiting is None:
        events, passed_by, position = _first_events(context.instance, asset, naming)
    elif not waiting and not events:
        return dg.SkipReason("no external event")
    requests: dict[str, dg.RunRequest] = {}
    still, outcomes = [], [_HISTORY.format(passed_by)] if passed_by else []
    for event in [*(waiting or ()), *map(_event, events)]:
        try:
            started = _answer(context.instance, partitions, services, event)
        except NotReady as why:
            still.append(event)
            started = NoRun(f"waits: {why}")
        if isinstance(started, NoRun):
            outcomes.append(f"event {event['id']} {started.why}")
        else:
            requests.setdefault(str(started.run_key), started)
    if requests:
        for line in outcomes:
            context.log.warning(line)
    return dg.SensorResult(
        run_requests=list(requests.values()),
        skip_reason=None if requests else "; ".join(outcomes) or "no external event",
        cursor=write_cursor(max([position, *(event.storage_id for event in events)]), {"waiting": still}),
    )


def _first_events(
    instance: dg.DagsterInstance, asset: dg.AssetKey, naming: Names
) -> tuple[list[dg.EventLogRecord], int, int]:
    """The events that a sensor without a cursor answers, how many it passes by as history, and up to which it has read.

    History is what was asked for before the newest day was ingested, but for a request that names that day or a later
    one. People make these events, so that all of them are read at once.
    """
    _, first, since = beginning(instance, asset, naming)
    everything: list[dg.EventLogRecord] = []
    while page := events_after(instance, asset, everything[-1].storage_id if everything else 0):
        everything += page

    def history(event: dg.EventLogRecord) -> bool:
        day = event.partition_key
        return first is not None and event.timestamp < since and (day is None or day < first.isoformat())

    kept = [event for event in everything if not history(event)]
    return kept, len(everything) - len(kept), everything[-1].storage_id if everything else 0


def _event(record: dg.EventLogRecord) -> dict[str, Any]:
    """What of an event has to be kept while it waits."""
    event = record.asset_materialization
    by = event.metadata.get("by") if event else None
    return {
        "id": record.storage_id,
        "day": event.partition if event else None,
        "description": (event.description if event else None) or "",
        "by": str(by.value) if by else "",
    }


def _answer(
    instance: dg.DagsterInstance, partitions: dg.PartitionsDefinition, services: Services, event: Mapping[str, Any]
) -> dg.RunRequest | NoRun:
    """The run that an external event starts, or why it starts none. Raises NotNow where it has to wait."""
    kind, _, reason = (part.strip() for part in event["description"].partition(":"))
    if kind.lower() not in KINDS or not reason:
        shown = one_line(event["description"], 60) or "nothing"
        kinds = ", ".join(KINDS)
        return NoRun(f"is passed by: its description must be `KIND: reason`, KIND one of {kinds}; it is {shown!r}")
    day = _newest_day(instance, services.settings.naming) if event["day"] is None else event["day"]
    if not partitions.has_partition_key(day):
        return NoRun(f"is passed by: {day} is no partition; the first is {partitions.get_first_partition_key()}")
    by = f" ({event['by']})" if event["by"] else ""
    identity, cause = f"{EXTERNAL}:{day}:{kind.lower()}", f"{kind.lower()}: {reason}{by}"
    # By its own name: nobody asks for more than a new calibration of the champion then.
    trigger = kind.lower() if kind.lower() in _OWN else EXTERNAL
    if trigger == CALIBRATION:
        with reaching("MLflow"):
            champion = services.registry.alias(CHAMPION)
        if champion is None:
            return NoRun("is passed by: no champion is in force, so that there is nothing to recalibrate")
    return start(services, RetrainingEvent(trigger, identity, date.fromisoformat(day), cause))


def _newest_day(instance: dg.DagsterInstance, naming: Names) -> str:
    newest = newest_day(instance, naming)
    if newest is None:
        raise NotReady("it names no day, and loan_outcomes of no day is materialized")
    return newest.isoformat()
