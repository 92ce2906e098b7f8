"""Intervals of rates, their differences and ratios, and what a sample could show.

Belongs here: the levels of confidence and power that everything uses; the intervals of Wilson, Newcombe, Miettinen and
Nurminen, that of observed over expected, and that of an AUC from its standard error. Does not belong here: standard
errors of an AUC (`evaluation`) and of an estimate (`performance`).

Where rows come in groups (the applications of one customer), `effect` is their `clusters.design_effect`: counts are
those of so many times fewer independent rows. 1, where every row is its own group, changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

from credit_assets.ml.rules.levels import POWER, logistic, quantile_of_t

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
"""What each end of a two-sided interval leaves out."""
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""Standard errors from the value to either end of its interval: 1.96."""
Z_POWER = NormalDist().inv_cdf(POWER)
"""Standard errors that a difference must lie beyond that end to be found with this power: 0.84."""
_SMALLEST_RATIO, _HALVINGS = 1e-6, 60


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def to_record(self) -> dict[str, float]:
        return asdict(self)


def proportion(count: int, rows: int, effect: float = 1.0) -> Interval | None:
    """A share with its 95% interval by the score test.

    (p + z^2/2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2/n): sound for few rows and rare events, unlike
    p +- 2 standard errors. Source: E. B. Wilson, Journal of the American Statistical Association 22, 1927.

    Parameters
    ----------
    count, rows
        How many of how many.
    effect
        Design effect of the groups that rows come in.

    Returns
    -------
    Interval or None
        None of no rows.

    Examples
    --------
    >>> found = proportion(10, 100)
    >>> found.value, round(found.low, 4), round(found.high, 4)
    (0.1, 0.0552, 0.1744)
    >>> round(proportion(0, 100).high, 4)
    0.037
    """
    if not rows:
        return None
    p, alone = count / rows, rows / effect
    z2 = Z**2 / alone
    middle, half = p + z2 / 2, Z * math.sqrt(p * (1 - p) / alone + z2 / (4 * alone))
    low, high = (middle - half) / (1 + z2), (middle + half) / (1 + z2)
    return Interval(p, 0.0 if not count else low, 1.0 if count == rows else high)


def difference_of_proportions(count: int, rows: int, count_2: int, rows_2: int, effect: float = 1.0) -> Interval | None:
    """The first share less the second, of independent rows, with its 95% interval.

    Method 10 of Newcombe, from the Wilson interval of each.
    Source: R. G. Newcombe, Statistics in Medicine 17, 1998, pages 873-890.

    Parameters
    ----------
    count, rows, count_2, rows_2
        How many of how many, of either side.
    effect
        Design effect of the groups that rows come in.

    Returns
    -------
    Interval or None
        None where a side has no rows.

    Examples
    --------
    >>> found = difference_of_proportions(56, 70, 48, 80)
    >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    one, two = proportion(count, rows, effect), proportion(count_2, rows_2, effect)
    if one is None or two is None:
        return None
    value = one.value - two.value
    return Interval(
        value,
        value - math.hypot(one.value - one.low, two.high - two.value),
        value + math.hypot(one.high - one.value, two.value - two.low),
    )


def ratio_of_proportions(count: int, rows: int, count_2: int, rows_2: int, effect: float = 1.0) -> Interval | None:
    """The first share over the second, of independent rows, with its 95% interval by the score test.

    It holds every ratio R that the test of p1 = R p2 does not reject, with the variance at the shares of largest
    likelihood under it, times N / (N - 1). Sound where a count is 0 or all, which an interval of the logarithm is not.
    Source: O. Miettinen, M. Nurminen, Statistics in Medicine 4, 1985, pages 213-226.

    Parameters
    ----------
    count, rows, count_2, rows_2
        How many of how many, of either side.
    effect
        Design effect of the groups that rows come in.

    Returns
    -------
    Interval or None
        None where a side has no rows, or the second share is 0. The upper end may be infinite.

    Examples
    --------
    >>> found = ratio_of_proportions(167, 508, 2072, 3808)
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.604, 0.53, 0.684)
    """
    if not rows or not rows_2 or not count_2:
        return None
    n, m, x, y = rows / effect, rows_2 / effect, count / effect, count_2 / effect
    value = (count / rows) / (count_2 / rows_2)

    def distance(ratio: float) -> float:
        """How many standard errors the shares lie from this ratio; it falls with the ratio."""
        a, b, c = (n + m) * ratio, ratio * (n + y) + x + m, x + y
        second = (b - math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)
        first = min(1.0, ratio * second)
        variance = first * (1 - first) / n + ratio**2 * second * (1 - second) / m
        apart = x / n - ratio * y / m
        if variance <= 0:
            return math.copysign(math.inf, apart) if apart else 0.0
        return apart / math.sqrt(variance * (n + m) / (n + m - 1))

    def end(target: float, low: float, high: float) -> float:
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if distance(middle) > target else (low, middle)
        return math.sqrt(low * high)

    lower = 0.0 if not count else end(Z, _SMALLEST_RATIO, value)
    upper = end(-Z, max(value, _SMALLEST_RATIO), 1 / _SMALLEST_RATIO)
    return Interval(value, lower, math.inf if upper > _SMALLEST_RATIO**-1 / 2 else upper)


def observed_over_expected(bads: int, pd: ArrayLike, effect: float = 1.0) -> Interval | None:
    """Bads over the sum of PDs, with its 95% interval by the score test.

    1 is right, above 1 means that risk is understated. The interval holds every ratio t by which all PDs may be wrong:
    (O - t E)^2 <= z^2 Var, with the variance of independent outcomes of PDs t p, t sum p - t^2 sum p^2. So it leaves
    out 1 just where the score test rejects the level of the PDs. It holds 95 to 97% of what is true with 5 bads as with
    3,000, at rates of 2 to 30%; the exact Poisson interval, whose variance is t sum p, held 97 to 99%.

    Parameters
    ----------
    bads
        How many defaulted.
    pd
        The PD of each row; 1-d.
    effect
        Design effect of the groups that rows come in, of outcome less PD: the variance is so many times as large.

    Returns
    -------
    Interval or None
        None where nothing was expected.

    Examples
    --------
    >>> found = observed_over_expected(60, [0.1] * 500)
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (1.2, 0.944, 1.514)
    >>> round(observed_over_expected(0, [0.1] * 500).high, 3)
    0.076
    """
    import numpy as np

    p = np.asarray(pd, dtype=np.float64)
    expected, z2 = float(p.sum()), Z**2 * effect
    if expected <= 0:
        return None
    # The two ratios at which both sides are equal.
    one, two = expected**2 + z2 * float(p @ p), bads * expected + z2 * expected / 2
    root = math.sqrt(max(0.0, two**2 - one * bads**2))
    return Interval(bads / expected, (two - root) / one if bads else 0.0, (two + root) / one)


def logit_interval(auc: float, standard_error: float, bads: int, goods: int, tail: float = TAIL) -> Interval:
    """The interval of an AUC on the logit scale, by Student's t.

    logit(A) +- t(1 - tail; min(bads, goods) - 1) SE / (A (1 - A)), turned back: it stays between 0 and 1, and is the
    wider side towards chance. A +- 1.96 SE holds the true AUC of 0.7 in 91% of samples of 10 bads and 90 goods and that
    of 0.9 in 85%; this in 96% and 95%, at 50 bads in 95% and 94%, at 200 bads in 96% and 95% (docs/promotion.md).

    A sample that is separated entirely has a standard error of 0 and no logit: the AUC counts as half a pair from the
    end, and the error as at least sqrt(A (1 - A) / (bads goods)), which is that of as many independent pairs.

    Source: M. Pepe, The Statistical Evaluation of Medical Tests for Classification and Prediction, 2003, chapter 5;
    with Student's quantile in place of the normal one, which still leaves the true AUC out too often at 10 bads.

    Parameters
    ----------
    auc, standard_error
        As measured, the latter on the scale of the AUC.
    bads, goods
        In the sample: independent ones, where rows of the same customer come again.
    tail
        What each end leaves out.

    Returns
    -------
    Interval
        0 .. 1 where one class has fewer than two rows.

    Examples
    --------
    >>> found = logit_interval(0.7, 0.08, 10, 90)
    >>> round(found.low, 3), round(found.high, 3)
    (0.496, 0.847)
    """
    if min(bads, goods) < 2:
        return Interval(auc, 0.0, 1.0)
    half_a_pair = 0.5 / (bads * goods)
    value = min(max(auc, half_a_pair), 1 - half_a_pair)
    spread = value * (1 - value)
    error = max(standard_error, math.sqrt(spread / (bads * goods))) / spread
    middle, half = math.log(value / (1 - value)), quantile_of_t(tail, min(bads, goods) - 1) * error
    return Interval(auc, logistic(middle - half), logistic(middle + half))


def smallest_detectable_difference(
    count: int, rows: int, count_2: int, rows_2: int, effect: float = 1.0
) -> float | None:
    """Difference of two shares that a two-sided test at 5% would find in 80% of samples of these sizes.

    2.80 sqrt(p (1 - p) (1/n + 1/m)), with p the share of all rows, as if there were one more of either kind: a sample
    without any default must not promise to see everything.
    Source: J. L. Fleiss, Statistical Methods for Rates and Proportions, 1981, chapter 3.

    Parameters
    ----------
    count, rows, count_2, rows_2
        How many of how many, of either side.
    effect
        Design effect of the groups that rows come in.

    Returns
    -------
    float or None
        None where a side has no rows.

    Examples
    --------
    >>> round(smallest_detectable_difference(50, 1_000, 50, 1_000), 4)
    0.0274
    """
    if not rows or not rows_2:
        return None
    p = (count + count_2 + 1) / (rows + rows_2 + 2)
    return min(1.0, (Z + Z_POWER) * math.sqrt(p * (1 - p) * effect * (1 / rows + 1 / rows_2)))
