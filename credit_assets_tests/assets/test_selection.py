"""The comparison with the champion where the champion cannot be asked."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from credit_assets.assets.comparison import compare_with_champion
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import TRAINED, copied_home, open_house
from credit_assets_tests.support.lender import own_features
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set
from credit_assets_tests.support.store_files import write_table


def test_a_champion_without_its_extension_is_not_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says that the candidate is better, and the record says why."""
    lender = own_features(tmp_path, monkeypatch)
    frame = training_set()
    own = PORTFOLIO.derived[0].model_copy(update={"name": "own", "function": "own_burden", "inputs": {}})
    with_own = PORTFOLIO.model_copy(update={"derived": (own,)})
    rows = frame.rename(columns={"burden": "own"})
    champion = train_candidate(rows, "lightgbm", with_own, quick_config("lightgbm")).scorer
    champion.save(tmp_path / "champion")
    candidate = train_candidate(frame, "lightgbm", PORTFOLIO, quick_config("lightgbm")).scorer
    version = SimpleNamespace(version="3", as_of=date(2020, 1, 1), tags={"test_from": "2020-01-01"})
    registry: Any = SimpleNamespace(champion_at=lambda day: version, download=lambda version: tmp_path / "champion")
    settings: Any = SimpleNamespace(portfolio_contract=PORTFOLIO, training_threads=1, store=str(tmp_path))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    dates = table.schema.get_field_index("applied_on")
    table = table.set_column(dates, "applied_on", table["applied_on"].cast(pa.date32()))

    def compared() -> dict[str, Any]:
        found = compare_with_champion(table, settings, {"as_of": "2021-01-01"}, candidate, registry)
        assert found is not None
        return found

    assert compared()["comparable"] is True
    lender.edit("rates", "2.0", "2.5")
    found = compared()
    assert (found["version"], found["comparable"]) == ("3", False)
    assert f"feature own_burden of {lender.name} 1.2.0" in found["why"]
    assert "install both, the new one under another name" in found["why"]


def test_a_champion_whose_column_has_left_is_compared_from_where_it_still_is_or_not_at_all(tmp_path: Path) -> None:
    """The record names the column either way, and the way out."""
    frame = training_set()
    train_candidate(frame, "lightgbm", PORTFOLIO, quick_config("lightgbm")).scorer.save(tmp_path / "champion")
    columns = tuple(
        one.model_copy(update={"role": "ignored", "monotone": 0}) if one.name == "inquiries" else one
        for one in PORTFOLIO.columns
    )
    now = PORTFOLIO.model_copy(update={"columns": columns})
    without = frame.drop(columns="inquiries")
    candidate = train_candidate(without, "lightgbm", now, quick_config("lightgbm")).scorer
    version = SimpleNamespace(version="3", as_of=date(2020, 1, 1), tags={"test_from": "2020-01-01"})
    registry: Any = SimpleNamespace(champion_at=lambda day: version, download=lambda version: tmp_path / "champion")
    settings: Any = SimpleNamespace(portfolio_contract=now, training_threads=1, store=str(tmp_path / "store"))
    table = pa.Table.from_pandas(without, preserve_index=False)
    at = table.schema.get_field_index("applied_on")
    table = table.set_column(at, "applied_on", table["applied_on"].cast(pa.date32()))
    store = Store(str(tmp_path / "store"))

    def compared() -> dict[str, Any]:
        found = compare_with_champion(table, settings, {"as_of": "2021-01-01"}, candidate, registry)
        assert found is not None
        return found

    found = compared()
    assert (found["comparable"], found["left"]) == (False, {"inquiries": "ignored"})
    assert "reads inquiries (ignored), and the store has no values of" in found["why"]
    assert "`credit-assets trigger replace --reason WHY`" in found["why"]
    for day in sorted(set(frame["applied_on"])):
        rows = frame[frame["applied_on"] == day][["loan_id", "inquiries"]]
        write_table(
            store,
            store.path("raw_loan_data", f"{day:%Y-%m-%d}.parquet"),
            pa.Table.from_pandas(rows, preserve_index=False),
        )
    found = compared()
    assert (found["comparable"], found["left"]) == (True, {"inquiries": "ignored"})
    assert found["difference"]["difference"] < 0


@pytest.mark.slow
def test_a_scorecard_is_trained_beside_the_others_and_may_be_chosen(ingested_home: Path, tmp_path: Path) -> None:
    home = copied_home(ingested_home, tmp_path / "house")
    with open_house(home, variants="lightgbm,scorecard") as house:
        house.train(TRAINED)
        store = Store(house.settings.store)
        record = store.read_record(store.path("trained_model", f"{TRAINED}.json"))
        found = record["scorecard"]
        assert set(record["candidates"]) == {"lightgbm", "scorecard"}
        assert found["beside"]["variant"] == "lightgbm"
        assert found["validation_auc"] == record["candidates"]["scorecard"]
        assert [one["feature"] for one in found["features"]]
    alone = copied_home(ingested_home, tmp_path / "alone")
    with open_house(alone, variants="scorecard") as house:
        house.train(TRAINED)
        store = Store(house.settings.store)
        record = store.read_record(store.path("trained_model", f"{TRAINED}.json"))
        assert record["variant"] == "scorecard"
        assert record["scorecard"]["chosen"]
        assert record["scorecard"]["beside"] is None
        assert record["calibration_choice"]["bads"] > 0
