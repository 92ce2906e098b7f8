"""What the use of a model is held against, and how uncertain that is: against resampling."""

from __future__ import annotations

import json

import numpy as np
import pytest

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.baseline import JudgedRows, measure_baseline
from credit_assets.ml.evidence.calibration_error import SURE, CalibrationError
from credit_assets.ml.evidence.evaluation import auc, auc_error
from credit_assets.ml.evidence.performance import by_version, estimate, realised
from credit_assets.ml.learners.calibration import fit_platt

Loans = tuple[np.ndarray, np.ndarray]


def loans(rows: int, rng: np.random.Generator) -> Loans:
    margin = rng.normal(-2.3, 0.9, rows)
    return margin, (rng.random(rows) < probability(margin)).astype(int)


def test_a_baseline_has_each_value_with_its_error() -> None:
    rng = np.random.default_rng(1)
    margin, y = loans(2_000, rng)
    fitted = fit_platt(margin, y)
    tested, outcome = loans(3_000, rng)
    found = measure_baseline(JudgedRows(y, fitted.pd(margin)), JudgedRows(outcome, fitted.pd(tested)))
    p = fitted.pd(tested)
    assert (found.rows, found.bads, found.auc) == (3_000, outcome.sum(), auc(outcome, p))
    assert found.auc_error == auc_error(outcome, p)
    assert (found.estimated_auc, found.estimated_auc_drawn) == (estimate(p).auc, estimate(p).auc_drawn)
    assert found.level_bads == y.sum() + outcome.sum()
    # The calibration's own rows say 0, and those of the test what they say: one weighs as much as its bads.
    came = np.log(outcome.sum() / p.sum())
    assert found.level == pytest.approx(came * outcome.sum() / (y.sum() + outcome.sum()), rel=0.1)
    assert found.level_error == pytest.approx(1 / np.sqrt(found.level_bads), rel=0.15)
    assert json.loads(json.dumps(found.to_record())) == found.to_record()
    assert CalibrationError(**found.to_record()["calibration"]) == found.calibration


@pytest.mark.slow
def test_the_errors_of_a_calibration_are_those_of_fitting_it_again() -> None:
    """The AUC, rate and Brier score that PDs make one expect, over calibrations of new loans each."""
    rng = np.random.default_rng(2)
    fixed = loans(4_000, rng)[0]
    spread: dict[str, list[float]] = {name: [] for name in ("auc", "expected_rate", "brier")}
    said: dict[str, list[float]] = {name: [] for name in spread}
    for _ in range(300):
        margin, y = loans(500, rng)
        fitted = fit_platt(margin, y)
        uncertain = CalibrationError.of(y, fitted.pd(margin))
        p = fitted.pd(fixed)
        alone, held = estimate(p).to_record(), estimate(p, calibration=uncertain).to_record()
        for name in ("auc", "expected_rate", "brier"):
            spread[name].append(alone[name])
            # What the interval has beyond the outcomes' chance.
            half, chance = ((one[f"{name}_high"] - one[f"{name}_low"]) / 3.92 for one in (held, alone))
            said[name].append(np.sqrt(max(0.0, half**2 - chance**2)))
    for name, values in spread.items():
        assert np.median(said[name]) == pytest.approx(np.std(values), rel=0.2), name


def test_the_level_that_validation_and_test_promise_is_that_of_the_model() -> None:
    rng = np.random.default_rng(7)
    fixed = loans(40_000, rng)[0]
    apart = []
    for _ in range(250):
        (margin, y), (tested, outcome) = loans(400, rng), loans(500, rng)
        fitted = fit_platt(margin, y)
        found = measure_baseline(JudgedRows(y, fitted.pd(margin)), JudgedRows(outcome, fitted.pd(tested)))
        true = np.log(probability(fixed).sum() / fitted.pd(fixed).sum())
        apart.append((found.level - true) / found.level_error)
    assert np.std(apart) == pytest.approx(1.0, abs=0.12)
    assert abs(np.mean(apart)) < 0.25


def test_intervals_of_an_estimate_hold_what_comes_of_a_calibration_of_45_bads() -> None:
    rng, held, alone = np.random.default_rng(3), 0, 0
    books = 150
    for _ in range(books):
        margin, y = loans(360, rng)
        fitted = fit_platt(margin, y)
        scored, outcome = loans(1_800, rng)
        p = fitted.pd(scored)
        uncertain = CalibrationError.of(y, fitted.pd(margin))
        came = auc(outcome, p)
        for calibration in (uncertain, SURE):
            found = estimate(p, calibration=calibration)
            assert found.auc_low is not None
            assert found.auc_high is not None
            inside = found.auc_low <= came <= found.auc_high
            held, alone = (held + inside, alone) if calibration is uncertain else (held, alone + inside)
    assert held / books >= 0.92
    assert alone / books < 0.85


def test_what_an_estimate_varies_by_is_that_of_other_applicants() -> None:
    rng = np.random.default_rng(4)
    drawn = [estimate(probability(loans(1_000, rng)[0])) for _ in range(300)]
    assert np.mean([one.auc_drawn for one in drawn]) == pytest.approx(np.std([one.auc for one in drawn]), rel=0.12)  # type: ignore[arg-type]


def test_a_doubled_book_is_no_surer() -> None:
    rng = np.random.default_rng(5)
    margin, y = loans(800, rng)
    p, twice = probability(margin), np.tile(np.arange(800), 2)
    once = measure_baseline(JudgedRows(y, p), JudgedRows(y, p))
    again = JudgedRows(np.tile(y, 2), np.tile(p, 2), twice)
    doubled = measure_baseline(again, again)
    assert doubled.auc_error == pytest.approx(once.auc_error)
    assert doubled.level_error == pytest.approx(once.level_error)
    assert doubled.estimated_auc_drawn == pytest.approx(once.estimated_auc_drawn, rel=1e-3)
    assert doubled.calibration.slope == pytest.approx(once.calibration.slope)
    assert doubled.calibration.effect == pytest.approx(2.0)
    one, two = estimate(p), estimate(np.tile(p, 2), twice, doubled.calibration)
    assert one.auc_error is not None
    assert two.auc_error is not None
    assert two.auc_error > one.auc_error
    first, second = realised(y, p), realised(np.tile(y, 2), np.tile(p, 2), twice)
    assert second.level_error == pytest.approx(first.level_error)
    assert second.auc_error == pytest.approx(first.auc_error)


def test_each_version_is_held_to_its_own_calibration() -> None:
    rng = np.random.default_rng(6)
    p, versions = probability(loans(900, rng)[0]), np.repeat(["1", "2"], [300, 600])
    given = {"1": {"calibration": SURE}, "2": {"calibration": CalibrationError(0.1, 0.0, 0.1, 1.0)}}
    found = by_version(estimate, versions, p, None, given=given)
    assert found["versions"]["1"] == estimate(p[:300]).to_record()
    assert found["versions"]["2"] == estimate(p[300:], None, given["2"]["calibration"]).to_record()
    whole = {name: value for name, value in found.items() if name != "versions"}
    assert whole == estimate(p, None, given["2"]["calibration"]).to_record()
    assert by_version(estimate, [], [], None, given=given)["rows"] == 0
