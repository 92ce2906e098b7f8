"""Every statement of a warehouse, compiled by the dialects of Snowflake and BigQuery: no server was asked.

Skipped where the packages of the dialects are not installed (extras `snowflake` and `bigquery`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.warehouse.session import ResultStream, Session, Stored
from credit_assets.warehouse.source import SourceTable
from credit_assets.warehouse.sql import SqlWarehouse, _SqlSession
from credit_assets_tests.support.warehouses import DAY, OTHER, applications, outcomes

_ROWS = 3
DIALECTS = {
    "snowflake": ("snowflake.sqlalchemy", "snowdialect"),
    "bigquery": ("sqlalchemy_bigquery", "BigQueryDialect"),
}
QUOTES = {"snowflake": '"', "bigquery": "`"}
LAST = date(2024, 3, 29)


def _dialect(name: str) -> Any:
    if name == "snowflake":
        return pytest.importorskip("snowflake.sqlalchemy.snowdialect", reason="extra snowflake").dialect()
    return pytest.importorskip("sqlalchemy_bigquery", reason="extra bigquery").BigQueryDialect()


class _Compiling(_SqlSession):
    """Compiles each statement, and keeps its text and parameters."""

    def __init__(self, dialect: Any, stored: Mapping[str, Stored], said: list[tuple[str, dict[str, Any]]]) -> None:
        super().__init__(SimpleNamespace(dialect=dialect), ExitStack(), "UTC")  # type: ignore[arg-type]
        self._stored_types, self._said = stored, said

    def _keep(self, statement: Any) -> None:
        compiled = statement.compile(dialect=self._dialect)
        self._said.append((str(compiled), dict(getattr(compiled, "params", None) or {})))

    def stored_as(self, table: str) -> Mapping[str, Stored] | None:
        return self._stored_types

    def rows(self, query: sa.Executable) -> list[tuple[Any, ...]]:
        self._keep(query)
        if "EXISTS" in str(query):
            # Whether each of the rows written is there.
            return [(_ROWS,)]
        return [(0,)] if str(query).startswith("SELECT count(*)") else []

    def stream(self, query: sa.Select[Any], order: Sequence[Any], source: SourceTable) -> ResultStream:
        self._keep(query.order_by(*order))
        return ResultStream(iter(()))

    def change(self, statement: sa.Executable) -> int:
        self._keep(statement)
        return 0

    def create(self, table: sa.Table) -> None:
        self._keep(sa.schema.CreateTable(table, if_not_exists=True))

    def stage(self, name: str, rows: pa.Table) -> None:
        pass


class _Warehouse(SqlWarehouse):
    def __init__(self, dialect: Any, stored: Mapping[str, Stored]) -> None:
        super().__init__("sqlite:///none")
        self.said: list[tuple[str, dict[str, Any]]] = []
        self._made = dialect, stored

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[Session]:
        yield _Compiling(*self._made, self.said)


def said(name: str, portfolio: Portfolio, kind: Stored, work: str) -> list[tuple[str, dict[str, Any]]]:
    """What the warehouse's methods have to say to a server whose days are stored as `kind`."""
    names = {column.name for column in portfolio.columns}
    names |= {portfolio.outcomes.id, portfolio.outcomes.date, portfolio.outcomes.says}
    days = {portfolio.date_column, portfolio.outcomes.date}
    stored: dict[str, Stored] = {
        one: kind if one in days else "text" if one == portfolio.id_column else "other" for one in names
    }
    warehouse = _Warehouse(_dialect(name), stored)
    if work == "reading":
        warehouse.read_applications(portfolio, DAY, LAST).read_all()
        warehouse.read_outcomes(portfolio, DAY, LAST).read_all() if kind != "text" else None
        warehouse.daily_counts(portfolio, DAY, LAST)
        warehouse.daily_outcomes(portfolio, DAY, LAST)
        warehouse.count_applications(portfolio, DAY, LAST)
        warehouse.count_outcomes(portfolio, DAY, LAST)
        list(warehouse.application_ids(portfolio))
        warehouse.holds_applications(portfolio)
    else:
        warehouse.create_tables(portfolio)
        warehouse.write(portfolio, applications(portfolio, _ROWS), outcomes(portfolio, _ROWS))
    return warehouse.said


@pytest.mark.parametrize("kind", ["date", "timestamp", "instant", "text"])
@pytest.mark.parametrize("name", DIALECTS)
def test_reading_is_compiled_with_bound_days_and_quoted_names(name: str, kind: Stored) -> None:
    statements = said(name, OTHER, kind, "reading")
    assert len(statements) >= 7
    quote = QUOTES[name]
    for text, _ in statements:
        # Names that are words of SQL, have capitals or signs are quoted wherever they stand.
        for column in ("Day", "DaysPastDue30-59", "Applicants-2024", "Results"):
            assert not re.search(rf"(?<![{quote}\w]){column}(?![{quote}\w])", text), text
        # Nothing of PostgreSQL is left.
        assert "::" not in text
        assert "COLLATE" not in text
        assert "timezone(" not in text
        assert "2024-02" not in text, "a day is written into the statement"
    for column in ("select", "order", "group", "DaysPastDue30-59"):
        assert f"{quote}{column}{quote}" in statements[0][0]
    bound = [value for _, values in statements for value in values.values()]
    assert any(str(value).startswith("2024-02-2") for value in bound)


@pytest.mark.parametrize("name", DIALECTS)
def test_plain_names_fold_as_the_server_folds_them(name: str) -> None:
    text = said(name, load_portfolio(), "date", "reading")[0][0]
    # Snowflake folds plain names to upper case, and so must not quote them; BigQuery takes them as they are.
    assert ("application_id" in text.replace("`application_id`", "")) == (name == "snowflake")
    assert '"application_id"' not in text


@pytest.mark.parametrize("name", DIALECTS)
def test_tables_and_writing_are_compiled(name: str) -> None:
    statements = [text for text, _ in said(name, load_portfolio(), "date", "writing")]
    assert [text.split()[0] for text in statements] == [
        "CREATE",
        "CREATE",
        *["SELECT", "UPDATE", "INSERT", "SELECT"] * 2,
    ]
    created = statements[0]
    wanted = {"snowflake": ("VARCHAR", "DATE", "DOUBLE"), "bigquery": ("STRING", "DATE", "FLOAT64")}[name]
    assert all(kind in created.upper() for kind in wanted), created
