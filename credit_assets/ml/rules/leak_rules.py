"""Whether a model's skill is to be looked at by a person before it takes over.

Belongs here: the rules on recorded evidence. Does not belong here: the measures (`credit_assets.ml.evidence.leaks`),
single features (`training_gates`), and who asks (`credit_assets.ledger.deployment`).

A leak that is no near-copy of the outcome makes a model that passes every test: the test knows the outcome as well.
What gives it away is that it is better than anything the portfolio has had, or that one column makes it so. Either may
be right, so that the version is registered, and a person who has looked at the column brings it into force.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from credit_assets.ml.data.policies.leaks import LeaksPolicy
from credit_assets.ml.rules.decisions import Reason

LEAKS = "leaks"
"""The name of these rules, by which an operator accepts what they found."""
_APPROVE = "Where it is right, a person brings it into force: credit-assets promote VERSION --accept leaks --reason WHY"


def judge_leaks(
    evidence: Mapping[str, Any] | None, policy: LeaksPolicy, strong: Collection[str] = ()
) -> tuple[Reason, ...]:
    """Every rule and what it found; the model may take over where all passed.

    Parameters
    ----------
    evidence
        `auc` and `auc_ci_low` of the test; `champion`, None or its `version` with the `difference` from it and its
        `ci_low`, or `why` they cannot be compared; `gains` of versions that took over before; `concentration`, what
        `measure_concentration` gave; `strong`, features that were excused then. None for no record.
    policy
        The limits.
    strong
        Features that may bring any skill (gates: strong_features), besides those of then.

    Examples
    --------
    >>> evidence = {"auc": 0.88, "auc_ci_low": 0.85, "champion": None, "gains": [], "concentration": []}
    >>> [reason.rule for reason in judge_leaks(evidence, LeaksPolicy()) if not reason.passed]
    ['leaks jump']
    """
    if evidence is None:
        text = "nothing is recorded of what its skill comes from: train as of its date again"
        return (Reason(LEAKS, False, "none", "recorded", text),)
    found = evidence["concentration"]
    return _jump(evidence, policy, found), _concentration(found, policy, {*strong, *evidence.get("strong", ())})


def _jump(evidence: Mapping[str, Any], policy: LeaksPolicy, found: Sequence[Mapping[str, Any]]) -> Reason:
    champion, rule = evidence["champion"], f"{LEAKS} jump"
    suspects = "; most of it by " + ", ".join(
        f"{one['name']} (AUC {one['gain']:.3f}, {one['alone']:.3f} alone)" for one in found[:2]
    )
    advice = f"{suspects if found else ''}; suspect a column that knows the outcome. {_APPROVE}"
    if champion is None:
        low, most = evidence["auc_ci_low"], policy.max_first_auc
        text = f"AUC {evidence['auc']:.4f} (95% interval from {low:.4f} on) of a model without a champion"
        if low > most:
            return Reason(
                rule, False, low, most, f"{text} is more than {most:g} (policy: leaks: max_first_auc){advice}"
            )
        return Reason(rule, True, low, most, f"{text} is no more than {most:g}, as far as the test can tell")
    if "ci_low" not in champion:
        return Reason(rule, True, None, None, f"no gain is known: {champion['why']}")
    most, source = _limit(evidence["gains"], policy)
    low = champion["ci_low"]
    text = (
        f"AUC {champion['difference']:+.4f} over champion version {champion['version']} (95% interval from {low:+.4f} "
        "on)"
    )
    if low > most:
        return Reason(rule, False, low, most, f"{text} is a jump beyond {most:g} ({source}){advice}")
    return Reason(rule, True, low, most, f"{text} is no jump beyond {most:g} ({source})")


def _limit(gains: Sequence[float], policy: LeaksPolicy) -> tuple[float, str]:
    """The gain from which on a person is asked, and where it comes from."""
    if len(gains) < policy.history:
        return policy.max_gain, f"policy: leaks: max_gain, as {len(gains)} versions have taken over from another"
    largest = max(gains)
    most = min(policy.max_gain, max(policy.min_gain, largest))
    return most, f"of {len(gains)} versions that took over none gained more than {largest:.4f}"


def _concentration(found: Sequence[Mapping[str, Any]], policy: LeaksPolicy, strong: Collection[str]) -> Reason:
    rule, most = f"{LEAKS} concentration", policy.max_feature_gain
    if failing := [one for one in found if one["name"] not in strong and _suspicious(one, policy)]:
        named = "; ".join(
            f"{one['name']} (AUC {one['gain']:.3f}, 95% interval from {one['gain_low']:.3f} on, {one['share']:.0%} of "
            f"the skill; {one['alone']:.3f} alone)"
            for one in failing
        )
        text = (
            f"one feature brings more of the skill than {most:g} (policy: leaks: max_feature_gain), and is stronger "
            f"alone than {policy.max_feature_alone:g} (max_feature_alone), or brings by so much more than it knows "
            f"alone: {named}; suspect a column that knows the outcome: see when it is filled, give it role: ignored, "
            f"or name it under gates: strong_features. {_APPROVE}"
        )
        return Reason(rule, False, failing[0]["name"], f"AUC {most:g}", text)
    text = f"no feature is shown to bring more of the skill than AUC {most:g} and to be stronger than an ordinary one"
    if not found:
        return Reason(rule, True, None, most, text)
    largest = max(found, key=lambda one: float(one["gain"]))
    text += f"; most comes from {largest['name']} ({largest['gain']:.3f}, {largest['alone']:.3f} alone)"
    return Reason(rule, True, largest["gain_low"], most, text)


def _suspicious(one: Mapping[str, Any], policy: LeaksPolicy) -> bool:
    """Of few columns each brings much: that alone is no sign. It is one that a column is stronger than those that one
    knows at the application are, or that the model draws from it what the column does not say by itself.
    """
    low, most = float(one["gain_low"]), policy.max_feature_gain
    strong = one.get("alone_low", one["alone"]) > policy.max_feature_alone
    return low > most and (strong or low - (float(one["alone"]) - 0.5) > most)
