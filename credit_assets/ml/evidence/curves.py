"""The curves of a model on its out-of-time test at a fixed number of points, for pictures that are drawn later.

Belongs here: ROC, gain, and scores by outcome, bounded in size and without a row. Does not belong here: measures
(`evaluation`) and drawing (`credit_assets.ml.reports`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.evidence.evaluation import roc_curve

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

POINTS = 101
_BARS = (6, 40)
_ROUND = 5.0


def measure_curves(y: ArrayLike, pd: ArrayLike, score: ArrayLike) -> dict[str, Any]:
    """The curves of outcomes, PDs and points of the same rows; rows without a PD are left out.

    Parameters
    ----------
    y
        1 for a bad, 0 for a good.
    pd, score
        As the model gives them.

    Returns
    -------
    dict
        JSON types: `roc` and `gain`, each with `x` and `y`; `scores`, with the `edges` of bars of equal width, at whole
        fives, and the `goods` and `bads` of each.

    Raises
    ------
    ValueError
        Where a class has no row.

    Examples
    --------
    >>> found = measure_curves([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], [640, 590, 600, 540])
    >>> found["roc"]["y"][:2], found["gain"]["y"][-1], sum(found["scores"]["goods"])
    ([0.5, 0.5], 1.0, 2)
    """
    target, p, points = np.asarray(y), np.asarray(pd, dtype=np.float64), np.asarray(score, dtype=np.float64)
    known = np.isfinite(p)
    target, p, points = target[known], p[known], points[known]
    false_alarms, hits = roc_curve(target, p)
    loans, bads = gain_curve(target.astype(np.float64), p)
    grid = np.linspace(0.0, 1.0, POINTS)
    return {
        "roc": {"x": _rounded(grid), "y": _rounded(np.interp(grid, false_alarms, hits))},
        "gain": {"x": _rounded(grid), "y": _rounded(np.interp(grid, loans, bads))},
        "scores": _bars(points, target == 1),
    }


def gain_curve(target: NDArray[np.float64], pd: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of loans and share of bads at or above each PD, riskiest first, from (0, 0) to (1, 1)."""
    _, inverse, counts = np.unique(-pd, return_inverse=True, return_counts=True)
    bads = np.bincount(inverse, weights=target, minlength=len(counts))
    return np.r_[0.0, counts.cumsum() / len(target)], np.r_[0.0, bads.cumsum() / target.sum()]


def _bars(points: NDArray[np.float64], bad: NDArray[np.bool_]) -> dict[str, list[float] | list[int]]:
    # Rice's rule on the smaller class: with finer bars, single bads would stand out.
    bars = int(np.clip(round(2 * min(int(bad.sum()), int((~bad).sum())) ** (1 / 3)), *_BARS))
    low = np.floor(points.min() / _ROUND) * _ROUND
    width = max(_ROUND, np.ceil((points.max() - low) / bars / _ROUND) * _ROUND)
    edges = low + width * np.arange(int((points.max() - low) // width) + 2)
    goods, bads = (np.histogram(points[side], bins=edges)[0].tolist() for side in (~bad, bad))
    return {"edges": edges.tolist(), "goods": goods, "bads": bads}


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 4) for value in values]
