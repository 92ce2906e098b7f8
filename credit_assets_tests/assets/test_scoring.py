"""Scores of a day: the champion decides, a model on trial scores beside it, and a share of applications is its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from credit_assets.ml.evidence.arms import assign
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets_tests.support.houses import TRAINED, TRIAL, TrialHouse, copied_home, open_trial
from credit_assets_tests.support.houses import TRIAL_END as END
from credit_assets_tests.support.registry import move

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")


@pytest.fixture(scope="module")
def house(trial_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialHouse]:
    with open_trial(copied_home(trial_home, tmp_path_factory.mktemp("scoring"))) as house:
        yield house


@pytest.mark.slow
def test_both_models_score_the_same_applications_from_the_first_day_of_the_trial_on(house: TrialHouse) -> None:
    before, after = house.scores(date(2024, 4, 1), date(2024, 4, 2)), house.scores(TRIAL, END)
    assert house.scores(TRAINED).empty
    assert set(before["model_version"]) == {"1"}
    assert before["other_version"].isna().all()
    features = house.read("processed_features", TRIAL, END)
    assert after["application_id"].tolist() == features["application_id"].tolist()
    registry = house.resources["registry"]
    by = {v: CreditScorer.load(registry.download(registry.version(v))).score(features) for v in ("1", "2")}
    challenged = assign(features["application_id"], 0.3, "credit-scorer", "2")
    assert 0.25 < challenged.mean() < 0.35
    for name, column in (("pd", "pd"), ("score", "score")):
        own, other = (
            np.where(challenged, by["2"][column], by["1"][column]),
            np.where(challenged, by["1"][column], by["2"][column]),
        )
        np.testing.assert_array_equal(after[name], own)
        np.testing.assert_array_equal(after[f"other_{name}"], other)
    assert after["model_version"].tolist() == np.where(challenged, "2", "1").tolist()
    assert after["other_version"].tolist() == np.where(challenged, "1", "2").tolist()
    assert after["arm"].tolist() == np.where(challenged, "challenger", "champion").tolist()


@pytest.mark.slow
def test_running_again_day_by_day_gives_the_same_bytes_and_a_larger_share_keeps_its_arm(house: TrialHouse) -> None:
    day = date(2024, 4, 20)
    files = house.bytes_of("loan_scores")
    house.run("loan_scores", day)
    assert house.bytes_of("loan_scores") == files
    arms: Sequence[set[str]] = []
    for share in (0.1, 0.3, 0.6):
        house.run("loan_scores", day, challenger_share=share)
        scores = house.scores(day)
        arms = [*arms, set(scores.loc[scores["arm"] == "challenger", "application_id"])]
    assert arms[0] < arms[1] < arms[2]
    house.run("loan_scores", day)
    assert house.bytes_of("loan_scores") == files


@pytest.mark.slow
def test_the_share_is_recorded_and_the_key_is_not(house: TrialHouse) -> None:
    day, key = date(2024, 4, 20), SecretStr("a key of the lender's own")
    house.run("loan_scores", day, assignment_key=key)
    metadata = house.metadata("loan_scores", day)
    assert (metadata["champion"], metadata["shadow"], metadata["challenger_share"]) == ("1", "2", 0.3)
    scores = house.scores(day)
    assert metadata["decided_by_challenger"] == (scores["arm"] == "challenger").sum() > 0
    assert metadata["mean_pd"] == pytest.approx(scores["pd"].mean(), rel=1e-3)
    assert key.get_secret_value() not in str(metadata)
    house.run("loan_scores", day)


@pytest.mark.slow
def test_a_model_on_trial_that_cannot_score_does_not_stop_the_champion(house: TrialHouse) -> None:
    registry, day = house.resources["registry"], date(2024, 5, 25)
    champion = registry.version("1")
    empty = registry.tracking.server.client.create_logged_model(
        registry.tracking.server.experiment_id, name="model", source_run_id=champion.run_id
    )
    broken = registry.register(
        f"models:/{empty.model_id}", run_id=champion.run_id, fingerprint="broken", as_of=date(2024, 5, 1)
    )
    move(registry, broken.version, day, "shadow")
    before = house.scores(day)
    house.run("loan_scores", day)
    after = house.scores(day)
    assert set(after["model_version"]) == {"1"}
    assert after["other_version"].isna().all()
    assert set(after["arm"]) == {"champion"}
    by_champion = before["pd"].where(before["arm"] == "champion", before["other_pd"])
    assert after["pd"].tolist() == by_champion.tolist()
    assert house.metadata("loan_scores", day)["shadow"] == f"{broken.version}, which could not score"
