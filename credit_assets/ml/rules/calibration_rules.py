"""Rules of section `calibration`: whether PDs are as large as what came of them, and lie as far apart.

Belongs here: verdicts on recorded evidence. Does not belong here: the measures
(`credit_assets.ml.evidence.calibration_evidence`), the limits (`credit_assets.ml.data.policies.calibration`).

The rule for level and slope is one: it stands against the model where a test at `alpha` rejects the value 1 and the
value lies beyond its limit. The test keeps chance from refusing on few rows, of the test and of those that the
calibration was fitted on; the limit keeps a harmless misfit from refusing on many (docs/calibration.md has how often
either errs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from credit_assets.ml.data.policies import CalibrationPolicy
from credit_assets.ml.rules.calibration_limit import ece_limit
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.recorded_measures import measure, size_of

BETTER_LEVEL = 0.05
"""How often a new calibration that is no better than the champion's is taken for better."""


def judge_calibration(evidence: Mapping[str, Any], policy: CalibrationPolicy) -> tuple[Reason, ...]:
    """What the record of `trained_model` says of its calibration: on its out-of-time test (`calibration`,
    `evaluation`), and beside the champion's (`champion`).

    Raises ValueError naming a measure that the evidence lacks.
    """
    found = evidence["calibration"]
    reasons = [_level(found, policy), _slope(found, policy), _ece(evidence["evaluation"], found, policy)]
    beside = (evidence["champion"] or {}).get("calibration")
    if beside:
        reasons.append(_beside_champion(beside, str(evidence["champion"].get("version", "?")), policy))
    if evidence.get("mode") == "recalibration":
        reasons += _recalibration(evidence["recalibrates"], beside)
    if age := evidence.get("age"):
        reasons.append(_age(age))
    return tuple(reasons)


def _level(found: Mapping[str, Any], policy: CalibrationPolicy) -> Reason:
    ratio, p = found["observed_over_expected"], measure(found, "level_p", "calibration")
    value = measure(ratio, "value", "calibration")
    shown = (
        f"observed over expected defaults {_with_interval(ratio)}{size_of(found)}, {found['expected']:,.1f} expected"
    )
    wrong = f"PDs {'understate' if value > 1 else 'overstate'} the risk"
    return _of_one("level", value, policy, (_p(p, found, "level"), shown, wrong))


def _slope(found: Mapping[str, Any], policy: CalibrationPolicy) -> Reason:
    slope = found["slope"]
    if slope is None:
        text = f"no calibration slope can be fitted{size_of(found)}: {found['why']}"
        return Reason("calibration_slope", True, None, _range(policy.max_slope_ratio), text)
    value, p = measure(slope, "value", "calibration"), measure(found, "slope_p", "calibration")
    shown = f"calibration slope {_with_interval(slope)}, intercept {_with_interval(found['intercept'], '+.2f')}"
    wrong = f"PDs lie too {'far apart' if value < 1 else 'close together'}"
    return _of_one("slope", value, policy, (_p(p, found, "slope"), shown + size_of(found), wrong))


class _Chance(NamedTuple):
    """The p-value of a test, and in words what chance it holds."""

    p: float
    shown: str


def _p(p: float, found: Mapping[str, Any], name: str) -> _Chance:
    fitted = found.get("fitted")
    if fitted is None:
        return _Chance(p, f"p {p:.2g}, of the test alone, since nothing is recorded of the calibration's own rows")
    return _Chance(p, f"p {p:.2g}, with a standard error of {fitted[name]:.2g} of the calibration's own rows")


def _of_one(name: str, value: float, policy: CalibrationPolicy, words: tuple[_Chance, str, str]) -> Reason:
    """The verdict on a measure whose right value is 1: what chance says of it, what it is, and what is wrong where it
    stands against.
    """
    most, (found, shown, wrong) = float(getattr(policy, f"max_{name}_ratio")), words
    inside, chance, limits = 1 / most <= value <= most, found.p >= policy.alpha, _range(most)
    if inside:
        verdict = f"within {limits}" + ("" if chance else f"; it is not 1 ({found.shown}), which is allowed")
    elif chance:
        verdict = f"outside {limits}, which may be chance ({found.shown}; level {policy.alpha:g})"
    else:
        verdict = f"outside {limits} and no chance ({found.shown}; level {policy.alpha:g}): {wrong}"
    text = f"{shown} is {verdict} (policy calibration.max_{name}_ratio)"
    return Reason(f"calibration_{name}", inside or chance, value, limits, text)


def _ece(candidate: Mapping[str, Any], found: Mapping[str, Any], policy: CalibrationPolicy) -> Reason:
    ece, fit = measure(candidate, "ece", "candidate"), (found.get("fitted") or {}).get("level", 0.0)
    most = ece_limit(candidate["lift"], policy.max_ece, fit) if candidate.get("lift") else policy.max_ece
    calibrated = ece <= most
    allowed = f"{policy.max_ece:g} (CREDIT_MAX_ECE)"
    if most > policy.max_ece:
        allowed += f", which a test of this size may show as up to {most:.4f}"
    text = f"calibration error (ECE) {ece:.4f}{size_of(candidate)} is {'within' if calibrated else 'above'} {allowed}"
    return Reason("max_ece", calibrated, ece, most, text)


def _beside_champion(beside: Mapping[str, Any], version: str, policy: CalibrationPolicy) -> Reason:
    ours, theirs = beside["candidate"], beside["champion"]
    farther = {end: math.exp(measure(beside["farther"], end, "comparison")) for end in ("value", "low", "high")}
    sound = farther["low"] <= policy.max_loss_to_champion
    levels = [_with_interval(one["observed_over_expected"]) for one in (ours, theirs)]
    text = (
        f"observed over expected defaults {levels[0]}, champion version {version} {levels[1]}, on the same"
        f"{size_of(ours).removeprefix(' on')}: {_with_interval(farther).replace(' (', ' times as far from 1 (')}, "
        f"{'not shown to be' if sound else 'shown to be'} more than {policy.max_loss_to_champion:g} times "
        "(policy calibration.max_loss_to_champion)"
    )
    return Reason("calibration_champion", sound, farther["value"], policy.max_loss_to_champion, text)


def _recalibration(made: Mapping[str, Any], beside: Mapping[str, Any] | None) -> list[Reason]:
    """Whether a new calibration was fitted, and is shown to be better than the champion's on rows that neither used."""
    version = made["version"]
    if made["why"]:
        text = f"champion version {version} has no new calibration: {made['why']}; ask for a retraining"
        return [Reason("recalibration", False, made["bads"], None, text)]
    if beside is None:
        text = f"nothing shows whether the new calibration of champion version {version} is better: no comparison"
        return [Reason("recalibration", False, None, BETTER_LEVEL, text)]
    loss, new, p = beside["log_loss"], made["calibration"], measure(beside, "better_p", "comparison")
    better = p < BETTER_LEVEL
    text = (
        f"champion version {version} with a new calibration ({_shape(new)}), fitted on {made['rows']:,} rows "
        f"({made['bads']:,} bads) of {made['days'][0]} .. {made['days'][1]}: log loss {_with_interval(loss, '+.5f')} "
        f"against the champion's on rows that neither used, {'shown to be' if better else 'not shown to be'} less "
        f"(p {p:.2g}, level {BETTER_LEVEL:g})"
    )
    return [Reason("recalibration", better, p, BETTER_LEVEL, text)]


def _shape(calibration: Mapping[str, Any]) -> str:
    if calibration.get("method", "platt") == "platt":
        return f"slope {calibration['slope']:.3f}, intercept {calibration['intercept']:+.3f}"
    return str(calibration["method"])


def _age(age: Mapping[str, Any]) -> Reason:
    """Said, and no rule: how much newer than its test whatever the model scores is."""
    text = (
        f"its out-of-time test is of {age['test'][0]} .. {age['test'][1]}: in use from {age['in_use_from']} on, it "
        f"scores applications at least {age['days']} days newer than any that it was tested on"
    )
    return Reason("age", True, age["days"], None, text)


def _range(most: float) -> str:
    return f"{1 / most:.2f} .. {most:.2f}"


def _with_interval(found: Mapping[str, float], form: str = ",.2f") -> str:
    return f"{found['value']:{form}} (95% interval {found['low']:{form}} .. {found['high']:{form}})"
