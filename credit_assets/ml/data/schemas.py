"""The tables between the stages: their columns by name and type, from the portfolio, and how each type is stored.

Belongs here: names and storage types, for Arrow, for SQL and for people. Does not belong here: rules about values
(`contracts`) and reading values as a type (`values`).

A table is first of all a list of fields, which costs nothing: the definitions show it without importing Arrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from credit_assets.ml.data.keys import KNOWN_AT, KNOWN_ON
from credit_assets.ml.data.population import DecisionsTable
from credit_assets.ml.data.portfolio import ColumnType, Portfolio

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "quarantine_reason"

StoredType: TypeAlias = Literal[ColumnType, "flag", "codes"]
"""The types of a portfolio file, and in the columns that the pipeline makes "flag", 0 or 1, and "codes", a list."""
Fields: TypeAlias = tuple[tuple[str, StoredType], ...]


@dataclass(frozen=True)
class Storage:
    """How a type is stored: `arrow` is Arrow's name of it, which the UI shows too, and `sql` SQLAlchemy's."""

    arrow: str
    sql: str


_TEXT = Storage("string", "Text")
STORAGE: Mapping[StoredType, Storage] = {
    "string": _TEXT,
    "category": _TEXT,
    "integer": Storage("int64", "BigInteger"),
    "float": Storage("double", "Double"),
    "boolean": Storage("bool", "Boolean"),
    "date": Storage("date32[day]", "Date"),
    "flag": Storage("int8", "SmallInteger"),
    "codes": Storage("list<item: string>", "Text"),
}
ADDED_LATER: Mapping[str, frozenset[str]] = {"loan_scores": frozenset({"declined", "reasons"})}
"""By asset, columns that its files of former releases lack: read as null there."""
SQL_TYPES: Mapping[str, str] = {storage.arrow: storage.sql for storage in STORAGE.values()}
"""SQLAlchemy's name of a type by Arrow's, which is the text of an Arrow type."""


def arrow_schema(fields: Sequence[tuple[str, StoredType]]) -> pa.Schema:
    """The fields in Arrow.

    >>> arrow_schema([("id", "integer"), ("day", "date")])
    id: int64
    day: date32[day]
    """
    import pyarrow as pa

    # The one type that has no name by which Arrow finds it.
    made = {
        kind: pa.list_(pa.string()) if kind == "codes" else pa.type_for_alias(STORAGE[kind].arrow) for _, kind in fields
    }
    return pa.schema([(name, made[kind]) for name, kind in fields])


def applications_fields(portfolio: Portfolio) -> Fields:
    """`raw_loan_data`: all columns of an application as it was made, in file order."""
    return tuple((column.name, column.type) for column in portfolio.application_columns)


def outcomes_fields(portfolio: Portfolio) -> Fields:
    """`loan_outcomes`: id, the day on which the outcome became known, the day to which it is booked where that is
    another, what it says (a flag, 0 or 1, or a status), and the moment where an application may have several.
    """
    names = portfolio.outcomes
    key: Fields = ((names.id, portfolio.column(portfolio.id_column).type), (names.day, "date"))
    booked_to: Fields = () if names.day == names.date else ((names.date, "date"),)
    says: Fields = ((names.says, "flag" if names.status is None else "string"),)
    moment: Fields = () if names.known is None else ((KNOWN_AT, "integer"),)
    return *key, *booked_to, *says, *moment


def decisions_fields(portfolio: Portfolio) -> Fields:
    """`loan_decisions`: id, the day on which the decision became known, the status, the day of booking where the
    portfolio has one, and the moment. Empty where no decisions are stated.
    """
    stated = portfolio.decisions
    if stated is None:
        return ()
    apart = isinstance(stated, DecisionsTable)
    key, day = (stated.id, stated.date) if isinstance(stated, DecisionsTable) else (portfolio.id_column, KNOWN_ON)
    named: Fields = (key, portfolio.column(portfolio.id_column).type), (day, "date"), (stated.status, "string")
    needed = portfolio.performance_window_from == "booking" and stated.booked_on not in (None, day)
    booked: Fields = ((str(stated.booked_on), "date"),) if needed else ()
    moment: Fields = ((KNOWN_AT, "integer"),) if apart else ()
    return *named, *booked, *moment


def history_fields(portfolio: Portfolio) -> Fields:
    """`history_features`: id, date, the features, and the number of rows of each history; null where there is none."""
    features: Fields = tuple((one.name, "float") for one in portfolio.history_features)
    rows: Fields = tuple((one.rows_column, "integer") for one in portfolio.histories)
    return *_keys(portfolio), *features, *rows


def features_fields(portfolio: Portfolio) -> Fields:
    """`processed_features`: id, date, the customer if there is one, then the model inputs; numbers as floats,
    categories as text.
    """
    categories = set(portfolio.categorical_features)
    inputs: Fields = tuple((name, "category" if name in categories else "float") for name in portfolio.feature_names)
    return *_keys(portfolio), *_customer(portfolio), *inputs


def training_fields(portfolio: Portfolio) -> Fields:
    """`training_set`: those of `processed_features`, the target `default` and the `split`."""
    return *features_fields(portfolio), ("default", "flag"), ("split", "category")


def scores_fields(portfolio: Portfolio) -> Fields:
    """`loan_scores`: id, date, the customer if there is one; PD (probability), score (points) and version of the model
    that decides about the application; its `arm`, "champion" or "challenger", or "refused" where that model does not
    score it for a value that is missing, with a PD and a score that are null; `other_*`, the same three of the model
    that scored it besides without deciding, null where there was none; whether the deciding model's cut-off declines it
    (`declined`), null where it has none, and the codes of its `reasons`, the gravest first, null where it is not.
    """
    deciding: Fields = ("pd", "float"), ("score", "float"), ("model_version", "string"), ("arm", "category")
    other: Fields = ("other_pd", "float"), ("other_score", "float"), ("other_version", "string")
    explained: Fields = ("declined", "boolean"), ("reasons", "codes")
    return *_keys(portfolio), *_customer(portfolio), *deciding, *other, *explained


def applications_schema(portfolio: Portfolio) -> pa.Schema:
    return arrow_schema(applications_fields(portfolio))


def outcomes_schema(portfolio: Portfolio) -> pa.Schema:
    return arrow_schema(outcomes_fields(portfolio))


def statuses_schema(portfolio: Portfolio) -> pa.Schema:
    """Statuses as they stand in the applications' own table: id, day of the application, and what is recorded of it."""
    key, _, *says = decisions_fields(portfolio)
    return arrow_schema((key, (portfolio.date_column, "date"), *says))


def decisions_schema(portfolio: Portfolio) -> pa.Schema:
    return arrow_schema(decisions_fields(portfolio))


def history_schema(portfolio: Portfolio) -> pa.Schema:
    return arrow_schema(history_fields(portfolio))


def features_schema(portfolio: Portfolio) -> pa.Schema:
    return arrow_schema(features_fields(portfolio))


def training_schema(portfolio: Portfolio) -> pa.Schema:
    return arrow_schema(training_fields(portfolio))


def scores_schema(portfolio: Portfolio) -> pa.Schema:
    return arrow_schema(scores_fields(portfolio))


def quarantine_schema(schema: pa.Schema, date_column: str) -> pa.Schema:
    """Columns of rows set aside from a table of `schema`: text, since their values may not fit, but for the date."""
    import pyarrow as pa

    fields = [pa.field(f.name, f.type if f.name == date_column else pa.string()) for f in schema]
    return pa.schema([*fields, pa.field(REASON, pa.string())])


def _keys(portfolio: Portfolio) -> Fields:
    return (portfolio.id_column, portfolio.column(portfolio.id_column).type), (portfolio.date_column, "date")


def _customer(portfolio: Portfolio) -> Fields:
    name = portfolio.customer_column
    return () if name is None else ((name, portfolio.column(name).type),)
