"""Sensors that follow the event log and send a message of what they meet there.

Belongs here: which events there are messages of. Does not belong here: their words (`messages`, `alerts`), and how a
message comes to every service exactly once (`delivery`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import dagster as dg

from credit_assets.failures import error_text, is_transient
from credit_assets.instance.own_runs import is_own
from credit_assets.ledger.deployment import ALIASES
from credit_assets.ledger.reported import alias_key, reported_move
from credit_assets.links import asset_page, mlflow_page, model_page
from credit_assets.naming import Names
from credit_assets.notify.alerts import failure_alert
from credit_assets.notify.delivery import Notice, Tick, deliver, own_repository, places, sending_sensor
from credit_assets.notify.messages import Message, ended_message, move_message, started_message
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.claims import Claims
from credit_assets.tags import RETRY_NUMBER_TAG

_MESSAGES_A_TICK = 5
_EVENTS_A_TICK = 50

_Fetch = Callable[[dg.DagsterInstance, int | None, int], Sequence[dg.EventLogRecord]]
_Word = Callable[[dg.SensorEvaluationContext, dg.EventLogRecord], Message | None]


def event_sensors(settings: Settings, mlflow_url: str = "") -> list[dg.SensorDefinition]:
    """Failed runs, started retrainings, ended runs, and moves of aliases. `mlflow_url`: where people reach MLflow."""
    url, naming = settings.dagster_url, settings.naming

    def failed(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        run = _own_run(context, record, naming)
        return failure_alert(context.instance, run, url) if run else None

    def started(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        retraining = record.event_log_entry.job_name == naming.dagster(RETRAIN)
        run = _own_run(context, record, naming) if retraining else None
        # Dagster starts a run anew whose worker was lost: still the same retraining.
        return started_message(run, url, naming) if run and RETRY_NUMBER_TAG not in run.tags else None

    def ended(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        run = _own_run(context, record, naming)
        return ended_message(run, _events_of(context.instance, run, naming), url, naming) if run else None

    def moved(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        # The event says where to look; what is told is what the log says.
        move = reported_move(context.instance, Claims(settings.store), naming, record)
        if move is None:
            context.log.warning("event %s reports no move that was made; see `credit-assets audit`", record.storage_id)
            return None
        page = mlflow_page(mlflow_url, model_page(naming.registered_model, move["to"])) if move["to"] != "none" else ""
        return move_message(move, asset_page(url, alias_key(move["alias"], naming).path, view="events"), page)

    kinds = dg.DagsterEventType
    return [
        _follower(
            settings,
            "failure_alerts",
            "each run that failed and is not retried",
            run_events(kinds.RUN_FAILURE),
            failed,
        ),
        _follower(
            settings,
            "retraining_notices",
            "each retraining that starts, and what started it",
            run_events(kinds.RUN_START),
            started,
        ),
        _follower(
            settings,
            "gate_notices",
            "each run that succeeded with failed checks, and what a retraining came to",
            run_events(kinds.RUN_SUCCESS),
            ended,
        ),
        _follower(
            settings, "alias_notices", "each promotion, rollback and other move of an alias", _moves(naming), moved
        ),
    ]


def _follower(settings: Settings, name: str, events: str, fetch: _Fetch, word: _Word) -> dg.SensorDefinition:
    def follow(tick: Tick) -> tuple[dict[str, Any], str]:
        newest = max((record.storage_id for record in fetch(tick.context.instance, None, 1)), default=0)

        def after(position: int) -> list[Notice]:
            return _read(tick, fetch, word, position) if position < newest else []

        delivery = deliver(tick, places(tick.state.get("at"), tick.services, newest), after)
        return {"at": delivery.places}, delivery.summary()

    return sending_sensor(settings, name, f"Sends one message to CREDIT_ALERT_URLS for {events}.", 30, follow)


def run_events(kind: dg.DagsterEventType) -> _Fetch:
    """Events of this type after a position, oldest first; the newest one where the position is None."""

    def fetch(instance: dg.DagsterInstance, after: int | None, limit: int) -> Sequence[dg.EventLogRecord]:
        if after is None:
            return instance.fetch_run_status_changes(kind, limit=limit).records
        wanted = dg.RunStatusChangeRecordsFilter(cast(Any, kind), after_storage_id=after)
        return instance.fetch_run_status_changes(wanted, limit=limit, ascending=True).records

    return fetch


def _moves(naming: Names) -> _Fetch:
    """The same for the moves of all aliases together."""

    def fetch(instance: dg.DagsterInstance, after: int | None, limit: int) -> Sequence[dg.EventLogRecord]:
        records: list[dg.EventLogRecord] = []
        for alias in ALIASES:
            wanted = dg.AssetRecordsFilter(alias_key(alias, naming), after_storage_id=after)
            records += instance.fetch_materializations(wanted, limit=limit, ascending=after is not None).records
        records.sort(key=lambda record: record.storage_id)
        return records if after is None else records[:limit]

    return fetch


def _read(tick: Tick, fetch: _Fetch, word: _Word, position: int) -> list[Notice]:
    """The next events after a position, with as many messages as a tick can send."""
    notices: list[Notice] = []
    messages = 0
    for record in fetch(tick.context.instance, position, _EVENTS_A_TICK):
        message = _message(tick.context, word, record)
        notices.append(Notice(record.storage_id, message))
        messages += message is not None
        if messages == _MESSAGES_A_TICK or time.monotonic() > tick.deadline:
            break
    return notices


def _message(context: dg.SensorEvaluationContext, word: _Word, record: dg.EventLogRecord) -> Message | None:
    try:
        return word(context, record)
    except Exception as error:
        if is_transient(error):
            raise
        # One event that nobody foresaw must not keep all later ones from being sent.
        context.log.error("event %s could not be put into words: %s", record.storage_id, error_text(error))
        event = (record.event_log_entry.dagster_event_type or dg.DagsterEventType.ENGINE_EVENT).value
        line = f"This message could not be written ({type(error).__name__}); see event {record.storage_id} in Dagster."
        return Message.of(f"{event} of run {record.event_log_entry.run_id}", [line], "warning")


def _own_run(context: dg.SensorEvaluationContext, record: dg.EventLogRecord, naming: Names) -> dg.DagsterRun | None:
    """The run of an event where it belongs to this portfolio and code location; several may share an instance."""
    run = context.instance.get_run_by_id(record.event_log_entry.run_id)
    if run is None or not is_own(naming, run):
        return None
    origin = run.remote_job_origin.repository_origin if run.remote_job_origin else None
    place = (origin.code_location_origin.location_name, origin.repository_name) if origin else (None, None)
    return run if place == own_repository(context) else None


def _events_of(instance: dg.DagsterInstance, run: dg.DagsterRun, naming: Names) -> list[dg.DagsterEvent]:
    wanted = {dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    if run.job_name == naming.dagster(RETRAIN):
        wanted.add(dg.DagsterEventType.ASSET_MATERIALIZATION)
    records = instance.get_records_for_run(run.run_id, of_type=wanted).records
    return [record.event_log_entry.get_dagster_event() for record in records]
