"""What a model keeps of its training data to tell drift by: counts below round numbers of each feature, no row.

Belongs here: making, saving and reading the reference. Does not belong here: holding newer rows against it (`drift`).

Bins, levels and ranges are fixed at training and stored with the model, so that a report depends on the model and the
day alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from credit_assets.ml.data.model_files import read_record, write_record
from credit_assets.ml.data.rows import Rows
from credit_assets.ml.data.shown_values import SHARED, shown_at, shown_ends
from credit_assets.ml.data.values import numbers, texts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from credit_assets.ml.data.rows import Data
    from credit_assets.ml.data.values import Values

FORMAT = 3
"""Of the record. Read as well: 2, whose grid are values of the training rows, and 1, without `at`, where what lies
between two values with ties is not told."""
_READ = (1, 2, FORMAT)
REFERENCE_FILE = "reference.json"
SCORE = "score"
BINS = 10
_GRID = 100


@dataclass(frozen=True)
class NumericReference:
    """A numeric feature, or the score, as the training rows had it. Counts are rows.

    `grid` are numbers near the percentiles of the values that are not missing, and beyond both ends: values that many
    rows have, else round ones (`shown_values`), so that none is an applicant's. `cumulative` is how many values lie at
    or below each and `at` how many at each. `edges` are the upper ends of the bins: near the deciles. All are empty
    where every value was missing; `at` also in a reference of before.
    """

    name: str
    missing: int
    grid: tuple[float, ...]
    cumulative: tuple[int, ...]
    edges: tuple[float, ...]
    at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        problem = ""
        if len(self.grid) != len(self.cumulative) or not all(math.isfinite(value) for value in self.grid):
            problem = "grid and cumulative must be equally long and finite"
        elif any(a >= b for a, b in zip(self.grid, self.grid[1:], strict=False)):
            problem = "grid must rise"
        elif any(a > b for a, b in zip((0, *self.cumulative), self.cumulative, strict=False)) or self.missing < 0:
            problem = "cumulative must not fall and counts must not be negative"
        elif sorted(set(self.edges) & set(self.grid)) != list(self.edges) or self.edges[-1:] != self.grid[-1:]:
            problem = "edges must be rising values of the grid and end with its last"
        elif self.at and (len(self.at) != len(self.grid) or self._at_beyond_steps()):
            problem = "at must hold, of each value of the grid, no more than cumulative rises there"
        if problem:
            raise ValueError(f"drift reference of {self.name!r}: {problem}")

    @classmethod
    def of(cls, name: str, values: NDArray[np.float64]) -> NumericReference:
        """The reference of float64 values; what is not finite counts as missing."""
        known = np.sort(values[np.isfinite(values)])
        missing = len(values) - len(known)
        if not len(known):
            return cls(name, missing, (), (), ())
        steps = max(1, min(_GRID, len(known) // SHARED))
        places = np.maximum(np.ceil(np.arange(steps + 1) / steps * len(known)).astype(int) - 1, 0)
        low, high = shown_ends(known)
        cuts = np.array([low, *(shown_at(known, place) for place in places[1:-1].tolist()), high])
        grid = np.unique(cuts)
        up_to = np.searchsorted(known, grid, side="right")
        bins = min(BINS, steps)
        return cls(
            name=name,
            missing=missing,
            grid=tuple(grid.tolist()),
            cumulative=tuple(up_to.tolist()),
            edges=tuple(np.unique(cuts[np.arange(1, bins + 1) * steps // bins]).tolist()),
            at=tuple((up_to - np.searchsorted(known, grid, side="left")).tolist()),
        )

    def _at_beyond_steps(self) -> bool:
        steps = (b - a for a, b in zip((0, *self.cumulative), self.cumulative, strict=False))
        return any(not 0 <= here <= step for here, step in zip(self.at, steps, strict=True))

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
        """The reference of a column, read as text."""

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


FeatureReference: TypeAlias = NumericReference | CategoryReference


@dataclass(frozen=True)
class DriftReference:
    """What a model keeps of its training data to tell drift by: counts, no row and no value of one.

    `features` in the model's order, from all rows of the training set; `score` in points, from the rows that the trees
    were not fitted on: a model ranks its own training rows better than any others.
    """

    features: tuple[FeatureReference, ...]
    score: NumericReference

    @classmethod
    def of(cls, data: Data, features: Sequence[str], categorical: Sequence[str], score: ArrayLike) -> DriftReference:
        """The reference of the training set and the points of its rows outside the fit. One column is held at a time.

        Raises ValueError naming features that `data` lacks, or where data or score have no rows.
        """
        rows = Rows.of(data)
        require(rows.names, features)
        points = np.asarray(score, dtype=np.float64)
        if not len(rows) or not np.isfinite(points).any():
            raise ValueError("a drift reference needs rows and scores")
        return cls(
            features=tuple(feature_reference(rows, name, categorical) for name in features),
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
        if not isinstance(record, Mapping) or record.get("format") not in _READ:
            form = record.get("format") if isinstance(record, Mapping) else None
            raise ValueError(f"a drift reference of format {form!r}; this version of credit_assets reads {_READ}")
        _require_keys("drift reference", record, {"format", "features", "score"})
        features: list[FeatureReference] = []
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
        write_record(Path(folder) / REFERENCE_FILE, self.to_record(), indent=None)

    @classmethod
    def load(cls, folder: str | Path) -> DriftReference:
        """Read what `save` wrote.

        Raises FileNotFoundError where the model has none, ValueError naming the file where it cannot be used.
        """
        place = Path(folder) / REFERENCE_FILE
        found = read_record(place, "a drift reference", cls.from_record)
        if found is None:
            raise FileNotFoundError(
                f"{place} is not there: the model was registered before models kept a drift reference; the next one "
                "that is trained brings its own"
            )
        return found


def feature_reference(rows: Rows, name: str, categorical: Collection[str]) -> FeatureReference:
    """The reference of one feature, from all of these rows."""
    values = rows.column(name)
    return CategoryReference.of(name, values) if name in categorical else NumericReference.of(name, numbers(values))


def require(given: Iterable[str], names: Sequence[str]) -> None:
    """Raise ValueError naming the features that are not given."""
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"the frame lacks the features {', '.join(missing)}")


def _lists(one: FeatureReference) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(one).items()}


def _restored(cls: type[Any], record: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(cls)}
    # `at` came with format 2.
    _require_keys(
        f"drift reference of {record.get('name')!r}", {"at": [], **record} if "at" in known else record, known
    )
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in record.items()})


def _require_keys(what: str, record: Mapping[str, Any], names: set[str]) -> None:
    if set(record) != names:
        missing, unknown = sorted(names - set(record)), sorted(set(record) - names)
        raise ValueError(f"{what}: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
