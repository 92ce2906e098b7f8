"""Rows in groups: against the sums written out, against independent rows, and against resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.clusters import design_effect, places_of
from credit_assets.ml.evidence.evaluation import auc_error, auc_interval, compare, evaluate
from credit_assets.ml.evidence.intervals import (
    difference_of_proportions,
    observed_over_expected,
    proportion,
    smallest_detectable_difference,
)

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def customers(number: int, seed: int, *, most: int = 4, shared: float = 1.0) -> Rows:
    """Outcomes, the PDs of two models and the customer of each row: rows of a customer share most of their risk."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(number), rng.integers(1, most + 1, number))
    known = rng.normal(-1.5, 1.0, number)[who]
    hidden = shared * rng.normal(0, 1.0, number)[who]
    y = (rng.random(len(who)) < probability(known + hidden)).astype(int)
    y[:2] = (0, 1)
    order = rng.permutation(len(who))
    own, common = rng.normal(0, 0.2, len(who)), rng.normal(0, 0.8, number)[who]
    return y[order], probability(known + own)[order], probability(known + common)[order], who[order]


def obuchowski(y: np.ndarray, scores: list[tuple[float, np.ndarray]], groups: np.ndarray) -> float:
    """The variance of a weighted sum of AUCs as the paper has it, pair by pair and group by group."""
    bad, good = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    m, n = len(bad), len(good)
    wins = sum(
        weight * ((p[bad][:, None] > p[good][None, :]) + 0.5 * (p[bad][:, None] == p[good][None, :]))
        for weight, p in scores
    )
    theta = wins.sum() / (m * n)
    of_bads, of_goods = dict(zip(bad, wins.sum(1) / n, strict=True)), dict(zip(good, wins.sum(0) / m, strict=True))
    s10 = s01 = s11 = 0.0
    with_bads = with_goods = 0
    names = sorted(set(groups.tolist()))
    for name in names:
        rows = np.flatnonzero(groups == name)
        ones, zeros = [i for i in rows if y[i] == 1], [i for i in rows if y[i] == 0]
        x = sum(of_bads[i] for i in ones) - len(ones) * theta
        z = sum(of_goods[i] for i in zeros) - len(zeros) * theta
        s10, s01, s11 = s10 + x * x, s01 + z * z, s11 + x * z
        with_bads, with_goods = with_bads + bool(ones), with_goods + bool(zeros)
    s10 *= with_bads / ((with_bads - 1) * m)
    s01 *= with_goods / ((with_goods - 1) * n)
    s11 *= len(names) / (len(names) - 1)
    return s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_error_of_an_auc_and_of_a_difference_is_that_of_the_paper(seed: int) -> None:
    y, ours, theirs, who = customers(60, seed)
    ours = ours.round(1 + seed % 2)  # Ties.
    assert auc_error(y, ours, who) == pytest.approx(math.sqrt(obuchowski(y, [(1, ours)], who)), rel=1e-10)
    found = compare(y, ours, theirs, who)
    assert found.standard_error == pytest.approx(math.sqrt(obuchowski(y, [(1, ours), (-1, theirs)], who)), rel=1e-10)
    assert found.difference == compare(y, ours, theirs).difference


def test_rows_that_are_each_their_own_group_have_the_numbers_of_today() -> None:
    y, ours, theirs, _ = customers(80, 4)
    alone = np.random.default_rng(5).permutation(len(y)) * 7 - 3
    assert evaluate(y, ours, alone) == evaluate(y, ours)
    assert compare(y, ours, theirs, alone) == compare(y, ours, theirs)
    residuals = y - ours
    assert design_effect(residuals, alone) == 1.0
    assert observed_over_expected(60, ours, 1.0) == observed_over_expected(60, ours)


def test_a_doubled_book_has_the_interval_of_the_book() -> None:
    y, ours, theirs, _ = customers(300, 6, most=1)
    twice, alone = np.tile(np.arange(len(y)), 2), compare(y, ours, theirs)
    doubled = compare(np.tile(y, 2), np.tile(ours, 2), np.tile(theirs, 2), twice)
    assert doubled.standard_error == pytest.approx(alone.standard_error, rel=1e-12)
    assert doubled.ci_low == pytest.approx(alone.ci_low, rel=1e-12)
    narrower = compare(np.tile(y, 2), np.tile(ours, 2), np.tile(theirs, 2))
    assert narrower.standard_error == pytest.approx(alone.standard_error / math.sqrt(2), rel=0.01)
    assert auc_interval(np.tile(y, 2), np.tile(ours, 2), twice).low == pytest.approx(auc_interval(y, ours).low)


def test_doubled_counts_have_the_intervals_of_the_counts() -> None:
    y, p, _, _ = customers(300, 7, most=1)
    effect = design_effect(np.tile(y - p, 2), np.tile(np.arange(len(y)), 2))
    assert effect == pytest.approx(2)
    bads, rows = int(y.sum()), len(y)
    pairs = [
        (observed_over_expected(2 * bads, np.tile(p, 2), effect), observed_over_expected(bads, p)),
        (proportion(2 * bads, 2 * rows, effect), proportion(bads, rows)),
        (
            difference_of_proportions(2 * bads, 2 * rows, 20, 200, effect),
            difference_of_proportions(bads, rows, 10, 100),
        ),
    ]
    for ours, theirs in pairs:
        assert ours is not None
        assert theirs is not None
        assert ours.to_record() == pytest.approx(theirs.to_record())
    smallest = smallest_detectable_difference(2 * bads, 2 * rows, 20, 200, effect)
    assert smallest == pytest.approx(smallest_detectable_difference(bads, rows, 10, 100), rel=0.01)


def test_intervals_of_groups_hold_what_they_say_and_those_of_rows_do_not() -> None:
    held = {"auc": 0, "rows": 0, "difference": 0, "ratio": 0}
    large = customers(20_000, 99, most=8)
    truth, gap = evaluate(large[0], large[1]).auc, compare(large[0], large[1], large[2]).difference
    ratio = large[0].sum() / large[1].sum()
    books = 400
    for seed in range(books):
        y, ours, theirs, who = customers(150, 1_000 + seed, most=8)
        for name, groups in (("auc", who), ("rows", None)):
            found = auc_interval(y, ours, groups)
            held[name] += found.low <= truth <= found.high
        compared = compare(y, ours, theirs, who)
        held["difference"] += compared.ci_low <= gap <= compared.ci_high
        level = observed_over_expected(int(y.sum()), ours, design_effect(y - ratio * ours, who))
        assert level is not None
        held["ratio"] += level.low <= ratio <= level.high
    shares = {name: count / books for name, count in held.items()}
    assert shares["auc"] == pytest.approx(0.95, abs=0.035)
    assert shares["difference"] == pytest.approx(0.95, abs=0.035)
    assert shares["ratio"] >= 0.93
    assert shares["rows"] < 0.90


@pytest.mark.parametrize("groups", [[1, 1], [[1, 2, 3]], [0.5, 1.0, 2.0], ["a", "b", "c"]])
def test_groups_are_one_integer_a_row(groups: list[object]) -> None:
    with pytest.raises(ValueError, match="one integer for each of the 3 rows"):
        places_of(groups, 3)


def test_one_group_of_bads_says_nothing_about_the_ranking() -> None:
    y, p, groups = [1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.7, 0.1, 0.2, 0.3], [1, 1, 1, 2, 3, 4]
    assert auc_error(y, p, groups) == 0.5
    assert compare(y, p, p[::-1], groups).standard_error == 1.0


def test_rows_that_balance_each_other_narrow_no_interval() -> None:
    assert design_effect([0.5, -0.5, 0.5, -0.5], [1, 1, 2, 2]) == 1.0
    assert design_effect([0.0, 0.0], [1, 1]) == 1.0
    y, p, groups = [1, 0, 1, 0], [0.9, 0.9, 0.1, 0.1], [1, 1, 2, 2]
    assert auc_error(y, p, groups) == pytest.approx(0.0, abs=1e-9)
