"""The AUC of one column, in whatever form it tells the outcome, and how often chance passes for a leak."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.ml.rules.single_feature import near_end, single_feature_auc

LIMIT = 0.75


def outcomes(bads: int, goods: int, rng: Any) -> Any:
    bad = np.zeros(bads + goods, dtype=bool)
    bad[:bads] = True
    return rng.permutation(bad)


def column(auc: float, bad: Any, rng: Any) -> Any:
    return rng.normal(size=len(bad)) + np.sqrt(2) * NormalDist().inv_cdf(auc) * bad


def stopped(auc: float, bads: int, repeats: int, seed: int = 0) -> float:
    """The share of sets with nine goods for each bad in which a column of this AUC lies above the limit."""
    rng, found = np.random.default_rng(seed), 0
    for _ in range(repeats):
        bad = outcomes(bads, 9 * bads, rng)
        area = single_feature_auc(pa.chunked_array([column(auc, bad, rng)]), bad)
        assert area is not None
        found += near_end(area, bads, 9 * bads) > LIMIT
    return found / repeats


@pytest.mark.parametrize(
    ("auc", "bads", "least", "most"),
    [
        (0.66, 40, 0.0, 0.01),
        (0.70, 40, 0.0, 0.04),
        (0.70, 150, 0.0, 0.01),
        (0.80, 40, 0.45, 0.75),
        (0.80, 150, 0.80, 1.0),
        (0.85, 40, 0.88, 1.0),
        (0.85, 150, 0.99, 1.0),
        (0.90, 40, 0.99, 1.0),
    ],
)
def test_leaks_are_stopped_and_strong_features_are_not(auc: float, bads: int, least: float, most: float) -> None:
    assert least <= stopped(auc, bads, 120) <= most


def test_a_category_of_many_levels_ranks_no_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(60):
        bad = outcomes(40, 360, rng)
        levels = pa.chunked_array([rng.choice(np.array([f"l{n}" for n in range(14)], dtype=object), len(bad))])
        areas.append(single_feature_auc(levels, bad))
    assert np.mean(areas) < 0.56
    assert max(areas) < 0.68


def test_a_category_and_a_code_that_know_the_outcome_are_found_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    bad = outcomes(100, 900, rng)
    # The middle code of five is that of bads.
    code = np.where(bad & (rng.random(1_000) < 0.9), 3, rng.choice([1, 2, 4, 5], 1_000))
    for values in (pa.chunked_array([code.astype(float)]), pa.chunked_array([[f"s{one}" for one in code]])):
        area = single_feature_auc(values, bad)
        assert area is not None
        assert area > 0.85


def test_absence_tells_too() -> None:
    rng = np.random.default_rng(0)
    bad = outcomes(50, 450, rng)
    values = np.where(bad, np.nan, rng.normal(size=500))
    assert single_feature_auc(pa.chunked_array([values]), bad) == 1.0
    assert single_feature_auc(pa.chunked_array([np.full(500, np.nan)]), bad) == 0.5


def test_too_few_cannot_be_ranked() -> None:
    rng = np.random.default_rng(0)
    bad = outcomes(9, 100, rng)
    assert single_feature_auc(pa.chunked_array([rng.normal(size=109)]), bad) is None


def test_the_near_end_is_a_standard_error_away() -> None:
    assert near_end(1.0, 10, 10) == 1.0
    # sqrt((b + g + 1) / 12 b g) at chance, the variance of Mann-Whitney's statistic.
    assert near_end(0.5, 100, 900) == pytest.approx(0.5 - np.sqrt(1_001 / 12 / 90_000), abs=1e-4)
