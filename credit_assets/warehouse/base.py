"""What every warehouse does, whatever holds its tables.

Belongs here: the public methods, and the outcomes that read the same whatever the warehouse. Does not belong here: SQL
(`queries`, `writing`), connections, drivers and their errors (`duckdb_file`, `sql`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError
from credit_assets.loans.loaded_file import Load, LoadedFile
from credit_assets.masking import masked_url
from credit_assets.ml.data.accounts import DayCounts, plausible_days
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse.loaded_files import holds_rows, read_files, write_file
from credit_assets.warehouse.queries import OpenTable, new_table, some_rows, table_clause
from credit_assets.warehouse.session import Session
from credit_assets.warehouse.source import SourceTable
from credit_assets.warehouse.writing import TableCounts, WriteReport, append, checked, replace_rows, upsert

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

    from credit_assets.loans.tables import LoadedTable
    from credit_assets.ml.data.values import Reading
    from credit_assets.warehouse.histories import HistoryCounts, OpenHistory

FILL = "run `credit-assets generate`, `credit-assets load lending-club FILE` or `load csv FILE --table NAME`"
"""What fills a warehouse, for the messages of one that is empty."""
ANOTHER_ZONE = "give CREDIT_TIMEZONE, or `timezone` of the portfolio, a name that it knows, perhaps an older one"


class TableReader(ABC):
    """How any table of a portfolio is read: its rows, some columns of them, and their numbers by day."""

    def __init__(self, url: str, timezone: str = "UTC") -> None:
        self._url, self._timezone = url, timezone

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._url, self._timezone)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def describe(self) -> str:
        """The URL, with password and other secrets masked."""
        return masked_url(self._url)

    @abstractmethod
    def _session(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Open a transaction; committed on exit, rolled back on an error."""

    def columns_of(self, source: SourceTable, names: Sequence[str], start: date, end: date) -> Iterator[pa.Table]:
        """Some columns of a table's rows of `start` to `end`, in batches; what is of another type is null."""
        import pyarrow as pa

        some = replace(
            source,
            schema=pa.schema([source.schema.field(name) for name in names]),
            moments={name: column for name, column in source.moments.items() if name in names},
            repeats=False,
        )
        for batch in self._read(some, start, end, noted=True):
            yield pa.Table.from_batches([batch]).select(list(names))

    def first_days_of(self, source: SourceTable, name: str, start: date, end: date) -> dict[Any, date] | None:
        """By value of a column, as it is stored, the first day from `start` to `end` on which a row has it: one grouped
        query. None where the warehouse cannot tell the days of rows.
        """
        import sqlalchemy as sa

        with self._session() as session:
            table = self._open(session, source, (name, source.day))
            if not table.tells_day(source.day):
                return None
            column, first = table.columns[name], sa.func.min(table.day(source.day))
            found = session.rows(
                sa.select(column, first).where(*table.between(source.day, start, end)).group_by(column)
            )
        days = self._as_days(source, [day for _, day in found])
        by_value = {value: day for (value, _), day in zip(found, days, strict=True) if day is not None}
        return by_value if len(by_value) == len(found) else None

    def _daily_counts(self, source: SourceTable, start: date, end: date) -> dict[date, int]:
        import sqlalchemy as sa

        with self._session() as session:
            table = self._open(session, source, (source.day,))
            day = table.day(source.day)
            counted = sa.select(day.label("d"), sa.func.count()).where(*table.between(source.day, start, end))
            rows = session.rows(counted.group_by(day))
        days = self._as_days(source, [value for value, _ in rows])
        counts: Counter[date] = Counter()
        for known, (_, count) in zip(days, rows, strict=True):
            if known is not None and start <= known <= end:
                counts[known] += int(count)
        return dict(sorted(counts.items()))

    def _count(self, source: SourceTable, earliest: date, latest: date) -> DayCounts:
        from credit_assets.warehouse.counting import day_counts, day_counts_query

        with self._session() as session:
            groups = session.rows(
                day_counts_query(self._open(session, source, (source.day,)), source, earliest, latest)
            )

        return day_counts(groups, partial(self._as_days, source), earliest, latest)

    def _read(self, source: SourceTable, start: date, end: date, noted: bool) -> pa.RecordBatchReader:
        import pyarrow as pa
        import sqlalchemy as sa

        from credit_assets.ml.data.unreadable import UNREADABLE
        from credit_assets.warehouse.ordering import in_order, settled

        with ExitStack() as until:
            session = until.enter_context(self._session())
            table = self._open(session, source, source.columns)
            shown = [_shown(table, source, field) for field in source.schema]
            query = sa.select(*shown).where(*table.between(source.day, start, end))
            key = table.columns[source.id]
            if pa.types.is_string(source.schema.field(source.id).type):
                key = session.sorted_text(table.text(source.id))
            result = session.stream(query, (table.day(source.day), key), source)
            # The reader outlives this call, and so does the connection: the generator closes it.
            kept_open = until.pop_all()
        schema = source.schema.append(pa.field(UNREADABLE, pa.string())) if noted else source.schema
        fitted = _fitted(source, self._timezone, f"in {self.describe()}", result.batches, schema, kept_open)
        if not table.tells_day(source.day):
            fitted = _of_days(fitted, source.day, start, end)
        if table.stored[source.day] == "text":
            fitted = self._or_explain(source, fitted)
        in_place = result.ordered and table.tells_day(source.day)
        ordered = fitted if in_place else in_order(fitted, schema, (source.day, source.id))
        if source.repeats:
            ordered = settled(ordered, schema, (source.day, source.id))
        return pa.RecordBatchReader.from_batches(schema, ordered)

    def _or_explain(self, source: SourceTable, batches: Generator[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
        """Days held as text are found by comparing text: other forms than ISO would look like empty days."""
        import sqlalchemy as sa

        empty = True
        for batch in batches:
            empty = empty and not batch.num_rows
            yield batch
        if empty:
            with self._session() as session:
                table = table_clause(session, source.table, (source.day,))
                day = table.c[session.identifier(source.day)]
                odd = sa.select(sa.func.count()).select_from(table).where(day.not_like("____-__-__%"))
                count = session.rows(odd)[0][0]
            source.refuse_misfits({source.day: count}, f"in {self.describe()}")

    def _open(self, session: Session, source: SourceTable, names: Sequence[str]) -> OpenTable:
        """The table with these columns. Raises PermanentError where it or one of them is missing."""
        stored = session.stored_as(source.table)
        if stored is None:
            raise PermanentError(
                f"{self.describe()} has no table {source.table}: {FILL}, or name the right table in portfolio "
                f"{source.portfolio}"
            )
        missing = [name for name in names if name not in stored]
        if missing:
            raise PermanentError(
                f"table {source.table} in {self.describe()} has no column {', '.join(missing)}: correct the columns of "
                f"portfolio {source.portfolio}, or {FILL} into a fresh table"
            )
        if stored[source.day] == "other":
            raise PermanentError(
                f"column {source.day} of table {source.table} in {self.describe()} holds no dates: correct the columns "
                f"of portfolio {source.portfolio}, or store the column as DATE"
            )
        clause = table_clause(session, source.table, names)
        columns = {name: clause.c[session.identifier(name)] for name in names}
        naive = None if source.timezone == self._timezone else source.timezone
        return OpenTable(clause, columns, stored, self._timezone, naive, session.knows_zones)

    def _as_days(self, source: SourceTable, values: Sequence[Any]) -> list[date | None]:
        """The values of a column of days, None for what is none: the account of the table has those by name."""
        if {type(value) for value in values} <= {date, type(None)}:
            # As most warehouses have them. Reading them would import pandas, half a second of `credit-assets status`.
            return list(values)
        from credit_assets.ml.data.instants import read_days

        days: list[date | None] = read_days(values, self._timezone, source.timezone).values.to_pylist()
        return days


class Warehouse(TableReader):
    """The two tables of a portfolio. Cheap to make and to pickle: it connects when a method is called.

    Every method that connects raises TransientError where a retry may help (server unreachable, lock held), and
    PermanentError otherwise; messages name the table, the column and the masked URL, never a value of an applicant.
    A table name with a dot is `schema.table`. Days are those of `timezone`, an IANA zone: of an instant the day that
    it is there, of a timestamp without a zone likewise once the portfolio's `timezone` has made it an instant; where
    the portfolio names none, its own date.
    """

    def ping(self) -> None:
        """Connect and look into the catalogue; what is there does not matter."""
        with self._session() as session:
            session.stored_as("loan_applications")

    def read_applications(
        self, portfolio: Portfolio, start: date, end: date, *, noted: bool = False
    ) -> pa.RecordBatchReader:
        """Applications of `start` to `end`, both included, ordered by (day, id), as a stream of Arrow batches.

        Columns are all of the portfolio's, in file order, with the types of `applications_schema`. A day without rows
        gives an empty reader of the same schema. A value that does not fit its type raises PermanentError while
        reading, after the stream has been counted to its end; or, `noted`, is null and stands in one more column,
        UNREADABLE, from which a `Contract` takes it.
        """
        return self._read(SourceTable.applications(portfolio), start, end, noted)

    def read_outcomes(
        self, portfolio: Portfolio, start: date, end: date, *, noted: bool = False
    ) -> pa.RecordBatchReader:
        """Outcomes that became known from `start` to `end`, otherwise as `read_applications`."""
        return self._read(SourceTable.outcomes(portfolio), start, end, noted)

    def read_decisions(
        self, portfolio: Portfolio, start: date, end: date, *, noted: bool = False
    ) -> pa.RecordBatchReader:
        """Decisions that became known from `start` to `end`, otherwise as `read_applications`; where a column of the
        applications has them, the statuses as they stand now of the applications of `start` to `end`.
        """
        return self._read(SourceTable.decisions(portfolio), start, end, noted)

    def read_history_features(
        self, portfolio: Portfolio, start: date, end: date, counts: HistoryCounts | None = None
    ) -> pa.RecordBatchReader:
        """The history features of the applications of `start` to `end`, ordered by (day, id), as a stream of Arrow
        batches of `history_schema`: one row an application, whether or not it has a history.

        One query, which sums up where the rows are. `counts` hears what else it met. Raises PermanentError where a
        table or a column is missing, or holds what the features cannot be computed from.
        """
        import pyarrow as pa

        from credit_assets.ml.data.schemas import history_schema
        from credit_assets.warehouse.histories import HistoryCounts, history_query, read_rows, types_of

        schema, heard = history_schema(portfolio), HistoryCounts() if counts is None else counts
        with ExitStack() as until:
            session = until.enter_context(self._session())
            applications, histories = self._histories(session, portfolio)
            query, order = history_query(session, portfolio, applications, histories, (start, end))
            rows = session.computed(query, order, types_of(histories, schema))
            kept_open = until.pop_all()

        def batches() -> Iterator[pa.RecordBatch]:
            with kept_open:
                yield from read_rows(rows, histories, schema, heard)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def check_tables(self, portfolio: Portfolio) -> None:
        """Raise PermanentError where a table that is read each day, or one of its columns, is missing; reads no row."""
        sources = [SourceTable.applications(portfolio), SourceTable.outcomes(portfolio)]
        if portfolio.decisions is not None:
            sources.append(SourceTable.decisions(portfolio))
        with self._session() as session:
            for source in sources:
                names = [source.id, source.day, *source.columns, *source.moments.values()]
                self._open(session, source, list(dict.fromkeys(names)))

    def check_histories(self, portfolio: Portfolio) -> None:
        """Raise PermanentError where the features of the histories could not be computed from their tables; reads none
        of their rows.
        """
        from credit_assets.warehouse.histories import history_query

        with self._session() as session:
            history_query(session, portfolio, *self._histories(session, portfolio), (date.min, date.min))

    def _histories(self, session: Session, portfolio: Portfolio) -> tuple[OpenTable, list[OpenHistory]]:
        """The applications with the keys of the histories, and these."""
        from credit_assets.warehouse.histories import opened, source_of

        read = SourceTable.applications(portfolio)
        names = dict.fromkeys([read.id, read.day, *(one.key_of_applications for one in portfolio.histories)])
        sources = [(one, source_of(portfolio, one)) for one in portfolio.histories]
        return self._open(session, read, list(names)), [
            opened(portfolio, one, self._open(session, source, source.schema.names)) for one, source in sources
        ]

    def application_ids(
        self, portfolio: Portfolio, within: tuple[date, date] | None = None
    ) -> Iterator[pa.ChunkedArray]:
        """The ids of all applications, whatever their day, in batches and no order; what is no id is null. `within`:
        those of the days from the first to the last, and perhaps of some besides.
        """
        import pyarrow as pa
        import sqlalchemy as sa

        from credit_assets.ml.data.values import read

        source = SourceTable.applications(portfolio)
        field = source.schema.field(source.id)
        ids = replace(source, schema=pa.schema([field]))
        with self._session() as session:
            table = self._open(session, source, (source.id, source.day))
            those = () if within is None else table.between(source.day, *within)
            for (batch,) in session.stream(sa.select(table.columns[source.id]).where(*those), (), ids).batches:
                yield read(batch, field.type).values

    def daily_counts(self, portfolio: Portfolio, start: date, end: date) -> dict[date, int]:
        """Applications of each day from `start` to `end` that has any, in order of days."""
        return self._daily_counts(SourceTable.applications(portfolio), start, end)

    def daily_outcomes(self, portfolio: Portfolio, start: date, end: date) -> dict[date, int]:
        """Outcomes that became known on each day from `start` to `end` that has any, in order of days."""
        return self._daily_counts(SourceTable.outcomes(portfolio), start, end)

    def daily_decisions(self, portfolio: Portfolio, start: date, end: date) -> dict[date, int]:
        """Decisions that became known on each day from `start` to `end` that has any, in order of days."""
        return self._daily_counts(SourceTable.decisions(portfolio), start, end)

    def count_applications(self, portfolio: Portfolio, earliest: date, latest: date) -> DayCounts:
        """All rows of the applications by day, in one query; days outside `earliest` to `latest` are implausible."""
        return self._count(SourceTable.applications(portfolio), earliest, latest)

    def count_outcomes(self, portfolio: Portfolio, earliest: date, latest: date) -> DayCounts:
        """All rows of the outcomes by the day on which they became known, otherwise as `count_applications`."""
        return self._count(SourceTable.outcomes(portfolio), earliest, latest)

    def count_decisions(self, portfolio: Portfolio, earliest: date, latest: date) -> DayCounts:
        """All rows of the decisions by the day on which they became known, otherwise as `count_applications`."""
        return self._count(SourceTable.decisions(portfolio), earliest, latest)

    def first_rows(self, table: str, rows: int) -> pa.Table | None:
        """Some rows of a table or view, all its columns, whatever they hold; None where there is none."""
        if not self._is_there():
            return None
        with self._session() as session:
            return some_rows(session, table, rows)

    def column_names(self, table: str) -> tuple[str, ...]:
        """The columns of a table or view, in its order; none where there is none."""
        if not self._is_there():
            return ()
        with self._session() as session:
            return tuple(session.stored_as(table) or ())

    def date_range(self, portfolio: Portfolio) -> tuple[date, date] | None:
        """First and last application date that a loan book may have; None where there is none."""
        # Of any zone: what is plausible ends years ahead.
        now = datetime.now(UTC).date()
        days = self._count(SourceTable.applications(portfolio), *plausible_days(now, now)).days
        return (min(days), max(days)) if days else None

    def create_tables(self, portfolio: Portfolio) -> None:
        """Create the two tables, keyed by id, where they do not exist. Existing tables are left as they are."""
        with self._session(write=True) as session:
            for source in (SourceTable.stored_applications(portfolio), SourceTable.outcomes(portfolio)):
                session.create(new_table(session, source.written))

    def loaded_files(self, portfolio: Portfolio) -> list[LoadedFile]:
        """The records of the files that were loaded into the portfolio's tables, oldest first."""
        if not self._is_there():
            return []
        with self._session() as session:
            return read_files(session, portfolio)

    def holds_applications(self, portfolio: Portfolio) -> bool:
        """Whether there is a table of applications with a row in it."""
        if not self._is_there():
            return False
        with self._session() as session:
            return holds_rows(session, SourceTable.applications(portfolio))

    def _is_there(self) -> bool:
        """Whether there is something to connect to; a file that a first write makes is not."""
        return True

    def write(
        self, portfolio: Portfolio, applications: pa.Table | None, outcomes: pa.Table | None, load: Load | None = None
    ) -> WriteReport:
        """Insert new ids, update changed ones, leave equal ones; all in one transaction with the record of the file.

        Columns outside the portfolio are neither needed nor touched. Raises PermanentError where a column of the
        portfolio is missing, an id is missing or comes twice, or a value does not fit its type: nothing is written.
        """
        plan = [
            (SourceTable.stored_applications(portfolio), applications),
            (SourceTable.outcomes(portfolio).written, outcomes),
        ]
        staged = [(source, None if rows is None else checked(source, rows)) for source, rows in plan]
        with self._session(write=True) as session:
            counts = []
            for (source, rows), held in zip(staged, (load, None), strict=True):
                counts.append(TableCounts())
                if rows is not None:
                    table = self._open(session, source, source.schema.names)
                    session.lock(source.table)
                    counts[-1] = upsert(session, source, table, rows, max_moved=held.max_moved if held else 1.0)
            write_file(session, portfolio, load)
            return WriteReport(*counts)

    def append(self, portfolio: Portfolio, loaded: LoadedTable, rows: pa.Table, load: Load) -> TableCounts:
        """Insert the rows of decisions or of a history that are not there yet, in one transaction with the record of
        their file; the table is made where there is none. Raises PermanentError as `write` does.
        """
        source = SourceTable.loaded(portfolio, loaded, rows.schema)
        with self._session(write=True) as session:
            session.create(new_table(session, source))
            table = self._open(session, source, source.schema.names)
            session.lock(source.table)
            counts = append(session, source, table, checked(source, rows))
            write_file(session, portfolio, load)
            return counts

    def replace_rows(self, tables: Mapping[str, tuple[str, pa.Table]]) -> dict[str, int]:
        """Write rows of tables that need no portfolio, by name, each with its key: see `writing.replace_rows`. All in
        one transaction.
        """
        with self._session(write=True) as session:
            return {name: replace_rows(session, name, key, rows) for name, (key, rows) in tables.items()}


def _shown(table: OpenTable, source: SourceTable, field: pa.Field) -> sa.ColumnElement[Any]:
    """What a query selects as this field: days as days, moments and all else as they are."""
    import pyarrow as pa

    if field.name in source.moments:
        return table.columns[source.moments[field.name]].label(field.name)
    return table.day(field.name).label(field.name) if pa.types.is_date32(field.type) else table.columns[field.name]


def _of_days(batches: Generator[pa.RecordBatch], column: str, start: date, end: date) -> Generator[pa.RecordBatch]:
    """The rows of `start` to `end`, both included; those without a day too, which are of no other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with closing(batches):
        for batch in batches:
            days = batch.column(column)
            inside = pc.and_(pc.greater_equal(days, pa.scalar(start)), pc.less_equal(days, pa.scalar(end)))
            yield batch.filter(pc.fill_null(inside, True))


def _read_as(values: Any, kind: pa.DataType, zone: str, naive: str | None) -> Reading:
    import pyarrow as pa

    from credit_assets.ml.data.instants import read_days
    from credit_assets.ml.data.values import Reading, read

    if pa.types.is_date32(kind):
        return read_days(values, zone, naive)
    if pa.types.is_int8(kind):  # 0 or 1, in whatever words
        flags = read(values, pa.bool_())
        return Reading(flags.values.cast(kind), flags.misfits)
    return read(values, kind)


def _fitted(
    source: SourceTable,
    zone: str,
    where: str,
    batches: Iterator[Sequence[Any]],
    schema: pa.Schema,
    kept_open: ExitStack,
) -> Generator[pa.RecordBatch]:
    import pyarrow as pa

    from credit_assets.ml.data.instants import read_moments
    from credit_assets.ml.data.unreadable import UNREADABLE, notes

    names, noted = source.schema.names, UNREADABLE in schema.names
    misfits: Counter[str] = Counter()
    with kept_open:
        for batch in batches:
            readings = [
                read_moments(values, zone, source.timezone)
                if field.name in source.moments
                else _read_as(values, field.type, zone, source.timezone)
                for field, values in zip(source.schema, batch, strict=True)
            ]
            misfits.update({n: reading.misfit_count for n, reading in zip(names, readings, strict=True)})
            arrays = [reading.array for reading in readings]
            if noted:
                found = {n: reading.misfits for n, reading in zip(names, readings, strict=True)}
                arrays.append(notes(dict(zip(names, batch, strict=True)), found, len(arrays[0])))
            if noted or not misfits.total():
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    if not noted:
        source.refuse_misfits(misfits, where)
