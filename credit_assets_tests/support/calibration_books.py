"""Outcomes with their true PDs, and PDs with a wrong slope, for tests of calibration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def book(rng: np.random.Generator, rows: int, rate: float) -> tuple[Any, Any]:
    """Outcomes and their true PDs: log-odds of standard deviation 1, an AUC of about .75."""
    middle = math.log(rate / (1 - rate)) - 0.35
    pd = 1 / (1 + np.exp(-(middle + rng.standard_normal(rows))))
    return (rng.random(rows) < pd).astype(float), pd


def stretched(pd: Any, by: float) -> Any:
    """PDs whose log-odds lie `by` times as far from their middle: the slope is one over that."""
    odds = np.log(pd / (1 - pd))
    return 1 / (1 + np.exp(-(odds.mean() + by * (odds - odds.mean()))))
