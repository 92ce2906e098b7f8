"""Platt calibration: right on known truths, safe on bad luck."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.learners.calibration import MAX_LOG_ODDS, MIN_SLOPE, PlattCalibration, fit_platt


def sample(rows: int, slope: float, intercept: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    margin = rng.normal(-3.0, 1.2, rows)
    return margin, (rng.random(rows) < probability(slope * margin + intercept)).astype(int)


def test_a_known_line_is_found_again() -> None:
    margin, y = sample(200_000, 0.6, -0.8)
    found = fit_platt(margin, y)
    assert found.slope == pytest.approx(0.6, abs=0.02)
    assert found.intercept == pytest.approx(-0.8, abs=0.06)


def test_agrees_with_an_unpenalised_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    margin, y = sample(20_000, 1.3, 0.4)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(margin[:, None], y)
    found = fit_platt(margin, y)
    # Not equal: the targets are drawn in by one bad and one good.
    assert found.slope == pytest.approx(reference.coef_[0, 0], rel=0.01)
    assert found.intercept == pytest.approx(reference.intercept_[0], rel=0.03)


def test_the_mean_pd_meets_the_bad_rate() -> None:
    margin, y = sample(5_000, 0.5, -2.0)
    assert fit_platt(margin, y).pd(margin).mean() == pytest.approx(y.mean(), abs=1e-3)


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (1000, 1), (-1000, 1e-3), (0, 1e6), (0, 1e-6)])
def test_shift_and_scale_of_the_margin_do_not_matter(shift: float, scale: float) -> None:
    margin, y = sample(3_000, 1.0, 0.0)
    expected = fit_platt(margin, y).pd(margin)
    moved = margin * scale + shift
    # A slope below the smallest is the one thing that a huge scale runs into.
    if fit_platt(margin, y).slope / scale > MIN_SLOPE:
        np.testing.assert_allclose(fit_platt(moved, y).pd(moved), expected, rtol=1e-6)
    else:
        assert fit_platt(moved, y).slope == MIN_SLOPE


def test_separable_rows_give_a_finite_slope() -> None:
    margin, y = np.r_[np.linspace(-3, -1, 50), np.linspace(1, 3, 10)], np.r_[np.zeros(50), np.ones(10)]
    found = fit_platt(margin, y)
    assert np.isfinite(found.slope)
    p = found.pd(margin)
    assert ((p > 0) & (p < 1)).all()
    # Drawn in to 11 / 12 and 1 / 52, which the PDs of the two sides scatter around.
    assert p[y == 1].mean() == pytest.approx(11 / 12, abs=0.03)
    assert p[y == 0].mean() == pytest.approx(1 / 52, abs=0.03)


@pytest.mark.parametrize("margin", [np.linspace(3, -3, 400), np.full(400, -2.5), np.zeros(400)])
def test_a_margin_that_ranks_the_wrong_way_or_not_at_all_keeps_a_positive_slope(margin: np.ndarray) -> None:
    y = (np.arange(400) >= 360).astype(int)
    found = fit_platt(margin, y)
    assert found.slope == MIN_SLOPE
    assert found.pd(margin).mean() == pytest.approx(0.1, abs=0.005)


def test_the_order_of_applicants_is_kept() -> None:
    margin, y = sample(2_000, 0.7, -1.0)
    p = fit_platt(margin, y).pd(margin)
    assert np.array_equal(np.argsort(p, kind="stable"), np.argsort(margin, kind="stable"))


@pytest.mark.parametrize("margin", [-1e6, -800.0, -30.0, 0.0, 30.0, 800.0, 1e6])
def test_pds_are_strictly_between_zero_and_one_without_warning(margin: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = PlattCalibration(1.0, 0.0).pd(np.array([margin]))[0]
    assert 0 < p < 1
    assert abs(PlattCalibration(1.0, 0.0).log_odds(np.array([margin]))[0]) <= MAX_LOG_ODDS


def test_worked_numbers() -> None:
    assert PlattCalibration(0.5, -1.0).pd(2.0) == 0.5
    assert probability(np.log(1 / 50)) == pytest.approx(1 / 51)
    assert probability(-2.944) == pytest.approx(0.05, abs=1e-4)
    assert probability(np.empty(0)).shape == (0,)


def test_a_fit_is_the_same_whatever_the_order_of_rows() -> None:
    margin, y = sample(3_000, 0.7, -1.0)
    order = np.random.default_rng(2).permutation(3_000)
    first, second = fit_platt(margin, y), fit_platt(margin[order], y[order])
    assert first.slope == pytest.approx(second.slope, rel=1e-9)


@pytest.mark.parametrize(
    ("margin", "y", "message"),
    [
        ([], [], "at least one good"),
        ([1.0, 2.0], [0, 0], "at least one good"),
        ([1.0, 2.0], [1, 1], "at least one good"),
        ([1.0, 2.0], [0, 2], "at least one good"),
        ([1.0], [0, 1], "equal length"),
        ([[1.0], [2.0]], [0, 1], "one-dimensional"),
        ([np.nan, 2.0], [0, 1], "1 margins are not finite"),
        ([np.inf, 2.0], [0, 1], "1 margins are not finite"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(margin: list[float], y: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_platt(margin, y)


def test_a_record_restores_the_calibration() -> None:
    found = PlattCalibration(0.7123456789012345, -1e-3)
    assert PlattCalibration.from_record(found.to_record()) == found
    for bad in ({}, {"method": "isotonic", "slope": 1, "intercept": 0}, {**found.to_record(), "more": 1}):
        with pytest.raises(ValueError, match="Platt"):
            PlattCalibration.from_record(bad)


@pytest.mark.parametrize(("slope", "intercept"), [(0, 0), (-1, 0), (np.nan, 0), (1, np.inf)])
def test_a_calibration_that_turns_the_model_round_cannot_be_made(slope: float, intercept: float) -> None:
    with pytest.raises(ValueError, match="positive slope"):
        PlattCalibration(slope, intercept)
