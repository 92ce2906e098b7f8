"""Two samples: worked numbers, and the same as scipy."""

from __future__ import annotations

import numpy as np
import pytest

from credit_assets.ml.evidence.two_samples import chi_squared, ks_p_value, psi, shares_p_value


@pytest.mark.parametrize(
    ("expected", "actual", "value"),
    [
        ([50, 30, 20], [50, 30, 20], 0.0),
        ([50, 30, 20], [500, 300, 200], 0.0),
        ([50, 30, 20], [30, 30, 40], 0.2 * np.log(5 / 3) + 0.2 * np.log(2)),
        ([50, 50, 0], [50, 50, 0], 0.0),
        ([100, 0], [90, 10], 0.1 * np.log(100 / 90) + 0.095 * np.log(0.1 / 0.005)),
        # Half a row of a million would be 5e-7.
        ([1_000_000, 0], [900_000, 100_000], 0.1 * np.log(10 / 9) + 0.0999 * np.log(0.1 / 1e-4)),
    ],
)
def test_known_psi(expected: list[int], actual: list[int], value: float) -> None:
    assert psi(expected, actual) == pytest.approx(value)


def test_psi_needs_rows() -> None:
    with pytest.raises(ValueError, match="rows on both sides"):
        psi([1, 2], [0, 0])


def test_psi_without_a_shift_is_about_bins_over_rows() -> None:
    rng = np.random.default_rng(0)
    shares = np.full(12, 1 / 12)
    values = [psi(rng.multinomial(1000, shares), rng.multinomial(500, shares)) for _ in range(400)]
    assert np.mean(values) == pytest.approx(11 * (1 / 1000 + 1 / 500), rel=0.1)


def test_tests_agree_with_scipy() -> None:
    from scipy import stats

    assert ks_p_value(0.1, 500, 500) == pytest.approx(0.0124, abs=1e-4)
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=800), rng.normal(0.12, 1, size=600)
    exact = stats.ks_2samp(a, b, method="exact")
    assert ks_p_value(exact.statistic, 800, 600) == pytest.approx(exact.pvalue, rel=0.1)
    assert ks_p_value(0.0, 10, 10) == 1.0
    tested = chi_squared([50, 30, 20], [30, 30, 40])
    assert tested == pytest.approx((11.6667, 0.00293), rel=1e-3)
    table = stats.chi2_contingency([[990, 10], [485, 15]], correction=True)
    assert shares_p_value(10, 1000, 15, 500) == pytest.approx(table.pvalue)
    assert table.statistic == pytest.approx(6.96, abs=0.005)


@pytest.mark.parametrize(
    ("counts", "other"), [([100], [50]), ([100, 3], [50, 0]), ([0, 0], [5, 5]), ([100, 0], [60, 0])]
)
def test_where_nothing_can_differ_there_is_no_chi_squared(counts: list[int], other: list[int]) -> None:
    # 100, 3 against 50, 0: the rare level stands alone, with 1 expected row.
    tested = chi_squared(counts, other)
    assert tested is None or tested[1] > 0.1
    assert shares_p_value(0, 10, 0, 10) is None
    assert shares_p_value(10, 10, 5, 5) is None
