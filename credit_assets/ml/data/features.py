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

from collections.abc import Iterable
from typing import TYPE_CHECKING

from credit_assets.ml.data.formulas import FUNCTIONS, parameters
from credit_assets.ml.data.values import _finite, _in_order

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.data.portfolio import Portfolio

    Numbers = pd.Series[float]


# General forms, for a lender whose columns none of the above fits: a portfolio file names their inputs.


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

    from credit_assets.ml.data.schemas import applications_schema, features_schema

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


def _cast(values: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    import pyarrow as pa

    if values.type == field.type:
        return values
    try:
        return values.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"column {field.name!r} is {values.type} and cannot be read as {field.type}") from error


def _sources(function: str, inputs: dict[str, str]) -> tuple[str, ...]:
    return tuple(inputs.get(parameter, parameter) for parameter in parameters(function))


def _require(given: Iterable[str], names: Iterable[str], what: str) -> None:
    missing = sorted(set(names) - set(given))
    if missing:
        raise ValueError(f"the table lacks columns {what}: {', '.join(missing)}; it has {', '.join(map(str, given))}")
