"""Calibration: from a learner's margin to a probability that means what it says.

Belongs here: fitting and applying the map. Does not belong here: judging it (`evaluation`).

The map is Platt's: a line through the log-odds, two parameters. Isotonic regression fits any rising shape, and needs
for it some thousand bads in the calibration rows; on the hundred or so that a small book has there, it makes plateaus
on which applicants of different risk get one PD, with a PD of exactly 0 at the safe end. A line keeps the learner's
order of applicants, so calibration changes neither AUC nor KS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.log_odds import probability

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_SLOPE = 0.01
"""Smallest slope: below it the margin says nothing about the validation rows, but it must not be turned round."""
MAX_LOG_ODDS = 30.0
"""Bound of the calibrated log-odds: a PD of 1e-13 is further than any data reach, and stays between 0 and 1."""

_STEPS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class PlattCalibration:
    """Calibrated log-odds of default = slope * margin + intercept, held within +-MAX_LOG_ODDS; slope is positive.

    Slope 1 and intercept 0 leave the margin as it is. With slope 0.5 and intercept -1, a margin of 2 has log-odds 0
    and a PD of 0.5.
    """

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope > 0):
            raise ValueError(
                f"a calibration needs a finite positive slope and a finite intercept, not {self.slope} and "
                f"{self.intercept}"
            )

    @property
    def line(self) -> tuple[float, float] | None:
        """Slope and intercept, where the calibration is a line through the log-odds."""
        return self.slope, self.intercept

    def log_odds(self, margin: ArrayLike) -> NDArray[np.float64]:
        """Calibrated log-odds of default, natural logarithm, in the shape of `margin`."""
        return np.clip(self.slope * np.asarray(margin, dtype=np.float64) + self.intercept, -MAX_LOG_ODDS, MAX_LOG_ODDS)

    def pd(self, margin: ArrayLike) -> NDArray[np.float64]:
        """Probability of default, strictly between 0 and 1."""
        return probability(self.log_odds(margin))

    def to_record(self) -> dict[str, Any]:
        return {"method": "platt", **asdict(self)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> PlattCalibration:
        """Restore what `to_record` gave. Raises ValueError for another method or other keys."""
        if set(record) != {"method", "slope", "intercept"} or record["method"] != "platt":
            raise ValueError(f"not the record of a Platt calibration: {dict(record)}")
        return cls(float(record["slope"]), float(record["intercept"]))


def fit_platt(margin: ArrayLike, y: ArrayLike) -> PlattCalibration:
    """The slope and intercept of largest likelihood for margins and their outcomes (1-d, equal length; y is 0 or 1).

    Targets are drawn in as Platt does, to (bads + 1) / (bads + 2) and 1 / (goods + 2): margins that separate the rows
    entirely still give a finite slope. Where the best slope lies below MIN_SLOPE (the margin ranks these rows no
    better than chance, or the wrong way), it is set to MIN_SLOPE and the intercept alone is fitted, so that the mean
    PD still meets the bad rate.

    Source: J. Platt, Probabilistic outputs for support vector machines, 1999, with the damped Newton iteration of
    H.-T. Lin, C.-J. Lin, R. C. Weng, A note on Platt's probabilistic outputs, Machine Learning 68, 2007.
    Raises ValueError for empty or unequal input, a margin that is not finite, or a target of one class.
    """
    margins, target = np.asarray(margin, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if margins.ndim != 1 or margins.shape != target.shape:
        raise ValueError(f"margins and targets must be one-dimensional and of equal length, not {margins.shape} and "
                         f"{target.shape}")  # fmt: skip
    if set(np.unique(target)) != {0.0, 1.0}:
        raise ValueError("calibration needs at least one good (0) and one bad (1) in the validation rows")
    if not np.isfinite(margins).all():
        raise ValueError(f"{int((~np.isfinite(margins)).sum())} margins are not finite")
    bads = float(target.sum())
    goods = len(target) - bads
    drawn_in = np.where(target == 1, (bads + 1) / (bads + 2), 1 / (goods + 2))
    # Centred and scaled: margins far from zero would make slope and intercept nearly one direction.
    centre, scale = float(margins.mean()), float(margins.std())
    if scale < 1e-12 * max(1.0, abs(centre)):
        return _with_slope(margins, drawn_in, MIN_SLOPE)
    standard = (margins - centre) / scale
    slope, intercept = _newton(np.column_stack([standard, np.ones_like(standard)]), np.zeros_like(standard), drawn_in)
    if slope / scale < MIN_SLOPE:
        return _with_slope(margins, drawn_in, MIN_SLOPE)
    return PlattCalibration(float(slope / scale), float(intercept - slope * centre / scale))


def _with_slope(margins: NDArray[np.float64], target: NDArray[np.float64], slope: float) -> PlattCalibration:
    (intercept,) = _newton(np.ones((len(margins), 1)), slope * margins, target)
    return PlattCalibration(slope, float(intercept))


def _newton(
    design: NDArray[np.float64], offset: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients of the logistic regression of `target` (in 0 .. 1) on `design`, with a fixed offset."""
    coefficients = np.zeros(design.shape[1])
    rate = target.mean()
    coefficients[-1] = math.log(rate / (1 - rate)) - float(offset.mean())
    loss = _loss(design @ coefficients + offset, target)
    for _ in range(_STEPS):
        p = probability(design @ coefficients + offset)
        gradient = design.T @ (p - target)
        # The ridge only keeps the matrix invertible where all probabilities are near 0 or 1.
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(design.shape[1])
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10:
            trial = coefficients - size * step
            trial_loss = _loss(design @ trial + offset, target)
            # A sufficient decrease, as Armijo asks for.
            if trial_loss <= loss - 1e-4 * size * float(gradient @ step):
                break
            size /= 2
        else:
            break
        coefficients, decrease, loss = trial, loss - trial_loss, trial_loss
        if decrease <= _TOLERANCE * max(1.0, abs(loss)) * 1e-3:
            break
    return coefficients


def _loss(log_odds: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Sum of the log losses, from log-odds: log(1 + exp(z)) - target * z."""
    return float((np.logaddexp(0.0, log_odds) - target * log_odds).sum())
