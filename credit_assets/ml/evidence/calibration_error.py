"""How uncertain a calibration is, since it was fitted on so many rows and no more.

Belongs here: the error that the rows leave, and what it does to a value made of PDs. Does not belong here: the measures
that it widens (`calibration_evidence`, `performance`, `baseline`).

A model's PDs are no better than its calibration, which is fitted on the validation rows: of 45 bads they may all be too
high by a sixth, and nothing is wrong with the model. Whatever holds PDs against outcomes needs both errors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.clusters import design_effect, places_of
from credit_assets.ml.evidence.logistic import logistic_line

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# A PD of 0 or 1 counts as so far from it: what cannot happen has no odds.
_SMALLEST, _CLOSE = 1e-9, 1e-10


@dataclass(frozen=True)
class CalibrationError:
    """How uncertain the calibration of a model is: the covariance of the intercept and slope of its log-odds, as the
    rows that it was fitted on leave them; and `effect`, how many times as much the outcomes of such rows vary as
    independent ones (`clusters.design_effect`).
    """

    intercept: float = 0.0
    both: float = 0.0
    slope: float = 0.0
    effect: float = 1.0

    @classmethod
    def of(cls, y: ArrayLike, pd: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """From the rows that the calibration was fitted on: the sandwich of the logistic regression of outcomes on the
        calibrated log-odds. It is taken where the line is the likeliest, so that PDs which are wrong on these very rows
        are no excuse for being so: PDs of a thousandth would leave any level open.

        Parameters
        ----------
        y, pd, groups
            Outcomes, calibrated PDs, and the group of each row, None where every row is its own.
        """
        target, p, log_odds = _fitted(y, pd, slope_free=True)
        if np.ptp(log_odds) <= _CLOSE:
            # One PD for all: there is no slope to be uncertain of.
            return cls.of_level(y, pd, CalibrationError(), groups)
        design = np.column_stack([np.ones_like(p), log_odds])
        scores, places = design * (target - p)[:, None], places_of(groups, len(p))
        if places is not None:
            scores = np.column_stack([np.bincount(places, weights=column) for column in scores.T])
        bread = np.linalg.pinv((design * (p * (1 - p))[:, None]).T @ design, hermitian=True)
        found = bread @ (scores.T @ scores) @ bread
        # Of PDs that hardly differ, rounding may leave less than nothing.
        intercept, slope = (max(0.0, float(found[at, at])) for at in (0, 1))
        return cls(intercept, float(found[0, 1]), slope, design_effect(target - p, groups))

    @classmethod
    def of_level(cls, y: ArrayLike, pd: ArrayLike, before: CalibrationError, groups: ArrayLike | None = None) -> Self:
        """Where these rows moved the level alone: the slope is as uncertain as it was `before`, about the middle of
        these rows, whose level is right.

        Parameters
        ----------
        y, pd, groups
            As of `of`.
        before
            That of the calibration whose slope was kept.
        """
        target, p, log_odds = _fitted(y, pd, slope_free=False)
        variance, apart = p * (1 - p), target - p
        effect, middle = design_effect(apart, groups), float(variance @ log_odds / variance.sum())
        level = effect * float(apart @ apart) / float(variance.sum()) ** 2
        return cls(level + middle**2 * before.slope, -middle * before.slope, before.slope, effect)

    def to_record(self) -> dict[str, float]:
        return asdict(self)

    def variance(self, by_intercept: float, by_slope: float) -> float:
        """Of a value that changes so much with each."""
        crossed = 2 * by_intercept * by_slope * self.both
        return max(0.0, by_intercept**2 * self.intercept + crossed + by_slope**2 * self.slope)

    def lines(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Intercepts and slopes as they may be, a row each."""
        covariance = [[self.intercept, self.both], [self.both, self.slope]]
        return rng.multivariate_normal([0.0, 1.0], covariance, number, check_valid="ignore")


SURE = CalibrationError()
"""Of PDs that are taken for right."""


def _fitted(
    y: ArrayLike, pd: ArrayLike, *, slope_free: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Outcomes, PDs of the likeliest line through the log-odds of the given ones, and these log-odds; the given PDs
    where no line is the likeliest.
    """
    target, p = np.asarray(y, dtype=np.float64), np.clip(np.asarray(pd, dtype=np.float64), _SMALLEST, 1 - _SMALLEST)
    log_odds, both = np.log(p / (1 - p)), 0 < target.sum() < len(target)
    if both and np.ptp(log_odds) <= _CLOSE:
        return target, np.full_like(p, target.mean()), log_odds
    line = logistic_line(target, log_odds, 0.0, slope_free=slope_free) if both else None
    return target, p if line is None else probability(line[0] + line[1] * log_odds), log_odds
