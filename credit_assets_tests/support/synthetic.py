"""Small loan books with a known signal, for tests: simple on purpose, and independent of the package's own generator.

Each book is a pair of frames (applications, outcomes) with the columns of its portfolio, deterministic in its
arguments. Outcomes run past the last application date, as they do in a warehouse read years later.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import applications_schema
from credit_assets.ml.data.values import as_table

GIVE_ME_SOME_CREDIT = Path(__file__).parents[1] / "data" / "give_me_some_credit.yaml"


def canonical_book(
    rows: int, start: date, end: date, seed: int, *, bad_rate: float = 0.05, window_days: int = 365
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Applications of `start` .. `end` (inclusive, sorted by date) with the columns of the packaged portfolio.

    `bad_rate` of them default within `window_days`, at risks that a perfect model ranks with an AUC of 0.77 and a
    small model fitted to a few thousand of them with about 0.70.
    """
    rng = np.random.default_rng(seed)
    income = np.round(rng.lognormal(11.0, 0.5, rows), 2)
    debt_to_income = rng.gamma(2.0, 0.1, rows)
    limit = np.round(rng.lognormal(9.5, 0.8, rows), 2)
    utilization = rng.beta(1.6, 2.0, rows)
    inquiries = rng.poisson(1.0, rows)
    delinquencies = rng.poisson(0.15, rows)
    term = rng.choice([36, 60], rows, p=[0.75, 0.25])
    rate = np.round(8.0 + 6.0 * utilization + 0.1 * (term - 36) + rng.normal(0.0, 2.0, rows).clip(-4, 4), 2)
    purpose = rng.choice(np.array(["debt_consolidation", "credit_card", "small_business", "car"], dtype=object), rows)
    risk = (
        2.4 * (utilization - 0.45)
        + 2.0 * (debt_to_income - 0.2)
        + 0.4 * (inquiries - 1)
        + 0.8 * delinquencies
        + 0.7 * (term == 60)
        + 1.0 * (purpose == "small_business")
        - 0.8 * (np.log(income) - 11.0)
    )
    applications = pd.DataFrame(
        {
            "application_id": [f"S{seed}-{number:07d}" for number in range(rows)],
            "application_date": _dates(rng, rows, start, end),
            "annual_income": income,
            "total_debt": np.round(income * debt_to_income, 2),
            "credit_used": np.round(limit * utilization, 2),
            "credit_limit": np.where(rng.random(rows) < 0.05, np.nan, limit),
            "loan_amount": np.round(rng.lognormal(9.0, 0.6, rows), 2).clip(500, 40_000),
            "interest_rate": rate,
            "term_months": term,
            "purpose": purpose,
            "home_ownership": rng.choice(np.array(["RENT", "MORTGAGE", "OWN"], dtype=object), rows),
            "employment_years": np.where(rng.random(rows) < 0.04, np.nan, rng.integers(0, 11, rows)),
            "state": rng.choice(np.array(["CA", "NY", "TX"], dtype=object), rows),
            "inquiries_6m": inquiries,
            "delinquencies_2y": delinquencies,
            "open_accounts": rng.poisson(9.0, rows),
        }
    )
    outcomes = _outcomes(rng, applications["application_date"].to_numpy(), risk, bad_rate, window_days)
    outcomes.insert(0, "application_id", applications["application_id"].to_numpy()[outcomes.pop("row")])
    return applications, outcomes


def give_me_some_credit_book(
    rows: int, start: date, end: date, seed: int, *, bad_rate: float = 0.067, window_days: int = 180
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Applications and outcomes for `data/give_me_some_credit.yaml`.

    A perfect model has an AUC of 0.82, a fitted one about 0.80. 6.7% bad, a fifth of the incomes and a fortieth of the
    dependents missing, as in the public file.
    """
    rng = np.random.default_rng(seed)
    troubled = rng.random(rows) < 0.2
    late_30, late_60, late_90 = (rng.poisson(np.where(troubled, mean, mean / 20)) for mean in (1.0, 0.4, 0.4))
    utilization = np.round(np.where(troubled, rng.beta(3.0, 1.5, rows), rng.beta(0.8, 2.0, rows)), 6)
    age = rng.normal(52.0, 14.0, rows).round().clip(21, 95).astype(int)
    income = np.round(rng.lognormal(8.6, 0.6, rows))
    lines = rng.poisson(8.5, rows)
    risk = 2.0 * utilization + 0.6 * late_30 + 0.8 * late_60 + 1.0 * late_90 - 0.5 * (np.log(income) - 8.6)
    applications = pd.DataFrame(
        {
            "customer_id": np.arange(rows, dtype=np.int64) + 1_000_000 * (seed + 1),
            "requested_on": _dates(rng, rows, start, end),
            "RevolvingUtilizationOfUnsecuredLines": utilization,
            "age": age,
            "NumberOfTime30-59DaysPastDueNotWorse": late_30,
            "DebtRatio": np.round(rng.gamma(2.0, 0.18, rows), 6),
            "MonthlyIncome": np.where(rng.random(rows) < 0.2, np.nan, income),
            "NumberOfOpenCreditLinesAndLoans": lines,
            "NumberOfTimes90DaysLate": late_90,
            "NumberRealEstateLoansOrLines": np.minimum(rng.poisson(1.0, rows), lines),
            "NumberOfTime60-89DaysPastDueNotWorse": late_60,
            "NumberOfDependents": pd.array(
                np.where(rng.random(rows) < 0.025, np.nan, rng.poisson(0.75, rows)), "Int64"
            ),
        }
    )
    outcomes = _outcomes(rng, applications["requested_on"].to_numpy(), risk, bad_rate, window_days)
    outcomes.insert(0, "customer", applications["customer_id"].to_numpy()[outcomes.pop("row")])
    return applications, outcomes.rename(columns={"outcome_date": "observed_on", "defaulted": "SeriousDlqin"})


def model_inputs(applications: pd.DataFrame, portfolio: Portfolio) -> pd.DataFrame:
    """The features of a frame of applications as the frame that training and scoring read from the store."""
    schema = pa.schema([field for field in applications_schema(portfolio) if field.name in applications])
    return feature_table(as_table(applications, schema), portfolio).to_pandas(date_as_object=False)


def _dates(rng: np.random.Generator, rows: int, start: date, end: date) -> np.ndarray:
    days = (end - start).days + 1
    return np.sort(np.datetime64(start, "ms") + np.sort(rng.integers(0, days, rows)).astype("timedelta64[D]"))


def _outcomes(
    rng: np.random.Generator, applied: np.ndarray, risk: np.ndarray, bad_rate: float, window_days: int
) -> pd.DataFrame:
    """Row number, outcome date, defaulted: defaults in the window, some after it, paid loans; nothing for the rest."""
    # The intercept that gives the wanted mean: bisection, since the mean rises with it.
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-risk - middle))).mean() < bad_rate else (low, middle)
    rows = len(risk)
    in_window = rng.random(rows) < 1 / (1 + np.exp(-risk - low))
    later = ~in_window & (rng.random(rows) < 0.04)
    paid = ~in_window & ~later & (rng.random(rows) < 0.85)
    days = np.select(
        [in_window, later],
        [rng.integers(30, window_days + 1, rows), rng.integers(window_days + 1, window_days + 400, rows)],
        rng.integers(30, 1100, rows),
    )
    known = np.flatnonzero(in_window | later | paid)
    return pd.DataFrame(
        {
            "row": known,
            "outcome_date": applied[known] + days[known].astype("timedelta64[D]"),
            "defaulted": (in_window | later)[known].astype(np.int8),
        }
    )
