"""What the portfolio states of missing values, and whom it does not score."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import ValidationError

from credit_assets.ml.data.cohorts import Cohort, CohortWindow
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.missing import lacking, missing_policies, refusing, without_refused
from credit_assets.ml.data.portfolio import Column, Portfolio, PortfolioError, load_portfolio
from credit_assets.ml.learners.candidates import candidate_identity
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.ml.reports.training import summary

TEXT = """
name: gaps
population: all
columns:
  - {name: application_id, type: string, role: id, nullable: false}
  - {name: application_date, type: date, role: date, nullable: false}
  - {name: total_debt, type: float}
  - {name: annual_income, type: float, missing: reject}
  - {name: loan_amount, type: float, missing: allowed}
  - {name: purpose, type: category, missing: worst_case}
histories:
  - {name: months, table: months, key: application_id, date: month, columns: [balance]}
derived:
  - {name: debt_to_income}
  - {name: loan_to_income, missing: allowed}
  - {name: left, function: difference, inputs: {left: total_debt, right: loan_amount}}
  - {name: unsaid, function: total, inputs: {left: total_debt, right: total_debt}}
  - {name: twice, function: total, inputs: {left: loan_amount, right: loan_amount}}
  - {name: balance, history: months, aggregate: mean, column: balance, missing: reject}
"""


@pytest.fixture
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Portfolio:
    file = tmp_path_factory.mktemp("gaps") / "gaps.yaml"
    file.write_text(TEXT, "utf-8")
    return load_portfolio(file)


def test_each_feature_has_its_own_policy_or_the_strictest_of_its_inputs(portfolio: Portfolio) -> None:
    assert missing_policies(portfolio) == {
        "total_debt": None,
        "annual_income": "reject",
        "loan_amount": "allowed",
        "purpose": "worst_case",
        "debt_to_income": "reject",
        "loan_to_income": "allowed",
        "left": "allowed",
        "unsaid": None,
        "twice": "allowed",
        "balance": "reject",
    }
    assert refusing(portfolio) == ("annual_income", "debt_to_income", "balance")


def test_a_portfolio_of_before_loads_and_refuses_nobody() -> None:
    packaged = load_portfolio()
    assert set(missing_policies(packaged).values()) == {None}
    assert refusing(packaged) == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("missing: worst_case", "missing: ignore", "Input should be 'allowed', 'worst_case' or 'reject'"),
        ("role: date, nullable: false", "role: date, nullable: false, missing: reject", "'application_date': missing"),
        ("balance, missing: reject", "balance, missing: never", "Input should be 'allowed', 'worst_case' or 'reject'"),
    ],
)
def test_another_word_is_refused_where_it_stands(old: str, new: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "gaps.yaml"
    file.write_text(TEXT.replace(old, new), "utf-8")
    with pytest.raises(PortfolioError, match=said):
        load_portfolio(file)


def test_protected_and_ignored_columns_have_none() -> None:
    for role in ("protected", "ignored", "id"):
        with pytest.raises(ValidationError, match="missing says what a missing value means to the models"):
            Column(name="age", type="integer", role=role, nullable=role != "id", missing="allowed")  # type: ignore[arg-type]


def test_the_policy_is_part_of_what_a_model_is() -> None:
    packaged = load_portfolio()
    columns = tuple(
        column.model_copy(update={"missing": "reject"} if column.name == "interest_rate" else {})
        for column in packaged.columns
    )
    stated = packaged.model_copy(update={"columns": columns})
    assert stated.contract != packaged.contract
    both = [candidate_identity("lightgbm", "2024-01-01", "d", TrainingConfig(), one) for one in (packaged, stated)]
    assert both[0] != both[1]


def test_which_rows_lack_what() -> None:
    columns = {"a": pa.chunked_array([[1.0, None], [float("nan"), float("inf")]]), "c": ["x", None, "", "y"]}
    found = lacking({name: pd.Series(v) if isinstance(v, list) else v for name, v in columns.items()}, "ac", "c")
    assert found["a"].tolist() == [False, True, True, True]
    assert found["c"][:2].tolist() == [False, True]
    assert lacking({"a": pa.chunked_array([[1.0]])}, ["a"], []) == {}


def test_no_model_learns_from_whom_it_would_refuse(portfolio: Portfolio) -> None:
    day = date(2020, 1, 1)
    rows = pd.DataFrame(
        {
            "application_id": [f"A{n}" for n in range(30)],
            "application_date": [day + timedelta(n) for n in range(30)],
            "total_debt": 100.0,
            "annual_income": [None if n % 5 == 0 else 1_000.0 for n in range(30)],
            "loan_amount": [None if n % 2 else 50.0 for n in range(30)],
            "purpose": "car",
            "balance": [None if n == 7 else 1.0 for n in range(30)],
        }
    )
    features = feature_table(rows, portfolio)
    assert without_refused(features, portfolio).sum() == 23
    outcomes = pd.DataFrame({"application_id": ["A1"], "outcome_date": [day + timedelta(40)], "defaulted": [1]})
    window = CohortWindow(day + timedelta(29 + 365), 365, 30)
    cohort = Cohort(features, outcomes, window, portfolio)
    table, counts = cohort.training_set(0.25, 0.2), cohort.counts()
    assert (table.num_rows, counts.applications, counts.refused) == (23, 30, 7)
    assert table["annual_income"].null_count == table["balance"].null_count == 0
    assert table["loan_amount"].null_count > 0
    assert counts.outcomes["good"] + counts.outcomes["bad"] == table.num_rows + counts.refused
    assert summary(table, window, cohort.findings(), counts, "bad")["refused_for_missing_values"] == 7
    assert np.unique(table["split"].to_numpy()).tolist() == ["test", "train", "validation"]
