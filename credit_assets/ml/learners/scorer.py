"""The scorer: everything that turns an application into a PD and points, saved without code.

Belongs here: the saved form of a model and its use. Does not belong here: fitting (`training`) and judging
(`evaluation`).

A scorer is a folder of two files: the learner's native model file and `scorer.json`, which holds all else: features in
order, levels of categories, how derived features are computed, calibration and scale. Nothing in it is unpickled, and
any program with the learner's library can score from the two. Where a feature or the learner is an extension's,
`scorer.json` names it with the hash of its source, and without just that extension the scorer is not read.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from credit_assets.ml.data.extensions import ExtensionError, why_other
from credit_assets.ml.data.formulas import FUNCTIONS, parameters, text_parameters
from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.model_files import read_record, write_record
from credit_assets.ml.data.rows import Data, Rows
from credit_assets.ml.data.values import Values, numbers
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.calibration import Calibration, calibration_of
from credit_assets.ml.learners.encoding import Encoded
from credit_assets.ml.learners.missing import Margins, Meaning, as_decided, margins

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from pandas import DataFrame

    from credit_assets.ml.data.portfolio import Portfolio

FORMAT = 1
SCORER_FILE = "scorer.json"
_CLOSE = 1e-6
_KEYS = frozenset(
    {
        "format", "variant", "library", "model_file", "model_sha256", "features", "inputs", "categories", "derived",
        "monotone", "calibration", "scale",
    }
)  # fmt: skip
# Not in all of them, nor in those that were saved by earlier versions.
_LATER_KEYS = frozenset({"cut_off", "extensions", "missing", "portfolio"})


@dataclass(frozen=True)
class ScoreScale:
    """Points from log-odds: base + pdo / ln 2 * ln(odds of good / odds). More points mean less risk.

    `odds` are the good:bad odds at `base` points and `pdo` the points that double the odds. With 600, 50 and 20,
    an applicant at 50:1 (a PD of 1/51) has 600 points, at 100:1 (1/101) 620.
    Source: N. Siddiqi, Credit Risk Scorecards, 2006, chapter 6.
    """

    base: float = 600.0
    odds: float = 50.0
    pdo: float = 20.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.base) and 0 < self.odds < math.inf and 0 < self.pdo < math.inf):
            raise ValueError(
                f"a score scale needs a finite base, positive odds and positive points to double the odds; got base "
                f"{self.base}, odds {self.odds}, pdo {self.pdo}"
            )

    @property
    def factor(self) -> float:
        """Points for each unit of the log-odds of good."""
        return self.pdo / math.log(2)

    @property
    def offset(self) -> float:
        """Points at even odds."""
        return self.base - self.factor * math.log(self.odds)

    def points(self, log_odds: ArrayLike) -> NDArray[np.float64]:
        """Points for log-odds of default (of bad, natural logarithm), not rounded."""
        return self.base - self.pdo / math.log(2) * (np.asarray(log_odds, dtype=np.float64) + math.log(self.odds))

    def pd(self, points: ArrayLike) -> NDArray[np.float64]:
        """The PD that these points stand for: the inverse of `points`."""
        return probability(
            (self.base - np.asarray(points, dtype=np.float64)) * math.log(2) / self.pdo - math.log(self.odds)
        )


@dataclass(frozen=True)
class Derived:
    """A derived feature: `function` of `credit_assets.ml.data.formulas`, with the column that each input reads."""

    name: str
    function: str
    inputs: dict[str, str]


class Explained(NamedTuple):
    """What each feature adds to what a model says of some rows, beyond `base`, the margin of nobody in particular: the
    mean over the train rows, as the trees count them. Log-odds of default before calibration (`values`) and points
    (`points`), rows by features; NaN for a row that the model refuses. `missing`: which of the features have no value.
    """

    base: float
    values: NDArray[np.float64]
    points: NDArray[np.float64]
    missing: NDArray[np.bool_]


@dataclass(frozen=True)
class CreditScorer:
    """A model that is ready to score.

    `features` are the model's inputs in order; those in `categories` have the levels that the model was trained on;
    those of `derived` are computed where a frame does not have them.
    """

    variant: str
    model: Any = field(repr=False, compare=False)
    features: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    derived: tuple[Derived, ...]
    monotone: Mapping[str, int]
    calibration: Calibration
    scale: ScoreScale
    library: str = ""
    portfolio: str = ""
    """The portfolio that it was trained for; empty where an earlier version made it."""
    contract: str = ""
    """`Portfolio.contract` of then."""
    missing: Mapping[str, Meaning] = field(default_factory=dict)
    """What a missing value counts as, of the features whose gaps the model has not learned. Of a model that an earlier
    version made, nothing: each library has its own rule for those."""
    cut_off: float | None = None
    """The PD above which the model declines, fixed when it was trained (policy: cutoff); None where it declines nobody,
    and of a model that an earlier version made."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that a frame must have: all features but the derived ones."""
        computed = {derived.name for derived in self.derived}
        return tuple(name for name in self.features if name not in computed)

    def margin(self, data: Data, *, threads: int = 1) -> NDArray[np.float64]:
        """The learner's log-odds of default before calibration, one for each row. Raises ValueError as `score`."""
        return np.concatenate([np.empty(0), *(batch.values for batch in self._margins(Rows.of(data), threads))])

    def pd(self, data: Data, *, threads: int = 1) -> NDArray[np.float64]:
        """Probability of default of each row, strictly between 0 and 1. NaN, and ValueError, as `score`."""
        batches = self._margins(Rows.of(data), threads)
        return np.concatenate([np.empty(0), *(self.calibration.pd(batch.values) for batch in batches)])

    def score(self, data: Data, *, threads: int = 1) -> DataFrame:
        """PD and points of each row: float64 columns `pd` and `score`, with the index of a frame.

        `data` is a frame, an Arrow table or `Rows`, and is read in batches. It has the columns `inputs`, in any order,
        and may have others; features of `derived` that it has are used as they are. A number that is none counts as
        missing, and so does a level that the model has not seen; a row that lacks a feature without which the portfolio
        does not score has NaN for both. No rows give an empty frame. Raises ValueError naming columns that are missing.
        """
        return self.score_with_gaps(data, threads=threads)[0]

    def score_with_gaps(self, data: Data, *, threads: int = 1) -> tuple[DataFrame, dict[str, NDArray[np.bool_]]]:
        """What `score` gives, and which rows lack each feature of `missing`: a value is put in its place, or the row is
        refused for it (`refuses`). Features that none lacks are left out, and of derived ones the rows of which an
        input tells it.
        """
        from pandas import DataFrame

        rows = Rows.of(data)
        scores, begin = np.empty((2, len(rows))), 0
        gaps: dict[str, NDArray[np.bool_]] = {}
        for batch in self._margins(rows, threads):
            log_odds, end = self.calibration.log_odds(batch.values), begin + len(batch.values)
            scores[0, begin:end], scores[1, begin:end] = probability(log_odds), self.scale.points(log_odds)
            for name, missing in batch.missing.items():
                gaps.setdefault(name, np.zeros(len(rows), dtype=bool))[begin:end] = missing
            begin = end
        for derived in self.derived:
            if (own := gaps.pop(derived.name, None)) is not None:
                for source in set(derived.inputs.values()) & set(gaps):
                    if self.refuses(source) or not self.refuses(derived.name):
                        own = own & ~gaps[source]
                if own.any():
                    gaps[derived.name] = own
        index = data.index if isinstance(data, DataFrame) else None
        return DataFrame({"pd": scores[0], "score": scores[1]}, index=index, copy=False), gaps

    def declined(self, pd: ArrayLike) -> NDArray[np.bool_] | None:
        """Which of these PDs, as this model gave them, it declines: those above its cut-off. A row that is refused has
        no PD and is not declined by it. None for a model without a cut-off.
        """
        return None if self.cut_off is None else np.asarray(pd, dtype=np.float64) > self.cut_off

    def refuses(self, feature: str) -> bool:
        """Whether a row that lacks the feature is not scored."""
        return feature in self.missing and self.missing[feature].policy == "reject"

    @property
    def explains(self) -> bool:
        """Whether its learner says what each feature adds."""
        return VARIANTS[self.variant].explains

    def contributions(self, data: Data, *, threads: int = 1) -> Iterator[Explained]:
        """What each of `features` adds to the margin of each row, a batch at a time, in the order of the rows.

        A gap counts as the value that the row is scored with. Raises ValueError as `score`, and where the learner does
        not say what a feature adds.
        """
        learner, predict = VARIANTS[self.variant], self._predict(threads)
        for encoded in self._encoded(Rows.of(data)):
            for rows, refused, missing in as_decided(predict, encoded, self.missing):
                found = learner.contributions(self.model, rows, threads=threads)
                values = np.where(refused[:, None], np.nan, found.values)
                yield Explained(found.base, values, self._points_of(found.base, values), missing)

    def _points_of(self, base: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points of contributions: those of the margin less those of the base, shared out as the margin is.

        A calibration that is a line gives each log-odds as many points. Of any other that rises, what it does to a row
        between base and margin holds for all that the row's features add; the order of features stays.
        """
        whole = values.sum(axis=1)
        # Of a row like nobody in particular: what the calibration does close by.
        ahead = np.where(np.abs(whole) < _CLOSE, _CLOSE, whole)
        ends = self.scale.points(self.calibration.log_odds(np.stack([base + ahead, np.full_like(ahead, base)])))
        points: NDArray[np.float64] = values * ((ends[0] - ends[1]) / ahead)[:, None]
        return points

    def _margins(self, rows: Rows, threads: int) -> Iterator[Margins]:
        """Of a batch at a time."""
        for encoded in self._encoded(rows):
            yield from margins(self._predict(threads), encoded, self.missing)

    def _predict(self, threads: int) -> Callable[[Encoded], NDArray[np.float64]]:
        learner = VARIANTS[self.variant]
        return lambda encoded: learner.predict_margin(self.model, encoded, threads=threads)

    def _encoded(self, rows: Rows) -> Iterator[Encoded]:
        """The features of a batch at a time."""
        missing = [name for name in self.inputs if name not in rows.names]
        if missing:
            raise ValueError(
                f"the model needs the columns {', '.join(self.inputs)}; the frame lacks {', '.join(missing)}"
            )
        absent = [derived for derived in self.derived if derived.name not in rows.names]
        sources = {source for derived in absent for source in derived.inputs.values()}
        needed = dict.fromkeys([*(name for name in self.features if name in rows.names), *sources])
        levels = {name: tuple(self.categories[name]) for name in self.features if name in self.categories}
        for batch in rows.batches(list(needed)):
            yield Encoded(Rows.of_columns({**batch, **_derive(absent, batch)}), self.features, levels)

    def save(self, folder: str | Path) -> None:
        """Write the model file and `scorer.json` into `folder`, which is made where it is absent.

        `scorer.json` comes last and names the model file's hash, so that a save that was cut short, or a mixture of two
        saves, is refused by `load`. Equal scorers give equal bytes.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        learner = VARIANTS[self.variant]
        model_file = folder / learner.filename
        aside = folder / f".{learner.filename}.part"
        learner.save(self.model, aside)
        os.replace(aside, model_file)
        record = {
            "format": FORMAT,
            "variant": self.variant,
            "library": self.library or learner.library(),
            "model_file": learner.filename,
            "model_sha256": hashlib.sha256(model_file.read_bytes()).hexdigest(),
            "features": list(self.features),
            "inputs": [
                {"name": name, "type": "category" if name in self.categories else "number"} for name in self.inputs
            ],
            "categories": {name: list(levels) for name, levels in self.categories.items()},
            "derived": [asdict(derived) for derived in self.derived],
            "monotone": dict(self.monotone),
            "calibration": self.calibration.to_record(),
            "scale": asdict(self.scale),
        }
        if self.missing:
            record["missing"] = {name: meaning.to_record() for name, meaning in self.missing.items()}
        if theirs := extensions_of(self.variant, self.derived):
            record["extensions"] = theirs
        if self.cut_off is not None:
            record["cut_off"] = self.cut_off
        if self.portfolio:
            record["portfolio"] = {"name": self.portfolio, "contract": self.contract}
        write_record(folder / SCORER_FILE, record)

    @classmethod
    def load(cls, folder: str | Path) -> CreditScorer:
        """Read what `save` wrote. Reads `scorer.json` and the variant's own model file, and no other.

        Raises ValueError naming the file where it is absent or unreadable, of an unknown format or variant, names
        another model file than the variant's, or where the model file is not the one that was saved with it;
        ExtensionMismatchError, a ValueError, where a feature or the learner is one of an extension that is absent here
        or another one now.
        """
        folder = Path(folder)
        place = folder / SCORER_FILE
        record = read_record(place, "the record of a scorer", dict)
        if record is None:
            raise ValueError(f"{place} cannot be read as the record of a scorer: there is no such file")
        if record.get("format") != FORMAT:
            raise ValueError(
                f"{place} has format {record.get('format')!r}; this version of credit_assets reads format {FORMAT}: "
                "use the version that saved it, or train the model again"
            )
        if set(record) - _LATER_KEYS != _KEYS:
            raise ValueError(
                f"{place}: missing {sorted(_KEYS - set(record)) or 'nothing'}, "
                f"unknown {sorted(set(record) - _KEYS - _LATER_KEYS) or 'nothing'}"
            )
        if why := why_other(record.get("extensions", ())):
            raise ExtensionMismatchError(f"this model cannot score here: {why}")
        learner = VARIANTS.get(record["variant"])
        if learner is None:
            raise ValueError(f"{place}: unknown variant {record['variant']!r}; known: {', '.join(VARIANTS)}")
        if record["model_file"] != learner.filename:
            raise ValueError(
                f"{place}: the model file of variant {learner.name} is {learner.filename}, not {record['model_file']!r}"
            )
        model_file = folder / learner.filename
        try:
            content = model_file.read_bytes()
        except OSError as error:
            raise ValueError(f"{model_file} cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != record["model_sha256"]:
            raise ValueError(f"{model_file} is not the model that {SCORER_FILE} was saved with: its SHA-256 differs")
        try:
            return cls(
                variant=learner.name,
                model=learner.load(model_file),
                features=tuple(record["features"]),
                categories={name: tuple(levels) for name, levels in record["categories"].items()},
                derived=_known(tuple(Derived(**derived) for derived in record["derived"])),
                monotone={name: int(direction) for name, direction in record["monotone"].items()},
                calibration=calibration_of(record["calibration"]),
                scale=ScoreScale(**record["scale"]),
                library=record["library"],
                portfolio=record.get("portfolio", {}).get("name", ""),
                contract=record.get("portfolio", {}).get("contract", ""),
                missing={name: Meaning.from_record(one) for name, one in record.get("missing", {}).items()},
                cut_off=_probability(record.get("cut_off")),
            )
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{place}: {error}") from error


class ExtensionMismatchError(ExtensionError):
    """A model's extension is absent here, or another one than it was made with."""


def extensions_of(variant: str, derived: Iterable[Derived]) -> list[dict[str, str]]:
    """Who made the features and the learner of a model, of those that extensions bring."""
    return [*FUNCTIONS.records(one.function for one in derived), *VARIANTS.records([variant])]


def made_for(folder: str | Path) -> tuple[str, str]:
    """Name and contract of the portfolio that the scorer in a folder was trained for, empty where it does not say."""
    try:
        return read_record(Path(folder) / SCORER_FILE, "the record of a scorer", _made_for) or ("", "")
    except ValueError:
        # `CreditScorer.load` says what is wrong with it.
        return "", ""


def _made_for(record: Mapping[str, Any]) -> tuple[str, str]:
    made = record.get("portfolio") or {}
    return str(made.get("name", "")), str(made.get("contract", ""))


def derived_of(portfolio: Portfolio) -> tuple[Derived, ...]:
    """The portfolio's derived features with every input spelt out, so that a scorer needs no portfolio file."""
    return tuple(
        Derived(
            name=derived.name,
            function=derived.function_name,
            inputs={name: derived.inputs.get(name, name) for name in parameters(derived.function_name)},
        )
        for derived in portfolio.function_features
    )


def _derive(absent: Sequence[Derived], batch: Mapping[str, Values]) -> dict[str, Values]:
    from pandas import Series

    from credit_assets.ml.data.feature_functions import text_series

    given: dict[tuple[str, bool], Series[Any]] = {}
    made = {}
    for derived in absent:
        of_texts, inputs = text_parameters(derived.function), {}
        for parameter, source in derived.inputs.items():
            read = source, parameter in of_texts
            if read not in given:
                given[read] = text_series(batch[source]) if read[1] else Series(numbers(batch[source]), copy=False)
            inputs[parameter] = given[read]
        made[derived.name] = FUNCTIONS[derived.function](**inputs)
    return made


def _probability(saved: Any) -> float | None:
    if saved is None or (isinstance(saved, float) and 0 < saved < 1):
        return saved
    raise ValueError(f"cut_off {saved!r} is no probability between 0 and 1")


def _known(derived: tuple[Derived, ...]) -> tuple[Derived, ...]:
    for one in derived:
        if one.function not in FUNCTIONS or set(one.inputs) != set(parameters(one.function)):
            raise ValueError(
                f"derived feature {one.name!r}: this version of credit_assets has no function {one.function!r} of "
                f"{', '.join(one.inputs)}"
            )
    return derived
