"""Calibration measured: against formulas by hand, with the size and power of its tests on PDs whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from credit_assets.ml.evidence.calibration_error import SURE
from credit_assets.ml.evidence.calibration_evidence import CalibrationFigures, compare_calibration, measure_calibration
from credit_assets.ml.evidence.evaluation import log_loss
from credit_assets.ml.evidence.performance import estimate, realised, reconcile
from credit_assets.ml.learners.calibration import fit_platt
from credit_assets_tests.support.calibration_books import book, fitted_book, stretched


def rejected(found: list[CalibrationFigures], name: str, level: float) -> float:
    values = [getattr(one, name) for one in found]
    return float(np.mean([value is not None and value < level for value in values]))


def test_the_numbers_by_hand() -> None:
    y, pd = [1] * 20 + [0] * 80 + [1] * 40 + [0] * 60, [0.1] * 100 + [0.2] * 100
    found = measure_calibration(y, pd)
    assert (found.rows, found.bads, found.expected) == (200, 60, pytest.approx(30))
    assert found.level_p == pytest.approx(math.erfc(30 / math.sqrt(2 * (9 + 16))))
    # Two groups and two parameters: the line meets both rates, .2 and .4.
    x = [math.log(p / (1 - p)) for p in (0.1, 0.2)]
    z = [math.log(p / (1 - p)) for p in (0.2, 0.4)]
    assert found.slope is not None
    assert found.intercept is not None
    assert found.slope.value == pytest.approx((z[1] - z[0]) / (x[1] - x[0]), abs=1e-6)
    large = 1 / (1 + np.exp(-(found.intercept.value + np.array(x))))
    assert 100 * large.sum() == pytest.approx(60, abs=1e-6)
    # Score of the level and of the slope at the null, with the variance of the outcomes under the null.
    weight = np.repeat([0.09, 0.16], 100)
    around = np.repeat(x, 100) - (weight @ np.repeat(x, 100)) / weight.sum()
    spread = ((np.array(y) - np.array(pd)) @ around) ** 2 / (weight @ around**2)
    assert found.p_value == pytest.approx(math.exp(-(30**2 / 25 + spread) / 2))


def test_slope_and_intercept_are_those_of_a_fit_by_another_way() -> None:
    y, pd = book(np.random.default_rng(1), 20_000, 0.1)
    found = measure_calibration(y, stretched(pd, 1.6))
    fitted = fit_platt(np.log(stretched(pd, 1.6) / (1 - stretched(pd, 1.6))), y)
    assert found.slope is not None
    assert found.slope.value == pytest.approx(fitted.slope, abs=0.005)
    assert found.slope.low < 1 / 1.6 < found.slope.high


@pytest.mark.parametrize(("rows", "books"), [(250, 1_500), (1_000, 800), (10_000, 250)])
@pytest.mark.parametrize("rate", [0.02, pytest.param(0.1, marks=pytest.mark.slow), 0.3])
def test_the_tests_have_their_size(rows: int, books: int, rate: float) -> None:
    rng = np.random.default_rng([rows, round(100 * rate)])
    found = [measure_calibration(*book(rng, rows, rate)) for _ in range(books)]
    # 5% and 1% within four standard errors of so many books.
    for level in (0.05, 0.01):
        most = level + 4 * math.sqrt(level * (1 - level) / books)
        for name in ("p_value", "level_p", "slope_p"):
            assert rejected(found, name, level) < most, name
    held = [one.slope.low <= 1 <= one.slope.high for one in found if one.slope]
    assert 0.92 < np.mean(held) < 0.99


@pytest.mark.parametrize(
    ("bads", "rate", "copies", "books"),
    [
        ((20, 20), 0.1, 1, 500),
        ((50, 50), 0.02, 1, 300),
        pytest.param((50, 50), 0.3, 1, 500, marks=pytest.mark.slow),
        pytest.param((50, 400), 0.1, 1, 200, marks=pytest.mark.slow),
        ((400, 50), 0.1, 1, 200),
        ((90, 90), 0.1, 3, 400),
    ],
)
def test_the_tests_have_their_size_of_a_model_whose_calibration_was_fitted(
    bads: tuple[int, int], rate: float, copies: int, books: int
) -> None:
    rng, found, exact = np.random.default_rng([*bads, copies]), [], []
    for _ in range(books):
        y, pd, customers, error = fitted_book(rng, bads, rate, copies=copies)
        found.append(measure_calibration(y, pd, customers, error))
        exact.append(measure_calibration(y, pd, customers))
    for level in (0.05, 0.01):
        most = level + 4 * math.sqrt(level * (1 - level) / books)
        for name in ("level_p", "slope_p", "p_value"):
            assert rejected(found, name, level) < most, name
    # Taken for exact, PDs that were fitted on as few bads as the test has, or fewer, are rejected too often.
    assert bads[0] > bads[1] or rejected(exact, "p_value", 0.05) > 0.1


def test_what_the_fit_leaves_open_is_recorded_and_changes_no_interval() -> None:
    y, pd, _customers, error = fitted_book(np.random.default_rng(3), (60, 60), 0.1)
    with_fit, without = measure_calibration(y, pd, None, error), measure_calibration(y, pd)
    assert without.fitted is None
    assert with_fit.fitted is not None
    assert with_fit.fitted["slope"] == pytest.approx(math.sqrt(error.slope))
    # A relative error of a level of 60 bads.
    assert with_fit.fitted["level"] == pytest.approx(1 / math.sqrt(60 * 0.9), rel=0.3)
    assert with_fit.observed_over_expected == without.observed_over_expected
    assert (with_fit.slope, with_fit.intercept) == (without.slope, without.intercept)
    for name in ("level_p", "slope_p", "p_value"):
        assert getattr(with_fit, name) >= getattr(without, name)
    # A fit without an error is none.
    assert measure_calibration(y, pd, None, SURE).level_p == pytest.approx(without.level_p)


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        (lambda pd: np.minimum(2 * pd, 0.999), 0.75),
        (lambda pd: pd / 2, 0.6),
        (lambda pd: pd / 5, 0.99),
        (lambda pd: pd / 1000, 0.99),
        (np.zeros_like, 0.99),
    ],
)
def test_faults_of_a_fitted_model_are_found_with_fifty_bads(fault: Any, least: float) -> None:
    rng, found = np.random.default_rng(6), []
    for _ in range(100):
        y, pd, _customers, error = fitted_book(rng, (50, 50), 0.1, fault)
        found.append(measure_calibration(y, pd, None, error))
    assert rejected(found, "level_p", 0.01) >= least


@pytest.mark.parametrize(
    ("fault", "name", "least"),
    [
        (lambda pd: np.minimum(2 * pd, 0.999), "level_p", 0.99),
        (lambda pd: 1.5 * pd / (1 + 0.5 * pd), "level_p", 0.75),
        (lambda pd: pd / 5, "level_p", 0.99),
        (lambda pd: pd / 1000, "level_p", 0.99),
        (lambda pd: stretched(pd, 2), "slope_p", 0.99),
        (lambda pd: stretched(pd, 0.5), "slope_p", 0.8),
    ],
)
def test_planted_faults_are_found_with_a_hundred_bads(fault: Any, name: str, least: float) -> None:
    rng = np.random.default_rng(5)
    found = []
    for _ in range(150):
        y, pd = book(rng, 1_000, 0.1)
        found.append(measure_calibration(y, fault(pd)))
    assert rejected(found, name, 0.01) >= least


def test_a_pd_of_nothing_for_everybody_is_seen() -> None:
    y, _pd = book(np.random.default_rng(2), 500, 0.1)
    nothing = measure_calibration(y, np.zeros(500))
    assert nothing.level_p < 1e-12
    assert nothing.observed_over_expected.low > 1_000
    certain = measure_calibration(y, np.ones(500))
    assert certain.level_p < 1e-12
    assert certain.observed_over_expected.high < 1
    assert (certain.slope, certain.why) == (None, "all rows have one PD")
    assert all(math.isfinite(value) for value in (nothing.p_value, nothing.observed_over_expected.high))


def test_rows_of_one_class_have_a_level_and_no_slope() -> None:
    _, pd = book(np.random.default_rng(3), 400, 0.1)
    good, bad = measure_calibration(np.zeros(400), pd), measure_calibration(np.ones(400), pd)
    assert (good.observed_over_expected.value, good.slope, good.why) == (0, None, "all 400 rows are good")
    assert good.observed_over_expected.high < 1
    assert good.level_p < 0.01
    assert bad.observed_over_expected.low > 1
    assert bad.why == "all 400 rows are bad"


def test_separated_rows_have_no_slope_and_say_so() -> None:
    found = measure_calibration([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])
    assert found.slope is None
    assert "separate" in (found.why or "")
    assert found.observed_over_expected.value == pytest.approx(2)


@pytest.mark.parametrize(
    ("y", "pd", "message"),
    [
        ([], [], "no rows"),
        ([0, 1], [0.1], "equal length"),
        ([0, 2], [0.1, 0.2], "0 .good. or 1 .bad."),
        ([0, 1], [0.1, float("nan")], "1 PDs are missing or outside"),
        ([0, 1], [1.2, -0.1], "2 PDs are missing or outside"),
        ([0, float("nan")], [0.1, 0.1], "0 .good. or 1 .bad."),
    ],
)
def test_what_is_no_pd_or_no_outcome_is_refused(y: list[float], pd: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_calibration(y, pd)
    with pytest.raises(ValueError, match="one integer for each"):
        measure_calibration([0, 1], [0.1, 0.2], [1, 1, 2])


def test_copies_of_every_row_tell_nothing_new_where_they_are_grouped() -> None:
    y, pd = book(np.random.default_rng(4), 1_500, 0.1)
    once = measure_calibration(y, stretched(pd, 1.2))
    doubled = measure_calibration(np.repeat(y, 2), np.repeat(stretched(pd, 1.2), 2), np.repeat(np.arange(1_500), 2))
    apart = measure_calibration(np.repeat(y, 2), np.repeat(stretched(pd, 1.2), 2))
    assert doubled.design_effect == pytest.approx(2)
    assert doubled.level_p == pytest.approx(once.level_p)
    assert doubled.slope_p == pytest.approx(once.slope_p)
    assert vars(doubled.observed_over_expected) == pytest.approx(vars(once.observed_over_expected))
    assert once.slope
    assert doubled.slope
    assert apart.slope
    assert vars(doubled.slope) == pytest.approx(vars(once.slope), abs=1e-6)
    assert apart.slope.high - apart.slope.low < 0.75 * (once.slope.high - once.slope.low)


def test_two_models_on_the_same_rows() -> None:
    y, pd = book(np.random.default_rng(6), 8_000, 0.1)
    theirs = pd / 2
    found = compare_calibration(y, pd, theirs)
    assert found["candidate"] == measure_calibration(y, pd).to_record()
    assert found["champion"] == measure_calibration(y, theirs).to_record()
    assert found["pd_ratio"] == pytest.approx(2)
    farther = found["farther"]
    assert farther["low"] <= farther["value"] <= farther["high"] < 0
    assert found["log_loss"]["value"] == pytest.approx(log_loss(y, pd) - log_loss(y, theirs))
    assert found["log_loss"]["high"] < 0
    back = compare_calibration(y, theirs, pd)
    assert back["farther"]["value"] == pytest.approx(-farther["value"])
    assert back["log_loss"]["low"] == pytest.approx(-found["log_loss"]["high"])
    assert found["better_p"] == pytest.approx(1 - back["better_p"])
    assert found["better_p"] < 1e-6


def test_of_two_sound_models_neither_is_shown_to_lie_farther_by_the_chance_of_its_fit() -> None:
    rng, books, beyond = np.random.default_rng(15), 400, 0
    for _ in range(books):
        y, pd, _customers, _error = fitted_book(rng, (60, 60), 0.1)
        # Another calibration of the same model, on rows of its own.
        shift = rng.normal(0, 1 / math.sqrt(54))
        theirs = pd * np.exp(shift) / (1 + pd * (np.exp(shift) - 1))
        beyond += math.exp(compare_calibration(y, pd, theirs)["farther"]["low"]) > 1.1
    assert beyond / books <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / books)


def test_the_same_model_twice_does_not_differ() -> None:
    y, pd = book(np.random.default_rng(8), 500, 0.1)
    found = compare_calibration(y, pd, pd)
    assert found["farther"] == found["log_loss"] == {"value": 0, "low": 0, "high": 0}
    assert found["better_p"] == 1


def test_a_model_no_better_calibrated_is_shown_better_no_more_often_than_stated() -> None:
    """Two models that err alike to either side: either is the better by chance, in 5% of all books."""
    rng, books = np.random.default_rng(9), 400
    for rows, odds in ((2_000, 1.2), (400, 2.0)):
        taken = np.zeros(2)
        for _ in range(books):
            y, pd = book(rng, rows, 0.1)
            found = compare_calibration(y, odds * pd / (1 + (odds - 1) * pd), pd / (odds - (odds - 1) * pd))
            taken += found["better_p"] < 0.05, found["better_p"] > 0.95
        assert (taken / books < 0.05 + 4 * math.sqrt(0.05 * 0.95 / books)).all()


def test_every_place_that_judges_a_level_agrees() -> None:
    """The interval of observed over expected, the score test, and the estimate held against what was realised."""
    rng, verdicts = np.random.default_rng(14), []
    for _ in range(60):
        y, pd = book(rng, 400, 0.1)
        pd = np.minimum(pd * rng.choice([0.6, 1.0, 1.6]), 0.99)
        level, found = measure_calibration(y, pd), realised(y, pd)
        held = reconcile(estimate(pd).to_record(), found.to_record())
        assert held is not None
        assert found.observed_over_expected == level.observed_over_expected
        inside = level.observed_over_expected.low <= 1 <= level.observed_over_expected.high
        assert inside == (level.level_p >= 0.05) == held["within"]["rate"]
        verdicts.append(inside)
    assert 0 < sum(verdicts) < 60
