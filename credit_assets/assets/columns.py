"""Columns of the tables as the UI shows them: what each is, its unit and range, and what it is made of.

Belongs here: the metadata. Does not belong here: which columns a table has (`credit_assets.ml.data.schemas`), and what
they mean, which the portfolio says.

It is metadata of definitions, not of materializations: a backfill would record it thousands of times. The open-source
UI shows the columns with their descriptions; the lineage of columns is read by whoever asks GraphQL for it, and stands
in the descriptions of what is derived.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from credit_assets.ml.data.formulas import FUNCTIONS, parameters
from credit_assets.ml.data.histories import HistoryFeature
from credit_assets.ml.data.portfolio import Column, DerivedFeature, Portfolio
from credit_assets.ml.data.schemas import STORAGE, Fields

SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"
_MOST_LEVELS = 20
MADE = {
    "default": "The target: 1 where a default became known within the performance window, else 0.",
    "split": "Which part of the training set the row is in: train, validation, or test, the newest days.",
    "pd": "Probability of default within the performance window, calibrated. Range: 0 .. 1.",
    "score": "Points of the deciding model: more are better. CREDIT_SCORE_BASE, _ODDS and _PDO set their scale.",
    "model_version": "Version of the model that decides about the application.",
    "arm": "Whose turn the application is: champion or challenger; refused where it has no PD for a missing value.",
    "other_pd": "Probability of default by the model beside the deciding one. Range: 0 .. 1.",
    "other_score": "Points by the model beside the deciding one.",
    "other_version": "Version of the model beside the deciding one.",
    "declined": "Whether the model's cut-off declines the application; empty where the model has none.",
    "reasons": "Codes of the reasons for which it is declined, the gravest first; empty where it is not.",
}
"""What the pipeline adds to a lender's columns."""
_ROLES = {
    "id": "Identifies the application",
    "date": "Day of the application, which is its partition",
    "customer": "Identifies the customer",
    "protected": "Protected: measured for fairness, and read by no model",
    "ignored": "Read by no model",
}

Sources = Mapping[str, Iterable[tuple[dg.AssetKey, str]]]
"""By column, the columns of other assets that it is made of."""


def column_schema(portfolio: Portfolio, fields: Fields, sources: Sources | None = None) -> dict[str, Any]:
    """Metadata of an asset whose table has these fields, and whose columns are made of `sources`."""
    columns = [
        dg.TableColumn(
            name,
            STORAGE[kind].arrow,
            description=describe(portfolio, name),
            constraints=dg.TableColumnConstraints(nullable=not _required(portfolio, name)),
        )
        for name, kind in fields
    ]
    metadata: dict[str, Any] = {SCHEMA: dg.TableSchema(columns)}
    if sources:
        metadata[LINEAGE] = dg.TableColumnLineage(
            {
                name: [dg.TableColumnDep(asset, column) for asset, column in sources[name]]
                for name, _ in fields
                if name in sources
            }
        )
    return metadata


def describe(portfolio: Portfolio, name: str) -> str | None:
    """What a column is, with its unit and range, by the portfolio; None where that says nothing of it.

    A name that an applications table has too, such as an id, means the same in every table.
    """
    column = next((one for one in portfolio.columns if one.name == name), None)
    if column is not None:
        return _of_column(column)
    derived = next((one for one in portfolio.derived if one.name == name), None)
    if isinstance(derived, HistoryFeature):
        return _of_history(derived)
    if derived is not None:
        return f"{_formula(derived)}: {_first_paragraph(FUNCTIONS[derived.function_name])}"
    return MADE.get(name) or _of_outcomes(portfolio, name)


def made_of(portfolio: Portfolio, asset: str, key: Any) -> dict[str, list[tuple[dg.AssetKey, str]]]:
    """By column of a table of the graph, the columns of the assets that it reads; `key` gives the key of an asset."""
    raw, features, names = key("raw_loan_data"), key("processed_features"), portfolio.feature_names
    ids = [portfolio.id_column, portfolio.date_column]
    if asset == "processed_features":
        found = {one: [(raw, one)] for one in (*ids, *(column.name for column in portfolio.input_columns))}
        found |= {one.name: [(raw, column) for column in inputs_of(one)] for one in portfolio.function_features}
        return found | {one.name: [(key("history_features"), one.name)] for one in portfolio.history_features}
    found = {one: [(features, one)] for one in ids}
    if asset == "training_set":
        outcomes = [(key("loan_outcomes"), portfolio.outcomes.says), (key("loan_outcomes"), portfolio.outcomes.day)]
        return found | {one: [(features, one)] for one in names} | {"default": outcomes}
    inputs = [(features, one) for one in names]
    return found | dict.fromkeys(("pd", "score", "other_pd", "other_score", "reasons"), inputs)


def inputs_of(derived: DerivedFeature) -> list[str]:
    """The columns that a derived feature reads."""
    return [derived.inputs.get(name, name) for name in parameters(derived.function_name)]


def _formula(derived: DerivedFeature) -> str:
    return f"{derived.function_name}({', '.join(inputs_of(derived))})"


def _of_column(column: Column) -> str | None:
    parts = [column.description.rstrip(".")] if column.description else []
    if column.unit:
        parts.append(f"Unit: {column.unit}")
    if column.minimum is not None or column.maximum is not None:
        parts.append(f"Range: {_limit(column.minimum)} .. {_limit(column.maximum)}")
    if column.allowed:
        more = ", ..." if len(column.allowed) > _MOST_LEVELS else ""
        parts.append(f"One of: {', '.join(column.allowed[:_MOST_LEVELS])}{more}")
    parts += [_ROLES[column.role]] if column.role in _ROLES else []
    return ". ".join(parts) + "." if parts else None


def _limit(value: float | None) -> str:
    return "any" if value is None else f"{value:,.10g}"


def _of_history(feature: HistoryFeature) -> str:
    of = f" of {feature.column}" if feature.column else ""
    days = f" in the last {feature.window_days} days" if feature.window_days else ""
    description = f" {feature.description}" if feature.description else ""
    return f"{feature.aggregate}{of} in the rows of `{feature.history}`{days} before the application.{description}"


def _of_outcomes(portfolio: Portfolio, name: str) -> str | None:
    names = portfolio.outcomes
    return {
        names.id: "Id of the application that it is the outcome of.",
        names.says: "What became of the loan." if names.status else "1 where the loan has defaulted, else 0.",
        names.date: "Day to which the outcome is booked.",
        names.day: "Day on which the outcome became known: from then on a training may use it.",
    }.get(name)


def _required(portfolio: Portfolio, name: str) -> bool:
    column = next((one for one in portfolio.columns if one.name == name), None)
    return column is not None and not column.nullable


def _first_paragraph(function: Any) -> str:
    text = inspect.getdoc(function) or "a feature of an extension without a docstring."
    return " ".join(text.split("\n\n")[0].split())
