"""Histories: tables with many rows a customer, and the features that are aggregates of their rows.

Belongs here: the keys `histories` and of `derived` those with `history`, their validation, and conditions as they are
parsed. Does not belong here: what an aggregate is of rows (`history_features`), and SQL (`credit_assets.warehouse`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from credit_assets.ml.data.keys import Identifier, MissingPolicy, Strict

Aggregate = Literal["count", "sum", "mean", "min", "max", "last", "share", "days_since_last", "change"]
Operator = Literal[">=", ">", "<=", "<", "==", "!=", "in"]

OF_A_COLUMN: frozenset[str] = frozenset({"sum", "mean", "min", "max", "last", "change"})
"""Aggregates of the values of a column; the others are of rows."""
OF_THE_LAST: frozenset[str] = frozenset({"last", "days_since_last"})
NUMERIC: frozenset[str] = frozenset({"integer", "float", "boolean"})
LARGEST = 1e15
"""Numbers of a history lie below this, up and down; what lies beyond counts as missing, and as unreadable."""
ROWS = "rows"
_LONGEST = 36_500
_NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?")
_COMPARED = re.compile(r"(>=|<=|==|!=|>|<)\s*(.*)", re.DOTALL)
_EXAMPLES = 'as in {days_past_due: ">= 30"}, {grade: [1, 2]}, {status: open} or {status: "!= open"}'


class HistoryColumn(Strict):
    """A column of a history that features are computed from; its name alone is one of numbers."""

    name: Identifier
    type: Literal["integer", "float", "boolean", "category", "string"] = "float"
    unit: str = ""
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given


class History(Strict):
    """A table with many rows a customer: what it is called and which of its columns say whose a row is, of when, and
    since when it is known.
    """

    name: Identifier
    table: Identifier
    key: Identifier
    application_key: Identifier | None = None
    date: Identifier
    known: Identifier | None = None
    columns: tuple[HistoryColumn, ...] = ()
    description: str = ""

    @model_validator(mode="after")
    def _distinct(self) -> History:
        names = [self.key, self.date, *([self.known] if self.known else []), *(one.name for one in self.columns)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"history {self.name!r}: key, date, known and columns must be different columns; {', '.join(twice)} is "
                "named more than once"
            )
        return self

    @property
    def key_of_applications(self) -> str:
        """The column of the applications table that the key is compared with."""
        return self.application_key or self.key

    @property
    def rows_column(self) -> str:
        """The column of `history_features` with the number of an application's rows; null where it has none."""
        return f"{self.name}.{ROWS}"

    def column(self, name: str) -> HistoryColumn | None:
        """The column of that name, None where there is none."""
        return next((one for one in self.columns if one.name == name), None)


@dataclass(frozen=True)
class ColumnCondition:
    """What a column must be: `operator` any of `values`, of which there is one unless the operator is "in". Values are
    numbers where the column is numeric, else texts. A missing value meets no condition.
    """

    column: str
    operator: Operator
    values: tuple[float | str, ...]

    def met(self, value: float | str | None) -> bool:
        """Whether a value, read as its column's type, meets it."""
        if value is None:
            return False
        if self.operator == "in":
            return value in self.values
        other: Any = self.values[0]
        given: Any = value
        match self.operator:
            case ">=":
                return bool(given >= other)
            case ">":
                return bool(given > other)
            case "<=":
                return bool(given <= other)
            case "<":
                return bool(given < other)
            case "==":
                return bool(given == other)
        return bool(given != other)


class HistoryFeature(Strict):
    """A feature that is an aggregate of the rows of a history."""

    name: Identifier
    history: Identifier
    aggregate: Aggregate
    column: Identifier | None = None
    where: dict[str, Any] = Field(default_factory=dict)
    window_days: int | None = Field(default=None, ge=1, le=_LONGEST)
    max_age_days: int | None = Field(default=None, ge=1, le=_LONGEST)
    default: float | None = Field(default=None, allow_inf_nan=False)
    monotone: Literal[-1, 0, 1] = 0
    missing: MissingPolicy | None = None
    description: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> HistoryFeature:
        def wrong(text: str) -> ValueError:
            return ValueError(f"derived feature {self.name!r}: aggregate {self.aggregate} {text}")

        if (self.aggregate in OF_A_COLUMN) != (self.column is not None):
            of = "needs a `column`" if self.column is None else "is of rows and takes no `column`; give `where`"
            raise wrong(of)
        if self.aggregate == "share" and not self.where:
            raise wrong("needs `where`: it is the share of the rows that meet it")
        if self.aggregate == "change" and self.window_days is None:
            raise wrong("needs `window_days`: it is the last window's mean less that of the window before")
        if self.max_age_days is not None:
            if self.aggregate not in OF_THE_LAST:
                raise wrong("takes no `max_age_days`, which is for last and days_since_last; give `window_days`")
            if self.window_days is not None:
                raise wrong("takes `window_days` or `max_age_days`, not both: they say the same of a last row")
        return self

    @property
    def reach_days(self) -> int | None:
        """The age in days of the oldest row that counts; None where all do."""
        if self.aggregate == "change" and self.window_days:
            return 2 * self.window_days
        return self.window_days or self.max_age_days


def check_histories(
    histories: Sequence[History], columns: Mapping[str, tuple[str, str]], derived: Collection[str]
) -> None:
    """Raises ValueError where a history has the name of another, a key that the applications lack, or a name that
    clashes. `columns`: role and type of the columns of the applications.
    """
    names = [history.name for history in histories]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"histories named twice: {', '.join(twice)}")
    for history in histories:
        role, kind = columns.get(history.key_of_applications, ("", ""))
        if role not in ("id", "customer", "ignored") or kind not in ("string", "integer"):
            raise ValueError(
                f"history {history.name!r}: its key is compared with the column {history.key_of_applications!r} of the "
                "applications, which must stand in `columns` as the id or the customer, or with `role: ignored` "
                "and type string or integer (`application_key` names another one)"
            )
        if history.rows_column in {*columns, *derived}:
            raise ValueError(f"history {history.name!r}: the pipeline adds a column {history.rows_column!r}")


def check_feature(feature: HistoryFeature, histories: Sequence[History]) -> None:
    """Raises ValueError where the feature's history, its column or its conditions are not to be had."""
    history = next((one for one in histories if one.name == feature.history), None)
    where = f"derived feature {feature.name!r}"
    if history is None:
        known = ", ".join(one.name for one in histories) or "none: name it under `histories`"
        raise ValueError(f"{where}: no history {feature.history!r}; known: {known}")
    if feature.column is not None:
        column = history.column(feature.column)
        if column is None or column.type not in NUMERIC:
            raise ValueError(
                f"{where}: {feature.column!r} is no numeric column of history {history.name!r}; numeric are "
                f"{_named(one.name for one in history.columns if one.type in NUMERIC)}"
            )
    conditions(feature, history)


def conditions(feature: HistoryFeature, history: History) -> tuple[ColumnCondition, ...]:
    """The feature's `where` as conditions that must all be met. Raises ValueError naming feature and column.

    >>> months = History(
    ...     name="months", table="t", key="id", date="d", columns=(HistoryColumn(name="dpd", type="integer"),)
    ... )
    >>> late = HistoryFeature(name="late", history="months", aggregate="count", where={"dpd": ">= 30 and < 90"})
    >>> [(one.operator, one.values) for one in conditions(late, months)]
    [('>=', (30.0,)), ('<', (90.0,))]
    """
    found: list[ColumnCondition] = []
    for name, given in feature.where.items():
        column = history.column(name)
        try:
            if column is None:
                raise ValueError(
                    f"no such column; history {history.name!r} has {_named(c.name for c in history.columns)}"
                )
            found += _parsed(column, given)
        except ValueError as error:
            raise ValueError(f"derived feature {feature.name!r}: where {name!r}: {error}") from None
    return tuple(found)


def _parsed(column: HistoryColumn, given: Any) -> list[ColumnCondition]:
    operand = _number if column.type in NUMERIC else _text
    if isinstance(given, list | tuple):
        if not given:
            raise ValueError("an empty list, which no row can meet")
        return [ColumnCondition(column.name, "in", tuple(operand(column, one) for one in given))]
    parts = [given]
    if isinstance(given, str) and column.type in NUMERIC:
        parts = re.split(r"\s+and\s+", given.strip())
    return [_compared(column, part, operand) for part in parts]


def _compared(column: HistoryColumn, given: Any, operand: Any) -> ColumnCondition:
    operator: Any = "=="
    match = _COMPARED.fullmatch(given.strip()) if isinstance(given, str) else None
    if match:
        operator, given = match[1], match[2]
        if column.type not in NUMERIC and operator not in ("==", "!="):
            raise ValueError(
                f"{operator} compares numbers, and the column is {column.type}; texts are ==, != or listed"
            )
    elif isinstance(given, str) and given.strip().startswith("="):
        raise ValueError(f"a single = is no operator; write {_EXAMPLES}")
    return ColumnCondition(column.name, operator, (operand(column, given),))


def _number(column: HistoryColumn, given: Any) -> float:
    if column.type == "boolean":
        words = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}
        word = str(given).strip().lower()
        if word not in words:
            raise ValueError(f"{given!r} is neither true nor false")
        return words[word]
    if isinstance(given, str) and _NUMBER.fullmatch(given.strip()):
        given = float(given)
    if isinstance(given, bool) or not isinstance(given, int | float) or not -LARGEST < given < LARGEST:
        raise ValueError(f"{given!r} is no number; write {_EXAMPLES}")
    if column.type == "integer" and given != int(given):
        raise ValueError(f"{given!r} is no whole number, and the column is integer")
    return float(given)


def _text(column: HistoryColumn, given: Any) -> str:  # noqa: ARG001 - as _number
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise ValueError(f"{given!r} is no text: put it in quotes")
    text = str(given).strip()
    if not text:
        raise ValueError("an empty text, which counts as missing and meets no condition")
    return text


def _named(names: Any) -> str:
    return ", ".join(names) or "none: list them under its `columns`"
