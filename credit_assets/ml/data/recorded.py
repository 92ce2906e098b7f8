"""What a table says now, recorded by the day on which it was first seen, where the table does not say since when.

Belongs here: which of the rows read are news, and to which day they go. Does not belong here: reading the table, and
keeping the record (`credit_assets.assets.decisions`).

A status column is overwritten: what it said yesterday is gone. So the statuses of the last days are read again every
day, and what has changed is recorded as having become known on the day that was read for. What is recorded stays: made
again, a day gives what it gave. Days that are read late, by a backfill say, take what stands there then: a first sight
of an application goes to the day of the application, or to the first of the days that are made where that is later,
and a change since to the last of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio

_EPOCH = date(1970, 1, 1)
_NEVER = -(2**40)


def one_a_loan(now: pa.Table, portfolio: Portfolio) -> pa.Table:
    """What a column of the applications says, as it is recorded: ids and statuses as the contract reads them, and of an
    id that comes more than once the decision that counts. Rows without an id are left out.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.data.ids import normal_ids
    from credit_assets.ml.data.known_rows import KnownRows, last_of_each
    from credit_assets.ml.data.population import CLASSES
    from credit_assets.ml.data.values import texts

    stated = portfolio.decisions
    assert stated is not None
    key, at = now.column_names[0], now.column_names.index(stated.status)
    status = pc.utf8_trim_whitespace(now[stated.status])
    status = pc.if_else(pc.equal(status, ""), pa.scalar(None, pa.string()), status)
    now = now.set_column(at, now.schema.field(at), status).set_column(0, now.schema.field(0), normal_ids(now[key]))
    places, different = texts(status)
    ranks = {text: CLASSES.index(name) for text, name in stated.classes.items()}
    rank = np.array([-1 if text is None else ranks.get(text, len(CLASSES)) for text in different], dtype=np.int64)
    rows = KnownRows(now[key], now[now.column_names[1]], rank[places] if len(different) else places.astype(np.int64))
    return now.take(pa.array(np.sort(rows.order[last_of_each(rows.place)])))


def news(
    now: pa.Table, before: pa.Table, days: Sequence[date], within_days: int, later: date | None = None
) -> pa.Table:
    """The rows that are news, with the day that they go to in the place of their own day.

    Parameters
    ----------
    now
        What the table says now: id, day of the application, and what is recorded of it; one row an application.
    before
        What was recorded already, on whichever day: id, the day, and the same columns.
    days
        The days that are made, none of which is recorded, in order.
    within_days
        For how many days after the application its row is read again.
    later
        The first day after these that is recorded already. What it could have seen and did not, came after it: the next
        day has it.

    Returns
    -------
    pa.Table
        With the columns of `before`, in order of (day, id).
    """
    import numpy as np
    import pyarrow as pa

    from credit_assets.ml.data.known_rows import KnownRows, last_of_each

    key, own, *says = now.column_names
    made = np.array([(day - _EPOCH).days for day in days], dtype=np.int64)
    recorded = KnownRows(before[key], before[before.column_names[1]])
    last = last_of_each(recorded.place)
    places = recorded.places(now[key])
    known_on, rows = np.full(len(last), _NEVER), np.zeros(len(last), dtype=np.int64)
    known_on[recorded.place[last]] = recorded.day[last]
    rows[recorded.place[last]] = recorded.order[last]
    seen = places >= 0
    applied = now[own].cast(pa.int32()).cast(pa.int64()).to_numpy()
    since = np.where(seen, known_on[places] if len(last) else _NEVER, _NEVER)
    changed = ~seen
    if seen.any():
        at = np.flatnonzero(seen)
        then = before.take(pa.array(rows[places[at]]))
        here = now.take(pa.array(at))
        changed[at] = np.logical_or.reduce([_differ(here[name], then[name]) for name in says])
    to = _days_of(made, applied, since, seen, within_days)
    to = np.where(~seen & _had_been_seen(applied, later, within_days), _NEVER, to)
    wanted = np.flatnonzero(changed & (to != _NEVER))
    taken = now.take(pa.array(wanted))
    day = pa.array(to[wanted].astype(np.int32), pa.int32()).cast(pa.date32())
    found = pa.Table.from_arrays([taken[key], day, *(taken[name] for name in says)], schema=before.schema)
    return found.sort_by([(before.column_names[1], "ascending"), (key, "ascending")])


def telling_rows(now: pa.Table, status: str) -> pa.Table:
    """Rows of outcomes as they are recorded: ids and statuses as the contract reads them, each row once; without those
    that have no id or no status, which say nothing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.data.ids import normal_ids

    key, at = now.column_names[0], now.column_names.index(status)
    text = pc.utf8_trim_whitespace(now[status])
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    now = now.set_column(at, now.schema.field(at), text).set_column(0, now.schema.field(0), normal_ids(now[key]))
    return now.drop_null().group_by(now.column_names, use_threads=False).aggregate([])


def new_rows(
    now: pa.Table, before: pa.Table, days: Sequence[date], within_days: int, later: date | None = None
) -> pa.Table:
    """Of `now`, rows of `telling_rows` (id, date, status), those that are not recorded yet, each with the first of the
    days that are made from its own date on; otherwise as `news`.
    """
    import numpy as np
    import pyarrow as pa

    key, known_on, own, status = before.column_names
    unknown = now.join(before.drop_columns([known_on]), keys=[key, own, status], join_type="left anti")
    made = np.array([(day - _EPOCH).days for day in days], dtype=np.int64)
    booked = unknown[own].cast(pa.int32()).cast(pa.int64()).to_numpy()
    none = np.zeros(len(booked), dtype=bool)
    to = _days_of(made, booked, np.full(len(booked), _NEVER), none, within_days)
    to = np.where(_had_been_seen(booked, later, within_days), _NEVER, to)
    wanted = np.flatnonzero(to != _NEVER)
    taken = unknown.take(pa.array(wanted))
    day = pa.array(to[wanted].astype(np.int32), pa.int32()).cast(pa.date32())
    found = pa.Table.from_arrays([taken[key], day, taken[own], taken[status]], schema=before.schema)
    return found.sort_by([(name, "ascending") for name in (known_on, key, own, status)])


def _had_been_seen(own: NDArray[np.int64], later: date | None, within_days: int) -> NDArray[np.bool_]:
    """Whether a row of each of these days, had it been there, would have been seen on a later day that is recorded."""
    import numpy as np

    return np.zeros(len(own), dtype=bool) if later is None else own + within_days >= (later - _EPOCH).days


def _days_of(
    made: NDArray[np.int64],
    applied: NDArray[np.int64],
    since: NDArray[np.int64],
    seen: NDArray[np.bool_],
    within_days: int,
) -> NDArray[np.int64]:
    """The day to which the row of each application goes, if it is news: among those that are made, after the day on
    which it was recorded last, and within the days in which it is read; _NEVER where there is none.
    """
    import numpy as np

    first = np.searchsorted(made, np.maximum(applied, since + 1), "left")
    last = np.searchsorted(made, applied + within_days, "right") - 1
    at = np.where(seen, last, first)
    return np.where((first <= last) & (first < len(made)), made[at.clip(0, len(made) - 1)], _NEVER)


def _differ(here: pa.ChunkedArray, then: pa.ChunkedArray) -> NDArray[np.bool_]:
    import numpy as np
    import pyarrow.compute as pc

    equal = pc.or_(pc.fill_null(pc.equal(here, then), False), pc.and_(pc.is_null(here), pc.is_null(then)))
    return ~np.asarray(equal.to_numpy(), dtype=bool)
