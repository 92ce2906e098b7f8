"""The cut-off of a model: by everyone who applied, saved with the model, part of its identity."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from credit_assets.assets.applied import columns_beside
from credit_assets.assets.cutoffs import cut_off_identity, cutoffs_record, with_cut_off
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.data.schemas import applications_schema, features_schema, training_schema
from credit_assets.ml.data.values import as_table
from credit_assets.ml.learners.candidates import Candidate, train_candidate
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.store import Store
from credit_assets_tests.support.store_files import write_table
from credit_assets_tests.support.synthetic import canonical_book, model_inputs

START, DAYS, TEST_FROM = date(2024, 1, 1), 40, date(2024, 1, 31)
PORTFOLIO = load_portfolio()


@pytest.fixture(scope="module")
def applied() -> Any:
    applications, _ = canonical_book(4_000, START, START + timedelta(DAYS - 1), seed=2)
    return model_inputs(applications, PORTFOLIO)


@pytest.fixture(scope="module")
def training_set(applied: Any) -> pa.Table:
    """Only those of the lower rates were lent to."""
    booked = applied[applied["interest_rate"] < applied["interest_rate"].median()].reset_index(drop=True)
    rng, day = np.random.default_rng(1), booked["application_date"].dt.date
    splits = np.select([day < START + timedelta(20), day < TEST_FROM], ["train", "validation"], "test")
    frame = booked.assign(default=(rng.random(len(booked)) < 0.2).astype(np.int8), split=splits)
    return as_table(frame, training_schema(PORTFOLIO))


@pytest.fixture(scope="module")
def trained(training_set: pa.Table) -> Candidate:
    return train_candidate(training_set, "lightgbm", PORTFOLIO, TrainingConfig(max_rounds=10))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def settings_with(tmp_path: Path) -> Callable[..., Settings]:
    def made(**cutoff: Any) -> Settings:
        portfolio = Portfolio.model_validate({**PORTFOLIO.model_dump(exclude_unset=True), "policy": {"cutoff": cutoff}})
        file = tmp_path / "portfolio.json"
        file.write_text(portfolio.model_dump_json(exclude_unset=True))
        return load_settings(home=tmp_path, portfolio=str(file))

    return made


def stored(store: Store, applied: Any) -> None:
    for day, rows in applied.groupby(applied["application_date"].dt.date):
        path = store.path("processed_features", f"{day}.parquet")
        write_table(store, path, as_table(rows, features_schema(PORTFOLIO)))


def test_an_approval_rate_is_a_share_of_everyone_who_applied_on_the_days_of_the_test(
    settings_with: Callable[..., Settings], store: Store, applied: Any, training_set: pa.Table, trained: Candidate
) -> None:
    stored(store, applied)
    made, record = with_cut_off(settings_with(approval_rate=0.7), store, trained, training_set)
    of_days = applied[applied["application_date"].dt.date >= TEST_FROM]
    pd = trained.scorer.pd(of_days)
    found = record["cut_off"]
    assert made.scorer.cut_off == found["pd"]
    assert found["approved"] == pytest.approx((pd <= found["pd"]).mean())
    assert (pd <= found["pd"]).mean() >= 0.7 > (pd < found["pd"]).mean()
    assert found["applications"] == found["scored"] == len(of_days)
    assert found["days"] == [TEST_FROM.isoformat(), (START + timedelta(DAYS - 1)).isoformat()]
    # Of the loans of the test, which are the better ones, more are approved.
    assert (trained.predictions["test"].pd <= found["pd"]).mean() > 0.7


def test_without_applications_of_these_days_the_loans_of_the_test_decide_and_it_is_said(
    settings_with: Callable[..., Settings], store: Store, training_set: pa.Table, trained: Candidate
) -> None:
    made, record = with_cut_off(settings_with(approval_rate=0.7), store, trained, training_set)
    pd = trained.predictions["test"].pd
    assert "no applications of its days are stored" in record["cut_off"]["population"]
    assert made.scorer.cut_off is not None
    assert (pd <= made.scorer.cut_off).mean() >= 0.7 > (pd < made.scorer.cut_off).mean()


def test_a_policy_without_a_cut_off_leaves_the_model_and_its_identity_as_they_are(
    settings_with: Callable[..., Settings], store: Store, training_set: pa.Table, trained: Candidate
) -> None:
    made, record = with_cut_off(settings_with(), store, trained, training_set)
    assert made is trained
    assert record["cut_off"]["pd"] is None
    assert cut_off_identity(settings_with(), store, training_set) == {}


def test_another_rate_and_other_applications_are_another_model(
    settings_with: Callable[..., Settings], store: Store, applied: Any, training_set: pa.Table
) -> None:
    stored(store, applied)
    first = cut_off_identity(settings_with(approval_rate=0.7), store, training_set)
    assert first == cut_off_identity(settings_with(approval_rate=0.7), store, training_set)
    assert first != cut_off_identity(settings_with(approval_rate=0.8), store, training_set)
    last = applied["application_date"].dt.date == START + timedelta(DAYS - 1)
    stored(store, applied[last].assign(annual_income=1.0))
    assert first != cut_off_identity(settings_with(approval_rate=0.7), store, training_set)
    # A limit by itself hangs on no applications.
    limited = cut_off_identity(settings_with(max_pd=0.3), store, training_set)
    stored(store, applied)
    assert limited == cut_off_identity(settings_with(max_pd=0.3), store, training_set)


def test_a_model_that_is_saved_declines_as_before(
    settings_with: Callable[..., Settings],
    store: Store,
    applied: Any,
    training_set: pa.Table,
    trained: Candidate,
    tmp_path: Path,
) -> None:
    stored(store, applied)
    made, _ = with_cut_off(settings_with(approval_rate=0.7), store, trained, training_set)
    made.scorer.save(tmp_path / "scorer")
    loaded = CreditScorer.load(tmp_path / "scorer")
    assert loaded.cut_off == made.scorer.cut_off
    pd = loaded.pd(applied)
    declined = loaded.declined(pd)
    assert declined is not None
    assert 0 < declined.sum() < len(pd)
    np.testing.assert_array_equal(declined, made.scorer.declined(made.scorer.pd(applied)))


# What each cut-off brings


class _NoChampion:
    def champion_at(self, day: date) -> None:
        return None


def record_of(settings: Settings, store: Store, trained: Candidate, training_set: pa.Table) -> dict[str, Any]:
    best = {"as_of": "2024-06-30"}
    return cutoffs_record(settings, store, _NoChampion(), best, trained.scorer, training_set)  # type: ignore[arg-type]


def test_the_money_is_of_the_loans_of_the_test_and_rates_are_of_everyone_who_applied(
    settings_with: Callable[..., Settings], store: Store, applied: Any, training_set: pa.Table, trained: Candidate
) -> None:
    stored(store, applied)
    settings = settings_with(amount_column="loan_amount", bootstrap=100)
    found = record_of(settings, store, trained, training_set)
    test = training_set.filter(pc.equal(training_set["split"], "test"))
    assert found["pd"] is None
    assert (found["loans"], found["bads"]) == (test.num_rows, pc.sum(test["default"]).as_py())
    assert found["amount"] == pytest.approx(pc.sum(test["loan_amount"]).as_py())
    pd = trained.scorer.pd(applied[applied["application_date"].dt.date >= TEST_FROM])
    row = found["table"][9]
    assert row["approval_rate"] == pytest.approx((pd <= row["pd"]).mean())
    assert found["swap"] is None


def test_amounts_that_are_no_feature_come_from_the_ingested_day(
    settings_with: Callable[..., Settings], store: Store, applied: Any, training_set: pa.Table, trained: Candidate
) -> None:
    """And loans whose amount nobody knows are counted, and left out."""
    settings = settings_with(amount_column="loan_amount", bootstrap=100)
    without = training_set.drop_columns(["loan_amount"])
    schema = applications_schema(PORTFOLIO)
    last = START + timedelta(DAYS - 1)
    for day, rows in applied.groupby(applied["application_date"].dt.date):
        if day != last:
            known = rows.reindex(columns=schema.names)
            write_table(store, store.path("raw_loan_data", f"{day}.parquet"), as_table(known, schema))
    test = without.filter(pc.equal(without["split"], "test"))
    amounts = columns_beside(store, settings.portfolio_contract, test, ["loan_amount"])["loan_amount"]
    of_last = pc.equal(test["application_date"], pa.scalar(last)).to_numpy()
    assert amounts.null_count == of_last.sum() > 0
    there = training_set.filter(pc.equal(training_set["split"], "test"))["loan_amount"].to_numpy()
    np.testing.assert_array_equal(amounts.drop_null().to_numpy(), there[~of_last])


def test_an_amount_that_is_no_number_of_the_portfolio_is_refused(settings_with: Callable[..., Settings]) -> None:
    for wrong in ("purpose", "amount_lent"):
        with pytest.raises(ValidationError, match=f"amount_column: '{wrong}' is no numeric column"):
            settings_with(amount_column=wrong)
