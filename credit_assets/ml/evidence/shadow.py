"""A trial: a model that scores beside the champion, and what the two say of the same applications.

Belongs here: the comparison of two models' scores, of what became of them, and of the two arms where the model on trial
decides about a share. Does not belong here: who is in which arm (`arms`), which applications are looked at
(`credit_assets.ml.reports.shadow`), and the rule by which a trial ends (`credit_assets.ml.rules.trials`).

Most of what a trial can show in its first month is not who is right, since no default has matured yet, but how much
would change: whose applications would be decided otherwise, and whether anything looks broken. Outcomes come a
performance window later, and are compared then.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.failures import error_text
from credit_assets.ml.data.fingerprints import rounded
from credit_assets.ml.evidence.arms import CHALLENGER, CHAMPION
from credit_assets.ml.evidence.clusters import design_effect
from credit_assets.ml.evidence.evaluation import compare, evaluate
from credit_assets.ml.evidence.intervals import (
    Interval,
    difference_of_proportions,
    observed_over_expected,
    proportion,
    smallest_detectable_difference,
)
from credit_assets.ml.evidence.two_samples import psi

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

SHADOW = "shadow"
_BINS = 10


# What they say of the same applications


def compare_scores(frame: DataFrame, approval_rate: float, groups: NDArray[np.int64] | None = None) -> dict[str, Any]:
    """Two models on the same applications.

    Parameters
    ----------
    frame
        Rows of `scores.side_by_side` with `default`: 1, 0, or NaN where not matured.
    approval_rate
        The share of applications that is approved, between 0 and 1.
    groups
        The customer of each row; None where every row is its own.

    Returns
    -------
    dict
        JSON types, numbers rounded to 6 digits, None where undefined:

        - `rows`; `correlation`: `pearson` and `spearman` of the points; `mean_pd` of each.
        - `psi` of the shadow's points against the champion's, over the deciles of the champion's.
        - `swap` at `approval_rate`: `approved` is how many each model approves, those with the most points (ties as
          the rows stand, for both models alike, so that equal models have no swap). `in` are approved by the shadow
          alone, `out` by the champion alone; as many, since both approve equally many. With their shares of all
          applications, the mean PDs of both models on them, and `bad_rate` once some have matured: of `in`, of `out`,
          and the difference in less out with its interval. Below zero the shadow's choice is the better one.
        - `matured`: rows, bads, the `Evaluation` of each and the `AucDifference`, shadow less champion, on the same
          rows; the latter None, with `why`, where all are good or all bad. None where nothing has matured.
        - `calibration` on the matured rows: `bad_rate` with its interval, and of each model the mean PD
          (`expected_rate`) and `observed_over_expected` with its own. None where nothing has matured.

    Raises
    ------
    ValueError
        Where the approval rate is not between 0 and 1.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"champion_pd": [0.1, 0.2, 0.3], "shadow_pd": [0.1, 0.3, 0.2], "default": [None] * 3})
    >>> frame = frame.assign(champion_score=[600.0, 590.0, 580.0], shadow_score=[600.0, 580.0, 590.0])
    >>> record = compare_scores(frame, approval_rate=0.67)
    >>> record["correlation"]["spearman"], record["swap"]["in"], record["matured"]
    (0.5, 1, None)
    """
    if not 0 < approval_rate < 1:
        raise ValueError(f"the approval rate must lie between 0 and 1; got {approval_rate}")
    rows, points = len(frame), frame[["champion_score", "shadow_score"]]
    known = frame["default"].notna().to_numpy()
    matured, of_matured = frame[known], _part(groups, known)
    record: dict[str, Any] = {
        "rows": rows,
        "correlation": {how: points.corr(method=how).iloc[0, 1] if rows else None for how in ("pearson", "spearman")},
        "psi": _psi_between(*(points[name].to_numpy() for name in points)) if rows else None,
        "approval_rate": approval_rate,
        "swap": _swap(frame, approval_rate, groups),
        "mean_pd": _mean_pds(frame),
        "matured": _matured(matured, of_matured) if len(matured) else None,
        "calibration": _calibration(matured, of_matured) if len(matured) else None,
    }
    return dict(rounded(record))


def _psi_between(champion: NDArray[np.float64], shadow: NDArray[np.float64]) -> float:
    edges = np.unique(np.quantile(champion, np.arange(1, _BINS) / _BINS, method="inverted_cdf"))
    counts = [
        np.bincount(np.searchsorted(edges, points, side="left"), minlength=len(edges) + 1)
        for points in (champion, shadow)
    ]
    return psi(*counts)


def _swap(frame: DataFrame, approval_rate: float, groups: NDArray[np.int64] | None) -> dict[str, Any]:
    rows = len(frame)
    approved = math.floor(approval_rate * rows + 0.5)

    def approves(score: str) -> NDArray[np.bool_]:
        best = np.argsort(-frame[score].to_numpy(), kind="stable")[:approved]
        return np.isin(np.arange(rows), best)

    by_champion, by_shadow = approves("champion_score"), approves("shadow_score")
    places = {"in": by_shadow & ~by_champion, "out": by_champion & ~by_shadow}
    sets = {name: frame[rows] for name, rows in places.items()}
    effects = [_rate_effect(sets[name]["default"], _part(groups, rows)) for name, rows in places.items()]
    matured = {name: one["default"].dropna() for name, one in sets.items()}
    counts = [(int(matured[name].sum()), len(matured[name])) for name in ("in", "out")]
    return {
        "approved": approved,
        **{name: len(one) for name, one in sets.items()},
        **{f"{name}_share": len(one) / rows if rows else None for name, one in sets.items()},
        "mean_pd": {name: _mean_pds(one) for name, one in sets.items()},
        "bad_rate": {
            **{
                name: _record(proportion(*count, effect))
                for name, count, effect in zip(("in", "out"), counts, effects, strict=True)
            },
            "difference": _record(difference_of_proportions(*counts[0], *counts[1], max(effects))),
        }
        if any(n for _, n in counts)
        else None,
    }


def _mean_pds(frame: DataFrame) -> dict[str, float | None]:
    return {name: frame[f"{name}_pd"].mean() if len(frame) else None for name in (CHAMPION, SHADOW)}


def _matured(frame: DataFrame, groups: NDArray[np.int64] | None) -> dict[str, Any]:
    target, ours, theirs = frame["default"], frame["shadow_pd"], frame["champion_pd"]
    record: dict[str, Any] = {"rows": len(frame), "bads": int(target.sum()), "why": None}
    try:
        measured = (
            evaluate(target, theirs, groups),
            evaluate(target, ours, groups),
            compare(target, ours, theirs, groups),
        )
    except ValueError as error:
        return record | {CHAMPION: None, SHADOW: None, "difference": None, "why": error_text(error)}
    champion, shadow, difference = (one.to_record() for one in measured)
    return record | {CHAMPION: champion, SHADOW: shadow, "difference": difference}


def _calibration(frame: DataFrame, groups: NDArray[np.int64] | None) -> dict[str, Any]:
    bads = int(frame["default"].sum())
    record: dict[str, Any] = {"bad_rate": _record(proportion(bads, len(frame), _rate_effect(frame["default"], groups)))}
    for name, mean in _mean_pds(frame).items():
        pd = frame[f"{name}_pd"]
        ratio = observed_over_expected(bads, pd, design_effect(frame["default"] - pd, groups))
        record[name] = {"expected_rate": mean, "observed_over_expected": _record(ratio)}
    return record


# The arms


def compare_arms(frame: DataFrame, min_bads: int, groups: NDArray[np.int64] | None = None) -> dict[str, Any] | None:
    """What became of the applications that each model decided about.

    The arms are independent samples, so the interval is wider than that of `compare_scores` on rows that both models
    scored: who wants to know which model ranks better looks there, and here to see what happens to a book that the
    challenger decides about.

    Parameters
    ----------
    frame
        `arm`, `pd` of the model that decided, and `default`: 1, 0, or NaN where not matured.
    min_bads
        Defaults that each arm needs for a verdict.
    groups
        The customer of each row; None where every row is its own. One who stands in both arms counts in each.

    Returns
    -------
    dict or None
        For each arm `applications`, `mean_pd`, `matured`, `bads`, `bad_rate` with its interval (Wilson) and `auc` with
        its own (DeLong); `difference` of the bad rates, challenger less champion, with its interval (Newcombe);
        `smallest_detectable_difference`: what a two-sided test at 5% would find in 80% of trials of this size;
        `enough`: whether each arm has `min_bads` defaults; `why`: the verdict in words. None where the shadow decided
        about none.

    Examples
    --------
    >>> import pandas as pd
    >>> champion = pd.DataFrame({"arm": "champion", "pd": 0.1, "default": [1.0] * 60 + [0.0] * 940})
    >>> challenger = pd.DataFrame({"arm": "challenger", "pd": 0.1, "default": [1.0] * 140 + [0.0] * 860})
    >>> compare_arms(pd.concat([champion, challenger]), min_bads=50)["why"]
    "the challenger's arm has the higher bad rate: +8.00% (95% interval +5.40% .. +10.64%)"
    """
    challenged = frame["arm"] == CHALLENGER
    if not challenged.any():
        return None
    places = {CHAMPION: ~challenged.to_numpy(), CHALLENGER: challenged.to_numpy()}
    arms = {arm: _arm(frame[rows], _part(groups, rows)) for arm, rows in places.items()}
    known = frame["default"].notna().to_numpy()
    effect = _rate_effect(frame["default"][known], _part(groups, known))
    ours, theirs = arms[CHALLENGER], arms[CHAMPION]
    sizes = (ours["bads"], ours["matured"], theirs["bads"], theirs["matured"])
    difference = difference_of_proportions(*sizes, effect)
    smallest = smallest_detectable_difference(*sizes, effect)
    enough = min(ours["bads"], theirs["bads"]) >= min_bads
    if difference is None or smallest is None:
        why = "no application of one arm has matured: nothing can be said about defaults yet"
    elif not enough:
        why = (
            f"too small to say anything: {ours['bads']} defaults in the challenger's arm and {theirs['bads']} in the "
            f"champion's, where each needs {min_bads}; a difference of bad rates below {smallest:.1%} would go unseen"
        )
    else:
        interval = f"{difference.value:+.2%} (95% interval {difference.low:+.2%} .. {difference.high:+.2%})"
        if difference.low > 0:
            why = f"the challenger's arm has the higher bad rate: {interval}"
        elif difference.high < 0:
            why = f"the challenger's arm has the lower bad rate: {interval}"
        else:
            why = (
                f"the difference of the bad rates may be chance: {interval}; "
                f"arms of this size could show one of {smallest:.1%}"
            )
    return dict(
        rounded(
            {
                **arms,
                "difference": _record(difference),
                "smallest_detectable_difference": smallest,
                "enough": enough,
                "why": why,
            }
        )
    )


def _arm(frame: DataFrame, groups: NDArray[np.int64] | None) -> dict[str, Any]:
    known = frame["default"].notna().to_numpy()
    matured, of_matured = frame[known], _part(groups, known)
    bads = int(matured["default"].sum())
    auc = None
    if 0 < bads < len(matured):
        measured = evaluate(matured["default"], matured["pd"], of_matured)
        auc = {"value": measured.auc, "low": measured.auc_ci_low, "high": measured.auc_ci_high}
    return {
        "applications": len(frame),
        "mean_pd": frame["pd"].mean() if len(frame) else None,
        "matured": len(matured),
        "bads": bads,
        "bad_rate": _record(proportion(bads, len(matured), _rate_effect(matured["default"], of_matured))),
        "auc": auc,
    }


def _part(groups: NDArray[np.int64] | None, rows: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    return None if groups is None else groups[rows]


def _rate_effect(outcomes: Series[float], groups: NDArray[np.int64] | None) -> float:
    """Design effect of a bad rate; 1 where nothing is known of any."""
    known = outcomes.notna().to_numpy()
    if not known.any():
        return 1.0
    return design_effect((outcomes - outcomes.mean())[known], _part(groups, known))


def _record(interval: Interval | None) -> dict[str, float] | None:
    return interval.to_record() if interval else None
