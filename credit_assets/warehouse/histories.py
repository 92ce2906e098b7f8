"""The SQL of history features: one query a run of days, which sums up where the rows are.

Belongs here: the query, and the reading of its rows. Does not belong here: what an aggregate is and how it ends
(`credit_assets.ml.data.history_features`), and running queries (`session`).

Applications of the days, and the different pairs of key and day among them; of each history the rows of these keys
that count, grouped by key and day; then back to the applications. What is undated or unreadable is counted, since it
cannot count for anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError
from credit_assets.ml.data.histories import LARGEST, NUMERIC, ColumnCondition, History, HistoryFeature, conditions
from credit_assets.ml.data.history_features import FLOAT_PARTS, LIMB, PARTS, columns_of, features_of, finish
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.warehouse.queries import OpenTable
from credit_assets.warehouse.session import Session
from credit_assets.warehouse.source import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from numpy.typing import NDArray

_COUNTS = ("rows", "undated", "unreadable")


@dataclass
class HistoryCounts:
    """What reading the history features of some days has met besides, once all of it is read.

    By day and history: rows that count for an application, rows of its key without a day or without one on which they
    became known, and rows with a number that is none or too large. A row counts once for each application.
    """

    rows: dict[tuple[date, str], int] = field(default_factory=dict)
    undated: dict[tuple[date, str], int] = field(default_factory=dict)
    unreadable: dict[tuple[date, str], int] = field(default_factory=dict)

    def add(self, what: str, days: Sequence[date], history: str, counts: Sequence[int]) -> None:
        found: dict[tuple[date, str], int] = getattr(self, what)
        for day, count in zip(days, counts, strict=True):
            if count:
                found[day, history] = found.get((day, history), 0) + count


@dataclass(frozen=True)
class OpenHistory:
    """A history whose table is there, with its features."""

    history: History
    table: OpenTable
    features: tuple[HistoryFeature, ...]

    @property
    def labels(self) -> list[str]:
        """The columns of its part of the query, in order."""
        return [*_COUNTS, *(label for feature in self.features for label in self.labels_of(feature))]

    def labels_of(self, feature: HistoryFeature) -> list[str]:
        """Those of a feature. By its place: of names as long as the warehouse's own labels would be too long."""
        place = self.features.index(feature)
        return [f"{place}:{part}" for part in PARTS[feature.aggregate]]

    @property
    def columns(self) -> dict[str, str]:
        """The columns that the features read, with their types."""
        return columns_of(self.history, self.features)

    def value(self, rows: Any, name: str) -> Any:
        """A column as its type, among rows of the query."""
        return rows.c[f"value_{list(self.columns).index(name)}"]


def source_of(portfolio: Portfolio, history: History) -> SourceTable:
    """The history as a table of the warehouse, with the columns that its features read."""
    from credit_assets.ml.data.schemas import arrow_schema

    fields: list[Any] = [(history.key, portfolio.column(history.key_of_applications).type), (history.date, "date")]
    fields += [(history.known, "date")] if history.known else []
    fields += columns_of(history, features_of(portfolio, history)).items()
    key, day = history.key, history.date
    return SourceTable(history.table, key, day, arrow_schema(fields), (key, day), portfolio.name, portfolio.timezone)


def opened(portfolio: Portfolio, history: History, table: OpenTable) -> OpenHistory:
    """The history with its features."""
    return OpenHistory(history, table, features_of(portfolio, history))


# The query


def history_query(
    session: Session,
    portfolio: Portfolio,
    applications: OpenTable,
    histories: Sequence[OpenHistory],
    days: tuple[date, date],
) -> tuple[sa.Select[Any], list[Any]]:
    """Of each application of `days`, first to last, its id and day and the `labels` of each history; and what orders
    them.
    """
    import sqlalchemy as sa

    key, day = portfolio.id_column, portfolio.date_column
    start, end = (sa.literal(one, sa.Date) for one in days)
    on = _day(session, applications, day, portfolio)
    keys = list(dict.fromkeys(one.history.key_of_applications for one in histories))
    shown = [applications.columns[key].label("id"), on.label("day")]
    shown += [applications.columns[name].label(f"key_{place}") for place, name in enumerate(keys)]
    given = (
        sa.select(*shown).where(*applications.between(day, *days), on >= start, on <= end).cte("credit_applications")
    )
    chosen: list[Any] = [given.c.id, given.c.day]
    joined: Any = given
    for place, one in enumerate(histories):
        own = given.c[f"key_{keys.index(one.history.key_of_applications)}"]
        pairs = sa.select(own.label("key"), given.c.day).where(own.is_not(None)).distinct().subquery(f"pairs_{place}")
        summed = _summed(session, portfolio, one, pairs, applications.stored[one.history.key_of_applications])
        grouped = summed.subquery(f"history_{place}")
        joined = joined.outerjoin(grouped, sa.and_(grouped.c.key == own, grouped.c.day == given.c.day))
        chosen += [grouped.c[label].label(f"{place}:{label}") for label in one.labels]
    order: Any = given.c.id
    if applications.stored[key] == "text":
        order = session.sorted_text(order)
    return sa.select(*chosen).select_from(joined), [given.c.day, order]


def _summed(session: Session, portfolio: Portfolio, one: OpenHistory, pairs: Any, key_stored: str) -> sa.Select[Any]:
    """The rows of the history that count for each pair of key and day, summed up."""
    import sqlalchemy as sa

    history, table = one.history, one.table
    dated = _day(session, table, history.date, portfolio)
    known = dated if history.known is None else _day(session, table, history.known, portfolio)
    first = sa.literal(date.min, sa.Date)
    # Databases hold days before the calendar, which have no distance from others: they count as none.
    outside = [dated < first, *([known.is_(None), known < first] if history.known else [])]
    age = sa.case((sa.or_(*outside), None), else_=session.days_between(pairs.c.day, dated))
    mine, theirs = table.columns[history.key], pairs.c.key
    if (table.stored[history.key] == "text") != (key_stored == "text"):
        mine, theirs = (sa.cast(side, sa.Text) for side in (mine, theirs))
    # Those without a day too, to be counted; a row's age is null then.
    before = [sa.func.coalesce(dated, first) < pairs.c.day]
    before += [sa.func.coalesce(known, first) < pairs.c.day] if history.known else []
    values = {name: _value(session, history, table, name, kind) for name, kind in one.columns.items()}
    unreadable = [bad for _, bad in values.values() if bad is not None]
    when = [table.columns[history.date], *([table.columns[history.known]] if history.known else [])]
    rows = (
        sa.select(
            pairs.c.key,
            pairs.c.day,
            age.label("age"),
            *(value.label(f"value_{place}") for place, (value, _) in enumerate(values.values())),
            *(moment.label(f"when_{place}") for place, moment in enumerate(when)),
            (sa.case((sa.or_(*unreadable), 1), else_=0) if unreadable else sa.literal_column("0")).label("unreadable"),
        )
        .select_from(pairs.join(table.clause, mine == theirs))
        .where(*before)
        .subquery()
    )
    order = [rows.c[f"when_{place}"] for place in range(len(when))]
    rows, lasts = _ranked(session, one, rows, order)
    counted = {
        "rows": sa.func.count(rows.c.age),
        "undated": sa.func.count() - sa.func.count(rows.c.age),
        "unreadable": sa.func.sum(rows.c.unreadable),
    }
    parts = [counted[name].label(name) for name in _COUNTS]
    for feature in one.features:
        made = [lasts[feature.name]] if feature.name in lasts else _parts(session, one, feature, rows)
        parts += [part.label(name) for name, part in zip(one.labels_of(feature), made, strict=True)]
    return sa.select(rows.c.key, rows.c.day, *parts).group_by(rows.c.key, rows.c.day)


def _ranked(session: Session, one: OpenHistory, rows: Any, order: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """The rows, and the value of each feature that is the last one: by an aggregate of the warehouse, or that of the
    first row when all are numbered from the end.
    """
    import sqlalchemy as sa

    of_last = [feature for feature in one.features if feature.aggregate == "last"]
    lasts, numbered = {}, {}
    for feature in of_last:
        value, met = one.value(rows, str(feature.column)), _met(one, feature, rows)
        found = session.last(value, [rows.c[when.name] for when in order], met)
        if found is not None:
            lasts[feature.name] = found
            continue
        first = sa.case((sa.and_(met, value.is_not(None)), 0), else_=1)
        numbered[feature.name] = sa.func.row_number().over(
            partition_by=[rows.c.key, rows.c.day],
            order_by=[first, *(rows.c[when.name].desc() for when in order), value.desc()],
        )
    if not numbered:
        return rows, lasts
    numbers = (number.label(f"number_{place}") for place, number in enumerate(numbered.values()))
    ranked = sa.select(*rows.c, *numbers).subquery()
    for place, feature in enumerate(feature for feature in of_last if feature.name in numbered):
        last = sa.and_(ranked.c[f"number_{place}"] == 1, _met(one, feature, ranked))
        lasts[feature.name] = sa.func.max(sa.case((last, one.value(ranked, str(feature.column)))))
    return ranked, lasts


def _parts(session: Session, one: OpenHistory, feature: HistoryFeature, rows: Any) -> list[Any]:
    """PARTS of a feature as aggregates."""
    import sqlalchemy as sa

    met = _met(one, feature, rows)
    match feature.aggregate:
        case "count":
            return [_count(met)]
        case "share":
            return [_count(_within(rows, feature.reach_days)), _count(met)]
        case "days_since_last":
            return [sa.func.min(sa.case((met, rows.c.age)))]
    value = one.value(rows, str(feature.column))
    match feature.aggregate:
        case "min":
            return [sa.func.min(sa.case((met, value)))]
        case "max":
            return [sa.func.max(sa.case((met, value)))]
        case "change":
            new = sa.and_(met, rows.c.age <= feature.window_days)
            old = sa.and_(met, rows.c.age > feature.window_days)
            return [*_exact_sum(session, value, new), *_exact_sum(session, value, old)]
    return _exact_sum(session, value, met)


def _count(met: Any) -> Any:
    import sqlalchemy as sa

    return sa.func.count(sa.case((met, 1)))


def _exact_sum(session: Session, value: Any, met: Any) -> list[Any]:
    """Rows with a value, and their sum in two whole numbers."""
    import sqlalchemy as sa

    met = sa.and_(met, value.is_not(None))
    millionths = session.floor(value * _float(1e6) + _float(0.5))
    summed = session.sum_in_limbs(millionths, met, LIMB)
    if summed is None:
        high = session.floor(millionths / _float(LIMB))
        limbs = high, millionths - high * _float(LIMB)
        summed = [sa.func.sum(sa.case((met, sa.cast(limb, sa.BigInteger)))) for limb in limbs]
    return [_count(met), *(sa.cast(one, sa.BigInteger) for one in summed)]


def _within(rows: Any, reach: int | None) -> Any:
    import sqlalchemy as sa

    dated = rows.c.age.is_not(None)
    return dated if reach is None else sa.and_(dated, rows.c.age <= reach)


def _met(one: OpenHistory, feature: HistoryFeature, rows: Any) -> Any:
    import sqlalchemy as sa

    return sa.and_(
        _within(rows, feature.reach_days),
        *(_holds(each, one.value(rows, each.column)) for each in conditions(feature, one.history)),
    )


def _holds(condition: ColumnCondition, column: Any) -> Any:
    import sqlalchemy as sa

    values = [_float(one) if isinstance(one, float) else one for one in condition.values]
    match condition.operator:
        case ">=":
            return column >= values[0]
        case ">":
            return column > values[0]
        case "<=":
            return column <= values[0]
        case "<":
            return column < values[0]
        case "!=":
            return column != values[0]
    return sa.or_(*(column == one for one in values))


def _float(number: float) -> Any:
    """A number of the program or of the validated portfolio, as a float of 64 bits: a parameter may come as another."""
    import sqlalchemy as sa

    return sa.cast(sa.literal(float(number), sa.Double), sa.Double)


def _day(session: Session, table: OpenTable, name: str, portfolio: Portfolio) -> Any:
    """The column as a day. Raises PermanentError where this warehouse cannot tell it."""
    if table.tells_day(name) and table.stored[name] != "other":
        return table.day(name)
    found = None
    if table.stored[name] == "text":
        found = session.day_of_text(table.columns[name], table.zone, table.naive)
    if found is None:
        raise PermanentError(
            f"history features of portfolio {portfolio.name} need the day of {table.clause.name}.{name} in the "
            f"warehouse's own SQL, and it is stored as {table.stored[name]}: let a view show it as DATE"
        )
    return found


def _value(session: Session, history: History, table: OpenTable, name: str, kind: str) -> tuple[Any, Any]:
    """The column as its type, null where missing, and where it holds what cannot be read, if that can be."""
    import sqlalchemy as sa

    column = table.columns[name]
    if kind not in NUMERIC:
        return table.text(name), None
    held = session.numbers_in(history.table, name)
    if held is None:
        raise PermanentError(
            f"column {name} of table {history.table} is {kind} in the portfolio and stored as text or another type "
            "that holds no numbers: let a view show it as a number"
        )
    if held == "boolean":
        return sa.case((column.is_(True), _float(1)), (column.is_(False), _float(0))), None
    # By way of its text, as people see it: 1.1, not 1.10000002384186.
    number: Any = sa.cast(sa.cast(column, sa.Text) if held == "single" else column, sa.Double)
    sound: Any = None
    if held != "whole":
        # NaN is above all numbers, where there is one.
        sound = sa.func.abs(number) < _float(LARGEST)
    if held == "each by itself":
        sound = sa.and_(sa.func.typeof(column).in_(["integer", "real"]), sound)
    if kind == "boolean":
        flag = sa.or_(number == _float(0), number == _float(1))
        sound = flag if sound is None else sa.and_(sound, flag)
    if sound is None:
        return number, None
    value = sa.case((sound, number))
    return value, sa.and_(column.is_not(None), value.is_(None))


# Its rows


def types_of(histories: Sequence[OpenHistory], schema: pa.Schema) -> list[pa.DataType]:
    """What the columns of the query are like."""
    import pyarrow as pa

    return [*schema.types[:2], *(pa.int64() for one in histories for _ in one.labels)]


def read_rows(
    batches: Iterator[Sequence[Any]],
    histories: Sequence[OpenHistory],
    schema: pa.Schema,
    counts: HistoryCounts,
) -> Iterator[pa.RecordBatch]:
    """The rows of the query as those of `history_schema`."""
    import pyarrow as pa

    from credit_assets.ml.data.instants import read_days
    from credit_assets.ml.data.values import read

    for batch in batches:
        ids, days = read(batch[0], schema.field(0).type).array, read_days(batch[1], "UTC").array
        dates, place = days.to_pylist(), 2
        made: dict[str, Any] = {}
        for one in histories:
            given = {label: _numbers(label, batch[place + n]) for n, label in enumerate(one.labels)}
            place += len(given)
            made[one.history.rows_column] = pa.array(given["rows"], mask=given["rows"] == 0)
            for what in _COUNTS:
                counts.add(what, dates, one.history.name, given[what].tolist())
            for feature in one.features:
                parts = [given[label] for label in one.labels_of(feature)]
                made[feature.name] = pa.array(finish(feature, given["rows"], parts), from_pandas=True)
        columns = [ids, days, *(made[name] for name in schema.names[2:])]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _numbers(label: str, values: Any) -> NDArray[Any]:
    """A column of the query for numpy: floats with NaN where there is none, whole numbers with 0."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if label.rpartition(":")[2] in FLOAT_PARTS:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    return np.asarray(pc.fill_null(column.cast(pa.int64()), 0), dtype=np.int64)
