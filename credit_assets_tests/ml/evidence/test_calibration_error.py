"""How uncertain the rows of a calibration leave it: against fitting it again on other rows."""

from __future__ import annotations

import numpy as np
import pytest

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.calibration_error import SURE, CalibrationError
from credit_assets.ml.evidence.logistic import logistic_line
from credit_assets.ml.learners.calibration import fit_platt


def loans(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    margin = rng.normal(-2.3, 0.9, rows)
    return margin, (rng.random(rows) < probability(margin)).astype(int)


@pytest.mark.parametrize("level_alone", [False, True])
def test_the_error_of_the_level_is_that_of_fitting_again(level_alone: bool) -> None:
    rng, levels, said = np.random.default_rng(1), [], []
    for _ in range(300):
        margin, y = loans(600, rng)
        if level_alone:
            # A slope that is known, and a level that these rows move.
            line = logistic_line(y.astype(float), margin, 0.0, slope_free=False)
            assert line is not None
            found = CalibrationError.of_level(y, probability(margin + line[0]), SURE)
            levels.append(line[0])
        else:
            fitted = fit_platt(margin, y)
            found = CalibrationError.of(y, fitted.pd(margin))
            # The log-odds that it gives the middle of the bads.
            levels.append(fitted.slope * -1.7 + fitted.intercept)
        said.append(found.variance(1.0, -1.7))
    assert np.sqrt(np.mean(said)) == pytest.approx(np.std(levels), rel=0.2)


def test_pds_that_are_wrong_on_their_own_rows_are_no_less_certain_for_it() -> None:
    """Taken at the PDs as they are, a thousandth of them would leave the level open by a factor of many thousands."""
    margin, y = loans(1_000, np.random.default_rng(2))
    sound = CalibrationError.of(y, probability(margin))
    for factor in (0.001, 0.2, 2.0):
        wrong = CalibrationError.of(y, np.minimum(factor * probability(margin), 0.99))
        middle = float(np.log(factor)) - 2.0
        assert wrong.variance(1.0, middle) == pytest.approx(sound.variance(1.0, -2.0), rel=0.5), factor


def test_a_kept_slope_is_as_uncertain_as_it_was() -> None:
    margin, y = loans(800, np.random.default_rng(3))
    before = CalibrationError(0.4, 0.18, 0.09)
    found = CalibrationError.of_level(y, probability(margin), before)
    assert found.slope == before.slope
    variance = probability(margin) * (1 - probability(margin))
    middle = float(variance @ margin / variance.sum())
    # In the middle of the new rows nothing of the slope is felt.
    assert found.variance(1.0, middle) == pytest.approx(1 / variance.sum(), rel=0.15)
    assert found.variance(1.0, middle + 1) == pytest.approx(found.variance(1.0, middle) + 0.09, rel=0.1)


@pytest.mark.parametrize("pd", [0.0, 1e-5, 0.3, 1.0])
def test_one_pd_for_all_leaves_a_level_and_no_variance_below_nothing(pd: float) -> None:
    found = CalibrationError.of([0, 1, 0, 0, 1] * 20, [pd] * 100)
    assert found.intercept >= 0
    assert found.slope >= 0
    assert CalibrationError.of([0] * 50, [pd] * 50).intercept >= 0
    # However many rows they are: the level of 100 bads is open by a tenth.
    many = CalibrationError.of([1] * 100 + [0] * 49_900, [pd] * 50_000)
    odds = float(np.log(max(pd, 1e-9) / max(1 - pd, 1e-9)))
    assert many.variance(1.0, odds) == pytest.approx(0.01, rel=0.05)


def test_customers_leave_more_open_than_rows() -> None:
    margin, y = loans(500, np.random.default_rng(4))
    twice = np.repeat(np.arange(500), 2)
    once = CalibrationError.of(y, probability(margin))
    doubled = CalibrationError.of(np.repeat(y, 2), probability(np.repeat(margin, 2)), twice)
    assert doubled.slope == pytest.approx(once.slope)
    level = [CalibrationError.of_level(y, probability(margin), SURE)]
    level.append(CalibrationError.of_level(np.repeat(y, 2), probability(np.repeat(margin, 2)), SURE, twice))
    assert level[1].intercept == pytest.approx(level[0].intercept)
