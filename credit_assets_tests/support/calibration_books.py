"""Outcomes with their true PDs, PDs with a wrong slope, and models whose calibration is fitted, for tests of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from credit_assets.ml.evidence.calibration_error import CalibrationError
from credit_assets.ml.learners.calibration import fit_platt


def book(rng: np.random.Generator, rows: int, rate: float) -> tuple[Any, Any]:
    """Outcomes and their true PDs: log-odds of standard deviation 1, an AUC of about .75."""
    middle = math.log(rate / (1 - rate)) - 0.35
    pd = 1 / (1 + np.exp(-(middle + rng.standard_normal(rows))))
    return (rng.random(rows) < pd).astype(float), pd


def stretched(pd: Any, by: float) -> Any:
    """PDs whose log-odds lie `by` times as far from their middle: the slope is one over that."""
    odds = np.log(pd / (1 - pd))
    return 1 / (1 + np.exp(-(odds.mean() + by * (odds - odds.mean()))))


def fitted_book(
    rng: np.random.Generator, bads: tuple[int, int], rate: float, fault: Any = None, copies: int = 1
) -> tuple[Any, Any, Any, CalibrationError]:
    """Outcomes and customers of a test, the PDs of a model whose calibration was fitted on other rows, and the error of
    that fit; about so many bads of either. `fault` is done to all of its PDs; `copies` of each row are one customer's.
    """
    sides = []
    for of in bads:
        y, pd = book(rng, round(of / rate / copies), rate)
        while min(y.sum(), (1 - y).sum()) < 2:
            y, pd = book(rng, round(of / rate / copies), rate)
        groups = np.repeat(np.arange(len(y)), copies) if copies > 1 else None
        sides.append((np.repeat(y, copies), np.repeat(1.4 * np.log(pd / (1 - pd)) + 0.7, copies), groups))
    (y, margin, groups), (tested, unseen, customers) = sides
    calibration, changed = fit_platt(margin, y), fault or (lambda pd: pd)
    error = CalibrationError.of(y, changed(calibration.pd(margin)), groups)
    return tested, changed(calibration.pd(unseen)), customers, error
