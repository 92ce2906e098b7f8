"""Whether a model keeps the portfolio's directions for whole applicants, and whether the data do.

Belongs here: the measures. Does not belong here: how derived features move with their columns
(`credit_assets.ml.data.directions`) and what is allowed (`credit_assets.ml.rules.directions_rules`).

Moves: a column of an applicant is set to other values of the book, one after the other; what is derived from it is
computed anew, and the applicant is scored. The size of a violation is by how much the log-odds of default go the wrong
way at most, between any two of these values. Applicants in whom the column is missing are not moved.

Outcomes: a direction against the truth is kept all the same. The learner leaves the column out, so that the model is
worse than it could be, and no curve shows it. What it left out is in its residuals: those of the rows that no tree was
fitted on are held against the ranks of the feature, after what intercept and slope of the log-odds explain of them (a
model that is too steep or too flat says nothing of a direction). `effect` is the effect that is missing, in
log-odds a standard deviation of the ranks; its sign says which way the outcomes go where the direction does not let the
model follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from credit_assets.ml.data.customers import groups_of
from credit_assets.ml.data.directions import not_secured
from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.rows import Data
from credit_assets.ml.data.values import numbers
from credit_assets.ml.evidence.logistic import logistic_line

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio

    Floats: TypeAlias = NDArray[np.float64]
    ProbabilityOfDefault: TypeAlias = Callable[[Data], Floats]

LEAST_ROWS = 100
_MOST_SCORES = 600_000
"""Rows scored at most, over all columns: some seconds."""
_MOST_OUTCOMES = 200_000
"""Rows at most whose outcomes are held against a feature."""
_ONE_VALUE = 1e-10
"""Standard deviation of log-odds up to which all PDs are one."""


@dataclass(frozen=True)
class DirectionsPlan:
    """How much is looked at: applicants, and values that each column is moved to."""

    applicants: int = 1000
    values: int = 12

    def of(self, columns: int) -> DirectionsPlan:
        """What can be scored of so many columns."""
        most = _MOST_SCORES // max(1, columns * (self.values + 1))
        return DirectionsPlan(min(self.applicants, max(LEAST_ROWS, most)), self.values)


def measure_directions(
    pd: ProbabilityOfDefault,
    training_set: pa.Table,
    portfolio: Portfolio,
    tolerance: float,
    plan: DirectionsPlan | None = None,
) -> dict[str, Any]:
    """What the portfolio's directions are worth in a model, as JSON types.

    Parameters
    ----------
    pd
        The model's PD of rows that have its inputs; derived features are computed from them.
    training_set
        Features, `default` and `split`. Applicants are moved among those of the test, evenly taken.
    portfolio
        Which columns have a direction.
    tolerance
        A violation up to this, in log-odds, is none.
    plan
        How many applicants and values.

    Returns
    -------
    dict
        `moved`: by column with a direction, the applicants moved, the `share` of them with a violation, its size in
        log-odds (`median` and `largest` of those violated) and the largest one in PD; `span`, by how much moving it
        changes the log-odds in the mean; and `through`, the derived features that may pull the other way.
        `outcomes`: by feature with a direction, of the rows that no tree was fitted on: rows, bads, `effect` and its
        `z`; empty where these have one outcome only.
    """
    directed = {one.name: one.monotone for one in portfolio.model_inputs if one.monotone}
    through = not_secured(portfolio)
    applicants = _applicants(training_set, portfolio, (plan or DirectionsPlan()).of(len(directed)).applicants)
    values = (plan or DirectionsPlan()).values
    return {
        "tolerance": tolerance,
        "applicants": applicants.num_rows,
        "moved": {
            name: {
                "direction": direction,
                "through": [_through(effect.derived, effect.sign * direction) for effect in through.get(name, ())],
                **_moved(pd, applicants, name, direction, values, tolerance),
            }
            for name, direction in directed.items()
        },
        "outcomes": _outcomes(pd, training_set, portfolio),
    }


def _through(derived: str, wanted: int) -> dict[str, Any]:
    """A derived feature, and the direction that would keep it from pulling the other way; 0 where none would surely."""
    return {"derived": derived, "wanted": wanted}


def _applicants(training_set: pa.Table, portfolio: Portfolio, most: int) -> pa.Table:
    """Rows of the out-of-time test with the model's inputs alone, evenly taken."""
    import pyarrow.compute as pc

    names = [one.name for one in portfolio.model_inputs]
    test = training_set.filter(pc.equal(training_set["split"], "test")).select(names)
    return _thinned(test, most)


def _thinned(table: pa.Table, most: int) -> pa.Table:
    if table.num_rows <= most:
        return table
    return table.take(np.linspace(0, table.num_rows - 1, most).astype(np.int64))


def _log_odds(pd: Floats) -> Floats:
    p = np.clip(np.asarray(pd, dtype=np.float64), 1e-12, 1 - 1e-12)
    result: Floats = np.log(p) - np.log1p(-p)
    return result


# Moves


def _moved(
    pd: ProbabilityOfDefault, applicants: pa.Table, name: str, direction: int, values: int, tolerance: float
) -> dict[str, Any]:
    import pyarrow as pa

    own = numbers(applicants[name])
    there = np.isfinite(own)
    own, rows = own[there], applicants.filter(pa.array(there))
    grid = _grid(own, values)
    if len(grid) < 2:
        return {"rows": 0, "share": 0.0, "span": 0.0}
    kind = applicants.schema.field(name).type
    place = applicants.schema.get_field_index(name)

    at = np.column_stack([own, *(np.full(len(own), value) for value in grid)])
    # All values in one call: of a small book most of scoring is in beginning it.
    moved = pa.chunked_array([pa.array(at[:, n]).cast(kind) for n in range(at.shape[1])], kind)
    everyone = pa.concat_tables([rows] * at.shape[1]).set_column(place, applicants.schema.field(name), moved)
    curves = _log_odds(pd(everyone)).reshape(at.shape[1], -1).T
    # Whom the model refuses it gives no PD, at any value or at some.
    scored_at_all = np.isfinite(curves).all(axis=1)
    at, curves = at[scored_at_all], curves[scored_at_all]
    if not len(at):
        return {"rows": 0, "share": 0.0, "span": 0.0}
    order = np.argsort(at, axis=1, kind="stable")
    rising = np.take_along_axis(curves, order, axis=1) * direction
    # By how much a value lies below the highest before it.
    falls = np.maximum.accumulate(rising, axis=1) - rising
    worst = falls.max(axis=1)
    violated = worst > tolerance
    found: dict[str, Any] = {
        "rows": len(at),
        "share": float(violated.mean()),
        "span": float(np.ptp(curves, axis=1).mean()),
    }
    if violated.any():
        chances = probability(rising * direction)
        in_pd = np.maximum.accumulate(chances * direction, axis=1) - chances * direction
        found |= {
            "median": float(np.median(worst[violated])),
            "largest": float(worst.max()),
            "largest_pd": float(in_pd.max()),
        }
    return found


def _grid(own: Floats, values: int) -> Floats:
    """Values of the book that the column is moved to, none of its outermost ones."""
    if not len(own):
        return own
    quantiles = np.quantile(own, np.linspace(0.02, 0.98, values), method="nearest")
    different = np.unique(own)
    return np.unique(quantiles) if len(different) > values else different


# Outcomes


def _outcomes(pd: ProbabilityOfDefault, training_set: pa.Table, portfolio: Portfolio) -> dict[str, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    directed = {name: direction for name, direction in portfolio.monotone.items() if direction}
    unseen = training_set.filter(pc.not_equal(training_set["split"], "train"))
    rows = _thinned(unseen, _MOST_OUTCOMES)
    target = numbers(rows["default"])
    if not directed or not 0 < target.sum() < len(target):
        return {}
    chances = np.asarray(pd(rows), dtype=np.float64)
    given = np.isfinite(chances)
    rows, target, chances = rows.filter(pa.array(given)), target[given], chances[given]
    groups = groups_of(rows, portfolio)
    return {
        name: {"direction": direction, **missing_effect(numbers(rows[name]), target, chances, groups)}
        for name, direction in directed.items()
    }


def missing_effect(
    values: Floats, target: Floats, pd: Floats, groups: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """What a feature knows of outcomes that the PDs do not say: a score test of its ranks beside the model's log-odds.
    Where rows are of one customer (`groups`), its variance is that of customers.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x, pd = rng.normal(size=20_000), np.full(20_000, 0.1)
    >>> target = (rng.random(20_000) < 1 / (1 + np.exp(2.2 + 0.3 * x))).astype(float)
    >>> found = missing_effect(x, target, pd)
    >>> -0.4 < found["effect"] < -0.2, found["z"] < -10
    (True, True)
    """
    there = np.isfinite(values)
    x, y, p = values[there], target[there], np.clip(pd[there], 1e-12, 1 - 1e-12)
    found: dict[str, Any] = {"rows": len(x), "bads": int(y.sum())}
    ranks = _ranks(x)
    spread = ranks.std() if len(x) else 0.0
    if not spread:
        return {**found, "effect": 0.0, "z": 0.0}
    log_odds = _standard(_log_odds(p))
    recalibrated = _recalibrated(log_odds, y)
    if recalibrated is None:
        # They separate the bads from the goods, so that nothing is left to be known.
        return {**found, "effect": 0.0, "z": 0.0}
    beside, p = np.column_stack([np.ones(len(x)), log_odds]), recalibrated
    weight, ranks = p * (1 - p), (ranks - ranks.mean()) / spread
    root = np.sqrt(weight)
    explained, *_ = np.linalg.lstsq(beside * root[:, None], ranks * root, rcond=None)
    own = ranks - beside @ explained
    score, information = float(own @ (y - p)), float(own**2 @ weight)
    if information <= 1e-9 * weight.sum():
        return {**found, "effect": 0.0, "z": 0.0}
    variance = information
    if groups is not None:
        _, places = np.unique(groups[there], return_inverse=True)
        variance = float(np.square(np.bincount(places, weights=own * (y - p))).sum())
    return {**found, "effect": score / information, "z": score / float(np.sqrt(variance)) if variance else 0.0}


def _recalibrated(log_odds: Floats, target: Floats) -> Floats | None:
    """The PDs that intercept and slope of the log-odds make of the model's; None where no such line is the likeliest.
    A fit that is not at its end would leave to the features what the line lacks.
    """
    line = logistic_line(target, log_odds, 0.0, slope_free=True)
    return None if line is None else probability(line[0] + line[1] * log_odds)


def _standard(values: Floats) -> Floats:
    """Of mean 0 and variance 1: of few bads PDs lie close together, and the slope of their log-odds is any number."""
    apart = values - values.mean()
    spread = float(apart.std())
    return apart / spread if spread > _ONE_VALUE else np.zeros_like(apart)


def _ranks(values: Floats) -> Floats:
    """Mean ranks of equal values."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(counts)
    result: Floats = (upto - (counts - 1) / 2)[places]
    return result


def directed_columns(evidence: Mapping[str, Any]) -> Sequence[str]:
    """Columns with a direction that were moved."""
    return tuple(evidence["moved"])
