"""Triggers: whether what monitoring saw on a day is a reason to train again.

Belongs here: pure rules on daily reports, with the memory that they need from day to day. Does not belong here: what
is measured (`drift`, `performance`), reading reports and starting runs (`credit_assets.automation`). No clock:
days are compared with days, so that a backfill and a simulated year decide as the real year did.

Every trigger passes the same four rules, and each decision tells all four:

day        A report of a day that is not newer than the last one considered decides nothing.
condition  Met on k of the last n days, under the champion of the day. A day without a verdict, without a report or
           under another champion counts neither way.
armed      Hysteresis. A trigger fires when its condition becomes true and not again while it stays true, since the
           next training would see the same world: only after `repeat_days`. It is armed again once the condition was
           false on k days in a row, or when another champion is in force.
cooldown   None fires within `cooldown_days` of any retraining, or for a day before one. A trigger that the cooldown
           holds back stays armed. What a person or the calendar asks for does not pass here: they have decided
           already, while the cooldown keeps noise from training a model a day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, NamedTuple

from credit_assets.ml.data.policies import PerformancePolicy
from credit_assets.ml.rules.decisions import Decision, Reason
from credit_assets.ml.rules.performance_rules import ConditionResult, level_is_off, ranks_worse

_VERDICTS = {"shifted": True, "watch": False, "stable": False, "unknown": None}
_NAMED = 5


@dataclass(frozen=True)
class TriggerPolicy:
    """`days` (k) of the last `window` (n) days; `cooldown_days` and `repeat_days` as the module says."""

    days: int
    window: int
    cooldown_days: int
    repeat_days: int

    def __post_init__(self) -> None:
        if not 1 <= self.days <= self.window:
            raise ValueError(f"days must be at least 1 and at most window; got {self.days} of {self.window}")
        if self.cooldown_days < 0 or self.repeat_days < 1:
            raise ValueError(
                f"cooldown_days must be at least 0 and repeat_days at least 1; got {self.cooldown_days} and "
                f"{self.repeat_days}"
            )


@dataclass(frozen=True)
class PerformanceTriggerPolicy(TriggerPolicy):
    """`limits`: section `performance` of the policy. `cohort_days`: days of applications that a report measures on."""

    limits: PerformancePolicy
    cohort_days: int


@dataclass(frozen=True)
class VolumePolicy(TriggerPolicy):
    """`share`: newly matured loans as a share of the champion's training rows; 1.0 means as many again. One day is
    enough, since a count of matured loans does not come and go.
    """

    days: int = field(default=1, init=False)
    window: int = field(default=1, init=False)
    share: float


@dataclass(frozen=True)
class TriggerState:
    """What a trigger remembers: the last day considered; when and for which champion it fired, None while it is armed;
    on how many days the condition was known and false since.
    """

    day: date | None = None
    fired: date | None = None
    fired_for: str | None = None
    calm: int = 0

    def considered(self, day: date) -> bool:
        """Whether this day, or one after it, was decided about already."""
        return self.day is not None and day <= self.day

    def to_record(self) -> dict[str, Any]:
        """The state as JSON types; `from_record` restores an equal one."""
        return {
            "day": self.day.isoformat() if self.day else None,
            "fired": self.fired.isoformat() if self.fired else None,
            "fired_for": self.fired_for,
            "calm": self.calm,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TriggerState:
        """Restore what `to_record` gave. Raises ValueError for other keys or values."""
        if set(record) != set(cls.__dataclass_fields__):
            raise ValueError(f"not the record of a trigger's state: {sorted(record)}")
        days = {name: date.fromisoformat(record[name]) if record[name] else None for name in ("day", "fired")}
        return cls(**{**record, **days})


class _Finding(NamedTuple):
    """Whether the condition holds by the report of one day; None where the report cannot tell."""

    day: date
    champion: str | None
    met: bool | None
    text: str


def decide_drift(
    reports: Sequence[Mapping[str, Any]],
    state: TriggerState,
    policy: TriggerPolicy,
    *,
    last_retraining: date | None = None,
) -> tuple[Decision, TriggerState]:
    """Whether data drift starts a retraining: the verdict is "shifted" on k of the last n days.

    Parameters
    ----------
    reports
        Drift reports by rising day, the last one that of the day to decide about; days may be missing.
    state
        What the trigger remembers.
    policy
        k, n, and the pauses.
    last_retraining
        The newest as-of date for which there is a training; None while there is none.

    Returns
    -------
    tuple of Decision and TriggerState
        Accepted when the trigger fires; and what it remembers from now on.

    Raises
    ------
    ValueError
        Naming what a report lacks.

    Examples
    --------
    >>> report = {"day": "2024-05-01", "champion": "1", "verdict": "shifted", "shifted": ["income"], "why": ""}
    >>> policy = TriggerPolicy(days=1, window=1, cooldown_days=30, repeat_days=90)
    >>> decision, state = decide_drift([report], TriggerState(), policy)
    >>> decision.accepted, state.fired
    (True, datetime.date(2024, 5, 1))
    >>> decide_drift([report | {"day": "2024-05-02"}], state, policy)[0].accepted
    False
    """
    findings = []
    for report in reports:
        day, champion = _head(report, "drift")
        verdict = report.get("verdict")
        if verdict not in _VERDICTS or not isinstance(report.get("shifted"), list):
            raise ValueError(f"the drift report of {day} has no usable verdict: {verdict!r}")
        names = ", ".join(report["shifted"][:_NAMED]) + (", ..." if len(report["shifted"]) > _NAMED else "")
        text = f"{verdict} ({report.get('why') or 'no reason given'})" if verdict == "unknown" else verdict
        findings.append(_Finding(day, champion, _VERDICTS[verdict], f"shifted: {names}" if names else text))
    return _decide(findings, "shifted", state, policy, last_retraining)


def decide_performance(
    reports: Sequence[Mapping[str, Any]],
    state: TriggerState,
    policy: PerformanceTriggerPolicy,
    *,
    last_retraining: date | None = None,
) -> tuple[Decision, TriggerState]:
    """Whether degradation starts a retraining: the champion's AUC is too low on k of the last n days, as
    `performance_rules.ranks_worse` says.

    Parameters
    ----------
    reports
        Performance reports, otherwise as in `decide_drift`.
    state, policy, last_retraining
        As in `decide_drift`.

    Returns
    -------
    tuple of Decision and TriggerState
        As of `decide_drift`.

    Raises
    ------
    ValueError
        Naming what a report lacks.
    """
    return _decide(_judged(ranks_worse, reports, policy), "too low", state, policy, last_retraining)


def decide_calibration(
    reports: Sequence[Mapping[str, Any]],
    state: TriggerState,
    policy: PerformanceTriggerPolicy,
    *,
    last_retraining: date | None = None,
) -> tuple[Decision, TriggerState]:
    """Whether the champion's PDs are to be calibrated anew: their level is off on k of the last n days, as
    `performance_rules.level_is_off` says.

    Parameters
    ----------
    reports, state, policy, last_retraining
        As in `decide_performance`.

    Returns
    -------
    tuple of Decision and TriggerState
        As of `decide_drift`.

    Raises
    ------
    ValueError
        Naming what a report lacks.
    """
    return _decide(_judged(level_is_off, reports, policy), "off", state, policy, last_retraining)


def decide_volume(
    report: Mapping[str, Any],
    state: TriggerState,
    policy: VolumePolicy,
    *,
    last_retraining: date | None = None,
) -> tuple[Decision, TriggerState]:
    """Whether enough loans have matured since the champion was trained: `newly_matured` / `training_rows` >= `share`.

    Parameters
    ----------
    report
        The performance report of the day.
    state, policy, last_retraining
        As in `decide_drift`.

    Returns
    -------
    tuple of Decision and TriggerState
        As of `decide_drift`.

    Raises
    ------
    ValueError
        Naming what the report lacks.

    Examples
    --------
    >>> policy = VolumePolicy(cooldown_days=30, repeat_days=90, share=1.0)
    >>> report = {"day": "2024-05-01", "champion": "1", "newly_matured": 5_000, "training_rows": 4_000}
    >>> decide_volume(report, TriggerState(), policy)[0].accepted
    True
    >>> decide_volume(report | {"newly_matured": 3_999}, TriggerState(), policy)[0].accepted
    False
    """
    day, champion = _head(report, "performance")
    new, rows = report.get("newly_matured"), report.get("training_rows")
    if new is None or not rows:
        met, text = None, "it is not known how many loans have matured since the champion was trained"
    else:
        met = new >= policy.share * rows
        text = (
            f"{new:,} loans matured since champion version {champion} was trained on {rows:,}: {new / rows:.0%}, "
            f"threshold {policy.share:.0%}"
        )
    return _decide([_Finding(day, champion, met, text)], "enough", state, policy, last_retraining)


def decide_condition(
    what: str,
    reports: Sequence[Mapping[str, Any]],
    conditions: Sequence[tuple[bool | None, str]],
    state: TriggerState,
    policy: TriggerPolicy,
    *,
    last_retraining: date | None = None,
) -> tuple[Decision, TriggerState]:
    """Whether a condition that others have judged starts a retraining: it is met on k of the last n days.

    Parameters
    ----------
    what
        Of which reports, for messages.
    reports, state, policy, last_retraining
        As in `decide_drift`.
    conditions
        For each report whether the condition is met, None where it cannot tell, and why in words.

    Returns
    -------
    tuple of Decision and TriggerState
        As of `decide_drift`.

    Raises
    ------
    ValueError
        Naming what a report lacks.
    """
    heads = [_head(report, what) for report in reports]
    findings = [_Finding(*head, *condition) for head, condition in zip(heads, conditions, strict=True)]
    return _decide(findings, "met", state, policy, last_retraining)


def _head(report: Mapping[str, Any], what: str) -> tuple[date, str | None]:
    try:
        return date.fromisoformat(report["day"]), report["champion"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a {what} report has no usable day or champion ({error!r})") from error


def _judged(
    judge: Callable[[Mapping[str, Any], PerformancePolicy, int], ConditionResult],
    reports: Sequence[Mapping[str, Any]],
    policy: PerformanceTriggerPolicy,
) -> list[_Finding]:
    findings = []
    for report in reports:
        day, champion = _head(report, "performance")
        try:
            met, text = judge(report, policy.limits, policy.cohort_days)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the performance report of {day} is not one ({error!r})") from error
        findings.append(_Finding(day, champion, met, text))
    return findings


def _decide(
    findings: Sequence[_Finding],
    word: str,
    state: TriggerState,
    policy: TriggerPolicy,
    last_retraining: date | None,
) -> tuple[Decision, TriggerState]:
    today = findings[-1]
    if state.considered(today.day):
        text = f"the report of {today.day} is not newer than that of {state.day}, which was considered already"
        return Decision.of([Reason("day", False, str(today.day), str(state.day), text)]), state
    newer = Reason("day", True, str(today.day), str(state.day) if state.day else None, f"report of {today.day}")

    if state.fired and today.champion is not None and today.champion != state.fired_for:
        state = TriggerState(day=state.day)
    condition = _condition(findings, word, policy)
    armed = _armed(today.day, state, policy)
    decision = Decision.of([newer, condition, armed, _cooldown(today.day, last_retraining, policy)])

    after = replace(state, day=today.day)
    if decision.accepted:
        after = TriggerState(today.day, fired=today.day, fired_for=today.champion)
    elif condition.passed:
        after = replace(after, calm=0)
    elif state.fired and today.met is not None:
        calm = state.calm + 1
        after = TriggerState(today.day) if calm >= policy.days else replace(after, calm=calm)
    return decision, after


def _condition(findings: Sequence[_Finding], word: str, policy: TriggerPolicy) -> Reason:
    today = findings[-1]
    first = today.day - timedelta(days=policy.window - 1)
    recent = [f for f in findings if first <= f.day <= today.day and f.champion == today.champion]
    met = sum(f.met is True for f in recent)
    silent = policy.window - sum(f.met is not None for f in recent)
    enough = met >= policy.days and today.champion is not None
    # What was seen last: on the day itself the condition may already be past.
    newest = next((f for f in reversed(recent) if f.met), today)
    if policy.window == 1:
        text = today.text
    else:
        unknown = f", {silent} without a verdict" if silent else ""
        text = f"{word} on {met} of the last {policy.window} days ({policy.days} needed{unknown}); {newest.text}"
    return Reason("condition", enough, met, policy.days, text)


def _armed(day: date, state: TriggerState, policy: TriggerPolicy) -> Reason:
    if state.fired is None:
        return Reason("armed", True, None, None, "the trigger is armed")
    since = (day - state.fired).days
    if since >= policy.repeat_days:
        text = f"it fired {since} days ago for the same champion, and is repeated after {policy.repeat_days}"
        return Reason("armed", True, since, policy.repeat_days, text)
    text = (
        f"it fired on {state.fired} for version {state.fired_for} already: again after {policy.repeat_days} days, "
        f"another champion, or {policy.days} days on which the condition does not hold"
    )
    return Reason("armed", False, since, policy.repeat_days, text)


def _cooldown(day: date, last_retraining: date | None, policy: TriggerPolicy) -> Reason:
    if last_retraining is None:
        return Reason("cooldown", True, None, policy.cooldown_days, "there has been no retraining")
    since = (day - last_retraining).days
    over = since >= policy.cooldown_days
    if since < 0:
        text = f"there is a retraining as of {last_retraining} already: none of an older date is started"
    elif not over:
        text = f"the retraining as of {last_retraining} is {since} days old: cooldown of {policy.cooldown_days} days"
    else:
        text = f"the last retraining, as of {last_retraining}, is {since} days old"
    return Reason("cooldown", over, since, policy.cooldown_days, text)
