"""Two samples: worked numbers, and the same as scipy."""

from __future__ import annotations

import numpy as np
import pytest

from credit_assets.ml.evidence.two_samples import (
    cell_p_values,
    chi_squared,
    ks_p_value,
    outside_p_value,
    psi,
    psi_by_chance,
    shares_p_value,
    unseen,
)


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
    assert np.mean(values) == pytest.approx(psi_by_chance(12, 1000, 500), rel=0.1)
    assert psi_by_chance(12, 1000, 500) == pytest.approx(0.033)
    assert psi_by_chance(1, 10, 10) == psi_by_chance(0, 10, 10) == 0.0


def test_tests_agree_with_scipy() -> None:
    from scipy import stats

    assert ks_p_value(0.1, 500, 500) == pytest.approx(0.0124, abs=1e-4)
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=800), rng.normal(0.12, 1, size=600)
    exact = stats.ks_2samp(a, b, method="exact")
    assert ks_p_value(exact.statistic, 800, 600) == pytest.approx(exact.pvalue, rel=0.1)
    assert ks_p_value(0.0, 10, 10) == 1.0
    tested = chi_squared([50, 30, 20], [30, 30, 40])
    assert tested == pytest.approx((11.6667, 0.00293), rel=1e-2)
    many = rng.multinomial(10_000, np.full(12, 1 / 12)), rng.multinomial(8_000, np.linspace(0.9, 1.1, 12) / 12)
    table = stats.chi2_contingency(many, correction=False)
    assert chi_squared(*many) == pytest.approx((table.statistic, table.pvalue), rel=1e-2)
    for k, n, j, m in ((10, 1000, 15, 500), (0, 5000, 3, 500), (400, 1000, 250, 500), (3, 50, 0, 40), (7, 20, 20, 20)):
        both = stats.hypergeom(n + m, k + j, m)
        expected = min(1.0, 2 * min(both.sf(j - 1), both.cdf(j)))
        assert shares_p_value(k, n, j, m) == pytest.approx(expected, rel=1e-6)
    for k, j in ((1, 15), (0, 4), (30, 0), (40, 5)):
        one = stats.binom(k + j, 500 / 5500)
        expected = min(1.0, 2 * min(one.sf(j - 1), one.cdf(j)))
        assert cell_p_values([k, 5000 - k], [j, 500 - j])[0] == pytest.approx(expected, rel=1e-6)


def test_large_counts_do_not_tire_the_exact_test() -> None:
    assert shares_p_value(1_000_000, 10_000_000, 1_000_000, 10_000_000) == pytest.approx(1.0)
    assert shares_p_value(1_000_000, 10_000_000, 1_010_000, 10_000_000) < 1e-10  # type: ignore[operator]


@pytest.mark.parametrize(("n", "m"), [(5_000, 500), (500, 5_000), (300, 300)])
def test_a_true_hypothesis_is_rejected_no_more_often_than_it_says(n: int, m: int) -> None:
    """1,000 pairs of samples of one distribution with hundreds of sparse levels: the tails, where reports decide."""
    rng = np.random.default_rng(n)
    shares = 1 / np.arange(1, 401)
    shares /= shares.sum()
    pairs = list(zip(rng.multinomial(n, shares, 1000), rng.multinomial(m, shares, 1000), strict=True))
    found = {
        "chi squared": [chi_squared(a, b)[1] for a, b in pairs],  # type: ignore[index]
        "unseen": [unseen(a, b)[1] for a, b in pairs],
        "levels": [float(cell_p_values(a, b).min()) * int(((a + b) > 0).sum()) for a, b in pairs],
        "shares": [shares_p_value(int(a[300:].sum()), n, int(b[300:].sum()), m) for a, b in pairs],
    }
    for level, most in ((0.05, 75), (0.01, 20), (0.001, 5)):
        # `most` is exceeded by chance once in some thousand runs at the level itself.
        rejected = {name: sum(one is not None and one < level for one in ps) for name, ps in found.items()}
        assert max(rejected.values()) <= most, rejected


@pytest.mark.parametrize(("n", "m"), [(1_000, 100), (100, 1_000)])
def test_how_many_are_expected_beyond_the_reference(n: int, m: int) -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(2000):
        values = rng.random(n + m)
        found.append(int(((values[n:] < values[:n].min()) | (values[n:] > values[:n].max())).sum()))
    for outside in (1, 3, 6):
        exact = outside_p_value(outside, n, m)
        assert exact == pytest.approx(np.mean([one >= outside for one in found]), abs=0.04)
    assert outside_p_value(0, n, m) == 1.0
    assert outside_p_value(m + 1, n, m) == 0.0
    assert outside_p_value(1, 0, 5) is None


def test_levels_that_the_reference_lacks_are_held_against_those_that_stand_once() -> None:
    # Every row has a level of its own: all newer rows are new, and that is what is expected.
    expected, p_value = unseen([1] * 900 + [0] * 100, [0] * 900 + [1] * 100)
    assert (round(expected), p_value) == (100, 1.0)
    # The same 100 rows of their own beside a reference in which no level is rare.
    assert unseen([450, 450] + [0] * 100, [0, 0] + [1] * 100)[1] < 1e-50
    assert unseen([450, 450, 0], [50, 40, 10])[1] < 1e-9
    assert unseen([450, 450], [50, 50]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("counts", "other"), [([100], [50]), ([100, 3], [50, 0]), ([0, 0], [5, 5]), ([100, 0], [60, 0])]
)
def test_where_nothing_can_differ_there_is_no_chi_squared(counts: list[int], other: list[int]) -> None:
    # 100, 3 against 50, 0: the rare level stands alone, with 1 expected row.
    tested = chi_squared(counts, other)
    assert tested is None or tested[1] > 0.1
    assert shares_p_value(0, 10, 0, 10) is None
    assert shares_p_value(10, 10, 5, 5) is None
