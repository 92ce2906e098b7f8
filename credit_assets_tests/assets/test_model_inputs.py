"""What a model reads of columns that have left the portfolio: found where the store still has it, or said not to be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.assets.model_inputs import MissingInputsError, ModelInputs
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import applications_schema
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.storage.store import Store
from credit_assets_tests.support.modelling import PORTFOLIO, applications, quick_config, training_set
from credit_assets_tests.support.store_files import write_table

DAYS = (date(2021, 1, 1), date(2021, 1, 2))


@pytest.fixture(scope="module")
def scorer() -> CreditScorer:
    return train_candidate(training_set(1500), "lightgbm", PORTFOLIO, quick_config("lightgbm")).scorer


def changed(**roles: str | None) -> Portfolio:
    """The portfolio with columns of other roles, or without them (None)."""
    columns = []
    for one in PORTFOLIO.columns:
        role = roles.get(one.name, one.role)
        if role is not None:
            columns.append(one.model_copy(update={"role": role, "monotone": one.monotone if role == "feature" else 0}))
    derived = PORTFOLIO.derived if set(roles).isdisjoint({"income", "debt"}) else ()
    return PORTFOLIO.model_copy(update={"columns": tuple(columns), "derived": derived})


class Book:
    """Two days of applications as ingested under one portfolio, and as they are read under another."""

    def __init__(self, folder: Path, then: Portfolio, now: Portfolio) -> None:
        self.store, self.now = Store(str(folder / "store")), now
        frame = applications(60, seed=9).drop(columns="truth")
        frame["applied_on"] = np.repeat(pd.to_datetime(DAYS), 30)
        self.rows = pa.Table.from_pandas(frame, preserve_index=False)
        for n, day in enumerate(DAYS):
            self.ingest(day, self.rows.slice(30 * n, 30), then)

    def ingest(self, day: date, rows: pa.Table, portfolio: Portfolio) -> None:
        raw = applications_schema(portfolio)
        write_table(self.store, self.store.path("raw_loan_data", f"{day}.parquet"), rows.select(raw.names).cast(raw))

    @property
    def features(self) -> pa.Table:
        return feature_table(self.rows, self.now)

    def scored(self, scorer: CreditScorer, rows: pa.Table | None = None) -> Any:
        inputs = ModelInputs(self.store, self.now)
        return scorer.pd(inputs.beside(self.features if rows is None else rows, scorer))


@pytest.mark.parametrize(
    "roles",
    [
        {"inquiries": "ignored"},
        {"inquiries": "protected"},
        {"purpose": "ignored"},
        {"debt": "ignored"},  # with the derived feature that read it
        {"inquiries": "ignored", "purpose": "protected", "noise": "ignored"},
    ],
)
def test_a_model_scores_as_before_from_columns_that_are_still_ingested(
    tmp_path: Path, scorer: CreditScorer, roles: Mapping[str, str]
) -> None:
    now = changed(**roles)
    book = Book(tmp_path, now, now)
    assert not set(roles) & set(book.features.column_names)
    np.testing.assert_array_equal(book.scored(scorer), scorer.pd(feature_table(book.rows, PORTFOLIO)))
    assert ModelInputs(book.store, now).left(scorer) == roles


def test_rows_of_any_order_and_of_some_applications_get_their_own_values(tmp_path: Path, scorer: CreditScorer) -> None:
    now = changed(inquiries="ignored")
    book = Book(tmp_path, now, now)
    some = np.array([41, 3, 17, 58, 2])
    expected = scorer.pd(feature_table(book.rows, PORTFOLIO).take(some))
    np.testing.assert_array_equal(book.scored(scorer, book.features.take(some)), expected)


def test_a_column_that_is_gone_is_still_in_days_that_were_ingested_with_it(
    tmp_path: Path, scorer: CreditScorer
) -> None:
    book = Book(tmp_path, PORTFOLIO, changed(inquiries=None))
    np.testing.assert_array_equal(book.scored(scorer), scorer.pd(feature_table(book.rows, PORTFOLIO)))


def test_a_column_that_is_nowhere_is_named_with_the_days(tmp_path: Path, scorer: CreditScorer) -> None:
    now = changed(inquiries=None, purpose="ignored")
    book = Book(tmp_path, PORTFOLIO, now)
    book.ingest(DAYS[1], book.rows.slice(30, 30), now)
    with pytest.raises(
        MissingInputsError,
        match=r"reads inquiries \(in the portfolio no more\), and the store has no values of 2021-01-02",
    ):
        book.scored(scorer)
    # The days before can be scored.
    assert len(book.scored(scorer, book.features.slice(0, 30))) == 30
    for day in DAYS:
        book.store.remove(book.store.path("raw_loan_data", f"{day}.parquet"))
    with pytest.raises(
        MissingInputsError, match=r"inquiries .*, purpose \(ignored\), .* 2 days \(2021-01-01 \.\. 2021"
    ):
        book.scored(scorer)


def test_a_column_of_another_type_is_not_read_as_what_it_was(tmp_path: Path, scorer: CreditScorer) -> None:
    """Numbers that became categories, under the same name."""
    columns = tuple(
        one.model_copy(update={"type": "category", "monotone": 0}) if one.name == "inquiries" else one
        for one in PORTFOLIO.columns
    )
    now = PORTFOLIO.model_copy(update={"columns": columns})
    book = Book(tmp_path, PORTFOLIO, now)
    at = book.rows.schema.get_field_index("inquiries")
    book.rows = book.rows.set_column(at, "inquiries", book.rows["inquiries"].cast(pa.string()))
    # While the days of before are there, their numbers are.
    np.testing.assert_array_equal(book.scored(scorer).shape, (60,))
    for n, day in enumerate(DAYS):
        book.ingest(day, book.rows.slice(30 * n, 30), now)
    with pytest.raises(MissingInputsError, match=r"inquiries \(a category\)"):
        book.scored(scorer)


def test_a_derived_feature_that_means_something_else_now_is_computed_as_the_model_means_it(
    tmp_path: Path, scorer: CreditScorer
) -> None:
    other = PORTFOLIO.derived[0].model_copy(update={"inputs": {"total_debt": "income", "annual_income": "debt"}})
    now = PORTFOLIO.model_copy(update={"derived": (other,)})
    book = Book(tmp_path, PORTFOLIO, now)
    assert book.features["burden"].to_pylist() != feature_table(book.rows, PORTFOLIO)["burden"].to_pylist()
    np.testing.assert_array_equal(book.scored(scorer), scorer.pd(feature_table(book.rows, PORTFOLIO)))


def test_a_derived_feature_that_has_left_is_computed_by_the_model(tmp_path: Path, scorer: CreditScorer) -> None:
    now = PORTFOLIO.model_copy(update={"derived": ()})
    book = Book(tmp_path, PORTFOLIO, now)
    np.testing.assert_array_equal(book.scored(scorer), scorer.pd(feature_table(book.rows, PORTFOLIO)))
    assert ModelInputs(book.store, now).left(scorer) == {}


def test_rows_that_have_it_all_are_handed_back_as_they_are(tmp_path: Path, scorer: CreditScorer) -> None:
    book = Book(tmp_path, PORTFOLIO, PORTFOLIO)
    features = book.features
    assert ModelInputs(book.store, PORTFOLIO).beside(features, scorer) is features
