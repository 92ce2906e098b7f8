"""The SQL of all warehouses, in SQLAlchemy Core: values are bound, identifiers come from the validated portfolio and
are quoted.

Belongs here: tables, their columns and conditions as expressions. Does not belong here: running them (`session`), what
a dialect or driver needs for itself (`duckdb_file`, `sql`), and which type is which (`credit_assets.ml.data.schemas`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.warehouse.session import Session, Stored
from credit_assets.warehouse.source import Source, split_name

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa


@dataclass(frozen=True)
class OpenTable:
    """A table that is there, with its columns by their names in the portfolio."""

    clause: sa.TableClause
    columns: Mapping[str, sa.ColumnElement[Any]]
    stored: Mapping[str, Stored]

    def day(self, name: str) -> sa.ColumnElement[Any]:
        """The column as a day."""
        import sqlalchemy as sa

        column = self.columns[name]
        if self.stored[name] == "timestamp":
            return sa.cast(column, sa.Date)
        if self.stored[name] == "text":
            # Constants in the text: two parameters of equal value would make two expressions of SELECT and GROUP BY.
            return sa.func.substr(column, sa.literal_column("1"), sa.literal_column("10"))
        return column

    def text(self, name: str) -> sa.ColumnElement[Any]:
        """The column as text."""
        import sqlalchemy as sa

        column = self.columns[name]
        return column if self.stored[name] == "text" else sa.cast(column, sa.Text)

    def between(self, name: str, start: date, end: date) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        """Half-open at the day after `end`, so that a timestamp late on the last day is in, and an index is used."""
        import sqlalchemy as sa

        column, after = self.columns[name], end + timedelta(days=1)
        if self.stored[name] == "text":
            return column >= start.isoformat(), column < after.isoformat()
        return column >= sa.literal(start, sa.Date), column < sa.literal(after, sa.Date)


def table_clause(session: Session, table: str, names: Sequence[str]) -> sa.TableClause:
    import sqlalchemy as sa

    schema, name = split_name(table)
    return sa.table(
        session.identifier(name),
        *(sa.column(session.identifier(n)) for n in names),
        schema=None if schema is None else session.identifier(schema),
    )


def new_table(session: Session, source: Source) -> sa.Table:
    """The table of `source`, keyed by id and indexed by day."""
    import sqlalchemy as sa

    schema, name = split_name(source.table)
    columns = [
        sa.Column(
            session.identifier(field.name),
            # A key of unbounded text is refused by some databases.
            sa.String(255) if key and isinstance(kind, sa.Text) else kind,
            primary_key=key,
            autoincrement=False,
            nullable=field.name not in source.required,
        )
        for field in source.schema
        for key, kind in [(field.name == source.id, sql_type(field.type))]
    ]
    table = sa.Table(
        session.identifier(name),
        sa.MetaData(),
        *columns,
        schema=None if schema is None else session.identifier(schema),
    )
    sa.Index(f"{name}_by_day", table.c[session.identifier(source.day)])
    return table


def sql_type(kind: pa.DataType) -> sa.types.TypeEngine[Any]:
    """The type of a column that is `kind` in Arrow."""
    import sqlalchemy as sa

    from credit_assets.ml.data.schemas import SQL_TYPES

    type_: sa.types.TypeEngine[Any] = getattr(sa, SQL_TYPES[str(kind)])()
    return type_
