"""Reading from PostgreSQL as Arrow: COPY in its binary form, by the ADBC driver.

Belongs here: a connection of the ADBC driver that reads one query, which columns it can give, and its errors. Does not
belong here: building queries (`base`), and all else that is asked of PostgreSQL, writing included (`sql`).

The driver binds parameters only without COPY, and then holds the whole result; so the values of a query, days, are
written into it by SQLAlchemy's own literals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

# Bytes of a batch as the server sends them: about 170,000 rows of the packaged portfolio's table.
BATCH_BYTES = 32 * 2**20
# Arguments of psycopg.connect that libpq does not know.
_NOT_LIBPQ = {"autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"}


def columns_to_cast(stored: Mapping[str, Any], schema: pa.Schema) -> set[str] | None:
    """Columns that the server has to give as text; None where the driver cannot give all of `schema` truly.

    `stored`: SQLAlchemy types by column. What is not known to come through (JSON, arrays, bytes, money, days and
    numbers that are to be text) is left to psycopg, which gives Python values.
    """
    ways = {field.name: _way(stored[field.name], field.type) for field in schema}
    if None in ways.values():
        return None
    return {name for name, way in ways.items() if way == "text"}


def _way(stored: Any, wanted: pa.DataType) -> str | None:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy.dialects.postgresql import CITEXT, DOMAIN

    while isinstance(stored, DOMAIN):
        stored = stored.data_type
    text = isinstance(stored, sa.String | sa.Uuid)
    if text and isinstance(stored, CITEXT | sa.Uuid):
        return "text"
    if pa.types.is_string(wanted):
        return "as it is" if text or isinstance(stored, sa.Integer) else None
    if pa.types.is_date32(wanted):
        return "as it is" if text or isinstance(stored, sa.Date | sa.DateTime) else None
    return "as it is" if text or isinstance(stored, sa.Boolean | sa.Integer | sa.Numeric | sa.Float) else None


def open_stream(
    arguments: Mapping[str, Any], query: sa.Select[Any], schema: pa.Schema, as_text: set[str], closing_later: ExitStack
) -> Iterator[Sequence[pa.Array]]:
    """Batches of the query's rows, one Arrow array a column of `schema`, in no order.

    `arguments`: what SQLAlchemy gives psycopg to connect. The connection is closed with `closing_later`. Raises the
    errors of `adbc_driver_manager`, whose messages may quote values; PermanentError for a day outside the calendar.
    """
    from adbc_driver_manager import StatementOptions as _  # noqa: F401
    from adbc_driver_postgresql import StatementOptions, dbapi
    from psycopg.conninfo import make_conninfo

    known = {name: value for name, value in arguments.items() if name not in _NOT_LIBPQ}
    with ExitStack() as opened:
        connection = opened.enter_context(closing(dbapi.connect(make_conninfo(**known))))
        size = {StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH_BYTES)}
        cursor = opened.enter_context(closing(connection.cursor(adbc_stmt_kwargs=size)))
        # Days of timestamps with a time zone are days in UTC, wherever this runs. LOCAL: a pooler between would keep
        # it for others.
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")
        cursor.execute(_text(query, as_text))
        kept = opened.pop_all()
    closing_later.enter_context(kept)
    return _arrays(cursor, schema)
