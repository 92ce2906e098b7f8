"""Columns of the tables as the UI shows them: names and types, without importing Arrow when the definitions load.

Belongs here: descriptions only. `credit_assets.ml.data.schemas` decides what is written; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from credit_assets.ml.data.portfolio import Portfolio

_TYPES = {
    "string": "string",
    "category": "string",
    "integer": "int64",
    "float": "double",
    "boolean": "bool",
    "date": "date32[day]",
}
Fields = list[tuple[str, str]]


def column_schema(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Metadata of an asset. Of its definition, not of each materialization: a backfill would record it thousands of
    times.
    """
    return {"dagster/column_schema": dg.TableSchema([dg.TableColumn(name, kind) for name, kind in fields])}


def applications(portfolio: Portfolio) -> Fields:
    return [(column.name, _TYPES[column.type]) for column in portfolio.columns]


def outcomes(portfolio: Portfolio) -> Fields:
    names = portfolio.outcomes
    return [(names.id, _key(portfolio)), (names.date, _TYPES["date"]), (names.defaulted, "int8")]


def features(portfolio: Portfolio) -> Fields:
    categories = set(portfolio.categorical_features)
    inputs = [(name, "string" if name in categories else "double") for name in portfolio.feature_names]
    return [(portfolio.id_column, _key(portfolio)), (portfolio.date_column, _TYPES["date"]), *inputs]


def training(portfolio: Portfolio) -> Fields:
    return [*features(portfolio), ("default", "int8"), ("split", "string")]


def scores(portfolio: Portfolio) -> Fields:
    decided = [("pd", "double"), ("score", "double"), ("model_version", "string"), ("arm", "string")]
    beside = [("other_pd", "double"), ("other_score", "double"), ("other_version", "string")]
    return [*features(portfolio)[:2], *decided, *beside]


def _key(portfolio: Portfolio) -> str:
    return _TYPES[portfolio.column(portfolio.id_column).type]
