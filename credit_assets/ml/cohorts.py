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
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, overload

from credit_assets.ml.contracts import missing_share_gates
from credit_assets.ml.features import as_categories, as_days, as_ids, as_numbers
from credit_assets.ml.gates import GateResult, detail
from credit_assets.ml.portfolio import Portfolio
from credit_assets.ml.rows import Data, Rows, Values, numbers, texts
from credit_assets.ml.schemas import features_schema, training_schema

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

TARGET, SPLIT = "default", "split"
SPLITS = ("train", "validation", "test")
# A level seen less often is judged together with the other rare ones: its own default rate is noise, and enough noisy
# levels rank any target.
_RARE_LEVEL = 20
# Fewer goods or bads rank well by luck; the gate on their numbers speaks before this one has to.
_FEWEST_TO_RANK = 10
# Rows that are compared at once to see whether they are sorted.
_AT_ONCE = 1_000_000


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


def training_gates(training_set: Data, portfolio: Portfolio, window: CohortWindow) -> tuple[GateResult, ...]:
    """The gates on a training set: `enough_outcomes`, `target_rate`, `leakage`, `missing_share`; all block.

    Thresholds are the portfolio's `gates`. `leakage` fails where a feature's name matches `leakage_columns` or is that
    of an outcome column, where a column is there that is no feature (ignored or protected columns), or where one
    feature alone ranks the target with an AUC above `max_single_feature_auc` in either direction. Raises ValueError
    without target or split.
    """
    rows = Rows.of(training_set)
    missing = sorted({TARGET, SPLIT} - set(rows.names))
    if missing:
        raise ValueError(f"not a training set: column {', '.join(missing)} is missing")
    bad = numbers(rows.column(TARGET)) == 1
    return (
        _enough_outcomes(rows, bad, portfolio, window),
        _target_rate(bad, portfolio, window),
        _leakage(rows, bad, portfolio),
        _missing_share(rows, portfolio),
    )


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
    if not _is_sorted(table[day], table[key]):
        table = table.sort_by([(day, "ascending"), (key, "ascending")])
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


def _is_sorted(major: pa.ChunkedArray, minor: pa.ChunkedArray) -> bool:
    """Whether rows are in order of two columns without nulls."""
    import pyarrow.compute as pc

    rows = len(major)
    for begin in range(0, max(rows - 1, 0), _AT_ONCE):
        length = min(_AT_ONCE, rows - 1 - begin)
        a, b = major.slice(begin, length), major.slice(begin + 1, length)
        c, d = minor.slice(begin, length), minor.slice(begin + 1, length)
        ordered = pc.or_(pc.less(a, b), pc.and_(pc.equal(a, b), pc.less_equal(c, d)))
        if not pc.all(ordered, skip_nulls=False).as_py():
            return False
    return True


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


def _enough_outcomes(rows: Rows, bad: NDArray[np.bool_], portfolio: Portfolio, window: CohortWindow) -> GateResult:
    limits = portfolio.gates
    bads = int(bad.sum())
    places, different = texts(rows.column(SPLIT))
    in_test = [text == "test" for text in different]
    found = {
        "goods": (len(bad) - bads, limits.min_goods),
        "bads": (bads, limits.min_bads),
        "test bads": (sum(int(bad[places == n].sum()) for n, test in enumerate(in_test) if test), limits.min_test_bads),
    }
    short = {what: counts for what, counts in found.items() if counts[0] < counts[1]}
    return GateResult(
        name="enough_outcomes",
        passed=not short,
        severity="error",
        value=", ".join(f"{count} {what}" for what, (count, _) in found.items()),
        threshold="at least " + ", ".join(f"{least} {what}" for what, (_, least) in found.items()),
        description=f"The cohorts {window.first} .. {window.last} have enough goods and bads to train and test on."
        if not short
        else f"The cohorts {window.first} .. {window.last} have too few {' and '.join(short)}; take a longer lookback.",
        details=tuple(detail(TARGET, f"{what}, fewer than {least}", count) for what, (count, least) in short.items()),
    )


def _target_rate(bad: NDArray[np.bool_], portfolio: Portfolio, window: CohortWindow) -> GateResult:
    low, high = portfolio.gates.target_rate_min, portfolio.gates.target_rate_max
    rate = float(bad.mean()) if len(bad) else float("nan")
    passed = low <= rate <= high
    return GateResult(
        name="target_rate",
        passed=passed,
        severity="error",
        value=rate,
        threshold=f"{low:g} .. {high:g}",
        description=f"The rate of default within {window.window_days} days is plausible."
        if passed
        else f"The rate of default within {window.window_days} days is not plausible; see whether outcomes of the "
        f"days up to {window.as_of} are loaded, and whether they mean what the portfolio file says.",
        details=() if passed else (detail(TARGET, "rate outside the plausible range", int(bad.sum())),),
    )


def _leakage(training_set: Rows, bad: NDArray[np.bool_], portfolio: Portfolio) -> GateResult:
    limit = portfolio.gates.max_single_feature_auc
    rows, names = len(training_set), set(training_set.names)
    allowed = {portfolio.id_column, portfolio.date_column, TARGET, SPLIT, *portfolio.feature_names}
    details = []
    for name in training_set.names:
        if name not in allowed:
            details.append(detail(name, "not a feature of the portfolio", rows))
    patterns = (*portfolio.gates.leakage_columns, portfolio.outcomes.date, portfolio.outcomes.defaulted)
    for name in portfolio.feature_names:
        pattern = _matching(name, patterns)
        if pattern:
            details.append(detail(name, f"named like a leakage column ({pattern})", rows))
    worst: float | None = None
    for name in portfolio.feature_names:
        auc = _single_feature_auc(training_set.column(name), bad) if name in names else None
        if auc is not None:
            worst = auc if worst is None else max(worst, auc)
            if auc > limit:
                details.append(detail(name, f"ranks the target alone with an AUC of {auc:.3f}", rows))
    return GateResult(
        name="leakage",
        passed=not details,
        severity="error",
        value=worst,
        threshold=f"no leakage column, single-feature AUC at most {limit:g}",
        description="No feature knows the outcome."
        if not details
        else "Features know the outcome or must not be there; take them out of the portfolio's features.",
        details=tuple(details),
    )


def _matching(name: str, patterns: Sequence[str]) -> str | None:
    return next((pattern for pattern in patterns if fnmatchcase(name.lower(), pattern.lower())), None)


def _single_feature_auc(values: Values, bad: NDArray[np.bool_]) -> float | None:
    """AUC (area under the ROC curve) of one column as the score, in the better direction: 0.5 .. 1.

    Missing values are ranked below and above all others in turn and the larger AUC is taken, since a value that is
    only there for defaulted loans leaks by its absence. A category is scored by its own default rate, rare levels
    pooled. None where goods or bads are too few to rank.

    Mann-Whitney: U / (b g), with U the number of pairs of a bad and a good in which the bad ranks higher, ties half.
    """
    import numpy as np

    bads = int(bad.sum())
    goods = len(bad) - bads
    if min(bads, goods) < _FEWEST_TO_RANK:
        return None
    if _is_text(values):
        areas = [_pairs_of_levels(values, bad) / (bads * goods)]
    else:
        scores = numbers(values)
        missing = np.isnan(scores)
        known_bads, known_goods = np.sort(scores[bad & ~missing]), np.sort(scores[~bad & ~missing])
        # Twice the number of pairs: counting both sides of the ties.
        below = np.searchsorted(known_goods, known_bads, side="left").sum(dtype=np.int64)
        not_above = np.searchsorted(known_goods, known_bads, side="right").sum(dtype=np.int64)
        missing_bads, missing_goods = bads - len(known_bads), goods - len(known_goods)
        among_known = (int(below) + int(not_above)) / 2 + missing_bads * missing_goods / 2
        lowest, highest = len(known_bads) * missing_goods, missing_bads * len(known_goods)
        areas = [(among_known + pairs) / (bads * goods) for pairs in (lowest, highest)]
    return max(max(area, 1 - area) for area in areas)


def _pairs_of_levels(values: Values, bad: NDArray[np.bool_]) -> float:
    """U of a category whose score is the bad rate of its level; missing and rare levels are one."""
    import numpy as np

    places, different = texts(values)
    rows = np.bincount(places, minlength=len(different))
    bads = np.bincount(places[bad], minlength=len(different))
    counted: dict[str, list[int]] = {}
    for text, n, b in zip(different, rows.tolist(), bads.tolist(), strict=True):
        level = counted.setdefault(text or "", [0, 0])
        level[0] += n
        level[1] += b
    pooled = [0, 0]
    levels = [pooled]
    for text, level in counted.items():
        if text and level[0] >= _RARE_LEVEL:
            levels.append(level)
        else:
            pooled[0] += level[0]
            pooled[1] += level[1]
    by_rate: dict[float, list[int]] = {}
    for n, b in levels:
        if n:
            same = by_rate.setdefault(b / n, [0, 0])
            same[0] += n - b
            same[1] += b
    pairs, goods_below = 0.0, 0
    for rate in sorted(by_rate):
        goods, level_bads = by_rate[rate]
        pairs += level_bads * goods_below + level_bads * goods / 2
        goods_below += goods
    return pairs


def _is_text(values: Values) -> bool:
    import pandas as pd
    import pyarrow as pa

    if isinstance(values, pd.Series):
        return values.dtype == object or isinstance(values.dtype, pd.CategoricalDtype)
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _missing_share(rows: Rows, portfolio: Portfolio) -> GateResult:
    import numpy as np

    limits = {
        column.name: column.max_missing_share
        for column in portfolio.input_columns
        if column.max_missing_share < 1 and column.name in rows.names
    }
    counts = np.array([[_missing(rows.column(name)) for name in limits]], dtype=np.int64)
    return missing_share_gates(limits, counts, np.array([len(rows)]))[0]


def _missing(values: Values) -> int:
    import pandas as pd
    import pyarrow.compute as pc

    if isinstance(values, pd.Series):
        return int(values.isna().sum())
    return int(pc.sum(pc.is_null(values, nan_is_null=True)).as_py() or 0)


def _require(data: pd.DataFrame | pa.Table, names: Sequence[str], what: str) -> None:
    import pandas as pd

    given = data.columns if isinstance(data, pd.DataFrame) else data.column_names
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"the {what} lack the columns {', '.join(missing)}; materialize them with this portfolio file")
