"""A plain scorecard: what a lender could have had without a learner, as a floor for the first model.

Belongs here: fitting it on the train rows and scoring others. Does not belong here: the comparison with a model
(`comparison`), and the points of a model's own scores (`credit_assets.ml.learners.scorer`).

Each feature becomes the weight of evidence of its bin (`weights`); a logistic regression adds up those of the features
that tell most. Deterministic, and of bounded cost: a fixed number of rows and features is fitted on, and one column at
a time is read. It needs no package beside numpy, so that the rule is the same wherever it runs; the scorecard that
competes with the other learners is `credit_assets.ml.learners.scorecard`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from credit_assets.ml.data.rows import Rows
from credit_assets.ml.data.values import numbers, texts
from credit_assets.ml.evidence.weights import information_value, logistic_regression, weights_of_evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from credit_assets.ml.data.rows import Data
    from credit_assets.ml.data.values import Values

BINS = 10
MOST_ROWS = 100_000
"""Train rows that it is fitted on, evenly from all of them: ten weights a feature need no more."""
MOST_FEATURES = 30
"""Features in the regression, those with the largest information value."""
_MOST_LEVELS = 50
# As many rows of the average bad rate are added to each bin, so that a bin of three rows says little.
_ADDED = 10.0


@dataclass(frozen=True)
class _Bins:
    """The bins of one feature: edges of a numeric one, levels of a category. The last is of what is missing or new."""

    name: str
    edges: NDArray[np.float64] | None
    levels: tuple[str, ...]

    @property
    def count(self) -> int:
        return (len(self.levels) if self.edges is None else len(self.edges) + 1) + 1

    def of(self, values: Values) -> NDArray[np.int64]:
        """The bin of each value."""
        if self.edges is None:
            places, different = texts(values)
            known: dict[str | None, int] = {level: number for number, level in enumerate(self.levels)}
            return np.array([known.get(level, len(known)) for level in different], np.int64)[places]
        given = numbers(values)
        inside = np.searchsorted(self.edges, given, side="left")
        return np.where(np.isfinite(given), inside, self.count - 1).astype(np.int64)


@dataclass(frozen=True)
class Scorecard:
    """Weights of evidence by feature and bin, and what the regression makes of them."""

    bins: tuple[_Bins, ...]
    weights: tuple[NDArray[np.float64], ...]
    coefficients: NDArray[np.float64]
    """One a feature, and the intercept."""

    def pd(self, data: Data) -> NDArray[np.float64]:
        """Probabilities of default, strictly between 0 and 1."""
        rows = Rows.of(data)
        log_odds = np.full(len(rows), self.coefficients[-1])
        for bins, weights, coefficient in zip(self.bins, self.weights, self.coefficients, strict=False):
            log_odds += coefficient * weights[bins.of(rows.column(bins.name))]
        pds: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
        return pds


def fit_scorecard(
    data: Data, target: NDArray[np.float64], features: Sequence[str], categorical: Sequence[str]
) -> Scorecard:
    """A scorecard of train rows.

    Parameters
    ----------
    data
        Rows with the features.
    target
        1 for a bad, 0 for a good, in their order; both must occur.
    features, categorical
        Names of all features, and of those that are categories.

    Returns
    -------
    Scorecard
        The same for equal rows in equal order.

    Raises
    ------
    ValueError
        Where all targets are of one class.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(1)
    >>> rows = pd.DataFrame({"income": rng.lognormal(10, 1, 2_000)})
    >>> bad = (rng.random(2_000) < 1 / (1 + rows["income"].to_numpy() / 10_000)).astype(float)
    >>> low, high = fit_scorecard(rows, bad, ["income"], []).pd(pd.DataFrame({"income": [5_000.0, 80_000.0]}))
    >>> bool(low > 3 * high)
    True
    """
    rows = Rows.of(data)
    if len(rows) > MOST_ROWS:
        some = np.zeros(len(rows), dtype=bool)
        some[np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64)] = True
        rows, target = rows.part(some), target[some]
    bad = target == 1
    if bad.all() or not bad.any():
        raise ValueError("a scorecard needs both goods and bads")
    found = []
    for name in features:
        column = rows.column(name)
        bins = _bins(name, column, name in set(categorical))
        places = bins.of(column)
        bads, goods = (np.bincount(places, weights=of, minlength=bins.count) for of in (bad, ~bad))
        weights = weights_of_evidence(goods, bads, _ADDED)
        found.append((information_value(goods, bads, _ADDED), bins, weights))
    # In the order of the features among equals.
    kept = sorted(found, key=lambda one: -one[0])[:MOST_FEATURES]
    design = np.ones((len(rows), len(kept) + 1))
    for number, (_, bins, weights) in enumerate(kept):
        design[:, number] = weights[bins.of(rows.column(bins.name))]
    line = logistic_regression(lambda: [(design, bad)], float(bad.mean()))
    return Scorecard(tuple(bins for _, bins, _ in kept), tuple(weights for _, _, weights in kept), line.coefficients)


def _bins(name: str, values: Values, categorical: bool) -> _Bins:
    if categorical:
        places, different = texts(values)
        counts: Counter[str] = Counter()
        for level, count in zip(different, np.bincount(places, minlength=len(different)), strict=True):
            if level is not None:
                counts[level] += int(count)
        most = sorted(counts, key=lambda level: (-counts[level], level))[:_MOST_LEVELS]
        return _Bins(name, None, tuple(most))
    given = numbers(values)
    known = given[np.isfinite(given)]
    at = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(known, at, method="inverted_cdf")) if len(known) else np.empty(0)
    return _Bins(name, edges, ())
