"""Features of an applicant's history: what each aggregate is of the rows that were known before the application.

Belongs here: the aggregates, of rows in memory and of what a warehouse summed up; both end in `finish`, so that they
agree to the last bit. Does not belong here: the keys of the portfolio file (`histories`), and the SQL
(`credit_assets.warehouse.histories`).

A row counts for an application where its day, and the day on which it became known, lie before the application's. The
age of a row is the number of days from its day to the application's, 1 the day before. Where several rows stand last,
the one of the later `date` does, then that of the later `known`, then the one with the larger value.

Sums are exact: a value counts in whole millionths (`floor(1,000,000 x + 0.5)`), these add up as whole numbers, and what
is divided is divided once. Floating-point sums would depend on the order of the rows, which no warehouse promises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from credit_assets.ml.data.histories import LARGEST, NUMERIC, ColumnCondition, History, HistoryFeature, conditions
from credit_assets.ml.data.instants import read_days, read_moments

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.data.values import Values

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Part: TypeAlias = Integers | Floats
    HistoryRows: TypeAlias = pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]]

MILLIONTHS, LIMB = 1_000_000, 2**32
"""Sums come as two whole numbers, `high` * LIMB + `low` millionths: neither is too large for 64 bits."""
# High parts below this make whole numbers that a float holds.
_HELD = 2**20

_SUM = ("rows", "high", "low")
PARTS: Mapping[str, tuple[str, ...]] = {
    "count": ("rows",),
    "share": ("rows", "met"),
    "sum": _SUM,
    "mean": _SUM,
    "min": ("value",),
    "max": ("value",),
    "last": ("value",),
    "days_since_last": ("age",),
    "change": (*_SUM, *(f"{part}_before" for part in _SUM)),
}
"""What an aggregate is made of: whole numbers, and of one FLOAT_PARTS that may be missing."""
FLOAT_PARTS = frozenset({"value", "age"})


def finish(feature: HistoryFeature, rows: Integers, parts: Sequence[Part]) -> Floats:
    """The feature of n applications, NaN where it is missing.

    `rows` are the rows of each, whenever they are of; `parts` the PARTS of its aggregate: whole numbers, 0 where there
    is nothing to count or add, and floats, NaN where there is none.
    """
    import numpy as np

    made: Floats = _FINISHED[feature.aggregate](*parts)
    if feature.aggregate in ("count", "sum"):
        made = np.where(rows > 0, made, 0.0 if feature.default is None else feature.default)
    elif feature.default is not None:
        made = np.where(np.isnan(made), feature.default, made)
    # Plus zero: of two zeros, which are equal, any may be the smallest, and -0.0 has other bits.
    return made + 0.0


def _as_they_are(values: Part) -> Floats:
    import numpy as np

    return np.asarray(values, dtype=np.float64)


def _share(rows: Integers, met: Integers) -> Floats:
    import numpy as np

    return np.where(rows > 0, met / np.maximum(rows, 1), np.nan)


def _sum(rows: Integers, high: Integers, low: Integers) -> Floats:
    import numpy as np

    return _divided(high, low, np.ones_like(rows))


def _mean(rows: Integers, high: Integers, low: Integers) -> Floats:
    import numpy as np

    return np.where(rows > 0, _divided(high, low, np.maximum(rows, 1)), np.nan)


def _divided(high: Integers, low: Integers, by: Integers) -> Floats:
    """Millionths over a whole number, correctly rounded: of two whole numbers that floats hold, division is."""
    import numpy as np

    made: Floats
    held = (np.abs(high) < _HELD) & (np.abs(low) <= LIMB) & (by < _HELD * LIMB // MILLIONTHS)
    made = (np.where(held, high, 0) * LIMB + np.where(held, low, 0)) / (MILLIONTHS * np.where(held, by, 1))
    for at in np.flatnonzero(~held).tolist():
        # Python divides whole numbers of any size correctly rounded.
        made[at] = (int(high[at]) * LIMB + int(low[at])) / (MILLIONTHS * int(by[at]))
    return made


def _change(*parts: Integers) -> Floats:
    import numpy as np

    found = [
        ((h * LIMB + l) * m - (g * LIMB + k) * n) / (MILLIONTHS * n * m) if n and m else math.nan
        for n, h, l, m, g, k in zip(*(part.tolist() for part in parts), strict=True)  # noqa: E741
    ]
    return np.array(found, dtype=np.float64)


_FINISHED: Mapping[str, Callable[..., Floats]] = {
    "count": _as_they_are,
    "share": _share,
    "sum": _sum,
    "mean": _mean,
    "min": _as_they_are,
    "max": _as_they_are,
    "last": _as_they_are,
    "days_since_last": _as_they_are,
    "change": _change,
}


# Of rows in memory


@dataclass(frozen=True)
class _Row:
    age: int
    when: tuple[int, int]
    values: Mapping[str, Any]


def history_features(
    portfolio: Portfolio, application_date: date, rows: Mapping[str, HistoryRows], *, timezone: str = "UTC"
) -> dict[str, float | None]:
    """The history features of one applicant, from the rows of the histories in memory: to the last bit those that
    `history_features` of the day has, whatever the order of the rows.

    Parameters
    ----------
    portfolio
        With the histories and the features.
    application_date
        The day of the application, in `timezone`.
    rows
        By the name of each history that has a feature, the rows of this applicant and nobody else: a table, a frame, or
        a list of records. Rows of the day itself, of later ones, and those not known before it, do not count.
    timezone
        The zone in which days are cut: that of CREDIT_TIMEZONE.

    Returns
    -------
    dict
        Each feature by name; None where it is missing.

    Raises
    ------
    ValueError
        Naming a history whose rows are not given, one that the portfolio has not, or a column that they lack.

    Examples
    --------
    >>> from credit_assets.ml.data.portfolio import Portfolio
    >>> portfolio = Portfolio.model_validate({
    ...     "name": "small",
    ...     "columns": [
    ...         {"name": "id", "type": "string", "role": "id", "nullable": False},
    ...         {"name": "day", "type": "date", "role": "date", "nullable": False},
    ...         {"name": "customer", "type": "string", "role": "ignored"},
    ...         {"name": "amount", "type": "float"},
    ...     ],
    ...     "histories": [{
    ...         "name": "months", "table": "account_months", "key": "customer", "date": "month_end", "known": "loaded",
    ...         "columns": [{"name": "days_past_due", "type": "integer"}, {"name": "balance", "type": "float"}],
    ...     }],
    ...     "derived": [
    ...         {"name": "late_12m", "history": "months", "aggregate": "count", "where": {"days_past_due": ">= 30"},
    ...          "window_days": 365},
    ...         {"name": "balance", "history": "months", "aggregate": "last", "column": "balance"},
    ...     ],
    ... })
    >>> months = [
    ...     {"month_end": "2024-01-31", "loaded": "2024-02-02", "days_past_due": 35, "balance": 910.5},
    ...     {"month_end": "2024-02-29", "loaded": "2024-03-02", "days_past_due": 0, "balance": 850.0},
    ... ]
    >>> history_features(portfolio, date(2024, 3, 2), {"months": months})
    {'late_12m': 1.0, 'balance': 910.5}
    >>> history_features(portfolio, date(2024, 3, 3), {"months": months})
    {'late_12m': 1.0, 'balance': 850.0}
    """
    import numpy as np

    if isinstance(application_date, datetime):
        raise ValueError("application_date is a day: give its date in `timezone`")
    features = portfolio.history_features
    needed = {feature.history for feature in features}
    if missing := sorted(needed - set(rows)):
        raise ValueError(f"no rows are given for history {', '.join(missing)}: give an empty list where there are none")
    if unknown := sorted(set(rows) - {one.name for one in portfolio.histories}):
        raise ValueError(f"the portfolio has no history {', '.join(unknown)}")
    made: dict[str, float | None] = {}
    for history in portfolio.histories:
        if history.name not in needed:
            continue
        of_it = features_of(portfolio, history)
        columns = columns_of(history, of_it)
        zones = timezone, None if portfolio.timezone == timezone else portfolio.timezone
        counting = _counting(history, columns, application_date, rows[history.name], zones)
        for feature in of_it:
            found = zip(PARTS[feature.aggregate], _parts(feature, conditions(feature, history), counting), strict=True)
            kinds: dict[bool, Any] = {True: np.float64, False: np.int64}
            parts = [np.array([part], dtype=kinds[name in FLOAT_PARTS]) for name, part in found]
            value = float(finish(feature, np.array([len(counting)]), parts)[0])
            made[feature.name] = None if math.isnan(value) else value
    return {feature.name: made[feature.name] for feature in features}


def features_of(portfolio: Portfolio, history: History) -> tuple[HistoryFeature, ...]:
    """The features of one history, in file order."""
    return tuple(feature for feature in portfolio.history_features if feature.history == history.name)


def columns_of(history: History, features: Sequence[HistoryFeature]) -> dict[str, str]:
    """The columns that the features read, with their types."""
    named = {name for one in features for name in (*one.where, *([one.column] if one.column else []))}
    return {column.name: column.type for column in history.columns if column.name in named}


def _counting(
    history: History, columns: Mapping[str, str], day: date, rows: HistoryRows, zones: tuple[str, str | None]
) -> list[_Row]:
    """The rows that count for an application of the day."""
    import pyarrow as pa

    from credit_assets.ml.data.values import finite, read

    dated = [history.date, *([history.known] if history.known else [])]
    given, count = _given(history, [*dated, *columns], rows)
    if not count:
        return []
    days = [read_days(given[name], *zones).values.to_pylist() for name in dated]
    moments = [read_moments(given[name], *zones).values.to_pylist() for name in dated]
    values: dict[str, list[Any]] = {}
    for name, kind in columns.items():
        if kind == "boolean":
            values[name] = read(read(given[name], pa.bool_()).values, pa.float64()).values.to_pylist()
        elif kind in NUMERIC:
            numbers = finite(read(given[name], pa.float64()).values).to_pylist()
            values[name] = [n if n is not None and -LARGEST < n < LARGEST else None for n in numbers]
        else:
            values[name] = read(given[name], pa.string()).values.to_pylist()
    counting = []
    for at in range(count):
        if all(one[at] is not None and one[at] < day for one in days):
            when = moments[0][at], moments[-1][at]
            counting.append(_Row((day - days[0][at]).days, when, {name: of[at] for name, of in values.items()}))
    return counting


def _given(history: History, needed: Sequence[str], rows: HistoryRows) -> tuple[dict[str, Values], int]:
    """The needed columns of rows in whatever form, and how many rows there are."""
    if isinstance(rows, Sequence):
        lacking = sorted({name for row in rows for name in needed if name not in row})
        columns: Any = {name: [row.get(name) for row in rows] for name in needed}
    else:
        names = rows.column_names if hasattr(rows, "column_names") else list(rows.columns)
        lacking = [name for name in needed if name not in names]
        columns = rows
    if lacking:
        raise ValueError(f"the rows of history {history.name!r} lack the columns {', '.join(lacking)}")
    return {name: columns[name] for name in needed}, len(rows)


def _parts(feature: HistoryFeature, where: Sequence[ColumnCondition], rows: Sequence[_Row]) -> tuple[Any, ...]:
    reach, window = feature.reach_days, feature.window_days
    within = [row for row in rows if reach is None or row.age <= reach]
    met = [row for row in within if all(one.met(row.values[one.column]) for one in where)]
    aggregate, name = feature.aggregate, feature.column
    if aggregate == "count":
        return (len(met),)
    if aggregate == "share":
        return len(within), len(met)
    if aggregate == "days_since_last":
        return (min((row.age for row in met), default=None),)
    assert name is not None
    valued = [row for row in met if row.values[name] is not None]
    if aggregate in ("sum", "mean"):
        return _summed([row.values[name] for row in valued])
    if aggregate == "change":
        assert window is not None
        now, before = ([row.values[name] for row in valued if (row.age <= window) is new] for new in (True, False))
        return *_summed(now), *_summed(before)
    if not valued:
        return (None,)
    if aggregate == "last":
        return (max(valued, key=lambda row: (row.when, row.values[name])).values[name],)
    values = [row.values[name] for row in valued]
    return (min(values) if aggregate == "min" else max(values),)


def _summed(values: Sequence[float]) -> tuple[int, int, int]:
    total = sum(math.floor(value * 1e6 + 0.5) for value in values)
    return len(values), total // LIMB, total % LIMB
