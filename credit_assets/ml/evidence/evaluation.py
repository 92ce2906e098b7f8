"""Evaluation: how well PDs rank the outcomes and how well they meet their rate, with the uncertainty of both.

Belongs here: measures on outcomes and PDs, and the comparison of two models on the same rows. Does not belong here:
thresholds and what follows from them (`decisions`), pictures (`plots`).

Throughout, `y` is 1 for a bad (default within the performance window) and 0 for a good, `pd` is the probability of
default, both 1-d and of equal length. Larger PDs should belong to bads. Everything here depends on the rows as a set,
not on their order. Where rows come in groups (`groups`, one integer a row: the applications of one customer), intervals
are of so many groups and not of so many rows (`clusters`); values are the same. Needs numpy only: importing
sklearn.metrics costs more time than all of this on a million rows.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.data.html_tables import HtmlTable, ShownAsTable, fields
from credit_assets.ml.evidence.clusters import places_of
from credit_assets.ml.evidence.intervals import Z_POWER, Interval, Z, logit_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

DECILES = 10
_SMALLEST_PD = 1e-15


@dataclass(frozen=True)
class Decile:
    """A tenth of the rows, ordered by PD; decile 1 holds the largest PDs.

    `lift` is the decile's bad rate over that of all rows: 2.0 means twice as many bads as a random tenth.
    `bads_captured` is the share of all bads in this and the riskier deciles (the gain curve).
    """

    decile: int
    rows: int
    bads: int
    mean_pd: float
    bad_rate: float
    lift: float
    bads_captured: float


@dataclass(frozen=True)
class Evaluation(ShownAsTable):
    """All measures of one model on one set of rows. Shares and probabilities between 0 and 1, except where said.

    `auc`, `gini`, `ks`, `brier`, `log_loss` (nats a row), `ece` and `lift` as in the functions of these names;
    `observed_rate` is the bad rate, `expected_rate` the mean PD and `observed_over_expected` their ratio (1 is right,
    above 1 means risk understated); `auc_ci_low` and `auc_ci_high` bound the AUC's 95% confidence interval: DeLong's
    standard error on the logit scale (`intervals.logit_interval`).
    """

    rows: int
    bads: int
    auc: float
    auc_ci_low: float
    auc_ci_high: float
    gini: float
    ks: float
    brier: float
    log_loss: float
    ece: float
    observed_rate: float
    expected_rate: float
    observed_over_expected: float
    lift: tuple[Decile, ...]

    def to_record(self) -> dict[str, Any]:
        """The evaluation as JSON types."""
        return {**vars(self), "lift": [dict(vars(decile)) for decile in self.lift]}

    def html_tables(self) -> Iterable[HtmlTable]:
        yield fields({name: value for name, value in vars(self).items() if name != "lift"})
        heads = [name.replace("_", " ") for name in Decile.__dataclass_fields__]
        yield HtmlTable(
            "Tenths of the rows, the riskiest first", heads, [tuple(vars(one).values()) for one in self.lift]
        )


@dataclass(frozen=True)
class AucDifference(ShownAsTable):
    """AUC of the candidate less that of the champion on the same rows, with its uncertainty.

    `ci_low` .. `ci_high` is the 95% confidence interval, `p_value` two-sided for the hypothesis of no difference,
    `smallest_detectable_difference` what these rows could show: the true difference that a two-sided test at 5% would
    find in 80% of samples of this size. `independent_bads` and `independent_goods` are rows of either kind, and where
    rows come in groups, groups that have some.
    """

    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    standard_error: float
    smallest_detectable_difference: float
    rows: int
    bads: int
    independent_bads: int
    independent_goods: int

    def to_record(self) -> dict[str, Any]:
        return asdict(self)

    def html_tables(self) -> Iterable[HtmlTable]:
        yield fields(self.to_record())


def evaluate(y: ArrayLike, pd: ArrayLike, groups: ArrayLike | None = None) -> Evaluation:
    """Every measure of `Evaluation` on the same rows.

    Parameters
    ----------
    y
        1 for a bad, 0 for a good; 1-d.
    pd
        Probabilities of default, 0 .. 1, in the same order.
    groups
        The group of each row, an integer, where rows are not independent; None where every row is its own.

    Returns
    -------
    Evaluation
        The measures, with the AUC's 95% interval as of `auc_interval`.

    Raises
    ------
    ValueError
        Where there are no rows, lengths differ, a target is not 0 or 1, all targets are of one class, or a PD is
        missing or outside 0 .. 1.

    Examples
    --------
    >>> found = evaluate([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> found.auc, found.gini, found.ks
    (0.75, 0.5, 0.5)
    """
    target, p = _checked(y, pd)
    found = auc_interval(target, p, groups)
    observed, expected = float(target.mean()), float(p.mean())
    return Evaluation(
        rows=len(target),
        bads=int(target.sum()),
        auc=found.value,
        auc_ci_low=found.low,
        auc_ci_high=found.high,
        gini=2 * found.value - 1,
        ks=ks(target, p),
        brier=brier(target, p),
        log_loss=log_loss(target, p),
        ece=ece(target, p),
        observed_rate=observed,
        expected_rate=expected,
        observed_over_expected=observed / max(expected, _SMALLEST_PD),
        lift=lift(target, p),
    )


def auc(y: ArrayLike, pd: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a random bad has a larger PD than a random good, ties half.

    (R - m (m + 1) / 2) / (m n), with R the sum of the ranks of the m bads among all rows and n the number of goods
    (Mann and Whitney 1947). 0.5 is chance, 1 perfect. y = [0, 0, 1, 1] with pd = [.1, .4, .35, .8] gives 0.75.
    """
    target, p = _checked(y, pd)
    return _delong(target, p)[0]


def auc_interval(y: ArrayLike, pd: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """The AUC with its 95% interval: `auc_error` on the logit scale, as `intervals.logit_interval` has it."""
    value, error = _auc_and_error(y, pd, groups)
    return logit_interval(value, error, *_independent(np.asarray(y, dtype=np.float64) == 1, groups))


def auc_error(y: ArrayLike, pd: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Standard error of the AUC: DeLong's, and with groups that of Obuchowski, which is DeLong's without any.

    Each row has a structural component: a bad the share of goods that it outranks, a good the share of bads that
    outrank it. With V_i and W_i the sums over the bads and goods of group i, of their components less the AUC,

        var = I1 / (I1 - 1) sum V_i^2 / m^2  +  I0 / (I0 - 1) sum W_i^2 / n^2  +  I / (I - 1) 2 sum V_i W_i / (m n)

    with m bads in I1 groups, n goods in I0 and I groups in all. Needs no assumption of how rows of a group depend.
    With fewer than two groups of either kind there is none to estimate: the largest there can be, 0.5.

    Source: N. A. Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53, 1997, pages 567-578.

    Parameters
    ----------
    y, pd, groups
        As of `evaluate`.

    Raises
    ------
    ValueError
        As `evaluate`, and where groups are not one integer a row.

    Examples
    --------
    >>> y, pd = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
    >>> alone = auc_error(y, pd)
    >>> once_more = auc_error(y * 2, pd * 2, groups=[1, 2, 3, 4] * 2)
    >>> round(alone, 6), round(once_more, 6), round(auc_error(y * 2, pd * 2), 6)
    (0.353553, 0.353553, 0.204124)
    """
    return _auc_and_error(y, pd, groups)[1]


def ks(y: ArrayLike, pd: ArrayLike) -> float:
    """Kolmogorov-Smirnov distance: the largest difference between the distribution functions of PD of bads and goods.

    0 means no separation, 1 a perfect one. y = [0, 0, 1, 1] with pd = [.1, .4, .35, .8] gives 0.5.
    """
    target, p = _checked(y, pd)
    _, goods_below, bads_below = _distributions(target, p)
    return float(np.abs(goods_below - bads_below).max())


def brier(y: ArrayLike, pd: ArrayLike) -> float:
    """Mean squared difference of PD and outcome (Brier 1950); 0 is perfect.

    A model that always says the bad rate r has r (1 - r): 0.0475 at 5%. y = [0, 1] with pd = [.2, .6] gives 0.1.
    """
    target, p = _checked(y, pd)
    return float(np.mean((p - target) ** 2))


def log_loss(y: ArrayLike, pd: ArrayLike) -> float:
    """Mean of -log of the probability given to what happened, in nats; 0 is perfect.

    PDs of exactly 0 or 1 count as 1e-15 from there. y = [0, 1] with pd = [.2, .6] gives (.2231 + .5108) / 2 = 0.3670.
    """
    target, p = _checked(y, pd)
    right = np.where(target == 1, p, 1 - p)
    return float(-np.log(np.clip(right, _SMALLEST_PD, 1.0)).mean())


def ece(y: ArrayLike, pd: ArrayLike) -> float:
    """Expected calibration error over deciles of PD: the mean of |bad rate - mean PD|, weighted by rows.

    0 is perfect; 0.02 means that PDs are off by two percentage points on average. Bins hold equally many rows, since
    PDs of a loan book crowd at the low end and bins of equal width would hold nearly all in one. Even a perfect model
    has about 0.8 sqrt(r (1 - r) / k) with k rows a decile: 0.008 at a bad rate of 5% and 500 rows. Rows of equal PD
    stay in one decile. Source: Naeini, Cooper, Hauskrecht, AAAI 2015, with the equal-mass bins of Nixon et al. 2019.
    """
    target, p = _checked(y, pd)
    rows, bads, expected = _by_decile(target, p)
    return float(np.abs(bads - expected).sum() / rows.sum())


def lift(y: ArrayLike, pd: ArrayLike) -> tuple[Decile, ...]:
    """Lift table by decile of PD, the riskiest tenth first. Deciles that ties leave empty are left out."""
    target, p = _checked(y, pd)
    rows, bads, expected = (values[::-1] for values in _by_decile(target, p))
    rate, captured = target.mean(), np.cumsum(bads) / bads.sum()
    return tuple(
        Decile(
            decile=number + 1,
            rows=int(rows[number]),
            bads=int(bads[number]),
            mean_pd=float(expected[number] / rows[number]),
            bad_rate=float(bads[number] / rows[number]),
            lift=float(bads[number] / rows[number] / rate),
            bads_captured=float(captured[number]),
        )
        for number in range(DECILES)
        if rows[number]
    )


def roc_curve(y: ArrayLike, pd: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of goods and share of bads with a PD at or above each threshold, from (0, 0) to (1, 1)."""
    target, p = _checked(y, pd)
    _, goods_below, bads_below = _distributions(target, p)
    # The distribution functions start at their first step; the curve also has the point where nothing lies below.
    return 1 - np.r_[0.0, goods_below][::-1], 1 - np.r_[0.0, bads_below][::-1]


def compare(
    y: ArrayLike, pd_candidate: ArrayLike, pd_champion: ArrayLike, groups: ArrayLike | None = None
) -> AucDifference:
    """The difference of two AUCs on the same rows, candidate less champion, with a paired DeLong interval.

    Models scored on the same rows err together, so the variance of their difference is Var(A) + Var(B) - 2 Cov(A, B),
    each from the structural components: a bad's components are the shares of goods that it outranks, a good's the
    shares of bads that outrank it. Midranks give them in O(n log n). The interval is difference +- 1.96 standard
    errors; the smallest detectable difference is (1.96 + 0.84) = 2.80 standard errors. At a standard error of 0.01
    nothing below an AUC of 0.028 can be shown. Where rows come in groups, the variance is that of `auc_error`.

    With fewer than two goods or bads, or groups of either, there is no variance to estimate: the standard error is then
    the largest there can be, 1. Models that rank alike have a difference of 0 with no error.

    Source: DeLong, DeLong, Clarke-Pearson, Biometrics 44, 1988; X. Sun, W. Xu, IEEE Signal Processing Letters 21, 2014.

    Parameters
    ----------
    y
        1 for a bad, 0 for a good; 1-d.
    pd_candidate, pd_champion
        PDs of the two models, 0 .. 1, in the same order.
    groups
        As of `evaluate`.

    Returns
    -------
    AucDifference
        The difference with its interval, and the smallest one that these rows could show.

    Raises
    ------
    ValueError
        As `evaluate`.

    Examples
    --------
    >>> found = compare([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8], [0.1, 0.4, 0.35, 0.8])
    >>> found.difference
    0.25
    >>> found.ci_low < 0 < found.ci_high
    True
    """
    target, ours = _checked(y, pd_candidate)
    _, theirs = _checked(y, pd_champion)
    our_auc, our_bads, our_goods = _delong(target, ours)
    their_auc, their_bads, their_goods = _delong(target, theirs)
    difference = our_auc - their_auc
    error = _standard_error(target, our_bads - their_bads, our_goods - their_goods, groups, largest=1.0)
    bads, goods = _independent(target == 1, groups)
    if error > 0:
        p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    else:
        p_value = 1.0 if difference == 0 else 0.0
    return AucDifference(
        difference=difference,
        ci_low=max(-1.0, difference - Z * error),
        ci_high=min(1.0, difference + Z * error),
        p_value=p_value,
        standard_error=error,
        smallest_detectable_difference=min(1.0, (Z + Z_POWER) * error),
        rows=len(target),
        bads=int(target.sum()),
        independent_bads=bads,
        independent_goods=goods,
    )


def _checked(y: ArrayLike, pd: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    target, p = np.asarray(y, dtype=np.float64), np.asarray(pd, dtype=np.float64)
    if target.ndim != 1 or target.shape != p.shape:
        raise ValueError(
            f"targets and PDs must be one-dimensional and of equal length, not {target.shape} and {p.shape}"
        )
    if not len(target):
        raise ValueError("there are no rows to evaluate on")
    if not np.isin(target, (0.0, 1.0)).all():
        raise ValueError("every target must be 0 (good) or 1 (bad)")
    if target.min() == target.max():
        kind = "bad" if target[0] else "good"
        raise ValueError(f"all {len(target)} rows are {kind}: ranking cannot be measured without both goods and bads")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"{int((~((p >= 0) & (p <= 1))).sum())} PDs are missing or outside 0 .. 1")
    return target, p


def _auc_and_error(y: ArrayLike, pd: ArrayLike, groups: ArrayLike | None) -> tuple[float, float]:
    target, p = _checked(y, pd)
    value, bad_part, good_part = _delong(target, p)
    return value, _standard_error(target, bad_part, good_part, groups)


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing the mean of theirs: [3, 1, 3] has ranks [2.5, 1, 2.5]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse], dtype=np.float64)


def _delong(
    target: NDArray[np.float64], p: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """AUC, and the structural components of bads and of goods; each has the AUC as its mean."""
    bad = target == 1
    ranks = _midranks(p)
    bads, goods = int(bad.sum()), int((~bad).sum())
    bad_part = (ranks[bad] - _midranks(p[bad])) / goods
    good_part = 1 - (ranks[~bad] - _midranks(p[~bad])) / bads
    # Not the mean of the components: of whole and half ranks, this sum is exact whatever the order of the rows.
    value = (float(ranks[bad].sum()) - bads * (bads + 1) / 2) / (bads * goods)
    return value, bad_part, good_part


def _standard_error(
    target: NDArray[np.float64],
    bad_part: NDArray[np.float64],
    good_part: NDArray[np.float64],
    groups: ArrayLike | None,
    largest: float = 0.5,
) -> float:
    """Of the mean of both parts, which have their rows in the order of `target`; see `auc_error`."""
    bads, goods = len(bad_part), len(good_part)
    places = places_of(groups, len(target))
    if places is None:
        if bads < 2 or goods < 2:
            return largest
        return math.sqrt(float(bad_part.var(ddof=1)) / bads + float(good_part.var(ddof=1)) / goods)
    number, bad = int(places.max()) + 1, target == 1
    having_bads, having_goods = _independent(bad, groups)
    if having_bads < 2 or having_goods < 2:
        return largest
    of_bads = np.bincount(places[bad], weights=bad_part - bad_part.mean(), minlength=number) / bads
    of_goods = np.bincount(places[~bad], weights=good_part - good_part.mean(), minlength=number) / goods
    variance = (
        having_bads / (having_bads - 1) * float(of_bads @ of_bads)
        + having_goods / (having_goods - 1) * float(of_goods @ of_goods)
        + number / (number - 1) * 2 * float(of_bads @ of_goods)
    )
    # Where bads and goods of a group balance each other the three may round to less than nothing.
    return math.sqrt(max(0.0, variance))


def _independent(bad: NDArray[np.bool_], groups: ArrayLike | None) -> tuple[int, int]:
    """How many bads and goods are independent: rows, or groups that have some."""
    places = places_of(groups, len(bad))
    if places is None:
        bads = int(np.count_nonzero(bad))
        return bads, len(bad) - bads
    having_bads, having_goods = (int(np.count_nonzero(np.bincount(places[rows]))) for rows in (bad, ~bad))
    return having_bads, having_goods


def _distributions(
    target: NDArray[np.float64], p: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The distinct PDs, rising, and the shares of goods and of bads at or below each."""
    values, inverse = np.unique(p, return_inverse=True)
    goods = np.bincount(inverse, weights=1 - target, minlength=len(values)).cumsum()
    bads = np.bincount(inverse, weights=target, minlength=len(values)).cumsum()
    return values, goods / goods[-1], bads / bads[-1]


def _by_decile(
    target: NDArray[np.float64], p: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows, bads and expected bads by decile of rising PD. By midrank, so that equal PDs share a decile."""
    position = (_midranks(p) - 0.5) / len(p)
    decile = np.minimum((position * DECILES).astype(int), DECILES - 1)
    weights = np.vstack([np.ones_like(p), target, p])
    rows, bads, expected = np.array(
        [np.bincount(decile, weights=w, minlength=DECILES) for w in weights], dtype=np.float64
    )
    return rows, bads, expected
