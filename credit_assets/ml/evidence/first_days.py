"""Whether the days that a model would score first look like those that it was tested on.

Belongs here: the measures, from a model's scores of both. Does not belong here: which days these are
(`credit_assets.assets.first_days`) and what follows (`credit_assets.ml.rules.first_days`).

A feature that is filled in once the outcome is known, or in another unit from a day on, makes a good test and bad
scores: the test's days have it as it became, the newest days as it is when a loan is applied for. Both are there before
the model takes over, so nobody has to wait a performance window to see it.

That features drift over the window between them is ordinary, and a PSI does not tell it from a fault. So the question
asked is what of the test's AUC is left once its rows look like the newest days: each value is moved to the one of equal
rank among theirs. What drifted keeps its order, and the AUC with it; what is constant, missing or out of the range that
the model knows has lost it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.data.values import numbers, texts
from credit_assets.ml.evidence.drift import DriftPolicy, FeatureDrift, measure_drift
from credit_assets.ml.evidence.drift_reference import DriftReference
from credit_assets.ml.evidence.evaluation import auc, compare
from credit_assets.ml.evidence.world import size_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

Score = Callable[[Data], tuple["NDArray[np.float64]", "NDArray[np.float64]"]]
"""PDs and points that a model gives rows with its features."""

_SHOWN = 20
# Multiples of an irrational number, modulo 1, fill 0 .. 1 evenly however many are taken: as good as random ones where
# half of the rows of a value are to be moved, and the same in every run.
_GOLDEN, _SILVER = 0.6180339887498949, 0.41421356237309515
_Z = 1.96


class Sides(NamedTuple):
    """What is held against one another: the `test`, out-of-time rows with `default`; and everyone who applied on its
    days (`then`) and on the newest days (`now`), whoever of them was lent to.
    """

    test: Data
    then: Data
    now: Data
    customers: NDArray[np.int64] | None = None
    """Of the test's rows, as groups; None where every row is its own."""


def measure_first_days(
    score: Score, sides: Sides, features: Sequence[str], categorical: Sequence[str], policy: DriftPolicy
) -> dict[str, Any]:
    """Mean PD, scores and features of the newest days beside those of the test's days, and what AUC the test keeps.

    Parameters
    ----------
    score
        The model.
    sides
        The rows.
    features, categorical
        Of the model; the second are those that are read as text.
    policy
        From where on a feature is said to differ.

    Returns
    -------
    dict
        JSON types: `rows`, `mean_pd` of both and `pd_odds_ratio` with its 95% interval; `score`, the drift of the
        points; `auc` of the test; `features`, at most 20 that differ beyond chance, the largest PSI first, each with
        its drift, the share of the newest rows that are `unread`, the `scale` of its values now over then, and what the
        test comes to once this feature looks like the newest days (`auc_as_now`, `auc_loss` and the lower end of its
        95% interval, `pd_odds_ratio`, whether the model has `used` it at all); `together`, the same of all of them at
        once, for those that stand in for one another; `compared`, how many features there are.

    Raises
    ------
    ValueError
        Where one of the three has no rows, or lacks a feature.
    """
    test, then, now, customers = sides
    target = np.asarray(Rows.of(test).column("default")).astype(np.int8)
    (pd_then, points_then), (pd_now, points_now) = score(then), score(now)
    reference = DriftReference.of(then, features, categorical, points_then)
    *measured, of_score = measure_drift(reference, now, points_now, policy).features
    differing = _differing(measured, policy)
    kept = {name: Rows.of(test).column(name) for name in features}
    moved = _as_now(sides, [one.name for one in differing], categorical)
    before = score(Rows.of_columns(kept))[0]

    def effect(names: Collection[str]) -> dict[str, Any]:
        after = score(Rows.of_columns({**kept, **{name: moved[name] for name in names}}))[0]
        loss = compare(target, before, after, customers)
        return {
            "auc_as_now": _rounded(auc(target, after)),
            "auc_loss": _rounded(loss.difference),
            "auc_loss_low": _rounded(loss.ci_low),
            "pd_odds_ratio": _rounded(_odds(after) / _odds(before)),
            "used": bool((after != before).any()),
        }

    return {
        "rows": {"test": len(target), "then": len(pd_then), "now": len(pd_now)},
        "mean_pd": {"then": _rounded(float(pd_then.mean())), "now": _rounded(float(pd_now.mean()))},
        "pd_odds_ratio": _ratio(pd_then, pd_now),
        "score": of_score.to_record(),
        "auc": _rounded(auc(target, before)),
        "together": effect([one.name for one in differing]),
        "compared": len(measured),
        "features": [
            {
                **one.to_record(),
                "unread": _rounded(_unread(one)),
                "scale": None if one.kind == "category" else _rounded_or_none(_scale(one.name, then, now)),
                **effect([one.name]),
            }
            for one in differing[:_SHOWN]
        ],
    }


def _differing(measured: Sequence[FeatureDrift], policy: DriftPolicy) -> list[FeatureDrift]:
    """Features whose values differ beyond chance, the largest PSI first; alpha is shared among all tests made."""
    level = policy.alpha / max(1, sum(len(one.p_values) for one in measured))
    found = [one for one in measured if min(one.p_values, default=1.0) < level]
    return sorted(found, key=lambda one: (-(one.psi or 0.0), one.name))


def _unread(one: FeatureDrift) -> float:
    """The share of the newest rows whose value the model cannot read as it did the test's: missing, less the share that
    was missing then, or in a level that the test's days did not have.
    """
    missing = one.missing_share or 0.0
    return max(missing - one.missing_reference, (one.new_level_share or 0.0) * (1 - missing), 0.0)


def _scale(name: str, then: Data, now: Data) -> float | None:
    return size_ratio(*(numbers(Rows.of(data).column(name)) for data in (then, now)))


def _rounded(value: float) -> float:
    return round(float(value), 6)


def _rounded_or_none(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _odds(pd: NDArray[np.float64]) -> float:
    mean = float(pd.mean())
    return mean / (1 - mean)


def _ratio(then: NDArray[np.float64], now: NDArray[np.float64]) -> dict[str, float]:
    """Odds of the mean PD now over those then, with the 95% interval of the logarithm's standard error."""

    def error(pd: NDArray[np.float64]) -> float:
        mean = float(pd.mean())
        return float(pd.std()) / math.sqrt(len(pd)) / (mean * (1 - mean))

    value, spread = _odds(now) / _odds(then), math.exp(_Z * math.hypot(error(then), error(now)))
    return {"value": _rounded(value), "ci_low": _rounded(value / spread), "ci_high": _rounded(value * spread)}


# Values of the test as the newest days have them


def _as_now(sides: Sides, features: Sequence[str], categorical: Collection[str]) -> dict[str, Any]:
    given = [Rows.of(data) for data in sides[:3]]
    return {
        name: (_levels_as_now if name in categorical else _numbers_as_now)(*(rows.column(name) for rows in given))
        for name in features
    }


def _evenly(rows: int, step: float) -> NDArray[np.float64]:
    parts: NDArray[np.float64] = (np.arange(1, rows + 1, dtype=np.float64) * step) % 1.0
    return parts


def _numbers_as_now(test: Any, then: Any, now: Any) -> NDArray[np.float64]:
    """Each value moved to that of equal rank among `now`; equal ones are divided where `now` divides them.

    So many become missing, or cease to be, as are more or fewer of `now` than of `then`.
    """
    values = numbers(test).copy()
    before, after = (np.sort(known[np.isfinite(known)]) for known in (numbers(then), numbers(now)))
    missing, missing_now = (1 - len(known) / len(all_) for known, all_ in ((before, then), (after, now)))
    if not len(after):
        return np.full(len(values), np.nan)
    known, chance, within = np.isfinite(values), _evenly(len(values), _SILVER), _evenly(len(values), _GOLDEN)
    if len(before):
        low, high = (np.searchsorted(before, values[known], side) for side in ("left", "right"))
        rank = (low + within[known] * np.maximum(high - low, 1)) / len(before)
        values[known] = _at(after, rank)
    lost = known & (chance < max(0.0, missing_now - missing) / max(1 - missing, 1e-12))
    found = ~known & (chance < max(0.0, missing - missing_now) / max(missing, 1e-12))
    values[found] = _at(after, within[found])
    values[lost] = np.nan
    return values


def _at(ordered: NDArray[np.float64], rank: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ordered[np.clip((rank * len(ordered)).astype(int), 0, len(ordered) - 1)], dtype=np.float64)


def _levels_as_now(test: Any, then: Any, now: Any) -> list[str | None]:
    """Levels, missing among them: as many keep theirs as can, the others get those of which `now` has more."""
    shares, shares_now = _shares(then), _shares(now)
    more = {level: share - shares.get(level, 0.0) for level, share in shares_now.items()}
    gained = [level for level in shares_now if more[level] > 0]
    ends = np.cumsum([more[level] for level in gained])
    places, different = texts(test)
    moved: list[str | None] = [different[place] for place in places]
    for place, level in enumerate(different):
        share = shares.get(level, 0.0)
        stays = shares_now.get(level, 0.0) / share if share else 1.0
        if stays >= 1:
            continue
        at = np.flatnonzero(places == place)
        leaving = at[_evenly(len(at), _SILVER) >= stays]
        to = np.minimum(np.searchsorted(ends, _evenly(len(leaving), _GOLDEN) * ends[-1], "right"), len(gained) - 1)
        for row, target in zip(leaving.tolist(), to.tolist(), strict=True):
            moved[row] = gained[target]
    return moved


def _shares(values: Any) -> Mapping[str | None, float]:
    places, different = texts(values)
    counts = np.bincount(places, minlength=len(different)) / len(places)
    shares: dict[str | None, float] = {}
    for level, share in zip(different, counts.tolist(), strict=True):
        shares[level] = shares.get(level, 0.0) + share
    return shares
