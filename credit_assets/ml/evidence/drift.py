"""Drift: whether today's applications, and the scores that they get, still look like those a model was trained on.

Belongs here: the measures of newer rows against the reference that a model keeps (`drift_reference`), and their
verdict. Does not belong here: which days are looked at (`credit_assets.ml.reports.drift`), what follows from a verdict
(triggers), and anything that needs outcomes (`evaluation`).

A PSI says how large a change is, a test whether it can be chance: a million rows are significant at a PSI of nothing,
and a small sample has a large PSI without any shift. So what it is on average without one is taken off, and a verdict
needs a test as well.

What the reference cannot know is not taken for zero. Levels that it lacks and values out of its range are held against
as many as two samples of one distribution have by themselves (`two_samples`); rare levels are counted together, but
for those that differ beyond chance each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from credit_assets.ml.data.html_tables import HtmlTable, ShownAsTable
from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.data.shown_values import SHARED
from credit_assets.ml.data.values import numbers
from credit_assets.ml.evidence.drift_reference import (
    CategoryReference,
    DriftReference,
    FeatureReference,
    NumericReference,
    require,
)
from credit_assets.ml.evidence.two_samples import (
    cell_p_values,
    chi_squared,
    ks_p_value,
    outside_p_value,
    psi,
    psi_by_chance,
    shares_p_value,
    sparse,
    unseen,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Verdict = Literal["stable", "watch", "shifted", "unknown"]

_LEVELS_NAMED = 20
# A level that by itself is this unlikely, all levels counted, is no longer counted with the other rare ones.
_LEVEL_ALONE = 0.001
# A value with this share of the training rows is a bin of its own: half of one of ten.
_VALUE_ALONE = 0.05


@dataclass(frozen=True)
class DriftPolicy:
    """From which PSI a feature is watched and from which it has shifted, and what sample a verdict needs.

    `alpha` is the chance of any false verdict in one report, shared equally among its tests (Bonferroni). Below
    `min_rows` rows nothing is said.
    """

    watch: float
    shifted: float
    alpha: float
    min_rows: int

    def __post_init__(self) -> None:
        if not (0 < self.watch < self.shifted < math.inf and 0 < self.alpha < 1 and self.min_rows >= 1):
            raise ValueError(
                f"a drift policy needs 0 < watch < shifted, alpha between 0 and 1, and at least one row; got {self}"
            )


@dataclass(frozen=True)
class FeatureDrift:
    """One feature of the newer rows against the reference.

    `psi` counts missing, below the training range, above it, and new levels as bins of their own, so each of these
    counts to the verdict; `psi_by_chance`, its average without any shift, has been taken off (not below 0).
    `test` compares the values that are not missing, `rows` and `reference_rows` say of how many (missing ones included)
    on either side. `bin_p_value` tests each bin or level by itself and has the smallest, times their number: what a
    rare one shows. `missing_p_value` tests the share of missing values, `outside_p_value` the rows out of the training
    range or in new levels. Shares are between 0 and 1; `out_of_range_share` and `new_level_share` are of the values
    that are not missing. `new_levels` are at most 20 of those that many rows have
    (`shown_values`), the most frequent first. None stands where there is nothing to
    measure.
    """

    name: str
    kind: Literal["numeric", "category", "score"]
    psi: float | None
    psi_by_chance: float | None
    test: Literal["ks", "chi2"]
    statistic: float | None
    p_value: float | None
    bin_p_value: float | None
    rows: int
    reference_rows: int
    missing_share: float | None
    missing_reference: float
    missing_p_value: float | None
    out_of_range_share: float | None
    new_levels: tuple[str, ...]
    new_level_share: float | None
    outside_p_value: float | None
    verdict: Verdict = "unknown"
    why: str = ""

    @property
    def p_values(self) -> list[float]:
        tests = (self.p_value, self.bin_p_value, self.missing_p_value, self.outside_p_value)
        return [p for p in tests if p is not None]

    def to_record(self) -> dict[str, Any]:
        """The finding as JSON types, numbers rounded to 6 digits."""
        record = {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return {**record, "new_levels": list(self.new_levels)}


@dataclass(frozen=True)
class DriftFindings(ShownAsTable):
    """All features and the score of one sample.

    The verdict is that of the worst: one feature of twenty that has shifted is a shift, since the model reads it. It is
    unknown where nothing can be said of any feature.
    """

    verdict: Verdict
    why: str
    rows: int
    score_rows: int
    features: tuple[FeatureDrift, ...]

    def names(self, verdict: Verdict) -> list[str]:
        """Features (and the score) with this verdict."""
        return [one.name for one in self.features if one.verdict == verdict]

    def to_record(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "score_rows": self.score_rows,
            "verdict": self.verdict,
            "why": self.why,
            "shifted": self.names("shifted"),
            "watch": self.names("watch"),
            "features": [one.to_record() for one in self.features],
        }

    def html_tables(self) -> Iterable[HtmlTable]:
        rows = [
            (one.name, one.verdict, one.psi, one.p_value, one.missing_share, one.missing_reference, one.why)
            for one in self.features
        ]
        heads = ("feature", "verdict", "PSI", "p value", "missing", "missing in training", "why")
        yield HtmlTable(f"{self.verdict}: {self.rows:,} rows", heads, rows)


def measure_drift(reference: DriftReference, data: Data, score: ArrayLike | None, policy: DriftPolicy) -> DriftFindings:
    """Every feature, and the points that the model gave, against the model's training data.

    A feature has shifted where its PSI reaches `policy.shifted` and one of its tests is significant at alpha over the
    number of all tests made; it is watched likewise from `policy.watch` on. With fewer than `policy.min_rows` rows
    (scores) it is unknown, and the measures are there to look at. The order of rows does not matter. 1,000 rows of 20
    features take a few milliseconds, a million below two seconds.

    Parameters
    ----------
    reference
        What the model keeps of its training data.
    data
        The newer rows, with the model's features.
    score
        The points of those rows that the model has scored; None for none.
    policy
        From where on a verdict is given.

    Returns
    -------
    DriftFindings
        A finding for each feature and the score, and the verdict of the worst.

    Raises
    ------
    ValueError
        Naming features that `data` lacks.

    Examples
    --------
    >>> import pandas as pd
    >>> trained = pd.DataFrame({"income": [float(n) for n in range(1_000)]})
    >>> reference = DriftReference.of(trained, ["income"], [], score=[600.0 + n % 40 for n in range(1_000)])
    >>> policy = DriftPolicy(watch=0.1, shifted=0.25, alpha=0.01, min_rows=500)
    >>> measure_drift(reference, trained, None, policy).verdict
    'stable'
    >>> measure_drift(reference, trained + 300, None, policy).names("shifted")
    ['income']
    """
    rows = Rows.of(data)
    points = np.asarray([] if score is None else score, dtype=np.float64)
    measured = measure_features(reference.features, rows)
    measured.append(_numeric(reference.score, points, "score"))
    tests = sum(len(one.p_values) for one in measured if one.rows >= policy.min_rows)
    level = policy.alpha / max(tests, 1)
    judged = tuple(replace(one, **_judged(one, policy, level)) for one in measured)
    verdict: Verdict = "unknown"
    for candidate in ("shifted", "watch", "stable"):
        if any(one.verdict == candidate for one in judged):
            verdict = candidate
            break
    return DriftFindings(verdict, _why(verdict, judged, len(rows), policy), len(rows), len(points), judged)


def measure_features(references: Sequence[FeatureReference], data: Data) -> list[FeatureDrift]:
    """Every feature against its reference, without a verdict. Raises ValueError naming features that `data` lacks."""
    rows = Rows.of(data)
    require(rows.names, [one.name for one in references])
    return [
        _category(one, CategoryReference.of(one.name, rows.column(one.name)))
        if isinstance(one, CategoryReference)
        else _numeric(one, numbers(rows.column(one.name)), "numeric")
        for one in references
    ]


@dataclass(frozen=True)
class _Counts:
    """Newer values of one feature beside the reference's: rows of each bin, and the tests of their distribution.

    `rows` are not missing, `outside` of these lie out of the training range or in new levels. `trained` and `sample`
    are rows of the bins that the PSI counts, the missing ones apart; in `trained` also what a reference of this size
    lacks without any shift.
    """

    trained: Sequence[float]
    sample: Sequence[float]
    rows: int
    missing: int
    outside: int
    statistic: float | None = None
    p_value: float | None = None
    bin_p_value: float | None = None
    outside_p_value: float | None = None


def _numeric(
    reference: NumericReference, values: NDArray[np.float64], kind: Literal["numeric", "score"]
) -> FeatureDrift:
    known = values[np.isfinite(values)]
    rows, missing = len(known), len(values) - len(known)
    if not reference.rows:
        return _finding(reference, kind, _Counts([0], [rows], rows, missing, rows))
    grid, cumulative = np.array(reference.grid), np.array(reference.cumulative)
    # The grid point at or above each value; the last place is above the training range.
    places = np.searchsorted(grid, known, side="left")
    up_to = np.bincount(places, minlength=len(grid) + 1).cumsum()[:-1]
    below, above = int((known < grid[0]).sum()), rows - int(up_to[-1])
    if reference.at:
        equal = places[known == grid[np.minimum(places, len(grid) - 1)]]
        at, at_trained = np.bincount(equal, minlength=len(grid)), np.array(reference.at)
    else:
        at = at_trained = np.zeros(len(grid), dtype=int)
    alone = at_trained >= _VALUE_ALONE * reference.rows
    ends = np.flatnonzero(np.isin(grid, reference.edges) | alone)
    sample = _binned(up_to[ends], at[ends], alone[ends], first=below)
    trained = _binned(cumulative[ends], at_trained[ends], alone[ends], first=0)
    counts = _Counts(
        # One row beyond either end of what was seen is what chance alone brings.
        trained=[min(1, below), *trained, min(1, above)],
        sample=[below, *sample, above],
        rows=rows,
        missing=missing,
        outside=below + above,
        outside_p_value=outside_p_value(below + above, reference.rows, rows),
    )
    if rows:
        statistic = max(_distance(up_to / rows, cumulative / reference.rows), below / rows)
        if reference.at:
            gap = _distance((up_to - at) / rows, (cumulative - at_trained) / reference.rows)
            statistic = max(statistic, gap)
        # What lies out of the range has its own test, and counts here to the first and the last bin.
        sample[0], sample[-1] = sample[0] + below, sample[-1] + above
        counts = replace(
            counts,
            statistic=statistic,
            p_value=ks_p_value(statistic, reference.rows, rows),
            bin_p_value=_smallest(trained, sample),
        )
    return _finding(reference, kind, counts)


def _binned(up_to: NDArray[np.int64], at: NDArray[np.int64], alone: NDArray[np.bool_], first: int) -> list[int]:
    """Rows of each bin, from those up to its end. An end that stands `alone` makes two: what is before it, and it."""
    rows, before = [], first
    for end, here, apart in zip(up_to.tolist(), at.tolist(), alone.tolist(), strict=True):
        rows += [end - here - before, here] if apart else [end - before]
        before = end
    return rows


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.abs(one - other).max())


def _smallest(trained: ArrayLike, sample: ArrayLike) -> float | None:
    """The smallest p-value of any bin that has rows, times their number; None where there is but one."""
    bins = int(((np.asarray(trained) + np.asarray(sample)) > 0).sum())
    return min(1.0, bins * float(cell_p_values(trained, sample).min())) if bins > 1 else None


def _category(reference: CategoryReference, newer: CategoryReference) -> FeatureDrift:
    counts = dict(zip(newer.levels, newer.counts, strict=True))
    rows, missing = newer.rows, newer.missing
    known = np.array([counts.pop(level, 0) for level in reference.levels], dtype=np.float64)
    new = sum(counts.values())
    shared = (level for level, of_level in counts.items() if of_level >= SHARED)
    most_frequent = tuple(sorted(shared, key=lambda level: (-counts[level], level))[:_LEVELS_NAMED])
    before = np.array(reference.counts, dtype=np.float64)
    if not reference.rows or not rows:
        counted = _Counts([*before, 0], [*known, new], rows, missing, new)
        return _finding(reference, "category", counted, most_frequent)
    trained = np.r_[before, np.zeros(len(counts))]
    sample = np.r_[known, list(counts.values())]
    statistic, p_value = chi_squared(trained, sample) or (None, None)
    bins = _levels(trained, sample)
    counted = _Counts(
        *bins, rows, missing, new, statistic, p_value, _smallest(trained, sample), unseen(trained, sample)[1]
    )
    return _finding(reference, "category", counted, most_frequent)


def _levels(trained: NDArray[np.float64], sample: NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """Rows of the bins of a category: levels one by one, the rare ones together, the new ones together.

    A reference has all its rows in levels that it knows; its share of new ones is that of its rows whose level would be
    new without them: those that stand once (leave one out; I. J. Good, Biometrika 40, 1953).
    """
    alone = int((trained + sample > 0).sum()) * cell_p_values(trained, sample) < _LEVEL_ALONE
    new = (trained == 0) & ~alone
    rare = sparse(trained, sample) & ~alone & ~new
    single = float(trained[rare & (trained == 1)].sum())
    own = ~rare & ~new
    return (
        [*trained[own].tolist(), float(trained[rare].sum()) - single, single],
        [*sample[own].tolist(), float(sample[rare].sum()), float(sample[new].sum())],
    )


def _finding(
    reference: FeatureReference,
    kind: Literal["numeric", "category", "score"],
    counts: _Counts,
    new_levels: tuple[str, ...] = (),
) -> FeatureDrift:
    rows, trained = counts.rows + counts.missing, reference.rows + reference.missing
    outside_share = counts.outside / counts.rows if counts.rows else None
    index = chance = None
    if rows:
        before, now = np.array([*counts.trained, reference.missing]), np.array([*counts.sample, counts.missing])
        chance = psi_by_chance(int(((before > 0) | (now > 0)).sum()), trained, rows)
        index = max(0.0, psi(before, now) - chance)
    return FeatureDrift(
        name=reference.name,
        kind=kind,
        psi=index,
        psi_by_chance=chance,
        test="chi2" if kind == "category" else "ks",
        statistic=counts.statistic,
        p_value=counts.p_value,
        bin_p_value=counts.bin_p_value,
        rows=rows,
        reference_rows=trained,
        missing_share=counts.missing / rows if rows else None,
        missing_reference=reference.missing / trained,
        missing_p_value=shares_p_value(reference.missing, trained, counts.missing, rows),
        out_of_range_share=None if kind == "category" else outside_share,
        new_levels=new_levels,
        new_level_share=outside_share if kind == "category" else None,
        outside_p_value=counts.outside_p_value,
    )


def _judged(one: FeatureDrift, policy: DriftPolicy, level: float) -> dict[str, Any]:
    if one.psi is None or one.rows < policy.min_rows:
        what = "scores of the champion" if one.kind == "score" else "rows"
        return {"verdict": "unknown", "why": f"{one.rows} {what}, fewer than {policy.min_rows}"}
    verdict = "shifted" if one.psi >= policy.shifted else "watch" if one.psi >= policy.watch else "stable"
    text = f"PSI {one.psi:.3f}"
    if verdict == "stable":
        return {"verdict": verdict, "why": f"{text} is below {policy.watch:g}"}
    smallest = min(one.p_values, default=1.0)
    chance = f"on {one.rows:,} rows against {one.reference_rows:,} (p {smallest:.1e}, level {level:.1e})"
    if smallest >= level:
        return {"verdict": "stable", "why": f"{text} may be chance {chance}"}
    signs = [f"{text} {chance}"]
    if one.missing_p_value is not None and one.missing_p_value < level:
        signs.append(f"missing {one.missing_share:.1%} instead of {one.missing_reference:.1%}")
    if one.outside_p_value is not None and one.outside_p_value < level:
        share, where = (
            (one.new_level_share, "in new levels")
            if one.kind == "category"
            else (one.out_of_range_share, "out of the training range")
        )
        signs.append(f"{share:.1%} {where}")
    return {"verdict": verdict, "why": ", ".join(signs)}


def _why(verdict: Verdict, judged: Sequence[FeatureDrift], rows: int, policy: DriftPolicy) -> str:
    if verdict == "unknown":
        return f"{rows} rows, fewer than {policy.min_rows}"
    if verdict == "stable":
        return f"no feature and no score has a significant PSI of {policy.watch:g} or more on {rows:,} rows"
    return "; ".join(
        f"{name}: " + ", ".join(f"{one.name} ({one.psi:.2f})" for one in judged if one.verdict == name)
        for name in ("shifted", "watch")
        if any(one.verdict == name for one in judged)
    )
