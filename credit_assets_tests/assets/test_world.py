"""Books in which something changed on the way, through the whole graph: what stops them, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pytest

from credit_assets.cli.models import models_record
from credit_assets.cli.moves import MoveRequest, request_move
from credit_assets.failures import PermanentError
from credit_assets.ledger.kept import Kept
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.rules.world_gates import WORLD_GATES
from credit_assets_tests.support.houses import START, TRAINED, House, copied_home, open_house

# The out-of-time test of TRAINED: 2024-02-16 .. 2024-03-01, of cohorts from 2024-01-02 on.
THOUSANDS = "UPDATE loan_applications SET annual_income = annual_income / 1000 WHERE application_date >= '2024-02-16'"
GOODS_LOST = (
    "DELETE FROM loan_applications WHERE application_date < '2024-02-01' AND hash(application_id) % 20 > 0 AND "
    "application_id NOT IN (SELECT application_id FROM loan_outcomes WHERE defaulted = 1)"
)
# Normal noise, and a step for those that default: an AUC of .85 alone.
LEAK = (
    "UPDATE loan_applications SET total_debt = 20000 + 4000 * sqrt(-2 * ln((hash(application_id) % 9991 + 1) / 9992)) "
    "* cos(2 * pi() * (hash(application_id || 'x') % 9991) / 9991) + CASE WHEN application_id IN "
    "(SELECT o.application_id FROM loan_outcomes o JOIN loan_applications a USING (application_id) "
    "WHERE o.defaulted = 1 AND o.outcome_date <= a.application_date + 30) THEN 4000 * {step} ELSE 0 END"
)
APPLICATIONS, OUTCOMES = ("raw_loan_data", "processed_features"), ("loan_outcomes",)


@pytest.fixture
def house(ingested_home: Path, tmp_path: Path) -> Iterator[House]:
    with open_house(copied_home(ingested_home, tmp_path / "house"), variants="lightgbm") as house:
        yield house


def change(house: House, statement: str, assets: Any = APPLICATIONS, first: date = START, last: date = TRAINED) -> None:
    """Change the book, and ingest the days again that it has changed."""
    with duckdb.connect(house.settings.warehouse.removeprefix("duckdb:///")) as connection:
        connection.execute(statement)
    house.replay.backfill(first, last, assets, again=True)


def blocked(house: House) -> dict[str, GateResult]:
    """The gates that stop the training as of TRAINED."""
    outcome = house.train(TRAINED)
    assert outcome.status == "blocked"
    assert house.versions() == []
    gates = house.replay.store.gates("training_set", TRAINED.isoformat())
    found = {gate.name: gate for gate in gates if gate.blocks}
    for gate in found.values():
        assert gate.name in outcome.reason
    return found


# The gates themselves: ml/rules; how a gate stops a training: the leak and the feed below.
@pytest.mark.slow
def test_income_in_thousands_from_the_first_day_of_the_test(house: House) -> None:
    change(house, THOUSANDS, first=date(2024, 2, 16))
    gate = blocked(house)["same_world"]
    assert "annual_income" in {one["column"] for one in gate.details}
    problems = [one["problem"] for one in gate.details if one["column"] == "annual_income"]
    assert problems[0].startswith("in test (2024-02-")
    assert "times the size, as in another unit" in problems[0]


@pytest.mark.slow
def test_goods_that_are_gone_from_the_archive(house: House) -> None:
    change(house, GOODS_LOST, last=date(2024, 1, 31))
    gate = blocked(house)["target_over_time"]
    assert "breaks on 2024-02-01" in gate.description
    assert "loan_applications" in gate.description


def test_a_feed_of_outcomes_that_stopped_is_no_short_lookback(house: House) -> None:
    stopped = "DELETE FROM loan_outcomes WHERE outcome_date > '2024-01-31'"
    change(house, stopped, OUTCOMES, first=date(2024, 2, 1))
    found = blocked(house)
    gate = found["outcomes_arrive"]
    assert "has stopped: none has become known since 2024-01-31, 60 days before 2024-03-31" in gate.description
    assert "loan_outcomes (column outcome_date)" in gate.description
    told = [one.description for one in house.replay.store.gates("training_set", TRAINED.isoformat())]
    assert not any("lookback (CREDIT_LOOKBACK_DAYS" in text for text in told)


def test_a_leak_of_85_is_stopped_before_anything_is_trained(house: House) -> None:
    change(house, LEAK.format(step=1.466))
    gate = blocked(house)["leakage"]
    assert [one["column"] for one in gate.details] == ["total_debt"]
    assert "gates: strong_features" in gate.description


@pytest.mark.slow
def test_a_leak_that_is_excused_needs_a_person_to_come_into_force(house: House, tmp_path: Path) -> None:
    packaged = resources.files("credit_assets.portfolios").joinpath("consumer_loans.yaml").read_text("utf-8")
    assert "\ngates:" in packaged
    own = tmp_path / "own.yaml"
    own.write_text(packaged.replace("\ngates:", "\ngates:\n  max_single_feature_auc: 0.95", 1), "utf-8")
    change(house, LEAK.format(step=1.8))
    excused = house.rebuilt(variants="lightgbm", portfolio=own)
    outcome = excused.train(TRAINED)
    assert (outcome.status, outcome.promoted, outcome.version) == ("registered", False, "1")
    assert "total_debt" in outcome.reason
    registry = excused.replay.registry
    assert registry.version("1").aliases == ()
    (shown,) = models_record(excused.settings)["versions"]
    assert shown["leaks"]["passed"] is False

    def promote(*accepted: str) -> dict[str, Any]:
        wanted = MoveRequest("promote", "1", "ann", "known at application", date(2024, 4, 2), accepted)
        return request_move(excused.settings, excused.instance, wanted)

    with pytest.raises(PermanentError, match=r"total_debt.*credit-assets promote 1 --accept leaks --reason WHY"):
        promote()
    with pytest.raises(PermanentError, match="total_debt"):
        promote("first_days")
    record = promote("leaks")
    assert any("total_debt" in text for text in record["in_spite_of"])
    champion = registry.alias("champion")
    assert champion is not None
    assert "(in spite of: " in champion.tags["promotion_reason"]


def test_a_sound_book_passes_and_keeps_what_its_skill_comes_from(trained_home: Path, tmp_path: Path) -> None:
    with open_house(copied_home(trained_home, tmp_path / "house")) as house:
        store = house.replay.store
        gates = {gate.name: gate for gate in store.gates("training_set", TRAINED.isoformat())}
        assert all(gates[name].passed for name in WORLD_GATES)
        assert "newest days are not" not in gates["same_world"].description
        selected = store.read_record(store.path("trained_model", f"{TRAINED}.json"))
        kept = Kept(store).of(selected["fingerprint"])
        assert kept is not None
        assert kept.leaks == selected["leaks"]
        assert selected["leaks"]["champion"] is None
        assert 1 <= len(selected["leaks"]["concentration"]) <= 10
