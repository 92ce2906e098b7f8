"""Notices: what people are told without asking, and sensors that tell it to every service exactly where it is missing.

Belongs here: one message an event (a failed run, failed checks, a retraining, a move of an alias, a sensor in trouble)
and its delivery. Does not belong here: the alert of a failed run (`credit_assets.notify.messages`) and how a message
is sent (`credit_assets.notify.notifier`).

No message is lost. A run status sensor of Dagster passes a run by when its function raises, so an alert that nobody
takes would be gone. The sensors here follow the event log instead: the log keeps the events, and the cursor says for
each alert service how far it has been told. A service that does not answer is asked again at the next tick and holds up
no other one. Sent twice is a message only where the process is killed after sending and before Dagster stores the
cursor. A service that is added is told from then on; one that takes the place of another (a corrected URL) is told what
that one has missed. Everything that a message says stands in the event log, so that telling needs neither the store nor
MLflow, which may be what is broken.

`sensor_watch` sees what stands still beside it. It cannot see that nothing ticks at all, itself included: that needs
somebody outside who looks at the daemon (its health in the Dagster UI, a liveness probe). It tells so afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from credit_assets.failures import is_transient
from credit_assets.ledger.deployment import ALIASES, alias_key
from credit_assets.notify.delivery import _NOBODY, _TICK_SECONDS, Notice, _deliver, _here, _places, _services, _state
from credit_assets.notify.messages import (
    Message,
    _title,
    ended_message,
    failure_alert,
    move_message,
    started_message,
)
from credit_assets.notify.notifier import Notifier
from credit_assets.notify.watch import _watch
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN
from credit_assets.tags import RETRY_NUMBER_TAG

if TYPE_CHECKING:
    pass

_MESSAGES_A_TICK = 5
_EVENTS_A_TICK = 50

_Fetch = Callable[[dg.DagsterInstance, int | None, int], Sequence[dg.EventLogRecord]]
_Tell = Callable[[dg.SensorEvaluationContext, dg.EventLogRecord], Message | None]


def notice_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Failed runs, started retrainings, ended runs, moves of aliases, and sensors in trouble."""
    url = settings.dagster_url

    def failed(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        run = _own_run(context, record)
        return failure_alert(context.instance, run, url) if run else None

    def started(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        run = _own_run(context, record) if record.event_log_entry.job_name == RETRAIN else None
        # Dagster starts a run anew whose worker was lost: still the same retraining.
        return started_message(run, url) if run and RETRY_NUMBER_TAG not in run.tags else None

    def ended(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        run = _own_run(context, record)
        return ended_message(run, _events_of(context.instance, run), url) if run else None

    def moved(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        event = record.asset_materialization
        return move_message(event.asset_key, event.metadata, url) if event else None

    return [
        _follower(
            "failure_alerts",
            "each run that failed and is not retried",
            _run_events(dg.DagsterEventType.RUN_FAILURE),
            failed,
        ),
        _follower(
            "retraining_notices",
            "each retraining that starts, and what started it",
            _run_events(dg.DagsterEventType.RUN_START),
            started,
        ),
        _follower(
            "gate_notices",
            "each run that succeeded with failed checks, and what a retraining came to",
            _run_events(dg.DagsterEventType.RUN_SUCCESS),
            ended,
        ),
        _follower("alias_notices", "each promotion, rollback and other move of an alias", _moves, moved),
        _watch(settings),
    ]


# What is said


# Following the event log


def _follower(name: str, of_what: str, fetch: _Fetch, tell: _Tell) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        description=f"Sends one message to CREDIT_ALERT_URLS for {of_what}.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    def follow(context: dg.SensorEvaluationContext, notifier: dg.ResourceParam[Notifier]) -> dg.SkipReason:
        services = _services(notifier)
        if not services:
            context.update_cursor("{}")
            return dg.SkipReason(_NOBODY)
        deadline = time.monotonic() + _TICK_SECONDS
        newest = max((record.storage_id for record in fetch(context.instance, None, 1)), default=0)
        places = _places(_state(context).get("at"), services, newest)

        def after(position: int) -> list[Notice]:
            return _read(context, fetch, tell, position, deadline) if position < newest else []

        delivery = _deliver(services, places, after, deadline)
        context.update_cursor(json.dumps({"at": delivery.places}, sort_keys=True))
        return dg.SkipReason(delivery.summary())

    return follow


def _run_events(kind: dg.DagsterEventType) -> _Fetch:
    """Events of this type after a position, oldest first; the newest one where the position is None."""

    def fetch(instance: dg.DagsterInstance, after: int | None, limit: int) -> Sequence[dg.EventLogRecord]:
        if after is None:
            return instance.fetch_run_status_changes(kind, limit=limit).records
        wanted = dg.RunStatusChangeRecordsFilter(cast(Any, kind), after_storage_id=after)
        return instance.fetch_run_status_changes(wanted, limit=limit, ascending=True).records

    return fetch


def _moves(instance: dg.DagsterInstance, after: int | None, limit: int) -> Sequence[dg.EventLogRecord]:
    """The same for the moves of all aliases together."""
    found: list[dg.EventLogRecord] = []
    for alias in ALIASES:
        wanted = dg.AssetRecordsFilter(alias_key(alias), after_storage_id=after)
        found += instance.fetch_materializations(wanted, limit=limit, ascending=after is not None).records
    found.sort(key=lambda record: record.storage_id)
    return found if after is None else found[:limit]


def _read(
    context: dg.SensorEvaluationContext, fetch: _Fetch, tell: _Tell, position: int, deadline: float
) -> list[Notice]:
    """The next events after a position, with as many messages as a tick can send."""
    notices: list[Notice] = []
    messages = 0
    for record in fetch(context.instance, position, _EVENTS_A_TICK):
        message = _told(context, tell, record)
        notices.append(Notice(record.storage_id, message))
        messages += message is not None
        if messages == _MESSAGES_A_TICK or time.monotonic() > deadline:
            break
    return notices


def _told(context: dg.SensorEvaluationContext, tell: _Tell, record: dg.EventLogRecord) -> Message | None:
    try:
        return tell(context, record)
    except Exception as error:
        if is_transient(error):
            raise
        # One event that nobody foresaw must not keep all later ones from being told.
        context.log.exception("event %s could not be put into words", record.storage_id)
        what = (record.event_log_entry.dagster_event_type or dg.DagsterEventType.ENGINE_EVENT).value
        return Message(
            _title(f"{what} of run {record.event_log_entry.run_id}"),
            f"This message could not be written ({type(error).__name__}); see event {record.storage_id} in Dagster.",
            "warning",
        )


def _own_run(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> dg.DagsterRun | None:
    """The run of an event where it belongs to this code location; several may share an instance."""
    run = context.instance.get_run_by_id(record.event_log_entry.run_id)
    if run is None:
        return None
    origin = run.remote_job_origin.repository_origin if run.remote_job_origin else None
    place = (origin.code_location_origin.location_name, origin.repository_name) if origin else (None, None)
    return run if place == _here(context) else None


def _events_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.DagsterEvent]:
    wanted = {dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    if run.job_name == RETRAIN:
        wanted.add(dg.DagsterEventType.ASSET_MATERIALIZATION)
    records = instance.get_records_for_run(run.run_id, of_type=wanted).records
    return [record.event_log_entry.get_dagster_event() for record in records]


# Sensors in trouble


# Delivery
