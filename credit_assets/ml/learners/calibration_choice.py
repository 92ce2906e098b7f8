"""Which shape of calibration a model gets: the simplest that is not shown to be worse on rows it was not fitted on.

Belongs here: the folds, the rule, and the record of the choice. Does not belong here: the shapes (`calibration`).

A more flexible shape always fits the rows better that it was fitted on: chosen there, isotonic wins every time. So each
is fitted on the other folds and judged on the fold that was left out, by log loss. Folds are runs of rows in the order
of time, with about as many bads each: what holds in one month and not in the next counts against a shape. The best mean
loss sets the mark, and the simplest shape whose loss is within one standard error of it is taken, which is the error of
the difference between the two on the same rows.

On few bads this rule would leave a wrong level as it is, since nothing is shown: below NONE_BADS Platt's line is the
simplest shape that is offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.learners.calibration import FITS, Calibration

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

AUTO = "auto"
FOLDS = 5
LEAST_BADS = 20
"""Bads, and goods, below which folds of a few of them choose by chance: DEFAULT is taken."""
NONE_BADS = 150
"""Bads, and goods, from which no calibration at all may be chosen. PDs that are 1.4 times too low would be left as they
are in 25 of 100 books at 100 bads, and in some 4 at 150 to 200."""
NONE = "none"
DEFAULT = "platt"


@dataclass(frozen=True)
class Choice:
    """A fitted calibration and why it is this one.

    `losses` has for each method compared its mean `log_loss` on rows that it was not fitted on, by how much that is
    `above` the best, and the `standard_error` of this difference; empty where nothing was compared, and `why` says so.
    `rows` and `bads` are those that the calibration was fitted on.
    """

    calibration: Calibration
    method: str
    why: str
    rows: int
    bads: int
    folds: int
    losses: Mapping[str, Mapping[str, float]]

    def to_record(self) -> dict[str, Any]:
        """As JSON types, without the calibration itself."""
        return {
            "method": self.method,
            "why": self.why,
            "rows": self.rows,
            "bads": self.bads,
            "folds": self.folds,
            "losses": {name: dict(loss) for name, loss in self.losses.items()},
        }


def choose(
    margin: ArrayLike,
    y: ArrayLike,
    method: str = AUTO,
    fits: Mapping[Any, Callable[[ArrayLike, ArrayLike], Calibration]] = FITS,
) -> Choice:
    """The calibration of these rows.

    Parameters
    ----------
    margin, y
        Margins of rows in the order of time, that the model was not fitted on, and whether each went bad (1).
    method
        One of `fits`, or "auto" to choose.
    fits
        How each method is fitted, the simplest first.

    Returns
    -------
    Choice
        Fitted on all rows.

    Raises
    ------
    ValueError
        As `fit_platt`, and for an unknown method.
    """
    margins, target = np.asarray(margin, dtype=np.float64), np.asarray(y, dtype=np.float64)
    bads, rows = int(np.count_nonzero(target == 1)), len(target)

    def chosen(name: str, why: str, folds: int = 0, losses: Mapping[str, Mapping[str, float]] | None = None) -> Choice:
        return Choice(fits[name](margins, target), name, why, rows, bads, folds, losses or {})

    if method != AUTO:
        if method not in fits:
            raise ValueError(f"unknown calibration {method!r}; known: {AUTO}, {', '.join(fits)}")
        return chosen(method, f"{method} is asked for (policy calibration.method)")
    if min(bads, rows - bads) < LEAST_BADS:
        default = DEFAULT if DEFAULT in fits else next(iter(fits))
        return chosen(default, f"{bads} bads of {rows} rows are too few to choose by: {LEAST_BADS} of each are needed")
    why = f"the simplest whose log loss in {FOLDS} folds is within one standard error of the best"
    offered = dict(fits)
    if min(bads, rows - bads) < NONE_BADS and offered.pop(NONE, None):
        why += f"; {bads} bads of {rows} rows are too few to show that none is needed, which takes {NONE_BADS} of each"
    name, compared = within_one_error(cross_fitted(margins, target, offered))
    return chosen(name, why, FOLDS, compared)


def cross_fitted(
    margins: NDArray[np.float64],
    target: NDArray[np.float64],
    fits: Mapping[Any, Callable[[ArrayLike, ArrayLike], Calibration]] = FITS,
) -> dict[str, NDArray[np.float64]]:
    """The log loss of each row by each method, fitted on the other folds."""
    # Cut where the bads are: each fold has as many, whatever the rate of its days.
    bads = np.cumsum(target)
    fold = np.minimum(((bads - target) * FOLDS / bads[-1]).astype(np.int64), FOLDS - 1)
    losses = {name: np.empty(len(target)) for name in fits}
    for number in range(FOLDS):
        inside = fold == number
        for name, fit in fits.items():
            log_odds = fit(margins[~inside], target[~inside]).log_odds(margins[inside])
            losses[name][inside] = np.logaddexp(0.0, log_odds) - target[inside] * log_odds
    return losses


def within_one_error(losses: Mapping[str, NDArray[np.float64]]) -> tuple[str, dict[str, dict[str, float]]]:
    """The first whose mean loss lies within one standard error of the smallest, and how all of them compare."""
    means = {name: float(loss.mean()) for name, loss in losses.items()}
    best = losses[min(means, key=lambda name: means[name])]
    compared = {}
    for name, loss in losses.items():
        apart = loss - best
        error = float(apart.std(ddof=1)) / len(apart) ** 0.5
        compared[name] = {"log_loss": means[name], "above": float(apart.mean()), "standard_error": error}
    chosen = next(name for name, one in compared.items() if one["above"] <= one["standard_error"])
    return chosen, compared
