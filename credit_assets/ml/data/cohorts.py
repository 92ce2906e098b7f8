"""Cohorts: which applications are mature on a day, what became of them, and how time splits them.

Belongs here: the window of mature cohorts, the target, the point-in-time join, the split, and the gates on the result.
Does not belong here: rules on single columns (`contracts`) and fitting anything (`training`).

The target of an application is 1 when an outcome with default became known from the day of application up to and with
day W after it (the performance window), else 0. It is defined once that window has closed. Bads are known sooner than
goods, so labelling "whatever is known by now" overstates risk: on the LendingClub loans of 2007-2011, 40% instead of
16.6%. Every application here had the same W days to default in, and nothing that became known later is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, overload

from credit_assets.ml.data.ordering import in_order
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.rows import Values, numbers
from credit_assets.ml.data.schemas import features_schema, training_schema
from credit_assets.ml.data.values import as_categories, as_days, as_ids, as_numbers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

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


@overload
def assemble_training_set(
    features: pd.DataFrame,
    outcomes: pd.DataFrame | pa.Table,
    window: CohortWindow,
    portfolio: Portfolio,
    *,
    test_share: float,
    validation_share: float,
) -> pd.DataFrame: ...


@overload
def assemble_training_set(
    features: pa.Table,
    outcomes: pd.DataFrame | pa.Table,
    window: CohortWindow,
    portfolio: Portfolio,
    *,
    test_share: float,
    validation_share: float,
) -> pa.Table: ...


def assemble_training_set(
    features: pd.DataFrame | pa.Table,
    outcomes: pd.DataFrame | pa.Table,
    window: CohortWindow,
    portfolio: Portfolio,
    *,
    test_share: float,
    validation_share: float,
) -> pd.DataFrame | pa.Table:
    """Model inputs of the window's applications with their target and split, sorted by (date, id).

    `features` as from `model_inputs` or `feature_table` and `outcomes` as kept by `check_outcomes`, in any order and
    for any days: rows outside the window, and outcomes after `window.as_of`, are not looked at. Columns of the result:
    id, date, the portfolio's features, `default` (int8: 1 iff a default became known from the application date up to
    and with day `window_days` after it) and `split`. The newest days are "test", about `test_share` of the rows; those
    before them "validation", about `validation_share`; the rest "train". Days are never divided. What the join passed
    over (see `JoinFindings`) is told by `join_findings`.

    A frame gives a frame, and an Arrow table a table of `training_schema`, with the same values; a table that is sorted
    and lies in the window is not copied.

    Raises ValueError where columns are missing, no application lies in the window, fewer than three days have any,
    the shares leave no room for training, or one id stands in one day with different features.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if not (test_share > 0 and validation_share > 0 and test_share + validation_share < 1):
        raise ValueError(
            f"test_share ({test_share:g}) and validation_share ({validation_share:g}) must be positive and leave "
            "something to train on: their sum must be below 1"
        )
    day = portfolio.date_column
    cohort, _ = _cohort(features, window, portfolio)
    if not len(cohort):
        raise ValueError(
            f"no application between {window.first} and {window.last}, the cohorts that as-of date {window.as_of} "
            f"trains on (performance window {window.window_days} days, lookback {window.lookback_days} days): load "
            "these days, take a later as-of date or a longer lookback"
        )
    target = targets(cohort, outcomes, window, portfolio)
    lengths = _split(_days(cohort[day]), test_share, validation_share, window)
    if isinstance(cohort, pd.DataFrame):
        return cohort.assign(**{TARGET: target, SPLIT: np.repeat(np.array(SPLITS, dtype=object), lengths)})
    split = pa.chunked_array([pa.repeat(name, length) for name, length in zip(SPLITS, lengths, strict=True)])
    return pa.Table.from_arrays([*cohort.columns, pa.array(target), split], schema=training_schema(portfolio))


def targets(
    applications: pd.DataFrame | pa.Table,
    outcomes: pd.DataFrame | pa.Table,
    window: CohortWindow,
    portfolio: Portfolio,
) -> NDArray[np.int8]:
    """The target of each application, in the order of its rows: 1 iff a default became known from the application date
    up to and with day `window_days` after it.

    `applications` has the portfolio's id and date; `outcomes` as `assemble_training_set` takes them. The target of an
    application is the same for every later as-of date: its window had closed. Raises ValueError where columns are
    missing or an application lies outside the window, where it may have no target yet.
    """
    import numpy as np

    key, day = portfolio.id_column, portfolio.date_column
    _require(applications, (key, day), "applications")
    dates = _days(applications[day])
    outside = ~((dates >= np.datetime64(window.first)) & (dates <= np.datetime64(window.last)))
    if outside.any():
        raise ValueError(
            f"{int(outside.sum())} applications lie outside {window.first} .. {window.last}, the cohorts whose target "
            f"is defined on as-of date {window.as_of}"
        )
    known = _known_defaults(outcomes, window, portfolio)
    rows, places = _with_default(applications, known, portfolio)
    joined = rows.assign(row=places).merge(known, on=key, how="inner")
    after = joined["known"] - joined[day]
    counts = (after >= np.timedelta64(0, "D")) & (after <= np.timedelta64(window.window_days, "D"))
    target = np.zeros(len(dates), dtype=np.int8)
    target[joined.loc[counts, "row"].to_numpy()] = 1
    return target


def join_findings(
    features: pd.DataFrame | pa.Table, outcomes: pd.DataFrame | pa.Table, window: CohortWindow, portfolio: Portfolio
) -> JoinFindings:
    """Count what `assemble_training_set` passes over on the same inputs. Raises ValueError for missing columns."""
    import numpy as np

    key, day = portfolio.id_column, portfolio.date_column
    cohort, repeated = _cohort(features, window, portfolio)
    known = _known_defaults(outcomes, window, portfolio)
    joined = known.merge(_with_default(cohort, known, portfolio)[0], on=key, how="left")
    before = (joined["known"] - joined[day]) < np.timedelta64(0, "D")
    return JoinFindings(int(before.sum()), repeated, int(joined[day].isna().sum()))


@overload
def _cohort(features: pd.DataFrame, window: CohortWindow, portfolio: Portfolio) -> tuple[pd.DataFrame, int]: ...


@overload
def _cohort(features: pa.Table, window: CohortWindow, portfolio: Portfolio) -> tuple[pa.Table, int]: ...


def _cohort(
    features: pd.DataFrame | pa.Table, window: CohortWindow, portfolio: Portfolio
) -> tuple[pd.DataFrame | pa.Table, int]:
    """Applications of the window, each id once, in canonical types and order, and the number of repeats left out."""
    import pandas as pd

    _require(features, (portfolio.id_column, portfolio.date_column, *portfolio.feature_names), "features")
    if isinstance(features, pd.DataFrame):
        frame = _in_window(features, window, portfolio)
        drop, repeated = _repeats(frame[frame.duplicated(portfolio.id_column, keep=False)], portfolio, window)
        return (frame.drop(index=pd.Index(drop)).reset_index(drop=True) if len(drop) else frame), repeated
    return _cohort_table(features, window, portfolio)


def _in_window(features: pd.DataFrame, window: CohortWindow, portfolio: Portfolio) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    key, day = portfolio.id_column, portfolio.date_column
    dates = as_days(features[day])
    inside = (dates >= np.datetime64(window.first)) & (dates <= np.datetime64(window.last))
    rows, categories = features[inside], set(portfolio.categorical_features)
    columns: dict[str, pd.Series[Any]] = {key: _ids(rows[key], portfolio), day: dates[inside]}
    for name in portfolio.feature_names:
        columns[name] = as_categories(rows[name]) if name in categories else as_numbers(rows[name])
    return pd.DataFrame(columns).sort_values([day, key], kind="stable", ignore_index=True)


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


def _cohort_table(features: pa.Table, window: CohortWindow, portfolio: Portfolio) -> tuple[pa.Table, int]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    key, day = portfolio.id_column, portfolio.date_column
    schema = features_schema(portfolio)
    columns = []
    for field in schema:
        column = features[field.name]
        try:
            column = column if column.type == field.type else column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"column {field.name!r} of the features is {column.type}, not {field.type}") from error
        columns.append(_nulls_for_not_finite(column) if pa.types.is_floating(field.type) else column)
    table = pa.Table.from_arrays(columns, schema=schema)
    inside = pc.and_(
        pc.greater_equal(table[day], pa.scalar(window.first)), pc.less_equal(table[day], pa.scalar(window.last))
    )
    if not pc.all(inside, skip_nulls=False).as_py():
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


def _nulls_for_not_finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import math

    import pyarrow as pa
    import pyarrow.compute as pc

    # A sum is finite only where every value is.
    total = pc.sum(column).as_py()
    if total is None or math.isfinite(total):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


def _known_defaults(outcomes: pd.DataFrame | pa.Table, window: CohortWindow, portfolio: Portfolio) -> pd.DataFrame:
    """Id and day (`known`) of every default that was known by the end of the as-of date."""
    import numpy as np
    import pandas as pd

    names = portfolio.outcomes
    _require(outcomes, (names.id, names.date, names.defaulted), "outcomes")
    bad = numbers(outcomes[names.defaulted]) == 1
    rows = outcomes[bad] if isinstance(outcomes, pd.DataFrame) else _taken(outcomes, bad, (names.id, names.date))
    dates = as_days(rows[names.date])
    known = dates <= np.datetime64(window.as_of)
    return pd.DataFrame({portfolio.id_column: _ids(rows.loc[known, names.id], portfolio), "known": dates[known]})


def _with_default(
    applications: pd.DataFrame | pa.Table, known: pd.DataFrame, portfolio: Portfolio
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Id and date of the applications whose id has a known default, and their places."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    key, day = portfolio.id_column, portfolio.date_column
    if isinstance(applications, pd.DataFrame):
        ids = _ids(applications[key], portfolio)
        found = ids.isin(known[key]).to_numpy()
        rows = pd.DataFrame({key: ids[found].array, day: as_days(applications.loc[found, day]).array})
    else:
        kind = features_schema(portfolio).field(key).type
        column = applications[key] if applications[key].type == kind else applications[key].cast(kind)
        found = pc.is_in(column, value_set=pa.array(known[key], kind)).to_numpy()
        taken = _taken(applications, found, (key, day))
        rows = pd.DataFrame({key: _ids(taken[key], portfolio), day: as_days(taken[day])})
    return rows, np.flatnonzero(found)


def _taken(table: pa.Table, mask: NDArray[np.bool_], names: Sequence[str]) -> pd.DataFrame:
    """Columns of the few rows of a table that are wanted."""
    import pyarrow as pa

    taken: pd.DataFrame = table.select(list(names)).filter(pa.array(mask)).to_pandas(date_as_object=False)
    return taken


def _days(values: Values) -> NDArray[np.datetime64]:
    import numpy as np
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        if pa.types.is_date32(values.type):
            return np.asarray(values.to_numpy())
        values = values.to_pandas(date_as_object=False)
    return np.asarray(as_days(values))


def _ids(values: pd.Series[Any], portfolio: Portfolio) -> pd.Series[Any]:
    return as_ids(values, portfolio.column(portfolio.id_column).type)


def _split(
    dates: NDArray[np.datetime64], test_share: float, validation_share: float, window: CohortWindow
) -> tuple[int, int, int]:
    """How many rows each of SPLITS has, given sorted dates. Boundaries are the days that come nearest to the shares."""
    import numpy as np

    days, first_rows = np.unique(dates, return_index=True)
    if len(days) < len(SPLITS):
        raise ValueError(
            f"applications on {len(days)} day{'s' if len(days) > 1 else ''} of {window.first} .. {window.last} cannot "
            "be split by time into train, validation and test: at least 3 days must have some; take a longer lookback"
        )
    rows = len(dates)
    # first_rows[b] is the number of rows before day b, so b is the first day of the later part. The later boundary
    # leaves two days to the parts before it, the earlier one a day to each side.
    test = 2 + int(np.argmin(np.abs(first_rows[2:] - (1 - test_share) * rows)))
    wanted = (1 - test_share - validation_share) * rows
    validation = 1 + int(np.argmin(np.abs(first_rows[1:test] - wanted)))
    return int(first_rows[validation]), int(first_rows[test] - first_rows[validation]), int(rows - first_rows[test])


def _require(data: pd.DataFrame | pa.Table, names: Sequence[str], what: str) -> None:
    import pandas as pd

    given = data.columns if isinstance(data, pd.DataFrame) else data.column_names
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"the {what} lack the columns {', '.join(missing)}; materialize them with this portfolio file")
