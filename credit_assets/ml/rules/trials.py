"""Trials: whether a model that scores beside the champion goes on, takes over, or is taken away.

Belongs here: the rule on recorded evidence. Does not belong here: the evidence (`credit_assets.ml.evidence.shadow`)
and moving an alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from credit_assets.ml.data.fingerprints import DIGITS
from credit_assets.ml.rules.decisions import Promotion, Reason

TrialDecision = Literal["continue", "promote", "wait", "end"]
LONGEST = 366
"""Days of a trial that a report looks at, the newest: a trial that nobody ends must not cost more every day."""


@dataclass(frozen=True)
class TrialPolicy:
    """What a trial must have seen, and limits that it must keep.

    `days` since it began and `min_loans` applications that both models scored: before, nothing is decided.
    `min_correlation`: least rank correlation of the two models' points. `max_psi`: largest PSI between distributions
    of their points. It counts spread as well as level: models that early stopping left with more or fewer trees rank
    alike and spread differently. On the LendingClub loans of 2010-2011, with two years of lookback, models trained a
    quarter apart and learners of one day had rank correlations of 0.86 to 0.94 and PSIs of 0.16 to 1.23, so 0.25 ends
    sound trials; at 90 days of lookback it was 0.42 to 0.88 and 0.14 to 4, and one model that said the same of all.
    `max_pd_ratio`: mean PD of one model over that of the other, either way; 2 is a change of the expected loss for
    which somebody has to plan.
    `min_bads`: matured defaults from which on the two are compared by what became of the applications.
    """

    promotion: Promotion
    days: int
    min_loans: int
    min_correlation: float
    max_psi: float
    max_pd_ratio: float
    min_bads: int

    def __post_init__(self) -> None:
        if self.promotion not in get_args(Promotion):
            raise ValueError(f"unknown promotion policy {self.promotion!r}; known: {', '.join(get_args(Promotion))}")
        if min(self.days, self.min_loans) < 1 or self.min_bads < 2:
            raise ValueError("a trial needs at least one day and one application, and two defaults to compare by")
        if not (-1 <= self.min_correlation <= 1 and self.max_psi > 0 and self.max_pd_ratio > 1):
            raise ValueError("limits of a trial: correlation in -1 .. 1, PSI above 0, ratio of mean PDs above 1")


def decide_trial(policy: TrialPolicy, evidence: Mapping[str, Any]) -> tuple[TrialDecision, tuple[Reason, ...]]:
    """What becomes of a trial, and every reason.

    "continue" until `policy.days` and `policy.min_loans` are reached. Then "end" where a limit is broken, among them
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
    >>> policy = TrialPolicy("shadow", 30, 500, min_correlation=0.6, max_psi=2.0, max_pd_ratio=2.0, min_bads=50)
    >>> seen = {"days": 12, "rows": 900, "correlation": {"spearman": 0.9}, "psi": 0.1, "matured": None}
    >>> decision, reasons = decide_trial(policy, seen | {"mean_pd": {"champion": 0.05, "shadow": 0.06}})
    >>> decision, reasons[0].text
    ('continue', '12 days since the trial began, 30 needed')
    """
    missing = [name for name in ("days", "rows", "correlation", "psi", "mean_pd", "matured") if name not in evidence]
    if missing:
        raise ValueError(f"the evidence of the trial lacks {', '.join(missing)}")
    progress = [
        _reached("days", evidence["days"], policy.days, "days since the trial began"),
        _reached("loans", evidence["rows"], policy.min_loans, "applications scored by both models"),
    ]
    limits = [
        _correlation(evidence["correlation"]["spearman"], policy.min_correlation),
        _psi_limit(evidence["psi"], policy.max_psi),
        _pd_ratio(evidence["mean_pd"], policy.max_pd_ratio),
        _performance(evidence["matured"], policy.min_bads),
    ]
    decision: TrialDecision
    if not all(reason.passed for reason in progress):
        decision = "continue"
    elif not all(reason.passed for reason in limits):
        decision = "end"
    else:
        decision = "promote" if policy.promotion == "shadow" else "wait"
    return decision, (*progress, *limits)


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
