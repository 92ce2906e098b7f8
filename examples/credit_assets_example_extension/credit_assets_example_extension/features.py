"""Features: functions of the columns of one application."""

from __future__ import annotations

from credit_assets.ml.data.formulas import monthly_payment
from credit_assets.ml.extensions import Numbers, Texts, feature
from credit_assets_example_extension.housing import ELSEWHERE, SHARE_OF_INCOME


@feature(directions={"loan_amount": 1, "interest_rate": 1, "term_months": -1, "annual_income": -1})
def payment_and_housing_share(
    loan_amount: Numbers,
    interest_rate: Numbers,
    term_months: Numbers,
    annual_income: Numbers,
    home_ownership: Texts,
) -> Numbers:
    """Share of the monthly income that instalment and housing take: payment / income + typical share of the housing.

    332 a month on 5,000, renting, gives 0.066 + 0.30 = 0.366.
    """
    income = annual_income.clip(lower=12.0) / 12.0
    housing = home_ownership.map(SHARE_OF_INCOME).fillna(ELSEWHERE).astype("float64")
    return monthly_payment(loan_amount, interest_rate, term_months) / income + housing
