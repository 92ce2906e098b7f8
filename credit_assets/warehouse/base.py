"""What every warehouse does, and the one way in which its queries are built.

Belongs here: the public methods, the SQL they run (SQLAlchemy Core: values are bound, identifiers come from the
validated portfolio and are quoted) and the outcomes that read the same whatever the warehouse. Does not belong here:
connections, drivers and their errors (`duckdb_file`, `sql`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from credit_assets.failures import PermanentError
from credit_assets.masking import masked_url
from credit_assets.ml.data.portfolio import Portfolio

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

# How a column that should hold days is stored. "text" holds ISO days, which sort as days do.
Stored = Literal["date", "timestamp", "text", "other"]
_FILL = "run `credit-assets generate` or `credit-assets load lending-club FILE`"


@dataclass(frozen=True)
class TableCounts:
    """Rows of one write."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True)
class WriteReport:
    applications: TableCounts
    outcomes: TableCounts

    def to_record(self) -> dict[str, int]:
        """Flat counts: `applications_inserted`, ..., `outcomes_unchanged`."""
        return {f"{table}_{key}": count for table, row in asdict(self).items() for key, count in row.items()}


@dataclass(frozen=True)
class Source:
    """One of the two tables as the portfolio describes it."""

    table: str
    id: str
    day: str
    schema: pa.Schema
    required: tuple[str, ...]
    portfolio: str

    @classmethod
    def applications(cls, portfolio: Portfolio) -> Source:
        from credit_assets.ml.data.schemas import applications_schema

        required = tuple(column.name for column in portfolio.columns if not column.nullable)
        schema = applications_schema(portfolio)
        key, day = portfolio.id_column, portfolio.date_column
        return cls(portfolio.applications_table, key, day, schema, required, portfolio.name)

    @classmethod
    def outcomes(cls, portfolio: Portfolio) -> Source:
        from credit_assets.ml.data.schemas import outcomes_schema

        names = portfolio.outcomes
        required = (names.id, names.date, names.defaulted)
        return cls(names.table, names.id, names.date, outcomes_schema(portfolio), required, portfolio.name)


@dataclass(frozen=True)
class Rows:
    """What a query streams: batches, each as one Arrow array or sequence per column; and whether they are ordered,
    or come in any order."""

    batches: Iterator[Sequence[Any]]
    ordered: bool = True


class Session(ABC):
    """An open connection in a transaction. Errors of the driver leave it as TransientError or PermanentError."""

    @abstractmethod
    def stored_as(self, table: str) -> Mapping[str, Stored] | None:
        """Columns of a table or view and how they are stored; None where there is no such table."""

    @abstractmethod
    def identifier(self, name: str) -> str:
        """The name, marked for quoting as this warehouse needs it."""

    @abstractmethod
    def rows(self, query: sa.Executable) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def stream(self, query: sa.Select[Any], order: Sequence[Any], source: Source) -> Rows:
        """The rows of a query on the table of `source`, whose columns it selects; `order`: what orders them."""

    @abstractmethod
    def change(self, statement: sa.Executable) -> int:
        """Run a statement that changes rows; how many it changed."""

    @abstractmethod
    def create(self, table: sa.Table) -> None:
        """Create the table unless it exists."""

    @abstractmethod
    def stage(self, name: str, rows: pa.Table) -> None:
        """Make the rows a temporary table."""

    def lock(self, table: str) -> None:  # noqa: B027 - nothing to do where a writer is alone anyway
        """Keep other writers out of the table until the transaction ends; readers go on."""

    def sorted_text(self, column: Any, stored: Stored) -> Any:
        """The column as text that sorts by bytes, whatever the warehouse's locale."""
        return column


class Warehouse(ABC):
    """The two tables of a portfolio. Cheap to make and to pickle: it connects when a method is called.

    Every method that connects raises TransientError where a retry may help (server unreachable, lock held), and
    PermanentError otherwise; messages name the table, the column and the masked URL, never a value of an applicant.
    A table name with a dot is `schema.table`.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._url,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def describe(self) -> str:
        """The URL, with password and other secrets masked."""
        return masked_url(self._url)

    @abstractmethod
    def _session(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Open a transaction; committed on exit, rolled back on an error."""

    def ping(self) -> None:
        """Connect and look into the catalogue; what is there does not matter."""
        with self._session() as session:
            session.stored_as("loan_applications")

    def read_applications(self, portfolio: Portfolio, start: date, end: date) -> pa.RecordBatchReader:
        """Applications of `start` to `end`, both included, ordered by (day, id), as a stream of Arrow batches.

        Columns are all of the portfolio's, in file order, with the types of `applications_schema`. A day without rows
        gives an empty reader of the same schema. A value that does not fit its type raises PermanentError while
        reading, after the stream has been counted to its end.
        """
        return self._read(Source.applications(portfolio), start, end)

    def read_outcomes(self, portfolio: Portfolio, start: date, end: date) -> pa.RecordBatchReader:
        """Outcomes that became known from `start` to `end`, otherwise as `read_applications`."""
        return self._read(Source.outcomes(portfolio), start, end)

    def daily_counts(self, portfolio: Portfolio, start: date, end: date) -> dict[date, int]:
        """Applications of each day from `start` to `end` that has any, in order of days."""
        import sqlalchemy as sa

        source = Source.applications(portfolio)
        with self._session() as session:
            table, stored = self._open(session, source, (source.day,))
            day = _day_of(table.c[session.identifier(source.day)], stored[source.day])
            counted = sa.select(day.label("d"), sa.func.count()).where(
                *_between(table.c[session.identifier(source.day)], stored[source.day], start, end)
            )
            found = session.rows(counted.group_by(day).order_by(day))
            return {self._as_day(source, value): int(count) for value, count in found}

    def date_range(self, portfolio: Portfolio) -> tuple[date, date] | None:
        """First and last application date; None for an empty table."""
        import sqlalchemy as sa

        source = Source.applications(portfolio)
        with self._session() as session:
            table, stored = self._open(session, source, (source.day,))
            day = _day_of(table.c[session.identifier(source.day)], stored[source.day])
            first, last = session.rows(sa.select(sa.func.min(day), sa.func.max(day)).select_from(table))[0]
        return None if first is None else (self._as_day(source, first), self._as_day(source, last))

    def create_tables(self, portfolio: Portfolio) -> None:
        """Create the two tables, keyed by id, where they do not exist. Existing tables are left as they are."""
        with self._session(write=True) as session:
            for source in (Source.applications(portfolio), Source.outcomes(portfolio)):
                session.create(_definition(session, source))

    def write(self, portfolio: Portfolio, applications: pa.Table | None, outcomes: pa.Table | None) -> WriteReport:
        """Insert new ids, update changed ones, leave equal ones; both tables in one transaction.

        Columns outside the portfolio are neither needed nor touched. Raises PermanentError where a column of the
        portfolio is missing, an id is missing or comes twice, or a value does not fit its type: nothing is written.
        """
        plan = [(Source.applications(portfolio), applications), (Source.outcomes(portfolio), outcomes)]
        staged = [(source, None if rows is None else _checked(source, rows)) for source, rows in plan]
        with self._session(write=True) as session:
            for source, rows in staged:
                if rows is not None:
                    self._open(session, source, source.schema.names)
                    session.lock(source.table)
            return WriteReport(*(_upsert(session, source, rows) for source, rows in staged))

    # Reading

    def _read(self, source: Source, start: date, end: date) -> pa.RecordBatchReader:
        import pyarrow as pa
        import sqlalchemy as sa

        from credit_assets.warehouse.ordering import in_order

        with ExitStack() as closing:
            session = closing.enter_context(self._session())
            table, stored = self._open(session, source, source.schema.names)
            columns = {name: table.c[session.identifier(name)] for name in source.schema.names}
            day, key = columns[source.day], columns[source.id]
            shown = [
                _day_of(c, stored[n]).label(n) if pa.types.is_date32(source.schema.field(n).type) else c
                for n, c in columns.items()
            ]
            if pa.types.is_string(source.schema.field(source.id).type):
                key = session.sorted_text(key, stored[source.id])
            query = sa.select(*shown).where(*_between(day, stored[source.day], start, end))
            rows = session.stream(query, (_day_of(day, stored[source.day]), key), source)
            # The reader outlives this call, and so does the connection: the generator closes it.
            kept_open = closing.pop_all()
        batches = self._or_explain(source, rows.batches) if stored[source.day] == "text" else rows.batches
        fitted = self._fitted(source, batches, kept_open)
        ordered = fitted if rows.ordered else in_order(fitted, source.schema, (source.day, source.id))
        return pa.RecordBatchReader.from_batches(source.schema, ordered)

    def _fitted(
        self, source: Source, batches: Iterator[Sequence[Any]], kept_open: ExitStack
    ) -> Generator[pa.RecordBatch]:
        import pyarrow as pa

        from credit_assets.warehouse.arrow_columns import fit

        misfits: Counter[str] = Counter()
        with kept_open:
            for batch in batches:
                arrays = []
                for field, values in zip(source.schema, batch, strict=True):
                    array, bad = fit(values, field.type)
                    arrays.append(array)
                    misfits[field.name] += bad
                if not misfits.total():
                    yield pa.RecordBatch.from_arrays(arrays, schema=source.schema)
        _refuse_misfits(misfits, source, f"in {self.describe()}")

    def _or_explain(self, source: Source, batches: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
        """Days held as text are found by comparing text: other forms than ISO would look like empty days."""
        import sqlalchemy as sa

        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            with self._session() as session:
                table = _table(session, source.table, (source.day,))
                day = table.c[session.identifier(source.day)]
                odd = sa.select(sa.func.count()).select_from(table).where(day.not_like("____-__-__%"))
                count = session.rows(odd)[0][0]
            if count:
                _refuse_misfits(Counter({source.day: count}), source, f"in {self.describe()}")

    def _open(
        self, session: Session, source: Source, names: Sequence[str]
    ) -> tuple[sa.TableClause, Mapping[str, Stored]]:
        """The table and how its columns are stored. Raises PermanentError where it or a column is missing."""
        stored = session.stored_as(source.table)
        if stored is None:
            raise PermanentError(
                f"{self.describe()} has no table {source.table}: {_FILL}, or name the right table in portfolio "
                f"{source.portfolio}"
            )
        missing = [name for name in names if name not in stored]
        if missing:
            raise PermanentError(
                f"table {source.table} in {self.describe()} has no column {', '.join(missing)}: correct the columns of "
                f"portfolio {source.portfolio}, or {_FILL} into a fresh table"
            )
        if stored[source.day] not in ("date", "timestamp", "text"):
            raise PermanentError(
                f"column {source.day} of table {source.table} in {self.describe()} holds no dates: correct the columns "
                f"of portfolio {source.portfolio}, or store the column as DATE"
            )
        return _table(session, source.table, names), stored

    def _as_day(self, source: Source, value: Any) -> date:
        import pyarrow as pa

        from credit_assets.warehouse.arrow_columns import fit

        array, bad = fit([value], pa.date32())
        _refuse_misfits(Counter({source.day: bad}), source, f"in {self.describe()}")
        day: date = array[0].as_py()
        return day


def split_name(table: str) -> tuple[str | None, str]:
    """Schema and table of `schema.table`."""
    schema, _, name = table.rpartition(".")
    return schema or None, name


@cache
def postgresql_dialect() -> Any:
    """PostgreSQL's SQL, which DuckDB speaks too: parameters are question marks, and percent signs stay single."""
    from sqlalchemy.dialects.postgresql.base import PGDialect

    return PGDialect(paramstyle="qmark")  # type: ignore[no-untyped-call]


def _table(session: Session, table: str, names: Sequence[str]) -> sa.TableClause:
    import sqlalchemy as sa

    schema, name = split_name(table)
    return sa.table(
        session.identifier(name),
        *(sa.column(session.identifier(n)) for n in names),
        schema=None if schema is None else session.identifier(schema),
    )


def _between(column: Any, stored: Stored, start: date, end: date) -> tuple[Any, Any]:
    """Half-open at the day after `end`, so that a timestamp late on the last day is in, and an index is used."""
    import sqlalchemy as sa

    after = end + timedelta(days=1)
    if stored == "text":
        return column >= start.isoformat(), column < after.isoformat()
    return column >= sa.literal(start, sa.Date), column < sa.literal(after, sa.Date)


def _day_of(column: Any, stored: Stored) -> Any:
    import sqlalchemy as sa

    if stored == "timestamp":
        return sa.cast(column, sa.Date)
    if stored == "text":
        # Constants in the text: two parameters of equal value would make two expressions of SELECT and GROUP BY.
        return sa.func.substr(column, sa.literal_column("1"), sa.literal_column("10"))
    return column


def _refuse_misfits(misfits: Counter[str], source: Source, where: str) -> None:
    if misfits.total():
        named = ", ".join(
            f"{name} ({count:,} rows are not {source.schema.field(name).type})"
            for name, count in misfits.items()
            if count
        )
        raise PermanentError(
            f"table {source.table} {where}: values do not fit the type of their column: {named}; correct the data, or "
            f"the column's type in portfolio {source.portfolio}"
        )


# Writing


def _definition(session: Session, source: Source) -> sa.Table:
    import pyarrow as pa
    import sqlalchemy as sa

    schema, name = split_name(source.table)
    columns = []
    for field in source.schema:
        kind: Any = {
            # A key of unbounded text is refused by some databases.
            pa.string(): sa.String(255) if field.name == source.id else sa.Text(),
            pa.int64(): sa.BigInteger(),
            pa.int8(): sa.SmallInteger(),
            pa.float64(): sa.Double(),
            pa.bool_(): sa.Boolean(),
            pa.date32(): sa.Date(),
        }[field.type]
        key = field.name == source.id
        nullable = field.name not in source.required
        columns.append(
            sa.Column(session.identifier(field.name), kind, primary_key=key, autoincrement=False, nullable=nullable)
        )
    table = sa.Table(
        session.identifier(name),
        sa.MetaData(),
        *columns,
        schema=None if schema is None else session.identifier(schema),
    )
    sa.Index(f"{name}_by_day", table.c[session.identifier(source.day)])
    return table


def _checked(source: Source, rows: pa.Table) -> pa.Table:
    """The rows with exactly the columns and types of the source."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.warehouse.arrow_columns import fit

    missing = [name for name in source.schema.names if name not in rows.column_names]
    if missing:
        raise PermanentError(
            f"the rows for table {source.table} lack {', '.join(missing)}, which portfolio {source.portfolio} "
            "names: load them from a file that has them, or use a portfolio without them"
        )
    arrays, misfits = [], Counter[str]()
    for field in source.schema:
        array, misfits[field.name] = fit(rows[field.name], field.type)
        arrays.append(array)
    _refuse_misfits(misfits, source, "to be written")
    table = pa.Table.from_arrays(arrays, schema=source.schema)
    for name in source.required:
        if table[name].null_count:
            raise PermanentError(
                f"{table[name].null_count:,} rows for table {source.table} have no {name}: nothing was written"
            )
    twice = table.num_rows - pc.count_distinct(table[source.id]).as_py()
    if twice:
        raise PermanentError(
            f"{twice:,} rows for table {source.table} repeat an {source.id}: nothing was written; keep one row an id"
        )
    return table


def _upsert(session: Session, source: Source, rows: pa.Table | None) -> TableCounts:
    import sqlalchemy as sa

    if rows is None or rows.num_rows == 0:
        return TableCounts()
    name = "incoming_" + split_name(source.table)[1]
    session.stage(name, rows)
    incoming = _table(session, name, rows.column_names)
    target = _table(session, source.table, rows.column_names)
    names = [session.identifier(n) for n in rows.column_names]
    key = session.identifier(source.id)
    rest = [n for n in names if n != key]
    same = target.c[key] == incoming.c[key]
    updated = session.change(
        sa.update(target)
        .values({target.c[n]: incoming.c[n] for n in rest})
        .where(same, sa.or_(*(target.c[n].is_distinct_from(incoming.c[n]) for n in rest)))
    )
    inserted = session.change(
        sa.insert(target).from_select(
            names, sa.select(*(incoming.c[n] for n in names)).where(~sa.exists().where(same).correlate(incoming))
        )
    )
    return TableCounts(inserted, updated, rows.num_rows - inserted - updated)
