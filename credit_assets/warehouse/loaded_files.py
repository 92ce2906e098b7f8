"""The record of the files that were loaded into a book, in a table beside the book's own.

Belongs here: where the records stand, and their reading and writing within a transaction of the rows that they are of.
Does not belong here: what a record says and how two are compared (`credit_assets.loans.scales`).

They stand in the warehouse and not in the store or the home: whoever loads from another machine shares the warehouse,
and nothing else. The table is written in the transaction that writes the rows, under its lock: of two loads at once,
the second finds that the first was there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from credit_assets.failures import PermanentError, TransientError
from credit_assets.loans.loaded_file import Load, LoadedFile
from credit_assets.ml.data.documents import json_of
from credit_assets.warehouse.queries import table_clause
from credit_assets.warehouse.session import Session
from credit_assets.warehouse.source import SourceTable, split_name

if TYPE_CHECKING:
    import sqlalchemy as sa

    from credit_assets.ml.data.portfolio import Portfolio

_COLUMNS = ("portfolio", "digest", "loaded_at", "record")
# PostgreSQL cuts names off here, and would not find the table again.
_LONGEST_NAME = 63
_ENDING = "_files"


def table_of(portfolio: Portfolio) -> str:
    """The name of the records' table, in the schema of the applications."""
    schema, name = split_name(portfolio.applications_table)
    name = name[: _LONGEST_NAME - len(_ENDING)] + _ENDING
    return name if schema is None else f"{schema}.{name}"


def holds_rows(session: Session, source: SourceTable) -> bool:
    """Whether there is a table with a row in it."""
    import sqlalchemy as sa

    if session.stored_as(source.table) is None:
        return False
    table = table_clause(session, source.table, (source.id,))
    return bool(session.rows(sa.select(sa.literal(1)).select_from(table).limit(1)))


def read_files(session: Session, portfolio: Portfolio) -> list[LoadedFile]:
    """The records of a portfolio, oldest first; none where there is no table yet."""
    import sqlalchemy as sa

    name = table_of(portfolio)
    if session.stored_as(name) is None:
        return []
    table = table_clause(session, name, _COLUMNS)
    columns = {column: table.c[session.identifier(column)] for column in _COLUMNS}
    query = (
        sa.select(columns["record"])
        .where(columns["portfolio"] == portfolio.name)
        .order_by(columns["loaded_at"], columns["digest"])
    )
    return [_record(name, text) for (text,) in session.rows(query)]


def _record(table: str, text: str) -> LoadedFile:
    try:
        return LoadedFile.from_record(json_of(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise PermanentError(
            f"table {table} holds a record of a loaded file that is none: restore it from a backup, or delete its row "
            "and load that file again"
        ) from error


def write_file(session: Session, portfolio: Portfolio, load: Load | None) -> None:
    """Add the record of a load, or replace that of the same file; rows that come from no file have none.

    Raises TransientError where there are other records than those that the file was compared with.
    """
    import sqlalchemy as sa

    if load is None:
        return
    file = load.file
    name = table_of(portfolio)
    session.create(_new_table(session, name))
    session.lock(name)
    if read_files(session, portfolio) != list(load.compared_with):
        raise TransientError(
            f"another file was loaded into {portfolio.applications_table} meanwhile: nothing was written; load "
            "again, so that this file is compared with that one too"
        )
    table = table_clause(session, name, _COLUMNS)
    values = {
        "portfolio": portfolio.name,
        "digest": file.digest,
        "loaded_at": file.loaded_at,
        "record": json.dumps(file.to_record(), sort_keys=True),
    }
    same = [table.c[session.identifier(key)] == values[key] for key in ("portfolio", "digest")]
    session.change(sa.delete(table).where(*same))
    session.change(sa.insert(table).values({table.c[session.identifier(key)]: value for key, value in values.items()}))


def _new_table(session: Session, name: str) -> sa.Table:
    import sqlalchemy as sa

    schema, short = split_name(name)
    return sa.Table(
        session.identifier(short),
        sa.MetaData(),
        sa.Column(session.identifier("portfolio"), sa.String(63), primary_key=True),
        sa.Column(session.identifier("digest"), sa.String(64), primary_key=True),
        sa.Column(session.identifier("loaded_at"), sa.String(40), nullable=False),
        sa.Column(session.identifier("record"), sa.Text, nullable=False),
        schema=None if schema is None else session.identifier(schema),
    )
