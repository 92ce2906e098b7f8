"""Performance of a model in use: realised, once outcomes are known, and estimated before.

Belongs here: both measurements, and the reconciliation of the second with the first. Does not belong here: the measures
themselves (`evaluation`), the target (`cohorts`), what was measured when the model was registered (`baseline`),
thresholds and what follows from them.

The estimate is confidence-based (CBPE): where PDs are calibrated, each PD is the distribution of its own outcome, and
the expected value of every measure follows from the PDs alone. It assumes that

- a share p of the applications with PD p defaults, and nothing else is known of them. A change of the mix of applicants
  is in the PDs and so in the estimate; a change of what a PD means (concept drift, a calibration that has aged) is not;
- outcomes are independent, given the PDs, but for those of one customer as far as the test showed how they depend. A
  recession makes all of them depend, and the intervals too narrow.

The calibration was fitted on so many rows, and is as uncertain as they are few: `CalibrationError` says how much, and
intervals of an estimate hold it. At 45 bads it is most of them.

What a broken calibration does to it, at true log-odds of mean -2.3 and standard deviation 1: PDs whose log-odds lie
twice as far from the mean as the truth make it say an AUC of 0.872 where 0.746 is realised; PDs with 0.5 less log-odds
than the truth, a bad rate of 8.2% where 12.4% default, and an AUC of 0.751, nearly right. So the estimate is an early
sign and never evidence, and is held against what was realised as soon as that is known (`reconcile`).

Source: J. Białek, W. Kuberski, N. Perrakis, A. Bifet, Estimating Model Performance Under Covariate Shift Without
Labels, 2024 (arXiv 2401.08348).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.calibration_error import SURE, CalibrationError
from credit_assets.ml.evidence.clusters import design_effect, places_of
from credit_assets.ml.evidence.evaluation import Evaluation, auc_error, evaluate
from credit_assets.ml.evidence.intervals import TAIL, Interval, Z, observed_over_expected

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_DRAWS, _GROUPS, _SEED = 200, 300, 20071
# A PD of 0 or 1 counts as so far from it: what cannot happen has no odds.
_SMALLEST = 1e-9
# Half of the step, in log-odds and in slope, over which a derivative is taken.
_STEP = 0.02


@dataclass(frozen=True)
class Realised:
    """What became of a matured cohort. `evaluation` is None where it cannot be measured; `why` says what is wrong.

    `expected` is the sum of the PDs; `auc_error` the standard error of the AUC, `level_error` that which observed over
    expected has where the PDs are right: sqrt(sum p (1 - p)) / sum p, times the design effect's root.
    """

    rows: int
    bads: int
    evaluation: Evaluation | None
    observed_over_expected: Interval | None
    why: str | None
    expected: float = 0.0
    auc_error: float | None = None
    level_error: float | None = None

    def to_record(self) -> dict[str, Any]:
        return {**asdict(self), "evaluation": self.evaluation.to_record() if self.evaluation else None}


@dataclass(frozen=True)
class Estimated:
    """What calibrated PDs say that their performance will be; None where nothing can be said, and `why`.

    `*_low` .. `*_high` holds the realised value in 95% of cohorts of these very PDs, if they are calibrated, but for
    what the calibration's own rows leave open. `auc_error` is that of the realised AUC about the estimate,
    `auc_drawn` what the estimate varies by since other applicants might have come: the error of a difference of two
    estimates of one model, which share their calibration.
    """

    rows: int
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    auc_error: float | None = None
    auc_drawn: float | None = None
    gini: float | None = None
    ks: float | None = None
    ks_low: float | None = None
    ks_high: float | None = None
    brier: float | None = None
    brier_low: float | None = None
    brier_high: float | None = None
    expected_rate: float | None = None
    expected_rate_low: float | None = None
    expected_rate_high: float | None = None
    why: str | None = None

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


class _Measured(Protocol):
    def to_record(self) -> dict[str, Any]: ...


_M = TypeVar("_M", bound=_Measured)


def realised(y: ArrayLike, pd: ArrayLike, groups: ArrayLike | None = None, *, min_bads: int = 0) -> Realised:
    """Measure the PDs of a matured cohort on what became of it.

    No rows, or rows of one class, are no error: what can be measured is, and `why` says what cannot.

    Parameters
    ----------
    y
        1 for a bad, 0 for a good; 1-d.
    pd
        PDs as they were given, 0 .. 1, in the same order.
    groups
        The group of each row; None where every row is its own.
    min_bads
        Bads below which no verdict should rest on it; `why` says so.

    Returns
    -------
    Realised
        The evaluation and the ratio of observed to expected bads.

    Raises
    ------
    ValueError
        Where a PD or a target is unusable.

    Examples
    --------
    >>> found = realised([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], min_bads=50)
    >>> found.evaluation.auc, found.why
    (0.75, '2 of the 50 bads that a verdict needs')
    """
    target, p = np.asarray(y, dtype=np.float64), np.asarray(pd, dtype=np.float64)
    rows, bads = len(target), int(target.sum())
    if not rows:
        return Realised(0, 0, None, None, "no application was scored")
    expected, effect = float(p.sum()), design_effect(target - p, groups)
    ratio = observed_over_expected(bads, p, effect)
    error = math.sqrt(max(0.0, effect * float(p @ (1 - p)))) / expected if expected > 0 else None
    if bads in (0, rows):
        kind = "bad" if bads else "good"
        why = f"all {rows} applications are {kind}: ranking cannot be measured"
        return Realised(rows, bads, None, ratio, why, expected, None, error)
    few = f"{bads} of the {min_bads} bads that a verdict needs" if bads < min_bads else None
    evaluation = evaluate(target, p, groups)
    return Realised(rows, bads, evaluation, ratio, few, expected, auc_error(target, p, groups), error)


def estimate(pd: ArrayLike, groups: ArrayLike | None = None, calibration: CalibrationError = SURE) -> Estimated:
    """Expected performance of calibrated PDs on their own applications, without outcomes. O(n log n).

    AUC: the expected number of pairs in which the bad has the larger PD over the expected number of pairs of a bad and
    a good, sum p_i (1 - p_j) [p_i > p_j] / sum p_i (1 - p_j) over i != j, ties half. PDs of 0.1 and 0.3 give
    0.27 / (0.27 + 0.07) = 0.794. Brier: mean p (1 - p). Rate: mean p. KS: the mean of 200 draws of the outcomes with a
    fixed seed, since a largest difference grows by chance: the distance of the expected distributions would be too
    small by 0.01 at 600 bads and by 0.04 at 75. Drawn are the bads of 300 groups of like PD, at the same cost for any
    number of rows.

    Intervals are of the outcomes' chance and of the calibration's; that of KS is of its draws. The variance of chance
    is exact for Brier, sum p (1 - p) (1 - 2 p)^2 / n^2, and the rate, sum p (1 - p) / n^2. The AUC's is that of its
    first-order change with each outcome (delta method); with 7 bads to expect it still holds 94% of what comes. What a
    wrong calibration does is of first order too: the change with intercept and slope of the log-odds.

    Parameters
    ----------
    pd
        Calibrated PDs, 0 .. 1; 1-d.
    groups
        The group of each row; None where every row is its own.
    calibration
        How uncertain the calibration is; PDs are taken for right where it is not given.

    Returns
    -------
    Estimated
        With None and `why` where nothing can be said.

    Raises
    ------
    ValueError
        For a PD that is missing or outside 0 .. 1.

    Examples
    --------
    >>> found = estimate([0.1, 0.3])
    >>> round(found.auc, 3), round(found.expected_rate, 3)
    (0.794, 0.2)
    """
    given = np.asarray(pd, dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"{int((~((given >= 0) & (given <= 1))).sum())} PDs are missing or outside 0 .. 1")
    order = np.argsort(given, kind="stable")
    p, places = given[order], places_of(groups, len(given))
    rows, q = len(p), 1 - p
    variance = p * q
    pairs = float(p.sum() * q.sum() - variance.sum())
    if rows < 2 or pairs <= 0:
        why = "fewer than two applications were scored" if rows < 2 else "the PDs leave no chance of a good and a bad"
        return Estimated(rows, why=why if rows else "no application was scored")
    _, first, counts = np.unique(p, return_index=True, return_counts=True)
    ties = first, counts
    auc, below, above = _expected_auc(p, ties)
    bads, goods = float(p.sum()), float(q.sum())
    change = below - above - auc * (goods - q - (bads - p))
    # What one row adds to the pairs, as a bad and as a good, beyond what the AUC says.
    part = (p * below + q * above - auc * (p * (goods - q) + q * (bads - p))) / pairs
    parts = part if places is None else np.asarray(np.bincount(places[order], weights=part), dtype=np.float64)
    chance = calibration.effect * float(variance @ change**2) / pairs**2
    log_odds = np.log(np.clip(p, _SMALLEST, 1) / np.clip(q, _SMALLEST, 1))
    shifts = [(_STEP, 1.0), (-_STEP, 1.0), (0.0, 1 + _STEP), (0.0, 1 - _STEP)]
    moved = [_expected_auc(probability(line[0] + line[1] * log_odds), ties)[0] for line in shifts]
    auc_error = math.sqrt(
        chance + calibration.variance((moved[0] - moved[1]) / (2 * _STEP), (moved[2] - moved[3]) / (2 * _STEP))
    )

    def error(weights: NDArray[np.float64]) -> float:
        """Of a mean that changes with each outcome, and with each PD, by these."""
        of_chance = calibration.effect * float(variance @ weights**2) / rows**2
        moves = float(weights @ variance) / rows, float((weights * log_odds) @ variance) / rows
        return math.sqrt(of_chance + calibration.variance(*moves))

    return Estimated(
        rows=rows,
        auc=auc,
        **_within("auc", auc, auc_error),
        auc_error=auc_error,
        auc_drawn=math.sqrt(float(parts @ parts)),
        gini=2 * auc - 1,
        **_ks(p, first + counts, calibration),
        brier=float(variance.mean()),
        **_within("brier", float(variance.mean()), error(1 - 2 * p)),
        expected_rate=float(p.mean()),
        **_within("expected_rate", float(p.mean()), error(np.ones(rows))),
        why=None,
    )


def _expected_auc(
    p: NDArray[np.float64], ties: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The AUC to expect of rising PDs, and for each row the goods to expect below it and the bads above it; rows of
    equal PD (`ties`: the first of each and how many) count half, itself not.
    """
    first, counts = ties
    q, last = 1 - p, first + counts
    bads_to, goods_to = np.r_[0.0, p.cumsum()], np.r_[0.0, q.cumsum()]
    below = np.repeat((goods_to[first] + goods_to[last]) / 2, counts) - q / 2
    above = np.repeat(bads_to[-1] - (bads_to[first] + bads_to[last]) / 2, counts) - p / 2
    return float(p @ below) / float(p.sum() * q.sum() - (p * q).sum()), below, above


def by_version(
    measure: Callable[..., _M],
    versions: ArrayLike,
    *columns: ArrayLike | None,
    given: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Measure all rows, and the rows of each model version apart.

    Parameters
    ----------
    measure
        `realised`, `estimate`, or what else returns something with a `to_record`.
    versions
        The model version (text) of each row.
    columns
        What `measure` takes, row by row with `versions`; None is handed on.
    given
        By version, what `measure` takes besides; for all rows together that of the version that has most.

    Returns
    -------
    dict
        The record of all rows, and under `versions` that of the rows of each version.

    Examples
    --------
    >>> found = by_version(estimate, ["1", "1", "2", "2"], [0.1, 0.3, 0.2, 0.4])
    >>> found["rows"], {version: part["rows"] for version, part in found["versions"].items()}
    (4, {'1': 2, '2': 2})
    """
    names = np.asarray(versions, dtype=object)
    arrays = [None if column is None else np.asarray(column) for column in columns]
    found = sorted(set(names), key=lambda name: (len(name), name))
    rows_of = {name: names == name for name in found}

    def measured(name: str | None, rows: Any = slice(None)) -> dict[str, Any]:
        of = (given or {}).get(name, {}) if name is not None else {}
        return measure(*(None if array is None else array[rows] for array in arrays), **of).to_record()

    whole = measured(max(found, key=lambda name: int(rows_of[name].sum()), default=None))
    parts = {str(name): whole if rows.all() else measured(name, rows) for name, rows in rows_of.items()}
    return {**whole, "versions": parts}


def reconcile(estimated: Mapping[str, Any], realised: Mapping[str, Any]) -> dict[str, Any] | None:
    """Hold an estimate against what was realised on the same applications.

    Parameters
    ----------
    estimated, realised
        Records of `Estimated` and `Realised`.

    Returns
    -------
    dict or None
        `difference` is realised less estimated of `auc`, `gini`, `ks`, `brier` and `rate` (bad rate); `within` says of
        each whether the realised value lies in the estimate's interval (Gini as AUC). Outside it, the calibration did
        not hold or the concept has changed, or it was one of 20 by chance. None where one of them has nothing.

    Examples
    --------
    >>> pds = [0.1, 0.4, 0.35, 0.8]
    >>> found = reconcile(estimate(pds).to_record(), realised([0, 0, 1, 1], pds).to_record())
    >>> found["realised"]["auc"], found["within"]["auc"]
    (0.75, True)
    """
    evaluation = realised["evaluation"]
    if evaluation is None or estimated["auc"] is None or estimated["ks"] is None:
        return None
    names = {"auc": "auc", "gini": "gini", "ks": "ks", "brier": "brier", "expected_rate": "rate"}
    before = {"rows": estimated["rows"], **{short: estimated[name] for name, short in names.items()}}
    after = {"rows": realised["rows"], **{short: evaluation[short] for short in names.values() if short != "rate"}}
    after["rate"] = evaluation["observed_rate"]
    return {
        "estimated": before,
        "realised": after,
        "difference": {short: after[short] - before[short] for short in names.values()},
        "within": {
            short: estimated[f"{name}_low"] <= after[short] <= estimated[f"{name}_high"]
            for name, short in names.items()
            if f"{name}_low" in estimated
        },
    }


def _ks(p: NDArray[np.float64], last: NDArray[np.int64], calibration: CalibrationError) -> dict[str, float]:
    """KS of drawn outcomes, with its interval; nothing where no draw has both a good and a bad.

    `p` are rising PDs, `last` the numbers of rows up to each distinct one.
    """
    rows, bads_to, rng = len(p), np.r_[0.0, p.cumsum()], np.random.default_rng(_SEED)
    groups = np.unique(np.searchsorted(last, np.linspace(rows / _GROUPS, rows, _GROUPS)))
    size = np.diff(last[groups], prepend=0)
    rate = np.clip(np.diff(bads_to[last[groups]], prepend=0.0) / size, 0.0, 1.0)
    if calibration != SURE:
        lines = calibration.lines(_DRAWS, rng)
        log_odds = np.log(np.clip(rate, _SMALLEST, 1) / np.clip(1 - rate, _SMALLEST, 1))
        rate = probability(lines[:, :1] + lines[:, 1:] * log_odds)
    bads = rng.binomial(size, rate, (_DRAWS, len(size)))
    all_bads = bads.sum(axis=1, keepdims=True)
    both = (all_bads > 0)[:, 0] & (all_bads < rows)[:, 0]
    if not both.any():
        return {}
    bads, goods, all_bads = bads[both].cumsum(axis=1), (size - bads[both]).cumsum(axis=1), all_bads[both]
    distances = np.abs(goods / (rows - all_bads) - bads / all_bads).max(axis=1)
    low, high = np.quantile(distances, [TAIL, 1 - TAIL])
    return {"ks": float(distances.mean()), "ks_low": float(low), "ks_high": float(high)}


def _within(name: str, value: float, error: float) -> dict[str, float]:
    return {f"{name}_low": max(0.0, value - Z * error), f"{name}_high": min(1.0, value + Z * error)}
