"""Levels of tests: how many standard errors one asks for, and how the level of a year is spent on its comparisons.

Belongs here: arithmetic that rules and intervals share. Does not belong here: a rule (`comparison_rules`), an interval
(`credit_assets.ml.evidence.intervals`).

A model a day is 365 tests of the same question a year, and at 2.5% each nine of them promote by chance. So a
comparison's level is the share of the year that has passed since the one before: `alpha` x days / 365. Whatever the
schedule, the levels of a year add up to `alpha`, and the expected number of promotions by chance with them, however the
tests depend on each other. It costs little that the days' tests overlap: of tests that share all but one of 22 days, an
exact bound asks for 3.3 standard errors where this asks for 3.6.
"""

from __future__ import annotations

import math
from statistics import NormalDist

YEAR = 365
"""Days over which the level is spent; a comparison after a longer time has the level of a year, and no more."""
POWER = 0.80
"""Of what "could be shown" means: found in 80 of 100 samples."""


def spent_level(alpha: float, days: int) -> float:
    """The one-sided level of a comparison `days` after the one before, of a level of `alpha` a year.

    Examples
    --------
    >>> round(spent_level(0.05, 1), 6), round(spent_level(0.05, 30), 4), spent_level(0.05, 800)
    (0.000137, 0.0041, 0.05)
    """
    return alpha * min(max(days, 0), YEAR) / YEAR


def quantile_of_t(tail: float, freedom: int) -> float:
    """How many standard errors leave `tail` above them by Student's t.

    Examples
    --------
    >>> round(quantile_of_t(0.025, 9), 2), round(quantile_of_t(0.025, 100_000), 2)
    (2.26, 1.96)
    """
    from scipy.special import stdtrit

    return float(-stdtrit(freedom, tail))


def logistic(log_odds: float) -> float:
    """The probability of log-odds, without overflow: intervals of few rows have ends that lie far out.

    Examples
    --------
    >>> logistic(0.0), logistic(-1e6), logistic(1e6)
    (0.5, 0.0, 1.0)
    """
    small = math.exp(-abs(log_odds))
    return (1.0 if log_odds >= 0 else small) / (1.0 + small)


def errors_of(level: float, bads: int, goods: int) -> float:
    """Standard errors that a one-sided test of this level asks for, of so many independent bads and goods; infinitely
    many where there is no variance to estimate, or no level.
    """
    freedom = min(bads, goods) - 1
    return quantile_of_t(level, freedom) if freedom >= 1 and level > 0 else math.inf


def could_show(level: float, standard_error: float, bads: int, goods: int) -> float:
    """The true difference that a one-sided test of this level finds in 80 of 100 such samples, at most 1.

    Examples
    --------
    >>> round(could_show(0.05 / 365, 0.006, 400, 3_600), 3), round(could_show(0.05 * 30 / 365, 0.006, 400, 3_600), 3)
    (0.027, 0.021)
    """
    return min(1.0, (errors_of(level, bads, goods) + NormalDist().inv_cdf(POWER)) * standard_error)
