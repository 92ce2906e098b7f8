"""Rules of section `comparison`: whether a model orders applicants well enough, by itself and beside the champion.

Belongs here: verdicts on recorded evidence. Does not belong here: the measures (`credit_assets.ml.evidence`), the
limits (`credit_assets.ml.data.policies.comparison`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.data.policies import ComparisonPolicy
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.recorded_measures import auc_interval, measure, size_of

# A difference that was computed as 0.005 and stored as 0.0049999999999999 has met a threshold of 0.005.
_ROUNDING = 1e-12


def judge_skill(evidence: Mapping[str, Any], policy: ComparisonPolicy) -> tuple[Reason, ...]:
    """Whether the model orders the applicants of the out-of-time test (`evaluation`) well enough."""
    candidate = evidence["evaluation"]
    auc = measure(candidate, "auc", "candidate")
    enough = auc >= policy.min_auc
    text = f"{_found(candidate)} {'reaches' if enough else 'is below'} the floor {policy.min_auc:g} (CREDIT_MIN_AUC)"
    return (Reason("min_auc", enough, auc, policy.min_auc, text),)


def judge_plausible(evidence: Mapping[str, Any], policy: ComparisonPolicy) -> tuple[Reason, ...]:
    """Whether the model orders the applicants of the test (`evaluation`) no better than can be."""
    candidate = evidence["evaluation"]
    auc = measure(candidate, "auc", "candidate")
    plausible = auc <= policy.max_auc
    text = (
        f"{_found(candidate)} is plausible (at most {policy.max_auc:g}, CREDIT_MAX_AUC)"
        if plausible
        else f"{_found(candidate)} is above {policy.max_auc:g} (CREDIT_MAX_AUC): suspect a feature that knows the "
        "outcome"
    )
    return (Reason("max_auc", plausible, auc, policy.max_auc, text),)


def judge_comparison(evidence: Mapping[str, Any], policy: ComparisonPolicy) -> tuple[Reason, ...]:
    """Whether the model stands against the champion, by the `mode` of its training.

    `champion` is None while none is in force, else the comparison on rows that neither model has seen: `version`,
    `comparable`, and either `why` it is not, or `difference` (record of an `AucDifference`), with `evaluation` and
    `candidate_evaluation` on those rows where known. A candidate that cannot be compared is refused: nothing says that
    it is better.
    """
    champion = evidence["champion"]
    if champion is None:
        text = "no champion is in force: gates and absolute floors decide"
        return (Reason("champion", True, None, None, text),)
    if not champion.get("comparable", True):
        why = champion.get("why", "no reason is recorded")
        text = f"cannot be compared with champion version {champion.get('version', '?')}: {why}"
        return (Reason("improvement", False, None, policy.min_improvement, text),)
    compared = champion.get("difference")
    if compared is None:
        raise ValueError("the evidence has a champion but no `difference` from it")
    values = {name: measure(compared, name, "difference") for name in ("difference", "ci_low", "ci_high")}
    found = f"AUC {values['difference']:+.4f} over champion version {champion.get('version', '?')}{_both(champion)}"
    if {"rows", "bads"} <= set(compared):
        found += f" on the same {compared['rows']:,} rows ({compared['bads']:,} bads)"
    if evidence.get("mode") == "non_inferiority":
        return (_not_worse(found, values, policy),)
    return (_better(found, values, policy), _significant(compared, values, policy))


def _found(candidate: Mapping[str, Any]) -> str:
    return f"out-of-time AUC {candidate['auc']:.4f}{auc_interval(candidate)}{size_of(candidate)}"


def _both(champion: Mapping[str, Any]) -> str:
    if not (champion.get("evaluation") and champion.get("candidate_evaluation")):
        return ""
    return f", {champion['candidate_evaluation']['auc']:.4f} against {champion['evaluation']['auc']:.4f}"


def _not_worse(found: str, values: Mapping[str, float], policy: ComparisonPolicy) -> Reason:
    low, high, margin = values["ci_low"], values["ci_high"], policy.non_inferiority_margin
    sound = low > -margin
    text = (
        f"{found}, 95% interval {low:+.4f} .. {high:+.4f}: a refresh must be shown not to be worse by {margin:g} "
        f"(CREDIT_REFRESH_MARGIN), and {'is' if sound else 'is not'}"
    )
    return Reason("non_inferiority", sound, low, -margin, text)


def _better(found: str, values: Mapping[str, float], policy: ComparisonPolicy) -> Reason:
    difference, least = values["difference"], policy.min_improvement
    enough = difference >= least - _ROUNDING
    text = f"{found} {'meets' if enough else 'falls short of'} the required {least:g} (CREDIT_MIN_IMPROVEMENT)"
    return Reason("improvement", enough, difference, least, text)


def _significant(compared: Mapping[str, Any], values: Mapping[str, float], policy: ComparisonPolicy) -> Reason:
    low, high = values["ci_low"], values["ci_high"]
    clear = low > 0
    interval = f"95% interval {low:+.4f} .. {high:+.4f}"
    smallest = compared.get("smallest_detectable_difference")
    shown = f"; these rows could show a difference of {smallest:.4f}" if smallest is not None else ""
    if clear:
        text = f"{interval} lies above zero"
    else:
        text = f"{interval} includes zero or lies below it, so the difference may be chance{shown}"
        asked = "asks" if policy.require_significance else "does not ask"
        text += f"; the policy {asked} for more (CREDIT_REQUIRE_SIGNIFICANCE)"
    kept = clear or not policy.require_significance
    return Reason("significance", kept, f"{low:+.4f} .. {high:+.4f}", "above 0", text)
