"""The formulas of derived features: one documented pure function each, and the table by which a portfolio names them.

Belongs here: formulas with their units. Does not belong here: which of them a portfolio uses (`portfolio`) and the
table of model inputs (`features`).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from credit_assets.ml.data.extensions import Catalogue
from credit_assets.ml.data.feature_functions import Function, checked_feature, text_inputs

if TYPE_CHECKING:
    import pandas as pd

    Numbers = pd.Series[float]


def debt_to_income(total_debt: Numbers, annual_income: Numbers) -> Numbers:
    """Debt over yearly income: total_debt / max(annual_income, 1). A ratio; 15,000 on 60,000 gives 0.25.

    The floor of one currency unit keeps an applicant without income finite, and at the far end of the scale.
    """
    return total_debt / _at_least_one(annual_income)


def credit_utilization(credit_used: Numbers, credit_limit: Numbers) -> Numbers:
    """Share of the revolving limit in use: credit_used / max(credit_limit, 1). 4,500 of 10,000 gives 0.45.

    Above 1 when the account is overdrawn; not capped, since overdrawn accounts are the riskiest.
    """
    return credit_used / _at_least_one(credit_limit)


def available_credit(credit_limit: Numbers, credit_used: Numbers) -> Numbers:
    """Unused revolving credit in currency: credit_limit - credit_used; negative when overdrawn."""
    return credit_limit - credit_used


def loan_to_income(loan_amount: Numbers, annual_income: Numbers) -> Numbers:
    """Amount applied for over yearly income: loan_amount / max(annual_income, 1). 12,000 on 60,000 gives 0.2."""
    return loan_amount / _at_least_one(annual_income)


def debt_and_loan_to_income(total_debt: Numbers, loan_amount: Numbers, annual_income: Numbers) -> Numbers:
    """Debt once the loan is paid out, over yearly income: (total_debt + loan_amount) / max(annual_income, 1)."""
    return (total_debt + loan_amount) / _at_least_one(annual_income)


def loan_to_value(loan_amount: Numbers, collateral_value: Numbers) -> Numbers:
    """Amount applied for over the value of the collateral: loan_amount / max(collateral_value, 1)."""
    return loan_amount / _at_least_one(collateral_value)


def monthly_payment(loan_amount: Numbers, interest_rate: Numbers, term_months: Numbers) -> Numbers:
    """Level payment of an annuity loan, currency a month: P r / (1 - (1 + r)^-n), r = interest_rate / 1200.

    interest_rate is the nominal yearly rate in percent, term_months the number n of payments. Without interest the
    payment is P / n. 10,000 at 12 percent over 36 months gives 332.14. Missing where the term is not positive or the
    rate is negative. Source: the present value of an annuity in arrears, any textbook of finance.
    """
    import numpy as np

    rate = interest_rate / 1200.0
    # expm1 and log1p: at rates near zero 1 - (1 + r)^-n loses all its digits. At zero it is 0 / 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        payment = loan_amount * rate / -np.expm1(-term_months * np.log1p(rate))
    free = rate == 0
    if free.any():
        payment = payment.where(~free, loan_amount / term_months)
    defined = (term_months > 0) & (rate >= 0)
    return cast("Numbers", payment if defined.all() else payment.where(defined))


def payment_to_income(
    loan_amount: Numbers, interest_rate: Numbers, term_months: Numbers, annual_income: Numbers
) -> Numbers:
    """Payment burden: monthly_payment / max(annual_income / 12, 1). 332.14 a month on 60,000 a year gives 0.0664."""
    return monthly_payment(loan_amount, interest_rate, term_months) / _at_least_one(annual_income / 12.0)


def residual_income(
    annual_income: Numbers, loan_amount: Numbers, interest_rate: Numbers, term_months: Numbers
) -> Numbers:
    """Income left after the loan's payment, currency a month: annual_income / 12 - monthly_payment."""
    return annual_income / 12.0 - monthly_payment(loan_amount, interest_rate, term_months)


def total_interest(loan_amount: Numbers, interest_rate: Numbers, term_months: Numbers) -> Numbers:
    """Interest over the life of the loan, currency: monthly_payment * term_months - loan_amount."""
    return monthly_payment(loan_amount, interest_rate, term_months) * term_months - loan_amount


def balance_per_account(credit_used: Numbers, open_accounts: Numbers) -> Numbers:
    """Revolving balance an open account, currency: credit_used / max(open_accounts, 1)."""
    return credit_used / _at_least_one(open_accounts)


def income_per_head(monthly_income: Numbers, dependents: Numbers) -> Numbers:
    """Income a person of the household, currency a month: monthly_income / (1 + dependents).

    Missing where dependents is negative.
    """
    return monthly_income / (1.0 + dependents.where(dependents >= 0))


def times_past_due(past_due_30_59: Numbers, past_due_60_89: Numbers, past_due_90: Numbers) -> Numbers:
    """Times past due of any severity, a count: the sum of the three buckets."""
    return past_due_30_59 + past_due_60_89 + past_due_90


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """numerator / max(denominator, 1), for amounts and counts. Not for denominators that live below one."""
    return numerator / _at_least_one(denominator)


def product(left: Numbers, right: Numbers) -> Numbers:
    """left * right, for instance a ratio times an income to get back an amount."""
    return left * right


def difference(left: Numbers, right: Numbers) -> Numbers:
    """left - right, in their unit."""
    return left - right


def total(left: Numbers, right: Numbers) -> Numbers:
    """left + right, in their unit."""
    return left + right


_OURS = (
    debt_to_income,
    credit_utilization,
    available_credit,
    loan_to_income,
    debt_and_loan_to_income,
    loan_to_value,
    monthly_payment,
    payment_to_income,
    residual_income,
    total_interest,
    balance_per_account,
    income_per_head,
    times_past_due,
    ratio,
    product,
    difference,
    total,
)
FUNCTIONS: Catalogue[Function] = Catalogue(
    "feature", {function.__name__: function for function in _OURS}, checked_feature
)
"""By name, and beside them those of a lender's extensions."""


def parameters(name: str) -> tuple[str, ...]:
    """Names of the inputs of a function of FUNCTIONS, in order. Raises KeyError for an unknown name."""
    return tuple(inspect.signature(FUNCTIONS[name]).parameters)


def text_parameters(name: str) -> frozenset[str]:
    """Those of the inputs that are categories; the others are numbers. Raises KeyError for an unknown name."""
    return text_inputs(FUNCTIONS[name])


def _at_least_one(values: Numbers) -> Numbers:
    import numpy as np

    return cast("Numbers", np.maximum(values, 1.0))
