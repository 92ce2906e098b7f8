"""A new calibration of the champion as a version of its own: asked for, decided, registered, in force, taken back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from credit_assets.assets.leaks import gains_before
from credit_assets.assets.recalibration import RECALIBRATED
from credit_assets.assets.reproduction import reproduce
from credit_assets.cli.models import models_record
from credit_assets.cli.replay import RecalibratingReplay
from credit_assets.cli.state import status_record
from credit_assets.cli.trainings import ReplayReport, TrainingOutcome
from credit_assets.ledger.deployment import ACTOR
from credit_assets.ledger.kept import Kept
from credit_assets.ledger.retraining import CALIBRATION, claim_retraining, recalibrations, retrainings
from credit_assets.ml.data.fingerprints import rounded
from credit_assets.ml.data.manifest import MANIFEST
from credit_assets.ml.learners.calibration import calibration_of
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.resources import build_resources
from credit_assets_tests.support.houses import House, copied_home, open_house

DAY = date(2024, 6, 15)
"""The champion is of 31 March: some 100 bads matured since that it has not seen, and a test of 1,000 loans."""
SETTINGS: dict[str, Any] = {"variants": ("lightgbm",), "lookback_days": 100, "min_auc": 0.5}
MISCALIBRATED = -1.1
"""What is added to the champion's log-odds: PDs of a third of what they were."""


def spoil(home: Path, added: float) -> None:
    """Move the calibration of every model of a home, as of versions of before, whose files no manifest tells."""
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection, connection:
        connection.execute("DELETE FROM model_version_tags WHERE key = ?", (MANIFEST,))
    for place in (home / "mlflow").rglob("scorer.json"):
        record = json.loads(place.read_text())
        record["calibration"] = calibration_of(record["calibration"]).then(1.0, added).to_record()
        place.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def house(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A champion whose PDs are a third of what they should be, and its recalibration as of DAY."""
    home = copied_home(trained_home, tmp_path_factory.mktemp("recalibrated") / "home")
    spoil(home, MISCALIBRATED)
    with open_house(home, **SETTINGS) as built:
        claim_retraining(built.replay.registry.claims, DAY, CALIBRATION, "calibration:test", "PDs are too small")
        outcome = train(built, DAY)
        assert outcome.status == "registered", outcome.reason
        yield built


def train(house: House, day: date) -> TrainingOutcome:
    """The run of a retraining, without the scores of the days before it."""
    return house.replay.train(day, ReplayReport())


def read(house: House, asset: str, day: date = DAY) -> Any:
    return house.replay.store.read_record(house.replay.store.path(asset, f"{day}.json"))


def test_no_candidate_is_trained(house: House) -> None:
    candidate = read(house, "lightgbm_candidate")
    assert candidate["status"] == RECALIBRATED
    assert "champion version 1 gets a new calibration" in candidate["why"]
    assert recalibrations(house.replay.registry.claims) == {DAY}
    assert DAY not in retrainings(house.replay.registry.claims)


def test_it_is_the_champion_with_another_calibration(house: House) -> None:
    registry = house.replay.registry
    old, new = (CreditScorer.load(registry.download(registry.version(number))) for number in ("1", "2"))
    folders = [registry.download(registry.version(number)) for number in ("1", "2")]
    hashes = [json.loads((folder / "scorer.json").read_text())["model_sha256"] for folder in folders]
    assert hashes[0] == hashes[1]
    # Its shape was chosen when it was trained, and stays.
    shapes = [read(house, "trained_model", day)["calibration_choice"] for day in (registry.version("1").as_of, DAY)]
    assert shapes[0] == shapes[1]
    assert shapes[0]["method"] == "platt"
    assert (old.features, old.categories, old.scale) == (new.features, new.categories, new.scale)
    # The level alone is wrong, and is all that is moved.
    assert new.calibration.method == old.calibration.method == "platt"
    margins = np.linspace(-4, 0, 9)
    moved = new.calibration.log_odds(margins) - old.calibration.log_odds(margins)
    assert np.ptp(moved) < 1e-9
    assert moved[0] == pytest.approx(-MISCALIBRATED, abs=0.4)


def test_the_decision_says_what_was_asked_fitted_and_shown(house: House) -> None:
    decided, trained = read(house, "registered_model"), read(house, "trained_model")
    assert (decided["decision"], decided["version"], decided["mode"]) == ("registered", "2", "recalibration")
    assert decided["triggers"] == [CALIBRATION]
    reasons = {reason["rule"]: reason for reason in decided["reasons"]}
    assert all(reason["passed"] for reason in reasons.values())
    made = trained["recalibrates"]
    assert (made["version"], made["why"]) == ("1", "")
    assert made["bads"] >= 30
    assert made["before"]["observed_over_expected"]["low"] > 1.5
    # Fitted on days before those that it is judged on.
    assert made["days"][1] < trained["test_from"] == trained["age"]["test"][0]
    assert "on rows that neither used, shown to be less" in reasons["recalibration"]["text"]
    assert reasons["same_order"]["value"] == pytest.approx(0, abs=1e-9)
    assert "improvement" not in reasons
    beside = trained["champion"]["calibration"]
    assert beside["champion"]["observed_over_expected"]["low"] > 1.5
    assert beside["candidate"]["observed_over_expected"]["low"] < 1.2
    assert beside["farther"]["high"] < 0
    age = trained["age"]
    assert age["days"] == (DAY + timedelta(1) - date.fromisoformat(age["test"][1])).days >= 31


def test_it_is_a_version_of_its_own_and_in_force(house: House) -> None:
    version = house.replay.registry.version("2")
    assert version.tags["recalibrates"] == "1"
    # Loans that mature since the training count on: a new calibration is none.
    assert (version.as_of, version.trained_as_of) == (DAY, house.replay.registry.version("1").as_of)
    assert version.tags["training_rows"] == house.replay.registry.version("1").tags["training_rows"]
    assert version.tags["test_from"] == read(house, "trained_model")["test_from"]
    assert "days newer than any that it was tested on" in version.description
    assert "with a new calibration" in version.description
    assert read(house, "deployed_model")["champion_after"] == "2"
    first, second = models_record(house.settings)["versions"]
    assert (first["recalibrates"], second["recalibrates"]) == (None, "1")
    assert status_record(house.settings, house.instance)["champion"]["recalibrates"] == "1"
    kept = Kept(house.replay.store).of(version)
    assert kept is not None
    assert kept.version == "2"
    run = house.replay.tracking.server.client.get_run(version.run_id)
    assert run.data.tags["recalibrates"] == "1"
    assert {"test_auc", "test_ece", "calibration_auc"} <= set(run.data.metrics)


def test_its_use_is_held_against_the_rows_of_its_new_calibration(house: House) -> None:
    trained, champion = read(house, "trained_model"), house.replay.registry.version("1").baseline
    assert champion is not None
    assert house.replay.registry.version("2").baseline == rounded(trained["performance"])
    made, baseline, error = trained["recalibrates"], trained["performance"], trained["performance"]["calibration"]
    assert made["moved"] == "level"
    # Of its own days, not of the validation of the training set, and of the test.
    assert baseline["level_bads"] == made["bads"] + trained["evaluation"]["bads"]
    assert error["slope"] == pytest.approx(champion["calibration"]["slope"], rel=1e-4)
    assert trained["calibration"]["fitted"]["slope"] == pytest.approx(error["slope"] ** 0.5)
    # Some 100 bads leave the level of these PDs open by a tenth.
    assert trained["calibration"]["fitted"]["level"] == pytest.approx(made["bads"] ** -0.5, rel=0.5)


def test_a_gain_of_nothing_is_no_gain_of_a_training(house: House) -> None:
    registry, store = house.replay.registry, house.replay.store
    assert registry.version("2").champion_periods
    # The first model had no champion, and the second is the same model.
    assert gains_before(store, registry, DAY + timedelta(30)) == []


def test_made_again_it_is_found_again(house: House) -> None:
    before, run = read(house, "trained_model"), house.replay.registry.version("2").run_id
    outcome = train(house, DAY)
    assert (outcome.status, outcome.version) == ("registered", "2")
    assert read(house, "trained_model") == before
    assert house.replay.registry.version("2").run_id == run
    assert house.versions() == ["1", "2"]


def asked(house: House, kind: Any, version: str, start: date, by: str = "someone") -> str:
    deployment = build_resources(house.settings)["deployment"]
    deployment.requests.add(kind, version, by=by, reason="because", effective_from=start)
    ((_, outcome),) = deployment.apply_pending()
    return str(outcome)


def holders(house: House) -> dict[str, str | None]:
    found = {alias: house.replay.registry.alias(alias) for alias in ("champion", "challenger", "shadow")}
    return {alias: version.version if version else None for alias, version in found.items()}


def champion_on(house: House, day: date) -> str:
    found = house.replay.registry.champion_at(day)
    assert found is not None
    return found.version


@pytest.mark.slow
@pytest.mark.parametrize(("promotion", "kind", "by"), [("manual", "approve", "someone"), ("shadow", "promote", ACTOR)])
def test_a_person_or_a_trial_brings_it_into_force_and_it_is_taken_back(
    promotion: str, kind: str, by: str, trained_home: Path, tmp_path: Path
) -> None:
    home = copied_home(trained_home, tmp_path / "home")
    spoil(home, MISCALIBRATED)
    with open_house(home, **SETTINGS, promotion=promotion) as house:
        after = DAY + timedelta(1)
        claim_retraining(house.replay.registry.claims, DAY, CALIBRATION, "calibration:test", "PDs are too small")
        outcome = train(house, DAY)
        assert (outcome.status, outcome.version, outcome.promoted) == ("registered", "2", False)
        assert holders(house) == {"champion": "1", "challenger": "2", "shadow": "2"}
        assert read(house, "deployed_model")["champion_after"] == "1"
        assert asked(house, kind, "2", after, by) == "done"
        assert holders(house) == {"champion": "2", "challenger": "2", "shadow": None}
        assert [champion_on(house, day) for day in (DAY, after)] == ["1", "2"]
        # Taken back, the former calibration decides again, and its own day run again changes nothing.
        back = after + timedelta(10)
        assert asked(house, "rollback", "1", back) == "done"
        assert train(house, DAY).version == "2"
        assert [champion_on(house, day) for day in (DAY, after, back)] == ["1", "2", "1"]
        assert house.versions() == ["1", "2"]
        assert "2" not in {holders(house)["champion"], holders(house)["shadow"]}
        # The pipeline does not bring it back; a person may.
        assert "only a person brings it back" in asked(house, "promote", "2", back + timedelta(1), ACTOR)
        assert asked(house, "promote", "2", back + timedelta(1)) == "done"
        assert holders(house)["champion"] == "2"


def test_it_is_made_again_on_the_model_that_it_recalibrates(house: House) -> None:
    resources = build_resources(house.settings)
    record = reproduce(house.settings, resources["store"], resources["registry"], "2")
    assert record["equal"], record["differences"]
    assert record["recalibrates"] == "1"
    assert record["compared"]["model"].startswith("equal to the byte")
    # The champion of before was spoilt after its training.
    first = reproduce(house.settings, resources["store"], resources["registry"], "1")
    assert {one["where"] for one in first["differences"] if one["kind"] == "kept"} == {"model file scorer.json"}


@pytest.mark.slow
def test_once_more_is_asked_for_the_day_is_trained(trained_home: Path, tmp_path: Path) -> None:
    """A later training sees as unseen only what the new calibration was not fitted on."""
    home = copied_home(trained_home, tmp_path / "home")
    spoil(home, MISCALIBRATED)
    with open_house(home, **SETTINGS) as house:
        claims = house.replay.registry.claims
        claim_retraining(claims, DAY, CALIBRATION, "calibration:test", "PDs are too small")
        assert train(house, DAY).version == "2"
        later = DAY + timedelta(8)
        train(house, later)
        compared = read(house, "trained_model", later)["champion"]
        tested = house.replay.store.open_table(house.replay.store.path("training_set", f"{later}.parquet")).read()
        seen_to = read(house, "trained_model")["test_from"]
        unseen = [
            day
            for day, split in zip(tested["application_date"].to_pylist(), tested["split"].to_pylist(), strict=True)
            if split == "test" and day >= date.fromisoformat(seen_to)
        ]
        assert (compared["version"], compared["rows"]) == ("2", len(unseen))
        # Asked for by another trigger too, the day of the recalibration is trained.
        claim_retraining(claims, DAY, "drift", "drift:test", "shifted")
        assert DAY in retrainings(claims)
        train(house, DAY)
        assert read(house, "lightgbm_candidate")["status"] == "trained"
        assert read(house, "registered_model")["mode"] == "improvement"


def test_a_sound_champion_is_not_recalibrated(trained_home: Path, tmp_path: Path) -> None:
    with open_house(copied_home(trained_home, tmp_path / "home"), **SETTINGS) as house:
        outcome = RecalibratingReplay(house.settings, house.instance).train(DAY, ReplayReport())
        assert read(house, "registered_model")["triggers"] == [CALIBRATION]
        assert outcome.status == "rejected"
        assert "not shown to be less" in outcome.reason
        assert house.versions() == ["1"]


# What is said of them: ml/learners/test_recalibration.py; what a refusal leaves: the sound champion above.
@pytest.mark.slow
def test_too_few_new_bads_are_said_and_nothing_is_registered(trained_home: Path, tmp_path: Path) -> None:
    """Three days after the champion's own date little lies between what it was made of and the test."""
    day = date(2024, 4, 3)
    with open_house(copied_home(trained_home, tmp_path / "home"), **SETTINGS) as house:
        claim_retraining(house.replay.registry.claims, day, CALIBRATION, "calibration:test", "too early")
        outcome = train(house, day)
        assert outcome.status == "rejected"
        assert "and 30 bads and goods are needed" in outcome.reason
        assert "ask for a retraining" in outcome.reason
        assert house.versions() == ["1"]


@pytest.mark.slow
def test_a_model_of_the_day_that_is_registered_is_not_replaced(trained_home: Path, tmp_path: Path) -> None:
    """It has a calibration of its own, and is newer than the champion that would get one."""
    home, day = copied_home(trained_home, tmp_path / "home"), date(2024, 3, 31)
    with open_house(home, variants=("lightgbm", "xgboost", "catboost")) as house:
        before = read(house, "registered_model", day)
        claim_retraining(house.replay.registry.claims, day, CALIBRATION, "calibration:test", "asked afterwards")
        assert train(house, day).version == "1"
        assert read(house, "lightgbm_candidate", day)["status"] == "trained"
        assert read(house, "registered_model", day)["mode"] == before["mode"] == "improvement"


@pytest.mark.slow
def test_without_a_champion_a_model_is_trained(ingested_home: Path, tmp_path: Path) -> None:
    with open_house(copied_home(ingested_home, tmp_path / "home"), **SETTINGS) as house:
        claim_retraining(house.replay.registry.claims, date(2024, 3, 31), CALIBRATION, "calibration:test", "early")
        outcome = train(house, date(2024, 3, 31))
        assert outcome.status == "registered"
        assert read(house, "registered_model", date(2024, 3, 31))["mode"] == "improvement"
