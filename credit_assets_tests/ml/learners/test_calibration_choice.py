"""Shapes of calibration and the choice among them, on truths that are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.evaluation import auc
from credit_assets.ml.learners.calibration import (
    FITS,
    MIN_SLOPE,
    BetaCalibration,
    Calibration,
    IsotonicCalibration,
    NoCalibration,
    PlattCalibration,
    calibration_of,
    fit_beta,
    fit_isotonic,
)
from credit_assets.ml.learners.calibration_choice import (
    FOLDS,
    LEAST_BADS,
    NONE_BADS,
    choose,
    cross_fitted,
    within_one_error,
)

Map = Callable[[np.ndarray], np.ndarray]
SHAPES = pytest.mark.parametrize("name", list(FITS))


def beta(m: np.ndarray) -> np.ndarray:
    return 1.6 * -np.logaddexp(0, -m) + 0.3 * np.logaddexp(0, m) + 0.9


def sample(rows: int, truth: Map, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    margin = rng.normal(-2.4, 1.0, rows)
    return margin, (rng.random(rows) < probability(truth(margin))).astype(float)


# Shapes


@SHAPES
@pytest.mark.parametrize("rows", [40, 400, 5_000])
def test_every_shape_keeps_the_order_of_applicants(name: Any, rows: int) -> None:
    margin, y = sample(rows, lambda m: m + 1)
    found = FITS[name](margin, y)
    grid = np.unique(np.r_[margin, np.linspace(margin.min() - 1, margin.max() + 1, 400)])
    assert (np.diff(found.log_odds(grid)) > 0).all()
    p = found.pd(np.r_[-1e6, grid, 1e6])
    assert ((p > 0) & (p < 1)).all()
    assert auc(y, found.pd(margin)) == auc(y, probability(margin))


@SHAPES
def test_every_shape_is_kept_by_its_record(name: Any) -> None:
    found = FITS[name](*sample(600, lambda m: m))
    record = json.loads(json.dumps(found.to_record()))
    assert record["method"] == name
    assert calibration_of(record) == found


@SHAPES
def test_a_line_after_a_shape_is_a_line_after_its_log_odds(name: Any) -> None:
    margin, y = sample(600, lambda m: m)
    found = FITS[name](margin, y)
    moved = found.then(0.7, -0.3)
    np.testing.assert_allclose(moved.log_odds(margin), 0.7 * found.log_odds(margin) - 0.3, atol=1e-9)
    assert calibration_of(moved.to_record()) == moved


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"method": "spline"},
        {"method": "none", "slope": 1.0},
        {"method": "beta", "a": 1.0, "b": 1.0},
        {"method": "beta", "a": -1.0, "b": 1.0, "c": 0.0},
        {"method": "isotonic", "knots": [0.0, 1.0], "values": [0.0]},
        {"method": "isotonic", "knots": [], "values": []},
        {"method": "isotonic", "knots": [0.0, 1.0], "values": [0.0, 0.0]},
        {"method": "isotonic", "knots": [1.0, 0.0], "values": [0.0, 1.0]},
        {"method": "platt", "slope": 0.0, "intercept": 1.0},
    ],
)
def test_a_spoilt_record_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"calibration|inhomogeneous"):
        calibration_of(record)


def test_beta_finds_its_parameters_again_and_none_of_the_wrong_sign() -> None:
    margin, y = sample(200_000, beta)
    found = fit_beta(margin, y)
    assert (found.a, found.b, found.c) == pytest.approx((1.6, 0.3, 0.9), abs=0.15)
    turned = fit_beta(margin, 1 - y)
    assert turned.a == turned.b == MIN_SLOPE
    assert turned.pd(margin).mean() == pytest.approx((1 - y).mean(), abs=1e-3)


def test_isotonic_has_the_blocks_of_scikit_learn_with_a_knot_in_the_middle_of_each() -> None:
    from sklearn.isotonic import IsotonicRegression

    margin, y = sample(2_000, lambda m: m)
    # Rounded, so that many are equal.
    margin = margin.round(2)
    theirs = IsotonicRegression().fit(margin, y).predict(margin)
    found = fit_isotonic(margin, y)
    assert isinstance(found, IsotonicCalibration)
    levels = [level for level in np.unique(theirs) if 0 < level < 1]
    centres = [margin[theirs == level].mean() for level in levels]
    at = np.array([found.knots[int(np.argmin(np.abs(np.array(found.knots) - centre)))] for centre in centres])
    np.testing.assert_allclose(at[1:-1], centres[1:-1], atol=1e-9)
    np.testing.assert_allclose(found.pd(at)[1:-1], levels[1:-1], atol=1e-9)


def test_isotonic_without_any_order_is_one_knot_at_the_bad_rate() -> None:
    margin = np.repeat([0.0, 1.0], 50)
    y = np.r_[np.ones(20), np.zeros(80)]
    found = fit_isotonic(margin, y)
    assert len(found.knots) == 1
    assert found.pd(np.array([found.knots[0]]))[0] == pytest.approx(0.2)


# Choice


@pytest.mark.parametrize(
    ("truth", "rows", "expected"),
    [
        (lambda m: m, 6_000, {"none"}),
        (lambda m: 0.6 * m - 0.6, 6_000, {"platt"}),
        (beta, 60_000, {"beta", "isotonic"}),
        (lambda m: np.where(m < -2.2, -4.0, np.where(m < -1.2, -2.0, 0.0)), 20_000, {"isotonic"}),
    ],
)
def test_the_simplest_shape_that_holds_is_chosen(truth: Map, rows: int, expected: set[str]) -> None:
    picked = [choose(*sample(rows, truth, seed)).method for seed in range(5)]
    assert sum(one in expected for one in picked) >= 4, picked


def test_in_sample_isotonic_would_win_and_is_not_chosen() -> None:
    margin, y = sample(400, lambda m: m, 3)
    inside = {
        name: float((np.logaddexp(0, z) - y * z).mean())
        for name, z in ((name, fit(margin, y).log_odds(margin)) for name, fit in FITS.items())
    }
    assert min(inside, key=lambda name: inside[name]) == "isotonic"
    assert choose(margin, y).method == "platt"


def test_rows_are_judged_by_what_was_fitted_without_them() -> None:
    margin, y = sample(1_000, lambda m: m)
    seen: list[int] = []

    def fit(m: Any, target: Any) -> Calibration:
        seen.append(len(m))
        return PlattCalibration(1.0, float(np.mean(target)))

    losses = cross_fitted(margin, y, {"spy": fit})["spy"]
    assert len(seen) == FOLDS
    assert sum(1_000 - one for one in seen) == 1_000
    assert np.isfinite(losses).all()
    # Each fold has a fifth of the bads, however they lie in time.
    late = np.r_[np.zeros(700), y[:300]]
    cross_fitted(margin, late, {"spy": fit})
    assert max(seen[FOLDS:]) < 1_000


def test_within_one_standard_error_the_simplest_is_taken() -> None:
    rng = np.random.default_rng(1)
    best = rng.normal(0.3, 0.1, 1_000)
    noise = rng.normal(0, 0.1, 1_000)
    noise -= noise.mean()
    error = noise.std(ddof=1) / 1_000**0.5
    near, far = best + noise + 0.9 * error, best + noise + 1.1 * error
    assert within_one_error({"none": near, "platt": best})[0] == "none"
    chosen, compared = within_one_error({"none": far, "platt": best})
    assert chosen == "platt"
    assert compared["none"]["above"] == pytest.approx(1.1 * error)
    assert compared["none"]["standard_error"] == pytest.approx(error)
    assert compared["platt"] == {"log_loss": pytest.approx(best.mean()), "above": 0.0, "standard_error": 0.0}


def test_a_method_that_is_asked_for_is_taken_and_few_bads_choose_nothing() -> None:
    margin, y = sample(3_000, lambda m: m)
    forced = choose(margin, y, "isotonic")
    assert isinstance(forced.calibration, IsotonicCalibration)
    assert forced.to_record()["why"] == "isotonic is asked for (policy calibration.method)"
    assert forced.to_record()["losses"] == {}
    few = np.zeros(3_000)
    few[: LEAST_BADS - 1] = 1
    found = choose(margin, few)
    assert (found.method, found.bads, found.folds) == ("platt", LEAST_BADS - 1, 0)
    assert "19 bads of 3000 rows are too few to choose by" in found.why
    with pytest.raises(ValueError, match="unknown calibration 'spline'; known: auto, none, platt, beta, isotonic"):
        choose(margin, y, "spline")
    with pytest.raises(ValueError, match="at least one good"):
        choose(margin, np.zeros(3_000))


@pytest.mark.parametrize("turned", [False, True])
def test_on_few_bads_or_goods_a_margin_is_not_left_as_it_is(turned: bool) -> None:
    margin, y = sample(20_000, lambda m: m)
    margin, y = (-margin, 1 - y) if turned else (margin, y)
    rare = np.flatnonzero(y == (not turned))

    def of(number: int) -> Any:
        # All rows as far as the last of so many of the rarer outcome.
        return choose(margin[: rare[number - 1] + 1], y[: rare[number - 1] + 1])

    enough, few = of(NONE_BADS), of(NONE_BADS - 1)
    assert enough.method == "none"
    assert "too few" not in enough.why
    assert few.method == "platt"
    assert list(few.losses) == ["platt", "beta", "isotonic"]
    too_few = f"{few.bads} bads of {few.rows} rows are too few to show that none is needed, which takes 150 of each"
    assert too_few in few.why


def test_a_wrong_level_is_mended_on_few_bads() -> None:
    # PDs 1.4 times too low, 40 to 60 bads: the level is right afterwards within what so few bads tell.
    for seed in range(20):
        margin, y = sample(330, lambda m: 0.7 * m - 0.2, seed)
        found = choose(margin, y)
        assert found.method != "none"
        assert found.calibration.pd(margin).sum() == pytest.approx(y.sum(), rel=0.1)


def test_the_record_says_all_that_was_compared() -> None:
    found = choose(*sample(3_000, lambda m: m)).to_record()
    assert list(found["losses"]) == ["none", "platt", "beta", "isotonic"]
    assert found["rows"] == 3_000
    assert found["folds"] == FOLDS
    json.dumps(found, allow_nan=False)


def test_kinds_of_shapes() -> None:
    assert NoCalibration().line == (1.0, 0.0)
    assert PlattCalibration(0.5, 1.0).line == (0.5, 1.0)
    assert BetaCalibration(1.0, 1.0, 0.0).line is None
    np.testing.assert_allclose(BetaCalibration(0.8, 0.8, 0.1).log_odds([-2.0, 1.0]), [-1.5, 0.9])
