"""Intervals: published tables, and the distributions that they come from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from credit_assets.ml.evidence.intervals import (
    Interval,
    difference_of_proportions,
    observed_over_expected,
    proportion,
    smallest_detectable_difference,
)


@pytest.mark.parametrize(
    ("count", "rows", "low", "high"),
    [(10, 100, 0.0552, 0.1744), (0, 100, 0.0, 0.0370), (100, 100, 0.9630, 1.0), (1, 1, 0.2065, 1.0), (0, 1, 0, 0.7935)],
)
def test_wilson_intervals(count: int, rows: int, low: float, high: float) -> None:
    found = proportion(count, rows)
    assert found is not None
    assert found.to_record() == pytest.approx({"value": count / rows, "low": low, "high": high}, abs=5e-5)


@pytest.mark.parametrize(
    ("one", "two", "low", "high"),
    [  # Newcombe's table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((5, 56), (0, 29), -0.0381, 0.1926),
    ],
)
def test_newcombe_intervals(one: tuple[int, int], two: tuple[int, int], low: float, high: float) -> None:
    found = difference_of_proportions(*one, *two)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    mirrored = difference_of_proportions(*two, *one)
    assert mirrored is not None
    assert mirrored.to_record() == pytest.approx({"value": -found.value, "low": -found.high, "high": -found.low})


def test_what_cannot_be_seen_shrinks_with_the_root_of_the_rows() -> None:
    small, large = (smallest_detectable_difference(5 * n, 100 * n, 5 * n, 100 * n) for n in (10, 40))
    assert small == pytest.approx(0.0274, abs=1e-4)
    assert large == pytest.approx(small / 2, rel=0.01)
    assert smallest_detectable_difference(0, 20, 0, 20) > 0.1
    assert (proportion(0, 0), difference_of_proportions(0, 0, 1, 2)) == (None, None)
    assert smallest_detectable_difference(0, 0, 1, 2) is None


def test_wilson_as_scipy_has_it() -> None:
    from scipy.stats import binomtest

    for bads, rows in ((5, 100), (0, 50), (50, 50), (1, 3)):
        expected = binomtest(bads, rows).proportion_ci(0.95, method="wilson")
        found = proportion(bads, rows)
        assert found is not None
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_observed_over_expected_of_the_docstring() -> None:
    found = observed_over_expected(60, 50)
    assert found is not None
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (1.2, 0.916, 1.545)
    assert observed_over_expected(0, 50) == Interval(0.0, 0.0, pytest.approx(-np.log(0.025) / 50))
    assert observed_over_expected(0, 0) is None


@pytest.mark.parametrize("bads", [1, 2, 10, 350])
def test_the_ends_of_the_interval_are_where_the_count_becomes_improbable(bads: int) -> None:
    found = observed_over_expected(bads, 8.0)
    assert found is not None
    assert poisson.sf(bads - 1, found.low * 8.0) == pytest.approx(0.025)
    assert poisson.cdf(bads, found.high * 8.0) == pytest.approx(0.025)
