"""Cohorts: which applications are mature on a day, what became of them, and how time splits them.

Belongs here: the window of mature cohorts, the target, the point-in-time join and the split. Does not belong here:
rules on single columns (`contracts`), the gates on the result (`ml.rules.training_gates`) and fitting (`ml.learners`).

The target of an application is 1 when an outcome with default became known from the day of application up to and with
day W after it (the performance window), else 0. It is defined once that window has closed. Bads are known sooner than
goods, so labelling "whatever is known by now" overstates risk: on the LendingClub loans of 2007-2011, 40% instead of
16.6%. Every application here had the same W days to default in, and nothing that became known later is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from credit_assets.ml.data.ordering import in_order
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import features_schema, outcomes_schema, training_schema
from credit_assets.ml.data.values import as_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    TableLike: TypeAlias = pa.Table | pd.DataFrame

TARGET, SPLIT = "default", "split"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class CohortWindow:
    """The applications that an as-of date D trains on: those of `lookback_days` days, the newest mature on D.

    `window_days` is the performance window W. D = 2011-12-31, W = 365 and 90 days of lookback give the applications of
    2010-10-03 .. 2010-12-31. Raises ValueError where W or the lookback is not positive.
    """

    as_of: date
    window_days: int
    lookback_days: int

    def __post_init__(self) -> None:
        if self.window_days < 1 or self.lookback_days < 1:
            raise ValueError(
                f"the performance window ({self.window_days} days) and the lookback ({self.lookback_days} days) "
                "must each be at least 1 day"
            )

    @property
    def last(self) -> date:
        """Last application date of the window: as_of - window_days, whose window closes on the as-of date."""
        return self.as_of - timedelta(days=self.window_days)

    @property
    def first(self) -> date:
        """First application date of the window; it has `lookback_days` days with `last`."""
        return self.last - timedelta(days=self.lookback_days - 1)


@dataclass(frozen=True)
class JoinFindings:
    """What the point-in-time join passed over, in rows. Zero on sound data.

    `outcomes_before_application`: defaults dated before the application they belong to. No default of this loan can be
    known before it was applied for (the id is used twice, or a date is wrong), so they do not count as its default.
    `repeated_applications`: further applications of the window under an id that an earlier day of it holds already.
    They would get the same outcome, and could stand in training and test at once, so the first one alone is kept.
    `outcomes_without_application`: defaults whose id is not in the window; ordinary, they belong to other cohorts.
    """

    outcomes_before_application: int
    repeated_applications: int
    outcomes_without_application: int


def assemble_training_set(
    features: TableLike,
    outcomes: TableLike,
    window: CohortWindow,
    portfolio: Portfolio,
    *,
    test_share: float,
    validation_share: float,
) -> pa.Table:
    """Model inputs of the window's applications with their target and split, sorted by (date, id).

    The newest days are "test", those before them "validation", the rest "train"; days are never divided. What the join
    passed over is counted by `join_findings`. A table that is sorted and lies in the window is not copied.

    Parameters
    ----------
    features
        As from `feature_table`, a table or frame in any order and for any days: rows outside the window are not used.
    outcomes
        As the contract keeps them: id, date and defaulted, in any order; those after `window.as_of` are not used.
    window
        The cohorts.
    portfolio
        Whose columns both have.
    test_share, validation_share
        About which share of the rows is "test" and "validation".

    Returns
    -------
    pa.Table
        A table of `training_schema(portfolio)`: id, date, the portfolio's features, `default` (1 iff a default became
        known from the application date up to and with day `window_days` after it) and `split`.

    Raises
    ------
    ValueError
        Where columns are missing or hold values of another type, no application lies in the window, fewer than three
        days have any, the shares leave no room for training, or one id stands in one day with different features.
    """
    table = mature_set(features, outcomes, window, portfolio, test_share=test_share, validation_share=validation_share)
    if not table.num_rows:
        raise ValueError(
            f"no application between {window.first} and {window.last}, the cohorts that as-of date {window.as_of} "
            f"trains on (performance window {window.window_days} days, lookback {window.lookback_days} days): load "
            "these days or take a later as-of date"
        )
    if table[SPLIT][-1].as_py() != SPLITS[-1]:
        days = len(table[portfolio.date_column].unique())
        raise ValueError(
            f"applications on {days} day{'s' if days > 1 else ''} of {window.first} .. {window.last} cannot "
            "be split by time into train, validation and test: at least 3 days must have some; load more of them"
        )
    return table


def mature_set(
    features: TableLike,
    outcomes: TableLike,
    window: CohortWindow,
    portfolio: Portfolio,
    *,
    test_share: float,
    validation_share: float,
) -> pa.Table:
    """What `assemble_training_set` gives, and where that refuses, what there is: no rows, or the rows of fewer than
    three days, all of them "train". For whoever has the gates judge it (`ml.rules.training_gates`), with numbers.
    """
    import pyarrow as pa

    if not (test_share > 0 and validation_share > 0 and test_share + validation_share < 1):
        raise ValueError(
            f"test_share ({test_share:g}) and validation_share ({validation_share:g}) must be positive and leave "
            "something to train on: their sum must be below 1"
        )
    cohort, _ = _cohort(features, window, portfolio)
    target = targets(cohort, outcomes, window, portfolio)
    lengths = _split(cohort[portfolio.date_column].to_numpy(), test_share, validation_share)
    split = pa.chunked_array([pa.repeat(name, length) for name, length in zip(SPLITS, lengths, strict=True)])
    return pa.Table.from_arrays([*cohort.columns, pa.array(target), split], schema=training_schema(portfolio))


def targets(
    applications: TableLike, outcomes: TableLike, window: CohortWindow, portfolio: Portfolio
) -> NDArray[np.int8]:
    """The target of each application, in the order of its rows: 1 iff a default became known from the application date
    up to and with day `window_days` after it.

    The target of an application is the same for every later as-of date: its window had closed.

    Parameters
    ----------
    applications
        A table or frame with the portfolio's id and date.
    outcomes, window, portfolio
        As `assemble_training_set` takes them.

    Raises
    ------
    ValueError
        Where columns are missing or hold values of another type, or an application lies outside the window, where it
        may have no target yet.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = _keys(applications, portfolio)
    outside = len(rows) - (pc.sum(_inside(rows, window, portfolio)).as_py() or 0)
    if outside:
        raise ValueError(
            f"{outside} applications lie outside {window.first} .. {window.last}, the cohorts whose target "
            f"is defined on as-of date {window.as_of}"
        )
    known = _known_defaults(outcomes, window, portfolio)
    joined = _with_default(rows.append_column("row", pa.array(np.arange(len(rows)))), known, portfolio)
    days = _days_after(joined, portfolio)
    target = np.zeros(len(rows), dtype=np.int8)
    target[joined["row"].to_numpy()[(days >= 0) & (days <= window.window_days)]] = 1
    return target


def join_findings(features: TableLike, outcomes: TableLike, window: CohortWindow, portfolio: Portfolio) -> JoinFindings:
    """Count what `assemble_training_set` passes over on the same inputs. Raises ValueError as it does."""
    import pyarrow.compute as pc

    cohort, repeated = _cohort(features, window, portfolio)
    known = _known_defaults(outcomes, window, portfolio)
    joined = _with_default(_keys(cohort, portfolio), known, portfolio)
    without = pc.invert(pc.is_in(known[portfolio.id_column], value_set=joined[portfolio.id_column]))
    return JoinFindings(
        outcomes_before_application=int((_days_after(joined, portfolio) < 0).sum()),
        repeated_applications=repeated,
        outcomes_without_application=pc.sum(without).as_py() or 0,
    )


def _cohort(features: TableLike, window: CohortWindow, portfolio: Portfolio) -> tuple[pa.Table, int]:
    """Applications of the window, each id once, in order, and the number of repeats left out."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    key, day = portfolio.id_column, portfolio.date_column
    table = as_table(features, features_schema(portfolio), "features")
    inside = _inside(table, window, portfolio)
    if not pc.all(inside).as_py():
        table = table.filter(inside)
    table = in_order(table, (day, key))
    if pc.count_distinct(table[key], mode="all").as_py() == table.num_rows:
        return table, 0
    counted = table[key].value_counts()
    several = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    places = np.flatnonzero(pc.is_in(table[key], value_set=several).to_numpy())
    copies = table.take(places).to_pandas(date_as_object=False).set_axis(places, axis="index")
    drop, repeated = _repeats(copies, portfolio, window)
    keep = np.ones(table.num_rows, dtype=bool)
    keep[drop] = False
    return table.filter(pa.array(keep)), repeated


def _repeats(copies: pd.DataFrame, portfolio: Portfolio, window: CohortWindow) -> tuple[NDArray[Any], int]:
    """Of all applications whose id stands there more than once, sorted by (date, id): the index of those to leave out,
    and how many of them are no exact copies. Raises ValueError where copies of one day contradict one another."""
    import numpy as np

    key, day = portfolio.id_column, portfolio.date_column
    exact = copies.duplicated()
    rest = copies[~exact]
    contradict = int(rest.duplicated([day, key]).sum())
    if contradict:
        raise ValueError(
            f"{contradict} applications of the window stand in one day twice with different features; the gate "
            f"unique_ids of the applications must pass on every day of {window.first} .. {window.last}"
        )
    later = rest.duplicated(key, keep="first")
    return np.concatenate([copies.index[exact], rest.index[later]]), int(later.sum())


def _keys(applications: TableLike, portfolio: Portfolio) -> pa.Table:
    import pyarrow as pa

    return as_table(applications, pa.schema(list(features_schema(portfolio))[:2]), "applications")


def _inside(table: pa.Table, window: CohortWindow, portfolio: Portfolio) -> pa.ChunkedArray:
    """Whether each row has a date of the window."""
    import pyarrow as pa
    import pyarrow.compute as pc

    dates = table[portfolio.date_column]
    inside = pc.and_(pc.greater_equal(dates, pa.scalar(window.first)), pc.less_equal(dates, pa.scalar(window.last)))
    return pc.fill_null(inside, False)


def _known_defaults(outcomes: TableLike, window: CohortWindow, portfolio: Portfolio) -> pa.Table:
    """Id and day (`known`) of every default that was known by the end of the as-of date."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = as_table(outcomes, outcomes_schema(portfolio), "outcomes")
    key, day, defaulted = table.columns
    bad = pc.and_(pc.equal(defaulted, 1), pc.less_equal(day, pa.scalar(window.as_of)))
    return pa.table({portfolio.id_column: key, "known": day}).filter(bad)


def _with_default(applications: pa.Table, known: pa.Table, portfolio: Portfolio) -> pa.Table:
    """Each application with each of its known defaults, in any order."""
    import pyarrow.compute as pc

    key = portfolio.id_column
    few = applications.filter(pc.is_in(applications[key], value_set=known[key].combine_chunks()))
    return few.join(known, keys=key, join_type="inner")


def _days_after(joined: pa.Table, portfolio: Portfolio) -> NDArray[np.int64]:
    """Days from each application to its default."""
    import numpy as np

    days = joined["known"].to_numpy() - joined[portfolio.date_column].to_numpy()
    return np.asarray(days.astype("timedelta64[D]").astype(np.int64))


def _split(dates: NDArray[np.datetime64], test_share: float, validation_share: float) -> tuple[int, int, int]:
    """How many rows each of SPLITS has, given sorted dates. Boundaries are the days that come nearest to the shares."""
    import numpy as np

    days, first_rows = np.unique(dates, return_index=True)
    if len(days) < len(SPLITS):
        return len(dates), 0, 0
    rows = len(dates)
    # first_rows[b] is the number of rows before day b, so b is the first day of the later part. The later boundary
    # leaves two days to the parts before it, the earlier one a day to each side.
    test = 2 + int(np.argmin(np.abs(first_rows[2:] - (1 - test_share) * rows)))
    wanted = (1 - test_share - validation_share) * rows
    validation = 1 + int(np.argmin(np.abs(first_rows[1:test] - wanted)))
    return int(first_rows[validation]), int(first_rows[test] - first_rows[validation]), int(rows - first_rows[test])
