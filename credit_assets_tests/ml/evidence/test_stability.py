"""How alike the splits are: what has moved is told, what has not is not, and no value is named."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from credit_assets.ml.evidence.drift import DriftPolicy
from credit_assets.ml.evidence.stability import measure_stability

POLICY = DriftPolicy(watch=0.1, shifted=0.25, alpha=0.01, min_rows=500)
SIZES = {"train": 3_000, "validation": 900, "test": 1_200}


def splits(moved: float = 0.0, seed: int = 0) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    return {
        name: pd.DataFrame(
            {
                "x": rng.normal(moved * (name == "test"), 1, n),
                "k": rng.choice(["secret", "b"], n),
                "y": rng.normal(size=n),
            }
        )
        for name, n in SIZES.items()
    }


def measured(moved: float = 0.0, seed: int = 0) -> dict[str, dict[str, str]]:
    frames = splits(moved, seed)
    scores = {name: 600 + 10 * frame["x"].to_numpy() for name, frame in frames.items()}
    found = measure_stability(frames, scores, ["x", "k", "y"], ["k"], POLICY)
    return {
        f"{one['before']} {one['after']}": {f["name"]: f["verdict"] for f in [*one["features"], one["score"]]}
        for one in found["comparisons"]
    }


def test_a_feature_that_moves_is_told_where_it_moves_and_nowhere_else() -> None:
    found = measured(1.0)
    assert list(found) == ["train validation", "train test", "validation test"]
    assert set(found["train validation"].values()) == {"stable"}
    for pair in ("train test", "validation test"):
        assert found[pair] == {"x": "shifted", "k": "stable", "y": "stable", "score": "shifted"}


def test_splits_of_one_world_are_hardly_ever_told_apart() -> None:
    said = [verdict for seed in range(60) for pair in measured(seed=seed).values() for verdict in pair.values()]
    assert np.mean([verdict != "stable" for verdict in said]) <= 0.01


def test_a_split_without_rows_is_left_out_and_one_that_is_refused_has_no_comparison() -> None:
    frames = splits()
    frames["validation"] = frames["validation"].head(0)
    scores = {name: np.full(len(frame), 600.0) for name, frame in frames.items()}
    found = measure_stability(frames, scores, ["x"], [], POLICY)
    assert [(one["before"], one["after"]) for one in found["comparisons"]] == [("train", "test")]
    scores["train"][:] = np.nan
    assert measure_stability(frames, scores, ["x"], [], POLICY)["comparisons"] == []


def test_no_level_is_named() -> None:
    frames = splits()
    frames["test"]["k"] = "another"
    scores = {name: np.full(len(frame), 600.0) for name, frame in frames.items()}
    written = json.dumps(measure_stability(frames, scores, ["x", "k"], ["k"], POLICY))
    assert "secret" not in written
    assert "another" not in written
