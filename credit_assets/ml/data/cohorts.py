"""Cohorts: which applications are mature on a day, what became of them, and how time splits them.

Belongs here: the window of mature cohorts, the target, the point-in-time join and the split. Does not belong here:
rules on single columns (`contracts`), the gates on the result (`ml.rules.training_gates`) and fitting (`ml.learners`).

The target of an application is 1 when it defaulted from the day on which its performance window starts up to and with
day W after it, else 0. It is defined for loans that were booked, once that window has closed, but for those that are
indeterminate or excluded. Bads are known sooner than goods, so labelling "whatever is known by now" overstates risk: on
the LendingClub loans of 2007-2011, 40% instead of 16.6%. Every loan here had the same W days to default in, and nothing
that became known after the as-of date is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.customers import LeftOutRows, groups_of, known_before
from credit_assets.ml.data.decisions import Decisions
from credit_assets.ml.data.missing import without_refused
from credit_assets.ml.data.ordering import in_order
from credit_assets.ml.data.outcomes import BAD, GOOD, OUTCOME_CLASSES, Outcomes
from credit_assets.ml.data.population import CLASSES
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import features_schema, training_schema
from credit_assets.ml.data.values import as_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.outcomes import TableLike

TARGET, SPLIT = "default", "split"
SPLITS = ("train", "validation", "test")
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class CohortWindow:
    """What an as-of date D trains on: the performance windows that started on `lookback_days` days, the newest of
    those that have closed by D. They start with the application, or with the booking where the portfolio says so.

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
        """Last day on which a window starts: as_of - window_days, so that it closes on the as-of date."""
        return self.as_of - timedelta(days=self.window_days)

    @property
    def first(self) -> date:
        """First day on which a window starts; it has `lookback_days` days with `last`."""
        return self.last - timedelta(days=self.lookback_days - 1)


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of applications: their outcomes and, where the portfolio says where they stand, decisions.

    Both as the pipeline keeps them, in any order and for any days; what became known after an as-of date is not used.
    """

    outcomes: TableLike
    decisions: TableLike | None = None


def final(portfolio: Portfolio) -> bool:
    """Whether what is known of a loan on the day on which its window closes is so for ever."""
    names = portfolio.outcomes
    return portfolio.decisions is None and names.status is None and names.known is None


class Loans:
    """Applications with all that is known of them, to be looked at as of any day.

    Parameters
    ----------
    applications
        A table or frame with the portfolio's id and date.
    known
        Outcomes alone where everyone was lent to, else `Known`.
    window_days
        The performance window W.
    portfolio
        Whose columns they have.

    Raises
    ------
    ValueError
        Where columns are missing or hold values of another type, and without decisions where the portfolio has them.
    """

    def __init__(
        self, applications: TableLike, known: TableLike | Known, window_days: int, portfolio: Portfolio
    ) -> None:
        given = known if isinstance(known, Known) else Known(known)
        rows = _keys(applications, portfolio)
        self.ids, self.applied = rows[portfolio.id_column], _day_numbers(rows[portfolio.date_column])
        self._window_days, self._portfolio = window_days, portfolio
        self.decisions = _decisions(given, portfolio)
        self.outcomes = Outcomes(given.outcomes, portfolio)
        self.of_ids = self.outcomes.of(self.ids)

    def on(self, day: date) -> LoansOn:
        """What was known of them by the end of a day."""
        import numpy as np

        booked, starts = np.ones(len(self.applied), dtype=bool), self.applied
        if self.decisions is not None:
            standing = self.decisions.as_of(day)
            booked = standing.booked(self.ids)
            starts = standing.window_starts(self.ids, self.applied)
        classes = self.of_ids.classes(starts, self._window_days, day)
        return LoansOn(starts, booked, self.mature(starts, day), classes)

    def mature(self, starts: NDArray[np.int64], day: date) -> NDArray[np.bool_]:
        """Whether windows that start on these days have closed by the end of a day."""
        return starts <= (day - _EPOCH).days - self._window_days

    @property
    def final(self) -> bool:
        """As `final` of its portfolio."""
        return final(self._portfolio)


@dataclass(frozen=True, eq=False)
class LoansOn:
    """What was known of applications by the end of a day, in the order of their rows.

    `starts`: the day since 1970 on which the performance window starts; `booked`: whether they were lent to; `mature`:
    whether the window has closed; `classes`: the numbers of OUTCOME_CLASSES.
    """

    starts: NDArray[np.int64]
    booked: NDArray[np.bool_]
    mature: NDArray[np.bool_]
    classes: NDArray[np.int8]

    @property
    def targets(self) -> NDArray[np.float64]:
        """1 for a default, 0 for none, NaN without a target: not booked, not mature, indeterminate, or excluded."""
        import numpy as np

        counts = self.booked & self.mature & ((self.classes == BAD) | (self.classes == GOOD))
        return np.where(counts, (self.classes == BAD).astype(np.float64), np.nan)


@dataclass(frozen=True)
class CohortCounts:
    """Who of the applications of a cohort window is in its training set, and who is not, in rows.

    `applications` of the window by what was decided (`population`, empty where everyone was lent to), and the booked
    loans among them by what became of them (`outcomes`): good and bad ones are trained on, the others are not.
    `unmapped`, `unmapped_outcomes`: by statuses that are in none of the portfolio's lists, applications and rows of
    outcomes; `without_outcome`: rows of outcomes without a flag or status. `with_outcome`: applications of which
    anything is known to have become; `lent_to_nobody`: those of them that were not booked. `refused`: good and bad ones
    that lack a feature without which the portfolio does not score: no model learns from them.
    """

    applications: int
    population: Mapping[str, int]
    outcomes: Mapping[str, int]
    unmapped: Mapping[str, int]
    unmapped_outcomes: Mapping[str, int] = field(default_factory=dict)
    without_outcome: int = 0
    with_outcome: int = 0
    lent_to_nobody: int = 0
    refused: int = 0


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
    outcomes: TableLike | Known,
    window: CohortWindow,
    portfolio: Portfolio,
    *,
    test_share: float,
    validation_share: float,
) -> pa.Table:
    """Model inputs of the window's applications with their target and split, sorted by (date, id).

    The newest days are "test", those before them "validation", the rest "train"; days are never divided. Where the
    portfolio names a customer, rows whose customer stands in an earlier split are left out. What the join passed over
    is counted by `join_findings`. A table that is sorted and lies in the window is not copied.

    Parameters
    ----------
    features
        As from `feature_table`, a table or frame in any order and for any days: rows outside the window are not used.
    outcomes
        As the contract keeps them, in any order; those after `window.as_of` are not used. With the decisions, as
        `Known`, where the portfolio has them: those who were not lent to have no target, and are left out.
    window
        The cohorts.
    portfolio
        Whose columns both have.
    test_share, validation_share
        About which share of the rows is "test" and "validation".

    Returns
    -------
    pa.Table
        A table of `training_schema(portfolio)`: id, date, the portfolio's features, `default` (1 iff it defaulted
        from the first day of its performance window up to and with day `window_days` after it) and `split`.

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
    outcomes: TableLike | Known,
    window: CohortWindow,
    portfolio: Portfolio,
    *,
    test_share: float,
    validation_share: float,
) -> pa.Table:
    """What `assemble_training_set` gives, and where that refuses, what there is: no rows, or the rows of fewer than
    three days, all of them "train". For whoever has the gates judge it (`ml.rules.training_gates`), with numbers.
    """
    return Cohort(features, outcomes, window, portfolio).training_set(test_share, validation_share)


def targets(
    applications: TableLike, outcomes: TableLike | Known, window: CohortWindow, portfolio: Portfolio
) -> NDArray[np.int8]:
    """The target of each application, in the order of its rows: 1 iff it defaulted from the first day of its
    performance window up to and with day `window_days` after it.

    Parameters
    ----------
    applications
        A table or frame with the portfolio's id and date.
    outcomes, window, portfolio
        As `assemble_training_set` takes them.

    Raises
    ------
    ValueError
        Where columns are missing or hold values of another type, or an application has no target: it lies outside the
        window, where it may have none yet, was not lent to, or is indeterminate or excluded.
    """
    import numpy as np

    loans = Loans(applications, outcomes, window.window_days, portfolio).on(window.as_of)
    outside = int((~_within(loans.starts, window)).sum())
    if outside:
        raise ValueError(
            f"{outside} applications lie outside {window.first} .. {window.last}, the cohorts whose target "
            f"is defined on as-of date {window.as_of}"
        )
    found = loans.targets
    if without := int(np.isnan(found).sum()):
        raise ValueError(
            f"{without} applications were not lent to, or are indeterminate or excluded: they have no target"
        )
    return found.astype(np.int8)


def join_findings(
    features: TableLike, outcomes: TableLike | Known, window: CohortWindow, portfolio: Portfolio
) -> JoinFindings:
    """Count what `assemble_training_set` passes over on the same inputs. Raises ValueError as it does."""
    return Cohort(features, outcomes, window, portfolio).findings()


class Cohort:
    """The applications whose performance window starts within that of the cohorts, each id once, in order of
    (date, id), and what is known of each. For whoever needs more than one thing of it; parameters and errors as of
    `assemble_training_set`.
    """

    def __init__(
        self, features: TableLike, outcomes: TableLike | Known, window: CohortWindow, portfolio: Portfolio
    ) -> None:
        self._known = outcomes if isinstance(outcomes, Known) else Known(outcomes)
        self._window, self._portfolio = window, portfolio
        self.table, self._repeated = _cohort(features, self._known, window, portfolio)
        self.loans = Loans(self.table, self._known, window.window_days, portfolio)
        self._outcomes = self.loans.outcomes
        self.on_the_day = self.loans.on(window.as_of)
        self._scorable = without_refused(self.table, portfolio)
        self.left_out: LeftOutRows | None = None
        """What of the later splits was left out, once there is a training set; None without customers."""

    def training_set(self, test_share: float, validation_share: float) -> pa.Table:
        """What `mature_set` gives."""
        import numpy as np
        import pyarrow as pa

        if not (test_share > 0 and validation_share > 0 and test_share + validation_share < 1):
            raise ValueError(
                f"test_share ({test_share:g}) and validation_share ({validation_share:g}) must be positive and leave "
                "something to train on: their sum must be below 1"
            )
        table, target = self.table, self.on_the_day.targets
        kept = ~np.isnan(target) & self._scorable
        if not kept.all():
            table, target = table.filter(pa.array(kept)), target[kept]
        lengths = _split(table[self._portfolio.date_column].to_numpy(), test_share, validation_share)
        groups = groups_of(table, self._portfolio)
        if groups is not None and table.num_rows:
            stays, self.left_out = known_before(groups, lengths)
            table, target = table.filter(pa.array(stays)), target[stays]
            ends = np.cumsum((0, *lengths))
            train, validation, test = (int(stays[a:b].sum()) for a, b in pairwise(ends))
            lengths = train, validation, test
        split = pa.chunked_array([pa.repeat(name, length) for name, length in zip(SPLITS, lengths, strict=True)])
        columns = [*table.columns, pa.array(target.astype(np.int8)), split]
        return pa.Table.from_arrays(columns, schema=training_schema(self._portfolio))

    def findings(self) -> JoinFindings:
        """What the join passed over."""
        import pyarrow.compute as pc

        bads = self._outcomes.bads(self._window.as_of)
        ids, applied = self.table[self._portfolio.id_column], self.table[self._portfolio.date_column]
        before = pc.less(bads["day"], applied.take(pc.index_in(bads["id"], value_set=ids)))
        return JoinFindings(
            outcomes_before_application=pc.sum(before).as_py() or 0,
            repeated_applications=self._repeated,
            outcomes_without_application=pc.sum(pc.invert(pc.is_in(bads["id"], value_set=ids))).as_py() or 0,
        )

    def counts(self) -> CohortCounts:
        """Who is in the training set, and who is not."""
        import numpy as np

        loans = self.on_the_day
        of_class = np.bincount(loans.classes[loans.booked], minlength=len(OUTCOME_CLASSES)).tolist()
        population, unmapped = {}, {}
        if self.loans.decisions is not None:
            standing = self.loans.decisions.as_of(self._window.as_of)
            found = standing.classes(self.table[self._portfolio.id_column])
            population = {name: int((found == name).sum()) for name in CLASSES}
            unmapped = dict(standing.unmapped)
        as_of = self._window.as_of
        became = self.loans.of_ids.any_known(as_of)
        return CohortCounts(
            self.table.num_rows,
            population,
            dict(zip(OUTCOME_CLASSES, of_class, strict=True)),
            unmapped,
            self._outcomes.unmapped(as_of),
            self._outcomes.without_outcome(as_of),
            int(became.sum()),
            int((became & ~loans.booked).sum()),
            int((~np.isnan(loans.targets) & ~self._scorable).sum()),
        )


def _decisions(known: Known, portfolio: Portfolio) -> Decisions | None:
    if portfolio.decisions is None:
        return None
    if known.decisions is None:
        raise ValueError(
            f"portfolio {portfolio.name!r} says who was lent to (population): give the decisions beside the outcomes"
        )
    return Decisions(known.decisions, portfolio)


def _cohort(features: TableLike, known: Known, window: CohortWindow, portfolio: Portfolio) -> tuple[pa.Table, int]:
    """Applications whose window starts within that of the cohorts, each id once, in order, and the number of repeats
    left out.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    key, day = portfolio.id_column, portfolio.date_column
    table = as_table(features, features_schema(portfolio), "features")
    table = table.filter(pc.is_valid(table[day])) if table[day].null_count else table
    starts, decisions = _day_numbers(table[day]), _decisions(known, portfolio)
    if decisions is not None:
        starts = decisions.as_of(window.as_of).window_starts(table[key], starts)
    inside = _within(starts, window)
    if not inside.all():
        table = table.filter(pa.array(inside))
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


def _day_numbers(days: pa.ChunkedArray) -> NDArray[np.int64]:
    """Days since 1970."""
    import numpy as np
    import pyarrow as pa

    return np.asarray(days.cast(pa.int32()).cast(pa.int64()).to_numpy())


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


def _within(starts: NDArray[np.int64], window: CohortWindow) -> NDArray[np.bool_]:
    """Whether each performance window starts within that of the cohorts."""
    import numpy as np

    first, last = ((day - _EPOCH).days for day in (window.first, window.last))
    return np.asarray((starts >= first) & (starts <= last))


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
