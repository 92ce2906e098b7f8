"""Derived features: worked numbers, properties on any input, and the table of model inputs."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.formulas import FUNCTIONS, parameters
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.data.schemas import applications_schema, features_schema
from credit_assets.ml.data.values import as_table
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.synthetic import GIVE_ME_SOME_CREDIT, canonical_book, give_me_some_credit_book

# One applicant: 60,000 a year, 15,000 debt, 4,500 of 10,000 used, asks for 12,000 at 12 percent over 36 months.
APPLICANT = {
    "annual_income": 60_000.0,
    "total_debt": 15_000.0,
    "credit_used": 4_500.0,
    "credit_limit": 10_000.0,
    "loan_amount": 12_000.0,
    "interest_rate": 12.0,
    "term_months": 36.0,
    "open_accounts": 9.0,
    "collateral_value": 48_000.0,
    "monthly_income": 5_000.0,
    "dependents": 3.0,
    "past_due_30_59": 2.0,
    "past_due_60_89": 1.0,
    "past_due_90": 4.0,
    "numerator": 3.0,
    "denominator": 4.0,
    "left": 5.0,
    "right": 2.0,
}
# The payment from the definition: 36 payments discounted at 1% a month are worth the amount.
PAYMENT = 12_000 / sum(1.01**-month for month in range(1, 37))
WORKED = {
    "debt_to_income": 0.25,
    "credit_utilization": 0.45,
    "available_credit": 5_500.0,
    "loan_to_income": 0.2,
    "debt_and_loan_to_income": 0.45,
    "loan_to_value": 0.25,
    "monthly_payment": PAYMENT,
    "payment_to_income": PAYMENT / 5_000,
    "residual_income": 5_000 - PAYMENT,
    "total_interest": PAYMENT * 36 - 12_000,
    "balance_per_account": 500.0,
    "income_per_head": 1_250.0,
    "times_past_due": 7.0,
    "ratio": 0.75,
    "product": 10.0,
    "difference": 3.0,
    "total": 7.0,
}

amounts = st.floats(min_value=0, max_value=1e9, allow_nan=False)


def call(name: str, **values: float) -> float:
    inputs = {**APPLICANT, **values}
    return FUNCTIONS[name](*(pd.Series([inputs[p]], dtype="float64") for p in parameters(name))).iloc[0]


@pytest.fixture
def portfolio() -> Portfolio:
    return load_portfolio()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_worked_number(name: str):
    assert call(name) == pytest.approx(WORKED[name], rel=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_missing_stays_missing_and_touches_no_other_row(name: str):
    for absent in parameters(name):
        columns = [pd.Series([APPLICANT[p], np.nan if p == absent else APPLICANT[p]]) for p in parameters(name)]
        result = FUNCTIONS[name](*columns)
        assert result.iloc[0] == pytest.approx(WORKED[name])
        assert np.isnan(result.iloc[1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inputs_are_left_as_they_were(name: str):
    columns = [pd.Series([APPLICANT[p], np.nan, 0.0]) for p in parameters(name)]
    before = [column.copy() for column in columns]
    FUNCTIONS[name](*columns)
    for column, copy in zip(columns, before, strict=True):
        pd.testing.assert_series_equal(column, copy)


def test_no_income_and_no_limit_stay_finite():
    assert call("debt_to_income", annual_income=0.0) == 15_000.0
    assert call("credit_utilization", credit_limit=0.0) == 4_500.0
    assert call("payment_to_income", annual_income=0.0) == pytest.approx(PAYMENT)


@fuzz(100)
@given(debt=amounts, income=amounts)
def test_debt_to_income_is_the_formula_of_the_contract(debt: float, income: float):
    assert call("debt_to_income", total_debt=debt, annual_income=income) == pytest.approx(debt / max(income, 1.0))


@fuzz(100)
@given(used=amounts, limit=amounts, more=amounts)
def test_utilization_rises_with_use(used: float, limit: float, more: float):
    low = call("credit_utilization", credit_used=used, credit_limit=limit)
    assert call("credit_utilization", credit_used=used + more, credit_limit=limit) >= low


def test_payment_without_interest_is_the_amount_over_the_term():
    assert call("monthly_payment", interest_rate=0.0) == pytest.approx(12_000 / 36)
    # The formula's limit must meet it: 1 - (1 + r)^-n taken literally is zero here.
    assert call("monthly_payment", interest_rate=1e-13) == pytest.approx(12_000 / 36, rel=1e-10)


@fuzz(100)
@given(amount=st.floats(100, 1e7), rate=st.floats(0, 100), term=st.integers(1, 480), steeper=st.floats(0, 50))
def test_payments_pay_the_loan_back_and_rise_with_the_rate(amount: float, rate: float, term: int, steeper: float):
    payment = call("monthly_payment", loan_amount=amount, interest_rate=rate, term_months=term)
    monthly = rate / 1200
    balance = amount
    for _ in range(term):
        balance = balance * (1 + monthly) - payment
    assert abs(balance) <= 1e-6 * amount * (1 + monthly) ** term
    dearer = call("monthly_payment", loan_amount=amount, interest_rate=rate + steeper, term_months=term)
    assert dearer >= payment * (1 - 1e-12)


@pytest.mark.parametrize("wrong", [{"term_months": 0.0}, {"term_months": -12.0}, {"interest_rate": -1.0}])
def test_payment_is_missing_where_it_is_not_defined(wrong: dict[str, float]):
    assert np.isnan(call("monthly_payment", **wrong))
    assert np.isnan(call("payment_to_income", **wrong))


def test_every_function_says_what_it_computes():
    for name, function in FUNCTIONS.items():
        assert function.__doc__, f"{name} has no docstring"


# The table of features


def table_of(frame: pd.DataFrame, portfolio: Portfolio) -> pa.Table:
    return as_table(frame, applications_schema(portfolio))


@pytest.fixture
def book() -> pd.DataFrame:
    return canonical_book(300, date(2015, 1, 1), date(2015, 1, 9), seed=3)[0]


def one_by_one(table: pa.Table, portfolio: Portfolio) -> list[dict[str, object]]:
    """The features of each row by itself, with Python's own numbers."""
    derived = {
        feature.name: (
            feature.function_name,
            [feature.inputs.get(p, p) for p in parameters(feature.function_name)],
        )
        for feature in portfolio.derived
    }
    rows = []
    for row in table.to_pylist():
        values = {column.name: row[column.name] for column in portfolio.input_columns}
        for name, (function, sources) in derived.items():
            given = [pd.Series([row[source]], dtype="float64") for source in sources]
            result = FUNCTIONS[function](*given).iloc[0]
            values[name] = float(result) if np.isfinite(result) else None
        keys = (portfolio.id_column, portfolio.date_column)
        rows.append({**{key: row[key] for key in keys}, **values})
    return sorted(rows, key=lambda row: (row[portfolio.date_column], row[portfolio.id_column]))


@pytest.mark.parametrize("lender", ["canonical", "give_me_some_credit"])
def test_every_row_has_the_features_of_its_application(lender: str):
    if lender == "canonical":
        portfolio, make = load_portfolio(), canonical_book
    else:
        portfolio, make = load_portfolio(GIVE_ME_SOME_CREDIT), give_me_some_credit_book
    frame = make(400, date(2015, 1, 1), date(2015, 1, 9), seed=3)[0]
    rng = np.random.default_rng(1)
    for column in portfolio.input_columns:
        frame[column.name] = frame[column.name].astype(object)
        for value in (None, 0, -1) if column.type != "category" else (None,):
            frame.loc[rng.random(len(frame)) < 0.03, column.name] = value
    table = table_of(frame.sample(frac=1.0, random_state=1), portfolio)
    found = feature_table(table, portfolio)
    assert found.schema.equals(features_schema(portfolio))
    assert found.to_pylist() == one_by_one(table, portfolio)


def test_layout_of_the_features(portfolio: Portfolio, book: pd.DataFrame):
    found = feature_table(table_of(book, portfolio), portfolio)
    assert found.column_names == ["application_id", "application_date", *portfolio.feature_names]
    assert "state" not in found.column_names
    expected = book["total_debt"] / book["annual_income"].clip(lower=1)
    np.testing.assert_allclose(found["debt_to_income"].to_numpy(), expected)


def test_rows_are_sorted_by_date_and_id(portfolio: Portfolio, book: pd.DataFrame):
    shuffled = table_of(book.sample(frac=1.0, random_state=1), portfolio)
    assert feature_table(shuffled, portfolio).equals(feature_table(table_of(book, portfolio), portfolio))


def test_sorted_rows_are_not_copied(portfolio: Portfolio, book: pd.DataFrame):
    table = table_of(book.drop(columns="state").assign(state="CA"), portfolio)
    found = feature_table(table, portfolio)
    for name in ("application_id", "application_date", "purpose", "annual_income"):
        given, kept = table[name].chunk(0).buffers(), found[name].chunk(0).buffers()
        assert [b.address for b in given if b] == [b.address for b in kept if b], name


def test_pieces_give_what_the_whole_gives(portfolio: Portfolio, book: pd.DataFrame):
    table = table_of(book, portfolio)
    pieces = pa.concat_tables([table.slice(0, 100), table.slice(100, 1), table.slice(101)])
    assert pieces["purpose"].num_chunks == 3
    assert feature_table(pieces, portfolio).equals(feature_table(table, portfolio))
    apart = pa.concat_tables(feature_table(piece, portfolio) for piece in (table.slice(0, 150), table.slice(150)))
    assert apart.equals(feature_table(table, portfolio))


def test_features_are_read_under_the_names_that_the_portfolio_gives():
    portfolio = load_portfolio(GIVE_ME_SOME_CREDIT)
    frame = give_me_some_credit_book(200, date(2015, 1, 1), date(2015, 1, 3), seed=1)[0]
    result = feature_table(table_of(frame, portfolio), portfolio).to_pandas()
    late = [c for c in frame.columns if c.startswith("NumberOfTime")]
    assert len(late) == 3
    np.testing.assert_array_equal(result["times_past_due"], frame[late].sum(axis=1))
    np.testing.assert_allclose(result["monthly_debt"], frame["DebtRatio"] * frame["MonthlyIncome"])
    assert result["monthly_debt"].isna().sum() == frame["MonthlyIncome"].isna().sum() > 0


def test_columns_that_the_features_lack_are_named(portfolio: Portfolio, book: pd.DataFrame):
    with pytest.raises(ValueError, match="credit_limit, total_debt"):
        feature_table(table_of(book, portfolio).drop_columns(["total_debt", "credit_limit"]), portfolio)
    without = table_of(book, portfolio).drop_columns("state")
    assert feature_table(without, portfolio).num_rows == len(book)


def test_columns_of_other_types_are_cast_or_refused(portfolio: Portfolio, book: pd.DataFrame):
    table = table_of(book, portfolio)
    other = table
    for name, kind in (
        ("total_debt", pa.string()),
        ("term_months", pa.int16()),
        ("purpose", pa.dictionary(pa.int32(), pa.string())),
        ("application_date", pa.timestamp("ms")),
    ):
        at = other.column_names.index(name)
        other = other.set_column(at, name, other[name].cast(kind))
    assert feature_table(other, portfolio).equals(feature_table(table, portfolio))
    words = table.set_column(2, "annual_income", pa.array(["a lot"] * len(book)))
    with pytest.raises(
        ValueError, match="'annual_income' of the applications table is string and cannot be read as double"
    ):
        feature_table(words, portfolio)


def test_no_rows_have_features_of_the_same_schema(portfolio: Portfolio):
    found = feature_table(applications_schema(portfolio).empty_table(), portfolio)
    assert found.equals(features_schema(portfolio).empty_table())


def test_rows_without_id_or_date_are_refused(portfolio: Portfolio, book: pd.DataFrame):
    for name, rows in (("application_id", [0]), ("application_date", range(5))):
        lacking = book.copy()
        lacking.loc[list(rows), name] = None
        with pytest.raises(ValueError, match=f"'{name}' is missing in {len(rows)} rows"):
            feature_table(table_of(lacking, portfolio), portfolio)


def test_no_infinity_reaches_a_model(portfolio: Portfolio, book: pd.DataFrame):
    table = table_of(book, portfolio)
    size = len(book)
    table = table.set_column(3, "total_debt", pa.array([np.inf, np.nan] * (size // 2)))
    found = feature_table(table, portfolio)
    assert found["total_debt"].null_count == found["debt_to_income"].null_count == size


def test_a_result_that_overflows_is_missing():
    portfolio = load_portfolio(GIVE_ME_SOME_CREDIT)
    frame = give_me_some_credit_book(20, date(2015, 1, 1), date(2015, 1, 3), seed=1)[0]
    frame.loc[[3, 7], ["DebtRatio", "MonthlyIncome"]] = 1e200
    found = feature_table(table_of(frame, portfolio), portfolio).to_pandas()
    assert np.isnan(found.loc[[3, 7], "monthly_debt"]).all()
    assert (found.loc[[3, 7], "MonthlyIncome"] == 1e200).all()


@pytest.mark.real_loans
def test_real_loans_have_the_features_of_their_columns(real_loans_dir: Path, portfolio: Portfolio):
    from credit_assets.loans.lending_club import read_lending_club

    loans = read_lending_club(real_loans_dir / "lending_club_2007_2011.parquet").applications
    some = loans.take(pa.array(np.random.default_rng(0).choice(loans.num_rows, 500, replace=False)))
    assert feature_table(some, portfolio).to_pylist() == one_by_one(some, portfolio)


def test_loading_the_portfolio_imports_neither_pandas_nor_numpy():
    code = (
        "import sys; from credit_assets.ml.data.portfolio import load_portfolio; load_portfolio();"
        "from credit_assets.ml.data import cohorts, contracts, features, gate_results;"
        "print(sorted({'pandas', 'numpy', 'pandera', 'pyarrow', 'scipy', 'dagster', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
