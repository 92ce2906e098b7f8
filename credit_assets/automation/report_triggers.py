"""Triggers on reports: sensors that start a retraining when drift, performance or volume give a reason.

Belongs here: following the reports in the order in which they came. Does not belong here: when a report is a reason to
train (`credit_assets.ml.rules.triggers`), and how the run is started (`retraining_runs`).

A sensor's cursor holds how far it has read and what its rule remembers, and is stored by Dagster together with the run
request of the tick. A tick costs, for each new report, one small file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import dagster as dg

from credit_assets.assets import policies
from credit_assets.assets.conventions import asset_key
from credit_assets.automation.event_cursors import beginning, events_after, read_cursor, write_cursor
from credit_assets.automation.retraining_runs import Event, NoRun, NotNow, Services, reaching, record_of, start
from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import retrainings
from credit_assets.ml.data.extensions import ExtensionError
from credit_assets.ml.rules.decisions import Decision
from credit_assets.ml.rules.extension_triggers import TRIGGERS
from credit_assets.ml.rules.triggers import (
    TriggerPolicy,
    TriggerState,
    decide_drift,
    decide_performance,
    decide_volume,
)
from credit_assets.notify.ticks import told
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store


@dataclass(frozen=True)
class _Rule:
    """One trigger on reports: which reports, over how many days, and the decision on them."""

    trigger: str
    asset: str
    policy: TriggerPolicy
    decide: Callable[..., tuple[Decision, TriggerState]]
    description: str


def report_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Sensors of drift, performance and volume."""
    limits = policies.policy_of(settings).performance
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
            f"the champion's AUC, realised or estimated, is clearly below {limits.floor:g} or below its "
            f"registered value by {limits.margin:g} {of_days}",
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
    return [_report_sensor(settings, rule) for rule in [*rules, *_own_rules(settings)]]


def _own_rules(settings: Settings) -> list[_Rule]:
    """The triggers of extensions that the portfolio uses."""
    rules = []
    for used in settings.portfolio_contract.extensions.triggers:
        trigger = TRIGGERS[used.name]
        says = f"{trigger.description.rstrip('.')} (on {used.days} of {used.window} days; {trigger.extension})"
        policy = policies.own_trigger_policy(settings, used)
        rules.append(_Rule(used.name, trigger.of, policy, partial(trigger.decide, used.parameters), says))
    return rules


def _report_sensor(settings: Settings, rule: _Rule) -> dg.SensorDefinition:
    on = settings.retraining == "triggered"

    @dg.sensor(
        name=settings.naming.dagster(f"{rule.trigger}_trigger"),
        job_name=settings.naming.dagster(RETRAIN),
        description=f"Retrains where {rule.description}. Not within {settings.cooldown_days} days of a retraining; "
        f"again for the same champion after {settings.repeat_days} days.",
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
    )
    @told("the store or MLflow")
    def trigger(
        context: dg.SensorEvaluationContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        claims: dg.ResourceParam[Claims],
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            return _follow(context, rule, Services(settings, store, registry, claims))
        except NotNow as why:
            return dg.SkipReason(str(why))

    return trigger


def _follow(context: dg.SensorEvaluationContext, rule: _Rule, services: Services) -> dg.SensorResult | dg.SkipReason:
    """Decide about each new report in the order in which they came, up to the first that starts a run."""
    position, remembered = read_cursor(context.cursor, TriggerState.from_record)
    state = remembered or TriggerState()
    asset, naming = asset_key(services.settings, rule.asset), services.settings.naming
    if remembered is None:
        position, first, _ = beginning(context.instance, asset, naming)
        state = TriggerState(day=first - timedelta(days=1) if first else None)
    events = events_after(context.instance, asset, position)
    if not events:
        # A house without any day goes on without a cursor: where its history is made first, that is none to act on.
        kept = write_cursor(position, state.to_record()) if state.day else context.cursor
        return dg.SensorResult(skip_reason=f"no new {rule.asset}", cursor=kept)
    with reaching("the store"):
        claimed = retrainings(services.claims)
    with reaching("MLflow"):
        trained = {version.as_of for version in services.registry.versions()}
    reports: dict[date, Any] = {}
    outcome = ""
    for event in events:
        position = event.storage_id
        if event.partition_key is None:
            continue
        day = date.fromisoformat(event.partition_key)
        if state.considered(day):
            outcome = outcome or f"{day}: not newer than {state.day}, which was considered already"
            continue
        window = [day - timedelta(days=n) for n in reversed(range(rule.policy.window))]
        reports.update((one, record_of(services.store, rule.asset, one)) for one in window if one not in reports)
        # A retraining of this very day is no reason against it but the same retraining; see `start`.
        others = claimed | trained if day not in claimed else (claimed | trained) - {day}
        decision, state = _decide(rule, day, [reports[one] for one in window], state, max(others, default=None))
        outcome = f"{day}: {decision.summary()}"
        if not decision.accepted:
            continue
        reason = next(reason.text for reason in decision.reasons if reason.rule == "condition")
        identity = f"{rule.trigger}:{day}:v{reports[day]['champion']}"
        started = start(services, Event(rule.trigger, identity, day, reason))
        if not isinstance(started, NoRun):
            return dg.SensorResult(run_requests=[started], cursor=write_cursor(position, state.to_record()))
        outcome = f"{day}: {started.why}"
    return dg.SensorResult(
        skip_reason=outcome or f"no new {rule.asset}", cursor=write_cursor(position, state.to_record())
    )


def _decide(
    rule: _Rule, day: date, window: Sequence[Any], state: TriggerState, last: date | None
) -> tuple[Decision, TriggerState]:
    again = f"materialize {rule.asset} of {day} again"
    if window[-1] is None:
        raise PermanentError(f"{rule.asset} of {day} was materialized and is not in the store; {again}")
    try:
        return rule.decide([one for one in window if one is not None], state, rule.policy, last_retraining=last)
    except ExtensionError as error:
        raise PermanentError(str(error)) from error
    except ValueError as error:
        raise PermanentError(f"{error}; {again}") from error
