"""Books of loans in which the true PD of each row is known, and homes in which the pipeline has worked on them.

Belongs here: making a book, and an opened home with its champion. Does not belong here: what is wrong with a book
(`decision_faults`) and how often chance decides (`decision_rates`).

A book has the columns of the packaged portfolio. A loan is bad with its own true PD, known from then on; bads are
booked within WINDOW days of the application, goods are paid later. Nothing changes with time, so that whatever the
pipeline says of a change is wrong unless one was planted.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from credit_assets.cli.replay import Replay
    from credit_assets.cli.trainings import TrainingOutcome

START = date(2023, 1, 1)
WINDOW, LOOKBACK, TEST_SHARE = 90, 180, 0.25
FIRST = START + timedelta(WINDOW + LOOKBACK)
"""As-of date of the champion."""
SECOND = FIRST + timedelta(60)
"""As-of date of the model that would replace it; the last day of a book."""
TEST_FROM = SECOND - timedelta(WINDOW + round(TEST_SHARE * LOOKBACK))
"""First day of that model's out-of-time test, after all that the champion was trained on."""
TEST_UNTIL = SECOND - timedelta(WINDOW)
NEWEST = SECOND - timedelta(20)
"""Days from here on have been scored and have no outcome yet."""
BAD_RATE = 0.045


@dataclass(frozen=True)
class Book:
    """Applications sorted by day, the outcome of each (a row each, in the same order), and its true PD."""

    applications: pd.DataFrame
    outcomes: pd.DataFrame
    pd: np.ndarray

    @property
    def bad(self) -> np.ndarray:
        return np.asarray(self.outcomes["defaulted"] == 1)

    def since(self, first: date, last: date = date.max) -> np.ndarray:
        """Which rows were applied for on these days."""
        days = self.applications["application_date"].to_numpy()
        return np.asarray((days >= first) & (days <= last))

    def with_values(self, **columns: Any) -> Book:
        """With these columns of applications in place of the old ones, or beside them."""
        return replace(self, applications=self.applications.assign(**columns))

    def with_outcomes(self, **columns: Any) -> Book:
        return replace(self, outcomes=self.outcomes.assign(**columns))

    def kept(self, rows: np.ndarray) -> Book:
        """Only these rows, as a mask."""
        return Book(self.applications[rows], self.outcomes[rows], self.pd[rows])


def make_book(loans: int, seed: int, *, days: int = (SECOND - START).days + 1, bad_rate: float = BAD_RATE) -> Book:
    """So many applications on each of the days from START on. A perfect model ranks them with an AUC of 0.77.

    `years_at_address` and `age` are there for portfolios that declare them; no PD depends on either beyond what the
    other columns say.
    """
    import pandas as pd

    rng, rows = np.random.default_rng([seed, loans]), loans * days
    place = np.repeat(np.arange(days), loans)
    income = np.round(rng.lognormal(11.0, 0.5, rows), 2)
    debt_to_income = rng.gamma(2.0, 0.1, rows)
    limit = np.round(rng.lognormal(9.5, 0.8, rows), 2)
    utilisation = rng.beta(1.6, 2.0, rows)
    inquiries, late = rng.poisson(1.0, rows), rng.poisson(0.15, rows)
    term = rng.choice([36, 60], rows, p=[0.75, 0.25])
    rate = np.round(8.0 + 6.0 * utilisation + 0.1 * (term - 36) + rng.normal(0.0, 2.0, rows).clip(-4, 4), 2)
    purpose = rng.choice(np.array(["debt_consolidation", "credit_card", "small_business", "car"], dtype=object), rows)
    log_odds = (
        2.4 * (utilisation - 0.45)
        + 2.0 * (debt_to_income - 0.2)
        + 0.4 * (inquiries - 1)
        + 0.8 * late
        + 0.7 * (term == 60)
        + 1.0 * (purpose == "small_business")
        - 0.8 * (np.log(income) - 11.0)
    )
    true = _at_rate(log_odds, bad_rate)
    bad = rng.random(rows) < true
    age = np.round(rng.normal(45, 13, rows).clip(19, 90))
    applied = np.array([START + timedelta(int(n)) for n in range(days)], dtype=object)[place]
    after = np.where(bad, rng.integers(5, WINDOW + 1, rows), rng.integers(WINDOW // 2, 3 * WINDOW, rows))
    known = np.array([START + timedelta(int(n)) for n in range(days + 3 * WINDOW)], dtype=object)[place + after]
    ids = [f"B{seed}-{number:07d}" for number in range(rows)]
    applications = pd.DataFrame(
        {
            "application_id": ids,
            "application_date": applied,
            "annual_income": income,
            "total_debt": np.round(income * debt_to_income, 2),
            "credit_used": np.round(limit * utilisation, 2),
            "credit_limit": np.where(rng.random(rows) < 0.05, np.nan, limit),
            "loan_amount": np.round(rng.lognormal(9.0, 0.6, rows), 2).clip(500, 40_000),
            "interest_rate": rate,
            "term_months": term,
            "purpose": purpose,
            "home_ownership": rng.choice(np.array(["RENT", "MORTGAGE", "OWN"], dtype=object), rows),
            "employment_years": np.where(rng.random(rows) < 0.04, np.nan, rng.integers(0, 11, rows)),
            "state": rng.choice(np.array(["CA", "NY", "TX"], dtype=object), rows),
            "inquiries_6m": inquiries,
            "delinquencies_2y": late,
            "open_accounts": rng.poisson(9.0, rows),
            "age": age,
            "customer_id": [f"C{seed}-{number:07d}" for number in range(rows)],
        }
    )
    outcomes = pd.DataFrame({"application_id": ids, "outcome_date": known, "defaulted": bad.astype("int8")})
    return Book(applications, outcomes, true)


def _at_rate(log_odds: np.ndarray, rate: float) -> np.ndarray:
    """PDs of these log-odds, moved so that their mean is the rate."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        if (1 / (1 + np.exp(-log_odds - middle))).mean() < rate:
            low = middle
        else:
            high = middle
    return np.asarray(1 / (1 + np.exp(-log_odds - low)))


def first_change(before: Book, after: Book) -> date | None:
    """The first day of which the warehouse says something else; None where there is none."""
    import pandas as pd

    found = []
    for name, day in (("applications", "application_date"), ("outcomes", "outcome_date")):
        sums = []
        for book in (before, after):
            frame = getattr(book, name)
            hashed = pd.util.hash_pandas_object(frame, index=False).astype("int64")
            sums.append(hashed.groupby(frame[day].to_numpy()).sum())
        one, other = sums[0].align(sums[1])
        found += list(one.index[one.to_numpy() != other.to_numpy()])
    return min(found, default=None)


# Portfolios


def portfolio_file(folder: Path, name: str, change: Mapping[str, Any]) -> Path:
    """The packaged portfolio as a file with changes: `columns` to add or, by name, keys to change; other keys as they
    stand.
    """
    from importlib import resources

    import yaml

    text = resources.files("credit_assets.portfolios").joinpath("consumer_loans.yaml").read_text("utf-8")
    content = yaml.safe_load(text)
    columns = {column["name"]: column for column in content["columns"]}
    for column in change.get("columns", ()):
        columns[column["name"]] = {**columns.get(column["name"], {}), **column}
    content["columns"] = list(columns.values())
    content |= {key: value for key, value in change.items() if key != "columns"}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return path


# Homes

SETTINGS: dict[str, Any] = {
    "start_date": START,
    "performance_window_days": WINDOW,
    "lookback_days": LOOKBACK,
    "variants": ("lightgbm",),
    "max_rounds": 200,
    "threads": 1,
    "retries": 0,
}
WEAK: dict[str, Any] = {"max_rounds": 3}
WEAK_ALLOWED: Mapping[str, Any] = {"policy": {"comparison": {"scorecard_margin": 0.4}}}
"""The champion is weak on purpose: a model with a fault is better than it, so that only a rule can stop it. A plain
scorecard would do better, for which no first model is accepted by default."""
_INGESTED = ("raw_loan_data", "loan_outcomes", "processed_features")
# MLflow keeps absolute places of its files.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


@dataclass
class House:
    """An opened home."""

    settings: Settings
    replay: Replay

    def ingest(self, first: date, last: date) -> dict[str, str]:
        """Make these days, again where they are there; those that a gate rejected, with what it said."""
        return dict(self.replay.backfill(first, last, _INGESTED, again=True).rejected)

    def train(self, day: date) -> TrainingOutcome:
        from credit_assets.cli.trainings import ReplayReport

        return self.replay.train(day, ReplayReport(days=1))

    def record(self, asset: str, day: date) -> dict[str, Any] | None:
        store = self.replay.store
        path = store.path(asset, f"{day}.json")
        return store.read_record(path) if path.exists() else None


@contextmanager
def opened(home: Path, **settings: Any) -> Iterator[House]:
    """The house of a home, with these settings over SETTINGS."""
    from credit_assets.cli.replay import Replay
    from credit_assets.instance.home import instance_of

    before = os.environ.pop("DAGSTER_HOME", None)
    try:
        made = load_settings(home=home, **{**SETTINGS, **settings})
        os.environ["DAGSTER_HOME"] = str(made.dagster_dir)
        with instance_of(made) as instance:
            yield House(made, Replay(made, instance))
    finally:
        os.environ.pop("DAGSTER_HOME", None)
        if before is not None:
            os.environ["DAGSTER_HOME"] = before


def write(settings: Settings, book: Book) -> None:
    """The book as the warehouse, in place of what was there."""
    from credit_assets.ml.data.schemas import outcomes_schema
    from credit_assets.ml.data.values import as_table
    from credit_assets.warehouse import open_warehouse
    from credit_assets.warehouse.source import SourceTable

    portfolio = settings.portfolio_contract
    settings.home_dir.mkdir(parents=True, exist_ok=True)
    Path(settings.warehouse.removeprefix("duckdb:///")).unlink(missing_ok=True)
    warehouse = open_warehouse(settings.warehouse)
    warehouse.create_tables(portfolio)
    schema = SourceTable.stored_applications(portfolio).schema
    warehouse.write(
        portfolio,
        as_table(book.applications[schema.names], schema),
        as_table(book.outcomes, outcomes_schema(portfolio)),
    )


def copied(source: Path, target: Path) -> Path:
    """A copy of a home that nobody has open."""
    shutil.copytree(source, target)
    database = target / "mlflow" / "mlflow.db"
    if not database.exists():
        return target
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _PLACES:
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target)))
    return target


@dataclass(frozen=True)
class Prepared:
    """Homes of one book, to be copied: ingested, and with a weak champion as of FIRST as well."""

    book: Book
    ingested: Path
    champion: Path


def prepare(folder: Path, book: Book) -> Prepared:
    """Raises AssertionError where the champion of this sound book does not come into force."""
    folder.mkdir(parents=True, exist_ok=True)
    homes = Prepared(book, folder / "ingested", folder / "champion")
    with opened(homes.ingested) as house:
        write(house.settings, book)
        house.ingest(START, SECOND)
    copied(homes.ingested, homes.champion)
    allowed = portfolio_file(folder, "weak", WEAK_ALLOWED)
    with opened(homes.champion, portfolio=allowed, **WEAK) as house:
        outcome = house.train(FIRST)
        assert outcome.promoted, f"the champion of a sound book was not promoted: {outcome.reason}"
    return homes
