"""Derived features: worked numbers, properties on any input, and the frame of model inputs."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_assets.ml import features
from credit_assets.ml.features import FUNCTIONS, as_categories, as_days, as_ids, as_numbers, derive, model_inputs
from credit_assets.ml.portfolio import Portfolio, load_portfolio
from credit_assets.ml.schemas import features_schema, to_table
from credit_assets_tests.synthetic import GIVE_ME_SOME_CREDIT, canonical_book, give_me_some_credit_book

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

# The machine may be busy: a slow example is no failure.
patient = settings(deadline=None)
amounts = st.floats(min_value=0, max_value=1e9, allow_nan=False)


def call(name: str, **values: float) -> float:
    inputs = {**APPLICANT, **values}
    return FUNCTIONS[name](*(pd.Series([inputs[p]], dtype="float64") for p in features.parameters(name))).iloc[0]


@pytest.fixture
def portfolio() -> Portfolio:
    return load_portfolio()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_worked_number(name: str):
    assert call(name) == pytest.approx(WORKED[name], rel=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_missing_stays_missing_and_touches_no_other_row(name: str):
    for absent in features.parameters(name):
        columns = [
            pd.Series([APPLICANT[p], np.nan if p == absent else APPLICANT[p]]) for p in features.parameters(name)
        ]
        result = FUNCTIONS[name](*columns)
        assert result.iloc[0] == pytest.approx(WORKED[name])
        assert np.isnan(result.iloc[1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inputs_are_left_as_they_were(name: str):
    columns = [pd.Series([APPLICANT[p], np.nan, 0.0]) for p in features.parameters(name)]
    before = [column.copy() for column in columns]
    FUNCTIONS[name](*columns)
    for column, copy in zip(columns, before, strict=True):
        pd.testing.assert_series_equal(column, copy)


def test_no_income_and_no_limit_stay_finite():
    assert call("debt_to_income", annual_income=0.0) == 15_000.0
    assert call("credit_utilization", credit_limit=0.0) == 4_500.0
    assert call("payment_to_income", annual_income=0.0) == pytest.approx(PAYMENT)


@patient
@given(debt=amounts, income=amounts)
def test_debt_to_income_is_the_formula_of_the_contract(debt: float, income: float):
    assert call("debt_to_income", total_debt=debt, annual_income=income) == pytest.approx(debt / max(income, 1.0))


@patient
@given(used=amounts, limit=amounts, more=amounts)
def test_utilization_rises_with_use(used: float, limit: float, more: float):
    low = call("credit_utilization", credit_used=used, credit_limit=limit)
    assert call("credit_utilization", credit_used=used + more, credit_limit=limit) >= low


def test_payment_without_interest_is_the_amount_over_the_term():
    assert call("monthly_payment", interest_rate=0.0) == pytest.approx(12_000 / 36)
    # The formula's limit must meet it: 1 - (1 + r)^-n taken literally is zero here.
    assert call("monthly_payment", interest_rate=1e-13) == pytest.approx(12_000 / 36, rel=1e-10)


@patient
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


def test_derive_adds_the_features_of_the_portfolio_and_keeps_the_frame(portfolio: Portfolio):
    frame = canonical_book(50, date(2015, 1, 1), date(2015, 1, 3), seed=1)[0]
    before = frame.copy()
    result = derive(frame, portfolio)
    pd.testing.assert_frame_equal(frame, before)
    assert list(result.columns) == [*frame.columns, *(derived.name for derived in portfolio.derived)]
    expected = frame["total_debt"] / frame["annual_income"].clip(lower=1)
    np.testing.assert_allclose(result["debt_to_income"], expected)


def test_derive_reads_inputs_under_the_names_that_the_portfolio_gives():
    portfolio = load_portfolio(GIVE_ME_SOME_CREDIT)
    frame = give_me_some_credit_book(200, date(2015, 1, 1), date(2015, 1, 3), seed=1)[0]
    result = derive(frame, portfolio)
    late = [c for c in frame.columns if c.startswith("NumberOfTime")]
    assert len(late) == 3
    np.testing.assert_array_equal(result["times_past_due"], frame[late].sum(axis=1))
    np.testing.assert_allclose(result["monthly_debt"], frame["DebtRatio"] * frame["MonthlyIncome"])
    assert result["monthly_debt"].isna().sum() == frame["MonthlyIncome"].isna().sum() > 0


def test_derive_names_the_columns_it_lacks(portfolio: Portfolio):
    frame = canonical_book(5, date(2015, 1, 1), date(2015, 1, 3), seed=1)[0]
    with pytest.raises(ValueError, match="credit_limit, total_debt"):
        derive(frame.drop(columns=["total_debt", "credit_limit"]), portfolio)


def test_derive_reads_what_databases_return_for_numbers(portfolio: Portfolio):
    frame = canonical_book(3, date(2015, 1, 1), date(2015, 1, 3), seed=1)[0]
    other = frame.assign(
        annual_income=[Decimal(str(v)) for v in frame["annual_income"]],
        total_debt=frame["total_debt"].astype(str),
        term_months=frame["term_months"].astype("Int64"),
        loan_amount=frame["loan_amount"].astype("float64[pyarrow]"),
    )
    names = [derived.name for derived in portfolio.derived]
    pd.testing.assert_frame_equal(derive(other, portfolio)[names], derive(frame, portfolio)[names])


def test_model_inputs_layout(portfolio: Portfolio):
    frame = canonical_book(300, date(2015, 1, 1), date(2015, 1, 9), seed=3)[0]
    inputs = model_inputs(frame.sample(frac=1.0, random_state=1), portfolio)
    assert list(inputs.columns) == ["application_id", "application_date", *portfolio.feature_names]
    assert "state" not in inputs.columns
    assert inputs["application_date"].dtype == "datetime64[ms]"
    for name in portfolio.feature_names:
        assert inputs[name].dtype == ("object" if name in portfolio.categorical_features else "float64"), name
    keys = list(zip(inputs["application_date"], inputs["application_id"], strict=True))
    assert keys == sorted(keys)
    pd.testing.assert_frame_equal(inputs, model_inputs(frame, portfolio))


def test_model_inputs_are_the_same_from_arrow_parquet_or_pandas(portfolio: Portfolio):
    frame = canonical_book(100, date(2015, 1, 1), date(2015, 1, 9), seed=3)[0]
    frame.loc[3, ["purpose", "inquiries_6m"]] = [None, np.nan]
    schema = features_schema(portfolio)
    expected = to_table(model_inputs(frame, portfolio), schema)
    arrow = pa.Table.from_pandas(frame.assign(application_date=frame["application_date"].dt.date), preserve_index=False)
    for other in (
        arrow.to_pandas(),
        arrow.to_pandas(date_as_object=False),
        arrow.to_pandas(types_mapper=pd.ArrowDtype),
    ):
        assert to_table(model_inputs(other, portfolio), schema).equals(expected)


def test_model_inputs_of_no_rows(portfolio: Portfolio):
    frame = canonical_book(5, date(2015, 1, 1), date(2015, 1, 9), seed=3)[0].head(0)
    assert to_table(model_inputs(frame, portfolio), features_schema(portfolio)).num_rows == 0


def test_model_inputs_refuse_rows_without_id_or_date(portfolio: Portfolio):
    frame = canonical_book(5, date(2015, 1, 1), date(2015, 1, 9), seed=3)[0]
    with pytest.raises(ValueError, match="'application_id' is missing or unreadable in 1 rows"):
        model_inputs(frame.assign(application_id=[None, "b", "c", "d", "e"]), portfolio)
    with pytest.raises(ValueError, match="'application_date' is missing or unreadable in 5 rows"):
        model_inputs(frame.assign(application_date="soon"), portfolio)


def test_no_infinity_reaches_a_model(portfolio: Portfolio):
    frame = canonical_book(4, date(2015, 1, 1), date(2015, 1, 9), seed=3)[0].assign(total_debt=np.inf)
    inputs = model_inputs(frame, portfolio)
    assert inputs[["total_debt", "debt_to_income"]].isna().all().all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series([Decimal("1.5"), None], dtype=object), [1.5, np.nan]),
        (pd.Series(["1", " 2 ", "x", "", "inf", None], dtype=object), [1, 2, np.nan, np.nan, np.nan, np.nan]),
        (pd.Series([True, False, None], dtype=object), [1, 0, np.nan]),
        (pd.Series([True, None], dtype="boolean"), [1, np.nan]),
        (pd.Series([7, None], dtype="Int64"), [7, np.nan]),
        (pd.Series([7, None], dtype="int64[pyarrow]"), [7, np.nan]),
        (pd.Series([1.0, np.inf, -np.inf]), [1, np.nan, np.nan]),
        (pd.Series([], dtype=object), []),
    ],
)
def test_as_numbers(values: pd.Series, expected: list[float]):
    result = as_numbers(values)
    assert result.dtype == "float64"
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series(["a", None, np.nan, pd.NA], dtype=object), ["a", None, None, None]),
        (pd.Series(["a", None], dtype="category"), ["a", None]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        # An integer column with gaps arrives as float; its levels must be those of a day without gaps.
        (pd.Series([3.0, np.nan]), ["3", None]),
        (pd.Series([3, 4]), ["3", "4"]),
        (pd.Series([True, None], dtype=object), ["True", None]),
    ],
)
def test_as_categories(values: pd.Series, expected: list[str | None]):
    assert as_categories(values).tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([date(2015, 1, 2), None], ["2015-01-02", "NaT"]),
        ([date(9999, 12, 31), date(1, 1, 1)], ["9999-12-31", "0001-01-01"]),
        ([datetime(2015, 1, 2, 13, 5), date(2015, 1, 3)], ["2015-01-02", "2015-01-03"]),
        (["2015-01-02", "2015-01-02T23:59:00Z", " 20150103 "], ["2015-01-02", "2015-01-02", "2015-01-03"]),
        # Day or month first: not ours to guess.
        (["01/02/2015", "soon", ""], ["NaT", "NaT", "NaT"]),
        ([20150102, 3], ["NaT", "NaT"]),
        (pd.to_datetime(["2015-01-02 13:00", None]), ["2015-01-02", "NaT"]),
        ([datetime(2015, 1, 2, 23, tzinfo=UTC)], ["2015-01-02"]),
        (pd.to_datetime(["2015-01-02 23:00+05:00"]), ["2015-01-02"]),
    ],
)
def test_as_days(values: list, expected: list[str]):
    result = as_days(pd.Series(values))
    assert result.dtype == "datetime64[ms]"
    np.testing.assert_array_equal(result.to_numpy().astype("datetime64[D]").astype(str), expected)


def test_as_ids_keeps_long_numbers():
    long = 2**53 + 1
    assert as_ids(pd.Series([str(long), "7"], dtype=object), "integer").tolist() == [long, 7]
    assert as_ids(pd.Series([long, 7]), "integer").tolist() == [long, 7]
    assert as_ids(pd.Series(["12.0", "7"], dtype=object), "integer").tolist() == [12, 7]
    assert as_ids(pd.Series([7, 8]), "string").tolist() == ["7", "8"]


def test_loading_the_portfolio_imports_neither_pandas_nor_numpy():
    code = (
        "import sys; from credit_assets.ml.portfolio import load_portfolio; load_portfolio();"
        "from credit_assets.ml import cohorts, contracts, features, gates;"
        "print(sorted({'pandas', 'numpy', 'pandera', 'pyarrow', 'scipy', 'dagster', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
