"""Features: what a model reads, derived from the columns of an application.

Belongs here: one documented pure function for each derived feature, and the frame of model inputs. Does not belong
here: which of them a portfolio uses and from which columns (the portfolio file), encoding for one learner (`variants`),
and anything that looks at more than one application (such a value would depend on who else applied).

Every function takes and returns pandas Series of equal length, works on all rows at once and keeps missing missing: a
result is missing exactly where an input is missing or where the value is not defined. The names of its parameters are
the columns that it reads, unless the portfolio's `inputs` names others.

numpy and pandas are imported where they are used: the portfolio file is validated against this module whenever the
code location loads, and that must not cost an import of pandas.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.portfolio import Portfolio

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


# General forms, for a lender whose columns none of the above fits: a portfolio file names their inputs.


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


FUNCTIONS: dict[str, Callable[..., Numbers]] = {
    function.__name__: function
    for function in (
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
}


def parameters(name: str) -> tuple[str, ...]:
    """Names of the inputs of a function of FUNCTIONS, in order. Raises KeyError for an unknown name."""
    return tuple(inspect.signature(FUNCTIONS[name]).parameters)


def feature_table(applications: pa.Table, portfolio: Portfolio) -> pa.Table:
    """What the models read: id, date, then `portfolio.feature_names`, as `features_schema` has them.

    One row for each application, sorted by (date, id); rows that come so are neither sorted nor copied. Columns of
    `applications` that are not of their type of `applications_schema` are cast; those that the features do not need
    may be left out. Numeric, boolean and derived features are float64, null where missing: a value or a result that is
    not finite counts as missing. Raises ValueError naming missing columns, a column that cannot be cast, or an id or
    date that is missing.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.schemas import applications_schema, features_schema

    key, day = portfolio.id_column, portfolio.date_column
    names = [key, day, *(column.name for column in portfolio.input_columns)]
    _require(applications.column_names, names, "of the portfolio")
    types = applications_schema(portfolio)
    given = {name: _cast(applications.column(name), types.field(name)) for name in names}
    for name in (key, day):
        if given[name].null_count:
            raise ValueError(f"column {name!r} is missing in {given[name].null_count} rows")
    categories = set(portfolio.categorical_features)
    numbers = {c.name: _finite(given[c.name]) for c in portfolio.input_columns if c.name not in categories}
    columns = {**given, **numbers}
    # NaN where an input is missing; the column's own memory where none is.
    series: dict[str, Numbers] = {}
    for derived in portfolio.derived:
        sources = _sources(derived.function_name, derived.inputs)
        for source in sources:
            if source not in series:
                series[source] = pd.Series(numbers[source].to_numpy(), copy=False)
        result = FUNCTIONS[derived.function_name](*(series[source] for source in sources))
        values = result.to_numpy(dtype="float64")
        finite = np.isfinite(values)
        columns[derived.name] = pa.chunked_array([pa.array(values, mask=None if finite.all() else ~finite)])
    schema = features_schema(portfolio)
    table = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
    return table if _in_order(table, day, key) else table.sort_by([(day, "ascending"), (key, "ascending")])


def all_finite(values: pa.ChunkedArray) -> bool:
    """Whether no float is infinite or NaN, in one pass: a sum is finite only if every value is.

    False may also mean that sound values add up to more than a float holds; then it costs a second look.
    """
    import pyarrow.compute as pc

    total = pc.sum(values).as_py()
    return total is None or math.isfinite(total)


def as_numbers(values: pd.Series[Any]) -> Numbers:
    """The column as float64: numbers, booleans, decimals and numbers written as text; anything else becomes NaN.

    Infinities become NaN too. Keeps the index.
    """
    import numpy as np
    import pandas as pd

    if values.dtype == np.float64:
        numbers = values
    elif pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        numbers = pd.Series(values.to_numpy(dtype="float64", na_value=np.nan), index=values.index, name=values.name)
    else:
        numbers = pd.to_numeric(values.astype(object), errors="coerce").astype("float64")
    return cast("Numbers", numbers.where(np.isfinite(numbers)) if not np.isfinite(numbers).all() else numbers)


def as_categories(values: pd.Series[Any]) -> pd.Series[Any]:
    """The column as objects: str, or None where missing. Whole numbers keep no decimal point.

    An integer column with gaps arrives from Arrow as float: without that rule a level would be "3" on a day without
    missing values and "3.0" on the next. Keeps the index.
    """
    import pandas as pd

    missing = values.isna().to_numpy()
    texts = values.astype(object).to_numpy(copy=True)
    texts[missing] = None
    if pd.api.types.infer_dtype(texts, skipna=True) not in ("string", "empty"):
        texts[~missing] = [_level(value) for value in texts[~missing]]
    return pd.Series(texts, index=values.index, name=values.name, dtype=object)


def as_days(values: pd.Series[Any]) -> pd.Series[Any]:
    """The column as datetime64[ms] at midnight, from dates, timestamps (with or without zone) and ISO texts.

    A timestamp with a zone keeps the calendar day of its own zone. What is no date becomes NaT. Keeps the index.
    """
    import numpy as np
    import pandas as pd

    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_localize(None)
    if values.dtype.kind == "M" and isinstance(values.dtype, np.dtype):
        days = values.to_numpy().astype("datetime64[D]")
    else:
        days = _days_of_objects(values.astype(object).where(values.notna(), None).to_numpy())
    return pd.Series(days.astype("datetime64[ms]"), index=values.index, name=values.name)


def as_ids(values: pd.Series[Any], type_: str) -> pd.Series[Any]:
    """The id column as declared: int64 for "integer" (where every id is a whole number), else str; keeps the index."""
    import numpy as np

    if type_ == "integer":
        numbers = as_numbers(values)
        if numbers.notna().all() and (numbers == np.floor(numbers)).all():
            # Through float64 only where the text forces it ("12.0"): above 2^53 it would round.
            try:
                exact = values if values.dtype.kind in "iu" else values.astype(object).map(int)
            except ValueError:
                exact = numbers
            return cast("pd.Series[Any]", exact.astype("int64"))
    return as_categories(values)


def _days_of_objects(objects: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np
    import pandas as pd

    if pd.api.types.infer_dtype(objects, skipna=True) != "date":
        objects = np.array([_day(value) for value in objects], dtype=object)
    return objects.astype("datetime64[D]")


def _day(value: object) -> date | None:
    """Numbers are no dates here: read as days since 1970, a customer number would become a valid date."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip()).date()
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else None


def _level(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _cast(values: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    import pyarrow as pa

    if values.type == field.type:
        return values
    try:
        return values.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"column {field.name!r} is {values.type} and cannot be read as {field.type}") from error


def _finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers or booleans as float64, null where they are not finite."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(values.type):
        # Unsafe: integers beyond 2^53 are rounded to the nearest float, as everywhere.
        return values.cast(pa.float64(), safe=False)
    if all_finite(values):
        return values
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))


def _in_order(table: pa.Table, *keys: str) -> bool:
    """Whether the rows are sorted by two columns without nulls."""
    import pyarrow.compute as pc

    before, after = table.slice(0, max(table.num_rows - 1, 0)), table.slice(1)
    (major, minor) = keys
    rises = pc.less(before.column(major), after.column(major))
    stays = pc.equal(before.column(major), after.column(major))
    stays = pc.and_(stays, pc.less_equal(before.column(minor), after.column(minor)))
    return bool(pc.all(pc.or_(rises, stays)).as_py())


def _at_least_one(values: Numbers) -> Numbers:
    import numpy as np

    return cast("Numbers", np.maximum(values, 1.0))


def _sources(function: str, inputs: dict[str, str]) -> tuple[str, ...]:
    return tuple(inputs.get(parameter, parameter) for parameter in parameters(function))


def _require(given: Iterable[str], names: Iterable[str], what: str) -> None:
    missing = sorted(set(names) - set(given))
    if missing:
        raise ValueError(f"the table lacks columns {what}: {', '.join(missing)}; it has {', '.join(map(str, given))}")
