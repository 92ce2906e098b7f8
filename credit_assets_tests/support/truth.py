"""Measures against a truth that is known: of generated books, whose true PDs nobody else has.

Belongs here: what would be measured on endlessly many outcomes of the same applications. Does not belong here: making
books (`credit_assets.loans.lender_book`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def expected_auc(true_pd: ArrayLike, score: ArrayLike) -> float:
    """The expected pairs in which the bad has the larger score, over the expected pairs of a bad and a good; ties half.

    >>> round(expected_auc([0.1, 0.3], [1, 2]), 3)
    0.794
    """
    bad: Any = np.asarray(true_pd, dtype=np.float64)
    _, place = np.unique(np.asarray(score, dtype=np.float64), return_inverse=True)
    bads, goods = np.bincount(place, bad), np.bincount(place, 1 - bad)
    itself = (bad * (1 - bad)).sum()
    pairs = (bads * (np.cumsum(goods) - goods / 2)).sum() - itself / 2
    return float(pairs / (bads.sum() * goods.sum() - itself))
