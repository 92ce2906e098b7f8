"""What drivers' errors are about, by class, code and text; the rest is tried on real servers and files."""

from __future__ import annotations

import sqlite3

import duckdb
import psycopg
import pytest

from credit_assets.warehouse.driver_internals import ErrorKind, duckdb_error_kind, is_of_sql_driver, sql_error_kind


@pytest.mark.parametrize(
    ("error", "connected", "kind"),
    [
        (psycopg.OperationalError('FATAL: password authentication failed for user "x"'), False, ErrorKind.REFUSED),
        (psycopg.OperationalError("connection failed: Connection refused"), False, ErrorKind.UNREACHABLE),
        # The second line is of another host.
        (psycopg.OperationalError("Connection refused\n- host b: does not exist"), False, ErrorKind.UNREACHABLE),
        (sqlite3.OperationalError("database is locked"), False, ErrorKind.UNREACHABLE),
        (sqlite3.OperationalError("database is locked"), True, ErrorKind.PASSING),
        (sqlite3.OperationalError("no such table: loans"), True, ErrorKind.MISSING),
        (psycopg.errors.UndefinedColumn("column x"), True, ErrorKind.MISSING),
        (psycopg.errors.InvalidTextRepresentation("invalid input syntax"), True, ErrorKind.VALUE),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), True, ErrorKind.VALUE),
        (
            psycopg.errors.ProgramLimitExceeded("row is too big: size 9624, maximum size 8160"),
            True,
            ErrorKind.TOO_LARGE,
        ),
        (psycopg.errors.TooManyColumns("tables can have at most 1600 columns"), True, ErrorKind.TOO_LARGE),
        (sqlite3.OperationalError("too many columns on loans"), True, ErrorKind.TOO_LARGE),
        (psycopg.errors.RaiseException("a trigger of the lender's quotes its row"), True, ErrorKind.VALUE),
        (psycopg.errors.AdminShutdown("terminating connection"), True, ErrorKind.PASSING),
        (psycopg.ProgrammingError("a placeholder too many"), True, ErrorKind.OTHER),
    ],
)
def test_errors_of_sql_drivers(error: Exception, connected: bool, kind: ErrorKind) -> None:
    assert sql_error_kind(error, connected=connected) is kind


def test_errors_of_drivers_past_sqlalchemy_are_known() -> None:
    assert is_of_sql_driver(psycopg.errors.AdminShutdown())
    assert not is_of_sql_driver(ValueError())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (duckdb.IOException("IO Error: Could not set lock on file"), ErrorKind.HELD),
        (duckdb.ConnectionException("Can't open a connection with a different configuration"), ErrorKind.HELD),
        (duckdb.TransactionException("conflict"), ErrorKind.HELD),
        (duckdb.ConversionException("Could not convert string 'x'"), ErrorKind.VALUE),
        (duckdb.ConstraintException("NOT NULL constraint failed"), ErrorKind.CONSTRAINT),
        (duckdb.IOException("No such file"), ErrorKind.OTHER),
    ],
)
def test_errors_of_duckdb(error: duckdb.Error, kind: ErrorKind) -> None:
    assert duckdb_error_kind(error) is kind
