"""Whether the rows of a training set are of one world: features over its splits and the newest days, the rate of
default over months, and outcomes that have ceased to come.

Belongs here: the measures, on data alone. Does not belong here: reading the rows (`credit_assets.assets.world`), and
the limits (`credit_assets.ml.rules.world_gates`); how a model takes the newest days (`first_days`).

A column that changes its unit between train and test, goods that were deleted from an archive, a feed of outcomes that
ended: each makes a model that passes a test of its own making. What drifts is none of it, so each measure comes with
what chance does, and those of size (distance, ratio) are kept apart from those of significance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.data.values import numbers
from credit_assets.ml.evidence.drift import FeatureDrift, measure_features
from credit_assets.ml.evidence.drift_reference import feature_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_ROWS = 20_000
"""Rows of either side, evenly taken: what more would show is no matter of another world."""
ALPHA = 0.001
"""Chance that any feature of a comparison is said to differ where none does, shared among its tests."""
_SHOWN = 20
# Values of either side below which nothing is said of their range; how many of it are left out, and how far is beyond.
_FEWEST, _LEFT_OUT, _FAR = 50, 0.0005, 2.0
_FEW_VALUES = 4
_VALUES_SHARE = 0.05
_SEEN_AGAIN = 0.2
# Standard errors to either end of a 99.9% interval: the jump is the largest of many boundaries.
_Z = 3.2905
_FARTHEST = 30.0
_MONTHS = 3
# Outcomes of as many days before the gap say how many would have come in it.
_RATE_DAYS = 180
_FEW_DAYS = 5
_EPOCH = date(1970, 1, 1)


def measure_world(before: Data, after: Data, features: Sequence[str], categorical: Sequence[str]) -> dict[str, Any]:
    """Every feature of later rows beside those of earlier ones.

    Parameters
    ----------
    before, after
        Rows in order of days; of each at most 20,000 are looked at.
    features, categorical
        Of the models; the second are those that are read as text.

    Returns
    -------
    dict
        JSON types: `rows` of both, `compared` features, and `features`, at most 20 of those that differ beyond chance,
        the largest PSI first: `psi` less its average by chance (`psi_by_chance`), `distance` (Kolmogorov-Smirnov; None
        of a category), `size` (how large the typical value is, in times), `beyond` (how many of `of` values are far
        smaller or larger than nearly all before), `missing` shares of both, `new_levels` (share
        of values in levels of their own), `constant` (one value in all later rows, several in the earlier ones), and
        `list_price`: it has few values, all above zero, and other ones from time to time, as what is set for all.

    Raises
    ------
    ValueError
        Where a side has no rows, or lacks a feature.
    """
    then, now = (_evenly(Rows.of(data)) for data in (before, after))
    references = [feature_reference(then, name, categorical) for name in features]
    measured = measure_features(references, now)
    level = ALPHA / max(1, sum(len(one.p_values) for one in measured))
    differing = [one for one in measured if min(one.p_values, default=1.0) < level]
    differing.sort(key=lambda one: (-(one.psi or 0.0), one.name))
    return {
        "rows": {"before": len(Rows.of(before)), "after": len(Rows.of(after))},
        "compared": len(measured),
        "differing": len(differing),
        "features": [_compared(one, then, now) for one in differing[:_SHOWN]],
    }


def _compared(one: FeatureDrift, then: Rows, now: Rows) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": one.name,
        "kind": one.kind,
        "psi": _rounded(one.psi),
        "psi_by_chance": _rounded(one.psi_by_chance),
        "p_value": min(one.p_values),
        "missing": {"before": _rounded(one.missing_reference), "after": _rounded(one.missing_share or 0.0)},
        "new_levels": _rounded(one.new_level_share or 0.0),
        "distance": None,
        "size": None,
        "beyond": None,
        "constant": False,
        "list_price": False,
    }
    if one.kind == "category":
        return record
    old, new = (numbers(rows.column(one.name)) for rows in (then, now))
    known = new[np.isfinite(new)]
    several = len(np.unique(old[np.isfinite(old)])) > 1
    return {
        **record,
        "distance": _rounded(one.statistic),
        "size": _rounded(size_ratio(old, new)),
        "beyond": count_beyond(old, new),
        "constant": bool(len(known) and several and (known == known[0]).all()),
        "list_price": _is_list_price(old),
    }


def size_ratio(before: NDArray[np.float64], after: NDArray[np.float64]) -> float | None:
    """By how much the typical value has grown: the mean size of the middle nine tenths of those that are not zero. 0
    where all are zero now, None where all were zero then or a side has no value.

    Zero is zero in every unit. Counted in, the zeros of a column that mostly has them made somewhat fewer cases look
    like another unit: those with a delinquency fell from a ninth of applicants to a sixteenth, the trimmed mean to a
    fifth.

    Examples
    --------
    >>> size_ratio(np.array([0.0, 40_000.0, 60_000.0]), np.array([0.0, 0.0, 50.0]))
    0.001
    """

    def typical(values: NDArray[np.float64]) -> float | None:
        known = np.abs(values[np.isfinite(values)])
        sizes = np.sort(known[known > 0])
        cut = len(sizes) // 20
        middle = sizes[cut : len(sizes) - cut]
        return float(middle.mean()) if len(middle) else 0.0 if len(known) else None

    old, new = typical(before), typical(after)
    return None if not old or new is None else new / old


def count_beyond(before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, int] | None:
    """How many later values are less than half as large as all but the smallest of the earlier ones, or more than twice
    as large as all but the largest, of which one in 2,000 is left out either way: `rows`, and `of` how many that are
    not zero. None where a side has too few. A part of the rows in another unit moves no typical value.

    Examples
    --------
    >>> incomes = np.linspace(20_000.0, 90_000.0, 1_000)
    >>> count_beyond(incomes, np.r_[incomes[:900], incomes[900:] * 100])
    {'rows': 100, 'of': 1000}
    """
    old, new = (np.abs(values[np.isfinite(values) & (values != 0)]) for values in (before, after))
    if min(len(old), len(new)) < _FEWEST:
        return None
    low, high = np.quantile(old, [_LEFT_OUT, 1 - _LEFT_OUT])
    return {"rows": int(((new < low / _FAR) | (new > high * _FAR)).sum()), "of": len(new)}


def _is_list_price(values: NDArray[np.float64]) -> bool:
    """Whether a column has few values, all above zero, and other ones from time to time: a price that is set for all,
    by product. From the day on which it moves all rows have values of their own, which no applicant brought about.
    Counts and flags have zeros.
    """
    known = values[np.isfinite(values)]
    different = len(np.unique(known))
    if not different or known.min() <= 0 or different > max(_FEW_VALUES, _VALUES_SHARE * len(known)):
        return False
    if different <= _FEW_VALUES:
        return True
    first, second = known[: len(known) // 2], known[len(known) // 2 :]
    return bool(np.isin(second, first).mean() < _SEEN_AGAIN)


def _evenly(rows: Rows) -> Rows:
    if len(rows) <= MOST_ROWS:
        return rows
    mask = np.zeros(len(rows), dtype=bool)
    mask[np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64)] = True
    return rows.part(mask)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)


# The rate of default over months


class _Side(NamedTuple):
    """What lies to one side of a boundary: its first and last day, and what there is of each."""

    first: date
    last: date
    applications: int
    goods: int
    bads: int


def measure_target(
    days: NDArray[Any], bad: NDArray[np.bool_], applied: NDArray[Any], starts: Sequence[date] = ()
) -> dict[str, Any]:
    """The rate of default month by month, and the boundary at which its odds change most beyond chance.

    Up to three months before the start of each month are held against up to three from it on, by the odds ratio with
    its score interval of 99.9%, which holds for few loans and where one side has no bads at all. Of goods or bads that
    are lost a share s, the odds change by the factor 1 - s or its inverse.
    Source: O. Miettinen, M. Nurminen, Statistics in Medicine 4, 1985.

    Parameters
    ----------
    days, bad
        Of the training set: the day of each application (datetime64) and whether it defaulted.
    applied
        Days of all applications of the cohorts, whoever has a target.
    starts
        Boundaries besides the months' starts, all before against all from it on: the first days of validation and test.

    Returns
    -------
    dict
        JSON types: `months`, each with `month`, `applications`, `loans` and `bads`; `jump`, None where there is nothing
        on two sides, else `from`, the `ratio` of the odds after over those before, its end of the interval that is
        `nearest` to 1 (1 where that lies within), and `before` and `after` with days and counts.
    """
    loans, applications = (np.asarray(some).astype("datetime64[D]") for some in (days, applied))
    months = np.unique(loans.astype("datetime64[M]"))
    spans = [(_start(month - _MONTHS), _start(month), _start(month + _MONTHS)) for month in months[1:]]
    spans += [(loans.min(), np.datetime64(start), loans.max() + 1) for start in starts]
    jumps = []
    for low, cut, high in spans:
        before, after = _side(loans, bad, applications, (low, cut)), _side(loans, bad, applications, (cut, high))
        if before is not None and after is not None:
            jumps.append(_jump(_day(cut), before, after))
    counted = [_side(loans, bad, applications, (_start(month), _start(month + 1))) for month in months]
    return {
        "months": [
            {
                "month": str(month),
                "applications": side.applications,
                "loans": side.goods + side.bads,
                "bads": side.bads,
            }
            for month, side in zip(months, counted, strict=True)
            if side is not None
        ],
        "jump": max(jumps, key=lambda one: abs(math.log(one["nearest"])), default=None),
    }


def _side(days: NDArray[Any], bad: NDArray[np.bool_], applied: NDArray[Any], span: tuple[Any, Any]) -> _Side | None:
    """Counts from the first day of the span to before the second; None where there are no loans."""
    first, end = span
    inside = (days >= first) & (days < end)
    if not inside.any():
        return None
    there, bads = days[inside], int((inside & bad).sum())
    applications = int(((applied >= first) & (applied < end)).sum())
    return _Side(_day(there.min()), _day(there.max()), applications, int(inside.sum()) - bads, bads)


def _jump(start: date, before: _Side, after: _Side) -> dict[str, Any]:
    counts = [count + 0.5 for side in (before, after) for count in (side.bads, side.goods)]
    return {
        "from": start.isoformat(),
        "ratio": _rounded(counts[2] * counts[1] / (counts[0] * counts[3])),
        "nearest": _rounded(_nearest(before, after)),
        "before": _side_record(before),
        "after": _side_record(after),
    }


def _nearest(before: _Side, after: _Side) -> float:
    """The end of the interval of the odds ratio that is nearer to 1; 1 where that lies within."""
    far = math.copysign(_FARTHEST, _score(before, after, 0.0))
    if abs(_score(before, after, 0.0)) <= _Z:
        return 1.0
    near = 0.0
    for _ in range(50):
        middle = (near + far) / 2
        near, far = (middle, far) if abs(_score(before, after, middle)) > _Z else (near, middle)
    return math.exp(near)


def _score(before: _Side, after: _Side, logarithm: float) -> float:
    """Standard deviations by which the later bads exceed what the odds ratio of this logarithm expects; 0 on the far
    side of what was found.
    """
    ratio, n1, n2 = math.exp(logarithm), before.bads + before.goods, after.bads + after.goods
    bads = before.bads + after.bads
    if bads in (0, n1 + n2):
        return 0.0
    # The shares before and after that are likeliest where the odds ratio is just this: n1 p1 + n2 p2 = bads.
    a, b = n1 * (ratio - 1), n2 * ratio + n1 - bads * (ratio - 1)
    p1 = 2 * bads / (b + math.sqrt(b * b + 4 * a * bads))
    p2 = ratio * p1 / (1 + p1 * (ratio - 1))
    found = (after.bads - n2 * p2) * math.sqrt(1 / (n1 * p1 * (1 - p1)) + 1 / (n2 * p2 * (1 - p2)))
    return found if found * logarithm >= 0 else 0.0


def _side_record(side: _Side) -> dict[str, Any]:
    days = (side.last - side.first).days + 1
    return {**side._asdict(), "first": side.first.isoformat(), "last": side.last.isoformat(), "days": days}


def _start(month: Any) -> Any:
    return np.datetime64(month, "D")


def _day(value: Any) -> date:
    day: date = np.datetime64(value, "D").item()
    return day


# Outcomes that have ceased to come


def measure_feed(known: NDArray[np.int64], first: date, as_of: date) -> dict[str, Any]:
    """For how long nothing has become known, and how much would have.

    As many are expected as came on average in the 180 days up to the last. Where they are independent of one another,
    none comes with a probability of exp(-expected). Feeds come in batches too, by week or by month: so the gap is to be
    held against the longest one before it as well. Where fewer than five days have any, the days before the first are
    a gap too: of a feed that comes once a year nobody knows more.

    Parameters
    ----------
    known
        Days since 1970 on which something became known, one an outcome, from `first` to `as_of`.
    first, as_of
        The days that were looked at.

    Returns
    -------
    dict
        JSON types: `rows`, `last` (None where there are none), `gap` in days up to the as-of date, `longest_gap` before
        it, and `expected`.

    Examples
    --------
    >>> found = measure_feed(np.arange(14_610, 14_800), date(2010, 1, 1), date(2010, 9, 30))
    >>> found["last"], found["gap"], found["longest_gap"], round(found["expected"])
    ('2010-07-09', 83, 0, 83)
    """
    begin, end = ((day - _EPOCH).days for day in (first, as_of))
    days = np.sort(known[(known >= begin) & (known <= end)])
    if not len(days):
        return {"rows": 0, "last": None, "gap": end - begin + 1, "longest_gap": 0, "expected": 0.0}
    last, different = int(days[-1]), np.unique(days)
    gaps = [int(gap) - 1 for gap in np.diff(different)]
    if len(different) < _FEW_DAYS:
        gaps.append(int(different[0]) - begin)
    span = min(_RATE_DAYS, last - begin + 1)
    return {
        "rows": len(days),
        "last": (_EPOCH + timedelta(last)).isoformat(),
        "gap": end - last,
        "longest_gap": max(gaps, default=0),
        "expected": _rounded(float((days > last - span).sum()) / span * (end - last)),
    }
