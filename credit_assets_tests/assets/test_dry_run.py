"""An ad-hoc training, for real and as a dry run, on the small house."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from credit_assets.assets.reproduction import reproduce
from credit_assets.assets.requested import REQUESTED, RetrainingRequest
from credit_assets.cli import retrain as command
from credit_assets.cli.retrain import nested
from credit_assets.failures import PermanentError
from credit_assets.resources import build_resources
from credit_assets.stages import RETRAIN
from credit_assets_tests.support.houses import House, copied_home, open_house

DAY = date(2024, 4, 20)
ASKED: dict[str, Any] = {
    "lookback_days": 50,
    "variants": ["lightgbm"],
    "variant_params": {"lightgbm": {"num_leaves": 5}},
    "policy": {"comparison": {"min_auc": 0.51}},
    "reason": "fewer leaves",
    "by": "ada",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Iterator[House]:
    home = copied_home(trained_home, tmp_path_factory.mktemp("asked") / "home")
    with open_house(home) as opened:
        yield opened


def quiet(*_: object) -> None: ...


@pytest.fixture(scope="module")
def said(house: House) -> dict[str, Any]:
    """What the dry run of ASKED says, which several tests hold something against."""
    before = left_behind(house)
    record = command.dry_run(house.settings, RetrainingRequest(**ASKED), DAY, quiet)
    assert left_behind(house) == before
    return record


def left_behind(house: House) -> tuple[Any, ...]:
    """What a dry run must not change: files of the store, MLflow's runs and versions, aliases, partitions."""
    client, registry = house.replay.tracking.server.client, house.replay.registry
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    made = {
        name: house.instance.get_materialized_partitions(dg.AssetKey(name))
        for name in ("training_set", "lightgbm_candidate", "trained_model", "registered_model")
    }
    versions = [(one.version, one.fingerprint) for one in registry.versions()]
    return house.hashes(), sorted(run.info.run_id for run in runs), versions, registry.alias("champion"), made


def test_a_dry_run_says_what_would_come_and_leaves_nothing(said: dict[str, Any]) -> None:
    record = said
    assert (record["decision"], record["variant"]) in [("registered", "lightgbm"), ("rejected", "lightgbm")]
    assert (record["dry_run"], record["as_of"], record[REQUESTED]) == (True, "2024-04-20", ASKED)
    assert set(record["candidates"]) == {"lightgbm"}
    assert record["policy"]["comparison"]["min_auc"] == 0.51
    json.dumps(record)


def test_a_training_that_is_asked_for_comes_to_what_its_dry_run_said_and_is_recorded(
    house: House, said: dict[str, Any]
) -> None:
    request = RetrainingRequest(**ASKED)
    came = command.retrain(house.settings, house.instance, request, DAY)
    assert (came["status"], came["variant"]) == (said["decision"], "lightgbm"), came["reason"]
    assert came["metrics"]["auc"] == said["metrics"]["auc"]
    store = house.replay.store
    trained, registered = (
        store.read_record(store.path(name, f"{DAY}.json")) for name in ("trained_model", "registered_model")
    )
    assert trained[REQUESTED] == registered[REQUESTED] == ASKED
    assert trained["fingerprint"] == said["fingerprint"]
    assert [reason["rule"] for reason in registered["reasons"]] == [reason["rule"] for reason in said["reasons"]]
    assert trained["made"]["identity"]["params"]["num_leaves"] == 5
    assert trained["made"]["made_with"]["settings"]["lookback_days"] == 50
    assert registered["policy"]["comparison"]["min_auc"] == 0.51
    # The others were not trained, and nobody takes them for failed.
    assert trained["failed_variants"] == []
    assert store.read_record(store.path("xgboost_candidate", f"{DAY}.json"))["status"] == "not asked for"
    (run,) = house.instance.get_runs(dg.RunsFilter(tags={"credit/reason": ASKED["reason"]}))
    assert (run.job_name, run.status) == (RETRAIN, dg.DagsterRunStatus.SUCCESS)
    if came["version"]:
        made = build_resources(house.settings)
        version = made["registry"].version(came["version"])
        assert json.loads(version.tags[REQUESTED]) == ASKED
        again = reproduce(house.settings, made["store"], made["registry"], version.version)
        assert again["equal"], again["differences"]


def test_another_parameter_is_another_model_and_another_limit_is_not(house: House, said: dict[str, Any]) -> None:
    def fingerprint(**changes: Any) -> str:
        asked = {**ASKED, **changes}
        found: str = command.dry_run(house.settings, RetrainingRequest(**asked), DAY, quiet)["fingerprint"]
        return found

    assert fingerprint(policy={"comparison": {"min_auc": 0.9}}) == said["fingerprint"]
    assert fingerprint(variant_params={"lightgbm": {"num_leaves": 6}}) != said["fingerprint"]
    assert fingerprint(lookback_days=45) != said["fingerprint"]


def test_a_dry_run_of_a_date_that_is_not_due_or_of_days_that_are_missing(house: House) -> None:
    record = command.dry_run(house.settings, RetrainingRequest(), date(2024, 1, 20), quiet)
    assert (record["decision"], "variant" in record) == ("not due", False)
    with pytest.raises(PermanentError, match="2024-07-0"):
        command.dry_run(house.settings, RetrainingRequest(), date(2024, 7, 5), quiet)
    with pytest.raises(PermanentError, match="is no partition"):
        command.dry_run(house.settings, RetrainingRequest(), date(2023, 7, 5), quiet)


def test_the_job_of_the_dry_run_says_the_same_in_dagster(house: House) -> None:
    before = left_behind(house)
    job = house.replay.definitions.resolve_job_def("retrain_dry_run")
    config = RetrainingRequest(**ASKED).run_config() | {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(run_config=config, partition_key=f"{DAY}", instance=house.instance)
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    shown = output.step_output_data.metadata
    assert shown["decision"].value in ("registered", "rejected")
    assert 0.4 < shown["auc"].value < 1
    assert left_behind(house) == before


def test_a_request_that_cannot_be_used_fails_the_run_at_once_with_one_line(house: House) -> None:
    job = house.replay.definitions.resolve_job_def(RETRAIN)
    config = RetrainingRequest(variants=["forest"], reason="try").run_config()
    config |= {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(
        run_config=config, partition_key=f"{DAY}", instance=house.instance, raise_on_error=False
    )
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_key == "training_set"
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    assert "variants must list some of" in (data.description or "")


def test_options_are_read_as_sections_and_values() -> None:
    given = ["comparison.min_auc=0.6", "comparison.rule = shown", "cutoff.max_pd=null"]
    assert nested("--policy", "a.b=1", given) == {
        "comparison": {"min_auc": 0.6, "rule": "shown"},
        "cutoff": {"max_pd": None},
    }
    for bad in ("comparison", "comparison=3", "comparison.min_auc", ".min_auc=3"):
        with pytest.raises(PermanentError, match=r"give it as a\.b=1"):
            nested("--policy", "a.b=1", [bad])


def test_the_verb_has_its_options() -> None:
    from credit_assets.cli.main import app

    shown = CliRunner().invoke(app, ["retrain", "--help"], env={"COLUMNS": "200"}).output
    for option in ("--as-of", "--lookback", "--variants", "--param", "--policy", "--reason", "--by", "--dry-run"):
        assert option in shown
