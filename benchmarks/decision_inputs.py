"""What copies of applications and values that are missing when scored do to figures, by the functions of the pipeline.

Belongs here: training sets, models and their figures on books with copies or gaps, beside the truth. Does not belong
here: the books and what is planted in them (`decision_books`, `decision_faults`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.decision_books import LOOKBACK, NEWEST, SECOND, WINDOW, Book, make_book, portfolio_file
from benchmarks.decision_faults import CUSTOMER, Plant, applied_again, doubled, nothing
from credit_assets.ml.data.cohorts import SPLIT, CohortWindow, assemble_training_set
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.data.schemas import applications_schema, outcomes_schema
from credit_assets.ml.data.values import as_table
from credit_assets.ml.evidence.evaluation import evaluate
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.settings import load_settings

if TYPE_CHECKING:
    import pyarrow as pa

VARIANTS = ("xgboost", "lightgbm", "catboost")
PARAMS: dict[str, dict[str, Any]] = {
    "xgboost": {"learning_rate": 0.1, "max_depth": 3},
    "lightgbm": {"num_leaves": 7, "learning_rate": 0.1},
    "catboost": {"depth": 4, "learning_rate": 0.1},
}
COPIES: Mapping[str, Plant] = {"none": nothing, "doubled book": doubled, "30% apply again": applied_again(0.3)}


def config(variant: str) -> TrainingConfig:
    """Small trees, on one thread."""
    return TrainingConfig(params=PARAMS[variant], max_rounds=150, early_stopping_rounds=20, threads=1)


def tables(book: Book, portfolio: Portfolio) -> tuple[pa.Table, pa.Table]:
    """The features of a book's applications, and its outcomes."""
    schema = applications_schema(portfolio)
    applications = as_table(book.applications[schema.names], schema)
    return feature_table(applications, portfolio), as_table(book.outcomes, outcomes_schema(portfolio))


def training_set(features: pa.Table, outcomes: pa.Table, window: CohortWindow, portfolio: Portfolio) -> pa.Table:
    settings = load_settings()
    return assemble_training_set(
        features,
        outcomes,
        window,
        portfolio,
        test_share=settings.test_share,
        validation_share=settings.validation_share,
    )


@dataclass(frozen=True)
class Copied:
    """A model of a book with copies. `seen`: share of test rows whose customer was among those trained on; `auc` on the
    test with the width of its 95% interval; `true_auc` on applicants that nobody has seen.
    """

    planted: str
    stated: bool
    rows: int
    seen: float
    auc: float
    width: float
    true_auc: float


def copies(loans: int, seed: int) -> list[Copied]:
    """Each kind of copies, with and without a statement of who the customer is."""
    fresh = make_book(2 * loans, seed + 1_000)
    with TemporaryDirectory() as folder:
        stated = load_portfolio(portfolio_file(Path(folder), "customers", CUSTOMER))
    return [
        _copied(name, plant(make_book(loans, seed), np.random.default_rng(seed)), fresh, portfolio)
        for name, plant in COPIES.items()
        for portfolio in (load_portfolio(None), stated)
    ]


def _copied(name: str, book: Book, fresh: Book, portfolio: Portfolio) -> Copied:
    import pyarrow.compute as pc

    from credit_assets.ml.data.customers import groups_of

    stated = portfolio.customer_column is not None
    training = training_set(*tables(book, portfolio), CohortWindow(SECOND, WINDOW, LOOKBACK), portfolio)
    scorer = train_candidate(training, "lightgbm", portfolio, config("lightgbm")).scorer
    test = training.filter(pc.equal(training[SPLIT], "test"))
    ids = dict(zip(book.applications["application_id"], book.applications["customer_id"], strict=True))
    whose = np.array([ids[one] for one in training["application_id"].to_pylist()])
    trained_on = set(whose[training[SPLIT].to_numpy() != "test"])
    seen = np.mean([one in trained_on for one in whose[training[SPLIT].to_numpy() == "test"]])
    found = evaluate(test["default"].to_numpy(), scorer.pd(test, threads=1), groups_of(test, portfolio))
    true = evaluate(fresh.bad.astype(int), scorer.pd(tables(fresh, portfolio)[0], threads=1))
    width = found.auc_ci_high - found.auc_ci_low
    return Copied(name, stated, test.num_rows, float(seen), found.auc, width, true.auc)


@dataclass(frozen=True)
class Gap:
    """By how much the mean PD of the newest days is larger once no rate is there; None where they are not scored."""

    variant: str
    missing: str
    ratio: float | None


def gaps(loans: int, seed: int) -> list[Gap]:
    """Each learner with each statement of what a missing rate means."""
    book, found = make_book(loans, seed), []
    for said in ("", "allowed", "worst_case", "reject"):
        with TemporaryDirectory() as folder:
            change = {"columns": [{"name": "interest_rate", **({"missing": said} if said else {})}]}
            portfolio = load_portfolio(portfolio_file(Path(folder), "gaps", change))
        features, outcomes = tables(book, portfolio)
        training = training_set(features, outcomes, CohortWindow(SECOND, WINDOW, LOOKBACK), portfolio)
        newest = book.applications[book.since(NEWEST)]
        schema = applications_schema(portfolio)
        there, gone = (
            feature_table(as_table(frame[schema.names], schema), portfolio)
            for frame in (newest, newest.assign(interest_rate=np.nan))
        )
        for variant in VARIANTS:
            scorer = train_candidate(training, variant, portfolio, config(variant)).scorer
            before, after = (scorer.pd(table, threads=1) for table in (there, gone))
            known = ~np.isnan(after)
            ratio = float(after[known].mean() / before[known].mean()) if known.any() else None
            found.append(Gap(variant, said or "not stated", ratio))
    return found
