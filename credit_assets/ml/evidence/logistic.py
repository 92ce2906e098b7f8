"""The logistic line through log-odds: the likeliest intercept and slope, without overflow and without a library.

Belongs here: what measures of calibration share. Does not belong here: a model's own calibration
(`credit_assets.ml.learners.calibration`), and the measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from credit_assets.ml.data.log_odds import probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS, _CLOSE, _FARTHEST, _SMALLEST = 100, 1e-10, 60.0, 1e-9


def logistic_line(
    target: NDArray[np.float64], log_odds: NDArray[np.float64], intercept: float, *, slope_free: bool
) -> tuple[float, float] | None:
    """Intercept and slope of largest likelihood, by Newton's method with halved steps; None where there are none."""
    at = np.array([intercept, 1.0])
    loss = _total(target, at[0] + at[1] * log_odds)
    for _ in range(_STEPS):
        q = probability(at[0] + at[1] * log_odds)
        weight, apart = q * (1 - q), target - q
        mean = float(weight @ log_odds) / max(float(weight.sum()), _SMALLEST)
        around = log_odds - mean
        slope = float(apart @ around) / max(float(weight @ around**2), _SMALLEST) if slope_free else 0.0
        # In the intercept at the centre of the log-odds the two steps do not depend on one another.
        centre = float(apart.sum()) / max(float(weight.sum()), _SMALLEST)
        step, size = np.array([centre - slope * mean, slope]), 1.0
        while (after := _total(target, (at + size * step)[0] + (at + size * step)[1] * log_odds)) > loss:
            size /= 2
            if size < _CLOSE:
                return float(at[0]), float(at[1])
        at, gained, loss = at + size * step, loss - after, after
        if np.abs(at).max() > _FARTHEST:
            return None
        if gained <= _CLOSE * max(1.0, loss):
            return float(at[0]), float(at[1])
    return None


def _total(target: NDArray[np.float64], log_odds: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0.0, log_odds) - target * log_odds).sum())
