"""Reject inference as sensitivity: what a model's figures would be on everyone who applied, under stated assumptions.

Belongs here: the assumptions, and the measures under them. Does not belong here: who was lent to (`data.decisions`),
and any use in training or in a decision: what is assumed of a loan that was never made is no evidence.

A model is measured on booked loans, whose outcomes are known. Of the declined nothing is known, and no computation on
these data tells how they would have paid: every method of reject inference puts an assumption in the place of their
outcomes (D. J. Hand, W. E. Henley, Can Reject Inference Ever Work?, IMA Journal of Mathematics Applied in Business and
Industry 5, 1993). So figures are given under several assumptions side by side, and how far they lie apart is what they
say. Two methods, each for several factors k, after N. Siddiqi, Credit Risk Scorecards, 2006, chapter 6 (performance
inference), and R. Anderson, The Credit Scoring Toolkit, 2007, chapter 19:

- **parcelling**: applications are put into bands of PD. The declined of a band are bad at k times the rate of the
  band's booked loans, at most all of them. Which of them is drawn by chance: values are expectations, intervals hold
  the draw
- **fuzzy augmentation**: each declined application counts as bad with weight p and as good with weight 1 - p, where the
  odds p / (1 - p) are k times those of its PD. At k = 1 that is what the model itself believes: it confirms the model
  by construction, and only k above 1 asks anything of it

k = 1 says that declining carried no information beyond the score; k = 2 that of two applicants of one score the one
who was declined is twice as bad as the one who was not, for what the lender saw and the model does not. Lenders who
later see how their declined did elsewhere find 2 to 4 (Siddiqi), so 1 to 4 are the usual ones. Whoever was
approved and did not take the loan (withdrawn) passed the lender's selection as the booked did: k = 1 in both methods.

Intervals are of 95%, by 500 replicates of the booked loans (Poisson bootstrap, by cells of PD) with rates and draws
made anew in each. They hold chance under the assumption, and nothing of whether it is true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from credit_assets.ml.evidence.evaluation import DECILES, evaluate
from credit_assets.ml.evidence.intervals import TAIL, Interval, observed_over_expected

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Method = Literal["parcelling", "fuzzy"]
METHODS: tuple[Method, ...] = ("parcelling", "fuzzy")
FACTORS = (1.0, 2.0, 3.0, 4.0)
BANDS = 10
APPROVED = tuple(n / 10 for n in range(1, 10))
BOOKED, WITHDRAWN, DECLINED = "booked", "withdrawn", "declined"

_LEAST_BOOKED, _LEAST_BADS = 30, 5
_CELLS, _REPLICATES, _SEED = 200, 500, 20071
_SMALLEST = 1e-9


@dataclass(frozen=True)
class Approval:
    """Of all rows the `share` with the smallest PDs is approved: what part of it is bad."""

    share: float
    bad_rate: Interval


@dataclass(frozen=True)
class Measures:
    """Measures of PDs against outcomes, known or assumed.

    `auc`, `observed_over_expected` and `ece` as `evaluation` has them, an assumed outcome counting in part; of `ece`
    `ece_by_chance` is about what PDs without an error would have, 0.8 sqrt(r (1 - r) / k) with k rows a tenth.
    `intercept` is calibration in the large, the log-odds that the PDs lack throughout (0 is right, above 0 means risk
    understated); `slope` that of the log-odds of the outcomes on those of the PDs, with an intercept of its own (1 is
    right, below 1 means that PDs lie too far apart): D. R. Cox, Biometrika 45, 1958.
    """

    rows: int
    bads: float
    auc: Interval
    observed_over_expected: Interval
    ece: float
    ece_by_chance: float
    intercept: Interval
    slope: Interval
    approvals: tuple[Approval, ...]

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Assumed:
    """The measures on everyone under one assumption, and the bad rate of the declined that it comes to."""

    method: Method
    factor: float
    declined_bad_rate: float
    measures: Measures


@dataclass(frozen=True)
class Sensitivity:
    """Measures on booked loans, and on everyone under each assumption.

    `bands`: how many bands parcelling used. `beyond`: the share of the declined whose PD lies above that of 99 in 100
    booked loans: of them the booked say next to nothing, and every figure beside that of the booked is a guess.
    """

    booked: Measures
    assumed: tuple[Assumed, ...]
    declined: int
    withdrawn: int
    bands: int
    beyond: float

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def sensitivity(
    pd: ArrayLike,
    target: ArrayLike,
    decided: ArrayLike,
    *,
    factors: Sequence[float] = FACTORS,
    bands: int = BANDS,
) -> Sensitivity:
    """Measure PDs on booked loans, and on everyone under each method and factor.

    Parameters
    ----------
    pd
        PDs of applications by one model, 0 .. 1; 1-d.
    target
        Of booked loans 1 for a bad and 0 for a good; of others it is not looked at.
    decided
        "booked", "withdrawn" or "declined", of each application.
    factors
        The factors k, each positive.
    bands
        Bands of PD for parcelling, of equally many applications; those with fewer than 30 booked loans or 5 bads are
        joined with the next less risky one.

    Returns
    -------
    Sensitivity
        In the order of METHODS, then of `factors`.

    Raises
    ------
    ValueError
        For a factor or number of bands that is not positive, another decision, a PD outside 0 .. 1, and where booked
        loans lack a target or are of one class.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> pd = rng.beta(1, 9, 4_000)
    >>> decided = np.where(rng.random(4_000) < 1.5 * pd, "declined", "booked")
    >>> found = sensitivity(pd, rng.random(4_000) < pd, decided, factors=[1, 2])
    >>> [(one.method, one.factor) for one in found.assumed]
    [('parcelling', 1.0), ('parcelling', 2.0), ('fuzzy', 1.0), ('fuzzy', 2.0)]
    >>> found.assumed[1].measures.observed_over_expected.value > found.assumed[0].measures.observed_over_expected.value
    True
    """
    factors = tuple(float(factor) for factor in factors)
    if not factors or not all(math.isfinite(factor) and factor > 0 for factor in factors):
        raise ValueError("every factor must be a positive number, for instance 1, 2, 3 and 4")
    if bands < 1:
        raise ValueError(f"bands must be at least 1, not {bands}")
    people = _Applicants(np.asarray(pd, dtype=np.float64), np.asarray(target, dtype=np.float64), np.asarray(decided))
    banded = _Bands(people, bands)
    booked_alone = evaluate(people.target[people.booked], people.pd[people.booked])
    whole = _Cells(people, banded)
    found = []
    for method in METHODS:
        for factor in factors:
            assumed = banded.expected(factor) if method == "parcelling" else fuzzy_odds(people.pd, factor)
            same = banded.expected(1.0) if method == "parcelling" else people.pd
            outcome = np.select([people.booked, people.declined], [people.target, assumed], same)
            measured = _point(people.pd, outcome)
            replicates = whole.replicates(method, factor)
            rate = float(assumed[people.declined].mean()) if people.declined.any() else 0.0
            found.append(Assumed(method, factor, rate, _with_intervals(measured, replicates)))
    booked = _with_intervals(_point(people.pd[people.booked], people.target[people.booked]), whole.of_booked())
    ratio = observed_over_expected(booked_alone.bads, people.pd[people.booked])
    assert ratio is not None
    # What is reported of the model elsewhere has these intervals: the same figure, said twice, is said alike.
    auc = Interval(booked_alone.auc, booked_alone.auc_ci_low, booked_alone.auc_ci_high)
    return Sensitivity(
        booked=Measures(**{**booked.__dict__, "auc": auc, "observed_over_expected": ratio}),
        assumed=tuple(found),
        declined=int(people.declined.sum()),
        withdrawn=int((~people.booked & ~people.declined).sum()),
        bands=banded.number,
        beyond=people.beyond(),
    )


def fuzzy_odds(pd: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Probabilities whose odds are `factor` times those of the PDs: 0.2 at 2 gives 1/3."""
    return np.asarray(factor * pd / (factor * pd + 1 - pd), dtype=np.float64)


class _Applicants:
    """Who applied: PD, outcome of the booked, decision."""

    def __init__(self, pd: NDArray[np.float64], target: NDArray[np.float64], decided: NDArray[Any]) -> None:
        if not pd.shape == target.shape == decided.shape or pd.ndim != 1:
            raise ValueError("PDs, targets and decisions must be one-dimensional and of equal length")
        unknown = sorted({str(one) for one in np.unique(decided.astype(str))} - {BOOKED, WITHDRAWN, DECLINED})
        if unknown:
            raise ValueError(f"decisions must be {BOOKED}, {WITHDRAWN} or {DECLINED}, not {', '.join(unknown)}")
        if not ((pd >= 0) & (pd <= 1)).all():
            raise ValueError(f"{int((~((pd >= 0) & (pd <= 1))).sum())} PDs are missing or outside 0 .. 1")
        self.pd, self.target = pd, target
        self.booked, self.declined = decided == BOOKED, decided == DECLINED

    def beyond(self) -> float:
        """Share of the declined above the 99th percentile of the booked."""
        if not self.declined.any():
            return 0.0
        return float((self.pd[self.declined] > np.quantile(self.pd[self.booked], 0.99)).mean())


class _Bands:
    """Bands of rising PD, each with enough booked loans, and the rate of the booked in each."""

    def __init__(self, people: _Applicants, bands: int) -> None:
        edges = np.unique(np.quantile(people.pd, np.arange(1, bands) / bands))
        of_quantile = np.searchsorted(edges, people.pd, side="right")
        booked = np.bincount(of_quantile[people.booked], minlength=len(edges) + 1)
        bads = np.bincount(of_quantile[people.booked], people.target[people.booked], len(edges) + 1).astype(float)
        self.number, joined = _joined(booked, bads)
        self.band = joined[of_quantile]
        self._rows = np.bincount(self.band[people.booked], minlength=self.number)
        self._bads = np.bincount(self.band[people.booked], people.target[people.booked], self.number)

    def expected(self, factor: float) -> NDArray[np.float64]:
        """Of each application the rate that is assumed of a declined one of its band."""
        return np.asarray(np.minimum(1.0, factor * self._bads / np.maximum(self._rows, 1))[self.band])


def _joined(booked: NDArray[np.intp], bads: NDArray[np.float64]) -> tuple[int, NDArray[np.int64]]:
    """How many bands there are, and the band of each quantile: from the riskiest down, as many as it takes."""
    band = np.zeros(len(booked), dtype=np.int64)
    number, rows, bad = 0, 0.0, 0.0
    for quantile in range(len(booked) - 1, -1, -1):
        band[quantile] = number
        rows, bad = rows + booked[quantile], bad + bads[quantile]
        left = booked[:quantile].sum() >= _LEAST_BOOKED and bads[:quantile].sum() >= _LEAST_BADS
        if rows >= _LEAST_BOOKED and bad >= _LEAST_BADS and left:
            number, rows, bad = number + 1, 0.0, 0.0
    return number + 1, number - band


class _Cells:
    """Applications gathered into cells of like PD within a band, for replicates: rows of each kind, and their PD."""

    def __init__(self, people: _Applicants, bands: _Bands) -> None:
        order = np.lexsort((people.pd, bands.band))
        tile = (np.arange(len(order)) * min(_CELLS, len(order))) // len(order)
        place = np.empty(len(order), dtype=np.int64)
        _, place[order] = np.unique(bands.band[order] * (_CELLS + 1) + tile, return_inverse=True)
        self._count = int(place.max()) + 1

        def summed(rows: NDArray[np.bool_], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
            found = np.bincount(place[rows], None if weights is None else weights[rows], self._count)
            return np.asarray(found, dtype=np.float64)

        everyone = np.ones(len(order), dtype=bool)
        self.pd = summed(everyone, people.pd) / summed(everyone)
        self.booked_pd = np.where(
            summed(people.booked) > 0, summed(people.booked, people.pd) / np.maximum(summed(people.booked), 1), self.pd
        )
        self._bads = summed(people.booked, people.target)
        self._booked = summed(people.booked)
        self._declined = summed(people.declined).astype(np.int64)
        self._withdrawn = summed(~people.booked & ~people.declined).astype(np.int64)
        self._band = np.zeros(self._count, dtype=np.int64)
        self._band[place] = bands.band
        self._number = bands.number

    def _drawn(self) -> tuple[NDArray[np.float64], NDArray[np.float64], np.random.Generator]:
        """Replicates of the booked loans: bads and all of each cell. A sum of Poisson weights is Poisson."""
        rng = np.random.default_rng(_SEED)
        bads = rng.poisson(self._bads, (_REPLICATES, self._count)).astype(np.float64)
        goods = rng.poisson(self._booked - self._bads, (_REPLICATES, self._count)).astype(np.float64)
        return bads, bads + goods, rng

    def of_booked(self) -> _Many:
        bads, rows, _ = self._drawn()
        return _many(self.booked_pd, bads, rows, self._booked)

    def replicates(self, method: Method, factor: float) -> _Many:
        bads, booked, rng = self._drawn()
        if method == "fuzzy":
            others = self._declined * fuzzy_odds(self.pd, factor) + self._withdrawn * self.pd
            of_others: NDArray[Any] = np.broadcast_to(others, bads.shape)
        else:
            rate = self._rates(bads, booked)
            of_others = rng.binomial(self._declined, np.minimum(1.0, factor * rate))
            of_others = of_others + rng.binomial(self._withdrawn, rate)
        others_rows = self._declined + self._withdrawn
        return _many(self.pd, bads + of_others, booked + others_rows, self._booked + others_rows)

    def _rates(self, bads: NDArray[np.float64], booked: NDArray[np.float64]) -> NDArray[np.float64]:
        """The rate of the band of each cell, in each replicate."""
        inside = (self._band[:, None] == np.arange(self._number)).astype(np.float64)
        rates: NDArray[np.float64] = np.minimum(1.0, (bads @ inside) / np.maximum(booked @ inside, 1.0))
        return rates[:, self._band]


@dataclass(frozen=True)
class _Many:
    """Measures of many samples: one value a sample, of approvals one a sample and share."""

    auc: NDArray[np.float64]
    ratio: NDArray[np.float64]
    ece: NDArray[np.float64]
    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]
    approvals: NDArray[np.float64]
    rows: int
    bads: float


def _point(pd: NDArray[np.float64], outcome: NDArray[np.float64]) -> _Many:
    """The measures of one sample; an outcome of 0.3 counts as 0.3 of a bad and 0.7 of a good."""
    values, place, rows = np.unique(pd, return_inverse=True, return_counts=True)
    bads = np.bincount(place, outcome, len(values)).astype(np.float64)
    return _many(values, bads[None], rows[None].astype(np.float64), rows.astype(np.float64))


def _many(
    pd: NDArray[np.float64], bads: NDArray[np.float64], rows: NDArray[np.float64], all_rows: NDArray[np.float64]
) -> _Many:
    """Measures of samples that are given as bads and rows of each PD, rising; `all_rows`: of the sample as it is, by
    which tenths and approvals are cut.
    """
    goods = rows - bads
    total_bads, total_goods = bads.sum(axis=1), goods.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        auc = (bads * (np.cumsum(goods, axis=1) - goods / 2)).sum(axis=1) / (total_bads * total_goods)
    until = np.cumsum(all_rows)
    middle = (until - all_rows / 2) / until[-1]
    tenth = np.minimum((middle * DECILES).astype(np.int64), DECILES - 1)
    inside = (tenth[:, None] == np.arange(DECILES)).astype(np.float64)
    apart = np.abs((bads - rows * pd) @ inside).sum(axis=1)
    intercept, slope = _calibration(pd, bads, rows)
    return _Many(
        auc=auc,
        ratio=total_bads / np.maximum(rows @ pd, _SMALLEST),
        ece=apart / rows.sum(axis=1),
        intercept=intercept,
        slope=slope,
        approvals=np.stack([_approved(share * until[-1], until, bads, rows) for share in APPROVED], axis=1),
        rows=round(float(all_rows.sum())),
        bads=float(total_bads[0]),
    )


def _approved(
    number: float, until: NDArray[np.float64], bads: NDArray[np.float64], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bad rate among the rows with the smallest PDs, so many of them; of equal PDs a part."""
    last = min(int(np.searchsorted(until, number)), len(until) - 1)
    before = until[last - 1] if last else 0.0
    part = (number - before) / max(until[last] - before, _SMALLEST)
    approved_bads = bads[:, :last].sum(axis=1) + part * bads[:, last]
    return np.asarray(approved_bads / np.maximum(rows[:, :last].sum(axis=1) + part * rows[:, last], _SMALLEST))


def _calibration(
    pd: NDArray[np.float64], bads: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Calibration in the large, and the slope, of each sample, by Newton's method."""
    p = np.clip(pd, _SMALLEST, 1 - _SMALLEST)
    log_odds = np.log(p / (1 - p))
    large = np.zeros(len(bads))
    level, slope = np.zeros(len(bads)), np.ones(len(bads))
    for _ in range(12):
        q = 1 / (1 + np.exp(-(log_odds + large[:, None])))
        large = large + np.clip((bads - rows * q).sum(axis=1) / ((rows * q * (1 - q)).sum(axis=1) + _SMALLEST), -1, 1)
        q = 1 / (1 + np.exp(-np.clip(level[:, None] + slope[:, None] * log_odds, -30, 30)))
        apart, weight = bads - rows * q, rows * q * (1 - q)
        a, b = apart.sum(axis=1), apart @ log_odds
        one, two, three = weight.sum(axis=1), weight @ log_odds, weight @ log_odds**2
        determinant = one * three - two**2 + _SMALLEST
        level = level + np.clip((three * a - two * b) / determinant, -2, 2)
        slope = slope + np.clip((one * b - two * a) / determinant, -1, 1)
    return large, slope


def _with_intervals(found: _Many, replicates: _Many) -> Measures:
    def interval(value: NDArray[np.float64], drawn: NDArray[np.float64]) -> Interval:
        low, high = np.nanquantile(drawn, [TAIL, 1 - TAIL])
        return Interval(float(value[0]), float(low), float(high))

    rate = found.bads / found.rows
    return Measures(
        rows=found.rows,
        bads=found.bads,
        auc=interval(found.auc, replicates.auc),
        observed_over_expected=interval(found.ratio, replicates.ratio),
        ece=float(found.ece[0]),
        ece_by_chance=0.8 * math.sqrt(rate * (1 - rate) * DECILES / found.rows),
        intercept=interval(found.intercept, replicates.intercept),
        slope=interval(found.slope, replicates.slope),
        approvals=tuple(
            Approval(share, interval(found.approvals[:, n], replicates.approvals[:, n]))
            for n, share in enumerate(APPROVED)
        ),
    )
