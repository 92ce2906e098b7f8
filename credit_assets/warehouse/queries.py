"""The SQL of all warehouses, in SQLAlchemy Core: values are bound, identifiers come from the validated portfolio and
are quoted.

Belongs here: tables, their columns and conditions as expressions, and the one function that makes a day of what a
column holds (`OpenTable.day`): what selects rows, shows their day and counts them by day goes through it. Does not
belong here: running them (`session`), what a dialect or driver needs for itself (`duckdb_file`, `sql`), which type is
which (`credit_assets.ml.data.schemas`), and the day of a value that SQL cannot tell (`credit_assets.ml.data.instants`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.warehouse.session import Session, Stored
from credit_assets.warehouse.source import SourceTable, split_name

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa


# Days by which clocks on two walls differ at most: 26 hours, from UTC-12 to UTC+14.
_ZONES_APART = 2


@dataclass(frozen=True)
class OpenTable:
    """A table that is there, with its columns by their names in the portfolio.

    `zone` is that in which days are cut; `naive` that of timestamps without one, None where it is the same.
    """

    clause: sa.TableClause
    columns: Mapping[str, sa.ColumnElement[Any]]
    stored: Mapping[str, Stored]
    zone: str
    naive: str | None
    knows_zones: bool

    def tells_day(self, name: str) -> bool:
        """Whether `day` is the day; else it is the column, of whose values `read_days` makes days."""
        return self.stored[name] != "text" and (self.knows_zones or not self._converted(name))

    def day(self, name: str) -> sa.ColumnElement[Any]:
        """The column as a day, or as it is where its values have to be looked at: text, and what a warehouse that
        knows no zones would have to convert.
        """
        import sqlalchemy as sa

        column = self.columns[name]
        if self.stored[name] in ("date", "other") or not self.tells_day(name):
            return column
        if self.stored[name] == "timestamp" and self.naive:
            # To an instant, whose date is that in the session's zone, which is the one of days.
            column = sa.func.timezone(_text_constant(self.naive), sa.cast(column, sa.TIMESTAMP))
        return sa.cast(column, sa.Date)

    def _converted(self, name: str) -> bool:
        return self.stored[name] == "instant" or (self.stored[name] == "timestamp" and self.naive is not None)

    def written(self, name: str, day: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """What the column has to hold of a day that is written: where it is a timestamp, the day's first moment."""
        import sqlalchemy as sa

        if self.stored[name] == "timestamp" and self.naive and self.knows_zones:
            return sa.func.timezone(_text_constant(self.naive), sa.cast(day, sa.TIMESTAMP(timezone=True)))
        return day

    def text(self, name: str) -> sa.ColumnElement[Any]:
        """The column as text."""
        import sqlalchemy as sa

        column = self.columns[name]
        return column if self.stored[name] == "text" else sa.cast(column, sa.Text)

    def between(self, name: str, start: date, end: date) -> tuple[sa.ColumnElement[bool], ...]:
        """Rows of `start` to `end`; where `tells_day` is false, those that may be.

        Bounds of the column itself, half-open at the day after `end`, so that a timestamp late on the last day is in
        and an index is used. Where days are cut in a zone these lie further apart than any two zones, and the day
        itself decides: on some days a clock strikes midnight twice, and then no two instants enclose a day.
        """
        import sqlalchemy as sa

        column, apart = self.columns[name], 0
        if self.stored[name] == "text" or self._converted(name):
            apart = _ZONES_APART
        first, after = _moved(start, -apart), _moved(end, apart + 1)
        if self.stored[name] == "text":
            return column >= first.isoformat(), column < after.isoformat()
        bounds = column >= sa.literal(first, sa.Date), column < sa.literal(after, sa.Date)
        if not apart or not self.tells_day(name):
            return bounds
        day = self.day(name)
        return *bounds, day >= sa.literal(start, sa.Date), day <= sa.literal(end, sa.Date)


def _moved(day: date, days: int) -> date:
    """The day so many days later, within the calendar."""
    return date.fromordinal(min(max(day.toordinal() + days, 1), date.max.toordinal()))


def _text_constant(text: str) -> sa.ColumnElement[str]:
    """A text of the settings, checked there. Not bound: two parameters of equal value would make two expressions of
    SELECT and GROUP BY.
    """
    import sqlalchemy as sa

    return sa.literal_column("'" + text.replace("'", "''") + "'", sa.Text)


def table_clause(session: Session, table: str, names: Sequence[str]) -> sa.TableClause:
    import sqlalchemy as sa

    schema, name = split_name(table)
    return sa.table(
        session.identifier(name),
        *(sa.column(session.identifier(n)) for n in names),
        schema=None if schema is None else session.identifier(schema),
    )


def new_table(session: Session, source: SourceTable) -> sa.Table:
    """The table of `source`, keyed by id and indexed by day; one with several rows an id indexed by both."""
    import sqlalchemy as sa

    schema, name = split_name(source.table)
    columns = [
        sa.Column(
            session.identifier(field.name),
            # A key of unbounded text is refused by some databases.
            sa.String(255) if key and isinstance(kind, sa.Text) else kind,
            primary_key=key and not source.repeats,
            autoincrement=False,
            nullable=field.name not in source.required,
        )
        for field in source.schema
        for key in [field.name == source.id]
        for kind in [sa.DateTime() if source.is_moment(field.name) else sql_type(field.type)]
    ]
    table = sa.Table(
        session.identifier(name),
        sa.MetaData(),
        *columns,
        schema=None if schema is None else session.identifier(schema),
    )
    sa.Index(f"{name}_by_day", table.c[session.identifier(source.day)])
    if source.copies:
        sa.Index(f"{name}_by_id", table.c[session.identifier(source.id)], table.c[session.identifier(source.day)])
    return table


def sql_type(kind: pa.DataType) -> sa.types.TypeEngine[Any]:
    """The type of a column that is `kind` in Arrow."""
    import sqlalchemy as sa

    from credit_assets.ml.data.schemas import SQL_TYPES

    # No column of a portfolio is an instant, but tables beside it may have some.
    type_: sa.types.TypeEngine[Any] = getattr(sa, {"timestamp[us]": "DateTime", **SQL_TYPES}[str(kind)])()
    return type_


# Values that are taken out of a table nobody has described, as Python's.
_LOOKED_AT = 5_000_000


def some_rows(session: Session, table: str, rows: int) -> pa.Table | None:
    """Rows of a table, as many as asked or as fit, with all its columns as their types; None where there is none."""
    import pyarrow as pa
    import sqlalchemy as sa

    stored = session.stored_as(table)
    if stored is None:
        return None
    names = tuple(stored)
    clause = table_clause(session, table, names)
    query = sa.select(*(clause.c[session.identifier(name)] for name in names)).select_from(clause)
    found = session.rows(query.limit(max(1, min(rows, _LOOKED_AT // max(1, len(names))))))
    columns = zip(*found, strict=True) if found else [()] * len(names)
    return pa.table({name: _as_array(values) for name, values in zip(names, columns, strict=True)})


def _as_array(values: Sequence[Any]) -> pa.Array:
    """Values of what type they have; what Arrow has no type for, as text."""
    import pyarrow as pa

    try:
        array = pa.array(values)
        if not isinstance(array, pa.ExtensionArray):  # A UUID.
            return array
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        pass
    return pa.array([None if value is None else str(value) for value in values], pa.string())
