"""What a missing value counts as, the same for every learner.

Belongs here: what is known of missing values from the train rows, what each feature's counts as in a finished model,
and the margins of rows that have some. Does not belong here: the policy of a feature (`credit_assets.ml.data.missing`),
and how one library is told of a value that is missing in its train rows (its own module).

A learner knows of a missing value what its train rows showed it. Where they showed nothing, or next to nothing, each
library has a rule of its own: one sends the row with the smaller numbers, one takes it for zero, one for the larger
side of a split. On public loans a rate that is gone made the mean PD 1.8, 0.5 and 0.7 times as large. So where at least
LEAST_SEEN train rows lacked a feature, the model itself says what that means. Everywhere else no learner sees the gap:
the value is put in its place here, and with the portfolio's policy it is one of two.

- The worst case: the end of the trained range, as a round number beyond it (`shown_values`), to which the portfolio's
  direction points; where it gives none, of the few values that are worst for some of a sample of applicants the one
  that is worst for this one.
- The neutral value, where the portfolio allows gaps: the one by which the mean PD comes nearest to what it was.

A level of a category that the train rows did not have is a gap as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.shown_values import shown_at, shown_outwards
from credit_assets.ml.learners.encoding import Encoded, Filled, encode, levels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from credit_assets.ml.data.keys import MissingPolicy
    from credit_assets.ml.data.rows import Rows

    Columns: TypeAlias = Sequence[NDArray[Any]]
    Predict: TypeAlias = Callable[[Encoded], NDArray[np.float64]]

LEAST_SEEN = 100
"""Train rows that must lack a feature for a model to say what that means. From 100 on the mean PD of rows whose value
is taken away at random stays within .65 and 1.25 of what it was; of 20 rows one training made .2 and the next 1.9
(docs/missing-values.md)."""
_ROWS = 256
_QUANTILES, _LEVELS = 32, 64
# Of tables of hundreds of columns fewer values are tried on fewer rows: the work grows with the square of the columns.
_WIDE = 100
_WIDE_QUANTILES, _WIDE_LEVELS = 8, 16
_MOST_PREDICTIONS = 2**28
_WORST = 8
_WORTH_A_VALUE = 1e-6


@dataclass(frozen=True)
class Seen:
    """One feature in the train rows: how many have it and how many lack it, and between which ends a number lies."""

    present: int
    missing: int
    lowest: float = float("inf")
    highest: float = float("-inf")


@dataclass(frozen=True)
class FeatureProfile:
    """What the train rows fix for whoever scores: the levels of categories, and what of each feature was there."""

    levels: Mapping[str, tuple[str, ...]]
    seen: Mapping[str, Seen]


@dataclass(frozen=True)
class Meaning:
    """What a missing value of a feature counts as: one of `values`, that which is worst for the applicant where there
    are several, the one that is worst on average first. Without any the model never saw a value, and none counts.
    """

    policy: MissingPolicy
    values: tuple[float | str, ...]

    def to_record(self) -> dict[str, Any]:
        """As JSON types."""
        return {"policy": self.policy, "counts_as": list(self.values)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Meaning:
        """Raises ValueError where it is none."""
        if set(record) != {"policy", "counts_as"} or record["policy"] not in ("allowed", "worst_case", "reject"):
            raise ValueError(f"{record!r} does not say what a missing value counts as")
        return cls(record["policy"], tuple(record["counts_as"]))


def profile_of(rows: Rows, features: Sequence[str], categorical: Sequence[str]) -> FeatureProfile:
    """Of train rows."""
    levels = levels_of(rows.batches(categorical), categorical)
    return FeatureProfile(levels, seen_in(encode(rows, features, levels)))


def seen_in(encoded: Encoded) -> dict[str, Seen]:
    """What of each feature is there."""
    found = [dict.fromkeys(encoded.names, Seen(0, 0))]
    for batch in encoded.batches():
        found.append({name: _seen(column) for name, column in zip(encoded.names, batch, strict=True)})
    return together(found)


def together(parts: Sequence[Mapping[str, Seen]]) -> dict[str, Seen]:
    """Of the rows of all parts."""
    return {
        name: Seen(
            sum(part[name].present for part in parts),
            sum(part[name].missing for part in parts),
            min(part[name].lowest for part in parts),
            max(part[name].highest for part in parts),
        )
        for name in parts[0]
    }


def _seen(column: NDArray[Any]) -> Seen:
    gone = _gone(column)
    missing = int(np.count_nonzero(gone))
    present = len(column) - missing
    if not present or column.dtype.kind != "f":
        return Seen(present, missing)
    return Seen(present, missing, float(np.nanmin(column)), float(np.nanmax(column)))


def _gone(column: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.isnan(column) if column.dtype.kind == "f" else column < 0)


# Finding what a missing value counts as


def meanings(
    predict: Predict,
    validation: Encoded,
    seen: Mapping[str, Seen],
    policies: Mapping[str, MissingPolicy | None],
    directions: Mapping[str, int],
) -> dict[str, Meaning]:
    """What a missing value of each feature counts as; features whose gaps the model has learned are not among them.

    Parameters
    ----------
    predict
        The fitted model's margins.
    validation
        Rows that it is asked about; some are taken.
    seen
        Of the train rows.
    policies, directions
        The portfolio's, by feature; without a policy a gap that the train rows did not show is the worst case.
    """
    probe = _Probe(predict, validation, seen)
    found = {}
    for name in validation.names:
        policy, of = policies.get(name), seen[name]
        learned = of.missing >= LEAST_SEEN and policy not in ("worst_case", "reject")
        if not of.present:
            found[name] = Meaning(policy or "allowed", ())
        elif learned:
            continue
        elif policy == "allowed":
            found[name] = Meaning(policy, (probe.neutral(name),))
        else:
            found[name] = Meaning(policy or "worst_case", probe.worst(name, directions.get(name, 0)))
    return found


class _Probe:
    """What a model says of some rows once all of them have one value of a feature."""

    def __init__(self, predict: Predict, validation: Encoded, seen: Mapping[str, Seen]) -> None:
        self._predict, self._encoded, self._seen = predict, validation, seen
        rows, columns = len(validation), len(validation.names)
        wide = columns > _WIDE
        self._quantiles, self._levels = (_WIDE_QUANTILES, _WIDE_LEVELS) if wide else (_QUANTILES, _LEVELS)
        most = min(rows, _ROWS, max(16, _MOST_PREDICTIONS // (columns**2 * self._levels)))
        taken = np.zeros(rows, dtype=bool)
        taken[np.linspace(0, rows - 1, most).astype(np.int64)] = True
        sample = Encoded(validation.rows.part(taken), validation.names, validation.levels)
        parts = list(sample.batches())
        self._columns: Columns = [np.concatenate(column) for column in zip(*parts, strict=True)]

    def worst(self, name: str, direction: int) -> tuple[float | str, ...]:
        """The value with the highest mean PD, and those by which the worst for each applicant comes to more; with a
        direction the end that it points to.
        """
        if direction:
            return (self._ends(name)[1 if direction > 0 else 0],)
        values = self._values(name)
        pds = self._pds(name, values)
        chosen: list[int] = []
        worst = np.zeros(pds.shape[1])
        while len(chosen) < _WORST:
            means = np.maximum(pds, worst).mean(axis=1)
            best = int(np.argmax(means))
            if means[best] <= worst.mean() * (1 + _WORTH_A_VALUE):
                break
            chosen.append(best)
            worst = np.maximum(worst, pds[best])
        return tuple(self._shown(name, values[place]) for place in chosen)

    def neutral(self, name: str) -> float | str:
        """The value by which the mean PD comes nearest to what it is."""
        values = self._values(name)
        before = float(probability(self._predict(self._filled(self._columns))).mean())
        nearest = int(np.argmin(np.abs(self._pds(name, values).mean(axis=1) - before)))
        return self._shown(name, values[nearest])

    def _values(self, name: str) -> NDArray[Any]:
        column = self._columns[self._encoded.names.index(name)]
        there = column[~_gone(column)]
        if name in self._encoded.levels:
            # Those that occur most, so that a category of thousands of levels is not asked about for minutes.
            counts = np.bincount(there, minlength=len(self._encoded.levels[name]))
            return np.sort(np.argsort(-counts, kind="stable")[: self._levels]).astype(np.int32)
        ends = self._ends(name)
        if not len(there):
            return np.unique(ends)
        places = np.linspace(0, len(there) - 1, self._quantiles).round().astype(np.int64)
        ordered = np.sort(there)
        return np.unique([*ends, *(shown_at(ordered, place) for place in places.tolist())])

    def _ends(self, name: str) -> tuple[float, float]:
        """Of the trained range, a little beyond it: they stand in the model's file, and are no applicant's."""
        return shown_outwards(self._seen[name].lowest, self._seen[name].highest)

    def _pds(self, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
        """One row a value, one column an applicant."""
        place, rows = self._encoded.names.index(name), len(self._columns[0])
        columns = [np.tile(column, len(values)) for column in self._columns]
        columns[place] = np.repeat(values, rows)
        return np.asarray(probability(self._predict(self._filled(columns))).reshape(len(values), rows))

    def _filled(self, columns: Columns) -> Filled:
        return Filled(self._encoded.rows, self._encoded.names, self._encoded.levels, columns=columns)

    def _shown(self, name: str, value: Any) -> float | str:
        return self._encoded.levels[name][int(value)] if name in self._encoded.levels else float(value)


# Margins of rows with gaps


class Margins(NamedTuple):
    """The model's margins of some rows, NaN where a policy refuses the row; and which of them lack each feature whose
    gaps the model has not learned, without the features that none lacks.
    """

    values: NDArray[np.float64]
    missing: dict[str, NDArray[np.bool_]]


def margins(predict: Predict, rows: Encoded, found: Mapping[str, Meaning]) -> Iterator[Margins]:
    """Those of each batch, with gaps as they count."""
    # A level that is new is no reason to refuse a row, and a missing one may be.
    apart = replace(rows, unseen_apart=frozenset(name for name in rows.levels if name in found))
    for columns in apart.batches():
        batch = _Batch(rows, columns, found)
        margin = predict(batch.filled(0))
        for rank in range(1, batch.ranks):
            at = batch.undecided
            margin[at] = np.maximum(margin[at], predict(batch.filled(rank)))
        for name, missing in batch.missing.items():
            if found[name].policy == "reject":
                margin[missing] = np.nan
        yield Margins(margin, batch.missing)


class Decided(NamedTuple):
    """Rows with those values in their gaps that `margins` decides by, which of them a policy refuses, and which of
    their features were missing, rows by features. A level that is new is not missing.
    """

    rows: Filled
    refused: NDArray[np.bool_]
    missing: NDArray[np.bool_]


def as_decided(predict: Predict, rows: Encoded, found: Mapping[str, Meaning]) -> Iterator[Decided]:
    """Those of each batch."""
    apart = replace(rows, unseen_apart=frozenset(rows.levels))
    for columns in apart.batches():
        missing = np.stack([np.isnan(one) if one.dtype.kind == "f" else one == -1 for one in columns], axis=1)
        for place, name in enumerate(rows.names):
            if name in rows.levels and name not in found:
                # To a model that has learned what a gap means a new level is one.
                columns[place] = np.maximum(columns[place], -1)
        batch = _Batch(rows, columns, found)
        refused = np.zeros(len(missing), dtype=bool)
        for name, gone in batch.missing.items():
            if found[name].policy == "reject":
                refused |= gone
        yield Decided(batch.as_decided(predict), refused, missing)


class _Batch:
    """The columns of a batch, and what stands in the place of a gap."""

    def __init__(self, rows: Encoded, columns: Columns, found: Mapping[str, Meaning]) -> None:
        self._rows, self._columns = rows, list(columns)
        self._gaps: dict[int, tuple[NDArray[np.bool_], tuple[Any, ...]]] = {}
        self.missing: dict[str, NDArray[np.bool_]] = {}
        self.undecided = np.zeros(len(columns[0]), dtype=bool)
        """Rows with a gap that counts as one of several values."""
        for place, name in enumerate(rows.names):
            if meaning := found.get(name):
                self._look_at(place, name, meaning)
        self.ranks = max((len(values) for _, values in self._gaps.values()), default=1)

    def _look_at(self, place: int, name: str, meaning: Meaning) -> None:
        column = self._columns[place]
        gone, levels = _gone(column), self._rows.levels.get(name)
        if not gone.any() and meaning.values:
            return
        missing = gone if levels is None else column == -1
        if missing.any():
            self.missing[name] = missing
        if not meaning.values:
            self._columns[place] = np.full_like(column, np.nan if levels is None else -1)
            return
        values = meaning.values if levels is None else tuple(levels.index(str(level)) for level in meaning.values)
        self._gaps[place] = gone, values
        if len(values) > 1:
            self.undecided |= gone

    def filled(self, rank: int) -> Filled:
        """All rows with the first value in each gap; for a later rank the undecided ones with their next values."""
        columns = list(self._columns) if rank == 0 else [column[self.undecided] for column in self._columns]
        for place, (gone, values) in self._gaps.items():
            mask = gone if rank == 0 else gone[self.undecided]
            value = columns[place].dtype.type(values[rank if rank < len(values) else 0])
            columns[place] = np.where(mask, value, columns[place])
        return Filled(self._rows.rows, self._rows.names, self._rows.levels, columns=columns)

    def as_decided(self, predict: Predict) -> Filled:
        """All rows, in each gap the value by which the row's margin is largest."""
        first = self.filled(0)
        if self.ranks == 1:
            return first
        columns, at = list(first.columns), np.flatnonzero(self.undecided)
        largest = predict(replace(first, columns=[column[at] for column in columns]))
        for rank in range(1, self.ranks):
            others = self.filled(rank)
            margin = predict(others)
            worse = margin > largest
            largest = np.maximum(largest, margin)
            for place, values in enumerate(others.columns):
                if place in self._gaps:
                    columns[place][at[worse]] = values[worse]
        return replace(first, columns=columns)
