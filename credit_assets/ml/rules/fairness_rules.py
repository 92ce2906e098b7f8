"""Whether a model treats protected groups alike, and whether a feature brings a protected column back into it.

Belongs here: the rules on recorded evidence. Does not belong here: the measures (`credit_assets.ml.evidence.fairness`,
`protected_association`), the keys (`credit_assets.ml.data.fairness`), and who asks (`credit_assets.ledger.deployment`).

Limits are those of the portfolio's `fairness`, which stand in the evidence. What passes one is said (warn), stops the
model (block), or waits for a person before it takes over (ask), as what `leaks` finds does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from credit_assets.ml.data.fairness import Consequence, Fairness
from credit_assets.ml.rules.decisions import Reason

FAIRNESS = "fairness"
"""The name of these rules, by which an operator accepts what they found."""
_APPROVE = (
    "a person who has looked at it brings it into force: credit-assets promote VERSION --accept fairness --reason WHY"
)


def judge_fairness(evidence: Mapping[str, Any]) -> tuple[Reason, ...]:
    """Every rule and what it found, for the registration: what is to block a model stands against it.

    Parameters
    ----------
    evidence
        What `fairness_record` gives: `limits`, `attributes`, `association`; or `why` there is nothing to compare.

    Examples
    --------
    >>> judge_fairness({"why": "the portfolio has no column with role: protected"})[0].passed
    True
    """
    return _judged(evidence, "block")


def judge_takeover(evidence: Mapping[str, Any] | None, now: Fairness | None = None) -> tuple[Reason, ...]:
    """Every rule and what it found, for the taking over: what a person is to be asked for stands against it.

    Parameters
    ----------
    evidence
        As of `judge_fairness`; None of a version that was registered before anything was recorded.
    now
        The portfolio's keys, if any: without a record, what they ask a person for has been looked at by nobody.
    """
    if evidence is None:
        asks = now is not None and "ask" in (now.disparity, now.association)
        text = "nothing is recorded of how it treats protected groups"
        if asks:
            text += f": train as of its date again, or {_APPROVE}"
        return (Reason(FAIRNESS, not asks, "none", "recorded", text),)
    return _judged(evidence, "ask")


def _judged(evidence: Mapping[str, Any], stops: Consequence) -> tuple[Reason, ...]:
    if "limits" not in evidence:
        return (Reason(FAIRNESS, True, None, None, f"nothing is compared: {evidence['why']}"),)
    limits = Fairness.model_validate(evidence["limits"])
    if "why" in evidence:
        blocks = stops in (limits.disparity, limits.association)
        text = f"nothing could be compared: {evidence['why']}; train again once it is there"
        return (Reason(FAIRNESS, not blocks, "none", "measured", text),)
    return (_association(evidence, limits, stops), *_disparities(evidence, limits, stops))


def _association(evidence: Mapping[str, Any], limits: Fairness, stops: Consequence) -> Reason:
    rule, most, found = f"{FAIRNESS} association", limits.max_association, evidence["association"]
    beyond = [one for one in found if one["near"] > most]
    failing = [one for one in beyond if one["feature"] not in limits.accepted_features]
    excused = sorted({one["feature"] for one in beyond} - {one["feature"] for one in failing})
    known = f"; accepted (fairness: accepted_features): {', '.join(excused)}" if excused else ""
    largest = max((one["auc"] for one in found), default=None)
    if not failing:
        text = f"no feature is shown to tell a protected column with an AUC above {most:g}{known}"
        return Reason(rule, True, largest, most, text)
    named = "; ".join(
        f"{one['feature']} tells {one['column']} with an AUC of {one['auc']:.3f} ({one['group']})"
        for one in _strongest(failing)
    )
    text = (
        f"features stand in for protected columns, beyond {most:g} (fairness: max_association): {named}; give them "
        f"role: protected or ignored, or name them under fairness: accepted_features{known}"
    )
    return _stopping(Reason(rule, False, largest, most, text), limits.association, stops)


def _strongest(failing: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One entry a feature."""
    best: dict[str, Mapping[str, Any]] = {}
    for one in failing:
        best.setdefault(one["feature"], one)
    return list(best.values())


def _disparities(evidence: Mapping[str, Any], limits: Fairness, stops: Consequence) -> Iterator[Reason]:
    for attribute in evidence["attributes"]:
        rule = f"{FAIRNESS} {attribute['column']}"
        small = attribute["small"]
        unjudged = f"; {small['groups']} groups of {small['rows']} applications in all are too small to judge" * bool(
            small["groups"]
        )
        if why := attribute.get("why"):
            # A reference that a lender has named and that is not there leaves what is to be judged unjudged.
            lost = attribute["named"]
            text = f"{attribute['column']} is not judged: {why}{unjudged}"
            yield _stopping(Reason(rule, not lost, None, None, text), limits.disparity, stops)
            continue
        failing = [text for group in attribute["groups"][1:] for text in _of_group(group, evidence, limits)]
        if failing:
            text = f"{attribute['column']}, beside {attribute['reference']}: {'; '.join(failing)}{unjudged}"
            text += _alternative(evidence, attribute["column"])
            yield _stopping(Reason(rule, False, len(failing), 0, text), limits.disparity, stops)
        else:
            groups = len(attribute["groups"]) - 1
            beside = f"{groups} groups beside {attribute['reference']}"
            text = f"{attribute['column']}: no limit is passed by {beside}{unjudged}"
            if evidence["indicative"]:
                text += "; approvals are not judged, since the policy declines nobody (policy: cutoff)"
            yield Reason(rule, True, 0, 0, text)


def _of_group(group: Mapping[str, Any], evidence: Mapping[str, Any], limits: Fairness) -> Iterator[str]:
    """What passes a limit, in words."""
    name, point = group["name"], limits.rule == "point"
    air, smd, chance, level = (group[key] for key in ("air", "smd", "opportunity", "observed_over_expected"))
    if air and group["below_limit"] and not evidence["indicative"] and (point or _under(air, 1.0)):
        lacking = group["shortfall"]
        yield (
            f"{name} is approved {air['value']:.3f} times as often{_interval(air)}, less than {limits.min_air:g} "
            f"(fairness: min_air): it lacks {lacking['limit']:.1f} approvals, and {lacking['parity']:.1f} to parity"
        )
    if smd and smd["value"] < -limits.max_smd and (point or smd["high"] < 0):
        yield (
            f"{name} has points {-smd['value']:.2f} standard deviations lower{_interval(smd)}, more than "
            f"{limits.max_smd:g} (fairness: max_smd)"
        )
    # A text, in what was recorded before, stands for all of it.
    not_judged = group.get("not_judged") or {}
    not_judged = (
        not_judged if isinstance(not_judged, Mapping) else dict.fromkeys(("opportunity", "calibration"), not_judged)
    )
    chance, level = (
        None if what in not_judged else one for what, one in (("opportunity", chance), ("calibration", level))
    )
    most = limits.max_opportunity_difference
    if chance and not evidence["indicative"] and chance["value"] < -most and (point or chance["high"] < 0):
        yield (
            f"of loans of {name} that were repaid {-chance['value']:.3f} fewer are approved{_interval(chance)}, more "
            f"than {most:g} (fairness: max_opportunity_difference)"
        )
    ratio = limits.max_calibration_ratio
    if level and not 1 / ratio <= level["value"] <= ratio and (point or not level["low"] <= 1 <= level["high"]):
        yield (
            f"defaults of {name} are {level['value']:.2f} times the expected ones{_interval(level)}, beside those of "
            f"all loans; {1 / ratio:.2f} .. {ratio:.2f} is allowed (fairness: max_calibration_ratio)"
        )


def _alternative(evidence: Mapping[str, Any], column: str) -> str:
    found = [one for one in evidence.get("less_discriminatory", ()) if one["column"] == column]
    if not found:
        return ""
    best = max(found, key=lambda one: float(one["air"][1]))
    return (
        f"; at the same approval rate {best['variant']} has {best['air'][1]:.3f} times as many approvals instead of "
        f"{best['air'][0]:.3f}, with an AUC of {best['auc'][1]:.4f} instead of {best['auc'][0]:.4f}"
    )


def _under(found: Mapping[str, Any], value: float) -> bool:
    return found["high"] is not None and bool(found["high"] < value)


def _interval(found: Mapping[str, Any]) -> str:
    high = "inf" if found["high"] is None else f"{found['high']:.3f}"
    return f" (95% interval {found['low']:.3f} .. {high})"


def _stopping(reason: Reason, consequence: Consequence, stops: Consequence) -> Reason:
    """The reason as it stands where `stops` is what counts: elsewhere it is said, and stands against nothing."""
    if reason.passed or consequence == stops:
        text = f"{reason.text}. Where it is right, {_APPROVE}" if stops == "ask" and not reason.passed else reason.text
        return Reason(reason.rule, reason.passed, reason.value, reason.threshold, text)
    words = {"warn": "a warning, which stops nothing", "ask": "a person is asked before it takes over"}
    effect = words.get(consequence, "it was not registered for it")
    return Reason(reason.rule, True, reason.value, reason.threshold, f"{reason.text}; {effect}")
