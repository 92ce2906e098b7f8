"""What drift is held against: everyone who applied where not everyone was lent to, else the training set."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.assets.references import of_everyone
from credit_assets.ml.data.schemas import features_schema, training_schema
from credit_assets.ml.data.values import as_table
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.settings import load_settings
from credit_assets.storage.store import Store
from credit_assets_tests.support.decided import by_column
from credit_assets_tests.support.store_files import write_table
from credit_assets_tests.support.synthetic import canonical_book, model_inputs

START, DAYS = date(2024, 1, 1), 40
PORTFOLIO = by_column()


@pytest.fixture(scope="module")
def applied() -> pd.DataFrame:
    applications, _ = canonical_book(4_000, START, START + timedelta(DAYS - 1), seed=2)
    return model_inputs(applications, PORTFOLIO)


def test_a_reference_is_of_everyone_who_applied_where_not_everyone_was_lent_to(
    applied: pd.DataFrame, tmp_path: Path
) -> None:
    file = tmp_path / "portfolio.json"
    file.write_text(PORTFOLIO.model_dump_json(exclude_unset=True))
    settings = load_settings(home=tmp_path, portfolio=str(file))
    store = Store(str(tmp_path / "store"))
    for day, rows in applied.groupby(applied["application_date"].dt.date):
        path = store.path("processed_features", f"{day}.parquet")
        write_table(store, path, as_table(rows, features_schema(PORTFOLIO)))
    # Only those of the lower rates were lent to.
    booked = applied[applied["interest_rate"] < applied["interest_rate"].median()].reset_index(drop=True)
    rng, day = np.random.default_rng(1), booked["application_date"].dt.date
    splits = np.select([day < START + timedelta(20), day < START + timedelta(30)], ["train", "validation"], "test")
    frame = booked.assign(default=(rng.random(len(booked)) < 0.2).astype(np.int8), split=splits)
    table = as_table(frame, training_schema(PORTFOLIO))
    trained = train_candidate(table, "lightgbm", PORTFOLIO, TrainingConfig(max_rounds=10))
    found = of_everyone(settings, store, trained, table).reference
    rates = {one.name: one for one in found.features}["interest_rate"]
    assert rates.rows + rates.missing == len(applied)
    # A round number a little beyond the largest, which is somebody's.
    assert applied["interest_rate"].max() < rates.grid[-1] < 1.01 * applied["interest_rate"].max()
    assert {one.name: one for one in trained.reference.features}["interest_rate"].grid[-1] < rates.grid[-1]
    unseen = applied["application_date"].dt.date >= START + timedelta(20)
    assert found.score.rows == unseen.sum()


def test_where_everyone_was_lent_to_it_is_the_training_sets(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    trained = object()
    assert of_everyone(settings, Store(str(tmp_path)), trained, pa.table({})) is trained  # type: ignore[arg-type]
