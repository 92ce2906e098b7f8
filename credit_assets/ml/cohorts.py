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
from typing import TYPE_CHECKING, Any

from credit_assets.ml.contracts import missing_share_gates
from credit_assets.ml.features import as_categories, as_days, as_ids, as_numbers
from credit_assets.ml.gates import GateResult, detail
from credit_assets.ml.portfolio import Portfolio

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

TARGET, SPLIT = "default", "split"
SPLITS = ("train", "validation", "test")
# A level seen less often is judged together with the other rare ones: its own default rate is noise, and enough noisy
# levels rank any target.
_RARE_LEVEL = 20
# Fewer goods or bads rank well by luck; the gate on their numbers speaks before this one has to.
_FEWEST_TO_RANK = 10


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
    features: pd.DataFrame,
    outcomes: pd.DataFrame,
    window: CohortWindow,
    portfolio: Portfolio,
    *,
    test_share: float,
    validation_share: float,
) -> pd.DataFrame:
    """Model inputs of the window's applications with their target and split, sorted by (date, id).

    `features` as from `model_inputs` and `outcomes` as kept by `check_outcomes`, in any order and for any days: rows
    outside the window, and outcomes after `window.as_of`, are not looked at. Columns of the result: id, date, the
    portfolio's features, `default` (int8: 1 iff a default became known from the application date up to and with day
    `window_days` after it) and `split`. The newest days are "test", about `test_share` of the rows; those before them
    "validation", about `validation_share`; the rest "train". Days are never divided. What the join passed over (see
    `JoinFindings`) is told by `join_findings`.

    Raises ValueError where columns are missing, no application lies in the window, fewer than three days have any,
    the shares leave no room for training, or one id stands in one day with different features.
    """
    if not (test_share > 0 and validation_share > 0 and test_share + validation_share < 1):
        raise ValueError(
            f"test_share ({test_share:g}) and validation_share ({validation_share:g}) must be positive and leave "
            "something to train on: their sum must be below 1"
        )
    cohort, _ = _cohort(features, window, portfolio)
    if cohort.empty:
        raise ValueError(
            f"no application between {window.first} and {window.last}, the cohorts that as-of date {window.as_of} "
            f"trains on (performance window {window.window_days} days, lookback {window.lookback_days} days): load "
            "these days, take a later as-of date or a longer lookback"
        )
    target = targets(cohort, outcomes, window, portfolio)
    split = _split(cohort[portfolio.date_column].to_numpy(), test_share, validation_share, window)
    return cohort.assign(**{TARGET: target, SPLIT: split})


def targets(
    applications: pd.DataFrame, outcomes: pd.DataFrame, window: CohortWindow, portfolio: Portfolio
) -> NDArray[np.int8]:
    """The target of each application, in the order of its rows: 1 iff a default became known from the application date
    up to and with day `window_days` after it.

    `applications` has the portfolio's id and date; `outcomes` as `assemble_training_set` takes them. The target of an
    application is the same for every later as-of date: its window had closed. Raises ValueError where columns are
    missing or an application lies outside the window, where it may have no target yet.
    """
    import numpy as np
    import pandas as pd

    key, day = portfolio.id_column, portfolio.date_column
    _require(applications, (key, day), "applications")
    dates = as_days(applications[day])
    outside = ~((dates >= np.datetime64(window.first)) & (dates <= np.datetime64(window.last)))
    if outside.any():
        raise ValueError(
            f"{int(outside.sum())} applications lie outside {window.first} .. {window.last}, the cohorts whose target "
            f"is defined on as-of date {window.as_of}"
        )
    rows = pd.DataFrame({key: _ids(applications[key], portfolio).array, day: dates.array, "row": range(len(dates))})
    joined = rows.merge(_known_defaults(outcomes, window, portfolio), on=key, how="inner")
    after = joined["known"] - joined[day]
    counts = (after >= np.timedelta64(0, "D")) & (after <= np.timedelta64(window.window_days, "D"))
    target = np.zeros(len(rows), dtype=np.int8)
    target[joined.loc[counts, "row"].to_numpy()] = 1
    return target


def join_findings(
    features: pd.DataFrame, outcomes: pd.DataFrame, window: CohortWindow, portfolio: Portfolio
) -> JoinFindings:
    """Count what `assemble_training_set` passes over on the same inputs. Raises ValueError for missing columns."""
    import numpy as np

    key, day = portfolio.id_column, portfolio.date_column
    cohort, repeated = _cohort(features, window, portfolio)
    known = _known_defaults(outcomes, window, portfolio)
    joined = known.merge(cohort[[key, day]], on=key, how="left")
    before = (joined["known"] - joined[day]) < np.timedelta64(0, "D")
    return JoinFindings(int(before.sum()), repeated, int(joined[day].isna().sum()))


def training_gates(training_set: pd.DataFrame, portfolio: Portfolio, window: CohortWindow) -> tuple[GateResult, ...]:
    """The gates on a training set: `enough_outcomes`, `target_rate`, `leakage`, `missing_share`; all block.

    Thresholds are the portfolio's `gates`. `leakage` fails where a feature's name matches `leakage_columns` or is that
    of an outcome column, where a column is there that is no feature (ignored or protected columns), or where one
    feature alone ranks the target with an AUC above `max_single_feature_auc` in either direction. Raises ValueError
    without target or split.
    """
    missing = sorted({TARGET, SPLIT} - set(training_set.columns))
    if missing:
        raise ValueError(f"not a training set: column {', '.join(missing)} is missing")
    return (
        _enough_outcomes(training_set, portfolio, window),
        _target_rate(training_set, portfolio, window),
        _leakage(training_set, portfolio),
        _missing_share(training_set, portfolio),
    )


def _cohort(features: pd.DataFrame, window: CohortWindow, portfolio: Portfolio) -> tuple[pd.DataFrame, int]:
    """Applications of the window, each id once, in canonical types and order, and the number of repeats left out."""
    import numpy as np
    import pandas as pd

    key, day = portfolio.id_column, portfolio.date_column
    _require(features, (key, day, *portfolio.feature_names), "features")
    dates = as_days(features[day])
    inside = (dates >= np.datetime64(window.first)) & (dates <= np.datetime64(window.last))
    rows, categories = features[inside], set(portfolio.categorical_features)
    columns: dict[str, pd.Series[Any]] = {key: _ids(rows[key], portfolio), day: dates[inside]}
    for name in portfolio.feature_names:
        columns[name] = as_categories(rows[name]) if name in categories else as_numbers(rows[name])
    frame = pd.DataFrame(columns).sort_values([day, key], kind="stable", ignore_index=True)
    repeated = frame.duplicated(key, keep=False)
    if not repeated.any():
        return frame, 0
    copies = frame[repeated].drop_duplicates()
    contradict = int(copies.duplicated([day, key]).sum())
    if contradict:
        raise ValueError(
            f"{contradict} applications of the window stand in one day twice with different features; the gate "
            f"unique_ids of the applications must pass on every day of {window.first} .. {window.last}"
        )
    frame = pd.concat([frame[~repeated], copies]).sort_values([day, key], kind="stable", ignore_index=True)
    later = frame.duplicated(key, keep="first")
    return frame[~later].reset_index(drop=True), int(later.sum())


def _known_defaults(outcomes: pd.DataFrame, window: CohortWindow, portfolio: Portfolio) -> pd.DataFrame:
    """Id and day (`known`) of every default that was known by the end of the as-of date."""
    import numpy as np
    import pandas as pd

    names = portfolio.outcomes
    _require(outcomes, (names.id, names.date, names.defaulted), "outcomes")
    dates = as_days(outcomes[names.date])
    known = (dates <= np.datetime64(window.as_of)) & (as_numbers(outcomes[names.defaulted]) == 1)
    rows = outcomes[known]
    return pd.DataFrame({portfolio.id_column: _ids(rows[names.id], portfolio), "known": dates[known]})


def _ids(values: pd.Series[Any], portfolio: Portfolio) -> pd.Series[Any]:
    return as_ids(values, portfolio.column(portfolio.id_column).type)


def _split(
    dates: NDArray[np.datetime64], test_share: float, validation_share: float, window: CohortWindow
) -> NDArray[np.object_]:
    """The split of each row, given sorted dates. Boundaries are the days that come nearest to the shares."""
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
    split = np.full(rows, SPLITS[0], dtype=object)
    split[first_rows[validation] :] = SPLITS[1]
    split[first_rows[test] :] = SPLITS[2]
    return split


def _enough_outcomes(frame: pd.DataFrame, portfolio: Portfolio, window: CohortWindow) -> GateResult:
    limits = portfolio.gates
    bads = int(frame[TARGET].sum())
    found = {
        "goods": (len(frame) - bads, limits.min_goods),
        "bads": (bads, limits.min_bads),
        "test bads": (int(frame.loc[frame[SPLIT] == "test", TARGET].sum()), limits.min_test_bads),
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


def _target_rate(frame: pd.DataFrame, portfolio: Portfolio, window: CohortWindow) -> GateResult:
    low, high = portfolio.gates.target_rate_min, portfolio.gates.target_rate_max
    rate = float(frame[TARGET].mean()) if len(frame) else float("nan")
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
        details=() if passed else (detail(TARGET, "rate outside the plausible range", int(frame[TARGET].sum())),),
    )


def _leakage(frame: pd.DataFrame, portfolio: Portfolio) -> GateResult:
    limit = portfolio.gates.max_single_feature_auc
    rows = len(frame)
    allowed = {portfolio.id_column, portfolio.date_column, TARGET, SPLIT, *portfolio.feature_names}
    details = []
    for name in frame.columns:
        if name not in allowed:
            details.append(detail(name, "not a feature of the portfolio", rows))
    patterns = (*portfolio.gates.leakage_columns, portfolio.outcomes.date, portfolio.outcomes.defaulted)
    for name in portfolio.feature_names:
        pattern = _matching(name, patterns)
        if pattern:
            details.append(detail(name, f"named like a leakage column ({pattern})", rows))
    target = frame[TARGET].to_numpy()
    worst: float | None = None
    for name in portfolio.feature_names:
        auc = _single_feature_auc(frame[name], target) if name in frame.columns else None
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


def _single_feature_auc(values: pd.Series[Any], target: NDArray[np.int8]) -> float | None:
    """AUC (area under the ROC curve) of one column as the score, in the better direction: 0.5 .. 1.

    Missing values are ranked below and above all others in turn and the larger AUC is taken, since a value that is
    only there for defaulted loans leaks by its absence. A category is scored by its own default rate, rare levels
    pooled. None where goods or bads are too few to rank.
    """
    import numpy as np

    bad = target == 1
    if min(int(bad.sum()), int((~bad).sum())) < _FEWEST_TO_RANK:
        return None
    if values.dtype == object:
        levels = values.fillna("").astype(str)
        counts = levels.map(levels.value_counts())
        levels = levels.where(counts >= _RARE_LEVEL, "")
        scores = [_bad_rate_of(levels, bad)]
    else:
        numbers = values.to_numpy(dtype="float64")
        scores = [np.where(np.isnan(numbers), edge, numbers) for edge in (-np.inf, np.inf)]
        scores = scores if np.isnan(numbers).any() else scores[:1]
    areas = [_auc(score, bad) for score in scores]
    return max(max(area, 1 - area) for area in areas)


def _bad_rate_of(levels: pd.Series[Any], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The bad rate of each row's level."""
    import pandas as pd

    return pd.Series(bad, index=levels.index).groupby(levels).transform("mean").to_numpy(dtype="float64")


def _auc(score: NDArray[np.float64], bad: NDArray[np.bool_]) -> float:
    """Mann-Whitney: (rank sum of the bads - b (b + 1) / 2) / (b g), ties ranked in the middle."""
    import pandas as pd

    bads, goods = int(bad.sum()), int((~bad).sum())
    ranks = pd.Series(score).rank(method="average").to_numpy()
    return float((ranks[bad].sum() - bads * (bads + 1) / 2) / (bads * goods))


def _missing_share(frame: pd.DataFrame, portfolio: Portfolio) -> GateResult:
    import numpy as np

    limits = {
        column.name: column.max_missing_share
        for column in portfolio.input_columns
        if column.max_missing_share < 1 and column.name in frame.columns
    }
    counts = np.array([[int(frame[name].isna().sum()) for name in limits]], dtype=np.int64)
    return missing_share_gates(limits, counts, np.array([len(frame)]))[0]


def _require(frame: pd.DataFrame, names: Sequence[str], what: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"the {what} lack the columns {', '.join(missing)}; materialize them with this portfolio file")
