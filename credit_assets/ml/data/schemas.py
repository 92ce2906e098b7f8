"""Arrow schemas of the tables between the stages, from the portfolio, and the way a frame takes one on.

Belongs here: names and storage types. Does not belong here: rules about values (`contracts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credit_assets.ml.data.portfolio import ColumnType, Portfolio

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

REASON = "quarantine_reason"


def arrow_type(kind: ColumnType) -> pa.DataType:
    import pyarrow as pa

    return {
        "string": pa.string(),
        "category": pa.string(),
        "integer": pa.int64(),
        "float": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
    }[kind]


def applications_schema(portfolio: Portfolio) -> pa.Schema:
    """Columns of `raw_loan_data`: all of the portfolio's, in file order."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, arrow_type(column.type)) for column in portfolio.columns])


def outcomes_schema(portfolio: Portfolio) -> pa.Schema:
    """Columns of `loan_outcomes`: id, outcome date, defaulted (0 or 1)."""
    import pyarrow as pa

    names = portfolio.outcomes
    key = arrow_type(portfolio.column(portfolio.id_column).type)
    return pa.schema([(names.id, key), (names.date, pa.date32()), (names.defaulted, pa.int8())])


def quarantine_schema(schema: pa.Schema, date_column: str) -> pa.Schema:
    """Columns of rows set aside from a table of `schema`: text, since their values may not fit, but for the date."""
    import pyarrow as pa

    fields = [pa.field(f.name, f.type if f.name == date_column else pa.string()) for f in schema]
    return pa.schema([*fields, pa.field(REASON, pa.string())])


def features_schema(portfolio: Portfolio) -> pa.Schema:
    """Columns of `processed_features`: id, date, then the model inputs; numbers as float64, categories as text."""
    import pyarrow as pa

    categories = set(portfolio.categorical_features)
    fields = [
        (portfolio.id_column, arrow_type(portfolio.column(portfolio.id_column).type)),
        (portfolio.date_column, pa.date32()),
    ]
    fields += [(name, pa.string() if name in categories else pa.float64()) for name in portfolio.feature_names]
    return pa.schema(fields)


def to_table(frame: pd.DataFrame, schema: pa.Schema, *, sort_by: tuple[str, ...] = ()) -> pa.Table:
    """The columns of `schema` from `frame`, in that order and type, rows sorted by `sort_by`.

    Missing values of any kind become nulls, so that equal data give equal bytes whatever they came through.
    Raises pyarrow.ArrowInvalid where a value does not fit its type; contracts have refused those before.
    """
    import pyarrow as pa

    if sort_by:
        frame = frame.sort_values(list(sort_by), kind="stable")
    arrays = []
    for field in schema:
        column = frame[field.name]
        if pa.types.is_date32(field.type) and column.dtype.kind == "M":
            column = column.to_numpy().astype("datetime64[D]")
        arrays.append(pa.array(column, type=field.type, from_pandas=True))
    return pa.Table.from_arrays(arrays, schema=schema)


def training_schema(portfolio: Portfolio) -> pa.Schema:
    """Columns of `training_set`: those of `processed_features`, the target `default` and the `split`."""
    import pyarrow as pa

    return features_schema(portfolio).append(pa.field("default", pa.int8())).append(pa.field("split", pa.string()))


def scores_schema(portfolio: Portfolio) -> pa.Schema:
    """Columns of `loan_scores`: id, date; PD (probability), score (points) and version of the model that decides about
    the application; its `arm`, "champion" or "challenger"; and `other_*`, the same three of the model that scored it
    beside without deciding, null where there was none.
    """
    import pyarrow as pa

    key, day = list(features_schema(portfolio))[:2]
    fields = [("pd", pa.float64()), ("score", pa.float64()), ("model_version", pa.string()), ("arm", pa.string())]
    fields += [("other_pd", pa.float64()), ("other_score", pa.float64()), ("other_version", pa.string())]
    return pa.schema([key, day, *fields])
