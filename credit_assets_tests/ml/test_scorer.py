"""The door by which MLflow loads registered models, those of former versions of this package included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.ml.scorer import ScoringModel
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set

BEFORE = Path(__file__).parents[1] / "data" / "scorers"
"""Scorers as the code saved them when it had another layout, with rows and what they scored: trained on
`training_set(1500)` with `quick_config(variant, max_rounds=6)`."""
ALL = pytest.mark.parametrize("name", list(VARIANTS))


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return dict(json.loads((BEFORE / "expected.json").read_text()))


@pytest.fixture(scope="module")
def rows(expected: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(expected["rows"])


@ALL
def test_a_version_that_was_registered_before_scores_as_it_did(
    name: str, rows: pd.DataFrame, expected: dict[str, Any], tmp_path: Path
) -> None:
    import mlflow.pyfunc

    # Its record in MLflow names the loader by module, and that is all it says of our code.
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        loader_module="credit_assets.ml.scorer",
        data_path=str(BEFORE / name),
        pip_requirements=["pandas"],
    )
    assert not list((tmp_path / "model").rglob("*.pkl"))
    scores = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(rows)
    for column in ("pd", "score"):
        np.testing.assert_allclose(scores[column], expected["scores"][name][column], rtol=1e-9)


@ALL
def test_the_same_training_gives_the_model_that_the_code_of_before_gave(
    name: str, rows: pd.DataFrame, expected: dict[str, Any]
) -> None:
    before = CreditScorer.load(BEFORE / name)
    if before.library != VARIANTS[name].library():
        pytest.skip(f"trained with {before.library}, and {VARIANTS[name].library()} is installed")
    scorer = train_candidate(training_set(1500), name, PORTFOLIO, quick_config(name, max_rounds=6)).scorer
    np.testing.assert_allclose(scorer.pd(rows), expected["scores"][name]["pd"], rtol=1e-6)
    assert scorer.categories == before.categories
    assert scorer.calibration.slope == pytest.approx(before.calibration.slope)


def test_the_hook_gives_pd_and_points_of_any_rows(rows: pd.DataFrame) -> None:
    scorer = CreditScorer.load(BEFORE / "lightgbm")
    model, scores = ScoringModel(scorer), scorer.score(rows)
    assert model.predict(rows).equals(scores)
    assert model.predict(rows, params={}).equals(scores)
    assert model.predict(rows.to_dict("records")).equals(scores)
