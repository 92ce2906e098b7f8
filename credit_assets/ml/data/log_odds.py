"""Probabilities of log-odds.

Belongs here: the one form for arrays that models and their evidence share. Does not belong here: fitting
(`learners.calibration`), and single numbers in rules, which do without numpy (`rules.levels.logistic`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def probability(log_odds: ArrayLike) -> NDArray[np.float64]:
    """1 / (1 + exp(-log_odds)), without overflow.

    Examples
    --------
    >>> probability([0.0, -2.944, 800.0]).round(3).tolist()
    [0.5, 0.05, 1.0]
    """
    values = np.asarray(log_odds, dtype=np.float64)
    # exp of the negative of the size never overflows, whichever side of zero the value is on.
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)
