"""Small houses for tests: a book of loans in a real warehouse, with the store, MLflow and Dagster instance beside it.

Belongs here: building, preparing, copying and opening a house, and what tests read of one. Does not belong here: the
loans themselves (`synthetic`).

Ingesting and training is most of what such a test costs, so that homes are prepared once in a test session
(`prepared_home`, and the fixtures of `conftest` that use it) and each test file works on a copy.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from credit_assets.assets import scoring, shadow
from credit_assets.cli.models import models_record
from credit_assets.cli.replay import Replay
from credit_assets.instance.home import instance_of
from credit_assets.ledger.kept import Kept
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.data.schemas import outcomes_schema
from credit_assets.ml.data.values import as_table
from credit_assets.partitions import daily_partitions
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.remembered import COUNTED
from credit_assets.warehouse import open_warehouse
from credit_assets.warehouse.source import SourceTable
from credit_assets_tests.support.registry import move
from credit_assets_tests.support.synthetic import canonical_book

START, END, LAST = date(2024, 1, 1), date(2024, 4, 30), date(2024, 6, 30)
"""First day of every book; the last day that most tests look at; the last day of the prepared homes."""
TRAINED = date(2024, 3, 31)
"""As-of date of the model of the trained home."""

# A window of 30 days and small trees: every stage runs as it does in production, in seconds.
SMALL: dict[str, Any] = {
    "start_date": START,
    "performance_window_days": 30,
    "lookback_days": 60,
    # Without the scorecard: the package that finds its bins takes three seconds to import.
    "variants": ("xgboost", "lightgbm", "catboost"),
    "max_rounds": 60,
    "early_stopping_rounds": 10,
    "variant_params": {
        "xgboost": {"learning_rate": 0.1, "max_depth": 3},
        "lightgbm": {"num_leaves": 7},
        "catboost": {"depth": 3, "learning_rate": 0.1},
    },
    # One shape for all models, so that what a test moves or adds is a line.
    "calibration": "platt",
    "max_ece": 0.2,
    "min_auc": 0.52,
    # A test has some 16 to 40 bads: nothing can be shown by them, and tests of the pipeline want one model to follow
    # the other.
    "promotion_rule": "point",
    "promotion_alpha": 0.5,
    "promotion_first_level": 0.5,
    "promotion_min_bads": 5,
    "promotion_min_goods": 5,
    "retries": 0,
}


@dataclass
class House:
    settings: Settings
    instance: dg.DagsterInstance
    replay: Replay

    def train(self, day: date, **more: Any) -> Any:
        """What training as of the day comes to; what it came to where it is there already."""
        return self.replay.run(day, day, "last", **more).trainings[0]

    def rebuilt(self, **overrides: Any) -> House:
        """The same home with other settings, as after a new deployment."""
        return build_house(load_settings(home=self.settings.home, **{**SMALL, **overrides}), self.instance)

    def hashes(self) -> dict[str, str]:
        """Of the store's files. What was counted says when files were written, and nothing of what is in them."""
        root = Path(self.settings.store)
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and COUNTED not in path.relative_to(root).parts
        }

    def versions(self) -> list[str]:
        return [version["version"] for version in models_record(self.settings)["versions"]]


def build_house(settings: Settings, instance: dg.DagsterInstance) -> House:
    return House(settings, instance, Replay(settings, instance))


@contextmanager
def open_house(home: Path, **overrides: Any) -> Iterator[House]:
    """The house of a home, with the small settings and the overrides, and DAGSTER_HOME in the environment meanwhile."""
    with pytest.MonkeyPatch.context() as environment:
        # Another house may be open, and its Dagster folder is not this one's.
        environment.delenv("DAGSTER_HOME", raising=False)
        settings = load_settings(home=home, **{**SMALL, **overrides})
        environment.setenv("DAGSTER_HOME", str(settings.dagster_dir))
        with instance_of(settings) as instance:
            # Opened where it is first asked for, with DAGSTER_HOME, which no test leaves in the environment.
            assert instance.compute_log_manager
            yield build_house(settings, instance)


# Books


def write_book(settings: Settings, applications: Any, outcomes: Any) -> None:
    portfolio = settings.portfolio_contract
    warehouse = open_warehouse(settings.warehouse)
    settings.home_dir.mkdir(parents=True, exist_ok=True)
    warehouse.create_tables(portfolio)
    warehouse.write(
        portfolio,
        as_table(applications, SourceTable.stored_applications(portfolio).schema),
        as_table(outcomes, outcomes_schema(portfolio)),
    )


def fast_forward(book: tuple[Any, Any], portfolio: Any = None) -> tuple[Any, Any]:
    """The book with outcomes that become known twelve times as fast, so that a window of 30 days stands for a year."""
    contract = load_portfolio(portfolio)
    applications, outcomes = book
    names = contract.outcomes
    applied = outcomes[names.id].map(applications.set_index(contract.id_column)[contract.date_column])
    delay = (pd.to_datetime(outcomes[names.date]) - pd.to_datetime(applied)) // 12
    known = (pd.to_datetime(applied) + delay).dt.normalize()
    return applications, outcomes.assign(**{names.date: known})


def book() -> tuple[Any, Any]:
    """The book of the prepared homes: about 50 loans a day from START to LAST."""
    return fast_forward(canonical_book(9_000, START, LAST, seed=7))


# Homes


def copied_home(source: Path, target: Path) -> Path:
    """A copy of a home that nobody has open. MLflow keeps absolute places of its files: they are made the copy's."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    database = target / "mlflow" / "mlflow.db"
    if database.exists():
        with closing(sqlite3.connect(database)) as connection, connection:
            for table, column in _PLACES:
                connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target)))
    return target


_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def ingest(home: Path) -> None:
    """The book, ingested from START to LAST. No model yet."""
    settings = load_settings(home=home, **SMALL)
    write_book(settings, *book())
    with open_house(home) as house:
        house.replay.backfill(START, LAST, ("raw_loan_data", "loan_outcomes", "processed_features"))
        # Its database is made here: every copy of the home has it, and does without the migrations.
        assert house.replay.tracking.server.client


def train(home: Path) -> None:
    """The first model of an ingested home: candidates of all variants as of TRAINED, the best of them champion."""
    with open_house(home) as house:
        outcome = house.train(TRAINED)
        assert (outcome.status, outcome.promoted, outcome.version) == ("registered", True, "1"), outcome.reason


# A model on trial

TRIAL, TRIAL_END = date(2024, 4, 3), date(2024, 5, 25)
TRIAL_SETTINGS: dict[str, Any] = {
    **SMALL,
    "promotion": "shadow",
    "challenger_share": 0.3,
    "shadow_days": 20,
    "shadow_min_loans": 300,
    "performance_min_bads": 10,
    "performance_cohort_days": 20,
}


@dataclass
class TrialHouse:
    """Ingested loans; version 1, champion of TRAINED; version 2, another candidate of that day, on trial from TRIAL."""

    settings: Settings
    instance: dg.DagsterInstance
    resources: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.resources = build_resources(self.settings)

    def run(self, asset: str, first: date, last: date | None = None, **overrides: Any) -> dg.ExecuteInProcessResult:
        """Materialize `loan_scores` or `shadow_report` of a day, or of a range in one step."""
        settings = self.settings.model_copy(update=overrides)
        partitions = daily_partitions(settings)
        assets = [*scoring.assets(settings, partitions), *shadow.assets(settings, partitions)]
        outside = dg.AssetSpec("processed_features", partitions_def=partitions).with_io_manager_key("parquet")
        # A range as a backfill hands it over; of a single day too, so that both go the same way.
        tags = {
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": (last or first).isoformat(),
        }
        return dg.materialize(
            [outside, *assets],
            selection=[asset],
            resources=self.resources,
            instance=self.instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    def scores(self, first: date, last: date | None = None) -> pd.DataFrame:
        return self.read("loan_scores", first, last)

    def read(self, asset: str, first: date, last: date | None = None) -> pd.DataFrame:
        days = [str(day.date()) for day in pd.date_range(first, last or first)]
        return self.resources["store"].read_partitions(asset, days).to_pandas(date_as_object=False)

    def bytes_of(self, asset: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(Path(self.settings.store, asset).iterdir())}

    def metadata(self, asset: str, day: date) -> dict[str, Any]:
        (event,) = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[day.isoformat()]), limit=1
        ).records
        assert event.asset_materialization is not None
        return {key: value.value for key, value in event.asset_materialization.metadata.items()}


@contextmanager
def open_trial(home: Path) -> Iterator[TrialHouse]:
    """The house of a home in which `begin_trial` has run."""
    with open_house(home, **TRIAL_SETTINGS) as built:
        yield TrialHouse(built.settings, built.instance)


def begin_trial(home: Path) -> None:
    """Put another candidate of the champion's day on trial, in a trained home, and score all days."""
    with open_trial(home) as house:
        registry, store = house.resources["registry"], house.resources["store"]
        other = "xgboost" if registry.version("1").variant != "xgboost" else "lightgbm"
        candidate = store.read_record(store.path(f"{other}_candidate", f"{TRAINED}.json"))
        selected = store.read_record(store.path("trained_model", f"{TRAINED}.json"))
        Kept(store).keep({**selected, "fingerprint": candidate["fingerprint"]})
        registry.register(
            candidate["model_uri"],
            run_id=candidate["run_id"],
            fingerprint=candidate["fingerprint"],
            as_of=date(2024, 4, 2),
            tags={"variant": other, "test_from": selected["test_from"]},
        )
        move(registry, "2", TRIAL, "shadow")
        house.run("loan_scores", START, TRIAL_END)
