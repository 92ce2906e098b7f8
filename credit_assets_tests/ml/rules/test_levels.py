"""Levels: Student's quantiles, and that what a year spends holds for tests that overlap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from credit_assets.ml.rules.levels import could_show, errors_of, quantile_of_t, spent_level


@pytest.mark.parametrize(("tail", "freedom"), [(0.025, 9), (0.025, 1_000), (0.05 / 365, 49), (0.05, 1)])
def test_quantiles_as_scipy_has_them(tail: float, freedom: int) -> None:
    assert quantile_of_t(tail, freedom) == pytest.approx(t.ppf(1 - tail, freedom), rel=1e-9)


def test_no_level_and_no_variance_show_nothing() -> None:
    assert math.isinf(errors_of(0.05, 1, 100))
    assert math.isinf(errors_of(0.0, 50, 100))
    assert could_show(0.05, 0.01, 1, 100) == 1.0


def test_no_more_than_a_year_is_spent_at_once_and_nothing_on_the_same_day() -> None:
    assert (spent_level(0.05, 10_000), spent_level(0.05, 0), spent_level(0.05, -3)) == (0.05, 0.0, 0.0)


@pytest.mark.parametrize("every", [1, 7, 30])
def test_a_year_of_overlapping_tests_spends_no_more_than_its_level(every: int) -> None:
    """Differences of two equal models on tests of 22 days: sums of 22 of 386 daily ones, in 4,000 years."""
    rng = np.random.default_rng(every)
    sums = np.cumsum(np.pad(rng.normal(size=(4_000, 386)), ((0, 0), (1, 0))), axis=1)
    tests = ((sums[:, 22:] - sums[:, :-22]) / math.sqrt(22))[:, ::every]
    above = tests > errors_of(spent_level(0.05, every), 10_000, 10_000)
    assert above.any(axis=1).mean() <= 0.055
