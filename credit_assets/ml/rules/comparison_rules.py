"""Rules of section `comparison`: whether a model orders applicants well enough, by itself and beside others.

Belongs here: verdicts on recorded evidence. Does not belong here: the measures (`credit_assets.ml.evidence`), the
limits (`credit_assets.ml.data.policies.comparison`), and how levels are spent (`levels`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

from credit_assets.ml.data.policies import ComparisonPolicy
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.levels import could_show, days_of, errors_of, logistic, share_spent, spent_level
from credit_assets.ml.rules.paired import Paired, paired_of, together
from credit_assets.ml.rules.recorded_measures import auc_interval, measure, size_of

# A difference that was computed as 0.005 and stored as 0.0049999999999999 has met a threshold of 0.005.
_ROUNDING = 1e-12
# What PDs that are equal at their bounds, and differ by the last digit elsewhere, may change.
_SAME_ORDER = 1e-6
_CHANCE = 0.5
# Columns that have moved, of which so many are named.
_NAMED = 5
# The AUC less a half of which non_inferiority_margin is a twentieth.
_FULL_SKILL = 0.2
_TAIL = 0.025
"""One-sided level of what is not spent over the year: each end of a 95% interval."""
BY_CHANCE = (
    "24 promotions by chance a year where models of equal worth are trained daily on tests of 110 bads, 11 weekly, 4 "
    "monthly; at 440 bads 12, 6 and 2"
)
"""What the difference alone costs, measured (docs/promotion.md)."""


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


def judge_first_champion(evidence: Mapping[str, Any], policy: ComparisonPolicy) -> tuple[Reason, ...]:
    """Whether a model that would be the first champion has skill: more than chance, and no less than a plain scorecard.
    So must one that takes the place of a champion which reads columns that have left the portfolio.

    `comparison` has the `scorecard` of the same train rows on the same test rows (its `auc`, and the `difference` of
    the model from it), and the days `saved`: a model a day that knows nothing would pass some day at a level that is
    the same each time, so that the level is saved and spent as that of comparisons with a champion is.
    """
    if evidence["champion"] is not None and evidence.get("mode") != "replacement":
        return ()
    found, scorecard = evidence["comparison"], evidence["comparison"].get("scorecard")
    if not scorecard:
        text = "nothing is recorded of a plain scorecard beside the model: train as of this date again"
        return (Reason("first_skill", False, "none", "recorded", text),)
    beside = paired_of(scorecard["difference"], "scorecard")
    # Of before it was recorded, all that was saved was spent.
    saved = found.get("saved", found["days"])
    return (_above_chance(evidence["evaluation"], beside, saved, policy), _no_worse(scorecard, beside, policy))


def judge_comparison(evidence: Mapping[str, Any], policy: ComparisonPolicy) -> tuple[Reason, ...]:
    """Whether the model stands against the champion, by the `mode` of its training.

    `champion` is None while none is in force, else the comparison on rows that neither model has seen: `version`,
    `comparable`, and either `why` it is not, or `difference` (record of an `AucDifference`), with `evaluation` and
    `candidate_evaluation` on those rows where known, and the `difference` on `validation` rows. `comparison` has the
    days `saved` and the `days` of them that this one spends, and for a refresh the same as of the champion of the
    `first` of its chain, None where that is the champion itself.

    `earlier` has tests of models before it beside the same champion, of which none has a row of another, and `moved`
    what drift says of the champion's applicants, None where they have not moved.

    A candidate that cannot be compared is refused: nothing says that it is better. A refresh that is shown to be better
    passes as that, and else where it is shown not to be worse. Where applicants are others than those that the champion
    learned from, a model is taken for what is measured.
    """
    champion = evidence["champion"]
    if champion is None:
        text = "no champion is in force: gates and absolute floors decide"
        return (Reason("champion", True, None, None, text),)
    refresh = evidence.get("mode") == "non_inferiority"
    if not champion.get("comparable", True):
        rule = "non_inferiority" if refresh else "improvement"
        return (_not_compared(rule, champion, "champion version"),)
    if champion.get("difference") is None:
        raise ValueError("the evidence has a champion but no `difference` from it")
    if evidence.get("mode") == "recalibration":
        return (_same_order(champion),)
    found = evidence["comparison"]
    better = _better(champion, found, policy)
    if _passed(better):
        return better
    measured = _as_measured(champion, found, policy) if _has_moved(found, policy) else ()
    if measured and _passed(measured):
        return measured
    return _refreshed(champion, found, policy) if refresh else measured or better


def _passed(reasons: tuple[Reason, ...]) -> bool:
    return all(reason.passed for reason in reasons)


def _same_order(champion: Mapping[str, Any]) -> Reason:
    """A calibration keeps the order of applicants; another AUC is a sign that something else was changed."""
    paired = paired_of(champion["difference"], "difference")
    same = abs(paired.difference) <= _SAME_ORDER
    text = f"{_over(champion, paired, 'champion version')}: a new calibration orders applicants as the champion does"
    return Reason("same_order", same, paired.difference, 0, text + ("" if same else ", and this does not"))


def days_to_spend(evidence: Mapping[str, Any], saved: float, policy: ComparisonPolicy) -> float:
    """How many of the days saved a comparison spends: where there is no champion those of the level that a first model
    is held to, none where the rows are not enough to compare the model with the champion, and else by how far the model
    is ahead on the validation rows.
    """
    champion = evidence["champion"]
    if champion is None:
        return min(saved, days_of(policy.alpha, policy.first_level))
    comparable = champion.get("comparable", True)
    if not comparable or not _enough_rows(paired_of(champion["difference"], "difference"), policy).passed:
        return 0.0
    return saved * share_spent(_lead(champion))


def _lead(champion: Mapping[str, Any]) -> float | None:
    """Standard errors by which the model is ahead on the validation rows, None where they cannot tell."""
    found = champion.get("validation")
    if not found:
        return None
    difference, error = (measure(found, name, "validation") for name in ("difference", "standard_error"))
    if not error:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / error


def _over(champion: Mapping[str, Any], paired: Paired, named: str) -> str:
    both = ""
    if champion.get("evaluation") and champion.get("candidate_evaluation"):
        both = f", {champion['candidate_evaluation']['auc']:.4f} against {champion['evaluation']['auc']:.4f}"
    return f"AUC {paired.difference:+.4f} over {named} {champion.get('version', '?')}{both}{paired.rows}"


def _not_compared(rule: str, other: Mapping[str, Any], named: str, advice: str = "") -> Reason:
    why = other.get("why", "no reason is recorded")
    text = f"cannot be compared with {named} {other.get('version', '?')}: {why}{advice}"
    return Reason(rule, False, None, "compared", text)


def _enough_rows(paired: Paired, policy: ComparisonPolicy) -> Reason:
    enough = paired.bads >= policy.min_bads and paired.goods >= policy.min_goods
    text = (
        f"{paired.bads:,} independent bads and {paired.goods:,} goods that neither model has seen "
        f"{'are enough to compare them' if enough else 'are too few to compare them'} (at least {policy.min_bads:,} "
        f"and {policy.min_goods:,}: CREDIT_PROMOTION_MIN_BADS, CREDIT_PROMOTION_MIN_GOODS"
    )
    more = "" if enough else "; a longer CREDIT_LOOKBACK_DAYS or a larger CREDIT_TEST_SHARE gives more"
    return Reason("common_rows", enough, paired.bads, policy.min_bads, f"{text}{more})")


# Better


def _better(
    champion: Mapping[str, Any], found: Mapping[str, Any], policy: ComparisonPolicy
) -> tuple[Reason, Reason, Reason]:
    paired = paired_of(champion["difference"], "difference")
    least = policy.min_improvement
    enough = paired.difference >= least - _ROUNDING
    verdict = "meets" if enough else "falls short of"
    text = f"{_over(champion, paired, 'champion version')} {verdict} the required {least:g} (CREDIT_MIN_IMPROVEMENT)"
    return (
        Reason("improvement", enough, paired.difference, least, text),
        _enough_rows(paired, policy),
        _shown_better(champion, paired, found, policy),
    )


def _shown_better(
    champion: Mapping[str, Any], paired: Paired, found: Mapping[str, Any], policy: ComparisonPolicy
) -> Reason:
    level = spent_level(policy.alpha, found["days"])
    low = paired.low(level)
    clear = low > 0 and level > 0
    if level > 0:
        shown = could_show(level, paired.error, paired.bads, paired.goods)
        text = (
            f"the one-sided interval begins at {low:+.4f}, {'above' if clear else 'not above'} zero (level "
            f"{level:.2g}: {_spending(champion, found)} of {policy.alpha:g} a year, CREDIT_PROMOTION_ALPHA)"
            f"{'' if clear else ', so that the difference may be chance'}; these rows could show {shown:.3f}"
        )
    else:
        text = _nothing_spent(champion, paired, found, policy)
    if policy.rule == "point":
        text += f"; not asked for (CREDIT_PROMOTION_RULE is point), at the cost of {BY_CHANCE}"
    return Reason("shown_better", clear or policy.rule == "point", low, 0, text)


def _nothing_spent(
    champion: Mapping[str, Any], paired: Paired, found: Mapping[str, Any], policy: ComparisonPolicy
) -> str:
    saved = found.get("saved", 0)
    shown = could_show(spent_level(policy.alpha, saved), paired.error, paired.bads, paired.goods)
    lead = _lead(champion)
    why = f"the model is {_ahead(lead)}" if lead is not None and lead < 0 else "these rows are too few"
    return (
        f"{why}, so that none of the {saved:.3g} days saved of {policy.alpha:g} a year (CREDIT_PROMOTION_ALPHA) is "
        f"spent; with all of them these rows could show {shown:.3f}"
    )


def _spending(champion: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """How many days of the level are spent, and why so many."""
    if "saved" not in found:
        # Of before the validation rows decided.
        since = f"since the comparison as of {found['previous']}" if found.get("previous") else "and more without any"
        return f"{found['days']} days {since}"
    return f"{found['days']:.3g} of {found['saved']:.3g} days saved, for a model {_ahead(_lead(champion))},"


def _ahead(lead: float | None) -> str:
    if lead is None:
        return "without validation rows that the champion has not seen"
    return f"{abs(lead):.1f} standard errors {'behind' if lead < 0 else 'ahead'} on the validation rows"


# Not worse


_FIRST = "the first model of the chain of refreshes, version"


def _refreshed(champion: Mapping[str, Any], found: Mapping[str, Any], policy: ComparisonPolicy) -> tuple[Reason, ...]:
    paired = _all_tests(champion, found, "difference")
    reasons = (
        _enough_rows(paired, policy),
        _not_worse("non_inferiority", champion, "champion version", paired, policy),
    )

    def judge(first: Mapping[str, Any], named: str, beside: Paired) -> Reason:
        return _not_worse("non_inferiority_first", first, named, beside, policy)

    return (*reasons, *_beside_first(found, policy, judge))


def _beside_first(
    found: Mapping[str, Any],
    policy: ComparisonPolicy,
    judge: Callable[[Mapping[str, Any], str, Paired], Reason],
) -> tuple[Reason, ...]:
    """The verdict beside the first model of the champion's chain, where there is one and the policy asks for it."""
    first = found.get("first") if policy.against_first else None
    if first is None:
        return ()
    if not first.get("comparable", True):
        advice = (
            "; so nothing says how far the chain has come down since: a model that is shown to be better begins a new "
            "one, or the policy forgoes this (against_first, CREDIT_REFRESH_AGAINST_FIRST)"
        )
        return (_not_compared("non_inferiority_first", first, _FIRST, advice),)
    return (judge(first, _FIRST, _all_tests(first, first, "difference from the first of the chain")),)


def _all_tests(beside: Mapping[str, Any], found: Mapping[str, Any], what: str) -> Paired:
    """The difference from `beside` by the model's own test and those of models before it that `found` has."""
    earlier = found.get("earlier") or {}
    return together(paired_of(beside["difference"], what), earlier.get("newer_by", 0), earlier.get("tests", ()))


def margin_of(policy: ComparisonPolicy, auc: float) -> float:
    """How far a refresh of a model of this AUC may fall short: the policy's margin, less at an AUC below 0.7."""
    return policy.non_inferiority_margin * min(1.0, max(0.0, auc - _CHANCE) / _FULL_SKILL)


def _not_worse(rule: str, other: Mapping[str, Any], named: str, paired: Paired, policy: ComparisonPolicy) -> Reason:
    auc = measure(other.get("evaluation") or {}, "auc", named)
    margin, low = margin_of(policy, auc), paired.low(_TAIL)
    # Models before it do not speak for one that its own test measures to be worse.
    own = measure(other["difference"], "difference", named)
    sound = low > -margin and own > -margin
    if paired.error:
        alike = NormalDist().cdf(margin / paired.error - errors_of(_TAIL, paired.bads, paired.goods))
    else:
        alike = 1.0
    text = (
        f"{_over(other, paired, named)}, lower end of the 95% interval {low:+.4f}: a refresh must be shown not to be "
        f"worse by {margin:.2g} (CREDIT_REFRESH_MARGIN {policy.non_inferiority_margin:g}, less below an AUC of "
        f"{_CHANCE + _FULL_SKILL:g}), and {'is' if sound else 'is not'}; of equal models {alike:.0%} would be on these "
        "rows"
    )
    if low > -margin >= own:
        text += f"; its own test has {own:+.4f}, which models before it do not make good"
    return Reason(rule, sound, low, -margin, text)


# Where applicants have moved


def _has_moved(found: Mapping[str, Any], policy: ComparisonPolicy) -> bool:
    moved: Mapping[str, Any] | None = found.get("moved")
    return policy.moved_after is not None and moved is not None and moved["newer_by"] >= policy.moved_after


def _as_measured(champion: Mapping[str, Any], found: Mapping[str, Any], policy: ComparisonPolicy) -> tuple[Reason, ...]:
    """The improvement as it is measured, on the model's own test; by all tests together it is none for the worse, and
    one over the first of the champion's chain, so that improvements by chance do not add up to a loss.
    """
    own, every = paired_of(champion["difference"], "difference"), _all_tests(champion, found, "difference")
    least, moved = policy.min_improvement, found["moved"]
    enough = own.difference >= least - _ROUNDING
    text = (
        f"{_over(champion, own, 'champion version')} {'meets' if enough else 'falls short of'} the required {least:g} "
        f"(CREDIT_MIN_IMPROVEMENT), taken as measured: applicants are others than those that the champion learned from "
        f"{moved['newer_by']} days before ({', '.join(moved['shifted'][:_NAMED])} shifted on {moved['days']} of "
        f"{moved['of']} days; policy comparison.moved_after)"
    )
    reasons = (
        Reason("improvement", enough, own.difference, least, text),
        _enough_rows(every, policy),
        _not_below("moved", champion, "champion version", every, 0.0),
    )

    def judge(first: Mapping[str, Any], named: str, beside: Paired) -> Reason:
        return _not_below("moved_first", first, named, beside, least)

    return (*reasons, *_beside_first(found, policy, judge))


def _not_below(rule: str, other: Mapping[str, Any], named: str, paired: Paired, least: float) -> Reason:
    enough = paired.difference >= least - _ROUNDING
    text = f"{_over(other, paired, named)} {'meets' if enough else 'falls short of'} the {least:g} asked of all tests"
    return Reason(rule, enough, paired.difference, least, text)


# The first champion


def _above_chance(evaluation: Mapping[str, Any], beside: Paired, days: float, policy: ComparisonPolicy) -> Reason:
    level = min(policy.first_level, spent_level(policy.alpha, days))
    low = _lower_end(evaluation, beside, level)
    above = low > _CHANCE
    shows = "so that the model" if above else "so that it is not shown that the model"
    text = (
        f"{_found(evaluation)}: its lower end at level {level:.2g} ({policy.first_level:g}, "
        f"CREDIT_PROMOTION_FIRST_LEVEL, or {policy.alpha:g} x the {days:.3g} days saved / 365, "
        f"CREDIT_PROMOTION_ALPHA) is {low:.4f}, {'above' if above else 'not above'} {_CHANCE:g}, {shows} knows more "
        "than chance"
    )
    if not above:
        text += "; more bads would show more: a longer CREDIT_LOOKBACK_DAYS or a larger CREDIT_TEST_SHARE"
    return Reason("first_skill", above, low, _CHANCE, text)


def _lower_end(evaluation: Mapping[str, Any], beside: Paired, level: float) -> float:
    """The lower end of the AUC's interval at another level than the recorded one's, on the logit scale as that is."""
    auc, low = (measure(evaluation, name, "candidate") for name in ("auc", "auc_ci_low"))
    wanted, recorded = (errors_of(each, beside.bads, beside.goods) for each in (level, _TAIL))
    if low <= 0 or math.isinf(wanted):
        return 0.0
    half_a_pair = 0.5 / (beside.bads * beside.goods)
    middle, end = (math.log(p / (1 - p)) for p in (min(auc, 1 - half_a_pair), low))
    return logistic(middle - (middle - end) * wanted / recorded)


def _no_worse(scorecard: Mapping[str, Any], beside: Paired, policy: ComparisonPolicy) -> Reason:
    high, margin = beside.high(_TAIL), policy.scorecard_margin
    sound = high >= -margin
    text = (
        f"AUC {beside.difference:+.4f} over a plain scorecard of the same train rows ({scorecard['auc']:.4f})"
        f"{beside.rows}, upper end of the 95% interval {high:+.4f}: {'not ' if sound else ''}shown to be worse by "
        f"more than {margin:g}"
    )
    if not sound:
        text += "; see that the learner is given what it needs (CREDIT_VARIANT_PARAMS, CREDIT_MAX_ROUNDS)"
    return Reason("scorecard", sound, high, -margin, text)


def _found(candidate: Mapping[str, Any]) -> str:
    return f"out-of-time AUC {candidate['auc']:.4f}{auc_interval(candidate)}{size_of(candidate)}"
