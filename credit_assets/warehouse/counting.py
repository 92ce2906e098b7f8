"""All rows of a table by day, in one grouped query: those that no day's query finds are counted by the reason.

Belongs here: the query and the reading of its groups. Does not belong here: what became of the rows
(`credit_assets.ml.data.accounts`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.accounts import DayCounts
from credit_assets.warehouse.queries import OpenTable
from credit_assets.warehouse.source import SourceTable

if TYPE_CHECKING:
    import sqlalchemy as sa

_DAY, _MISSING, _UNREADABLE, _IMPLAUSIBLE = "day", "missing", "unreadable", "implausible"


def day_counts_query(table: OpenTable, source: SourceTable, earliest: date, latest: date) -> sa.Select[Any]:
    """Rows by kind and day. Only days of `earliest` to `latest` are given out: of infinite ones, and of years before 1
    or after 9999, most drivers cannot make a day.
    """
    import sqlalchemy as sa

    column, day = table.columns[source.day], table.day(source.day)
    if table.stored[source.day] == "text":
        kind = sa.case(
            (sa.or_(column.is_(None), sa.func.trim(column) == ""), _MISSING),
            # Other forms are not found by comparing text, whatever they would be read as.
            (column.not_like("____-__-__%"), _UNREADABLE),
            else_=_DAY,
        )
    else:
        first, last = sa.literal(earliest, sa.Date), sa.literal(latest, sa.Date)
        kind = sa.case((column.is_(None), _MISSING), (sa.or_(day < first, day > last), _IMPLAUSIBLE), else_=_DAY)
    # Classified within, grouped without: two parameters of equal value would make two expressions of them.
    sorted_ = sa.select(kind.label("kind"), day.label("day")).select_from(table.clause).subquery()
    shown = sa.case((sorted_.c.kind == _DAY, sorted_.c.day))
    named = sa.select(sorted_.c.kind, shown.label("day")).subquery()
    return sa.select(named.c.kind, named.c.day, sa.func.count()).group_by(named.c.kind, named.c.day)


def day_counts(
    groups: Sequence[tuple[Any, ...]],
    as_days: Callable[[Sequence[Any]], Sequence[date | None]],
    earliest: date,
    latest: date,
) -> DayCounts:
    """The groups of `day_counts_query`; `as_days` reads what it gives as days, None where a text is none."""
    days: Counter[date] = Counter()
    others: Counter[str] = Counter()
    found = [(value, int(count)) for kind, value, count in groups if kind == _DAY]
    for kind, _, count in groups:
        if kind != _DAY:
            others[kind] += int(count)
    for day, (_, count) in zip(as_days([value for value, _ in found]), found, strict=True):
        if day is None:
            others[_UNREADABLE] += count
        elif not earliest <= day <= latest:
            others[_IMPLAUSIBLE] += count
        else:
            days[day] += count
    return DayCounts(dict(sorted(days.items())), others[_MISSING], others[_UNREADABLE], others[_IMPLAUSIBLE])
