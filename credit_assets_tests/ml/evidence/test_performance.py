"""Performance in use: realised on cohorts of any kind, and the estimate held against simulated and real outcomes."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from credit_assets.loans.lending_club import read_lending_club
from credit_assets.ml.data.cohorts import CohortWindow, assemble_training_set, targets
from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.evidence.evaluation import auc, evaluate, ks
from credit_assets.ml.evidence.intervals import observed_over_expected
from credit_assets.ml.evidence.performance import (
    by_version,
    estimate,
    realised,
    reconcile,
)
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets_tests.support.synthetic import model_inputs

# Realised


def test_realised_is_the_evaluation_of_the_rows():
    y, p = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
    found = realised(y, p)
    assert (found.rows, found.bads, found.why) == (4, 2, None)
    assert found.evaluation == evaluate(y, p)
    assert found.observed_over_expected == observed_over_expected(2, p)
    assert found.evaluation is not None
    assert found.to_record()["evaluation"] == found.evaluation.to_record()


@pytest.mark.parametrize(
    ("y", "p", "min_bads", "evaluated", "ratio", "why"),
    [
        ([], [], 50, False, None, "no application was scored"),
        ([0, 0], [0.1, 0.3], 50, False, 0.0, "all 2 applications are good"),
        ([1, 1], [0.1, 0.3], 0, False, 5.0, "all 2 applications are bad"),
        ([0], [0.0], 0, False, None, "all 1 applications are good"),
        ([0, 1, 0], [0.2, 0.2, 0.1], 2, True, 2.0, "1 of the 2 bads that a verdict needs"),
        ([0, 1, 1], [0.2, 0.2, 0.1], 2, True, 4.0, None),
    ],
)
def test_a_cohort_that_cannot_be_judged_says_why(
    y: list[int], p: list[float], min_bads: int, evaluated: bool, ratio: float | None, why: str | None
):
    found = realised(y, p, min_bads=min_bads)
    assert (found.evaluation is not None) == evaluated
    assert (found.why or "").startswith(why) if why else found.why is None
    value = found.observed_over_expected
    assert (value and value.value) == (ratio if ratio is None else pytest.approx(ratio))


@pytest.mark.parametrize(("y", "p"), [([0, 1], [0.1, np.nan]), ([0, np.nan], [0.1, 0.2]), ([0, 1], [0.2, 1.2])])
def test_unusable_rows_are_refused(y: list[float], p: list[float]):
    with pytest.raises(ValueError, match=r"PDs are missing|every target|cannot convert"):
        realised(y, p)


# Estimated


def slow_auc(p: np.ndarray, weight: np.ndarray) -> float:
    """The expected AUC pair by pair: ranked by `p`, with outcomes of probability `weight`."""
    pairs = weight[:, None] * (1 - weight[None, :])
    np.fill_diagonal(pairs, 0)
    right = (p[:, None] > p[None, :]) + 0.5 * (p[:, None] == p[None, :])
    return float((pairs * right).sum() / pairs.sum())


def book(rows: int, seed: int = 3, mean: float = -2.3, spread: float = 1.0) -> np.ndarray:
    """Log-odds of applications."""
    return np.random.default_rng(seed).normal(mean, spread, rows)


@pytest.mark.parametrize("digits", [15, 2, 1])
def test_expected_auc_is_that_of_all_pairs_with_ties(digits: int):
    p = probability(book(300)).round(digits)
    assert estimate(p).auc == pytest.approx(slow_auc(p, p), abs=1e-12)
    assert estimate(np.random.default_rng(1).permutation(p)) == estimate(p)


def test_worked_numbers():
    found = estimate([0.3, 0.1])
    assert found.auc == pytest.approx(0.27 / 0.34)
    assert found.gini == pytest.approx(2 * 0.27 / 0.34 - 1)
    assert found.brier == pytest.approx(0.15)
    assert found.expected_rate == pytest.approx(0.2)
    assert estimate([0.2, 0.2, 0.2]).auc == pytest.approx(0.5)
    assert estimate([0.2, 0.2, 0.2]).ks == 0


@pytest.mark.parametrize(
    ("p", "why"),
    [
        ([], "no application was scored"),
        ([0.1], "fewer than two"),
        ([0.0, 0.0], "no chance of a good and a bad"),
        ([1.0, 1.0, 1.0], "no chance of a good and a bad"),
    ],
)
def test_nothing_to_estimate_is_no_error(p: list[float], why: str):
    found = estimate(p)
    assert found.rows == len(p)
    assert found.auc is found.ks is found.brier is found.expected_rate is None
    assert why in (found.why or "")


@pytest.mark.parametrize("p", [[0.1, np.nan], [0.1, -0.1], [0.2, 1.1]])
def test_pds_that_are_none_are_refused(p: list[float]):
    with pytest.raises(ValueError, match="1 PDs are missing or outside"):
        estimate(p)


@pytest.mark.parametrize("rows", [300, 4_000])
def test_on_calibrated_pds_the_estimate_is_what_comes_and_its_intervals_hold_95_percent(rows: int):
    p = probability(book(rows))
    found = estimate(p)
    rng = np.random.default_rng(5)
    drawn = [rng.random(rows) < p for _ in range(600)]
    what_came = {
        "auc": np.array([auc(y, p) for y in drawn]),
        "ks": np.array([ks(y, p) for y in drawn]),
        "brier": np.array([np.mean((p - y) ** 2) for y in drawn]),
        "expected_rate": np.array([y.mean() for y in drawn]),
    }
    record = found.to_record()
    for name, values in what_came.items():
        error = values.std() / np.sqrt(len(values))
        # KS of groups of like PD, from 200 draws of its own, is right to about a twentieth of its spread.
        assert abs(values.mean() - record[name]) < 4 * error + (0.15 * values.std() if name == "ks" else 0), name
        inside = ((values >= record[f"{name}_low"]) & (values <= record[f"{name}_high"])).mean()
        assert 0.92 < inside < 0.98, (name, inside)


def test_a_broken_calibration_misleads_the_estimate_by_the_stated_amounts():
    truth = book(200_000)
    y = np.random.default_rng(5).random(len(truth)) < probability(truth)
    overconfident = probability(2 * truth + 2.3)
    found, real = estimate(overconfident), evaluate(y, overconfident)
    assert found.auc == pytest.approx(0.872, abs=0.005)
    assert real.auc == pytest.approx(0.746, abs=0.01)
    # The realised one is the expected AUC under the true probabilities, which the PDs no longer are.
    some = slice(0, 2_000)
    assert slow_auc(overconfident[some], probability(truth)[some]) == pytest.approx(real.auc, abs=0.02)
    understated = probability(truth - 0.5)
    found, real = estimate(understated), evaluate(y, understated)
    assert (found.auc, real.auc) == (pytest.approx(0.751, abs=0.005), pytest.approx(0.746, abs=0.01))
    assert found.expected_rate == pytest.approx(0.082, abs=0.001)
    assert real.observed_rate == pytest.approx(0.124, abs=0.004)


def test_an_estimate_costs_the_order_of_a_sort():
    # Pair by pair, this would be 10^11 comparisons.
    assert estimate(probability(book(300_000))).auc == pytest.approx(0.746, abs=0.005)


# By version, reconciled


def test_versions_are_measured_apart_and_ordered():
    p, names = [0.1, 0.3, 0.2, 0.4, 0.5], ["10", "2", "2", "10", "10"]
    y = [0, 1, 0, 0, 1]
    found = by_version(partial(realised, min_bads=2), names, y, p)
    assert list(found["versions"]) == ["2", "10"]
    assert found["rows"] == 5
    assert found["versions"]["2"] == realised([1, 0], [0.3, 0.2], min_bads=2).to_record()
    assert found["versions"]["10"]["evaluation"]["auc"] == 1.0
    empty = by_version(estimate, [], [])
    assert (empty["rows"], empty["versions"]) == (0, {})


def test_reconciled_is_realised_less_estimated():
    p = probability(book(4_000))
    y = np.random.default_rng(8).random(len(p)) < p
    estimated, real = estimate(p).to_record(), realised(y, p).to_record()
    found = reconcile(estimated, real)
    assert found is not None
    assert found["difference"]["auc"] == real["evaluation"]["auc"] - estimated["auc"]
    assert found["difference"]["rate"] == pytest.approx(y.mean() - p.mean())
    assert found["within"] == {"auc": True, "ks": True, "brier": True, "rate": True}
    worse = reconcile(estimated, realised(y, np.roll(p, 1)).to_record())
    assert worse is not None
    assert not worse["within"]["auc"]
    assert worse["within"]["rate"]


def test_nothing_to_reconcile():
    # Hardly a bad to expect: the draws have none, and so no KS.
    hopeless = estimate([1e-9, 2e-9])
    assert (hopeless.ks, hopeless.auc) == (None, pytest.approx(2 / 3))
    assert reconcile(hopeless.to_record(), realised([0, 1], [1e-9, 2e-9]).to_record()) is None
    assert reconcile(estimate([]).to_record(), realised([0, 1], [0.1, 0.2]).to_record()) is None
    assert reconcile(estimate([0.1, 0.2]).to_record(), realised([0, 0], [0.1, 0.2]).to_record()) is None


# Real loans


@pytest.fixture(scope="module")
def real_quarters(real_loans_dir: Path) -> dict[str, dict[str, Any]]:
    """A model of the loans of mid 2007 to 2009, as it could be made on the last day of 2010, on those of 2010-2011."""
    portfolio = load_portfolio()
    loans = read_lending_club(real_loans_dir / "lending_club_2007_2011.parquet")
    inputs = model_inputs(loans.applications.to_pandas(date_as_object=False), portfolio)
    outcomes = loans.outcomes.to_pandas(date_as_object=False)
    window = CohortWindow(date(2010, 12, 31), 365, 900)
    training = assemble_training_set(inputs, outcomes, window, portfolio, test_share=0.25, validation_share=0.2)
    scorer = train_candidate(training, "lightgbm", portfolio, TrainingConfig(max_rounds=400)).scorer
    later = inputs[inputs[portfolio.date_column] >= np.datetime64("2010-01-01")].reset_index(drop=True)
    end = date(2012, 12, 30)
    target = targets(later, outcomes, CohortWindow(end, 365, (date(2011, 12, 31) - date(2009, 12, 31)).days), portfolio)
    p = scorer.score(later)["pd"].to_numpy()
    quarter = later[portfolio.date_column].dt.to_period("Q").astype(str).to_numpy()
    found = {}
    for name in sorted(set(quarter)):
        rows = quarter == name
        estimated, real = estimate(p[rows]).to_record(), realised(target[rows], p[rows]).to_record()
        found[name] = {"estimated": estimated, "realised": real, "reconciled": reconcile(estimated, real)}
    return found


@pytest.mark.real_loans
def test_real_loans_keep_the_estimated_ranking(real_quarters: dict[str, dict[str, Any]]):
    assert list(real_quarters) == [f"{year}Q{n}" for year in (2010, 2011) for n in (1, 2, 3, 4)]
    for found in real_quarters.values():
        assert 0.6 < found["estimated"]["auc"] < 0.75
        assert found["realised"]["bads"] > 60
        assert found["reconciled"]["within"]["auc"]
    differences = [found["reconciled"]["difference"]["auc"] for found in real_quarters.values()]
    assert abs(np.mean(differences)) < 0.02


@pytest.mark.real_loans
def test_real_loans_default_less_than_estimated_once_the_recession_is_over(
    real_quarters: dict[str, dict[str, Any]],
):
    """What no estimate from PDs can see: the same applicants default less. It is known when the cohort has matured."""
    ratios = {name: found["realised"]["observed_over_expected"] for name, found in real_quarters.items()}
    for name in ("2010Q1", "2010Q2"):
        assert ratios[name]["low"] < 1 < ratios[name]["high"]
        assert real_quarters[name]["reconciled"]["within"]["rate"]
    for name in list(real_quarters)[2:]:
        assert ratios[name]["high"] < 1
        assert not real_quarters[name]["reconciled"]["within"]["rate"]
