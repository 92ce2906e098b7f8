"""Reliability: where PDs meet what came of them, and where not; and what the Brier score is made of.

Belongs here: observed beside expected defaults by decile, score band, day and level, with intervals and the
test of Jeffreys; the decomposition. Does not belong here: whether a model's level and slope are right
(`calibration_evidence`), and pictures (`credit_assets.ml.reports.figures`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.evidence.clusters import design_effect
from credit_assets.ml.evidence.intervals import observed_over_expected, proportion

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

DECILES = 10
BAND_POINTS = 20
MOST_PARTS = 24
"""Parts of one table; the smallest are one, `other`, and of ordered ones the ends are drawn together."""
OTHER = "other"


def brier_parts(y: ArrayLike, pd: ArrayLike, bins: ArrayLike) -> dict[str, float]:
    """The Brier score of PDs in bins, and what it is made of: brier = reliability - resolution + uncertainty + within.

    `reliability` is how far the bad rates of the bins lie from their mean PDs (0 is right), `resolution` how far from
    one another, `uncertainty` what the bad rate alone leaves. `within` is what PDs do inside the bins, their variance
    less twice their covariance with the outcomes: without it the identity holds only where a bin has one PD.

    Source: A. Murphy, Journal of Applied Meteorology 12, 1973; D. Stephenson, C. Coelho, I. Jolliffe, Weather and
    Forecasting 23, 2008.

    Examples
    --------
    >>> found = brier_parts([0, 0, 1, 1], [0.1, 0.1, 0.1, 0.9], [0, 0, 0, 1])
    >>> {name: round(value, 4) for name, value in found.items()}
    {'brier': 0.21, 'reliability': 0.0433, 'resolution': 0.0833, 'uncertainty': 0.25, 'within': 0.0}
    """
    target, p, places = np.asarray(y, float), np.asarray(pd, float), np.unique(bins, return_inverse=True)[1]
    rows = np.bincount(places)
    rate, mean = (np.bincount(places, weights=of) / rows for of in (target, p))
    share, all_rate = rows / len(target), float(target.mean())
    inside = p - mean[places]
    return {
        "brier": float(((p - target) ** 2).mean()),
        "reliability": float((share * (mean - rate) ** 2).sum()),
        "resolution": float((share * (rate - all_rate) ** 2).sum()),
        "uncertainty": all_rate * (1 - all_rate),
        "within": float((inside**2).mean() - 2 * (inside * (target - rate[places])).mean()) + 0.0,
    }


def jeffreys(bads: int, rows: int, pd: float, effect: float = 1.0) -> float:
    """How likely the rate behind `bads` of `rows` is at most `pd`: small where the PD is too low.

    I_pd(bads + 1/2, goods + 1/2), of the posterior from Jeffreys' prior: the test of PDs by grade in the European
    Central Bank's Instructions for reporting the validation results of internal models, 2019.

    Parameters
    ----------
    bads, rows
        How many of how many.
    pd
        The PD that they were given, 0 .. 1.
    effect
        Design effect of the groups that rows come in.

    Examples
    --------
    >>> round(jeffreys(2, 6, 0.0367), 5)
    0.00438
    """
    from scipy.special import betainc

    return float(betainc(bads / effect + 0.5, (rows - bads) / effect + 0.5, pd))


def measure_reliability(
    y: ArrayLike,
    pd: ArrayLike,
    points: ArrayLike,
    by: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
) -> dict[str, Any]:
    """PDs beside outcomes, as JSON types of bounded size.

    Parameters
    ----------
    y, pd
        1 for a bad and 0 for a good; the PDs in the same order, NaN where a model refuses the row.
    points
        Their scores.
    by
        By name, the part of each row: a text, or a number where parts have an order.
    groups
        The customer of each row; None where each is one of its own.

    Returns
    -------
    dict
        `brier`, by deciles of the PD; and `tables`, by name: the deciles (the reliability diagram), `score` bands of
        BAND_POINTS points, and those of `by`. Of each part the rows, bads, mean PD, bad rate with its 95% interval
        (Wilson), observed over expected defaults with theirs (score test), None where nothing was expected, and
        `understated_p`, how likely the true rate is no higher than the mean PD (`jeffreys`).
    """
    target, p, score = np.asarray(y, float), np.asarray(pd, float), np.asarray(points, float)
    known = ~np.isnan(p)
    target, p, score = target[known], p[known], score[known]
    groups = None if groups is None else np.asarray(groups)[known]
    effect = design_effect(target - p, groups)
    # The riskiest tenth first; rows of one PD lie in one.
    ranked = np.searchsorted(np.sort(-p), -p, side="left")
    decile = ranked * DECILES // max(1, len(p)) + 1
    band = np.floor(score / BAND_POINTS) * BAND_POINTS
    parts: dict[str, NDArray[Any]] = {"decile": decile, "score": band}
    parts |= {name: np.asarray(values)[known] for name, values in by.items()}
    return {
        "rows": len(target),
        "bads": int(target.sum()),
        "design_effect": effect,
        "brier": brier_parts(target, p, decile),
        "tables": {name: _table(values, target, p, effect) for name, values in parts.items()},
    }


def _table(values: NDArray[Any], target: NDArray[np.float64], p: NDArray[np.float64], effect: float) -> list[Any]:
    names, places = np.unique(values, return_inverse=True)
    rows = np.bincount(places)
    if len(names) > MOST_PARTS and names.dtype.kind in "fiu":
        # Ends of an order have few rows each: they are drawn together until the table is short enough.
        first, last = 0, len(names) - 1
        while last - first + 1 > MOST_PARTS:
            if rows[: first + 1].sum() <= rows[last:].sum():
                first += 1
            else:
                last -= 1
        places = np.clip(places, first, last)
        labels = {place: _label(names[place]) for place in range(first, last + 1)}
        labels[first] = f"{labels[first]} and less" if first else labels[first]
        labels[last] = f"{labels[last]} and more" if last < len(names) - 1 else labels[last]
    elif len(names) > MOST_PARTS:
        kept = np.sort(np.argsort(-rows, kind="stable")[: MOST_PARTS - 1])
        new = np.full(len(names), MOST_PARTS - 1)
        new[kept] = np.arange(len(kept))
        places, labels = new[places], {place: _label(names[at]) for place, at in enumerate(kept)}
        labels[MOST_PARTS - 1] = OTHER
    else:
        labels = {place: _label(name) for place, name in enumerate(names)}
    return [{"part": label, **_part(target[places == place], p[places == place], effect)} for place, label in
            labels.items()]  # fmt: skip


def _label(name: Any) -> str | float | int:
    value = name.item() if hasattr(name, "item") else name
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _part(target: NDArray[np.float64], p: NDArray[np.float64], effect: float) -> dict[str, Any]:
    bads, rows = int(target.sum()), len(target)
    rate, ratio = proportion(bads, rows, effect), observed_over_expected(bads, p, effect)
    return {
        "rows": rows,
        "bads": bads,
        "mean_pd": float(p.mean()),
        "bad_rate": rate.to_record() if rate else None,
        "observed_over_expected": ratio.to_record() if ratio else None,
        "understated_p": jeffreys(bads, rows, float(p.mean()), effect),
    }
