"""The table of features: what a model reads, from the columns of an application.

Belongs here: the table of model inputs. Does not belong here: the formulas (`formulas`), which of them a portfolio uses
and from which columns (the portfolio file), encoding for one learner (`learners`), and anything that looks at more than
one application (such a value would depend on who else applied).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credit_assets.ml.data import values
from credit_assets.ml.data.feature_functions import text_series
from credit_assets.ml.data.formulas import FUNCTIONS, parameters
from credit_assets.ml.data.ordering import in_order
from credit_assets.ml.data.schemas import applications_schema, features_schema

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.data.portfolio import DerivedFeature, Portfolio


def feature_table(applications: pa.Table | pd.DataFrame, portfolio: Portfolio) -> pa.Table:
    """What the models read: id, date, the customer if there is one, then `portfolio.feature_names`: `features_schema`.

    One row for each application, sorted by (date, id); rows that come so are neither sorted nor copied. Columns that
    are not of their type of `applications_schema` are read as it (`values`); those that the features do not need may be
    left out. Numeric, boolean and derived features are float64, null where missing: a value or a result that is not
    finite counts as missing.

    Parameters
    ----------
    applications
        A table or a frame of applications in any order, with the portfolio's history features, if any, beside their
        columns.
    portfolio
        Whose columns they have.

    Returns
    -------
    pa.Table
        A table of `features_schema(portfolio)`.

    Raises
    ------
    ValueError
        Naming columns that are missing or cannot be read as their type, or an id or date that is missing.

    Examples
    --------
    >>> from credit_assets.ml.data.portfolio import Portfolio
    >>> portfolio = Portfolio.model_validate({
    ...     "name": "small",
    ...     "columns": [
    ...         {"name": "id", "type": "string", "role": "id", "nullable": False},
    ...         {"name": "day", "type": "date", "role": "date", "nullable": False},
    ...         {"name": "debt", "type": "float"},
    ...         {"name": "income", "type": "float"},
    ...     ],
    ...     "derived": [
    ...         {"name": "burden", "function": "ratio", "inputs": {"numerator": "debt", "denominator": "income"}}
    ...     ],
    ... })
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"id": ["a"], "day": ["2015-01-02"], "debt": [15_000], "income": [60_000]})
    >>> feature_table(frame, portfolio).to_pylist()[0]["burden"]
    0.25
    """
    import pyarrow as pa

    key, day = portfolio.id_column, portfolio.date_column
    types = applications_schema(portfolio)
    made = [feature.name for feature in portfolio.history_features]
    whose = [portfolio.customer_column] if portfolio.customer_column else []
    names = [key, day, *whose, *(column.name for column in portfolio.input_columns)]
    wanted = [*(types.field(name) for name in names), *(pa.field(name, pa.float64()) for name in made)]
    table = values.as_table(applications, pa.schema(wanted), "applications")
    for name in (key, day):
        if table[name].null_count:
            raise ValueError(f"column {name!r} is missing in {table[name].null_count} rows")
    categories = set(portfolio.categorical_features)
    numbers = {
        column.name: values.read(table[column.name], pa.float64()).values
        for column in portfolio.input_columns
        if column.name not in categories
    }
    numbers |= {name: table[name] for name in made}
    derived = _derived(portfolio.function_features, table, numbers)
    columns = {**{name: table[name] for name in names}, **numbers, **derived}
    schema = features_schema(portfolio)
    return in_order(pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema), (day, key))


def _derived(
    features: tuple[DerivedFeature, ...], table: pa.Table, numbers: dict[str, pa.ChunkedArray]
) -> dict[str, pa.ChunkedArray]:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    # NaN where an input is missing; the column's own memory where none is.
    series: dict[str, pd.Series[Any]] = {}
    columns = {}
    for feature in features:
        sources = [feature.inputs.get(name, name) for name in parameters(feature.function_name)]
        for source in sources:
            if source not in series:
                series[source] = (
                    pd.Series(numbers[source].to_numpy(), copy=False)
                    if source in numbers
                    else text_series(table[source])
                )
        result = FUNCTIONS[feature.function_name](*(series[source] for source in sources)).to_numpy(dtype="float64")
        finite = np.isfinite(result)
        columns[feature.name] = pa.chunked_array([pa.array(result, mask=None if finite.all() else ~finite)])
    return columns
