"""Rules by which limits and known weaknesses are read out of the evidence, each with its threshold.

Belongs here: pure functions on a dossier's material and the table of them. Does not belong here: gates and decisions
(`credit_assets.ml.rules`), which have been passed by then: what is said here stops nothing, and a validator should know
it all the same. A rule whose evidence is not recorded says that it was not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from credit_assets.ml.reports.dossier.blocks import Cell, Source, count, number, share, text
from credit_assets.ml.reports.dossier.material import Material, joined
from credit_assets.ml.reports.dossier.population import account, adds_up

NOT_LOOKED_AT = "not looked at: nothing is recorded"


@dataclass(frozen=True)
class RuleFinding:
    """What a rule finds: whether it speaks (None: nothing to look at), the value looked at, and what it says."""

    speaks: bool | None
    value: Cell
    says: str
    source: Source


@dataclass(frozen=True)
class Weakness:
    """A rule: its name, what it asks, and from where on it speaks."""

    name: str
    asks: str
    threshold: float | None
    find: Callable[[Material, float], RuleFinding | None]


def judge(material: Material) -> tuple[tuple[Weakness, RuleFinding], ...]:
    """Every rule and what it finds, in the order of the table."""
    return tuple((rule, _found(rule, material)) for rule in RULES)


def _found(rule: Weakness, material: Material) -> RuleFinding:
    found = rule.find(material, rule.threshold or 0.0)
    return found or RuleFinding(None, text(None), NOT_LOOKED_AT, material.any_source)


# Size and skill


def few_bads(material: Material, least: float) -> RuleFinding | None:
    test = material.evidence("evaluation")
    if test is None:
        return None
    says = (
        f"The out-of-time test has {test['bads']:,} bads: every measure on it is wide, and few differences between "
        "models or groups could be seen."
    )
    return RuleFinding(test["bads"] < least, count(test["bads"]), says, test.source)


def wide_interval(material: Material, most: float) -> RuleFinding | None:
    test = material.evidence("evaluation")
    if test is None:
        return None
    width = test["auc_ci_high"] - test["auc_ci_low"]
    says = f"The 95% interval of the AUC is {width:.3f} wide ({test['auc_ci_low']:.3f} .. {test['auc_ci_high']:.3f})."
    return RuleFinding(width > most, number(width, 3), says, test.source)


def learned_by_heart(material: Material, most: float) -> RuleFinding | None:
    return _fall(material, ("train", "test"), most, "so much of its order is learned by heart or lost in time")


def fell_in_time(material: Material, most: float) -> RuleFinding | None:
    return _fall(material, ("validation", "test"), most, "part of its skill is lost from one month to the next")


def _fall(material: Material, splits: tuple[str, str], most: float, says: str) -> RuleFinding | None:
    candidate = material.candidate
    metrics = candidate.get("metrics") if candidate else None
    if candidate is None or not metrics or not set(splits) <= set(metrics):
        return None
    before, after = (metrics[name]["auc"] for name in splits)
    fall = before - after
    finding = f"The AUC falls from {before:.3f} on {splits[0]} to {after:.3f} on {splits[1]}: {says}."
    return RuleFinding(fall > most, number(fall, 3), finding, candidate.source)


def old_evidence(material: Material, most: float) -> RuleFinding | None:
    age = material.evidence("age")
    if age is None:
        return None
    says = (
        f"The test ends {age['days']:,} days before the first day in use ({age['test'][1]} and {age['in_use_from']}): "
        "what has changed since is in no measure of it."
    )
    return RuleFinding(age["days"] > most, count(age["days"]), says, age.source)


def chosen_by_little(material: Material, least: float) -> RuleFinding | None:
    trained = material.trained
    candidates = sorted((trained.get("candidates") or {}).values(), reverse=True) if trained else []
    if trained is None or len(candidates) < 2:
        return None
    lead = candidates[0] - candidates[1]
    says = f"The best candidate leads the second by {lead:.4f} of AUC on validation: the choice may be chance."
    return RuleFinding(lead < least, number(lead), says, trained.source)


def stopped_at_the_cap(material: Material, _: float) -> RuleFinding | None:
    candidate = material.candidate
    if candidate is None or not candidate.get("rounds"):
        return None
    most = candidate["identity"]["params"].get("max_rounds")
    if not most:
        return None
    says = f"Training stopped at the cap of {most:,} rounds and not by itself: more rounds may do better."
    return RuleFinding(candidate["rounds"] >= most, count(candidate["rounds"]), says, candidate.source)


def narrow_pass(material: Material, within: float) -> RuleFinding | None:
    """Of the rules of registration that were passed, those whose value lies close to its threshold."""
    registered = material.made.registered
    if registered is None:
        return None
    near = {
        reason["rule"]: distance
        for reason in registered["reasons"]
        if reason["passed"] and (distance := margin(reason["value"], reason["threshold"])) is not None
    }
    narrow = sorted((rule for rule, one in near.items() if one < within), key=lambda rule: near[rule])
    says = f"Passed narrowly, with a value that lies close to its limit: {joined(narrow)}."
    smallest = min(near.values(), default=None)
    return RuleFinding(bool(narrow), share(smallest), says, registered.source)


def margin(value: Any, threshold: Any) -> float | None:
    """How far a value lies from its threshold, as a share of the threshold; None where either is no number but 0."""
    if isinstance(value, bool) or isinstance(threshold, bool):
        return None
    if not isinstance(value, int | float) or not isinstance(threshold, int | float) or not threshold:
        return None
    return abs(value - threshold) / abs(threshold)


# What it is held against


def not_compared(material: Material, _: float) -> RuleFinding | None:
    trained = material.trained
    if trained is None or "champion" not in trained.record:
        return None
    champion = trained["champion"]
    if champion is None:
        return RuleFinding(True, text("no champion"), "It is the first model: no other has been held against it.",
                     trained.source)  # fmt: skip
    comparable = bool(champion.get("comparable", True))
    says = f"It could not be compared with the champion, version {champion['version']}: {champion.get('why', '')}."
    return RuleFinding(not comparable, text(f"version {champion['version']}"), says, trained.source)


def no_better_than_scorecard(material: Material, _: float) -> RuleFinding | None:
    card = material.evidence("scorecard")
    if card is None or card.get("chosen"):
        return None
    difference = (card.get("beside") or {}).get("difference")
    if not difference:
        return None
    low = difference["ci_low"]
    says = (
        "It is not shown to be better than the interpretable scorecard of the day: the interval of the difference "
        f"begins at {low:+.4f} of AUC."
    )
    return RuleFinding(low <= 0, number(low), says, card.source)


# Calibration


def level_is_off(material: Material, level: float) -> RuleFinding | None:
    says = "The level of the PDs is off beyond chance: {value:.2f} times the expected defaults ({low:.2f} .. {high:.2f}"
    return _beyond_chance(material, level, ("level_p", "observed_over_expected"), says)


def slope_is_off(material: Material, level: float) -> RuleFinding | None:
    says = "The spread of the PDs is off beyond chance: slope {value:.2f} ({low:.2f} .. {high:.2f}"
    return _beyond_chance(material, level, ("slope_p", "slope"), says)


def _beyond_chance(material: Material, level: float, keys: tuple[str, str], says: str) -> RuleFinding | None:
    found, (p_value, figure) = material.evidence("calibration"), keys
    if found is None or found.get(p_value) is None:
        return None
    p = found[p_value]
    return RuleFinding(p < level, number(p, 4), f"{says.format(**found[figure])}, p {p:.2g}).", found.source)


def level_is_uncertain(material: Material, most: float) -> RuleFinding | None:
    found = material.evidence("calibration")
    ratio = found.get("observed_over_expected") if found else None
    if found is None or not ratio or not ratio["low"]:
        return None
    wide = ratio["high"] / ratio["low"]
    says = (
        f"Observed over expected defaults may be anything from {ratio['low']:.2f} to {ratio['high']:.2f}: the test "
        "cannot tell a level that is right from one that is off by a third."
    )
    return RuleFinding(wide > most, number(wide, 2), says, found.source)


# Features and time


def moved_features(material: Material, from_: float) -> RuleFinding | None:
    found = material.evidence("stability")
    pair = _pair(found.record if found else None, ("train", "test"))
    if found is None or pair is None:
        return None
    moved = [one for one in pair["features"] if one["verdict"] in ("watch", "shifted") and (one["psi"] or 0) >= from_]
    largest = max(((one["psi"] or 0.0) for one in pair["features"]), default=0.0)
    names = joined([one["name"] for one in sorted(moved, key=lambda one: -one["psi"])])
    says = f"Features that have moved between train and test, beyond chance: {names}."
    return RuleFinding(bool(moved), number(largest, 3), says, found.source)


def moved_points(material: Material, from_: float) -> RuleFinding | None:
    found = material.evidence("stability")
    pair = _pair(found.record if found else None, ("validation", "test"))
    if found is None or pair is None or pair["score"]["psi"] is None:
        return None
    score = pair["score"]
    says = f"The points have moved between validation and test: PSI {score['psi']:.3f}."
    moved = score["verdict"] in ("watch", "shifted") and score["psi"] >= from_
    return RuleFinding(moved, number(score["psi"], 3), says, found.source)


def _pair(stability: Mapping[str, Any] | None, names: tuple[str, str]) -> Mapping[str, Any] | None:
    pairs = (stability or {}).get("comparisons") or ()
    return next((one for one in pairs if (one["before"], one["after"]) == names), None)


def newest_days_differ(material: Material, most: float) -> RuleFinding | None:
    found = material.evidence("first_days")
    odds = found.get("pd_odds_ratio") if found else None
    if found is None or not odds:
        return None
    ratio = max(odds["value"], 1 / odds["value"])
    says = f"The odds of the mean PD of the newest days are {odds['value']:.2f} times those of the days of the test."
    return RuleFinding(ratio > most, number(odds["value"], 3), says, found.source)


def hangs_on_one_feature(material: Material, most: float) -> RuleFinding | None:
    found = material.evidence("importance")
    measured = [one for one in (found["features"] if found else ()) if one["share"] is not None]
    if found is None or not measured:
        return None
    first = max(measured, key=lambda one: one["share"])
    says = f"{first['share']:.0%} of the skill is lost where {first['name']} says nothing: it hangs on one feature."
    return RuleFinding(first["share"] > most, share(first["share"]), says, found.source)


def against_the_direction(material: Material, _: float) -> RuleFinding | None:
    found = material.information
    if found is None:
        return None
    stated = material.portfolio.monotone
    against = [
        one["name"] for one in found["features"] if one["direction"] and stated.get(one["name"], 0) == -one["direction"]
    ]
    says = (
        f"By themselves these features move with risk the other way than the portfolio prescribes: {joined(against)}."
    )
    return RuleFinding(bool(against), count(len(against)), says, found.source)


def tells_nothing(material: Material, times: float) -> RuleFinding | None:
    found = material.information
    if found is None:
        return None
    idle = [one["name"] for one in found["features"] if one["value"] <= times * one["by_chance"]]
    says = f"By themselves these features tell no more than chance would on so few bads: {joined(idle)}."
    return RuleFinding(bool(idle), count(len(idle)), says, found.source)


def often_missing(material: Material, most: float) -> RuleFinding | None:
    found = material.information
    if found is None:
        return None
    missing = {one["name"]: one["missing_share"] for one in found["features"]}
    often = [name for name, of in sorted(missing.items(), key=lambda item: -item[1]) if of > most]
    says = f"Often missing on the train rows: {joined([f'{name} ({missing[name]:.0%})' for name in often])}."
    return RuleFinding(bool(often), share(max(missing.values(), default=0.0)), says, found.source)


# Population, data and groups


def booked_alone(material: Material, _: float) -> RuleFinding | None:
    decided = material.portfolio.decisions is not None
    says = "Outcomes are of booked loans alone: nothing is measured of applicants like those who were declined."
    if not decided:
        says = "Everyone in the table was lent to, by the portfolio; applicants who were never lent to are not in it."
    return RuleFinding(decided, text("stated" if decided else "everyone was lent to"), says, material.portfolio_source)


def does_not_add_up(material: Material, _: float) -> RuleFinding | None:
    steps = account(material)
    if not steps:
        return None
    says = "The counts from the rows received to the rows trained on do not add up."
    return RuleFinding(
        not adds_up(steps), text("adds up" if adds_up(steps) else "does not add up"), says, steps[-1].source
    )


def warned(material: Material, _: float) -> RuleFinding | None:
    rows = material.training_set
    if rows is None:
        return None
    warned = [gate.name for gate in rows.gates if not gate.passed]
    says = f"Gates of the training set that warned and stopped nothing: {joined(warned)}."
    return RuleFinding(bool(warned), count(len(warned)), says, rows.source)


def restated(material: Material, _: float) -> RuleFinding | None:
    known = [one for one in material.ingested if one.changed is not None]
    if not known:
        return None
    changed = {one.asset: one.changed or 0 for one in known}
    days = ", ".join(f"{n:,} of {asset}" for asset, n in changed.items() if n)
    says = f"Days that it was trained on have been ingested again with other content since: {days}."
    return RuleFinding(any(changed.values()), count(sum(changed.values())), says, known[0].source)


def fairness_unknown(material: Material, _: float) -> RuleFinding:
    protected = material.portfolio.protected_columns
    says = "No protected attribute is named: nothing is known of how decisions differ between groups."
    return RuleFinding(not protected, count(len(protected)), says, material.portfolio_source)


def groups_too_small(material: Material, _: float) -> RuleFinding | None:
    found = material.evidence("fairness")
    attributes = found.get("attributes") if found else None
    if found is None or not attributes:
        return None
    small = {one["column"]: (one.get("small") or {}).get("groups") or 0 for one in attributes}
    named = [f"{n} of {column}" for column, n in small.items() if n]
    says = f"Groups too small for a verdict on fairness: {joined(named)}."
    return RuleFinding(bool(named), count(sum(small.values())), says, found.source)


def evidence_missing(material: Material, _: float) -> RuleFinding:
    keys = ("evaluation", "calibration", "importance", "information_value", "stability", "curves", "cutoffs",
            "scorecard", "calibration_choice", "reliability")  # fmt: skip
    lacks = [key for key in keys if material.evidence(key) is None]
    says = f"Not recorded of this version: {joined([key.replace('_', ' ') for key in lacks], len(keys))}."
    return RuleFinding(bool(lacks), count(len(lacks)), says, material.any_source)


RULES: tuple[Weakness, ...] = (
    Weakness("few_bads", "bads of the out-of-time test, fewer than", 100, few_bads),
    Weakness("wide_interval", "width of the 95% interval of the AUC, more than", 0.10, wide_interval),
    Weakness("learned_by_heart", "AUC of train less AUC of test, more than", 0.10, learned_by_heart),
    Weakness("fell_in_time", "AUC of validation less AUC of test, more than", 0.05, fell_in_time),
    Weakness("old_evidence", "days from the end of the test to the first day in use, more than", 180, old_evidence),
    Weakness("chosen_by_little", "lead of the best candidate on validation, less than", 0.005, chosen_by_little),
    Weakness("stopped_at_the_cap", "boosting rounds reach the cap", None, stopped_at_the_cap),
    Weakness("narrow_pass", "distance of a passed value from its limit, less than a share of", 0.05, narrow_pass),
    Weakness("not_compared", "no champion to be compared with", None, not_compared),
    Weakness("no_better_than_scorecard", "lower end of the lead over the day's scorecard, not above", 0.0,
             no_better_than_scorecard),
    Weakness("level_is_off", "p of the level of the PDs, less than", 0.05, level_is_off),
    Weakness("level_is_uncertain", "upper over lower end of observed over expected, more than", 1.5,
             level_is_uncertain),
    Weakness("slope_is_off", "p of the slope of the PDs, less than", 0.05, slope_is_off),
    Weakness("moved_features", "PSI of a feature from train to test beyond chance, at least", 0.10, moved_features),
    Weakness("moved_points", "PSI of the points from validation to test beyond chance, at least", 0.10, moved_points),
    Weakness("newest_days_differ", "odds of the mean PD, newest days over test, either way, more than", 1.25,
             newest_days_differ),
    Weakness("hangs_on_one_feature", "share of the skill that one feature brings, more than", 0.30,
             hangs_on_one_feature),
    Weakness("against_the_direction", "features that move against their prescribed direction", None,
             against_the_direction),
    Weakness("tells_nothing", "information value, at most this many times what is chance", 1.0, tells_nothing),
    Weakness("often_missing", "missing share of a feature, more than", 0.20, often_missing),
    Weakness("booked_alone", "some who applied were not lent to", None, booked_alone),
    Weakness("does_not_add_up", "rows that are not accounted for", None, does_not_add_up),
    Weakness("warned", "gates of the training set that warned", None, warned),
    Weakness("restated", "days that have changed since", None, restated),
    Weakness("fairness_unknown", "no protected attribute", None, fairness_unknown),
    Weakness("groups_too_small", "groups below the least size", None, groups_too_small),
    Weakness("evidence_missing", "evidence that this version lacks", None, evidence_missing),
)  # fmt: skip
"""In the order in which a dossier has them. docs/dossier.md has each with its threshold, which a test holds."""
