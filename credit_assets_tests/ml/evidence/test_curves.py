"""Curves at a fixed number of places."""

from __future__ import annotations

import numpy as np
import pytest

from credit_assets.ml.evidence.curves import POINTS, measure_curves
from credit_assets.ml.evidence.evaluation import auc

RNG = np.random.default_rng(4)
PD = 1 / (1 + np.exp(2 - RNG.normal(size=5_000)))
BAD = (RNG.random(5_000) < PD).astype(int)
SCORE = 500 - 30 * np.log(PD / (1 - PD))


def test_the_area_below_the_roc_is_the_auc() -> None:
    found = measure_curves(BAD, PD, SCORE)
    assert len(found["roc"]["x"]) == len(found["gain"]["y"]) == POINTS
    assert np.trapezoid(found["roc"]["y"], found["roc"]["x"]) == pytest.approx(auc(BAD, PD), abs=0.005)
    assert found["gain"]["y"][-1] == 1.0
    assert found["gain"]["y"] == sorted(found["gain"]["y"])


def test_every_loan_is_in_a_bar_at_whole_fives() -> None:
    scores = measure_curves(BAD, PD, SCORE)["scores"]
    assert (sum(scores["goods"]), sum(scores["bads"])) == (int((BAD == 0).sum()), int(BAD.sum()))
    assert all(edge % 5 == 0 for edge in scores["edges"])
    assert len(scores["edges"]) == len(scores["goods"]) + 1 <= 42


def test_rows_that_the_model_refuses_are_left_out() -> None:
    refused = PD.copy()
    refused[:100] = np.nan
    scores = measure_curves(BAD, refused, np.where(np.isnan(refused), np.nan, SCORE))["scores"]
    assert sum(scores["goods"]) + sum(scores["bads"]) == 4_900


def test_equal_points_are_one_bar() -> None:
    scores = measure_curves([0, 1, 0], [0.2, 0.2, 0.2], [600.0, 600.0, 600.0])["scores"]
    assert sum(scores["goods"]) == 2
