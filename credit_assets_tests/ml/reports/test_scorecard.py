"""The points table, and the scorecard beside the chosen model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.learners import scorecard as learner
from credit_assets.ml.learners.candidates import Candidate, train_candidate
from credit_assets.ml.learners.scorer import ScoreScale
from credit_assets.ml.reports.scorecard import DIGITS, points_table, scorecard_record
from credit_assets.ml.reports.selection import summary
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set

Records = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return training_set(4_000)


@pytest.fixture(scope="module")
def candidates(frame: pd.DataFrame) -> dict[str, Candidate]:
    return {
        name: train_candidate(frame, name, PORTFOLIO, quick_config(name))
        for name in ("scorecard", "lightgbm", "xgboost")
    }


@pytest.fixture(scope="module")
def records(candidates: dict[str, Candidate]) -> Records:
    return {
        name: {
            "variant": name,
            "status": "trained",
            "metrics": {split: one.to_record() for split, one in candidate.metrics.items()},
        }
        for name, candidate in candidates.items()
    }


def score(table: dict[str, Any], row: dict[str, Any]) -> float:
    """The points of an applicant, by the table as people read it."""
    total = table["base_points"]
    for feature in table["features"]:
        value = row[feature["feature"]]
        *inside, missing = feature["bins"]
        (taken,) = [
            one
            for one in inside
            if (
                value in one["levels"]
                if "levels" in one
                else value is not None
                and (one["from"] is None or value >= one["from"])
                and (one["to"] is None or value < one["to"])
            )
        ] or [missing]
        total += taken["points"]
    return float(total)


def test_factor_and_offset_are_the_published_ones() -> None:
    scale = ScoreScale(600, 50, 20)
    assert scale.factor == pytest.approx(28.8539, abs=5e-5)
    assert scale.offset == pytest.approx(487.1229, abs=5e-5)
    assert scale.points(-np.log(50)) == pytest.approx(600)
    assert scale.points(-np.log(100)) == pytest.approx(620)


@pytest.mark.parametrize("scale", [ScoreScale(), ScoreScale(500, 20, 50)])
def test_points_add_up_to_the_score(candidates: dict[str, Candidate], frame: pd.DataFrame, scale: ScoreScale) -> None:
    scorer = replace(candidates["scorecard"].scorer, scale=scale)
    table = json.loads(json.dumps(points_table(scorer)))
    assert table["calibrated"]
    # What a gap counts as is no part of the table: rows without one, and with a level that it knows.
    rows = frame[frame["split"] == "test"].dropna().head(300)
    found = scorer.score(rows)["score"].to_numpy()
    expected = [score(table, row) for row in rows.to_dict("records")]
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.5 * 10.0**-DIGITS * (len(table["features"]) + 1))
    assert (np.round(found) == np.round(expected)).mean() > 0.99


def test_more_points_mean_a_lower_bad_rate_in_each_feature(candidates: dict[str, Candidate]) -> None:
    for feature in points_table(candidates["scorecard"].scorer)["features"]:
        inside = [one for one in feature["bins"][:-1] if one["goods"] and one["bads"]]
        ranked = sorted(inside, key=lambda one: one["points"])
        assert [one["bad_rate"] for one in ranked] == sorted((one["bad_rate"] for one in inside), reverse=True)


def test_a_model_that_was_chosen_stands_beside_the_scorecard(
    candidates: dict[str, Candidate], records: Records, frame: pd.DataFrame
) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)

    def record(best: str, among: list[dict[str, Any]]) -> dict[str, Any]:
        return scorecard_record(table, among, records[best], lambda one: candidates[one["variant"]].scorer, PORTFOLIO)

    found = record("lightgbm", list(records.values()))
    test = candidates["scorecard"].metrics["test"]
    assert found["auc"] == {"value": test.auc, "low": test.auc_ci_low, "high": test.auc_ci_high}
    assert not found["chosen"]
    assert found["beside"]["variant"] == "lightgbm"
    difference = candidates["lightgbm"].metrics["test"].auc - test.auc
    assert found["beside"]["difference"]["difference"] == pytest.approx(difference, abs=1e-12)
    json.dumps(found, allow_nan=False)
    assert "lightgbm" in summary_of(found)
    # Chosen itself, it stands beside the best of the others by the validation rows.
    chosen = record("scorecard", list(records.values()))
    best = max(("lightgbm", "xgboost"), key=lambda name: candidates[name].metrics["validation"].auc)
    assert chosen["chosen"]
    assert chosen["beside"]["variant"] == best
    alone = record("scorecard", [records["scorecard"]])
    assert alone["beside"] is None
    assert summary_of(alone).startswith("AUC 0.")


def summary_of(found: dict[str, Any]) -> str:
    measures = ("auc", "auc_ci_low", "auc_ci_high", "gini", "ks", "brier", "log_loss", "ece", "observed_rate")
    evaluation = dict.fromkeys(measures, 0.5) | {
        "rows": 1,
        "bads": 1,
        "lift": [],
    }
    rest = {"variant": "x", "candidates": {}, "champion": None, "failed_variants": []}
    return str(summary({**rest, "evaluation": evaluation, "scorecard": found})["scorecard"])


def test_a_day_without_a_scorecard_says_why(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    table, model = pa.table({}), records["lightgbm"]

    def why(*among: dict[str, Any]) -> str:
        found = scorecard_record(table, among, model, lambda _: pytest.fail("nothing to load"), PORTFOLIO)
        assert list(found) == ["why"]
        assert summary_of(found) == found["why"]
        return str(found["why"])

    assert why(model).startswith("scorecard is none of the variants (CREDIT_VARIANTS")
    assert why(model, {"variant": "scorecard", "status": "failed"}) == "the scorecard of this day was not trained"
    monkeypatch.setattr(learner, "find_spec", lambda _: None)
    assert "(CREDIT_VARIANTS" in why(model), "the same where the extra is absent: evidence is made again elsewhere"
