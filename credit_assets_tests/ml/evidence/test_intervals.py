"""Intervals: published tables, and the distributions that they come from."""

from __future__ import annotations

import numpy as np
import pytest

from credit_assets.ml.evidence.intervals import (
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
    found = observed_over_expected(60, [0.1] * 500)
    assert found is not None
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (1.2, 0.944, 1.514)
    assert observed_over_expected(0, [0.0] * 50) is None
    assert observed_over_expected(0, []) is None


@pytest.mark.parametrize("bads", [1, 2, 10, 150])
@pytest.mark.parametrize("effect", [1.0, 2.5])
def test_the_ends_of_the_interval_are_where_the_score_test_rejects(bads: int, effect: float) -> None:
    pd = np.linspace(0.001, 0.4, 400)
    found = observed_over_expected(bads, pd, effect)
    assert found is not None
    for ratio in (found.low, found.high):
        variance = effect * (ratio * pd.sum() - ratio**2 * (pd @ pd))
        assert abs(bads - ratio * pd.sum()) / np.sqrt(variance) == pytest.approx(1.959964, abs=1e-5)


def test_no_bad_has_an_upper_end_only() -> None:
    pd = np.full(500, 0.1)
    found = observed_over_expected(0, pd)
    assert found is not None
    assert (found.value, found.low) == (0, 0)
    # z^2 = t E / (1 - t p), the score test of no bad.
    assert found.high * 50 / (1 - found.high * 0.1) == pytest.approx(1.959964**2, abs=1e-4)


@pytest.mark.parametrize(("rows", "rate"), [(250, 0.02), (250, 0.3), (5_000, 0.05)])
def test_the_interval_of_observed_over_expected_holds_what_is_true(rows: int, rate: float) -> None:
    rng, held, books = np.random.default_rng(7), 0, 1_500
    for _ in range(books):
        pd = rng.beta(2, 2 / rate - 2, rows)
        found = observed_over_expected(int((rng.random(rows) < pd).sum()), pd)
        assert found is not None
        held += found.low <= 1 <= found.high
    assert 0.935 < held / books < 0.975
