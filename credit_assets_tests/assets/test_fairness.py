"""Fairness of a trained model: protected columns come from the ingested days, are measured, and reach no learner."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.assets.fairness import fairness_record
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import Portfolio, PortfolioError, load_portfolio
from credit_assets.ml.data.schemas import applications_schema, features_schema, training_fields, training_schema
from credit_assets.ml.data.values import as_table
from credit_assets.ml.learners import VARIANTS, dask_shares
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.ml.rules.fairness_rules import judge_fairness
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.store import Store
from credit_assets_tests.support.lender import Lender
from credit_assets_tests.support.modelling import quick_config
from credit_assets_tests.support.store_files import write_table
from credit_assets_tests.support.synthetic import canonical_book

START, DAYS, TEST_FROM = date(2024, 1, 1), 40, date(2024, 1, 26)
SEX = {"name": "sex", "type": "category", "role": "protected", "allowed": ["f", "m"]}
AGE = {"name": "age", "type": "integer", "role": "protected"}
TITLE = {"name": "title", "type": "category"}


def portfolio_with(*columns: dict[str, Any], **keys: Any) -> Portfolio:
    content = load_portfolio().model_dump(exclude_unset=True)
    return Portfolio.model_validate({**content, "columns": [*content["columns"], *columns], **keys})


@pytest.fixture(scope="module")
def applications() -> Any:
    found, _ = canonical_book(5_000, START, START + timedelta(DAYS - 1), seed=2)
    rng = np.random.default_rng(4)
    sex = np.where(rng.random(len(found)) < 0.4, "f", "m").astype(object)
    sex[rng.random(len(found)) < 0.05] = None
    age = rng.integers(20, 80, len(found))
    # Half as many approvals: what is asked of the first group is more expensive.
    rate = found["interest_rate"] + 4.0 * (sex == "f")
    return found.assign(sex=sex, age=age, title=np.where(sex == "f", "Mrs", "Mr"), interest_rate=rate)


def learned_from(portfolio: Portfolio, applications: Any) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The applications, their features, and a training set of them."""
    schema = applications_schema(portfolio)
    raw = as_table(applications.reindex(columns=schema.names), schema)
    features = feature_table(raw, portfolio)
    frame = features.to_pandas()
    rng, day = np.random.default_rng(1), frame["application_date"]
    splits = np.select([day < START + timedelta(18), day < TEST_FROM], ["train", "validation"], "test")
    chance = 1 / (1 + np.exp(-(frame["interest_rate"] - 18) / 3))
    frame = frame.assign(default=(rng.random(len(frame)) < chance).astype(np.int8), split=splits)
    return raw, features, as_table(frame, training_schema(portfolio))


@pytest.fixture
def made(tmp_path: Path, applications: Any) -> Callable[..., tuple[Settings, Store, Any, pa.Table]]:
    """Settings, store with the days of the test, a model, and its training set."""

    def make(portfolio: Portfolio) -> tuple[Settings, Store, Any, pa.Table]:
        file, store = tmp_path / "portfolio.json", Store(str(tmp_path / "store"))
        file.write_text(portfolio.model_dump_json(exclude_unset=True))
        settings = load_settings(home=tmp_path, portfolio=str(file))
        raw, features, training_set = learned_from(portfolio, applications)
        for name, table, fields in (
            ("raw_loan_data", raw, applications_schema(portfolio)),
            ("processed_features", features, features_schema(portfolio)),
        ):
            days = table["application_date"].to_numpy().astype("datetime64[D]")
            for day in np.unique(days[days >= np.datetime64(TEST_FROM)]):
                path = store.path(name, f"{day}.parquet")
                write_table(store, path, table.filter(pa.array(days == day)).cast(fields))
        config = TrainingConfig(params={"num_leaves": 7}, max_rounds=20)
        return settings, store, train_candidate(training_set, "lightgbm", portfolio, config).scorer, training_set

    return make


def record_of(house: tuple[Settings, Store, Any, pa.Table]) -> dict[str, Any]:
    settings, store, scorer, training_set = house
    candidates = [{"status": "trained", "variant": "lightgbm"}, {"status": "failed"}]
    return fairness_record(settings, store, candidates, lambda _: scorer, scorer, training_set)


def test_groups_come_from_the_ingested_days_and_a_disparity_is_found(made: Any, applications: Any) -> None:
    fairness = {"attributes": [{"column": "sex", "reference": "m"}, {"column": "age", "bands": [62]}]}
    cutoff = {"cutoff": {"max_pd": 0.3}}
    settings, store, scorer, training_set = made(portfolio_with(SEX, AGE, fairness=fairness, policy=cutoff))
    house = (settings, store, replace(scorer, cut_off=0.3), training_set)
    found = record_of(house)
    json.dumps(found, allow_nan=False)
    of_days = applications[applications["application_date"] >= str(TEST_FROM)]
    sex, age = found["attributes"]
    assert found["applications"] == len(of_days)
    assert (found["cut_off"], found["indicative"], found["stated"]) == (0.3, False, True)
    by_name = {one["name"]: one for one in sex["groups"]}
    assert sex["groups"][0]["name"] == "m"
    assert by_name["f"]["applications"] == (of_days["sex"] == "f").sum()
    assert sex["missing"] == of_days["sex"].isna().sum()
    assert by_name["f"]["air"]["high"] < 0.8
    assert by_name["f"]["smd"]["value"] < -0.5
    assert {one["name"] for one in age["groups"]} == {"below 62", "62 and above"}
    assert any("sex" in one.text and "fairness: min_air" in one.text for one in judge_fairness(found))
    # Every protected column is looked at, and none of the sound features is one.
    assert {one["column"] for one in found["association"]} <= {"sex", "age"}
    assert max(one["near"] for one in found["association"]) < 0.9
    assert set(found["proxy"]) == {"sex", "age"}
    curve = [one for one in found["alternatives"] if one["own_rate"]]
    assert len(curve) == 1
    assert curve[0]["air"]["sex"] == pytest.approx(by_name["f"]["air"]["value"])


def test_a_stand_in_is_stopped_by_default(made: Any) -> None:
    found = record_of(made(portfolio_with(SEX, TITLE)))
    assert not found["stated"]
    failing = [one for one in judge_fairness(found) if not one.passed]
    assert [one.rule for one in failing] == ["fairness association"]
    assert "title tells sex" in failing[0].text


def test_days_that_were_ingested_without_the_column_have_the_group_of_the_missing(
    made: Any, tmp_path: Path, applications: Any
) -> None:
    settings, store, scorer, training_set = made(portfolio_with())
    more = portfolio_with(SEX)
    file = tmp_path / "portfolio.json"
    file.write_text(more.model_dump_json(exclude_unset=True))
    settings = load_settings(home=tmp_path, portfolio=str(file))
    found = record_of((settings, store, scorer, training_set))
    (sex,) = found["attributes"]
    assert sex["missing"] == found["applications"]
    assert sex["why"].startswith("no group has so many")


def test_days_whose_column_was_of_another_type_have_the_group_of_the_missing(made: Any, tmp_path: Path) -> None:
    """And a model that approves nobody is compared all the same."""
    _, store, scorer, training_set = made(portfolio_with({**TITLE, "role": "protected"}))
    file = tmp_path / "portfolio.json"
    file.write_text(portfolio_with({**AGE, "name": "title"}).model_dump_json(exclude_unset=True))
    house = (load_settings(home=tmp_path, portfolio=str(file)), store, replace(scorer, cut_off=1e-9), training_set)
    found = record_of(house)
    (title,) = found["attributes"]
    assert title["missing"] == found["applications"]
    assert any(one["own_rate"] for one in found["alternatives"])


def test_without_protected_columns_nothing_is_compared(made: Any) -> None:
    found = record_of(made(portfolio_with()))
    assert found == {"why": "the portfolio has no column with role: protected"}


# No learner sees one


@pytest.mark.parametrize("name", list(VARIANTS))
def test_no_learner_is_given_a_protected_column(name: str, applications: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the training set has one, which no table of the pipeline does."""
    portfolio = portfolio_with(SEX, AGE)
    assert not {"sex", "age"} & {field for field, _ in training_fields(portfolio)}
    *_, training_set = learned_from(portfolio, applications)
    smuggled = training_set.append_column("sex", pa.array(["f"] * training_set.num_rows)).append_column(
        "age", pa.array([44.0] * training_set.num_rows)
    )
    given: list[set[str]] = []
    variant = VARIANTS[name]
    fit = type(variant).fit

    def spied(self: Any, train: Any, validation: Any, **more: Any) -> Any:
        given.extend({*sample.rows.names} for sample in (train, validation))
        given.append({*more["monotone"], *more["categorical"]})
        return fit(self, train, validation, **more)

    monkeypatch.setattr(type(variant), "fit", spied)
    trained = train_candidate(smuggled, name, portfolio, quick_config(name))
    assert len(given) == 3
    assert given[0] == given[1] == set(portfolio.feature_names)
    assert all(not names & {"sex", "age"} for names in given)
    assert not {"sex", "age"} & {*trained.scorer.features, *trained.scorer.inputs}


def test_workers_of_a_cluster_read_no_protected_column(applications: Any, tmp_path: Path) -> None:
    """What they read of a training set's file is the features, whatever else it holds."""
    portfolio = portfolio_with(SEX)
    *_, training_set = learned_from(portfolio, applications)
    smuggled = training_set.append_column("sex", pa.array(["f"] * training_set.num_rows))
    pq.write_table(smuggled, tmp_path / "set.parquet")
    plan = dask_shares.Plan.of(tmp_path / "set.parquet", portfolio, 1)
    table, _ = dask_shares.read(plan, plan.everything("train"))
    assert set(table.column_names) == {*portfolio.feature_names, "default"}


LEARNER = '''
"""A learner that saves what it was given."""
import json
from credit_assets.ml.extensions import Fitted, Variant, learner

@learner
class Tells(Variant):
    """A constant."""

    name = "tells"
    label = "Tells"
    filename = "tells.json"
    distribution = "numpy"
    parameters = {}
    defaults = {}

    def _fit(self, inputs):
        given = [*inputs.train.names, *inputs.validation.names]
        return Fitted({"given": given}, 1, {"train-logloss": [0.5], "validation-logloss": [0.5]})

    def save(self, model, path):
        path.write_text(json.dumps(model))

    def load(self, path):
        return json.loads(path.read_text())

    def _margins(self, model, rows, threads):
        import numpy as np
        for batch in rows.batches():
            yield batch[0] * 0.0 + np.arange(len(batch[0])) % 7
'''


def test_a_learner_of_a_lenders_own_is_given_none(
    applications: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portfolio = portfolio_with(SEX)
    *_, training_set = learned_from(portfolio, applications)
    smuggled = training_set.append_column("sex", pa.array(["f"] * training_set.num_rows))
    Lender(tmp_path, monkeypatch).write(learners=LEARNER).install(module="learners")
    trained = train_candidate(smuggled, "tells", portfolio, TrainingConfig(max_rounds=5, early_stopping_rounds=2))
    assert set(trained.scorer.model["given"]) == set(portfolio.feature_names)


@pytest.mark.parametrize(
    "derived",
    [
        {"name": "burden", "function": "ratio", "inputs": {"numerator": "age", "denominator": "annual_income"}},
        {"name": "burden", "function": "ratio", "inputs": {"numerator": "annual_income", "denominator": "age"}},
    ],
)
def test_no_feature_is_computed_from_a_protected_column(derived: dict[str, Any]) -> None:
    content = load_portfolio().model_dump(exclude_unset=True)
    with pytest.raises((ValueError, PortfolioError), match="reads 'age', which has role protected"):
        portfolio_with(AGE, derived=[*content["derived"], derived])


def test_no_protected_column_comes_back_through_a_history_or_in_other_letters() -> None:
    """Neither as it is given nor once patterns are resolved."""
    content = load_portfolio().model_dump(mode="json", exclude_unset=True)
    own = {"table": "loan_applications", "key": "application_id", "date": "application_date"}
    for columns in (["amount", "age"], [{"name": "Age", "type": "integer"}]):
        with pytest.raises(ValueError, match=r"history 'own': column '[aA]ge' has role protected"):
            portfolio_with(AGE, histories=[{"name": "own", **own, "columns": columns}])
    with pytest.raises(
        ValueError, match="column 'SEX': it differs from 'sex', which has role protected, by case alone"
    ):
        portfolio_with(SEX, {**TITLE, "name": "SEX"})
    patterns = [{"names": "bureau_*", "type": "float", "role": "protected"}]
    ratio = {"name": "own", "function": "ratio", "inputs": {"numerator": "bureau_age", "denominator": "annual_income"}}
    matching = portfolio_with(columns_matching=patterns, derived=[*content["derived"], ratio])
    with pytest.raises(PortfolioError, match="reads 'bureau_age', which has role protected"):
        matching.with_columns(["bureau_age"])
    again = portfolio_with(SEX, columns_matching=[{"names": "S*", "type": "category"}])
    with pytest.raises(PortfolioError, match="column 'SEX': it differs from 'sex'"):
        again.with_columns(["SEX"])
