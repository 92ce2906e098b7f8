"""From a learner's log-odds to a probability that means what it says.

Belongs here: fitting and applying the calibration. Does not belong here: judging it (`evaluation`).

Platt scaling (Platt 1999, "Probabilistic outputs for support vector machines"): PD = 1 / (1 + exp(-(a + b * margin))).
Two parameters, because the validation slice of a small book holds some fifty bads: isotonic regression has as many
parameters as it finds steps, fits the noise of so few, and makes ties of different applicants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_SMALLEST_SLOPE = 0.05
_RIDGE = 1e-6
# Keeps PD strictly between 0 and 1 in double precision.
_LARGEST_LOGIT = 30.0


@dataclass(frozen=True)
class PlattCalibration:
    """PD = sigmoid(intercept + slope * margin); slope > 0, so that the ranking is the learner's own."""

    intercept: float = 0.0
    slope: float = 1.0

    def apply(self, margin: Floats) -> Floats:
        """Log-odds margins, any shape, to PDs strictly between 0 and 1."""
        import numpy as np

        logit = np.clip(self.intercept + self.slope * np.asarray(margin, float), -_LARGEST_LOGIT, _LARGEST_LOGIT)
        return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def fit_platt(margin: Floats, target: npt.NDArray[np.int8]) -> PlattCalibration:
    """Maximum likelihood by Newton's method on Platt's smoothed targets (n+1)/(n+2) and 1/(n+2).

    `margin` and `target` (0 or 1) have equal length n. Raises ValueError where they do not, or where one class is
    missing.
    """
    import numpy as np

    x, y = np.asarray(margin, float), np.asarray(target, float)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"calibration: margins {x.shape} and targets {y.shape} must be vectors of equal length")
    bads, goods = float(y.sum()), float(len(y) - y.sum())
    if not bads or not goods:
        raise ValueError("calibration needs goods and bads in the validation split")
    smooth = np.where(y == 1, (bads + 1) / (bads + 2), 1 / (goods + 2))
    # Standardised, so that one step size fits margins of any scale.
    centre, spread = float(x.mean()), float(x.std()) or 1.0
    z = (x - centre) / spread
    a, b = float(np.log((bads + 1) / (goods + 1))), spread
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(a + b * z, -_LARGEST_LOGIT, _LARGEST_LOGIT)))
        w = np.maximum(p * (1 - p), 1e-12)
        gradient = np.array([(p - smooth).sum(), ((p - smooth) * z).sum() + _RIDGE * b])
        hessian = np.array([[w.sum(), (w * z).sum()], [(w * z).sum(), (w * z * z).sum() + _RIDGE]])
        step = np.linalg.solve(hessian, gradient)
        size = float(np.abs(step).max())
        step *= min(1.0, 5.0 / size) if size else 1.0
        a, b = a - float(step[0]), b - float(step[1])
        if size < 1e-10:
            break
    slope = b / spread
    if slope < _SMALLEST_SLOPE:
        # A learner that ranks validation backwards keeps its order; only the level is then fitted.
        slope = _SMALLEST_SLOPE
        a = float(np.log(y.mean() / (1 - y.mean())))
        return PlattCalibration(a - slope * centre, slope)
    return PlattCalibration(a - slope * centre, slope)
