"""Measures, held against scikit-learn, brute force and resampling."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from scipy.special import logit, ndtr
from scipy.stats import t as student

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.evaluation import (
    auc,
    brier,
    compare,
    ece,
    evaluate,
    ks,
    lift,
    log_loss,
    roc_curve,
)

Book = tuple[np.ndarray, np.ndarray, np.ndarray]


def book(rows: int, seed: int, *, ties: bool = False) -> Book:
    """Outcomes, and the PDs of two models that rank them alike in part. The first has the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-2.2, 1.0, rows)
    y = (rng.random(rows) < probability(truth)).astype(int)
    y[:2] = (0, 1)
    first, second = probability(truth), probability(truth + rng.normal(0, 0.8, rows))
    return (y, first.round(2), second.round(2)) if ties else (y, first, second)


BOOKS = pytest.mark.parametrize(
    "data", [book(400, 1), book(400, 2, ties=True), book(37, 3)], ids=["plain", "ties", "tiny"]
)


# Against scikit-learn


@BOOKS
def test_ranking_and_losses_agree_with_scikit_learn(data: Book) -> None:
    from sklearn import metrics

    y, p, _ = data
    assert auc(y, p) == pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12)
    assert evaluate(y, p).gini == pytest.approx(2 * metrics.roc_auc_score(y, p) - 1, abs=1e-12)
    assert brier(y, p) == pytest.approx(metrics.brier_score_loss(y, p), abs=1e-12)
    assert log_loss(y, np.clip(p, 1e-15, 1 - 1e-15)) == pytest.approx(metrics.log_loss(y, p), abs=1e-12)
    false_alarms, hits, _ = metrics.roc_curve(y, p, drop_intermediate=False)
    assert ks(y, p) == pytest.approx((hits - false_alarms).max(), abs=1e-12)
    ours = roc_curve(y, p)
    np.testing.assert_allclose(ours[0], false_alarms, atol=1e-12)
    np.testing.assert_allclose(ours[1], hits, atol=1e-12)


@BOOKS
def test_ks_agrees_with_scipy(data: Book) -> None:
    from scipy.stats import ks_2samp

    y, p, _ = data
    assert ks(y, p) == pytest.approx(ks_2samp(p[y == 0], p[y == 1]).statistic, abs=1e-12)


def test_deciles_agree_with_pandas() -> None:
    import pandas as pd

    y, p, _ = book(1_000, 5)
    frame = pd.DataFrame({"y": y, "p": p, "bin": pd.qcut(p, 10, labels=False)})
    groups = frame.groupby("bin").agg(rows=("y", "size"), bads=("y", "sum"), rate=("y", "mean"), p=("p", "mean"))
    assert ece(y, p) == pytest.approx(float(((groups["rate"] - groups["p"]).abs() * groups["rows"]).sum() / 1_000))
    table = lift(y, p)
    assert [d.bads for d in table] == groups["bads"].tolist()[::-1]
    assert [d.rows for d in table] == [100] * 10
    np.testing.assert_allclose([d.mean_pd for d in table], groups["p"].to_numpy()[::-1])


# DeLong


def kernel(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Bads by goods: 1 where the bad has the larger PD, 0.5 where they tie."""
    bads, goods = p[y == 1][:, None], p[y == 0][None, :]
    return (bads > goods) + 0.5 * (bads == goods)


def brute_force(y: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Difference and standard error from all pairs, by the covariance matrices of DeLong et al. (1988)."""
    pairs = [kernel(y, ours), kernel(y, theirs)]
    by_bad = np.cov([k.mean(axis=1) for k in pairs])
    by_good = np.cov([k.mean(axis=0) for k in pairs])
    bads, goods = pairs[0].shape
    covariance = by_bad / bads + by_good / goods
    contrast = np.array([1.0, -1.0])
    return pairs[0].mean() - pairs[1].mean(), float(np.sqrt(contrast @ covariance @ contrast))


@BOOKS
def test_the_paired_difference_agrees_with_brute_force(data: Book) -> None:
    y, ours, theirs = data
    found = compare(y, ours, theirs)
    difference, error = brute_force(y, ours, theirs)
    assert found.difference == pytest.approx(difference, abs=1e-12)
    assert found.standard_error == pytest.approx(error, rel=1e-9)
    normal = NormalDist()
    assert found.ci_low == pytest.approx(difference - 1.959964 * error, abs=1e-6)
    assert found.ci_high == pytest.approx(difference + 1.959964 * error, abs=1e-6)
    assert found.p_value == pytest.approx(2 * (1 - normal.cdf(abs(difference) / error)), abs=1e-9)
    assert (found.rows, found.bads) == (len(y), y.sum())


# 113 patients with an aneurysmal subarachnoid haemorrhage: whether the outcome was poor, their grade (WFNS) and the
# S100B in hundredths of ug/l. N. Turck and others, Intensive Care Medicine 36, 2010; what pROC's examples compare.
POOR = (
    "00001101001011001011101000000000100110110000000001100010001010011101101111000110100000010000000000001111110001000"
)
WFNS = (
    "11113254125255125225211112121134214541425511241125521251222151125214524414121421232421451154221113125225552445111"
)
S100B = (
    "13 14 10 4 13 10 47 16 18 10 12 10 44 71 4 8 49 4 7 33 9 9 7 11 7 17 7 11 13 19 5 16 41 14 34 35 48 9 96 25 50 "
    "46 16 7 43 45 11 8 9 86 52 8 6 13 207 10 14 15 7 6 77 5 9 30 3 9 4 23 70 9 27 71 8 26 8 16 9 13 10 8 11 33 11 "
    "28 7 10 32 22 7 5 24 38 10 15 8 14 10 7 4 19 56 14 58 32 82 74 15 47 17 44 15 50 48"
)


def test_a_published_comparison_of_two_curves() -> None:
    """`roc.test` of pROC: AUC .8236789 and .7313686, Z 2.20898359144091, p .0271757822291882."""
    y = np.array([int(one) for one in POOR])
    grade, protein = np.array([int(one) / 5 for one in WFNS]), np.array([int(one) / 1000 for one in S100B.split()])
    found = compare(y, grade, protein)
    assert auc(y, grade) == pytest.approx(0.8236789, abs=5e-8)
    assert auc(y, protein) == pytest.approx(0.7313686, abs=5e-8)
    assert found.difference / found.standard_error == pytest.approx(2.20898359144091, rel=1e-12)
    assert found.p_value == pytest.approx(0.0271757822291882, rel=1e-12)
    assert found.ci_low == pytest.approx(0.0104061769564846, rel=1e-9)
    assert found.ci_high == pytest.approx(0.174214419249478, rel=1e-9)


@BOOKS
def test_the_interval_of_one_auc_agrees_with_brute_force(data: Book) -> None:
    y, p, _ = data
    pairs = kernel(y, p)
    error = np.sqrt(
        np.var(pairs.mean(axis=1), ddof=1) / pairs.shape[0] + np.var(pairs.mean(axis=0), ddof=1) / pairs.shape[1]
    )
    found = evaluate(y, p)
    half = student.ppf(0.975, pairs.shape[0] - 1) * error / (found.auc * (1 - found.auc))
    assert logit(found.auc_ci_low) == pytest.approx(logit(found.auc) - half, abs=1e-6)
    assert logit(found.auc_ci_high) == pytest.approx(logit(found.auc) + half, abs=1e-6)


@pytest.mark.parametrize(("bads", "least"), [(10, 0.935), (20, 0.93), (50, 0.93), (200, 0.93)])
def test_the_interval_of_one_auc_covers_with_few_bads(bads: int, least: float) -> None:
    """Wald's, AUC +- 1.96 standard errors, covers 89 to 92 of 100 at 10 bads."""
    reached, books = 0, 600
    for true in (0.55, 0.7, 0.8):
        rng = np.random.default_rng((bads, round(100 * true)))
        apart = NormalDist().inv_cdf(true) * np.sqrt(2)
        for _ in range(books // 3):
            points = np.r_[rng.normal(apart, 1, bads), rng.normal(0, 1, 9 * bads)]
            found = evaluate(np.r_[np.ones(bads), np.zeros(9 * bads)], ndtr(points))
            reached += found.auc_ci_low <= true <= found.auc_ci_high
    assert least <= reached / books <= 0.985


def test_a_separated_test_has_an_interval() -> None:
    """No logit and no variance: what as many independent pairs would say."""
    for bads in (10, 50):
        y = np.r_[np.zeros(9 * bads), np.ones(bads)]
        found = evaluate(y, (1 + np.arange(len(y))) / (len(y) + 1))
        assert found.auc == 1.0
        assert 0.9 < found.auc_ci_low < found.auc_ci_high < 1.0
        turned = evaluate(1 - y, (1 + np.arange(len(y))) / (len(y) + 1))
        assert 0.0 < turned.auc_ci_low < turned.auc_ci_high < 0.1


def test_the_standard_error_is_that_of_resampling() -> None:
    y, ours, theirs = book(1_500, 11)
    rng = np.random.default_rng(1)
    resampled = []
    for _ in range(600):
        rows = rng.integers(0, len(y), len(y))
        resampled.append(auc(y[rows], ours[rows]) - auc(y[rows], theirs[rows]))
    assert compare(y, ours, theirs).standard_error == pytest.approx(np.std(resampled), rel=0.12)


def test_the_interval_covers_and_the_test_keeps_its_level() -> None:
    """Two models that are equally good: the interval holds 0 in about 95 of 100 books."""
    covered, books = 0, 400
    for seed in range(books):
        rng = np.random.default_rng(seed)
        truth = rng.normal(-2, 1, 400)
        y = (rng.random(400) < probability(truth)).astype(int)
        ours, theirs = (probability(truth + rng.normal(0, 0.7, 400)) for _ in range(2))
        found = compare(y, ours, theirs)
        covered += found.ci_low <= 0 <= found.ci_high
        assert (found.p_value < 0.05) == (found.ci_low > 0 or found.ci_high < 0)
    assert 0.92 <= covered / books <= 0.98


def test_pairing_makes_the_interval_narrow() -> None:
    y, ours, _ = book(2_000, 4)
    nearly = np.clip(ours + np.random.default_rng(1).normal(0, 1e-3, 2_000), 0, 1)
    found = compare(y, ours, nearly)
    single = evaluate(y, ours)
    assert found.ci_high - found.ci_low < (single.auc_ci_high - single.auc_ci_low) / 5


def test_the_smallest_detectable_difference_is_detected_in_four_of_five() -> None:
    y, ours, theirs = book(1_000, 8)
    found = compare(y, ours, theirs)
    assert found.smallest_detectable_difference == pytest.approx(2.8016 * found.standard_error, rel=1e-4)
    normal = NormalDist(found.smallest_detectable_difference, found.standard_error)
    assert 1 - normal.cdf(1.959964 * found.standard_error) == pytest.approx(0.8, abs=1e-4)


def test_a_model_does_not_differ_from_itself_or_from_its_own_rescaling() -> None:
    y, p, _ = book(300, 6)
    for other in (p, p / 2, np.sqrt(p)):
        found = compare(y, p, other)
        assert (found.difference, found.ci_low, found.ci_high, found.p_value) == (0, 0, 0, 1)


def test_perfect_against_reversed() -> None:
    y = np.array([0, 0, 0, 1, 1])
    found = compare(y, np.array([0.1, 0.2, 0.3, 0.8, 0.9]), np.array([0.9, 0.8, 0.7, 0.2, 0.1]))
    assert (found.difference, found.p_value) == (1.0, 0.0)


def test_exchanging_the_models_turns_the_sign() -> None:
    y, ours, theirs = book(300, 6)
    there, back = compare(y, ours, theirs), compare(y, theirs, ours)
    assert there.difference == -back.difference
    assert (there.ci_low, there.ci_high) == (-back.ci_high, -back.ci_low)


def test_one_bad_says_nothing_and_claims_nothing() -> None:
    y, p = np.array([0, 0, 0, 1]), np.array([0.1, 0.2, 0.3, 0.9])
    found = evaluate(y, p)
    assert (found.auc, found.auc_ci_low, found.auc_ci_high) == (1.0, 0.0, 1.0)
    difference = compare(y, p, p[::-1])
    assert (difference.ci_low, difference.ci_high) == (pytest.approx(-0.96, abs=0.01), 1.0)
    assert difference.p_value > 0.3


# Worked numbers of the docstrings


def test_worked_numbers() -> None:
    y, p = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
    assert auc(y, p) == 0.75
    assert evaluate(y, p).gini == 0.5
    assert ks(y, p) == 0.5
    assert brier([0, 1], [0.2, 0.6]) == pytest.approx(0.1)
    assert log_loss([0, 1], [0.2, 0.6]) == pytest.approx(0.3670, abs=1e-4)
    assert brier([1] + [0] * 19, [0.05] * 20) == pytest.approx(0.0475)


def test_lift_of_a_perfect_ranking() -> None:
    y = np.r_[np.ones(20), np.zeros(180)]
    table = lift(y, np.linspace(0.9, 0.1, 200))
    assert [d.decile for d in table] == list(range(1, 11))
    assert table[0].lift == 10
    assert table[0].bads_captured == 1
    assert table[1].bads == 0
    assert table[-1].mean_pd < table[0].mean_pd


def test_equal_pds_stay_in_one_decile() -> None:
    y = np.tile([0, 0, 0, 1], 25)
    table = lift(y, np.full(100, 0.25))
    assert len(table) == 1
    assert (table[0].rows, table[0].bad_rate, table[0].lift) == (100, 0.25, 1.0)
    assert ece(y, np.full(100, 0.25)) == 0
    assert ece(y, np.full(100, 0.35)) == pytest.approx(0.1)


def test_calibration_error_of_a_true_model_is_what_chance_gives() -> None:
    """0.8 sqrt(r (1 - r) / k) for k rows a decile, as the docstring says."""
    errors = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        p = np.clip(rng.normal(0.05, 0.001, 5_000), 0.04, 0.06)
        errors.append(ece((rng.random(5_000) < p).astype(int), p))
    assert np.mean(errors) == pytest.approx(0.8 * np.sqrt(0.05 * 0.95 / 500), rel=0.1)


def test_observed_over_expected() -> None:
    found = evaluate([0, 0, 0, 1], [0.1, 0.1, 0.1, 0.2])
    assert found.observed_rate == 0.25
    assert found.expected_rate == pytest.approx(0.125)
    assert found.observed_over_expected == pytest.approx(2.0)
    assert found.gini == 2 * found.auc - 1


# Properties


def test_the_order_of_rows_does_not_matter() -> None:
    y, p, q = book(500, 9, ties=True)
    order = np.random.default_rng(1).permutation(500)
    first, second = evaluate(y, p).to_record(), evaluate(y[order], p[order]).to_record()
    for record in (first, second):
        record["lift"] = [round(value, 12) for decile in record["lift"] for value in decile.values()]
    assert first == {**second, **{k: pytest.approx(v, abs=1e-12) for k, v in second.items() if isinstance(v, float)}}
    assert compare(y, p, q).difference == compare(y[order], p[order], q[order]).difference


def test_records_survive_json() -> None:
    y, p, q = book(300, 10)
    evaluation, difference = evaluate(y, p), compare(y, p, q)
    for one in (evaluation, difference):
        record = one.to_record()
        assert json.loads(json.dumps(record, allow_nan=False)) == {
            **record,
            **({"lift": list(record["lift"])} if "lift" in record else {}),
        }


@pytest.mark.parametrize("measure", [auc, ks, brier, log_loss, ece, lift, evaluate, roc_curve])
@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([], [], "no rows"),
        ([0, 0], [0.1, 0.2], "all 2 rows are good"),
        ([1], [0.1], "all 1 rows are bad"),
        ([0, 2], [0.1, 0.2], "0 .good. or 1 .bad."),
        ([0, np.nan], [0.1, 0.2], "0 .good. or 1 .bad."),
        ([0, 1], [0.1, np.nan], "1 PDs are missing or outside"),
        ([0, 1], [-0.1, 1.2], "2 PDs are missing or outside"),
        ([0, 1], [0.1], "equal length"),
        ([[0, 1]], [[0.1, 0.2]], "one-dimensional"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    measure: Callable[..., object], y: list[float], p: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(y, p)


def test_comparison_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="all 2 rows are good"):
        compare([0, 0], [0.1, 0.2], [0.1, 0.2])
    with pytest.raises(ValueError, match="no rows"):
        compare([], [], [])
    with pytest.raises(ValueError, match="equal length"):
        compare([0, 1], [0.1, 0.2], [0.1])


def test_a_comparison_costs_the_order_of_a_sort() -> None:
    # Pair by pair, this would be some 10^10 comparisons.
    y, p, q = book(300_000, 12)
    assert compare(y, p, q).difference == pytest.approx(evaluate(y, p).auc - evaluate(y, q).auc, abs=1e-9)


def test_neither_scipy_nor_scikit_learn_is_imported() -> None:
    code = (
        "import sys; from credit_assets.ml.evidence.evaluation import compare, evaluate; "
        "evaluate([0, 1], [.1, .2]); compare([0, 1], [.1, .2], [.2, .1]); "
        "assert not {'scipy', 'sklearn', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
