"""Weights of evidence: what a bin of a feature says of the outcome, and how much a feature tells by its bins.

Belongs here: the weights, the information value, and the regression that adds weights up. Does not belong here: which
bins a feature has (`scorecard`, `credit_assets.ml.learners.scorecard`).

The weight of a bin is ln(share of all goods in it / share of all bads in it): above 0 where it is safer than average.
Source: N. Siddiqi, Credit Risk Scorecards, 2006, chapter 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

RIDGE = 1.0
"""Half of this times the sum of squared coefficients is added to the loss of all rows."""
_HALF_A_ROW = 0.5
_STEPS = 50


def weights_of_evidence(goods: ArrayLike, bads: ArrayLike, added: float = 0.0) -> NDArray[np.float64]:
    """The weight of each bin, natural logarithm.

    Parameters
    ----------
    goods, bads
        How many of each lie in each bin.
    added
        So many rows of the average bad rate are added to each bin, so that a bin of three rows says little. Without,
        half a good and half a bad are added where a bin has none of one; a bin of no rows weighs 0.

    Raises
    ------
    ValueError
        Where there are no goods or no bads at all.

    Examples
    --------
    >>> weights_of_evidence([300, 400], [60, 40]).round(4).tolist()
    [-0.3365, 0.3567]
    """
    good, bad = _filled(goods, bads, added)
    return np.asarray(np.log(good / bad) - np.log(_all(goods) / _all(bads)), dtype=np.float64)


def information_value(goods: ArrayLike, bads: ArrayLike, added: float = 0.0) -> float:
    """How much a feature tells: sum over bins of (share of the goods - share of the bads) * weight. 0.02 is weak, 0.1
    medium, 0.3 strong; above 0.5 suspect a leak (Siddiqi). Parameters and errors as `weights_of_evidence`.
    """
    good, bad = _filled(goods, bads, added)
    there = (np.asarray(goods) + np.asarray(bads) > 0) | (added > 0)
    shares = good / good[there].sum() - bad / bad[there].sum()
    return float((shares * weights_of_evidence(goods, bads, added))[there].sum())


def _filled(goods: ArrayLike, bads: ArrayLike, added: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    good, bad = np.asarray(goods, dtype=np.float64), np.asarray(bads, dtype=np.float64)
    if not (good.sum() > 0 and bad.sum() > 0):
        raise ValueError("a weight of evidence needs both goods and bads")
    rate = bad.sum() / (good.sum() + bad.sum())
    if added:
        return good + added * (1 - rate), bad + added * rate
    lacks, empty = (good == 0) | (bad == 0), (good == 0) & (bad == 0)
    half_good, half_bad = np.where(empty, 1 - rate, _HALF_A_ROW), np.where(empty, rate, _HALF_A_ROW)
    return good + lacks * half_good, bad + lacks * half_bad


def _all(counts: ArrayLike) -> float:
    return float(np.asarray(counts, dtype=np.float64).sum())


class Line(NamedTuple):
    """A logistic regression: one coefficient a column, the intercept last; and the standard error of each."""

    coefficients: NDArray[np.float64]
    errors: NDArray[np.float64]


Blocks = Callable[[], Iterable[tuple["NDArray[np.float64]", "NDArray[np.bool_]"]]]
"""Gives, each time it is called, all rows in pieces: their columns, the last of ones, and whether each is bad."""


def logistic_regression(blocks: Blocks, rate: float, ridge: float = RIDGE) -> Line:
    """Coefficients of the log-odds of bad by Newton's method, drawn a little towards 0 but for the intercept.

    Parameters
    ----------
    blocks
        The rows; they are read once a step, and none is kept.
    rate
        Share of bads, from which the intercept starts.
    ridge
        How much the other coefficients are drawn in.
    """
    coefficients: NDArray[np.float64] | None = None
    hessian = np.ones((1, 1))
    for _ in range(_STEPS):
        gradient: NDArray[np.float64] | float = 0.0
        hessian = np.zeros((1, 1))
        for design, bad in blocks():
            if coefficients is None:
                coefficients = np.zeros(design.shape[1])
                coefficients[-1] = np.log(rate / (1 - rate))
            p = 1 / (1 + np.exp(-np.clip(design @ coefficients, -30, 30)))
            gradient = gradient + design.T @ (p - bad)
            hessian = hessian + (design * (p * (1 - p))[:, None]).T @ design
        assert coefficients is not None, "there are rows"
        drawn_in = np.full(len(coefficients), ridge)
        drawn_in[-1] = 0.0
        hessian = hessian + np.diag(drawn_in)
        step = np.linalg.solve(hessian, gradient + drawn_in * coefficients)
        # Weights of evidence are of the size of log-odds, so that no coefficient is far from -1 .. 1.
        step *= min(1.0, 1.0 / max(1e-12, float(np.abs(step).max())))
        coefficients = coefficients - step
        if float(np.abs(step).max()) < 1e-9:
            break
    assert coefficients is not None
    return Line(coefficients, np.sqrt(np.diag(np.linalg.inv(hessian))))
