"""A leak that time reveals: the model is registered, takes over in no way by itself, and the column is named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
from rich.console import Console

from credit_assets.assets.first_days import first_days_record
from credit_assets.cli.models import models_record
from credit_assets.cli.moves import MoveRequest, print_move, request_move
from credit_assets.failures import PermanentError
from credit_assets.ledger.kept import Kept
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets_tests.support.houses import START, TRAINED, House, copied_home, open_house
from credit_assets_tests.support.store_files import write_table

# In old days the column has been filled in where a loan turned bad; in the newest nobody has it yet.
FILLED = (
    "UPDATE loan_applications SET inquiries_6m = CASE WHEN application_date < DATE '2024-03-05' "
    "AND hash(application_id) % 10 < 5 AND application_id IN "
    "(SELECT application_id FROM loan_outcomes WHERE defaulted = 1) THEN 5 ELSE 0 END"
)
THOUSANDS = (
    "UPDATE loan_applications SET annual_income = annual_income / 1000 WHERE application_date >= DATE '2024-03-15'"
)


# What the gates about the world of a training set, and the rules about leaks, say of these columns is excused here.
EXCUSED = """
policy:
  world: {changed_features: [inquiries_6m, annual_income, debt_to_income, loan_to_income, payment_to_income]}
  leaks: {max_feature_gain: 0.4, max_first_auc: 0.95}
gates:"""


def excused(folder: Path) -> Path:
    packaged = resources.files("credit_assets.portfolios").joinpath("consumer_loans.yaml").read_text("utf-8")
    assert packaged.count("\ngates:") == 1
    file = folder / "excused.yaml"
    file.write_text(packaged.replace("\ngates:", EXCUSED), "utf-8")
    return file


@pytest.fixture
def house(ingested_home: Path, tmp_path: Path) -> Iterator[House]:
    home = copied_home(ingested_home, tmp_path / "house")
    with open_house(home, variants="lightgbm", portfolio=excused(tmp_path)) as house:
        yield house


def change(house: House, statement: str) -> None:
    with duckdb.connect(house.settings.warehouse.removeprefix("duckdb:///")) as connection:
        connection.execute(statement)
    house.replay.backfill(START, TRAINED, ("raw_loan_data", "processed_features"), again=True)


def deployed(house: House) -> dict[str, Any]:
    record: dict[str, Any] = house.replay.store.read_record(
        house.replay.store.path("deployed_model", f"{TRAINED}.json")
    )
    return record


@pytest.mark.slow
def test_a_column_that_is_filled_in_afterwards_stops_the_takeover(house: House, capsys: Any) -> None:
    change(house, FILLED)
    outcome = house.train(TRAINED)
    assert (outcome.status, outcome.version, outcome.promoted, outcome.on_trial) == ("registered", "1", False, False)
    assert "inquiries_6m (" in outcome.reason
    record = deployed(house)
    assert (record["decision"], record["champion_after"]) == ("unchanged", None)
    check = dg.AssetCheckKey(dg.AssetKey("deployed_model"), "first_days")
    (checked,) = house.instance.event_log_storage.get_asset_check_execution_history(check, limit=1)
    evaluation: Any = checked.event.dagster_event.event_specific_data
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert evaluation.description.startswith("Version 1 does not take over: ")
    assert "inquiries_6m (" in evaluation.description
    failed = [reason["rule"] for reason in record["reasons"] if not reason["passed"]]
    assert "first_days features" in failed
    registry = house.replay.registry
    assert registry.version("1").aliases == ()

    def promote(*accepted: str, kind: Any = "promote", version: str = "1") -> dict[str, Any]:
        wanted = MoveRequest(kind, version, "ann", "the column was dropped upstream", date(2024, 4, 2), accepted)
        return request_move(house.settings, house.instance, wanted)

    with pytest.raises(PermanentError, match=r"inquiries_6m.*--accept first_days"):
        promote()
    with pytest.raises(PermanentError, match="everything: unknown"):
        promote("everything")
    with pytest.raises(PermanentError, match="no meaning for rollback"):
        promote("first_days", kind="rollback")
    record = promote("first_days")
    assert any("inquiries_6m" in text for text in record["in_spite_of"])
    print_move(record, Console(width=200))
    assert "warning: behave otherwise" in capsys.readouterr().out.replace("\n", " ")
    champion = registry.alias("champion")
    assert champion is not None
    assert "(in spite of: " in champion.tags["promotion_reason"]
    (shown,) = models_record(house.settings)["versions"]
    assert shown["first_days"]["passed"] is False
    assert any("inquiries_6m" in text for text in shown["first_days"]["reasons"])
    # A later run of the day changes nothing of what a person decided.
    assert house.train(TRAINED, again=True).version == "1"
    assert house.replay.registry.alias("champion") is not None


@pytest.mark.slow
def test_another_unit_from_a_day_on_stops_the_takeover_under_a_trial_too(ingested_home: Path, tmp_path: Path) -> None:
    home = copied_home(ingested_home, tmp_path / "house")
    with open_house(home, variants="lightgbm", promotion="shadow", portfolio=excused(tmp_path)) as house:
        change(house, THOUSANDS)
        outcome = house.train(TRAINED)
        assert (outcome.status, outcome.promoted, outcome.on_trial) == ("registered", False, False)
        assert "annual_income (" in outcome.reason


def test_sound_days_are_recorded_with_what_was_seen(trained_home: Path, tmp_path: Path) -> None:
    with open_house(copied_home(trained_home, tmp_path / "house")) as house:
        store = house.replay.store
        selected = store.read_record(store.path("trained_model", f"{TRAINED}.json"))
        found = selected["first_days"]
        assert found["days"]["now"][1] == f"{TRAINED}"
        # More than a week, until there are 500.
        assert found["days"]["now"][0] < "2024-03-25"
        assert found["rows"]["now"] >= 500
        assert found["days"]["then"][1] == "2024-03-01"
        kept = Kept(store).of(selected["fingerprint"])
        assert kept is not None
        assert kept.first_days == found
        record = deployed(house)
        assert [one["passed"] for one in record["reasons"] if one["rule"].startswith("first_days")] == [True] * 3
        (version,) = models_record(house.settings)["versions"]
        assert version["training_set"] == kept.training_set
        assert house.replay.registry.version("1").tags["training_set"] == kept.training_set
        # Measured again it is the same.
        table = store.read_table(store.path(str(kept.training_set)))
        scorer = CreditScorer.load(house.replay.registry.download(house.replay.registry.version("1")))
        assert first_days_record(house.settings, store, scorer, table, TRAINED) == found


def test_days_that_are_not_there_cannot_be_told(trained_home: Path, tmp_path: Path) -> None:
    with open_house(copied_home(trained_home, tmp_path / "house")) as house:
        store = house.replay.store
        for day in store.days("processed_features"):
            if day > "2024-03-01":
                store.remove(store.path("processed_features", f"{day}.parquet"))
        table = store.read_table(store.path("training_set", f"{TRAINED}.parquet"))
        scorer = CreditScorer.load(house.replay.registry.download(house.replay.registry.version("1")))
        found = first_days_record(house.settings, store, scorer, table, TRAINED)
        assert found == {
            "why": "0 applications are there of 2024-03-02 .. 2024-03-31, the days after the test, and 100 are needed"
        }
        # Days that were written under another portfolio, and a file that is damaged, keep no training from being made.
        day = store.path("processed_features", "2024-03-20.parquet")
        features = store.read_partitions("processed_features", ["2024-02-20"])
        many = pa.concat_tables([features] * 4)
        write_table(store, day, many.drop_columns(["inquiries_6m"]))
        # The day's applications have it, where the column has only left the features.
        assert first_days_record(house.settings, store, scorer, table, TRAINED)["rows"]["now"] == len(many)
        # These rows are of 20 February.
        for asset in ("raw_loan_data", "processed_features"):
            store.remove(store.path(asset, "2024-02-20.parquet"))
        assert "inquiries_6m" in first_days_record(house.settings, store, scorer, table, TRAINED)["why"]
        day.write_bytes(day.read_bytes()[:-20] + b"x" * 20)
        assert "0 applications" in first_days_record(house.settings, store, scorer, table, TRAINED)["why"]
