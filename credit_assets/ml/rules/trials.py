"""Trials: whether a model that scores beside the champion goes on, takes over, or is taken away.

Belongs here: the rule on recorded evidence. Does not belong here: the evidence (`credit_assets.ml.evidence.shadow`)
and moving an alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from credit_assets.ml.data.fingerprints import DIGITS
from credit_assets.ml.data.policies import TrialsPolicy
from credit_assets.ml.rules.decisions import Promotion, Reason

TrialDecision = Literal["continue", "promote", "wait", "end"]
LONGEST = 366
"""Days of a trial that a report looks at, the newest: a trial that nobody ends must not cost more every day."""


@dataclass(frozen=True)
class TrialPolicy:
    """How a model comes into force, section `trials` of the policy, and from how many matured defaults on the two are
    compared by what became of the applications.
    """

    promotion: Promotion
    limits: TrialsPolicy
    min_bads: int

    def __post_init__(self) -> None:
        if self.promotion not in get_args(Promotion):
            raise ValueError(f"unknown promotion policy {self.promotion!r}; known: {', '.join(get_args(Promotion))}")


def decide_trial(policy: TrialPolicy, evidence: Mapping[str, Any]) -> tuple[TrialDecision, tuple[Reason, ...]]:
    """What becomes of a trial, and every reason.

    "continue" until `days` and `min_loans` of the limits are reached. Then "end" where a limit is broken, among them
    the performance on matured applications: the 95% interval of the AUC difference lies below zero. With fewer than
    `policy.min_bads` defaults it does not count. Where all limits are kept, "promote" under promotion by shadow, else
    "wait" for a person.

    Parameters
    ----------
    policy
        What a trial must have seen, and the limits that it must keep.
    evidence
        `days` since the trial began, and the keys of `evidence.shadow.compare_scores`: a recorded report decides again
        the same way.

    Returns
    -------
    tuple
        The decision, and the reasons in the order of the rules.

    Raises
    ------
    ValueError
        Where the evidence lacks a key.

    Examples
    --------
    >>> policy = TrialPolicy("shadow", TrialsPolicy(), min_bads=50)
    >>> seen = {"days": 12, "rows": 900, "correlation": {"spearman": 0.9}, "psi": 0.1, "matured": None}
    >>> decision, reasons = decide_trial(policy, seen | {"mean_pd": {"champion": 0.05, "shadow": 0.06}})
    >>> decision, reasons[0].text
    ('continue', '12 days since the trial began, 30 needed')
    """
    missing = [name for name in ("days", "rows", "correlation", "psi", "mean_pd", "matured") if name not in evidence]
    if missing:
        raise ValueError(f"the evidence of the trial lacks {', '.join(missing)}")
    limits = policy.limits
    progress = [
        _reached("days", evidence["days"], limits.days, "days since the trial began"),
        _reached("loans", evidence["rows"], limits.min_loans, "applications scored by both models"),
    ]
    kept = [_correlation(evidence["correlation"]["spearman"], limits.min_correlation)]
    if evidence.get("recalibrates"):
        text = "the champion with a new calibration: other PDs and points are what it is for"
        kept.append(Reason("psi", True, evidence["psi"], limits.max_psi, text))
        kept.append(Reason("mean_pd", True, None, limits.max_pd_ratio, text))
    else:
        kept += [_psi_limit(evidence["psi"], limits.max_psi), _pd_ratio(evidence["mean_pd"], limits.max_pd_ratio)]
    kept.append(_performance(evidence["matured"], policy.min_bads))
    decision: TrialDecision
    if not all(reason.passed for reason in progress):
        decision = "continue"
    elif not all(reason.passed for reason in kept):
        decision = "end"
    else:
        decision = "promote" if policy.promotion == "shadow" else "wait"
    return decision, (*progress, *kept)


def _reached(rule: str, value: int, threshold: int, what: str) -> Reason:
    enough = value >= threshold
    text = f"{value:,} {what}, {threshold:,} needed" if not enough else f"{value:,} {what} (at least {threshold:,})"
    return Reason(rule, enough, value, threshold, text)


def _correlation(value: float | None, least: float) -> Reason:
    if value is None:
        text = "the rank correlation of the points cannot be told: a model gives all the same points, or few are scored"
        return Reason("correlation", False, None, least, text)
    kept = value >= least
    text = f"rank correlation of the points {value:.3f} {'reaches' if kept else 'is below'} {least:g}"
    return Reason("correlation", kept, value, least, text)


def _psi_limit(value: float | None, most: float) -> Reason:
    if value is None:
        return Reason("psi", False, None, most, "no application was scored by both models, so there is no PSI")
    kept = value <= most
    return Reason(
        "psi",
        kept,
        value,
        most,
        f"PSI between the models' points {value:.3f} {'is within' if kept else 'exceeds'} {most:g}",
    )


def _pd_ratio(means: Mapping[str, float | None], most: float) -> Reason:
    champion, shadow = means["champion"], means["shadow"]
    if not champion or not shadow:
        return Reason("mean_pd", False, None, most, "the ratio of the mean PDs cannot be told")
    ratio = round(shadow / champion, DIGITS)
    kept = 1 / most <= ratio <= most
    text = f"mean PD {shadow:.2%} against the champion's {champion:.2%}, ratio {ratio:.2f}, "
    return Reason(
        "mean_pd", kept, ratio, most, text + f"{'is within' if kept else 'outside'} {1 / most:.2g} .. {most:g}"
    )


def _performance(matured: Mapping[str, Any] | None, min_bads: int) -> Reason:
    bads = matured["bads"] if matured else 0
    if matured is None or matured["difference"] is None or bads < min_bads:
        text = f"{bads} matured defaults, {min_bads} needed to judge by outcomes: judged by scores alone"
        return Reason("performance", True, bads, min_bads, text)
    difference = matured["difference"]
    kept = difference["ci_high"] >= 0
    return Reason(
        "performance",
        kept,
        difference["ci_high"],
        0,
        f"AUC {difference['difference']:+.4f} over the champion on {matured['rows']:,} matured rows ({bads:,} bads), "
        f"95% interval {difference['ci_low']:+.4f} .. {difference['ci_high']:+.4f} "
        f"{'does not lie' if kept else 'lies'} below zero",
    )
