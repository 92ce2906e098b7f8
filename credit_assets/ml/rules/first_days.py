"""Whether a model may take over, by how the newest days look to it beside the days that it was tested on.

Belongs here: the rules on recorded evidence. Does not belong here: the measures
(`credit_assets.ml.evidence.first_days`) and who asks (`decisions`, `credit_assets.ledger.deployment`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.data.policies import FirstDaysPolicy
from credit_assets.ml.rules.decisions import Reason

FIRST_DAYS = "first_days"
"""The name of these rules, by which an operator accepts what they found."""
FILLED_AFTERWARDS = "suspect a column that is filled in afterwards, or that has changed"
LEAST_ROWS = 100
"""Applications of the newest days below which nothing is said of them."""
_MOST_UNREAD = 0.5
# Months for years, percent for shares, thousands: no drift of a year makes a typical value five times as large.
_MOST_SCALE = 5.0
_NAMED = 5


def decide_first_days(evidence: Mapping[str, Any] | None, policy: FirstDaysPolicy) -> tuple[Reason, ...]:
    """Every rule and what it found; the model may take over where all passed.

    Parameters
    ----------
    evidence
        What `measure_first_days` gave, or `{"why": ...}` where it could not be measured; None for no record.
    policy
        The limits.

    Examples
    --------
    >>> policy = FirstDaysPolicy()
    >>> [reason.text for reason in decide_first_days({"why": "12 applications since the test, 100 needed"}, policy)]
    ['the newest days cannot be held against the out-of-time test: 12 applications since the test, 100 needed']
    """
    if evidence is None:
        text = "nothing is recorded of how the newest days look to this model: train as of its date again"
        return (Reason(FIRST_DAYS, False, "none", "recorded", text),)
    if "why" in evidence:
        text = f"the newest days cannot be held against the out-of-time test: {evidence['why']}"
        return (Reason(FIRST_DAYS, False, "unknown", "compared", text),)
    return (_mean_pd(evidence, policy), _scores(evidence, policy), _features(evidence, policy))


def _mean_pd(evidence: Mapping[str, Any], policy: FirstDaysPolicy) -> Reason:
    ratio, means, most = evidence["pd_odds_ratio"], evidence["mean_pd"], policy.max_pd_ratio
    kept = (ratio["ci_low"] <= most and ratio["ci_high"] >= 1 / most) or 1 / most <= ratio["value"] <= most
    text = (
        f"mean PD {means['now']:.2%} of the {_days(evidence, 'now')} against {means['then']:.2%} of the "
        f"{_days(evidence, 'then')} (odds {ratio['value']:.2f} times, 95% interval {ratio['ci_low']:.2f} .. "
        f"{ratio['ci_high']:.2f}) {'is within' if kept else 'lies outside'} {1 / most:.2g} .. {most:g} "
        "(CREDIT_FIRST_DAYS_MAX_PD_RATIO)"
    )
    return Reason(f"{FIRST_DAYS} mean_pd", kept, ratio["value"], most, text if kept else text + _named(evidence))


def _scores(evidence: Mapping[str, Any], policy: FirstDaysPolicy) -> Reason:
    index, most = evidence["score"]["psi"], policy.max_psi
    kept = index <= most
    text = (
        f"PSI of the scores {index:.3f} between the {_days(evidence, 'then')} and the {_days(evidence, 'now')} "
        f"{'is within' if kept else 'exceeds'} {most:g} (CREDIT_FIRST_DAYS_MAX_PSI)"
    )
    return Reason(f"{FIRST_DAYS} scores", kept, index, most, text if kept else text + _named(evidence))


def _features(evidence: Mapping[str, Any], policy: FirstDaysPolicy) -> Reason:
    rule, most = f"{FIRST_DAYS} features", policy.max_auc_loss
    failing = [(one, found) for one in evidence["features"] if (found := _faults(one, policy))]
    together = evidence["together"]
    if failing:
        named = "; ".join(f"{one['name']} ({', '.join(found)})" for one, found in failing[:_NAMED])
        more = f"; and {len(failing) - _NAMED} more" if len(failing) > _NAMED else ""
        text = f"behave otherwise in scoring than in training: {named}{more}; {FILLED_AFTERWARDS}"
        return Reason(rule, False, failing[0][0]["name"], f"AUC loss {most:g}", text)
    if together["auc_loss"] >= 2 * most and together["auc_loss_low"] > 0:
        text = (
            f"AUC {evidence['auc']:.4f} of the test is {together['auc_as_now']:.4f} where its rows look like the "
            f"newest days, a loss of more than {2 * most:g} (twice CREDIT_FIRST_DAYS_MAX_AUC_LOSS){_named(evidence)}"
        )
        return Reason(rule, False, together["auc_loss"], 2 * most, text)
    text = (
        f"of {evidence['compared']} features none that the model uses behaves otherwise in scoring than in training "
        f"(AUC {evidence['auc']:.4f} of the test is {together['auc_as_now']:.4f} where its rows look like the newest "
        "days)"
    )
    return Reason(rule, True, together["auc_loss"], most, text)


def _faults(one: Mapping[str, Any], policy: FirstDaysPolicy) -> list[str]:
    """What of a feature stands against the model; nothing where it may differ."""
    found: list[str] = []
    if not one["used"]:
        return found
    if one["unread"] >= _MOST_UNREAD:
        missing, before = one["missing_share"] or 0.0, one["missing_reference"]
        found.append(
            f"missing in {missing:.0%} of the newest rows, {before:.0%} of the test's days"
            if missing - before >= _MOST_UNREAD
            else f"{one['new_level_share']:.0%} of the newest values in levels that the test's days had not"
        )
    if one["scale"] is not None and not 1 / _MOST_SCALE <= one["scale"] <= _MOST_SCALE:
        found.append(f"values {one['scale']:.3g} times the size of the test's days, as in another unit")
    if one["auc_loss"] >= policy.max_auc_loss and one["auc_loss_low"] > 0:
        found.append(f"AUC of the test {one['auc_as_now']:.4f} where it looks as in the newest days")
    ratio = one["pd_odds_ratio"]
    if not 1 / policy.max_pd_ratio <= ratio <= policy.max_pd_ratio:
        found.append(f"makes the odds of default {ratio:.2f} times those of the test")
    return [*found, f"PSI {one['psi']:.2f}"] if found else []


def _named(evidence: Mapping[str, Any]) -> str:
    """The features that may have made it, those first that move the mean PD most."""
    features = [one for one in evidence["features"] if one["used"]]
    features.sort(key=lambda one: (-max(one["pd_odds_ratio"], 1 / one["pd_odds_ratio"]), -one["psi"], one["name"]))
    if not features:
        return "; no single feature differs beyond chance"
    shown = ", ".join(
        f"{one['name']} (odds {one['pd_odds_ratio']:.2f} times, PSI {one['psi']:.2f})" for one in features[:_NAMED]
    )
    return f"; most of it by {shown}"


def _days(evidence: Mapping[str, Any], which: str) -> str:
    """ "612 applications of 2024-03-20 .. 2024-03-31"."""
    days = evidence.get("days", {}).get(which)
    named = "newest days" if which == "now" else "test's days"
    between = f"{named} ({days[0]} .. {days[1]})" if days else named
    return f"{evidence['rows'][which]:,} applications of the {between}"
