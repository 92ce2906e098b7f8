"""What each feature by itself tells of the outcome: its information value, whether it rises with risk, and its range.

Belongs here: the measures on train rows. Does not belong here: the information value of given bins (`weights`), what a
model makes of a feature (`leaks`), and the bins and points of a scorecard (`credit_assets.ml.learners.scorecard`).

The information value is the sum over the bins of (share of the bads - share of the goods) ln(share of the bads / share
of the goods): the population stability index between bads and goods. Bins are tenths of a number, levels of a category,
and one of what is missing. Without any relation it is not 0 but on average (bins - 1) (1 / bads + 1 / goods), which
stands beside it.
Source: N. Siddiqi, Credit Risk Scorecards, 2006, chapter 6.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.rows import Rows
from credit_assets.ml.data.shown_values import shown_at
from credit_assets.ml.data.values import numbers, texts
from credit_assets.ml.evidence.weights import information_value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from credit_assets.ml.data.rows import Data
    from credit_assets.ml.data.values import Values

BINS = 10
MOST_LEVELS = 50
"""Levels that are bins of their own, the most frequent; the others are one together."""
_ERRORS = 2.0
# So that no range is the value of one applicant.
_RANGE = (0.01, 0.5, 0.99)


def by_chance(bins: int, bads: int, goods: int) -> float:
    """The information value that a feature without any relation has on average."""
    return max(0, bins - 1) * (1 / bads + 1 / goods)


def measure_information(
    data: Data, target: ArrayLike, features: Sequence[str], categorical: Collection[str]
) -> list[dict[str, Any]]:
    """The information value, the observed direction and the range of each feature.

    Parameters
    ----------
    data
        Train rows with the features.
    target
        1 for a bad, 0 for a good, in their order; both must occur.
    features, categorical
        Names of all features, and of those that are categories.

    Returns
    -------
    list of dict
        JSON types, in the order of the features: `name`, `value`, `by_chance`, `bins`, `missing_share`, `direction` (1
        where it rises with risk, -1 where it falls, 0 where two standard errors allow either; None of a category), and
        of a number `range`, near its 1st, 50th and 99th percentile (`shown_values`), of a category `levels`.

    Raises
    ------
    ValueError
        Where all targets are of one class.

    Examples
    --------
    >>> import pandas as pd
    >>> rng = np.random.default_rng(1)
    >>> income = rng.lognormal(10, 1, 2_000)
    >>> bad = rng.random(2_000) < 1 / (1 + income / 10_000)
    >>> (found,) = measure_information(pd.DataFrame({"income": income}), bad, ["income"], [])
    >>> found["direction"], found["bins"], found["value"] > 0.3
    (-1, 10, True)
    """
    rows, bad = Rows.of(data), np.asarray(target) == 1
    if bad.all() or not bad.any():
        raise ValueError("an information value needs both goods and bads")
    return [_measured(name, rows.column(name), bad, name in categorical) for name in features]


def _measured(name: str, values: Values, bad: NDArray[np.bool_], categorical: bool) -> dict[str, Any]:
    places, missing, more = (_levels if categorical else _tenths)(values, bad)
    bads, goods = (np.bincount(places[side], minlength=int(places.max()) + 1) for side in (bad, ~bad))
    bins = int(((bads + goods) > 0).sum())
    return {
        "name": name,
        "value": round(information_value(goods, bads), 6),
        "by_chance": round(by_chance(bins, int(bad.sum()), int((~bad).sum())), 6),
        "bins": bins,
        "missing_share": round(float(missing.mean()), 6),
        **more,
    }


def _tenths(values: Values, bad: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_], dict[str, Any]]:
    given = numbers(values)
    known = np.isfinite(given)
    some = given[known]
    at = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(some, at, method="inverted_cdf")) if len(some) else np.empty(0)
    places = np.where(known, np.searchsorted(edges, given, side="left"), len(edges) + 1).astype(np.int64)
    ordered = np.sort(some)
    percentiles = [shown_at(ordered, round(part * (len(some) - 1))) for part in _RANGE] if len(some) else None
    return places, ~known, {"direction": direction(some, bad[known]), "range": percentiles}


def _levels(values: Values, _: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_], dict[str, Any]]:
    places, different = texts(values)
    counts: dict[str | None, int] = {}
    for level, count in zip(different, np.bincount(places, minlength=len(different)).tolist(), strict=True):
        counts[level] = counts.get(level, 0) + count
    levels = sorted((level for level in counts if level is not None), key=lambda level: (-counts[level], level))
    number: dict[str | None, int] = {level: min(n, MOST_LEVELS) for n, level in enumerate(levels)}
    number[None] = MOST_LEVELS + 1
    of_text = np.array([number[level] for level in different], dtype=np.int64)
    missing = np.array([level is None for level in different])[places]
    return of_text[places], missing, {"direction": None, "levels": len(levels)}


def direction(values: NDArray[np.float64], bad: NDArray[np.bool_]) -> int:
    """Whether larger values belong to bads (1) or to goods (-1), by more than two standard errors of the AUC without
    any relation; else 0.
    """
    bads, goods = int(bad.sum()), int((~bad).sum())
    if not bads or not goods:
        return 0
    different, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    area = float(ranks[places][bad].sum() - bads * (bads + 1) / 2) / (bads * goods)
    rows = bads + goods
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / (rows * (rows - 1)) if len(different) < rows else 0
    error = math.sqrt((rows + 1 - ties) / (12 * bads * goods)) if rows + 1 > ties else 0.0
    return 0 if abs(area - 0.5) <= _ERRORS * error else int(np.sign(area - 0.5))
