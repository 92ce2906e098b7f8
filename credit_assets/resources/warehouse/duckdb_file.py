"""A warehouse in one DuckDB file.

Belongs here: opening the file, running statements on it, and sorting DuckDB's errors. Reads open the file read-only,
so that any number of processes read at once; a write has the file alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError, TransientError
from credit_assets.resources.warehouse.base import BATCH_ROWS, Session, Stored, Warehouse, split_name

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import sqlalchemy as sa

_PREFIX = "duckdb:///"


class DuckDBWarehouse(Warehouse):
    """`duckdb:///file` with the path after the third slash; a relative path is taken from the working directory."""

    def __init__(self, url: str) -> None:
        path = url[len(_PREFIX) :] if url.lower().startswith(_PREFIX) else ""
        if not path or path.startswith(":memory:"):
            raise PermanentError(
                f"{url}: name a file, as in duckdb:////data/warehouse.duckdb; a database in memory is gone when the "
                "step that filled it ends"
            )
        if "?" in path:
            raise PermanentError(f"{url.split('?')[0]}: a DuckDB URL takes no options after `?`; leave them out")
        self.path = Path(path).expanduser().absolute()
        # Absolute from here on: a step process may stand in another folder.
        super().__init__(f"{_PREFIX}{self.path}")

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[Session]:
        import duckdb

        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        elif not self.path.is_file():
            raise PermanentError(
                f"{self.describe()}: no such file; run `credit-assets generate` or `credit-assets load lending-club "
                "FILE`, or set CREDIT_WAREHOUSE_URL"
            )
        connection = None
        try:
            connection = duckdb.connect(str(self.path), read_only=not write)
            # Days of timestamps with a time zone are days in UTC, wherever this runs.
            connection.execute("SET TimeZone = 'UTC'")
            connection.begin()
            yield _DuckDBSession(connection)
            connection.commit()
        except duckdb.Error as error:
            # Not chained: DuckDB quotes the values that it could not convert.
            raise self._explained(error) from None
        finally:
            if connection is not None:
                connection.close()

    def _explained(self, error: duckdb.Error) -> Exception:
        import duckdb

        text = str(error).splitlines()[0]
        lowered = text.lower()
        busy = "could not set lock" in lowered or "different configuration" in lowered
        if busy or isinstance(error, duckdb.TransactionException):
            return TransientError(
                f"{self.describe()} is held by another process (DuckDB lets one write, or many read); try again, or "
                "use PostgreSQL where several write"
            )
        if isinstance(error, duckdb.ConversionException | duckdb.InvalidInputException | duckdb.OutOfRangeException):
            return PermanentError(
                f"{self.describe()}: DuckDB could not convert a value ({type(error).__name__}); compare the types of "
                "its columns with the portfolio"
            )
        if isinstance(error, duckdb.ConstraintException):
            return PermanentError(f"{self.describe()}: a constraint of the table refused the rows; nothing was written")
        return PermanentError(f"{self.describe()}: {text}")


class _DuckDBSession(Session):
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def identifier(self, name: str) -> str:
        from sqlalchemy.sql import quoted_name

        return quoted_name(name, quote=True)

    def stored_as(self, table: str) -> Mapping[str, Stored] | None:
        import duckdb

        quoted = ".".join('"' + part + '"' for part in split_name(table) if part)
        try:
            found = self._connection.execute(f"SELECT * FROM {quoted} LIMIT 0").description or []
        except duckdb.CatalogException:
            return None
        return {name: _stored(str(kind)) for name, kind, *_ in found}

    def rows(self, query: sa.Executable) -> list[tuple[Any, ...]]:
        return self._run(query).fetchall()

    def stream(self, query: sa.Executable) -> Iterator[Sequence[Any]]:
        text, values = _compiled(query)
        # A relation streams; a result of execute() would be held whole.
        reader = self._connection.sql(text, params=values).to_arrow_reader(BATCH_ROWS)
        return (batch.columns for batch in reader)

    def change(self, statement: sa.Executable) -> int:
        counted = self._run(statement).fetchone()
        return int(counted[0]) if counted else 0

    def create(self, table: sa.Table) -> None:
        # Without the index by day: DuckDB skips blocks by their smallest and largest day.
        from sqlalchemy.schema import CreateTable

        self._connection.execute(str(CreateTable(table, if_not_exists=True).compile(dialect=_dialect())))

    def stage(self, name: str, rows: pa.Table) -> None:
        self._connection.register(name, rows)

    def _run(self, statement: sa.Executable) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(*_compiled(statement))


def _compiled(statement: Any) -> tuple[str, list[Any]]:
    compiled = statement.compile(dialect=_dialect())
    return compiled.string, [compiled.params[name] for name in compiled.positiontup]


@cache
def _dialect() -> Any:
    """DuckDB speaks PostgreSQL's SQL; its own parameters are question marks."""
    from sqlalchemy.dialects.postgresql.base import PGDialect

    return PGDialect(paramstyle="qmark")


def _stored(kind: str) -> Stored:
    kind = kind.upper()
    if kind == "DATE":
        return "date"
    if kind.startswith("TIMESTAMP"):
        return "timestamp"
    return "text" if kind == "VARCHAR" else "other"
