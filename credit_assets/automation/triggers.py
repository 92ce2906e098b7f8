"""Triggers: the sensors and the schedule that start a retraining for an as-of date.

Belongs here: following reports and external events, starting one run for each, and what a tick says. Does not belong
here: when a report is a reason to train (`credit_assets.ml.rules.triggers`), and what the run decides (`assets`).

An event is never lost and never acted on twice. A sensor's cursor holds how far it has read and what its rule
remembers, and is stored by Dagster together with the run request of the tick. A tick that cannot do its work skips and
leaves the cursor, so that the next one meets the same events. Before a run is requested, the as-of date is claimed in
the store: of all triggers of a day one starts the run, and the others say which one did. A tick that was killed between
the claim and the cursor finds its own claim afterwards and requests the run under the same run key, which Dagster
starts once. Claims outlive the Dagster home, and so does the cooldown that they count from. A service that neither
answers nor refuses for as long as Dagster lets a tick take (60 seconds) fails the tick, which keeps the event too.

A tick costs one indexed query and, for each new report, one small file. It never lists partitions, so that it costs the
same after ten years of daily reports as after one month.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import dagster as dg

from credit_assets import stages
from credit_assets.assets import policies
from credit_assets.assets.conventions import OWNERS
from credit_assets.failures import PermanentError, is_transient
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import REFRESH, claim_retraining, retrainings
from credit_assets.ml.rules.decisions import Decision
from credit_assets.ml.rules.triggers import (
    TriggerPolicy,
    TriggerState,
    decide_drift,
    decide_performance,
    decide_volume,
)
from credit_assets.notify.ticks import Unreachable
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tags import EVENT_TAG, REASON_TAG, TRIGGER_TAG

EXTERNAL = "external"
EXTERNAL_ASSET = "external_trigger"
KINDS = ("drift", "performance", "volume", "other")
REFRESH_DAYS = 7

# What a retraining cannot do without on its as-of date.
_INPUTS = sorted(stages.asset("training_set").reads)
_EVENTS_A_TICK = 50
_LONGEST_REASON = 300

_S = TypeVar("_S")


class _NotNow(Exception):  # noqa: N818 - an answer, not an error
    """Why this tick does nothing; the event stays."""


class _NotReady(_NotNow):
    """The as-of date has not been ingested."""


@dataclass(frozen=True)
class _Rule:
    """One trigger on reports: which reports, over how many days, and the decision on them."""

    trigger: str
    asset: str
    policy: TriggerPolicy
    decide: Callable[..., tuple[Decision, TriggerState]]
    description: str


def trigger_sensors(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.SensorDefinition]:
    """Sensors of drift, performance, volume and external events."""
    of_days = f"on {settings.drift_trigger_days} of {settings.drift_trigger_window} days"
    rules = [
        _Rule(
            "drift",
            "drift_report",
            policies.drift_trigger_policy(settings),
            decide_drift,
            f"the drift report says `shifted` {of_days}",
        ),
        _Rule(
            "performance",
            "performance_report",
            policies.performance_trigger_policy(settings),
            decide_performance,
            f"the champion's AUC, realised or estimated, is clearly below {settings.performance_floor:g} or below its "
            f"registered value by {settings.performance_margin:g} {of_days}",
        ),
        _Rule(
            "volume",
            "performance_report",
            policies.volume_trigger_policy(settings),
            lambda reports, *rest, **named: decide_volume(reports[-1], *rest, **named),
            f"as many loans have matured since the champion's training as {settings.volume_trigger_share:.0%} of the "
            "rows that it was trained on",
        ),
    ]
    return [*(_report_sensor(settings, rule) for rule in rules), _external_sensor(partitions)]


def external_trigger_spec(partitions: dg.PartitionsDefinition) -> dg.AssetSpec:
    """The external asset by which others ask for a retraining: each materialization of it is one event."""
    return dg.AssetSpec(
        EXTERNAL_ASSET,
        group_name=stages.GOVERNANCE,
        owners=OWNERS,
        partitions_def=partitions,
        description="Retrainings that others ask for. Report a materialization (GraphQL `reportRunlessAssetEvents`, "
        "`credit-assets trigger`, or 'Report materialization' here) with the description `KIND: reason`, KIND one of "
        f"{', '.join(KINDS)}, and as partition the as-of date; without one, the newest day ingested counts.",
    )


def refresh_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The monthly refresh: a training as of the last day of the month before, asked for until it is started.

    It also trains the first model where nothing else does: drift and performance need a champion to speak of.
    """
    on = settings.refresh == "monthly" and settings.retraining == "triggered"

    @dg.schedule(
        name="monthly_refresh",
        job_name=RETRAIN,
        # A day that is ingested late, or an hour in which nothing answers, delays the refresh and does not cancel it.
        cron_schedule=f"0 7-23 1-{REFRESH_DAYS} * *",
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description="Regulatory refresh: once a month a training as of the last day of the month before. It is "
        f"registered where it is not worse than the champion by {settings.refresh_margin:g} of AUC.",
    )
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
        if as_of - timedelta(days=settings.window_days) < settings.start_date:
            return dg.SkipReason(
                f"no cohort is mature by {as_of}: the first, of {settings.start_date} (CREDIT_START_DATE), needs "
                f"{settings.window_days} days (CREDIT_PERFORMANCE_WINDOW_DAYS)"
            )
        try:
            outcome = _refresh(context.instance, store, registry, claims, as_of)
        except _NotNow as why:
            outcome = str(why)
            if now.day == REFRESH_DAYS and now.hour == 23:
                outcome = (
                    f"the refresh of {as_of:%Y-%m} was missed, this was its last attempt: {why}; then materialize the "
                    f"training assets as of {as_of}, for instance with the job {RETRAIN}"
                )
                context.log.error(outcome)
        return dg.SkipReason(outcome) if isinstance(outcome, str) else outcome

    return monthly_refresh


# Reports


def _report_sensor(settings: Settings, rule: _Rule) -> dg.SensorDefinition:
    on = settings.retraining == "triggered"

    @dg.sensor(
        name=f"{rule.trigger}_trigger",
        job_name=RETRAIN,
        description=f"Retrains where {rule.description}. Not within {settings.cooldown_days} days of a retraining; "
        f"again for the same champion after {settings.repeat_days} days.",
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
    )
    def trigger(
        context: dg.SensorEvaluationContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        claims: dg.ResourceParam[Claims],
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            return _follow(context, rule, store, registry, claims)
        except _NotNow as why:
            return dg.SkipReason(str(why))

    return trigger


def _follow(
    context: dg.SensorEvaluationContext, rule: _Rule, store: Store, registry: Registry, claims: Claims
) -> dg.SensorResult | dg.SkipReason:
    """Decide about each new report in the order in which they came, up to the first that starts a run."""
    position, remembered = _read_cursor(context.cursor, TriggerState.from_record)
    state = remembered or TriggerState()
    events = _events_after(context.instance, rule.asset, position)
    if not events:
        return dg.SkipReason(f"no new {rule.asset}")
    with _reaching("the store"):
        claimed = retrainings(claims)
    with _reaching("MLflow"):
        trained = {version.as_of for version in registry.versions()}
    reports: dict[date, Any] = {}
    said = ""
    for event in events:
        position = event.storage_id
        if event.partition_key is None:
            continue
        day = date.fromisoformat(event.partition_key)
        if state.considered(day):
            said = said or f"{day}: not newer than {state.day}, which was considered already"
            continue
        window = [day - timedelta(days=n) for n in reversed(range(rule.policy.window))]
        for one in window:
            if one not in reports:
                reports[one] = _record(store, rule.asset, one)
        # A retraining of this very day is no reason against it but the same retraining; see `_start`.
        others = claimed | trained if day not in claimed else (claimed | trained) - {day}
        decision, state = _decide(rule, day, [reports.get(one) for one in window], state, max(others, default=None))
        said = f"{day}: {decision.summary()}"
        if not decision.accepted:
            continue
        reason = next(reason.text for reason in decision.reasons if reason.rule == "condition")
        identity = f"{rule.trigger}:{day}:v{reports[day]['champion']}"
        started = _start(store, registry, claims, rule.trigger, identity, day, reason)
        if isinstance(started, dg.RunRequest):
            return dg.SensorResult(run_requests=[started], cursor=_write_cursor(position, state.to_record()))
        said = f"{day}: {started}"
    return dg.SensorResult(
        skip_reason=said or f"no new {rule.asset}", cursor=_write_cursor(position, state.to_record())
    )


def _decide(
    rule: _Rule, day: date, window: Sequence[Any], state: TriggerState, last: date | None
) -> tuple[Decision, TriggerState]:
    again = f"materialize {rule.asset} of {day} again"
    if window[-1] is None:
        raise PermanentError(f"{rule.asset} of {day} was materialized and is not in the store; {again}")
    try:
        return rule.decide([one for one in window if one is not None], state, rule.policy, last_retraining=last)
    except ValueError as error:
        raise PermanentError(f"{error}; {again}") from error


# External events


def _external_sensor(partitions: dg.PartitionsDefinition) -> dg.SensorDefinition:
    @dg.sensor(
        name=EXTERNAL_ASSET,
        job_name=RETRAIN,
        description=f"Retrains where somebody outside asks for it by materializing `{EXTERNAL_ASSET}` with the "
        "description `KIND: reason`. No cooldown; one retraining an as-of date.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    def external_trigger(
        context: dg.SensorEvaluationContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        claims: dg.ResourceParam[Claims],
    ) -> dg.SensorResult | dg.SkipReason:
        # Events whose day is not ingested wait in the cursor, and do not hold up those that came after them.
        position, waiting = _read_cursor(context.cursor, lambda state: list(state["waiting"]))
        events = _events_after(context.instance, EXTERNAL_ASSET, position)
        requests: dict[str, dg.RunRequest] = {}
        still, said = [], []
        for event in [*(waiting or ()), *map(_external_event, events)]:
            try:
                started = _answer(context.instance, partitions, store, registry, claims, event)
            except _NotReady as why:
                still.append(event)
                started = f"waits: {why}"
            except _NotNow as why:
                return dg.SkipReason(str(why))
            if isinstance(started, dg.RunRequest):
                requests.setdefault(str(started.run_key), started)
            else:
                said.append(f"event {event['id']} {started}")
        if not waiting and not events:
            return dg.SkipReason("no external event")
        if requests:
            for line in said:
                context.log.warning(line)
        return dg.SensorResult(
            run_requests=list(requests.values()),
            skip_reason=None if requests else "; ".join(said) or "no external event",
            cursor=_write_cursor(events[-1].storage_id if events else position, {"waiting": still}),
        )

    return external_trigger


def _external_event(record: dg.EventLogRecord) -> dict[str, Any]:
    event = record.asset_materialization
    told = event.metadata.get("by") if event else None
    return {
        "id": record.storage_id,
        "day": event.partition if event else None,
        "description": (event.description if event else None) or "",
        "by": str(told.value) if told else "",
    }


def _answer(
    instance: dg.DagsterInstance,
    partitions: dg.PartitionsDefinition,
    store: Store,
    registry: Registry,
    claims: Claims,
    event: Mapping[str, Any],
) -> dg.RunRequest | str:
    """The run that an external event starts, or why it starts none. Raises _NotNow where it has to wait."""
    kind, _, reason = (part.strip() for part in event["description"].partition(":"))
    if kind.lower() not in KINDS or not reason:
        shown = _one_line(event["description"], 60) or "nothing"
        return f"is passed by: its description must be `KIND: reason`, KIND one of {', '.join(KINDS)}; it is {shown!r}"
    if event["day"] is None:
        newest = instance.fetch_materializations(dg.AssetKey("loan_outcomes"), limit=_EVENTS_A_TICK).records
        ingested = [record.partition_key for record in newest if record.partition_key]
        if not ingested:
            raise _NotReady("it names no day, and loan_outcomes of no day is materialized")
        day = max(ingested)
    else:
        day = event["day"]
        if not partitions.has_partition_key(day):
            return f"is passed by: {day} is no partition; the first is {partitions.get_first_partition_key()}"
    by = f" ({event['by']})" if event["by"] else ""
    identity = f"{EXTERNAL}:{day}:{kind.lower()}"
    why = f"{kind.lower()}: {reason}{by}"
    return _start(store, registry, claims, EXTERNAL, identity, date.fromisoformat(day), why)


# The calendar


def _refresh(
    instance: dg.DagsterInstance, store: Store, registry: Registry, claims: Claims, as_of: date
) -> dg.RunRequest | str:
    """The run of a month's refresh, or why it needs none. Raises _NotNow where it has to wait."""
    identity, reason = f"{REFRESH}:{as_of:%Y-%m}", f"monthly refresh of {as_of:%B %Y}"
    # The run key of a schedule counts within one tick only.
    if runs := instance.get_runs(dg.RunsFilter(tags={EVENT_TAG: identity}), limit=1):
        return f"the refresh of {as_of:%Y-%m} was started: run {runs[0].run_id}"
    decided = _record(store, "registered_model", as_of) or {}
    if decided.get("decision") == "registered" or REFRESH in decided.get("triggers", ()):
        return f"the model as of {as_of} is trained: {decided['decision']}"
    started = _start(store, registry, claims, REFRESH, identity, as_of, reason)
    if isinstance(started, str) and decided.get("decision") == "rejected":
        # By the rule of improvement, before anybody asked for a refresh, which has to be no worse only.
        return _run_request(REFRESH, identity, as_of, reason)
    return started


# Starting a run


def _start(
    store: Store, registry: Registry, claims: Claims, trigger: str, identity: str, as_of: date, reason: str
) -> dg.RunRequest | str:
    """The run of this event, or which other event has started the retraining as of the same day.

    Raises _NotNow where the day is not ingested or something does not answer, PermanentError for a damaged claim.
    """
    with _reaching("the store"):
        missing = [asset for asset in _INPUTS if not store.path(asset, f"{as_of}.parquet").exists()]
    if missing:
        raise _NotReady(f"{' and '.join(missing)} of {as_of} must be materialized first ({trigger}: {reason})")
    with _reaching("MLflow"):
        # A run that cannot reach it fails, and its event would be spent.
        registry.alias("champion")
    with _reaching("the store"):
        holder, why = claim_retraining(claims, as_of, trigger, identity, _one_line(reason))
    if holder != identity:
        return f"the retraining as of {as_of} was started already by {holder} ({why})"
    return _run_request(trigger, identity, as_of, reason)


def _run_request(trigger: str, identity: str, as_of: date, reason: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=identity,
        partition_key=as_of.isoformat(),
        tags={TRIGGER_TAG: trigger, EVENT_TAG: identity, REASON_TAG: _one_line(reason)},
    )


def _record(store: Store, asset: str, day: date) -> Any:
    """A record of the store, None where it is not there. Raises PermanentError where it is damaged."""
    with _reaching("the store"):
        try:
            return store.read_record(store.path(asset, f"{day}.json"))
        except PermanentError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise


@contextmanager
def _reaching(what: str) -> Iterator[None]:
    """Turn what a later tick may find mended into _NotNow."""
    try:
        yield
    except Exception as error:
        if isinstance(error, PermanentError) or not (is_transient(error) or isinstance(error, OSError)):
            raise
        raise _NotNow(str(Unreachable(what, _one_line(str(error))))) from error


def _events_after(instance: dg.DagsterInstance, asset: str, position: int) -> Sequence[dg.EventLogRecord]:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), after_storage_id=position)
    return instance.fetch_materializations(wanted, limit=_EVENTS_A_TICK, ascending=True).records


def _read_cursor(cursor: str | None, parse: Callable[[dict[str, Any]], _S]) -> tuple[int, _S | None]:
    """How far the sensor has read, and its state; 0 and None at the beginning."""
    if not cursor:
        return 0, None
    try:
        record = json.loads(cursor)
        return int(record["storage_id"]), parse(record["state"])
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"the cursor of this sensor is damaged ({error}); reset it on the sensor's page"
        ) from error


def _write_cursor(position: int, state: Mapping[str, Any]) -> str:
    return json.dumps({"storage_id": position, "state": state}, sort_keys=True)


def _one_line(text: str, longest: int = _LONGEST_REASON) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
