"""The one door to what duckdb, ADBC, psycopg and SQLAlchemy do not document.

Belongs here: their private and undocumented names, and the English of their messages, read into kinds of error.
Does not belong here: what is done about an error and how it is put into words (`duckdb_file`, `sql`).

Each says what the public interface lacks; last weighed with duckdb 2.0, ADBC 1.13, psycopg 3.3 and SQLAlchemy 2.1.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

# Refusals of a connection that no retry mends. Drivers give them no class or code of their own.
_REFUSED = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "access denied",
    "does not exist",
    "unknown database",
    "unable to open database file",
    "file is not a database",
    "certificate",
    "invalid connection option",
    "invalid port",
)
_TOO_LARGE = ("too many columns", "too many sql variables", "maximum depth", "row is too big")
_MISSING = ("no such table", "no such column", "undefinedtable", "undefinedcolumn")


class ErrorKind(Enum):
    """What an error of a driver is about."""

    REFUSED = auto()
    """The server does not want this connection, and will not want the next."""
    UNREACHABLE = auto()
    HELD = auto()
    """Another process or connection has the file."""
    VALUE = auto()
    """A value does not fit; the message may quote it."""
    CONSTRAINT = auto()
    MISSING = auto()
    """A table or column is not there."""
    ZONE = auto()
    """The warehouse does not know a time zone."""
    TOO_LARGE = auto()
    """More than the database can do: of columns, of a row's bytes, of parameters."""
    PASSING = auto()
    """Of the operation and not of the statement: it may go well the next time."""
    OTHER = auto()


def is_of_sql_driver(error: BaseException) -> bool:
    """Whether an error comes from psycopg or ADBC past SQLAlchemy, which wraps what it calls itself only."""
    return any(base.__module__.startswith(("psycopg", "adbc_")) for base in type(error).__mro__)


def sql_error_kind(error: BaseException, *, connected: bool) -> ErrorKind:
    """What an error of a DB-API driver is about; by its class, its SQLSTATE and, where these do not tell, its text."""
    classes = {base.__name__ for base in type(error).__mro__}
    text = next(iter(str(error).strip().splitlines()), "").lower()
    if not connected:
        refused = "database is locked" not in text and any(part in text for part in _REFUSED)
        return ErrorKind.REFUSED if refused else ErrorKind.UNREACHABLE
    state = getattr(error, "sqlstate", None) or ""
    if state == "22023" and ("time zone" in text or "timezone" in text):
        return ErrorKind.ZONE
    # P0 is what a function or trigger of the lender's raises, with words of its own.
    if {"DataError", "IntegrityError"} & classes or state.startswith(("22", "23", "P0")):
        return ErrorKind.VALUE
    named = type(error).__name__.lower()
    if state in ("42P01", "42703") or any(part in named or part in text for part in _MISSING):
        return ErrorKind.MISSING
    # Class 54 of SQLSTATE: a limit of the program. SQLite has no code for it.
    if state.startswith("54") or any(part in text for part in _TOO_LARGE):
        return ErrorKind.TOO_LARGE
    return ErrorKind.PASSING if {"OperationalError", "InterfaceError"} & classes else ErrorKind.OTHER


def duckdb_error_kind(error: duckdb.Error) -> ErrorKind:
    """What an error of DuckDB is about: a file that is held is an IOException as any other, but for its text."""
    import duckdb

    text = str(error).lower()
    held = "could not set lock" in text or "different configuration" in text
    if held or isinstance(error, duckdb.TransactionException):
        return ErrorKind.HELD
    if "unknown timezone" in text:
        return ErrorKind.ZONE
    if isinstance(error, duckdb.ConversionException | duckdb.InvalidInputException | duckdb.OutOfRangeException):
        return ErrorKind.VALUE
    return ErrorKind.CONSTRAINT if isinstance(error, duckdb.ConstraintException) else ErrorKind.OTHER


@cache
def postgresql_dialect() -> Any:
    """PostgreSQL's SQL, which DuckDB speaks too: parameters are question marks, and percent signs stay single.

    The class that all PostgreSQL dialects of SQLAlchemy have in common. The documented ones are each of a driver, whose
    placeholders they write, and for which they double percent signs.
    """
    from sqlalchemy.dialects.postgresql.base import PGDialect

    return PGDialect(paramstyle="qmark")  # type: ignore[no-untyped-call]


def adbc_batches(cursor: Any, query: str) -> Generator[pa.RecordBatch]:
    """The rows of a query without parameters, as an ADBC cursor streams them; errors are those of ADBC.

    The readers that the cursor hands out are pyarrow's (apache/arrow-adbc issue 1523), which know the text of an error
    that ends a stream, and neither its class nor its SQLSTATE: a value refused and a lost connection look alike.
    """
    from adbc_driver_manager._reader import AdbcRecordBatchReader

    cursor.adbc_statement.set_sql_query(query)
    stream, _ = cursor.adbc_statement.execute_query()
    with closing(AdbcRecordBatchReader._import_from_c(stream.address)) as reader:
        yield from reader
