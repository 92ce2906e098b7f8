"""A warehouse behind a SQLAlchemy URL: PostgreSQL first, SQLite and others by their dialects.

Belongs here: engines, streaming with server-side cursors, fast loading, and sorting the drivers' errors. Does not
belong here: reading PostgreSQL as Arrow (`postgres`). Tested with PostgreSQL and SQLite; reading needs no more than a
dialect, writing needs temporary tables and UPDATE ... FROM.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.databases import CONNECT_SECONDS, bound_connections
from credit_assets.failures import PermanentError, TransientError
from credit_assets.masking import PERCENT_FORM, Secrets, has_unclear_login
from credit_assets.warehouse.base import ANOTHER_ZONE, FILL, Warehouse
from credit_assets.warehouse.driver_internals import ErrorKind, is_of_sql_driver, sql_error_kind
from credit_assets.warehouse.queries import sql_type
from credit_assets.warehouse.session import Numbers, ResultStream, Session, Stored
from credit_assets.warehouse.source import SourceTable, split_name

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

_logger = logging.getLogger(__name__)
_QUOTED = re.compile(r"(?<=')[^']+(?=')")

# Rows held at a time as Python values, at most: about 50 MB of the packaged portfolio's table, and of any other.
BATCH_ROWS = 50_000
BATCH_VALUES = 1_250_000


class SqlWarehouse(Warehouse):
    """Any SQLAlchemy URL. A plain `postgresql://` means psycopg 3."""

    def _is_there(self) -> bool:
        file = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", self._url)
        return file is None or Path(file[1]).is_file()

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[Session]:
        import sqlalchemy as sa

        engine = self._engine(write=write)
        connected = False
        try:
            with engine.connect() as connection, ExitStack() as until:
                connected = True
                if engine.dialect.name == "postgresql":
                    # The date of an instant is that in the session's zone. For this transaction: a pooler in between
                    # would keep it for others.
                    zone = sa.func.set_config("TimeZone", self._timezone, True)
                    connection.execute(sa.select(zone))
                yield _SqlSession(connection, until, self._timezone)
                if not connection.closed:
                    connection.commit()
        except sa.exc.SQLAlchemyError as error:
            # Not chained: drivers quote the values that they refuse.
            raise self._explained(error, connected) from None
        except Exception as error:
            # Streaming and COPY reach the driver past SQLAlchemy's wrapping.
            if not is_of_sql_driver(error):
                raise
            raise self._driver_failed(error, connected) from None
        finally:
            engine.dispose()

    def _engine(self, *, write: bool) -> sa.Engine:
        import sqlalchemy as sa
        from sqlalchemy.pool import NullPool

        bound_connections()
        if has_unclear_login(self._url):
            raise PermanentError(f"{self.describe()}: the URL has more than one @; {PERCENT_FORM}")
        try:
            url = sa.make_url(self._url)
            # No pool: a connection lives as long as one call, so processes and forks never share one.
            engine = sa.create_engine(url, poolclass=NullPool, hide_parameters=True)
        except sa.exc.NoSuchModuleError:
            raise PermanentError(
                f"{self.describe()}: SQLAlchemy knows no such dialect; correct CREDIT_WAREHOUSE_URL, or install the "
                "package that brings the dialect"
            ) from None
        except ModuleNotFoundError as error:
            raise PermanentError(
                f"{self.describe()}: the driver {error.name} is not installed; install it, or name another driver in "
                "CREDIT_WAREHOUSE_URL"
            ) from None
        except (sa.exc.ArgumentError, ValueError, TypeError):
            raise PermanentError(
                f"{self.describe()}: not a SQLAlchemy URL; correct CREDIT_WAREHOUSE_URL (write :, / and @ of the "
                "password in percent form)"
            ) from None
        if engine.dialect.name == "sqlite":
            self._check_file(url.database, write=write)
        return engine

    def _check_file(self, database: str | None, *, write: bool) -> None:
        if not database or database == ":memory:":
            raise PermanentError(f"{self.describe()}: name a file; a database in memory is gone when the call ends")
        path = Path(database)
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            # SQLite would make an empty file and report a missing table.
            raise PermanentError(f"{self.describe()}: no such file; {FILL}, or set CREDIT_WAREHOUSE_URL")

    def _explained(self, error: sa.exc.SQLAlchemyError, connected: bool) -> Exception:
        import sqlalchemy as sa

        if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
            if error.connection_invalidated:
                return TransientError(
                    f"{self.describe()}: the connection was lost ({type(error.orig).__name__}); is the server of "
                    "CREDIT_WAREHOUSE_URL running?"
                )
            return self._driver_failed(error.orig, connected)
        return PermanentError(f"{self.describe()}: {type(error).__name__}: {self._shown(error)}")

    def _driver_failed(self, error: BaseException, connected: bool) -> Exception:
        text = f"{self.describe()}: {self._shown(error)}"
        # Of what is none of the kinds below, the words may quote what a row has.
        unquoted = f"{self.describe()}: {_QUOTED.sub('...', self._shown(error))}"
        match sql_error_kind(error, connected=connected):
            case ErrorKind.REFUSED:
                return PermanentError(
                    f"{self.describe()} refused the connection: {self._shown(error)}; correct CREDIT_WAREHOUSE_URL"
                )
            case ErrorKind.UNREACHABLE:
                return TransientError(
                    f"{self.describe()} is unreachable: {self._shown(error)}; is the server of CREDIT_WAREHOUSE_URL "
                    "running?"
                )
            case ErrorKind.VALUE:
                return PermanentError(
                    f"{self.describe()} refused a value ({type(error).__name__}): compare its columns and constraints "
                    "with the portfolio; nothing was written"
                )
            case ErrorKind.MISSING:
                return PermanentError(f"{text}; correct the portfolio, or run `credit-assets load`")
            case ErrorKind.ZONE:
                return PermanentError(f"{text}; {ANOTHER_ZONE}")
            case ErrorKind.TOO_LARGE:
                return PermanentError(
                    f"{text}: more columns than this database takes in one table; leave columns out of the portfolio, "
                    "or keep them in several tables and let a view join them"
                )
            case ErrorKind.PASSING:
                return TransientError(unquoted)
        return PermanentError(unquoted)

    def _shown(self, error: BaseException) -> str:
        """First line of the driver's message, without the secrets of the URL should the driver repeat them."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Secrets([self._url]).hide(lines[0])


class _SqlSession(Session):
    def __init__(self, connection: sa.Connection, until: ExitStack, timezone: str) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._until = until
        self._timezone = timezone
        self.knows_zones = self._dialect.name == "postgresql"
        self._types: dict[str, dict[str, Any]] = {}

    def identifier(self, name: str) -> str:
        from sqlalchemy.sql import quoted_name

        # Dialects that fold plain names to upper case (Oracle, Snowflake) quote only what needs it.
        return quoted_name(name, quote=None if self._dialect.requires_name_normalize else True)

    def stored_as(self, table: str) -> Mapping[str, Stored] | None:
        import sqlalchemy as sa

        schema, name = split_name(table)
        try:
            columns = sa.inspect(self._connection).get_columns(self.identifier(name), schema=schema)
        except sa.exc.NoSuchTableError:
            return None
        self._types[table] = {column["name"]: column["type"] for column in columns}
        return {name: self._stored(kind) for name, kind in self._types[table].items()}

    def _stored(self, kind: Any) -> Stored:
        import sqlalchemy as sa

        if isinstance(kind, sa.DateTime | sa.Date):
            # SQLite has no such types: it holds ISO text.
            if self._dialect.name == "sqlite":
                return "text"
            if isinstance(kind, sa.DateTime):
                return "instant" if kind.timezone else "timestamp"
            return "date"
        return "text" if isinstance(kind, sa.String) else "other"

    def sorted_text(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        import sqlalchemy as sa

        return sa.collate(column, "C") if self._dialect.name == "postgresql" else column

    def rows(self, query: sa.Executable) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._connection.execute(query)]

    def stream(self, query: sa.Select[Any], order: Sequence[Any], source: SourceTable) -> ResultStream:
        copied = self._copied(query, source) if self._dialect.driver == "psycopg" else None
        if copied is not None:
            return ResultStream(copied, ordered=False)
        return ResultStream(self.computed(query, order, source.schema.types))

    def computed(
        self, query: sa.Select[Any], order: Sequence[Any], types: Sequence[pa.DataType]
    ) -> Iterator[Sequence[Any]]:
        most = _batch_rows(types)
        options = {"stream_results": True, "max_row_buffer": most}
        result = self._connection.execution_options(**options).execute(query.order_by(*order))
        return (tuple(zip(*rows, strict=True)) for rows in result.partitions(most))

    def numbers_in(self, table: str, name: str) -> Numbers | None:
        import sqlalchemy as sa

        kind = self._types[table][name]
        if self._dialect.name == "sqlite":
            # Whatever a column is declared as, each value has a type of its own.
            return "each by itself"
        if isinstance(kind, sa.Boolean):
            return "boolean"
        if isinstance(kind, sa.Integer):
            return "whole"
        if isinstance(kind, sa.REAL):
            return "single"
        return "number" if isinstance(kind, sa.Numeric | sa.Float) else None

    def day_of_text(self, column: sa.ColumnElement[Any], zone: str, naive: str | None) -> sa.ColumnElement[Any] | None:
        import sqlalchemy as sa

        if self._dialect.name != "sqlite":
            return None
        text = sa.func.trim(column)
        sign, length = sa.func.substr(text, -6, 1), sa.func.length(text)
        aware = sa.and_(length > 16, sa.or_(sign.in_(["+", "-"]), sa.func.upper(sa.func.substr(text, -1, 1)) == "Z"))
        # SQLite takes a number for a day since noon of 24 November 4714 BC, and knows no zone but UTC.
        cases = [(text.not_like("____-__-__%"), None), (length <= 10, sa.func.date(text))]
        if zone == "UTC":
            cases.append((aware, sa.func.date(text)))
        if naive is None:
            cases.append((sa.not_(aware), sa.func.date(sa.func.substr(text, 1, 10))))
        return sa.case(*cases, else_=None)

    def floor(self, number: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        import sqlalchemy as sa

        if self._dialect.name != "sqlite":
            return super().floor(number)
        # Its own is one of Python, which fails of nulls and of numbers beyond 64 bits. Large floats are whole.
        cut = sa.cast(number, sa.Integer)
        down = sa.case((cut > number, cut - 1), else_=cut)
        return sa.cast(sa.case((sa.func.abs(number) >= 2.0**52, number), else_=down), sa.Double)

    def days_between(self, later: sa.ColumnElement[Any], earlier: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        import sqlalchemy as sa

        if self._dialect.name != "sqlite":
            return super().days_between(later, earlier)
        return sa.cast(sa.func.julianday(later) - sa.func.julianday(earlier), sa.Integer)

    def _copied(self, query: sa.Select[Any], source: SourceTable) -> Iterator[Sequence[Any]] | None:
        """The rows by way of a connection that reads Arrow, in no order; None where it cannot."""
        import adbc_driver_manager

        from credit_assets.warehouse.postgres import columns_to_cast, open_stream

        as_text = columns_to_cast(self._types[source.table], source.schema, source.moments)
        if as_text is None:
            return None
        url = self._connection.engine.url
        arguments = {"connect_timeout": CONNECT_SECONDS, **self._dialect.create_connect_args(url)[1]}
        try:
            rows = open_stream(arguments, query, as_text, self._timezone, self._until)
        except adbc_driver_manager.Error as error:
            # The server may have no second connection to give, and the driver lacks some ways to log in (Kerberos).
            _logger.warning(
                "reading %s row by row, which is slow: the Arrow driver could not connect (%s)",
                source.table,
                type(error).__name__,
            )
            return None
        # Not needed any more; left in its transaction, a server may take it for abandoned.
        self._connection.close()
        return rows

    def change(self, statement: sa.Executable) -> int:
        # Without the option an INSERT ... SELECT reports -1.
        return int(self._connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount)

    def create(self, table: sa.Table) -> None:
        from sqlalchemy.schema import CreateIndex, CreateTable

        existed = self.stored_as(table.name if table.schema is None else f"{table.schema}.{table.name}") is not None
        self._connection.execute(CreateTable(table, if_not_exists=True))
        if not existed:
            for index in table.indexes:
                self._connection.execute(CreateIndex(index, if_not_exists=True))

    def lock(self, table: str) -> None:
        if self._dialect.name == "postgresql":
            preparer = self._dialect.identifier_preparer
            quoted = ".".join(preparer.quote_identifier(part) for part in split_name(table) if part)
            self._connection.exec_driver_sql(f"LOCK TABLE {quoted} IN SHARE ROW EXCLUSIVE MODE")

    def stage(self, name: str, rows: pa.Table) -> None:
        import sqlalchemy as sa

        columns = [sa.Column(self.identifier(field.name), sql_type(field.type)) for field in rows.schema]
        table = sa.Table(
            self.identifier(name), sa.MetaData(), *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DROP"
        )
        self._connection.execute(sa.schema.CreateTable(table))
        if self._dialect.driver == "psycopg":
            self._copy(table, rows)
        else:
            for batch in rows.to_batches(_batch_rows(rows.schema)):
                self._connection.execute(sa.insert(table), batch.to_pylist())

    def _copy(self, table: sa.Table, rows: pa.Table) -> None:
        """Arrow to CSV to COPY: text quoted, nulls bare, which is how PostgreSQL's CSV tells '' from NULL."""
        import pyarrow as pa
        import pyarrow.csv

        quoted = self._dialect.identifier_preparer.format_table(table)
        driver = self._connection.connection.driver_connection
        assert driver is not None
        with driver.cursor() as cursor, cursor.copy(f"COPY {quoted} FROM STDIN (FORMAT csv)") as copy:
            for batch in rows.to_batches(_batch_rows(rows.schema)):
                buffer = pa.BufferOutputStream()
                pyarrow.csv.write_csv(batch, buffer, pyarrow.csv.WriteOptions(include_header=False))
                copy.write(buffer.getvalue().to_pybytes())
        # Without statistics the joins that follow are planned for a handful of rows.
        self._connection.exec_driver_sql(f"ANALYZE {quoted}")


def _batch_rows(columns: Sized) -> int:
    return max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, len(columns))))
