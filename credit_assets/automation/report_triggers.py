"""Triggers on reports: sensors that start a retraining when drift, performance or volume give a reason, and a
recalibration where the PDs alone are off.

Belongs here: following the reports in the order in which they came. Does not belong here: when a report is a reason to
train (`credit_assets.ml.rules.triggers`), and how the run is started (`retraining_runs`).

A sensor's cursor holds how far it has read and what its rule remembers, and is stored by Dagster together with the run
request of the tick. A tick costs, for each new report, one small file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import dagster as dg

from credit_assets.assets import policies
from credit_assets.assets.conventions import asset_key
from credit_assets.automation.event_cursors import beginning, events_after, read_cursor, write_cursor
from credit_assets.automation.retraining_runs import (
    NoRun,
    NotNow,
    RetrainingEvent,
    Services,
    reaching,
    record_of,
    start,
)
from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import CALIBRATION, recalibrations, retrainings
from credit_assets.ledger.trained import TrainedDays
from credit_assets.ml.data.extensions import ExtensionError
from credit_assets.ml.rules.decisions import Decision
from credit_assets.ml.rules.extension_triggers import TRIGGERS
from credit_assets.ml.rules.triggers import (
    TriggerPolicy,
    TriggerState,
    decide_calibration,
    decide_drift,
    decide_performance,
    decide_volume,
)
from credit_assets.notify.ticks import handles_tick_errors
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store


@dataclass(frozen=True)
class _Rule:
    """What one sensor follows: which reports, over how many days, and the decisions on them, by the name of the trigger
    that asks. The first gives the sensor its name; where several ask on one day, one run is started.
    """

    asset: str
    policy: TriggerPolicy
    decide: Mapping[str, Callable[..., tuple[Decision, TriggerState]]]
    description: str

    @property
    def name(self) -> str:
        return next(iter(self.decide))


def report_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Sensors of drift, performance and volume."""
    limits = policies.policy_of(settings).performance
    of_days = f"on {settings.drift_trigger_days} of {settings.drift_trigger_window} days"
    rules = [
        _Rule(
            "drift_report",
            policies.drift_trigger_policy(settings),
            {"drift": decide_drift},
            f"the drift report says `shifted` {of_days}",
        ),
        _Rule(
            "performance_report",
            policies.performance_trigger_policy(settings),
            {"performance": decide_performance, CALIBRATION: decide_calibration},
            f"the champion's AUC, realised or estimated, is below {limits.floor:g} or below that of its test by "
            f"{limits.margin:g}, and calibrates it anew where observed over expected defaults of the loans that "
            f"matured since its training lie beyond {limits.max_level_ratio:g} either way; both by more than chance "
            f"explains in a year of looks, {of_days}",
        ),
        _Rule(
            "performance_report",
            policies.volume_trigger_policy(settings),
            {"volume": lambda reports, *rest, **named: decide_volume(reports[-1], *rest, **named)},
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
        rules.append(_Rule(trigger.of, policy, {used.name: partial(trigger.decide, used.parameters)}, says))
    return rules


def _report_sensor(settings: Settings, rule: _Rule) -> dg.SensorDefinition:
    on, trained = settings.retraining == "triggered", TrainedDays()

    @dg.sensor(
        name=settings.naming.dagster(f"{rule.name}_trigger"),
        job_name=settings.naming.dagster(RETRAIN),
        description=f"Retrains where {rule.description}. Not within {settings.cooldown_days} days of a retraining; "
        f"again for the same champion after {settings.repeat_days} days.",
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
    )
    @handles_tick_errors("the store or MLflow")
    def trigger(
        context: dg.SensorEvaluationContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        claims: dg.ResourceParam[Claims],
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            return _follow(context, rule, Services(settings, store, registry, claims), trained)
        except NotNow as why:
            return dg.SkipReason(str(why))

    return trigger


class _States:
    """What each trigger of a sensor remembers. Their days are the same: they decide about the same reports."""

    def __init__(self, rule: _Rule, of: Mapping[str, TriggerState] | None = None, day: date | None = None) -> None:
        self._of = {name: (of or {}).get(name, TriggerState(day)) for name in rule.decide}

    @classmethod
    def parse(cls, rule: _Rule, record: Mapping[str, Any]) -> _States:
        """From a cursor. One that is a single state was written for the first trigger, before there were others.
        Raises ValueError where it is damaged.
        """
        if "day" in record:
            state = TriggerState.from_record(record)
            return cls(rule, {rule.name: state}, state.day)
        states = {name: TriggerState.from_record(one) for name, one in record.items() if name in rule.decide}
        if not states:
            raise ValueError(f"no state of {', '.join(rule.decide)}")
        return cls(rule, states, max((one.day for one in states.values() if one.day), default=None))

    def to_record(self) -> dict[str, Any]:
        if len(self._of) == 1:
            return next(iter(self._of.values())).to_record()
        return {name: state.to_record() for name, state in self._of.items()}

    @property
    def day(self) -> date | None:
        return next(iter(self._of.values())).day

    def considered(self, day: date) -> bool:
        return all(state.considered(day) for state in self._of.values())

    def __getitem__(self, trigger: str) -> TriggerState:
        return self._of[trigger]

    def __setitem__(self, trigger: str, state: TriggerState) -> None:
        self._of[trigger] = state


def _follow(
    context: dg.SensorEvaluationContext, rule: _Rule, services: Services, trained: TrainedDays
) -> dg.SensorResult | dg.SkipReason:
    """Decide about each new report in the order in which they came, up to the first that starts a run."""
    position, remembered = read_cursor(context.cursor, partial(_States.parse, rule))
    states = remembered or _States(rule)
    asset, naming = asset_key(services.settings, rule.asset), services.settings.naming
    if remembered is None:
        position, first, _ = beginning(context.instance, asset, naming)
        states = _States(rule, day=first - timedelta(days=1) if first else None)
    events = events_after(context.instance, asset, position)
    if not events:
        # A house without any day goes on without a cursor: where its history is made first, that is none to act on.
        kept = write_cursor(position, states.to_record()) if states.day else context.cursor
        return dg.SensorResult(skip_reason=f"no new {rule.asset}", cursor=kept)
    with reaching("the store"):
        claimed, calibrated = retrainings(services.claims), recalibrations(services.claims)
    reports: dict[date, Any] = {}
    outcome = ""
    for event in events:
        position = event.storage_id
        if event.partition_key is None:
            continue
        day = date.fromisoformat(event.partition_key)
        if states.considered(day):
            outcome = outcome or f"{day}: not newer than {states.day}, which was considered already"
            continue
        window = [day - timedelta(days=n) for n in reversed(range(rule.policy.window))]
        reports.update((one, record_of(services.store, rule.asset, one)) for one in window if one not in reports)
        # A retraining of this very day is no reason against it but the same retraining; see `start`.
        with reaching("MLflow"):
            newest = trained.newest(services.registry, but=day if day in claimed else None)
        others = (claimed - {day}) | ({newest} if newest else set())
        # A new calibration keeps nobody waiting but who asks for another.
        lasts = {name: others | calibrated - {day} if name == CALIBRATION else others for name in rule.decide}
        found, outcome = _events_of(rule, day, [reports[one] for one in window], states, lasts)
        started = [start(services, event) for event in found]
        if runs := [one for one in started if not isinstance(one, NoRun)]:
            return dg.SensorResult(run_requests=runs, cursor=write_cursor(position, states.to_record()))
        outcome = "; ".join(f"{day}: {one.why}" for one in started if isinstance(one, NoRun)) or outcome
    return dg.SensorResult(
        skip_reason=outcome or f"no new {rule.asset}", cursor=write_cursor(position, states.to_record())
    )


def _events_of(
    rule: _Rule, day: date, window: Sequence[Any], states: _States, others: Mapping[str, Set[date]]
) -> tuple[list[RetrainingEvent], str]:
    """Which triggers ask for a retraining on the reports up to this day, and what all of them say. What they remember
    is brought up to the day. `others`: for each of them the as-of dates that it counts its cooldown from.
    """
    found, texts = [], []
    for name in rule.decide:
        last = max(others[name], default=None)
        decision, states[name] = _decide(rule, name, day, window, states[name], last)
        texts.append(f"{day}: {decision.summary()}" if len(rule.decide) == 1 else f"{name} {day}: {decision.summary()}")
        if decision.accepted:
            reason = next(reason.text for reason in decision.reasons if reason.rule == "condition")
            found.append(RetrainingEvent(name, f"{name}:{day}:v{window[-1]['champion']}", day, reason))
    return found, "; ".join(texts)


def _decide(
    rule: _Rule, trigger: str, day: date, window: Sequence[Any], state: TriggerState, last: date | None
) -> tuple[Decision, TriggerState]:
    again = f"materialize {rule.asset} of {day} again"
    if window[-1] is None:
        raise PermanentError(f"{rule.asset} of {day} was materialized and is not in the store; {again}")
    known = [one for one in window if one is not None]
    try:
        return rule.decide[trigger](known, state, rule.policy, last_retraining=last)
    except ExtensionError as error:
        raise PermanentError(str(error)) from error
    except ValueError as error:
        raise PermanentError(f"{error}; {again}") from error
