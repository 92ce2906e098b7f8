"""Reading from PostgreSQL as Arrow: COPY in its binary form, by the ADBC driver.

Belongs here: a connection of the ADBC driver that reads one query, which columns it can give, and its errors. Does not
belong here: building queries (`queries`), and all else that PostgreSQL does, writing included (`sql`).

The driver binds parameters only without COPY, and then holds the whole result; so the values of a query, days, are
written into it by SQLAlchemy's own literals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from credit_assets.warehouse.driver_internals import adbc_batches, postgresql_dialect

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

# Bytes of a batch as the server sends them: about 170,000 rows of the packaged portfolio's table.
BATCH_BYTES = 32 * 2**20
# Arguments of psycopg.connect that libpq does not know.
_NOT_LIBPQ = {"autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"}


def columns_to_cast(stored: Mapping[str, Any], schema: pa.Schema, moments: Mapping[str, str]) -> set[str] | None:
    """Columns that the server has to give as text; None where the driver cannot give all of `schema` truly.

    `stored`: SQLAlchemy types by column; `moments`: fields that are the moment of a column, which they name. What is
    not known to come through (JSON, arrays, bytes, money, days and numbers that are to be text) is left to psycopg,
    which gives Python values.
    """
    import pyarrow as pa

    ways = {
        field.name: _way(stored[moments[field.name]], pa.date32())
        if field.name in moments
        else _way(stored[field.name], field.type)
        for field in schema
    }
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
    arguments: Mapping[str, Any],
    query: sa.Select[Any],
    as_text: set[str],
    timezone: str,
    until: ExitStack,
) -> Iterator[Sequence[pa.Array]]:
    """Batches of the query's rows, one Arrow array a column, in no order.

    `arguments`: those for psycopg.connect. `as_text`: what `columns_to_cast` gave. `timezone`: in which instants have
    their days. `until`: closes the connection.
    Raises the errors of `adbc_driver_manager`, whose messages may quote values, at once for a connection refused.
    """
    from adbc_driver_postgresql import StatementOptions, dbapi

    connection = until.enter_context(closing(dbapi.connect(conninfo(arguments))))
    size = {StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH_BYTES)}
    cursor = until.enter_context(closing(connection.cursor(adbc_stmt_kwargs=size)))
    text = _text(query, as_text)

    def arrays() -> Iterator[Sequence[pa.Array]]:
        # For this transaction: a pooler in between would keep it for others.
        cursor.execute("SELECT set_config('TimeZone', $1, true)", (timezone,))
        cursor.fetchall()
        with closing(adbc_batches(cursor, text)) as batches:
            for batch in batches:
                yield [_usual(array) for array in batch.columns]

    return arrays()


def conninfo(arguments: Mapping[str, Any]) -> str:
    """What libpq needs to connect as psycopg.connect(**arguments) does."""
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**{name: value for name, value in arguments.items() if name not in _NOT_LIBPQ})


def _text(query: sa.Select[Any], as_text: set[str]) -> str:
    import sqlalchemy as sa

    if as_text:
        inner = query.subquery()
        query = sa.select(*(sa.cast(c, sa.Text) if c.name in as_text else c for c in inner.c))
    return query.compile(dialect=postgresql_dialect(), compile_kwargs={"literal_binds": True}).string


def _usual(array: pa.Array) -> pa.Array:
    """The array as values are read, where the driver gives PostgreSQL's type in a form of its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ExtensionArray):  # NUMERIC, as text
        array = array.storage
        return pc.if_else(pc.equal(array, "nan"), pa.scalar(None, array.type), array)
    if pa.types.is_float32(array.type):
        # By way of its text, as PostgreSQL shows it and psycopg reads it: 1.1, not 1.10000002384186.
        return pc.cast(pc.cast(array, pa.string()), pa.float64())
    return array
