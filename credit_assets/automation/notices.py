"""Notices: what people are told without asking, and sensors that tell it to every service exactly where it is missing.

Belongs here: one message an event (a failed run, failed checks, a retraining, a move of an alias, a sensor in trouble)
and its delivery. Does not belong here: the alert of a failed run (`credit_assets.automation.alerts`) and how a message
is sent (`credit_assets.resources.notifier`).

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

import dagster as dg

from credit_assets.automation.alerts import (
    Message,
    asset_page,
    check_lines,
    failed_checks,
    failure_alert,
    one_line,
    partition_of,
    run_page,
    step_problem,
)
from credit_assets.automation.jobs import RETRAIN
from credit_assets.automation.triggers import EVENT_TAG, REASON_TAG, TRIGGER_TAG
from credit_assets.failures import PermanentError, TransientError, is_transient
from credit_assets.resources.deployment import ALIASES, CHALLENGER, SHADOW, alias_key
from credit_assets.resources.notifier import Kind, Notifier
from credit_assets.settings import Settings

if TYPE_CHECKING:
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick

WATCH = "sensor_watch"
# A tick has a minute before Dagster gives it up, and the last message may take ten seconds.
_TICK_SECONDS = 30.0
_MESSAGES_A_TICK = 5
_EVENTS_A_TICK = 50
# Also what keeps a URL with several targets, of which one refuses for ever, from filling the others' inbox.
_LONGEST_PAUSE_SECONDS = 600.0
_UNSENT_KEPT = 50
_STREAK = 3
_SILENT_SECONDS = 600.0
_GAP_SECONDS = 300.0
_DOWN_SECONDS = 900.0
_NOBODY = "CREDIT_ALERT_URLS is empty, so nobody is told"

_Fetch = Callable[[dg.DagsterInstance, int | None, int], Sequence[dg.EventLogRecord]]
_Tell = Callable[[dg.SensorEvaluationContext, dg.EventLogRecord], Message | None]


class Notice(NamedTuple):
    """An event at its place in a row of events, and what there is to tell of it."""

    position: int
    message: Message | None


def notice_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Failed runs, started retrainings, ended runs, moves of aliases, and sensors in trouble."""
    url = settings.dagster_url

    def failed(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        run = _own_run(context, record)
        return failure_alert(context.instance, run, url) if run else None

    def started(context: dg.SensorEvaluationContext, record: dg.EventLogRecord) -> Message | None:
        run = _own_run(context, record) if record.event_log_entry.job_name == RETRAIN else None
        # Dagster starts a run anew whose worker was lost: still the same retraining.
        return started_message(run, url) if run and "dagster/retry_number" not in run.tags else None

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


def started_message(run: dg.DagsterRun, dagster_url: str) -> Message:
    """That a retraining started and by what, from the tags of its run."""
    day, tags = partition_of(run.tags), run.tags
    trigger = tags.get(TRIGGER_TAG)
    lines = [f"Started by: {trigger or 'hand'}"]
    lines += [
        f"{what}: {one_line(tags[tag])}" for what, tag in (("Why", REASON_TAG), ("Event", EVENT_TAG)) if tag in tags
    ]
    if run.parent_run_id:
        lines.append(f"Again after: {run_page(dagster_url, run.parent_run_id)}")
    lines += [
        f"Look: {run_page(dagster_url, run.run_id)}",
        f"Asset: {asset_page(dagster_url, dg.AssetKey('registered_model'), day)}",
    ]
    return Message(_title(f"retraining{_for(day)} started by {trigger or 'hand'}"), "\n".join(lines), "info")


def ended_message(run: dg.DagsterRun, events: Sequence[dg.DagsterEvent], dagster_url: str) -> Message | None:
    """What came of a retraining, and the failed checks of any run that went on all the same; None where neither."""
    day = partition_of(run.tags)
    checks = failed_checks(events)
    decided = _metadata_of("registered_model", events) if run.job_name == RETRAIN else None
    if not checks and decided is None:
        return None
    lines: list[str] = []
    title = f"failed checks in {run.job_name}{_for(day)}"
    kind: Kind = "warning"
    if decided is not None:
        accepted = decided["decision"].value == "registered"
        came_to = f"version {decided['version'].value} registered" if accepted else "rejected"
        title = f"retraining{_for(day)} ended: {came_to}" + (", with failed checks" if checks else "")
        kind = "warning" if checks else "success" if accepted else "info"
        lines += [f"Started by: {run.tags.get(TRIGGER_TAG) or 'hand'}", f"Decision: {came_to}"]
        lines += [f"- {text}" for text in _reasons(decided.get("reasons"), passed=accepted)]
    lines += check_lines(checks, dagster_url)
    lines.append(f"Look: {run_page(dagster_url, run.run_id)}")
    if decided is not None:
        lines.append(f"Asset: {asset_page(dagster_url, dg.AssetKey('registered_model'), day)}")
        if link := decided.get("mlflow_version"):
            lines.append(f"MLflow: {link.value}")
    return Message(_title(title), "\n".join(lines), kind)


def move_message(key: dg.AssetKey, metadata: Mapping[str, Any], dagster_url: str) -> Message:
    """One move of an alias: which, from whom to whom, since when, by whom and why."""
    said = {name: str(value.value) for name, value in metadata.items()}
    alias, former, version, start = key.path[-1], said["from"], said["to"], said["effective_from"]
    reason = one_line(said["reason"])
    kind: Kind = "success" if alias not in (CHALLENGER, SHADOW) else "info"
    if version == "none":
        what = f"trial of version {former} ended" if alias == SHADOW else f"nobody is {alias} from {start}"
    elif alias == SHADOW:
        what = f"trial of version {version} started"
    elif reason.startswith("rollback"):
        what, kind = f"rollback: version {version} is {alias} again from {start}", "warning"
    elif alias == CHALLENGER:
        what = f"version {version} is {alias} from {start}"
    else:
        what = f"promotion: version {version} is {alias} from {start}"
    lines = [
        f"Alias: {alias}",
        f"From: {former}",
        f"To: {version}",
        f"Effective from: {start}",
        f"By: {one_line(said['by'])}",
        f"Why: {reason}",
        f"Moved at: {said['at']}",
        f"Asset: {asset_page(dagster_url, key, view='events')}",
    ]
    if link := said.get("mlflow_version"):
        lines.append(f"MLflow: {link}")
    return Message(_title(what), "\n".join(lines), kind)


def _title(text: str) -> str:
    return f"credit_assets: {text}"


def _for(day: str) -> str:
    return f" for {day}" if day else ""


def _metadata_of(asset: str, events: Iterable[dg.DagsterEvent]) -> Mapping[str, Any] | None:
    """Metadata of an asset's materialization among the events of a run, None where it was not materialized."""
    found: Mapping[str, Any] | None = None
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key == dg.AssetKey(asset):
            found = event.step_materialization_data.materialization.metadata
    return found


def _reasons(table: Any, *, passed: bool) -> list[str]:
    """The texts of a decision's reasons: all of an accepted one, those that spoke against a rejected one."""
    rows = [record.data for record in table.records] if table else []
    return [one_line(str(row["text"])) for row in rows if passed or row["passed"] == "False"]


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


def _here(context: dg.SensorEvaluationContext) -> tuple[str | None, str | None]:
    """Names of the code location and repository that the sensor belongs to; None outside of any."""
    location = context.code_location_origin
    return location.location_name if location else None, context.repository_name


def _events_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.DagsterEvent]:
    wanted = {dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    if run.job_name == RETRAIN:
        wanted.add(dg.DagsterEventType.ASSET_MATERIALIZATION)
    records = instance.get_records_for_run(run.run_id, of_type=wanted).records
    return [record.event_log_entry.get_dagster_event() for record in records]


# Sensors in trouble


@dataclass(frozen=True)
class _Trouble:
    """A sensor or schedule that does not do its work: since when (seconds of the epoch) and how it shows."""

    kind: str
    since: float
    what: str
    page: str


def _watch(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=WATCH,
        description=f"Sends one message to CREDIT_ALERT_URLS when another sensor has failed or could not reach a "
        f"service {_STREAK} times in a row, has not ticked for long, or when a schedule has failed; one when it works "
        "again. It cannot tell that no sensor ticks at all: watch the daemon from outside.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
    )
    def sensor_watch(context: dg.SensorEvaluationContext, notifier: dg.ResourceParam[Notifier]) -> dg.SkipReason:
        services = _services(notifier)
        if not services:
            context.update_cursor("{}")
            return dg.SkipReason(_NOBODY)
        deadline = time.monotonic() + _TICK_SECONDS
        state, now = _state(context), time.time()
        seen, number = float(state.get("seen", now)), int(state.get("number", 0))
        # What stood still together with this sensor gets its time to start.
        awake = float(state.get("awake", now)) if now - seen < _GAP_SECONDS else now
        known = {name: _Trouble(**trouble) for name, trouble in state.get("troubles", {}).items()}
        troubles, running = _look(context, settings.dagster_url, known, awake, now)
        messages = [
            *([_gap_message(seen, now)] if now - seen > _DOWN_SECONDS else []),
            *_trouble_messages(known, troubles, running),
        ]
        places = _places(state.get("at"), services, number)
        unsent = [Notice(position, Message(**message)) for position, message in state.get("unsent", [])]
        unsent += [Notice(number + n, message) for n, message in enumerate(messages, 1)]
        delivery = _deliver(
            services, places, lambda position: [notice for notice in unsent if notice.position > position], deadline
        )
        told = min(place.position for place in delivery.places.values())
        left = [notice for notice in unsent if notice.position > told][-_UNSENT_KEPT:]
        context.update_cursor(
            json.dumps(
                {
                    "at": delivery.places,
                    "number": number + len(messages),
                    "unsent": [(notice.position, vars(notice.message)) for notice in left],
                    "troubles": {name: vars(trouble) for name, trouble in troubles.items()},
                    "seen": now,
                    "awake": awake,
                },
                sort_keys=True,
            )
        )
        return dg.SkipReason(f"{len(running)} watched, {len(troubles)} in trouble; {delivery.summary()}")

    return sensor_watch


def _look(
    context: dg.SensorEvaluationContext, dagster_url: str, known: Mapping[str, _Trouble], awake: float, now: float
) -> tuple[dict[str, _Trouble], set[str]]:
    """Who is in trouble, and who is switched on. A few ticks of each are read, however many there are."""
    from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus

    finished = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    RUNNING, DECLARED = InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE
    repository = context.repository_def
    assert repository is not None
    # States outlive the code that made them: only what the code still defines is looked at.
    every: list[Any] = [*repository.sensor_defs, *repository.schedule_defs]
    defined = {one.name: one for one in every}
    troubles: dict[str, _Trouble] = {}
    running: set[str] = set()
    for state in context.instance.all_instigator_state():
        place, definition = state.repository_selector, defined.get(state.instigator_name)
        data: Any = state.instigator_data
        if (
            definition is None
            or data is None
            or definition.name == WATCH
            or (place.location_name, place.repository_name) != _here(context)
            or not (
                state.status is RUNNING or (state.status is DECLARED and definition.default_status.value == "RUNNING")
            )
        ):
            continue
        name, kind = definition.name, state.instigator_type.value.lower()
        running.add(name)
        if kind == "sensor":
            interval = definition.minimum_interval_seconds or 30
            # Ticks of the time before it was switched off and on again do not count. Those of days are not asked for:
            # Dagster sorts all that it is asked for before it takes the newest.
            needed, since = _STREAK, max(data.last_sensor_start_timestamp or 0.0, now - max(3600.0, 10.0 * interval))
        else:
            # A schedule that fails once has missed its hour.
            needed, since = 1, data.start_timestamp or 0.0
        ticks = context.instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=since, limit=needed, statuses=finished
        )
        shown = _streak(ticks, needed)
        if shown is None and kind == "sensor":
            last = max(data.last_tick_start_timestamp or 0.0, awake)
            if now - last > max(_SILENT_SECONDS, 10 * interval):
                shown = last, "is switched on and does not tick"
        if name in known and (shown or (ticks and _complaint(ticks[0]))):
            troubles[name] = known[name]
        elif shown:
            troubles[name] = _Trouble(kind, *shown, _page(dagster_url, state, kind))
    return troubles, running


def _streak(ticks: Sequence[InstigatorTick], needed: int) -> tuple[float, str] | None:
    """Since when, and with what, all of the last ticks (newest first) failed; None where one did not."""
    complaints = [_complaint(tick) for tick in ticks]
    if len(complaints) < needed or not all(complaints):
        return None
    often = f", {needed} times in a row" if needed > 1 else ""
    return ticks[-1].timestamp, f"{complaints[0]}{often}"


def _complaint(tick: InstigatorTick) -> str:
    """What was wrong with a tick, without any word of a foreign error; empty where nothing was."""
    if tick.status.value == "FAILURE":
        problem = step_problem("", tick.error)
        return f"failed: {problem.line or f'{problem.error} (its message stands in the tick only)'}"
    said = tick.skip_reason or ""
    # What comes after the colon is what a service or its library answered.
    return one_line(said.partition(":")[0]) if said.startswith("cannot reach") else ""


def _page(dagster_url: str, state: InstigatorState, kind: str) -> str:
    place = state.repository_selector
    location = quote(place.location_name, safe="")
    # Dagster's UI leaves out the name that it gives to the only repository of a code location.
    folder = location if place.repository_name == "__repository__" else f"{place.repository_name}@{location}"
    return f"{dagster_url.rstrip('/')}/locations/{folder}/{kind}s/{quote(state.instigator_name, safe='')}"


def _trouble_messages(
    before: Mapping[str, _Trouble], after: Mapping[str, _Trouble], running: set[str]
) -> list[Message]:
    """One message for all that came into trouble in this tick (a server that is away takes several along), one for all
    that came out of it. Who was switched off meanwhile is not mentioned: somebody did that.
    """
    new = {name: trouble for name, trouble in after.items() if name not in before}
    well = {name: trouble for name, trouble in before.items() if name not in after and name in running}
    messages = []
    if new:
        lines = [f"- {name} {t.what}, since {_at(t.since)}\n  {t.page}" for name, t in sorted(new.items())]
        hint = "Do: see the last ticks on its page; `credit-assets doctor` says which service does not answer."
        messages.append(Message(_title(f"{_names(new)} in trouble"), "\n".join([*lines, hint]), "failure"))
    if well:
        lines = [f"- {name}: in trouble since {_at(t.since)}\n  {t.page}" for name, t in sorted(well.items())]
        messages.append(
            Message(
                _title(f"{_names(well)} {'works' if len(well) == 1 else 'work'} again"), "\n".join(lines), "success"
            )
        )
    return messages


def _gap_message(last: float, now: float) -> Message:
    return Message(
        _title("sensors were not watched"),
        f"{WATCH} did not tick from {_at(last)} to {_at(now)}: the Dagster daemon was down or the code location did "
        "not load. What happened meanwhile is told now; the triggers go on where they stood.",
        "warning",
    )


def _names(troubles: Mapping[str, _Trouble]) -> str:
    kinds = {trouble.kind for trouble in troubles.values()}
    if len(troubles) == 1:
        return f"{kinds.pop()} {next(iter(troubles))}"
    return f"{len(troubles)} {' and '.join(f'{kind}s' for kind in sorted(kinds, reverse=True))}"


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


# Delivery


class _Place(NamedTuple):
    """How far a service has been told; how often it has refused the next message, and when it is asked again."""

    position: int
    refused: int = 0
    not_before: float = 0.0


@dataclass(frozen=True)
class _Delivery:
    places: dict[str, _Place]
    sent: tuple[str, ...]
    problems: tuple[str, ...]

    def summary(self) -> str:
        if self.problems:
            why = "; ".join(self.problems)
            return f"cannot reach {len(self.problems)} of {len(self.places)} alert services, will try again: {why}"
        return f"told: {'; '.join(self.sent)}" if self.sent else "nothing new"


def _services(notifier: Notifier) -> dict[str, Notifier]:
    """A notifier for each service and each recipient of mail, by a name without secrets, since the UI shows cursors.

    One by one, so that who took a message does not get it again for the sake of one who did not.
    """
    services: dict[str, Notifier] = {}
    for single in notifier.each():
        (shown,) = single.describe()
        number = sum(name.partition(" ")[0] == shown for name in services)
        services[f"{shown} #{number + 1}" if number else shown] = single
    return services


def _places(known: Mapping[str, Sequence[Any]] | None, services: Iterable[str], newest: int) -> dict[str, _Place]:
    """Where each service stands. One that is new goes on where the last of those that are gone stood."""
    places, names = {name: _Place(*place) for name, place in (known or {}).items()}, set(services)
    start = min((place.position for name, place in places.items() if name not in names), default=newest)
    # Not beyond the newest: an event log that was wiped counts from the beginning again.
    return {
        name: place._replace(position=min(place.position, newest))
        for name in services
        for place in [places.get(name, _Place(start))]
    }


def _deliver(
    services: Mapping[str, Notifier],
    places: Mapping[str, _Place],
    after: Callable[[int], Sequence[Notice]],
    deadline: float,
) -> _Delivery:
    """Send each service, in order, what it has not been told, up to the first message that it does not take."""
    # Services stand at the same place nearly always; an event is put into words once.
    waiting = {position: after(position) for position in sorted({place.position for place in places.values()})}
    now = time.time()

    def tell(name: str) -> tuple[_Place, list[str], str]:
        place = places[name]
        sent: list[str] = []
        for notice in waiting[place.position]:
            if notice.message is not None:
                if now < place.not_before:
                    return place, sent, f"{name} is asked again after {_at(place.not_before)}"
                # Never before the first one: what takes long to put into words would take as long again.
                if sent and time.monotonic() > deadline:
                    break
                try:
                    services[name].send(notice.message.title, notice.message.body, notice.message.kind)
                except (TransientError, PermanentError) as error:
                    pause = min(_LONGEST_PAUSE_SECONDS, 30.0 * (2 ** min(place.refused, 10) - 1))
                    return place._replace(refused=place.refused + 1, not_before=now + pause), sent, str(error)
                sent.append(notice.message.title)
            place = _Place(notice.position)
        return place, sent, ""

    with ThreadPoolExecutor(len(services)) as pool:
        answers = dict(zip(services, pool.map(tell, services), strict=True))
    return _Delivery(
        {name: place for name, (place, _, _) in answers.items()},
        tuple(dict.fromkeys(title for _, sent, _ in answers.values() for title in sent)),
        tuple(problem for _, _, problem in answers.values() if problem),
    )


def _state(context: dg.SensorEvaluationContext) -> dict[str, Any]:
    """What the cursor holds; nothing where it is another sensor's of the same name."""
    try:
        state = json.loads(context.cursor or "{}")
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}
