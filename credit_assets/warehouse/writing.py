"""Rows into a warehouse's table: new ids inserted, changed ones updated, equal ones left; or all rows of a key anew.

Belongs here: the checks before anything is written, and the statements that write. Does not belong here: reading
(`base`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from credit_assets.failures import PermanentError
from credit_assets.loans.copies import copy_numbers
from credit_assets.warehouse.queries import OpenTable, sql_type, table_clause
from credit_assets.warehouse.session import Session
from credit_assets.warehouse.source import SourceTable, split_name

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

_AT_ONCE = 100


@dataclass(frozen=True)
class TableCounts:
    """Rows of one write. `moved`: of the updated ones those that were there on another day."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0


@dataclass(frozen=True)
class WriteReport:
    applications: TableCounts
    outcomes: TableCounts

    def to_record(self) -> dict[str, int]:
        """Flat counts: `applications_inserted`, ..., `outcomes_unchanged`."""
        return {f"{table}_{key}": count for table, row in asdict(self).items() for key, count in row.items()}


def checked(source: SourceTable, rows: pa.Table) -> pa.Table:
    """The rows with exactly the columns and types of the source."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.data.values import read

    missing = [name for name in source.schema.names if name not in rows.column_names]
    if missing:
        raise PermanentError(
            f"the rows for table {source.table} lack {', '.join(missing)}, which portfolio {source.portfolio} "
            "names: load them from a file that has them, or use a portfolio without them"
        )
    timed = {name for name in source.schema.names if source.is_moment(name) and pa.types.is_timestamp(rows[name].type)}
    readings = {field.name: read(rows[field.name], field.type) for field in source.schema if field.name not in timed}
    source.refuse_misfits({name: reading.misfit_count for name, reading in readings.items()}, "to be written")
    table = pa.table(
        {name: _moments(rows[name]) if name in timed else readings[name].values for name in source.schema.names}
    )
    for name in source.required:
        if table[name].null_count:
            raise PermanentError(
                f"{table[name].null_count:,} rows for table {source.table} have no {name}: nothing was written"
            )
    if source.copies:
        return table
    if source.repeats:
        return table.group_by(table.column_names, use_threads=False).aggregate([])
    twice = table.num_rows - pc.count_distinct(table[source.id]).as_py()
    if twice:
        raise PermanentError(
            f"{twice:,} rows for table {source.table} repeat an {source.id}: nothing was written; keep one row an id"
        )
    return table


def _moments(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Timestamps as the clock shows them in their own zone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = values.cast(pa.timestamp("us", values.type.tz), safe=False)
    return values if values.type.tz is None else pc.local_timestamp(values)


def upsert(
    session: Session, source: SourceTable, table: OpenTable, rows: pa.Table, *, max_moved: float = 1.0
) -> TableCounts:
    """Insert and update. Raises PermanentError where the ids of more than a share `max_moved` of the rows are there on
    another day: they are ids of other rows, which would be overwritten.
    """
    import pyarrow as pa
    import sqlalchemy as sa

    if rows.num_rows == 0:
        return TableCounts()
    if source.repeats:
        # Of an application with several rows none takes the place of another.
        return append(session, source, table, rows)
    name = "incoming_" + split_name(source.table)[1]
    session.stage(name, rows)
    incoming = table_clause(session, name, rows.column_names)
    target = table_clause(session, source.table, rows.column_names)
    names = [session.identifier(n) for n in rows.column_names]
    key = session.identifier(source.id)
    rest = [n for n in names if n != key]
    same = target.c[key] == incoming.c[key]
    given = {
        n: table.written(field.name, incoming.c[n]) if pa.types.is_date32(field.type) else incoming.c[n]
        for n, field in zip(names, rows.schema, strict=True)
    }
    day = session.identifier(source.day)
    on_another_day = sa.select(sa.func.count()).select_from(target.join(incoming, same))
    moved = int(session.rows(on_another_day.where(target.c[day].is_distinct_from(given[day])))[0][0])
    if moved > max_moved * rows.num_rows:
        raise PermanentError(
            f"{moved:,} of {rows.num_rows:,} rows for table {source.table} have an {source.id} that is there with "
            f"another {source.day}: ids of other rows, which would be overwritten; nothing was written. Make the ids "
            f"of the two files differ, or give --accept-scale {source.day} where the days are corrections"
        )
    updated = session.change(
        sa.update(target)
        .values({target.c[n]: given[n] for n in rest})
        .where(same, _any([target.c[n].is_distinct_from(given[n]) for n in rest]))
    )
    inserted = session.change(
        sa.insert(target).from_select(
            names, sa.select(*given.values()).where(~sa.exists().where(same).correlate(incoming))
        )
    )
    _account_for(session, source, target, (rows.num_rows, sa.exists().where(same)))
    return TableCounts(inserted, updated, rows.num_rows - inserted - updated, moved)


def _account_for(
    session: Session, source: SourceTable, target: sa.TableClause, given: tuple[int, sa.ColumnElement[bool]]
) -> None:
    """Raise PermanentError unless each row given, of an id each, is one row of the table."""
    import sqlalchemy as sa

    rows, met = given
    there = int(session.rows(sa.select(sa.func.count()).select_from(target).where(met))[0][0])
    if there > rows:
        raise PermanentError(
            f"table {source.table} has {there:,} rows of the {rows:,} {source.id} given: one stands there more than "
            "once, perhaps on several days, and which row is meant is not known; nothing was written. Leave one row an "
            "id in the table"
        )
    if there < rows:
        raise PermanentError(
            f"table {source.table} holds {there:,} of {rows:,} rows given: it takes some {source.id} for equal that "
            "are not (small and capital letters, blanks), or a rule of its own drops rows; nothing was written. Give "
            "the column another collation, or make the ids differ otherwise"
        )


def append(session: Session, source: SourceTable, table: OpenTable, rows: pa.Table) -> TableCounts:
    """Insert the rows that are not there: of rows equal in all columns so many that there are as many as given.

    Raises PermanentError where the table does not keep a row as it is given: it would be there twice the next time.
    """
    import numpy as np
    import pyarrow as pa
    import sqlalchemy as sa

    if rows.num_rows == 0:
        return TableCounts()
    numbered = "copy"
    while numbered in rows.column_names:
        numbered += "_"
    numbers = copy_numbers(rows) if source.copies else np.zeros(rows.num_rows, dtype=np.int64)
    name = "incoming_" + split_name(source.table)[1]
    session.stage(name, rows.append_column(numbered, pa.array(numbers)))
    incoming = table_clause(session, name, [*rows.column_names, numbered])
    target = table_clause(session, source.table, rows.column_names)
    names = [session.identifier(n) for n in rows.column_names]
    given = {
        n: table.written(field.name, incoming.c[n]) if pa.types.is_date32(field.type) else incoming.c[n]
        for n, field in zip(names, rows.schema, strict=True)
    }
    key = session.identifier(source.id)
    there = (
        sa.select(*(target.c[n] for n in names), sa.func.count().label("rows_there"))
        .where(target.c[key].in_(sa.select(incoming.c[key])))
        .group_by(*(target.c[n] for n in names))
        .subquery("there")
    )
    # Equal keys, which are never null, let databases join by hashes.
    equal = [there.c[n] == given[n] if n == key else ~there.c[n].is_distinct_from(given[n]) for n in names]
    joined = incoming.outerjoin(there, sa.and_(*equal))
    lacking = incoming.c[session.identifier(numbered)] >= sa.func.coalesce(there.c.rows_there, 0)
    inserted = session.change(
        sa.insert(target).from_select(names, sa.select(*given.values()).select_from(joined).where(lacking))
    )
    if left := session.rows(sa.select(sa.func.count()).select_from(joined).where(lacking))[0][0]:
        raise PermanentError(
            f"table {source.table} does not keep {left:,} of {rows.num_rows:,} rows as they are given, and would have "
            "them twice after a second load: nothing was written. Its columns hold less than the file says: days "
            "without times, or rounded numbers; make them wider (TIMESTAMP, DOUBLE), or let the file be made again"
        )
    return TableCounts(inserted, 0, rows.num_rows - inserted)


def replace_rows(session: Session, name: str, key: str, rows: pa.Table) -> int:
    """Write the rows in place of those that have the same keys; how many there are. The table is made where it is not
    there, without a key: several rows may have the same. Raises PermanentError where it lacks a column.
    """
    import sqlalchemy as sa

    schema, short = split_name(name)
    columns = [sa.Column(session.identifier(field.name), sql_type(field.type)) for field in rows.schema]
    made_in = None if schema is None else session.identifier(schema)
    # First of all: of a table that is not there, DuckDB's answer ends the transaction.
    session.create(sa.Table(session.identifier(short), sa.MetaData(), *columns, schema=made_in))
    stored = session.stored_as(name) or {}
    if missing := [column for column in rows.column_names if column not in stored]:
        raise PermanentError(
            f"table {name} is there without column {', '.join(missing)}: nothing was written; it is another book's, so "
            "give this one a warehouse of its own (CREDIT_WAREHOUSE_URL, or another CREDIT_HOME)"
        )
    session.lock(name)
    session.stage("incoming_" + short, rows)
    incoming = table_clause(session, "incoming_" + short, rows.column_names)
    target = table_clause(session, name, rows.column_names)
    names = [session.identifier(column) for column in rows.column_names]
    session.change(sa.delete(target).where(target.c[session.identifier(key)].in_(sa.select(incoming.c[key]))))
    session.change(sa.insert(target).from_select(names, sa.select(*(incoming.c[column] for column in names))))
    return int(rows.num_rows)


def _any(conditions: Sequence[sa.ColumnElement[bool]]) -> sa.ColumnElement[bool]:
    """Whether one of the conditions holds. In groups: a chain of one for each of a thousand columns is deeper than
    databases allow an expression to be.
    """
    import sqlalchemy as sa

    groups = [sa.or_(*conditions[n : n + _AT_ONCE]) for n in range(0, len(conditions), _AT_ONCE)]
    # SQLAlchemy would make one chain of them.
    return groups[0] if len(groups) == 1 else sa.or_(*(sa.case((group, 1), else_=0) == 1 for group in groups))
