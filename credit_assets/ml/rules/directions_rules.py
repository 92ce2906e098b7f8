"""The rule `directions`: a model keeps the portfolio's directions for whole applicants, and outcomes do not deny them.

Belongs here: the verdict on recorded evidence. Does not belong here: measuring (`credit_assets.ml.evidence.directions`)
and directions that contradict each other as they are written (`credit_assets.ml.data.directions`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from credit_assets.ml.rules.decisions import Reason

if TYPE_CHECKING:
    from credit_assets.ml.data.policies.directions import DirectionsPolicy

KEPT, DENIED = "directions", "direction_of_outcomes"
_SHOWN = 10
# Log-odds above which a ratio of odds is said to be larger than that.
_MOST_SHOWN = 4.605170185988092


def judge_directions(evidence: Mapping[str, Any], policy: DirectionsPolicy) -> tuple[Reason, ...]:
    """Two rules: `directions`, of applicants moved, and `direction_of_outcomes`. Each names every column that fails.

    Parameters
    ----------
    evidence
        What `measure_directions` found.
    policy
        Its limits.

    Returns
    -------
    tuple of Reason
        One for each column that fails, worst first, or one of the rule where none does.

    Examples
    --------
    >>> from credit_assets.ml.data.policies.directions import DirectionsPolicy
    >>> found = {"direction": 1, "through": [], "rows": 900, "share": 0.4, "median": 0.1, "largest": 0.6,
    ...          "largest_pd": 0.06, "span": 0.2}
    >>> evidence = {"tolerance": 0.01, "applicants": 900, "moved": {"term": found}, "outcomes": {}}
    >>> [reason.passed for reason in judge_directions(evidence, DirectionsPolicy())]
    [False, True]
    """
    return (
        *_judged(KEPT, "whole applicants keep", evidence["moved"], list(_broken(evidence, policy)), policy.max_share),
        *_judged(DENIED, "outcomes deny none of", evidence["outcomes"], list(_denied(evidence, policy)), policy.alpha),
    )


def _judged(
    rule: str, what: str, of: Mapping[str, Any], against: list[tuple[float, float, str]], limit: float
) -> Iterator[Reason]:
    for _, value, text in sorted(against, reverse=True)[:_SHOWN]:
        yield Reason(rule, False, value, limit, text)
    if len(against) > _SHOWN:
        yield Reason(rule, False, len(against), limit, f"{len(against) - _SHOWN} more columns fail the rule {rule}")
    if not against:
        found = f"{what} the directions of {len(of)} columns" if of else "no column has a direction that could be held"
        yield Reason(rule, True, 0, limit, found)


def _broken(evidence: Mapping[str, Any], policy: DirectionsPolicy) -> Iterator[tuple[float, float, str]]:
    for name, one in evidence["moved"].items():
        if one["share"] <= policy.max_share:
            continue
        rises, direction = one["direction"] > 0, one["direction"]
        yield (
            one["share"],
            one["share"],
            f"column {name} has monotone: {direction}, and a higher value {'lowers' if rises else 'raises'} the "
            f"PD of {one['share']:.1%} of {one['rows']:,} applicants once what derives from it is computed anew (at "
            f"most {policy.max_share:.1%} by more than {evidence['tolerance']:g} log-odds; in the median "
            f"{one['median']:.3f}, at most {one['largest']:.3f} or {one['largest_pd']:.4f} of PD): "
            f"{_remedy(name, one['through'])}",
        )


def _remedy(name: str, through: list[Mapping[str, Any]]) -> str:
    if not through:
        return "no derived feature of the table lets that through: the learner does not keep directions"
    ways = [
        f"write `monotone: {one['wanted']}` for {one['derived']}"
        if one["wanted"]
        else f"leave {one['derived']} out, which goes both ways or does not say how it moves"
        for one in through
    ]
    return f"{', '.join(ways)}, or `monotone: 0` for {name}"


def _times(effect: float) -> str:
    """A ratio of odds in words, from its logarithm. Where PDs are all far too small, it is of any size."""
    return f"{math.exp(abs(effect)):.2f}" if abs(effect) < _MOST_SHOWN else f"more than {math.exp(_MOST_SHOWN):.0f}"


def _denied(evidence: Mapping[str, Any], policy: DirectionsPolicy) -> Iterator[tuple[float, float, str]]:
    of = evidence["outcomes"]
    if not of:
        return
    least = NormalDist().inv_cdf(1 - policy.alpha / len(of))
    for name, one in of.items():
        effect, z, direction = one["effect"], one["z"], one["direction"]
        if z * direction > -least or effect * direction > -policy.max_effect:
            continue
        yield (
            abs(z),
            effect,
            f"{name} has monotone: {direction}, and outcomes go the other way: of {one['rows']:,} rows that no tree "
            f"was fitted on ({one['bads']:,} bads) the odds of default are {_times(effect)} times as high "
            f"for each standard deviation that it is {'lower' if direction > 0 else 'higher'}, at equal PD "
            f"(z {z:+.1f}): the "
            f"model leaves out what {name} knows, or its values are turned round somewhere; correct `monotone` of "
            f"{name} where the portfolio errs, or the source of the column",
        )
