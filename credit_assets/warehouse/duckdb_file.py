"""A warehouse in one DuckDB file.

Belongs here: opening the file, running statements on it, and sorting DuckDB's errors. Reads open the file read-only,
so that any number of processes read at once; a write has the file alone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.aside import aside
from credit_assets.failures import PermanentError, TransientError, advised
from credit_assets.places import PlaceError, local_path
from credit_assets.processes import usable_cores
from credit_assets.warehouse.base import ANOTHER_ZONE, FILL, Warehouse
from credit_assets.warehouse.driver_internals import ErrorKind, duckdb_error_kind, postgresql_dialect
from credit_assets.warehouse.ordering import Ascending, batch_rows
from credit_assets.warehouse.session import Numbers, ResultStream, Session, Stored
from credit_assets.warehouse.source import SourceTable, split_name

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import sqlalchemy as sa

_PREFIX = "duckdb:///"
# What a reading DuckDB may hold of blocks, and what it takes for each column: a block of its values and one of which
# are null, for each thread that reads.
_MEMORY = 384 * 2**20
_COLUMN = 2 * 256 * 2**10
_WIDEST: dict[Path, int] = {}
"""Most columns that this process has read of a file at once."""
_WHOLE = {sign + kind for kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT") for sign in ("", "U")}


class DuckDBWarehouse(Warehouse):
    """`duckdb:///file` with the path after the third slash; a relative path is taken from the working directory."""

    def __init__(self, url: str, timezone: str = "UTC") -> None:
        path = url[len(_PREFIX) :] if url.lower().startswith(_PREFIX) else ""
        if not path or path.startswith(":memory:"):
            raise PermanentError(
                f"{url}: name a file, as in duckdb:////data/warehouse.duckdb; a database in memory is gone when the "
                "step that filled it ends"
            )
        if "?" in path:
            raise PermanentError(f"{url.split('?')[0]}: a DuckDB URL takes no options after `?`; leave them out")
        if "\\" in path:
            raise PermanentError(f"{url}: DuckDB takes a backslash for a slash; give the file another name")
        # Absolute from here on: a step process may stand in another folder.
        try:
            self.path = local_path(path)
        except PlaceError as error:
            raise PermanentError(f"CREDIT_WAREHOUSE_URL: {error}") from error
        super().__init__(f"{_PREFIX}{self.path}", timezone)

    def _is_there(self) -> bool:
        return self.path.is_file()

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[Session]:
        import duckdb

        if write:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        elif not self.path.is_file():
            raise PermanentError(f"{self.describe()}: no such file; {FILL}, or set CREDIT_WAREHOUSE_URL")
        connection = None
        try:
            # A writer may take the machine's memory: the index of a large table has to fit in.
            config: dict[str, Any] = {"temp_directory": self._spill()} if write else self._reading()
            connection = duckdb.connect(str(self.path), read_only=not write, config=config)
            # The date of an instant is that in the session's zone.
            connection.execute("SET TimeZone = ?", [self._timezone])
            connection.execute("SET enable_progress_bar = false")  # it goes to stdout
            connection.begin()
            yield _DuckDBSession(connection, self.path)
            connection.commit()
        except duckdb.Error as error:
            # Not chained: DuckDB quotes the values that it could not convert.
            raise self._explained(error) from None
        finally:
            if connection is not None:
                connection.close()

    def _reading(self) -> dict[str, Any]:
        """Bounds of a reading DuckDB; equal for all readers of one process, which share it."""
        return {**reading_bounds(), "temp_directory": self._spill()}

    def _spill(self) -> str:
        """A folder for what does not fit into memory: DuckDB makes it, and takes it away. None is shared."""
        folder = self.path.parent if os.access(self.path.parent, os.W_OK) else Path(tempfile.gettempdir())
        return _spill(folder / self.path.name, os.getpid())

    def _explained(self, error: duckdb.Error) -> Exception:
        match duckdb_error_kind(error):
            case ErrorKind.HELD:
                return TransientError(
                    f"{self.describe()} is held by another process (DuckDB lets one write, or many read); try again, "
                    "or use PostgreSQL where several write"
                )
            case ErrorKind.VALUE:
                return PermanentError(
                    f"{self.describe()}: DuckDB could not convert a value ({type(error).__name__}); compare the types "
                    "of its columns with the portfolio"
                )
            case ErrorKind.ZONE:
                return PermanentError(f"{self.describe()}: {str(error).splitlines()[0]}; {ANOTHER_ZONE}")
            case ErrorKind.CONSTRAINT:
                return PermanentError(
                    f"{self.describe()}: a constraint of the table refused the rows; nothing was written"
                )
        return PermanentError(f"{self.describe()}: {advised(error) or str(error).splitlines()[0]}")


class _DuckDBSession(Session):
    def __init__(self, connection: duckdb.DuckDBPyConnection, file: Path) -> None:
        self._connection, self._file = connection, file
        self._types: dict[str, dict[str, str]] = {}

    def identifier(self, name: str) -> str:
        from sqlalchemy.sql import quoted_name

        return quoted_name(name, quote=True)

    def stored_as(self, table: str) -> Mapping[str, Stored] | None:
        import duckdb

        quoted = ".".join('"' + part + '"' for part in split_name(table) if part)
        try:
            columns = self._connection.execute(f"SELECT * FROM {quoted} LIMIT 0").description or []
        except duckdb.CatalogException:
            return None
        self._types[table] = {name: str(kind).upper() for name, kind, *_ in columns}
        return {name: _stored(kind) for name, kind in self._types[table].items()}

    def numbers_in(self, table: str, name: str) -> Numbers | None:
        kind = self._types[table][name].partition("(")[0]
        if kind in _WHOLE:
            return "whole"
        if kind in ("FLOAT", "DOUBLE", "DECIMAL", "HUGEINT", "UHUGEINT"):
            return "number"
        return "boolean" if kind == "BOOLEAN" else None

    def last(
        self, value: sa.ColumnElement[Any], order: Sequence[Any], met: sa.ColumnElement[bool]
    ) -> sa.ColumnElement[Any]:
        import sqlalchemy as sa

        # Rows compare by their first field, then by the next.
        return sa.func.arg_max(value, sa.func.row(*order, value)).filter(sa.and_(met, value.is_not(None)))

    def rows(self, query: sa.Executable) -> list[tuple[Any, ...]]:
        return self._run(query).fetchall()

    def stream(self, query: sa.Select[Any], order: Sequence[Any], source: SourceTable) -> ResultStream:
        # Not sorted here: DuckDB sorts rows whole, and of many columns they fit into no memory that it is given.
        ordered = bool(order) and self._stored_in_order(query.with_only_columns(*order), source)
        return ResultStream((batch.columns for batch in self._reader(query, source.schema.types)), ordered)

    def sum_in_limbs(
        self, whole: sa.ColumnElement[Any], met: sa.ColumnElement[bool], limb: int
    ) -> list[sa.ColumnElement[Any]]:
        import sqlalchemy as sa

        total = sa.func.sum(whole.op("::", precedence=20)(sa.literal_column("HUGEINT"))).filter(met)
        return [total.op("//")(limb), total.op("%")(limb)]

    def computed(
        self, query: sa.Select[Any], order: Sequence[Any], types: Sequence[pa.DataType]
    ) -> Iterator[Sequence[Any]]:
        return (batch.columns for batch in self._reader(query.order_by(*order), types))

    def _reader(self, query: sa.Select[Any], types: Sequence[pa.DataType]) -> pa.RecordBatchReader:
        self._make_room(len(types))
        text, values = _compiled(query)
        # A relation streams; a result of execute() would be held whole.
        return self._connection.sql(text, params=values).to_arrow_reader(batch_rows(types))

    def _make_room(self, columns: int) -> None:
        """Bounds for so many columns. The readers of a process share them: what the widest of them needs stays."""
        widest = _WIDEST[self._file] = max(columns, _WIDEST.get(self._file, 0))
        for setting, value in reading_bounds(widest).items():
            self._connection.execute(f"SET {setting} = '{value}'")

    def _stored_in_order(self, keys: sa.Select[Any], source: SourceTable) -> bool:
        """Whether the rows come in order by themselves, as DuckDB keeps the order in which a table was written.

        To read two columns beforehand costs a fraction of reading all; to sort all costs several times as much. Rows
        in no order are found out by the first batch.
        """
        if not self._is_table(source.table):
            return False  # A view's rows come as its query makes them.
        order = Ascending()
        types = [source.schema.field(name).type for name in (source.day, source.id)]
        with self._reader(keys, types) as reader:
            if not all(_compares_as_sorted(kind) for kind in reader.schema.types):
                return False
            return all(order.add(*batch.columns) for batch in reader)

    def _is_table(self, name: str) -> bool:
        schema, table = split_name(name)
        counted = self._connection.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() "
            "AND lower(schema_name) = lower(coalesce(?, current_schema())) AND lower(table_name) = lower(?)",
            [schema, table],
        ).fetchall()
        return bool(counted[0][0])

    def change(self, statement: sa.Executable) -> int:
        counted = self._run(statement).fetchone()
        return int(counted[0]) if counted else 0

    def create(self, table: sa.Table) -> None:
        # Without the index by day: DuckDB skips blocks by their smallest and largest day.
        from sqlalchemy.schema import CreateTable

        self._connection.execute(str(CreateTable(table, if_not_exists=True).compile(dialect=postgresql_dialect())))

    def stage(self, name: str, rows: pa.Table) -> None:
        self._connection.register(name, rows)

    def _run(self, statement: sa.Executable) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(*_compiled(statement))


def _compiled(statement: Any) -> tuple[str, list[Any]]:
    compiled = statement.compile(dialect=postgresql_dialect())
    return compiled.string, [compiled.params[name] for name in compiled.positiontup]


def _compares_as_sorted(kind: pa.DataType) -> bool:
    """Whether Arrow compares values as DuckDB sorts them; it does not with an ENUM, say."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_date32(kind))


def reading_bounds(columns: int = 0) -> dict[str, Any]:
    """Bounds of a DuckDB that reads so many columns: memory, as DuckDB writes it, and threads, of which each holds rows
    of its own, so that fewer read many columns.
    """
    at_once = columns * _COLUMN
    threads = max(1, min(4, usable_cores(), _MEMORY // max(1, at_once)))
    return {"memory_limit": f"{max(_MEMORY, at_once * 3 // 2)}B", "threads": threads}


@cache
def _spill(file: Path, process: int) -> str:  # noqa: ARG001 - a process that is forked has another
    """A folder that no other process has, in whatever container."""
    return str(aside(file))


def _stored(kind: str) -> Stored:
    if kind == "DATE":
        return "date"
    if kind.startswith("TIMESTAMP"):
        return "instant" if kind.endswith("WITH TIME ZONE") else "timestamp"
    return "text" if kind == "VARCHAR" else "other"
