"""Columns as people read them: what each is, its unit and range, and what it is made of."""

from __future__ import annotations

from functools import partial

import dagster as dg
import pytest

from credit_assets.assets.columns import LINEAGE, MADE, SCHEMA, column_schema, describe, made_of
from credit_assets.ml.data import schemas
from credit_assets.ml.data.histories import History, HistoryColumn, HistoryFeature
from credit_assets.ml.data.portfolio import Column, DerivedFeature, Portfolio, load_portfolio

MONTHS = History(
    name="months",
    table="loan_months",
    key="customer",
    date="month",
    columns=(HistoryColumn(name="dpd", type="integer"),),
)
PORTFOLIO = Portfolio(
    name="small",
    columns=(
        Column(name="id", type="string", role="id", nullable=False),
        Column(name="day", type="date", role="date", nullable=False),
        Column(name="customer", type="string", role="customer"),
        Column(name="salary", type="float", unit="EUR a year", minimum=0, maximum=5e6, description="Gross salary."),
        Column(name="debts", type="float", minimum=0),
        Column(name="sex", type="category", role="protected", allowed=("f", "m")),
    ),
    derived=(
        DerivedFeature(
            name="burden", function="debt_to_income", inputs={"total_debt": "debts", "annual_income": "salary"}
        ),
        HistoryFeature(name="worst", history="months", aggregate="max", column="dpd", window_days=90),
    ),
    histories=(MONTHS,),
)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("id", "Identifies the application."),
        ("customer", "Identifies the customer."),
        ("salary", "Gross salary. Unit: EUR a year. Range: 0 .. 5,000,000."),
        ("debts", "Range: 0 .. any."),
        ("sex", "One of: f, m. Protected: measured for fairness, and read by no model."),
        ("worst", "max of dpd in the rows of `months` in the last 90 days before the application."),
        ("outcome_date", "Day on which the outcome became known: from then on a training may use it."),
        ("pd", MADE["pd"]),
        ("nothing", None),
    ],
)
def test_a_column_is_what_the_portfolio_says(column: str, said: str | None) -> None:
    assert describe(PORTFOLIO, column) == said


def test_a_derived_feature_says_its_formula_on_the_columns_of_this_portfolio() -> None:
    assert (describe(PORTFOLIO, "burden") or "").startswith(
        "debt_to_income(debts, salary): Debt over yearly income: total_debt / max(annual_income, 1)."
    )


def test_many_levels_are_shortened() -> None:
    column = Column(name="state", type="category", allowed=tuple(f"s{n}" for n in range(30)))
    many = PORTFOLIO.model_copy(update={"columns": (*PORTFOLIO.columns, column)})
    assert (describe(many, "state") or "").endswith("s18, s19, ....")


def test_every_column_of_the_packaged_portfolio_says_what_it_is() -> None:
    portfolio = load_portfolio()
    tables = (schemas.applications_fields, schemas.outcomes_fields, schemas.training_fields, schemas.scores_fields)
    names = {name for fields in tables for name, _ in fields(portfolio)}
    assert {name for name in names if not describe(portfolio, name)} == set()


def test_columns_are_followed_to_where_they_come_from() -> None:
    key = partial(dg.AssetKey)
    features = made_of(PORTFOLIO, "processed_features", key)
    raw = key("raw_loan_data")
    assert features["burden"] == [(raw, "debts"), (raw, "salary")]
    assert features["salary"] == [(raw, "salary")]
    assert features["worst"] == [(key("history_features"), "worst")]
    assert "sex" not in features
    training = made_of(PORTFOLIO, "training_set", key)
    assert training["default"] == [(key("loan_outcomes"), "defaulted"), (key("loan_outcomes"), "outcome_date")]
    assert training["burden"] == [(key("processed_features"), "burden")]
    scores = made_of(PORTFOLIO, "loan_scores", key)
    assert {column for _, column in scores["pd"]} == set(PORTFOLIO.feature_names)


def test_the_metadata_has_every_column_and_no_other_in_its_lineage() -> None:
    fields = schemas.features_fields(PORTFOLIO)
    made = column_schema(PORTFOLIO, fields, made_of(PORTFOLIO, "processed_features", dg.AssetKey))
    assert [one.name for one in made[SCHEMA].columns] == [name for name, _ in fields]
    assert [one.constraints.nullable for one in made[SCHEMA].columns[:3]] == [False, False, True]
    assert set(made[LINEAGE].deps_by_column) <= {name for name, _ in fields}
