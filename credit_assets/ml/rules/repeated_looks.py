"""Daily looks at one sample that moves: how rare each must be, so that a year of them is rarely wrong.

Belongs here: the level of a single look. Does not belong here: what is looked at (`ml.evidence.performance`) and what
follows (`performance_rules`).

A statistic over the loans of the last 90 days is looked at every day. Two looks a week apart share nearly all of their
loans, so that 365 of them are neither one test nor 365.
"""

from __future__ import annotations

import math
from functools import cache

from credit_assets.ml.rules.levels import quantile_of_t

_YEAR = 365
_STEPS = 60
_FARTHEST = 12.0


@cache
def look_tail(alpha: float, window_days: int, fresh: float = 1.0) -> float:
    """What each one-sided look may leave out, so that the looks of a year together are wrong with `alpha` at most.

    A standardised sum over the last w days is, from day to day, a Gaussian process whose correlation falls in a
    straight line to 0 at w days. It exceeds u somewhere in T days with a probability of about

        P(Z > u) + fresh T / w u phi(u)

    (J. Pickands, Transactions of the American Mathematical Society 145, 1969: such a process crosses u at the rate
    u phi(u) / w). `fresh` is the share of the statistic's variance that the loans of the window have; what is left is
    that of a value measured once, as of a test, which errs on all days alike. Where the window is so short that each
    look is a test of its own, the level is alpha over the number of looks.

    Parameters
    ----------
    alpha
        Chance of a wrong answer a year.
    window_days
        Days of loans that a look has.
    fresh
        0 .. 1.

    Returns
    -------
    float
        The tail of each look.

    Examples
    --------
    >>> round(look_tail(0.01, 90), 6), round(look_tail(0.01, 90, fresh=0.2), 6), round(look_tail(0.01, 1), 6)
    (0.000178, 0.001071, 2.7e-05)
    """
    if not (0 < alpha < 1 and window_days >= 1 and 0 <= fresh <= 1):
        raise ValueError(f"no level for alpha {alpha}, a window of {window_days} days and a fresh share of {fresh}")

    def wrong(u: float) -> float:
        return _above(u) + fresh * _YEAR / window_days * u * math.exp(-u * u / 2) / math.sqrt(2 * math.pi)

    # From 1 on it falls.
    low, high = 1.0, _FARTHEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if wrong(middle) > alpha else (low, middle)
    return max(_above(high), alpha / _YEAR)


def look_quantile(alpha: float, window_days: int, fresh: float, freedom: float) -> float:
    """How many standard errors a look must lie beyond, by Student's t where the error itself is estimated.

    Parameters
    ----------
    alpha, window_days, fresh
        As of `look_tail`.
    freedom
        Degrees of freedom of the error.

    Examples
    --------
    >>> round(look_quantile(0.01, 90, 1.0, 1e6), 2), round(look_quantile(0.01, 90, 1.0, 50), 2)
    (3.57, 3.83)
    """
    # In steps, so that few are computed; upwards, which is the safe side.
    return quantile_of_t(look_tail(alpha, window_days, math.ceil(20 * fresh) / 20), max(1.0, freedom))


def freedom_of_sum(parts: list[tuple[float, float]]) -> float:
    """Degrees of freedom of the sum of independent variances: (variance, its degrees of freedom) of each.

    Source: B. L. Welch, Biometrika 34, 1947.

    >>> round(freedom_of_sum([(1.0, 10), (1.0, 10)]), 6)
    20.0
    """
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / max(1.0, freedom) for variance, freedom in parts)
    return total**2 / spread if spread > 0 else math.inf


def _above(u: float) -> float:
    return math.erfc(u / math.sqrt(2)) / 2
