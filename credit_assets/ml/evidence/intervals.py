"""Intervals of proportions and of their differences, and what a sample could show.

Belongs here: Wilson's and Newcombe's intervals, power. Does not belong here: intervals of an AUC (`evaluation`).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from credit_assets.ml.evidence.evaluation import CONFIDENCE, POWER

if TYPE_CHECKING:
    pass


_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


_Z_POWER = NormalDist().inv_cdf(POWER)


def proportion(count: int, rows: int) -> dict[str, float] | None:
    """A share with its 95% interval (`value`, `low`, `high`) by the score test; None of no rows.

    (p + z^2/2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2/n): sound for few rows and rare events, unlike
    p +- 2 standard errors. 10 of 100 give 0.0552 .. 0.1744, none of 100 gives 0 .. 0.0370.
    Source: E. B. Wilson, Journal of the American Statistical Association 22, 1927.
    """
    if not rows:
        return None
    p, z2 = count / rows, _Z**2 / rows
    middle, half = p + z2 / 2, _Z * math.sqrt(p * (1 - p) / rows + z2 / (4 * rows))
    low, high = (middle - half) / (1 + z2), (middle + half) / (1 + z2)
    return {"value": p, "low": 0.0 if not count else low, "high": 1.0 if count == rows else high}


def difference_of_proportions(count: int, rows: int, count_2: int, rows_2: int) -> dict[str, float] | None:
    """The first share less the second, of independent rows, with its 95% interval; None where a side has no rows.

    Method 10 of Newcombe, from the Wilson interval of each. 56 of 70 less 48 of 80 give 0.2 (0.0524 .. 0.3339).
    Source: R. G. Newcombe, Statistics in Medicine 17, 1998, pages 873-890.
    """
    one, two = proportion(count, rows), proportion(count_2, rows_2)
    if one is None or two is None:
        return None
    value = one["value"] - two["value"]
    return {
        "value": value,
        "low": value - math.hypot(one["value"] - one["low"], two["high"] - two["value"]),
        "high": value + math.hypot(one["high"] - one["value"], two["value"] - two["low"]),
    }


def smallest_detectable_difference(count: int, rows: int, count_2: int, rows_2: int) -> float | None:
    """Difference of two shares that a two-sided test at 5% would find in 80% of samples of these sizes.

    2.80 sqrt(p (1 - p) (1/n + 1/m)), with p the share of all rows, as if there were one more of either kind: a sample
    without any default must not promise to see everything. 50 of 1,000 and 50 of 1,000 give 0.0274.
    None where a side has no rows. Source: J. L. Fleiss, Statistical Methods for Rates and Proportions, 1981, chapter 3.
    """
    if not rows or not rows_2:
        return None
    p = (count + count_2 + 1) / (rows + rows_2 + 2)
    return min(1.0, (_Z + _Z_POWER) * math.sqrt(p * (1 - p) * (1 / rows + 1 / rows_2)))
