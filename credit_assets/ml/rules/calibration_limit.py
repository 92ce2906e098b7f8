"""The limit of a calibration error on a test of finite size.

Belongs here: how much of a calibration error chance explains. Does not belong here: the error itself (`evidence`), and
what follows from one above the limit (`decisions`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

CHANCE = 0.05
"""How often a model whose true error is exactly the limit is refused."""


def ece_limit(deciles: Sequence[Mapping[str, Any]], limit: float, fit: float = 0.0) -> float:
    """The largest calibration error that a test of these deciles shows, in 95 of 100 cases, of a true error of `limit`.

    Without any true error a test of finite size shows one: about 0.8 sqrt(r (1 - r) / k) at a bad rate of r and k rows
    a decile, 0.07 at 30% and 25. Held against the limit itself, a perfectly calibrated model was refused in 85 of 100
    tests of 250 rows. So the limit is on the true error, and a test has to show that it is exceeded.

    PDs are taken to be misstated by one factor, up or down, so that the error is `limit`. Then a decile of n rows shows
    |d + e|, with d the misstatement and e about normal of variance p (1 - p) / n: a folded normal, whose mean and
    variance are known (F. Leone, L. Nelson, R. Nottingham, Technometrics 3, 1961), and the error is their mean weighted
    by rows. The larger of both directions counts. With many rows this is `limit`.

    A calibration that was fitted on few rows misstates all PDs to one side by chance, which adds to the variance:
    without it, 8% of sound models were refused whose calibration had 20 bads at a rate of 30%.

    Parameters
    ----------
    deciles
        `rows` and `mean_pd` of each, as `Evaluation.lift` records them.
    limit
        The largest true error allowed, above 0.
    fit
        Standard error that its own rows leave the level of the calibration, in log-odds.

    Returns
    -------
    float
        At least `limit`.

    Examples
    --------
    Ten deciles of 25 rows at a mean PD of 30%, and of 25,000 rows:

    >>> small = [{"rows": 25, "mean_pd": 0.3}] * 10
    >>> round(ece_limit(small, 0.05), 2)
    0.12
    >>> round(ece_limit(small, 0.05, fit=0.25), 2)
    0.18
    >>> large = [{"rows": 25_000, "mean_pd": 0.3}] * 10
    >>> round(ece_limit(large, 0.05), 3)
    0.052
    """
    rows = sum(decile["rows"] for decile in deciles)
    mean_pd = sum(decile["rows"] * decile["mean_pd"] for decile in deciles) / rows if rows else 0.0
    if mean_pd <= 0:
        return limit
    beyond = NormalDist().inv_cdf(1 - CHANCE)
    spread = sum(one["rows"] / rows * one["mean_pd"] * (1 - one["mean_pd"]) for one in deciles)
    largest = limit
    for factor in (1 + limit / mean_pd, max(0.0, 1 - limit / mean_pd)):
        mean = variance = 0.0
        for decile in deciles:
            share, pd = decile["rows"] / rows, decile["mean_pd"]
            true = min(1.0, factor * pd)
            m, v = _folded(true - pd, math.sqrt(true * (1 - true) / decile["rows"]))
            mean, variance = mean + share * m, variance + share**2 * v
        largest = max(largest, mean + beyond * math.sqrt(variance + (fit * spread) ** 2))
    return largest


def _folded(mean: float, deviation: float) -> tuple[float, float]:
    """Mean and variance of the absolute value of a normal variable."""
    if deviation == 0:
        return abs(mean), 0.0
    z = mean / deviation
    folded = deviation * math.sqrt(2 / math.pi) * math.exp(-(z**2) / 2) + mean * math.erf(z / math.sqrt(2))
    return folded, max(0.0, mean**2 + deviation**2 - folded**2)
