"""A portfolio that scores nobody without an income: the same on every path from the book to the reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from credit_assets.assets.comparison import compare_with_champion
from credit_assets.assets.conventions import asset_key
from credit_assets.assets.drift import drift_records
from credit_assets.assets.first_days import first_days_record
from credit_assets.assets.performance import performance_records
from credit_assets.assets.stored_days import ScoredDays
from credit_assets.cli.state import status_record
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets_tests.support.houses import END, START, TRAINED, House, fast_forward, open_house, write_book
from credit_assets_tests.support.portfolios import equal_columns
from credit_assets_tests.support.synthetic import canonical_book

DAYS = [str(TRAINED + timedelta(days=n)) for n in range(1, 11)]
DAY = TRAINED + timedelta(days=10)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("refusing")
    file = equal_columns(home, "refusing")
    text = file.read_text("utf-8")
    stated = text.replace("{name: annual_income, ", "{name: annual_income, missing: reject, ", 1)
    assert stated != text
    file.write_text(stated, "utf-8")
    applications, outcomes = fast_forward(canonical_book(6_000, START, END, seed=7, bad_rate=0.1))
    gone = np.random.default_rng(1).random(len(applications)) < 0.03
    applications["annual_income"] = applications["annual_income"].mask(gone)
    with open_house(home, portfolio=file, variants="lightgbm") as house:
        write_book(house.settings, applications, outcomes)
        report = house.replay.run(START, TRAINED, "last")
        assert report.rejected == {}
        assert [outcome.status for outcome in report.trainings] == ["registered"], report.trainings[0].reason
        house.replay.run(START, DAY, "none")
        yield house


@pytest.mark.slow
def test_nobody_is_scored_or_learned_from_without_an_income_and_all_are_counted(house: House) -> None:
    store = house.replay.store
    features = store.read_partitions("processed_features", DAYS)
    scores = store.read_partitions("loan_scores", DAYS)
    lacking = features["annual_income"].is_null()
    assert 0 < pc.sum(lacking).as_py() < len(features)
    # Rows in are those that are scored and those that are refused.
    assert scores["application_id"].equals(features["application_id"])
    assert scores["pd"].is_null().equals(lacking)
    assert scores["score"].is_null().equals(lacking)
    assert pc.equal(scores["arm"], "refused").equals(lacking)
    training_set = store.read_partitions("training_set", [str(TRAINED)])
    assert training_set["annual_income"].null_count == 0


@pytest.mark.slow
def test_the_day_says_how_many_were_refused_and_for_what(house: House) -> None:
    import dagster as dg

    store, key = house.replay.store, asset_key(house.settings, "loan_scores")
    without = {day: store.read_partitions("processed_features", [day])["annual_income"].null_count for day in DAYS}
    day, lacking = max(without.items(), key=lambda item: item[1])
    assert lacking > 0
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day])
    records = house.instance.fetch_materializations(wanted, limit=1).records
    metadata = records[0].asset_materialization.metadata  # type: ignore[union-attr]
    applications = store.read_partitions("processed_features", [day]).num_rows
    assert metadata["refused"].value == lacking
    assert metadata["scored"].value == applications - lacking
    assert metadata["missing_values"].value["annual_income (reject)"] == lacking


@pytest.mark.slow
def test_status_counts_the_refused_as_neither_scored_nor_passed_by(house: House) -> None:
    store = house.replay.store
    scores = store.read_partitions("loan_scores", store.days("loan_scores"))
    found = status_record(house.settings, house.instance)["assets"]["loan_scores"]
    assert found["refused_applications"] == scores["pd"].null_count > 0
    assert found["scored_applications"] == len(scores) - scores["pd"].null_count
    counted = ScoredDays(store).of([date.fromisoformat(day) for day in DAYS])
    refused = {day: store.read_partitions("loan_scores", [str(day)])["pd"].null_count for day in counted}
    assert {day: one.refused for day, one in counted.items()} == refused
    assert not any(one.unscored for one in counted.values())


@pytest.mark.slow
def test_the_reports_are_of_those_who_were_scored(house: House) -> None:
    asked = house.settings, [DAY], house.replay.store, house.replay.registry
    performance, drift = performance_records(*asked)[str(DAY)], drift_records(*asked)[str(DAY)]
    assert performance["estimated"]["rows"] > 0
    # Nor is it drift that some lack an income, as others did of whom no model learned.
    scores = house.replay.store.read_partitions("loan_scores", DAYS)["pd"]
    assert drift["from"] <= DAYS[0]
    assert drift["score_rows"] == len(scores) - scores.null_count < len(scores)
    (income,) = (one for one in drift["features"] if one["name"] == "annual_income")
    assert income["missing_share"] == income["missing_reference"] == 0


@pytest.mark.slow
def test_a_comparison_leaves_out_whom_one_of_the_models_refuses(house: House) -> None:
    registry = house.replay.registry
    scorer = CreditScorer.load(registry.download(registry.version("1")))
    table = house.replay.store.read_partitions("training_set", [str(TRAINED)])
    test = np.flatnonzero(pc.equal(table["split"], "test").to_numpy())[::5]
    income = table["annual_income"].to_numpy().copy()
    income[test] = np.nan
    place = table.column_names.index("annual_income")
    asked = table.set_column(place, "annual_income", pa.array(income, from_pandas=True))
    best = {"as_of": str(DAY)}
    whole = compare_with_champion(table, house.settings, best, scorer, registry)
    part = compare_with_champion(asked, house.settings, best, scorer, registry)
    assert whole is not None
    assert part is not None
    assert part["refused"] == len(test)
    assert part["evaluation"]["rows"] == whole["evaluation"]["rows"] - len(test)
    found = first_days_record(house.settings, house.replay.store, scorer, table, DAY)
    assert "why" not in found or "needed" in found["why"]
