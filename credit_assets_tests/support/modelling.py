"""A small portfolio and training sets for it, for the tests of models.

The true PD of every row is known (`risk`), so that tests can hold a model against the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.portfolio import Column, DerivedFeature, Portfolio
from credit_assets.ml.learners import VARIANTS, Fitted
from credit_assets.ml.learners.ensemble import with_members
from credit_assets.ml.learners.learner import FitConfig, Sample
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets_tests.support.synthetic import model_inputs

PORTFOLIO = Portfolio(
    name="small",
    columns=(
        Column(name="loan_id", type="string", role="id", nullable=False),
        Column(name="applied_on", type="date", role="date", nullable=False),
        Column(name="income", type="float", monotone=-1),
        Column(name="debt", type="float"),
        Column(name="inquiries", type="integer", monotone=1),
        Column(name="noise", type="float"),
        Column(name="purpose", type="category"),
        Column(name="region", type="category"),
    ),
    derived=(
        DerivedFeature(
            name="burden",
            function="debt_to_income",
            inputs={"total_debt": "debt", "annual_income": "income"},
            monotone=1,
        ),
    ),
)
FEATURES = PORTFOLIO.feature_names
LEVELS = {"purpose": ("car", "holiday", "small_business"), "region": ("east", "north", "south", "west")}

# Trees small enough that a fit takes a fraction of a second.
QUICK: dict[str, dict[str, Any]] = {
    "xgboost": {"learning_rate": 0.1, "max_depth": 3},
    "lightgbm": {"num_leaves": 7},
    "catboost": {"depth": 3, "learning_rate": 0.1},
    "scorecard": {},
}
QUICK["ensemble"] = with_members("ensemble", QUICK)
BOOSTERS = ("xgboost", "lightgbm", "catboost")
"""The learners that fit in rounds, with a seed."""


def quick_config(variant: str, **changes: Any) -> TrainingConfig:
    return TrainingConfig(**{"params": QUICK[variant], "max_rounds": 60, "early_stopping_rounds": 10, **changes})


def applications(rows: int, seed: int = 1) -> pd.DataFrame:
    """Raw applications of one year with their true log-odds `truth`. Some numbers and categories are missing."""
    rng = np.random.default_rng(seed)
    income = np.round(rng.lognormal(10.8, 0.5, rows), 2)
    debt = np.round(income * rng.gamma(2.0, 0.15, rows), 2)
    inquiries = rng.poisson(1.0, rows).astype(float)
    purpose = rng.choice(np.array(["car", "holiday", "small_business"], dtype=object), rows)
    truth = -2.4 + 3.0 * (debt / income - 0.3) + 0.5 * (inquiries - 1) + 1.0 * (purpose == "small_business")
    truth -= 0.8 * (np.log(income) - 10.8)
    inquiries[rng.random(rows) < 0.1] = np.nan
    purpose[rng.random(rows) < 0.05] = None
    day = np.datetime64("2020-01-01") + np.sort(rng.integers(0, 366, rows)).astype("timedelta64[D]")
    return pd.DataFrame(
        {
            "loan_id": [f"L{number:06d}" for number in range(rows)],
            "applied_on": day,
            "income": income,
            "debt": debt,
            "inquiries": inquiries,
            "noise": rng.normal(size=rows),
            "purpose": purpose,
            "region": rng.choice(np.array(["north", "south", "east", "west"], dtype=object), rows),
            "truth": truth,
        }
    )


def training_set(rows: int = 3000, seed: int = 1) -> pd.DataFrame:
    """A training set as `cohorts.assemble_training_set` makes it: 55% train, 20% validation, 25% test, by time."""
    raw = applications(rows, seed)
    frame = model_inputs(raw, PORTFOLIO)
    outcome = np.random.default_rng(seed + 1000).random(rows) < probability(raw["truth"])
    parts = np.repeat(["train", "validation", "test"], [int(rows * 0.55), int(rows * 0.2), rows - int(rows * 0.75)])
    return frame.assign(default=outcome.astype(np.int8), split=parts.astype(object))


def fit(name: str, parts: dict[str, pd.DataFrame], **changes: Any) -> Fitted:
    train, validation = (sample(parts[split], FEATURES) for split in ("train", "validation"))
    rows = {"monotone": PORTFOLIO.monotone, "categorical": LEVELS}
    rows |= {option: changes.pop(option) for option in list(rows) if option in changes}
    options = {"params": QUICK[name], "seed": 7, "max_rounds": 60, "early_stopping_rounds": 10, **changes}
    return VARIANTS[name].fit(train, validation, config=FitConfig(**options), **rows)


def sample(frame: pd.DataFrame, columns: Sequence[str]) -> Sample:
    return Sample(frame[list(columns)], frame["default"])
