"""Rules of a model in the pipeline: each a check, judged again at registration, recorded with the policy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from credit_assets.assets.conventions import asset_key
from credit_assets.assets.runs import QUIET
from credit_assets.cli.policy import simulation_record
from credit_assets.cli.trainings import ReplayReport
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.rules.model_rules import MODEL_RULES
from credit_assets.resources import build_resources
from credit_assets.settings.policies import policy_of
from credit_assets_tests.support.houses import TRAINED, House, copied_home, open_house

LATER = date(2024, 4, 15)


@pytest.fixture(scope="module")
def house(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(copied_home(trained_home, tmp_path_factory.mktemp("rules"))) as house:
        yield house


def record(house: House, asset: str, day: date) -> Any:
    return house.replay.store.read_record(house.replay.store.path(asset, f"{day}.json"))


def there(house: House, asset: str, day: date) -> bool:
    return str(day) in house.replay.store.days(asset)


@pytest.mark.slow
def test_every_rule_is_a_check_and_every_decision_holds_the_policy(house: House) -> None:
    policy = policy_of(house.settings)
    trained = record(house, "trained_model", TRAINED)
    assert [one["rule"] for one in trained["judged"]] == [rule.name for rule in MODEL_RULES]
    assert trained["mode"] == "improvement"
    for asset in ("trained_model", "registered_model", "deployed_model"):
        recorded = record(house, asset, TRAINED)["policy"]
        assert recorded["version"] == policy.version
        assert Policy.from_record(recorded) == policy
    (version,) = build_resources(house.settings)["registry"].versions()
    assert version.tags["policy_version"] == policy.version
    assert Policy.model_validate_json(version.tags["policy"]) == policy
    (made,) = house.instance.fetch_materializations(asset_key(house.settings, "trained_model"), limit=1).records
    key = asset_key(house.settings, "trained_model")
    events = house.instance.all_logs(made.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = {
        one.dagster_event.asset_check_evaluation_data.check_name: one.dagster_event.asset_check_evaluation_data
        for one in events
        if one.dagster_event and one.dagster_event.asset_check_evaluation_data.asset_key == key
    }
    assert {rule.name: (checks[rule.name].passed, checks[rule.name].blocking) for rule in MODEL_RULES} == {
        one["rule"]: (one["passed"], True) for one in trained["judged"]
    }


@pytest.mark.slow
def test_the_recorded_policy_decides_the_past_as_it_was(house: House, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(policy_of(house.settings).model_dump(mode="json")))
    before = house.hashes()
    found = simulation_record(house.settings, file, None, None)
    assert {one["what"] for one in found["decisions"]} == {"registration", "takeover"}
    assert [one for one in found["decisions"] if one["changed"] or one["not_recorded"]] == []
    assert found["differs"] == {}
    assert house.hashes() == before


@pytest.mark.slow
def test_an_error_stops_the_run_and_cannot_be_walked_around(house: House) -> None:
    strict = house.rebuilt(variants="lightgbm", max_auc=0.53)
    outcome = strict.replay.train(LATER, ReplayReport())
    assert outcome.status == "blocked"
    assert "trained_model.plausible_skill: " in outcome.reason
    assert "CREDIT_MAX_AUC" in outcome.reason
    assert there(strict, "trained_model", LATER)
    assert not there(strict, "registered_model", LATER)
    (rule,) = [one for one in record(strict, "trained_model", LATER)["judged"] if one["rule"] == "plausible_skill"]
    assert (rule["severity"], rule["passed"]) == ("error", False)
    # Whoever starts at the registration meets the same rule.
    key = asset_key(strict.settings, "registered_model")
    job = strict.replay.definitions.get_repository_def().get_implicit_job_def_for_assets([key])
    assert job is not None
    alone = job.execute_in_process(
        instance=strict.instance, run_config=QUIET, asset_selection=[key], partition_key=str(LATER)
    )
    assert alone.success
    registered = record(strict, "registered_model", LATER)
    assert (registered["decision"], registered["version"]) == ("rejected", None)
    assert "max_auc" in [reason["rule"] for reason in registered["reasons"] if not reason["passed"]]
    assert strict.versions() == ["1"]
