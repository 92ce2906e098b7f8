"""Whether PDs meet what became of their applications: their level, their spread, and what chance explains of either.

Belongs here: measures of calibration with their uncertainty, of one model and of two on the same rows. Does not belong
here: fitting a calibration (`learners.calibration`), limits and what follows (`rules.calibration_rules`).

The level is observed over expected defaults, O / E; the spread is the slope of the logistic recalibration of D. Cox
(Biometrika 45, 1958), logit P(bad) = a + b logit(PD): b is 1 where PDs lie as far apart as the risks do, below 1 where
they lie too far apart. Both are tested by the score test, whose variance is that of the outcomes if the PDs are right
and that of the fit of the calibration: a model's PDs are as uncertain as the validation rows that they were fitted on
are few. It needs no fit of a second model, has its size with 5 bads as with 20,000, and is there without any bad at
all. Measured beside it (docs/calibration.md): the statistic of Hosmer and Lemeshow rejects 13% of calibrated
models at 5 bads where it should 5%, that of Spiegelhalter does not see a wrong slope at a low rate of default, and a
limit on the calibration error in points of probability passes a PD of zero for everybody.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.calibration_error import SURE, CalibrationError
from credit_assets.ml.evidence.clusters import design_effect, places_of
from credit_assets.ml.evidence.intervals import Interval, Z, observed_over_expected
from credit_assets.ml.evidence.logistic import logistic_line

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_SMALLEST = 1e-9
"""A PD of 0 or 1 counts as so far from it: what cannot happen has no odds, and one bad among them no finite weight."""
_CLOSE = 1e-10
_HALVINGS = 40


@dataclass(frozen=True)
class CalibrationFigures:
    """How PDs stand to the outcomes of their rows; intervals of 95%.

    `expected` is the sum of the PDs. `intercept` is calibration in the large, the log-odds that all PDs lack (0 is
    right, above 0 means risk understated); `slope` as the module says. `level_p`, `slope_p` and `p_value` are those of
    the score tests of the level, of the slope whatever the level, and of both (two degrees of freedom). What cannot be
    measured is None, and `why` says so. `design_effect` is how much more the number of bads varies since rows of one
    customer default together; 1 where every row is a customer of its own.

    `fitted` are the standard errors of the model's own calibration that the three p-values hold: `level`, of the
    log-odds of these rows, and `slope`; None where the PDs were taken as given. Intervals are of the PDs as they are.
    """

    rows: int
    bads: int
    expected: float
    observed_over_expected: Interval
    level_p: float
    intercept: Interval | None
    slope: Interval | None
    slope_p: float | None
    p_value: float
    design_effect: float
    why: str | None
    fitted: dict[str, float] | None = None

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def measure_calibration(
    y: ArrayLike, pd: ArrayLike, groups: ArrayLike | None = None, fit: CalibrationError | None = None
) -> CalibrationFigures:
    """Level and slope of PDs against what became of their rows.

    Rows of one class, a single PD for everybody and PDs of 0 or 1 are no error: what can be measured is.

    Parameters
    ----------
    y
        1 for a bad, 0 for a good; 1-d.
    pd
        Probabilities of default, 0 .. 1, in the same order.
    groups
        One integer a row, equal for rows of one customer; None where each is one of its own.
    fit
        How uncertain the rows that the PDs were fitted on leave them; None where they are tested as they are.

    Returns
    -------
    CalibrationFigures
        The measures with their intervals.

    Raises
    ------
    ValueError
        Where there are no rows, lengths differ, a target is not 0 or 1, or a PD is missing or outside 0 .. 1.

    Examples
    --------
    Twice as many default as were expected, and the same more of them throughout:

    >>> found = measure_calibration([1] * 20 + [0] * 80 + [1] * 40 + [0] * 60, [0.1] * 100 + [0.2] * 100)
    >>> round(found.observed_over_expected.value, 2), round(found.slope.value, 2), found.level_p < 0.001
    (2.0, 1.21, True)
    """
    target, p, group = _checked(y, pd, groups)
    log_odds, apart, bads = np.log(p / (1 - p)), target - p, int(target.sum())
    effect, varied = design_effect(apart - apart.mean(), group), bool(np.ptp(log_odds) > _CLOSE)
    ratio = observed_over_expected(bads, p, effect)
    assert ratio is not None  # no PD is 0 here
    tests = _ScoreTests(p, log_odds, effect, ratio.value, fit or SURE)
    level, joint = tests.statistics(apart)
    both, why = _recalibrated(target, log_odds, group, fit or SURE) if varied else (None, "all rows have one PD")
    if bads in (0, len(target)):
        both, why = None, f"all {len(target)} rows are {'bad' if bads else 'good'}"
    return CalibrationFigures(
        rows=len(target),
        bads=bads,
        expected=float(p.sum()),
        observed_over_expected=ratio,
        level_p=_beyond(level),
        intercept=both[0] if both else None,
        slope=both[1] if both else None,
        slope_p=both[2] if both else None,
        p_value=math.exp(-joint / 2) if varied else _beyond(level),
        design_effect=effect,
        why=why,
        fitted={"level": math.sqrt(tests.level_open), "slope": math.sqrt((fit or SURE).slope)} if fit else None,
    )


class _ScoreTests:
    """The variance of the scores of level and slope, in the log-odds about their weighted middle: of the outcomes if
    the PDs are right, and of the PDs as far as their fit leaves them open.
    """

    def __init__(
        self,
        p: NDArray[np.float64],
        log_odds: NDArray[np.float64],
        effect: float,
        ratio: float,
        fit: CalibrationError,
    ) -> None:
        weight = p * (1 - p)
        of_level, middle = float(weight.sum()), float(weight @ log_odds) / float(weight.sum())
        self.around = log_odds - middle
        of_slope = float(weight @ self.around**2)
        self.level_open = fit.variance(1.0, middle)
        self.slope_open = max(of_slope, 0.0) ** 2 * fit.slope
        # Both samples are drawn from one level, which lies between the PDs and the outcomes: the variance is that of
        # there. At the PDs' own level those that came out too low by chance would be too sure of it.
        share = of_level * self.level_open / (1 + of_level * self.level_open)
        pooled = 1 + (ratio - 1) * share
        self.level = pooled * (effect * of_level + of_level**2 * self.level_open)
        self.both = of_level * of_slope * (fit.both + middle * fit.slope)
        self.slope = effect * of_slope + self.slope_open

    def statistics(self, apart: NDArray[np.float64]) -> tuple[float, float]:
        """Chi-squared of the level, and of level and slope together."""
        level, slope = float(apart.sum()), float(apart @ self.around)
        alone = level**2 / self.level
        determinant = self.level * self.slope - self.both**2
        if self.slope <= 0 or determinant <= 0:
            return alone, alone
        crossed = self.slope * level**2 - 2 * self.both * level * slope + self.level * slope**2
        return alone, crossed / determinant


def compare_calibration(
    y: ArrayLike, pd_candidate: ArrayLike, pd_champion: ArrayLike, groups: ArrayLike | None = None
) -> dict[str, Any]:
    """The calibration of two models on the same rows.

    Parameters
    ----------
    y, groups
        As of `measure_calibration`.
    pd_candidate, pd_champion
        PDs of the two models, in the same order.

    Returns
    -------
    dict
        `candidate` and `champion`, each the record of a `CalibrationFigures`; `pd_ratio`, the candidate's expected
        defaults over the champion's; and, each the record of an `Interval` of 95%,

        - `farther`: by how much the candidate's level is farther from 1 than the champion's, |ln O/E| of the one less
          that of the other. Below zero the candidate's is nearer. The expected numbers are given and the observed one
          is the same for both, so that the interval follows from that of O;
        - `log_loss`: the candidate's loss less the champion's, in nats a row.

        `better_p` is the p-value, one-sided, of the candidate's PDs being nearer to the truth by it: of the score test
        whose null are outcomes halfway between the two models, by which neither loses less.

    Raises
    ------
    ValueError
        As `measure_calibration`.

    Examples
    --------
    >>> found = compare_calibration([1] * 30 + [0] * 70, [0.3] * 100, [0.15] * 100)
    >>> round(found["farther"]["value"], 2), found["farther"]["high"] < 0, found["pd_ratio"]
    (-0.69, True, 2.0)
    """
    target, ours, group = _checked(y, pd_candidate, groups)
    _, theirs, _ = _checked(y, pd_champion, groups)
    candidate, champion = measure_calibration(target, ours, group), measure_calibration(target, theirs, group)
    wide = candidate if candidate.design_effect >= champion.design_effect else champion
    ends = [wide.observed_over_expected.low * wide.expected, wide.observed_over_expected.high * wide.expected]

    def farther(observed: float) -> float:
        of, first, second = (
            math.log(max(observed, _SMALLEST)),
            math.log(candidate.expected),
            math.log(champion.expected),
        )
        return abs(of - first) - abs(of - second)

    # It rises or falls with the observed number throughout, so that the ends of the one are those of the other.
    low, high = sorted(map(farther, ends))
    lost = float((_loss(target, ours) - _loss(target, theirs)).sum())
    error = _error_of_loss(target, ours, theirs, group)
    rows = len(target)
    return {
        "candidate": candidate.to_record(),
        "champion": champion.to_record(),
        "pd_ratio": candidate.expected / champion.expected,
        "farther": Interval(farther(float(candidate.bads)), low, high).to_record(),
        "log_loss": Interval(lost / rows, (lost - Z * error) / rows, (lost + Z * error) / rows).to_record(),
        "better_p": NormalDist().cdf(lost / error) if error > 0 else 1.0,
    }


def _error_of_loss(
    target: NDArray[np.float64],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    group: NDArray[np.int64] | None,
) -> float:
    """Standard error of the difference of two sums of log losses, if the outcomes come of PDs halfway between them.

    Between the log-odds of the two there is one point at which both lose alike. Its variance is that of a test of which
    is nearer; the variance of the differences as they came grows with the bads that speak for the one.
    """
    one, other = np.log(theirs / (1 - theirs)), np.log(ours / (1 - ours))
    apart, constant = other - one, float((np.log1p(-ours) - np.log1p(-theirs)).sum())
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        gain = float(apart @ probability(one + middle * apart)) + constant
        low, high = (middle, high) if gain < 0 else (low, middle)
    between = probability(one + (low + high) / 2 * apart)
    effect = design_effect(apart * (target - between), group)
    return math.sqrt(float(apart**2 @ (between * (1 - between))) * effect)


def _checked(
    y: ArrayLike, pd: ArrayLike, groups: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64] | None]:
    target, p = np.asarray(y, dtype=np.float64), np.asarray(pd, dtype=np.float64)
    if target.ndim != 1 or target.shape != p.shape:
        raise ValueError(
            f"targets and PDs must be one-dimensional and of equal length, not {target.shape} and {p.shape}"
        )
    if not len(target):
        raise ValueError("there are no rows to measure a calibration on")
    if not np.isin(target, (0.0, 1.0)).all():
        raise ValueError("every target must be 0 (good) or 1 (bad)")
    if wrong := int((~((p >= 0) & (p <= 1))).sum()):
        raise ValueError(f"{wrong} PDs are missing or outside 0 .. 1")
    return target, np.clip(p, _SMALLEST, 1 - _SMALLEST), places_of(groups, len(target))


def _beyond(statistic: float) -> float:
    """Probability that a chi-squared variable of one degree of freedom exceeds this."""
    return math.erfc(math.sqrt(statistic / 2))


def _loss(target: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.log(np.where(target == 1, p, 1 - p))


def _recalibrated(
    target: NDArray[np.float64], log_odds: NDArray[np.float64], group: NDArray[np.int64] | None, fit: CalibrationError
) -> tuple[tuple[Interval, Interval, float] | None, str | None]:
    """Intercept at slope 1, slope, and the p-value of slope 1; None, and why, where no such line is the likeliest."""
    large = logistic_line(target, log_odds, 0.0, slope_free=False)
    line = logistic_line(target, log_odds, large[0], slope_free=True) if large else None
    if large is None or line is None:
        return None, "the PDs separate the bads from the goods, so that no slope is the likeliest"
    level, q = large[0], probability(large[0] + log_odds)
    weight, apart = q * (1 - q), target - q
    around = log_odds - float(weight @ log_odds) / float(weight.sum())
    part, of_slope = apart * around, float(weight @ around**2)
    chance = of_slope * design_effect(part, group) + of_slope**2 * fit.slope
    p_value = _beyond(float(part.sum()) ** 2 / chance)
    half = Z * math.sqrt(design_effect(apart, group) / float(weight.sum()))
    q = probability(line[0] + line[1] * log_odds)
    weight, apart = q * (1 - q), target - q
    around = log_odds - float(weight @ log_odds) / float(weight.sum())
    spread = Z * math.sqrt(design_effect(apart * around, group) / float(weight @ around**2))
    slope = line[1]
    return (Interval(level, level - half, level + half), Interval(slope, slope - spread, slope + spread), p_value), None
