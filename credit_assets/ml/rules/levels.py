"""Levels of tests: how many standard errors one asks for, and how the level of a year is spent on its comparisons.

Belongs here: arithmetic that rules and intervals share. Does not belong here: a rule (`comparison_rules`), an interval
(`credit_assets.ml.evidence.intervals`).

A model a day is 365 tests of the same question a year, and at 2.5% each nine of them promote by chance. So a
level of `alpha` a year is saved day by day, and a comparison spends of the days saved: its level is `alpha` x days
spent / 365. Whatever the schedule, the levels of a year add up to `alpha`, and the expected number of promotions by
chance with them, however the tests depend on each other.

How much of the savings a comparison spends follows from the validation rows: a model that is ahead of the champion
there is worth a sharp question, and one that is behind is worth none. Those rows are older than the test of the day and
of every later day, so that what is spent is settled before the first row of the test, and chance on the test cannot
have any part in it. Where the validation says too much of a model (early stopping has seen it), more is spent and less
saved, and the levels add up to the same.
"""

from __future__ import annotations

import math
from statistics import NormalDist

YEAR = 365
"""Days over which the level is spent, and the most that is saved: no comparison has more than the level of a year."""
_SPENT = ((2.0, 1.0), (1.0, 0.25), (0.0, 0.03))
"""The share of the savings that is spent from so many standard errors ahead on. Of models of equal worth one in 44 is
two ahead by chance, so that a model which truly is finds the level of many comparisons saved for it.
"""
_UNKNOWN = 0.03
POWER = 0.80
"""Of what "could be shown" means: found in 80 of 100 samples."""


def spent_level(alpha: float, days: float) -> float:
    """The one-sided level of a comparison that spends so many days of a level of `alpha` a year.

    Examples
    --------
    >>> round(spent_level(0.05, 1), 6), round(spent_level(0.05, 30), 4), spent_level(0.05, 800)
    (0.000137, 0.0041, 0.05)
    """
    return alpha * min(max(days, 0), YEAR) / YEAR


def days_of(alpha: float, level: float) -> float:
    """The days of a level of `alpha` a year that a comparison at `level` spends, a year at most.

    Examples
    --------
    >>> round(days_of(0.05, 0.025), 1), days_of(0.05, 0.1)
    (182.5, 365)
    """
    return YEAR * level / alpha if level < alpha else YEAR


def saved_after(left: float, days: float) -> float:
    """Days saved when so many have passed since `left` remained, a year at most.

    Examples
    --------
    >>> saved_after(12.0, 30), saved_after(350.0, 30)
    (42.0, 365)
    """
    return min(YEAR, left + max(days, 0))


def share_spent(lead: float | None) -> float:
    """The share of the days saved that a comparison spends, by how many standard errors the model is ahead of the
    champion on validation rows that the champion has not seen; None where there are none.

    Examples
    --------
    >>> [share_spent(lead) for lead in (-0.1, 0.4, 1.7, 2.0, None)]
    [0.0, 0.03, 0.25, 1.0, 0.03]
    """
    if lead is None:
        return _UNKNOWN
    return next((share for least, share in _SPENT if lead >= least), 0.0)


def quantile_of_t(tail: float, freedom: float) -> float:
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


def found_by(gain: float, schedule: int, alpha: float, errors: tuple[float, float], freedom: int) -> float:
    """How often a model that is truly better by `gain` is found by its first comparison, where models of equal worth
    have been compared every `schedule` days before. `errors` are the standard errors of the difference on the test and
    on the validation rows, `freedom` the bads or goods of the test, whichever are fewer, less one.

    Examples
    --------
    >>> [round(found_by(0.019, days, 0.05, (0.006, 0.0066), 399), 2) for days in (1, 7, 30)]
    [0.49, 0.72, 0.85]
    """
    test, validation = (max(error, 1e-9) for error in errors)
    normal = NormalDist()
    # From each lead to the next above it, as often as models of equal worth come to lie there.
    steps = [(least, above, share) for (least, share), above in zip(_SPENT, (math.inf, 2.0, 1.0), strict=True)]
    spent = sum(share * (normal.cdf(above) - normal.cdf(least)) for least, above, share in steps)
    # Savings are uneven, and half of their average is what is found more often than not.
    saved = min(YEAR, schedule / spent) / 2
    found = 0.0
    for least, above, share in steps:
        ahead = normal.cdf(above - gain / validation) - normal.cdf(least - gain / validation)
        found += ahead * normal.cdf(gain / test - quantile_of_t(spent_level(alpha, share * saved), freedom))
    return found
