"""Information values: the published ones, what chance brings, and directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.evidence.information import by_chance, direction, measure_information


def test_what_chance_brings_is_what_noise_has_on_average() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        bad = rng.random(1_500) < 0.1
        (one,) = measure_information(pd.DataFrame({"x": rng.normal(size=1_500)}), bad, ["x"], [])
        found.append(one["value"] / by_chance(10, int(bad.sum()), int((~bad).sum())))
    assert np.mean(found) == pytest.approx(1.0, abs=0.12)


def test_a_direction_is_shown_beyond_chance_alone() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=4_000)
    bad = rng.random(4_000) < 1 / (1 + np.exp(2 - x))
    assert direction(x, bad) == 1
    assert direction(-x, bad) == -1
    assert direction(np.round(x), bad) == 1
    assert direction(np.zeros(4_000), bad) == 0
    shown = [direction(rng.normal(size=500), rng.random(500) < 0.2) != 0 for _ in range(400)]
    assert np.mean(shown) == pytest.approx(0.05, abs=0.03)


def test_a_feature_has_its_range_missing_values_and_levels() -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {"x": np.where(rng.random(1_000) < 0.2, np.nan, rng.uniform(0, 100, 1_000)), "k": rng.choice(["a", "b"], 1_000)}
    )
    frame.loc[:9, "k"] = None
    bad = rng.random(1_000) < 0.3
    x, k = measure_information(frame, bad, ["x", "k"], ["k"])
    assert x["missing_share"] == pytest.approx(0.2, abs=0.04)
    assert x["bins"] == 11
    low, middle, high = x["range"]
    assert 0 < low < 2 < 48 < middle < 52 < 98 < high < 100
    assert (k["levels"], k["bins"], k["direction"]) == (2, 3, None)


@pytest.mark.parametrize(
    "frame", [pd.DataFrame({"x": [np.nan] * 6}), pd.DataFrame({"x": [1.0] * 6}), pd.DataFrame({"x": [np.inf, 1] * 3})]
)
def test_what_tells_nothing_is_no_error(frame: Any) -> None:
    (found,) = measure_information(frame, [0, 1, 0, 1, 1, 0], ["x"], [])
    assert found["value"] >= 0


def test_one_outcome_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="both goods and bads"):
        measure_information(pd.DataFrame({"x": [1.0, 2.0]}), [0, 0], ["x"], [])
