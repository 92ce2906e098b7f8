"""Drift: whether today's applications, and the scores that they get, still look like those a model was trained on.

Belongs here: what a model keeps of its training data (`DriftReference`) and the measures of newer rows against it. Does
not belong here: which days are looked at (`credit_assets.assets.drift`), what follows from a verdict (triggers), and
anything that needs outcomes (`evaluation`).

Bins, levels and ranges are fixed at training and stored with the model, so that a report depends on the model and the
day alone. A PSI says how large a change is, a test whether it can be chance: a small sample has a large PSI without
any shift, and a million rows are significant at a PSI of nothing. A verdict needs both.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from pandas import DataFrame, Series

    from credit_assets.ml.data.rows import Data, Values

Verdict = Literal["stable", "watch", "shifted", "unknown"]

FORMAT = 1
REFERENCE_FILE = "reference.json"
SCORE = "score"
BINS = 10
_GRID = 100
# A level with fewer expected rows than this on either side is tested together with the other rare ones.
_LEAST_EXPECTED = 5.0
_LEAST_SHARE = 1e-4
_LEVELS_NAMED = 20


def psi(reference: ArrayLike, sample: ArrayLike) -> float:
    """Population stability index of two rows of counts over the same bins; of one feature also called CSI.

    Sum of (a - e) ln(a / e) over the bins, with e and a the shares of the reference and of the sample. 0 means equal
    shares; by custom below 0.10 is stable and above 0.25 shifted. Counts 50, 30, 20 against 30, 30, 40 give
    0.2 ln(5/3) + 0 + 0.2 ln 2 = 0.2408. The logarithm has no value at 0: a bin that is empty on one side counts as half
    a row there, and no share as less than 0.0001, so that large samples do not make a rare level important. A bin that
    is empty on both sides does not count.

    Without any shift it is not zero but about (B - 1) (1/n + 1/m) on average, for B bins and samples of n and m: 0.033
    for 12 bins and 1,000 against 500 rows. It does not fall when a bin is divided (floors apart): what shows in a part,
    missing or not, in range or not, is in the whole.
    Source: N. Siddiqi, Credit Risk Scorecards, 2006, chapter 9; B. Yurdakul, Statistical Properties of Population
    Stability Index, 2018. Raises ValueError where a side has no rows.
    """
    expected, actual = np.asarray(reference, dtype=np.float64), np.asarray(sample, dtype=np.float64)
    if not expected.sum() or not actual.sum():
        raise ValueError("a PSI needs rows on both sides")
    used = (expected > 0) | (actual > 0)
    e, a = _shares(expected)[used], _shares(actual)[used]
    return float(((a - e) * np.log(a / e)).sum())


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = float(counts.sum())
    return np.maximum(counts, max(0.5, _LEAST_SHARE * rows)) / rows


def ks_p_value(statistic: float, n: int, m: int) -> float:
    """Probability of a Kolmogorov-Smirnov distance this large between samples of n and m of one distribution.

    2 sum (-1)^(k-1) exp(-2 k^2 l^2) with l = (sqrt(r) + 0.12 + 0.11 / sqrt(r)) D and r = n m / (n + m). A distance of
    0.1 between 500 and 500 rows gives 0.0124. Too large (so on the safe side) where values have ties.
    Source: M. A. Stephens, Journal of the Royal Statistical Society B 32, 1970.
    """
    root = math.sqrt(n * m / (n + m))
    scaled = (root + 0.12 + 0.11 / root) * statistic
    if scaled < 0.3:
        # The series does not converge at zero; below 0.3 the probability is 1 to five digits.
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 20))
    return min(1.0, max(0.0, math.fsum(terms)))


def chi_squared(reference: ArrayLike, sample: ArrayLike) -> tuple[float, float] | None:
    """Pearson's test that two rows of counts over the same levels come from one distribution: statistic and p-value.

    Levels that would have fewer than 5 rows on either side are put together first, where the statistic would not
    follow its distribution. None where fewer than two remain: nothing can differ. Counts 50, 30, 20 against
    30, 30, 40 give 2 * 10^2/40 + 2 * 10^2/30 = 11.67 with 2 degrees of freedom, p = 0.0029.
    Source: K. Pearson, Philosophical Magazine 50, 1900; the rule of five, W. G. Cochran, Biometrics 10, 1954.
    """
    counts = np.array([reference, sample], dtype=np.float64)
    sizes, levels = counts.sum(axis=1), counts.sum(axis=0)
    if not sizes.all():
        return None
    rare = levels * sizes.min() / sizes.sum() < _LEAST_EXPECTED
    pooled = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2:
        return None
    from scipy.special import chdtrc

    expected = np.outer(sizes, pooled.sum(axis=0)) / sizes.sum()
    statistic = float(((pooled - expected) ** 2 / expected).sum())
    return statistic, float(chdtrc(pooled.shape[1] - 1, statistic))


def shares_p_value(k: int, n: int, j: int, m: int) -> float | None:
    """Two-sided p-value that k of n and j of m are one share: chi-squared of the 2 x 2 table, Yates' correction.

    The correction keeps it on the safe side where few are counted. 10 of 1,000 against 15 of 500 give
    a statistic of 6.96, p = 0.0083. None where all or none of n + m are counted: nothing can differ.
    Source: F. Yates, Supplement to the Journal of the Royal Statistical Society 1, 1934.
    """
    together, rows = k + j, n + m
    if not n or not m or together in (0, rows):
        return None
    difference = max(0.0, abs(k * m - j * n) - rows / 2)
    statistic = rows * difference**2 / (n * m * together * (rows - together))
    return math.erfc(math.sqrt(statistic / 2))


@dataclass(frozen=True)
class NumericReference:
    """A numeric feature, or the score, as the training rows had it. Counts are rows.

    `grid` are the distinct percentiles of the values that are not missing, the smallest (`low`) and largest (`high`)
    included, and `cumulative` how many values lie at or below each. `edges` are the upper ends of the bins: the
    distinct deciles. Both are empty where every value was missing.
    """

    name: str
    missing: int
    grid: tuple[float, ...]
    cumulative: tuple[int, ...]
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        problem = ""
        if len(self.grid) != len(self.cumulative) or not all(math.isfinite(value) for value in self.grid):
            problem = "grid and cumulative must be equally long and finite"
        elif any(a >= b for a, b in zip(self.grid, self.grid[1:], strict=False)):
            problem = "grid must rise"
        elif any(a > b for a, b in zip((1, *self.cumulative), self.cumulative, strict=False)) or self.missing < 0:
            problem = "cumulative must not fall and counts must not be negative"
        elif sorted(set(self.edges) & set(self.grid)) != list(self.edges) or self.edges[-1:] != self.grid[-1:]:
            problem = "edges must be rising values of the grid and end with its last"
        if problem:
            raise ValueError(f"drift reference of {self.name!r}: {problem}")

    @classmethod
    def of(cls, name: str, values: NDArray[np.float64]) -> NumericReference:
        """The reference of float64 values; what is not finite counts as missing."""
        known = np.sort(values[np.isfinite(values)])
        missing = len(values) - len(known)
        if not len(known):
            return cls(name, missing, (), (), ())
        places = np.maximum(np.ceil(np.arange(_GRID + 1) / _GRID * len(known)).astype(int) - 1, 0)
        grid = np.unique(known[places])
        return cls(
            name=name,
            missing=missing,
            grid=tuple(grid.tolist()),
            cumulative=tuple(np.searchsorted(known, grid, side="right").tolist()),
            edges=tuple(np.unique(known[places[_GRID // BINS :: _GRID // BINS]]).tolist()),
        )

    @property
    def rows(self) -> int:
        """Values that are not missing."""
        return self.cumulative[-1] if self.cumulative else 0


@dataclass(frozen=True)
class CategoryReference:
    """A category as the training rows had it: every level, however rare, with its count."""

    name: str
    missing: int
    levels: tuple[str, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.counts) or list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"drift reference of {self.name!r}: levels must be sorted and distinct, one count each")
        if self.missing < 0 or min(self.counts, default=1) < 1:
            raise ValueError(f"drift reference of {self.name!r}: counts must be positive")

    @classmethod
    def of(cls, name: str, values: Values) -> CategoryReference:
        """The reference of a column, read as `features.as_categories` reads it."""
        from credit_assets.ml.data.rows import texts

        places, different = texts(values)
        counts: dict[str | None, int] = {}
        for text, rows in zip(different, np.bincount(places, minlength=len(different)).tolist(), strict=True):
            if rows:
                counts[text] = counts.get(text, 0) + rows
        missing = counts.pop(None, 0)
        levels = sorted(text for text in counts if text is not None)
        return cls(name, missing, tuple(levels), tuple(counts[level] for level in levels))

    @property
    def rows(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class DriftReference:
    """What a model keeps of its training data to tell drift by: counts and quantiles, no row.

    `features` in the model's order, from all rows of the training set; `score` in points, from the rows that the trees
    were not fitted on: a model ranks its own training rows better than any others.
    """

    features: tuple[NumericReference | CategoryReference, ...]
    score: NumericReference

    @classmethod
    def of(cls, data: Data, features: Sequence[str], categorical: Sequence[str], score: ArrayLike) -> DriftReference:
        """The reference of the training set and the points of its rows outside the fit. One column is held at a time.

        Raises ValueError naming features that `data` lacks, or where data or score have no rows.
        """
        from credit_assets.ml.data.rows import Rows, numbers

        rows = Rows.of(data)
        _require(rows.names, features)
        points = np.asarray(score, dtype=np.float64)
        if not len(rows) or not np.isfinite(points).any():
            raise ValueError("a drift reference needs rows and scores")
        return cls(
            features=tuple(
                CategoryReference.of(name, rows.column(name))
                if name in set(categorical)
                else NumericReference.of(name, numbers(rows.column(name)))
                for name in features
            ),
            score=NumericReference.of(SCORE, points),
        )

    def to_record(self) -> dict[str, Any]:
        """The reference as JSON types; `from_record` restores an equal one."""
        return {
            "format": FORMAT,
            "features": [
                {"kind": "category" if isinstance(one, CategoryReference) else "numeric", **_lists(one)}
                for one in self.features
            ],
            "score": _lists(self.score),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> DriftReference:
        """Restore what `to_record` gave. Raises ValueError saying what is missing, unknown or contradicts itself."""
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            found = record.get("format") if isinstance(record, Mapping) else None
            raise ValueError(f"a drift reference of format {found!r}; this version of credit_assets reads {FORMAT}")
        _same_keys("drift reference", record, {"format", "features", "score"})
        features: list[NumericReference | CategoryReference] = []
        for item in record["features"]:
            kind, rest = item.get("kind"), {key: value for key, value in item.items() if key != "kind"}
            if kind not in ("numeric", "category"):
                raise ValueError(f"drift reference of {item.get('name')!r}: unknown kind {kind!r}")
            features.append(_restored(CategoryReference if kind == "category" else NumericReference, rest))
        names = [one.name for one in features]
        if len(set(names)) < len(names) or SCORE in names:
            raise ValueError("drift reference: a feature stands in it twice, or has the name of the score")
        return cls(tuple(features), _restored(NumericReference, record["score"]))

    def save(self, folder: str | Path) -> None:
        """Write `reference.json` into the folder of the scorer. Equal references give equal bytes."""
        place = Path(folder) / REFERENCE_FILE
        aside = place.with_name(f".{REFERENCE_FILE}.part")
        aside.write_text(json.dumps(self.to_record(), ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(aside, place)

    @classmethod
    def load(cls, folder: str | Path) -> DriftReference:
        """Read what `save` wrote.

        Raises FileNotFoundError where the model has none, ValueError naming the file where it cannot be used.
        """
        place = Path(folder) / REFERENCE_FILE
        try:
            return cls.from_record(json.loads(place.read_text("utf-8")))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{place} is not there: the model was registered before models kept a drift reference; the next one "
                "that is trained brings its own"
            ) from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{place} cannot be read as a drift reference: {error}") from error


@dataclass(frozen=True)
class DriftPolicy:
    """From which PSI a feature is watched and from which it has shifted, and what sample a verdict needs.

    `alpha` is the chance of any false verdict in one report, shared equally among its tests (Bonferroni). Below
    `min_rows` rows nothing is said.
    """

    watch: float = 0.10
    shifted: float = 0.25
    alpha: float = 0.01
    min_rows: int = 500

    def __post_init__(self) -> None:
        if not (0 < self.watch < self.shifted < math.inf and 0 < self.alpha < 1 and self.min_rows >= 1):
            raise ValueError(
                f"a drift policy needs 0 < watch < shifted, alpha between 0 and 1, and at least one row; got {self}"
            )


@dataclass(frozen=True)
class FeatureDrift:
    """One feature of the newer rows against the reference.

    `psi` counts missing, below the training range, above it, and all new levels together as bins of their own, so each
    of these counts to the verdict. `test` compares the values that are not missing, `rows` and `reference_rows` say
    of how many (missing ones included) on either side. `missing_p_value` tests the share of missing values,
    `outside_p_value` the share of values out of the training range or in new levels. Shares are between 0 and 1;
    `out_of_range_share` and `new_level_share` are of the values that are not missing. `new_levels` are at most 20, the
    most frequent first. None stands where there is nothing to measure.
    """

    name: str
    kind: Literal["numeric", "category", "score"]
    psi: float | None
    test: Literal["ks", "chi2"]
    statistic: float | None
    p_value: float | None
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
        return [p for p in (self.p_value, self.missing_p_value, self.outside_p_value) if p is not None]

    def to_record(self) -> dict[str, Any]:
        """The finding as JSON types, numbers rounded to 6 digits."""
        record = {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}
        return {**record, "new_levels": list(self.new_levels)}


@dataclass(frozen=True)
class DriftFindings:
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


def measure_drift(
    reference: DriftReference, frame: DataFrame, score: ArrayLike | None, policy: DriftPolicy
) -> DriftFindings:
    """Every feature of `frame`, and the points that the model gave, against the model's training data.

    `score` are the points of those rows that the model has scored; None is none. A feature has shifted where its PSI
    reaches `policy.shifted` and one of its tests is significant at alpha over the number of all tests made; it is
    watched likewise from `policy.watch` on. With fewer than `policy.min_rows` rows (scores) it is unknown, and the
    measures are there to look at. The order of rows does not matter. 1,000 rows of 20 features take a few
    milliseconds, a million below two seconds. Raises ValueError naming features that the frame lacks.
    """
    from credit_assets.ml.data.values import as_categories, as_numbers

    _require(frame.columns, [one.name for one in reference.features])
    points = np.asarray([] if score is None else score, dtype=np.float64)
    measured = [
        _category(one, as_categories(frame[one.name]))
        if isinstance(one, CategoryReference)
        else _numeric(one, np.asarray(as_numbers(frame[one.name]), dtype=np.float64), "numeric")
        for one in reference.features
    ]
    measured.append(_numeric(reference.score, points, "score"))
    tests = sum(len(one.p_values) for one in measured if one.rows >= policy.min_rows)
    level = policy.alpha / max(tests, 1)
    judged = tuple(replace(one, **_judged(one, policy, level)) for one in measured)
    verdict: Verdict = "unknown"
    for candidate in ("shifted", "watch", "stable"):
        if any(one.verdict == candidate for one in judged):
            verdict = candidate
            break
    return DriftFindings(verdict, _why(verdict, judged, len(frame), policy), len(frame), len(points), judged)


def _numeric(
    reference: NumericReference, values: NDArray[np.float64], kind: Literal["numeric", "score"]
) -> FeatureDrift:
    known = values[np.isfinite(values)]
    rows, missing = len(known), len(values) - len(known)
    grid = np.array(reference.grid)
    if len(grid):
        # The grid point at or above each value; the last place is above the training range.
        at = np.bincount(np.searchsorted(grid, known, side="left"), minlength=len(grid) + 1)
        below, above = int((known < grid[0]).sum()), int(at[-1])
        cumulative, before = at.cumsum()[:-1], np.array(reference.cumulative)
        edges = np.searchsorted(grid, reference.edges)
        sample = [below, *np.diff(cumulative[edges], prepend=below), above, missing]
        trained = [0, *np.diff(before[edges], prepend=0), 0, reference.missing]
    else:
        below, above = 0, rows
        cumulative = before = np.zeros(0, dtype=int)
        sample, trained = [rows, missing], [0, reference.missing]
    statistic = p_value = None
    if rows and reference.rows:
        gaps = np.abs(cumulative / rows - before / reference.rows)
        statistic = max(float(gaps.max()), below / rows)
        p_value = ks_p_value(statistic, reference.rows, rows)
    return _finding(
        reference, kind, "ks", (statistic, p_value), (trained, sample), (rows, missing), below + above, new_levels=()
    )


def _category(reference: CategoryReference, values: Series[Any]) -> FeatureDrift:
    counts = _level_counts(values)
    rows = sum(counts.values())
    known = [counts.pop(level, 0) for level in reference.levels]
    new = sum(counts.values())
    tested = chi_squared([*reference.counts, 0], [*known, new])
    return _finding(
        reference,
        "category",
        "chi2",
        tested or (None, None),
        ([*reference.counts, 0, reference.missing], [*known, new, len(values) - rows]),
        (rows, len(values) - rows),
        new,
        new_levels=tuple(sorted(counts, key=lambda level: (-counts[level], level))[:_LEVELS_NAMED]),
    )


def _finding(
    reference: NumericReference | CategoryReference,
    kind: Literal["numeric", "category", "score"],
    test: Literal["ks", "chi2"],
    tested: tuple[float | None, float | None],
    bins: tuple[Sequence[int], Sequence[int]],
    sizes: tuple[int, int],
    outside: int,
    new_levels: tuple[str, ...],
) -> FeatureDrift:
    (rows, missing), trained = sizes, reference.rows + reference.missing
    share = outside / rows if rows else None
    return FeatureDrift(
        name=reference.name,
        kind=kind,
        psi=psi(*bins) if rows + missing else None,
        test=test,
        statistic=tested[0],
        p_value=tested[1],
        rows=rows + missing,
        reference_rows=trained,
        missing_share=missing / (rows + missing) if rows + missing else None,
        missing_reference=reference.missing / trained,
        missing_p_value=shares_p_value(reference.missing, trained, missing, rows + missing),
        out_of_range_share=None if kind == "category" else share,
        new_levels=new_levels,
        new_level_share=share if kind == "category" else None,
        outside_p_value=shares_p_value(0, reference.rows, outside, rows),
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


def _level_counts(values: Series[Any]) -> dict[str, int]:
    return {str(level): int(count) for level, count in values.value_counts(dropna=True).items()}


def _require(given: Iterable[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"the frame lacks the features {', '.join(missing)}")


def _lists(one: NumericReference | CategoryReference) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(one).items()}


def _restored(cls: type[Any], record: Mapping[str, Any]) -> Any:
    _same_keys(f"drift reference of {record.get('name')!r}", record, {field.name for field in fields(cls)})
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in record.items()})


def _same_keys(what: str, record: Mapping[str, Any], names: set[str]) -> None:
    if set(record) != names:
        raise ValueError(
            f"{what}: missing {sorted(names - set(record)) or 'nothing'}, "
            f"unknown {sorted(set(record) - names) or 'nothing'}"
        )
