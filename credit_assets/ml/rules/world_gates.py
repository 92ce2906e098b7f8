"""The gates of a training set about its world: features alike over splits and newest days, a rate of default without a
break, and outcomes that still come.

Belongs here: what is held against which limit, and the results in words. Does not belong here: the measures
(`credit_assets.ml.evidence.world`) and reading the rows (`credit_assets.assets.world`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.data.gate_results import GateResult, detail
from credit_assets.ml.data.policies.world import WorldPolicy
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.rules.day_gates import exceeds
from credit_assets.ml.rules.first_days import FILLED_AFTERWARDS

SAME_WORLD, TARGET_OVER_TIME, OUTCOMES_ARRIVE = "same_world", "target_over_time", "outcomes_arrive"
WORLD_GATES = {
    SAME_WORLD: "Features of train, validation, test and the newest days are of one unit, filled and spread alike.",
    TARGET_OVER_TIME: "The rate of default does not break between months: no goods or bads are lost.",
    OUTCOMES_ARRIVE: "Outcomes and defaults have become known up to the as-of date.",
}
NEWEST = "the newest days"
# As improbable is a gap by chance before it counts: expected outcomes of which none came, exp(-14) = 8e-7.
_EXPECTED = 14.0
# A gap this much longer than the longest one before is no batch that is due.
_LONGER = 1.5
# Chance that a share which is allowed is said to be exceeded.
_CHANCE = 0.001


def world_gates(evidence: Mapping[str, Any], policy: WorldPolicy, portfolio: Portfolio) -> tuple[GateResult, ...]:
    """`same_world` and `target_over_time`, which block.

    Parameters
    ----------
    evidence
        `comparisons`: what `measure_world` gave, each with the names and days of its sides (`before`, `after`,
        `days`); `newest`: why the newest days are not among them, empty where they are; `target`: what
        `measure_target` gave.
    policy
        The limits.
    portfolio
        Whose tables and columns they are.
    """
    return _same_world(evidence, policy), _target_over_time(evidence["target"], policy, portfolio)


def _same_world(evidence: Mapping[str, Any], policy: WorldPolicy) -> GateResult:
    details, excused, compared = [], set(), 0
    for one in evidence["comparisons"]:
        compared = max(compared, one["compared"])
        for feature in one["features"]:
            faults = _faults(feature, one, policy)
            if faults and feature["name"] in policy.changed_features:
                excused.add(feature["name"])
            elif faults:
                problem = f"in {_sides(one)}: {', '.join(faults)}"
                details.append(detail(feature["name"], problem, one["rows"]["after"]))
    known = (
        f" Known to have changed (policy: world: changed_features): {', '.join(sorted(excused))}." if excused else ""
    )
    newest = f" The newest days are not among them: {evidence['newest']}." if evidence["newest"] else ""
    columns = list(dict.fromkeys(one["column"] for one in details))
    return GateResult(
        name=SAME_WORLD,
        passed=not details,
        severity="error",
        value=len(columns),
        threshold=f"0 of {compared} features of another world",
        description=(
            f"The rows are not of one world: {', '.join(columns[:5])}{' and more' if len(columns) > 5 else ''} "
            f"changed on the way; {FILLED_AFTERWARDS}. Correct the source and ingest its days again (credit-assets "
            "recheck --since DAY), give the column role: ignored, or, where the change is meant, name it under policy: "
            f"world: changed_features.{known}{newest}"
            if details
            else f"Features are alike in train, validation, test and the newest days.{known}{newest}"
        ),
        details=tuple(details),
        setting="policy: world: max_psi, max_distance, max_size_ratio, max_beyond, max_missing_rise, max_new_levels",
    )


def _sides(one: Mapping[str, Any]) -> str:
    """ "test (2024-02-10 .. 2024-03-01) against train (2024-01-01 .. 2024-02-09)"."""
    names = (one["after"], one["before"])
    return " against ".join(f"{name} ({one['days'][name][0]} .. {one['days'][name][1]})" for name in names)


def _faults(feature: Mapping[str, Any], one: Mapping[str, Any], policy: WorldPolicy) -> list[str]:
    """What of a feature cannot be drift; nothing where it may."""
    found, missing = [], feature["missing"]
    if missing["after"] - missing["before"] >= policy.max_missing_rise:
        found.append(f"missing {missing['after']:.0%} instead of {missing['before']:.0%}")
    if feature["new_levels"] >= policy.max_new_levels:
        found.append(f"{feature['new_levels']:.0%} of the values in levels of their own")
    size = feature["size"]
    if size is not None and not 1 / policy.max_size_ratio <= size <= policy.max_size_ratio:
        found.append(f"values {size:.3g} times the size, as in another unit" if size else "no value but zero")
    beyond = feature.get("beyond")
    if beyond and not feature["list_price"] and exceeds(beyond["rows"], beyond["of"], policy.max_beyond, _CHANCE):
        share = beyond["rows"] / beyond["of"]
        found.append(
            f"{share:.0%} of the values beyond twice the range before, as of another unit in a part of the rows"
        )
    if _apart(feature, one["after"] == NEWEST, policy):
        if feature["constant"]:
            found.append("one value in all rows")
        elif feature["distance"] is not None:
            found.append(f"{feature['distance']:.0%} apart")
    return [*found, f"PSI {feature['psi']:.2f}"] if found else []


def _apart(feature: Mapping[str, Any], newest: bool, policy: WorldPolicy) -> bool:
    """Whether a numeric feature lies elsewhere altogether. Over a performance window that is drift, unless nothing of
    its spread is left; and a list price does so whenever it moves.
    """
    distance = feature["distance"]
    if distance is None or feature["psi"] is None or feature["list_price"]:
        return False
    far = feature["psi"] >= policy.max_psi and distance >= policy.max_distance
    return bool(far and (feature["constant"] or not newest))


def _target_over_time(target: Mapping[str, Any], policy: WorldPolicy, portfolio: Portfolio) -> GateResult:
    jump, most, names = target["jump"], policy.max_rate_ratio, portfolio.outcomes
    allowed, ratio = f"odds within {1 / most:.2g} .. {most:g} times, beyond chance", jump and jump["ratio"]
    if jump is None or 1 / most <= jump["nearest"] <= most:
        summary = f"The rate of default has no break in {len(target['months'])} months."
        return GateResult(TARGET_OVER_TIME, True, "error", ratio, allowed, summary)
    before, after = jump["before"], jump["after"]
    summary = (
        f"The rate of default breaks on {jump['from']}: {_counted(before)}, then {_counted(after)}; "
        f"{_lost(before, after)}. See whether rows of {portfolio.applications_table} or of {names.table} "
        f"({names.says}) are gone, or were entered otherwise from that day on, and ingest again; where risk did change "
        "so, raise max_rate_ratio."
    )
    details = (detail(names.says, f"odds {ratio:.3g} times from {jump['from']} on", after["bads"]),)
    setting = "policy: world: max_rate_ratio"
    return GateResult(TARGET_OVER_TIME, False, "error", ratio, allowed, summary, details, setting)


def _counted(side: Mapping[str, Any]) -> str:
    loans = side["goods"] + side["bads"]
    return (
        f"{side['bads']:,} of {loans:,} loans bad ({side['bads'] / loans:.1%}) among {side['applications']:,} "
        f"applications of {side['first']} .. {side['last']}"
    )


def _lost(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """How many goods and bads there are a day on either side: whichever has fewer was lost."""
    return " and ".join(
        f"{before[what] / before['days']:.3g} {what} a day, then {after[what] / after['days']:.3g}"
        for what in ("goods", "bads")
    )


def outcomes_arrive(
    feeds: Mapping[str, Mapping[str, Any]], as_of: str, policy: WorldPolicy, portfolio: Portfolio
) -> GateResult:
    """The gate `outcomes_arrive`: neither outcomes nor defaults have ceased to become known.

    `feeds`: by "outcomes" and "defaults" what `measure_feed` gave.
    """
    stopped = {what: feed for what, feed in feeds.items() if _stopped(feed, policy)}
    names = portfolio.outcomes
    gap = max((feed["gap"] for feed in (stopped or feeds).values()), default=0)
    if not stopped:
        description = "Outcomes have become known up to the as-of date."
        if all(feed["expected"] < _EXPECTED and feed["gap"] > policy.max_outcome_gap for feed in feeds.values()):
            description = "Too few outcomes have become known to tell whether they still do."
        return GateResult(
            OUTCOMES_ARRIVE, True, "error", gap, f"at most {policy.max_outcome_gap} days without one", description
        )
    what, feed = max(stopped.items(), key=lambda item: (item[1]["gap"], item[0] == "outcomes"))
    also = "" if len(stopped) > 1 or what == "outcomes" else ", while other outcomes do"
    return GateResult(
        name=OUTCOMES_ARRIVE,
        passed=False,
        severity="error",
        value=gap,
        threshold=f"at most {policy.max_outcome_gap} days without one, where some were to be expected",
        description=(
            f"The feed of {what} has stopped: none has become known since {feed['last']}, {feed['gap']} days before "
            f"{as_of}{also}, where {feed['expected']:,.0f} were to be expected and the longest gap before was "
            f"{feed['longest_gap']} days. Loans that have defaulted since count as good, and no lookback mends it: "
            f"load {names.table} (column {names.day}) up to {as_of} and ingest again (credit-assets recheck --since "
            f"{feed['last']})."
        ),
        details=(detail(names.day, f"no {what} since {feed['last']}", round(feed["expected"])),),
        setting="policy: world: max_outcome_gap",
    )


def _stopped(feed: Mapping[str, Any], policy: WorldPolicy) -> bool:
    return bool(
        feed["rows"]
        and feed["gap"] > max(policy.max_outcome_gap, _LONGER * feed["longest_gap"])
        and feed["expected"] >= _EXPECTED
    )
