"""A scorecard: bins of each feature, their weights of evidence, and a logistic regression that adds them up.

Belongs here: fitting it, its table, and scoring by the table alone. Does not belong here: weights and regression
(`credit_assets.ml.evidence.weights`), points (`credit_assets.ml.reports.scorecard`).

The package optbinning finds the bins, and nothing else needs it: it is imported where a scorecard is fitted, and a
fitted one is a table in JSON, scored by looking up each value's bin. Counts and weights are of all train rows, taken
here.

A bin of a number holds from <= value < to. From bin to bin the bad rate rises or falls throughout, as the portfolio's
direction says, or as the rows do where it gives none: bins that may turn once told real loans of later days .017 of AUC
less. A category's levels are grouped by bad rate, rare ones counted as one level first.
A missing value has a bin of its own where LEAST_SEEN train rows lack the feature; with fewer it weighs 0, and scoring
puts a value in its place (`missing`). A level that the train rows did not have counts as missing.

The coefficient of a weight must lower the risk as the weight rises: one that does not stands for another feature, and
its points would say the contrary of its own bins. The feature is left out and the rest fitted again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.ml.learners.learner import Contributions, FitInputs, Fitted, Parameter, Variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from credit_assets.ml.evidence.weights import Blocks
    from credit_assets.ml.learners.encoding import Encoded

FORMAT = 1
MOST_ROWS = 100_000
"""Train rows that bins are looked for in, evenly from all of them."""
_ROWS_AT_ONCE = 65_536
# Levels with a smaller share of the rows are one level to the search for groups.
_RARE = 0.01
_TRENDS = {1: "ascending", -1: "descending", 0: "auto_asc_desc"}


@dataclass(frozen=True)
class LeftOutFeature:
    """A feature that is not in the scorecard, and why."""

    feature: str
    why: str


@dataclass(frozen=True)
class CardFeature:
    """The bins of a feature: `edges` between those of a number, or `groups` of levels; with the goods, bads and weight
    of each, the last of missing values. `coefficient` is of the log-odds of good, and positive.
    """

    name: str
    edges: tuple[float, ...] | None
    groups: tuple[tuple[str, ...], ...] | None
    goods: tuple[int, ...]
    bads: tuple[int, ...]
    weights: tuple[float, ...]
    information_value: float
    coefficient: float = 0.0
    standard_error: float = 0.0

    def __post_init__(self) -> None:
        count = len(self.edges) + 1 if self.edges is not None else len(self.groups or ())
        if (self.edges is None) == (self.groups is None) or not (
            len(self.goods) == len(self.bads) == len(self.weights) == count + 1
        ):
            raise ValueError(f"the bins of {self.name} do not fit one another")

    @property
    def missing(self) -> int:
        """The place of the bin of missing values."""
        return len(self.weights) - 1

    def bins(self, column: NDArray[Any], levels: Sequence[str] | None) -> NDArray[np.intp]:
        """The bin of each value of an encoded column."""
        import numpy as np

        if self.edges is not None:
            inside = np.searchsorted(np.asarray(self.edges), column, side="right")
            return np.asarray(np.where(np.isfinite(column), inside, self.missing), dtype=np.intp)
        group = {level: place for place, members in enumerate(self.groups or ()) for level in members}
        # The last for what is missing, whose place is negative.
        places = np.array([*(group.get(level, self.missing) for level in levels or ()), self.missing], dtype=np.intp)
        return np.asarray(places[np.maximum(column, -1)])

    def log_odds(self) -> NDArray[np.float64]:
        """What each bin adds to the log-odds of default."""
        import numpy as np

        return -self.coefficient * np.asarray(self.weights, dtype=np.float64)

    def mean_log_odds(self) -> float:
        """What it adds to those of the train rows on average."""
        import numpy as np

        rows = np.asarray(self.goods, dtype=np.float64) + np.asarray(self.bads)
        return float((self.log_odds() * rows).sum() / rows.sum())


@dataclass(frozen=True)
class Card:
    """A fitted scorecard: log-odds of good = intercept + sum of coefficient * weight."""

    intercept: float
    features: tuple[CardFeature, ...]
    left_out: tuple[LeftOutFeature, ...]

    def to_record(self) -> dict[str, Any]:
        """As JSON types."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Card:
        """Raises ValueError, KeyError or TypeError where it is none."""
        if record["format"] != FORMAT:
            raise ValueError(f"it has format {record['format']!r}, and this version of credit_assets reads {FORMAT}")
        return cls(
            float(record["intercept"]),
            tuple(_feature(one) for one in record["features"]),
            tuple(LeftOutFeature(**one) for one in record["left_out"]),
        )


def _feature(record: Mapping[str, Any]) -> CardFeature:
    given = dict(record)
    given["groups"] = None if given["groups"] is None else tuple(tuple(group) for group in given["groups"])
    for name in ("edges", "goods", "bads", "weights"):
        given[name] = None if given[name] is None else tuple(given[name])
    return CardFeature(**given)


class ScorecardVariant(Variant):
    """Fitted in one step on the train rows: there are no rounds, and the validation rows are only looked at."""

    name = "scorecard"
    label = "Scorecard"
    filename = "scorecard_model.json"
    distribution = "optbinning"
    extra = "scorecard"
    scoring_packages = ()
    explains = True
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "max_bins": Parameter("integer", minimum=2, maximum=50),
        "min_bin_share": Parameter("number", above=0, maximum=0.5),
        "min_information_value": Parameter("number", minimum=0, maximum=1),
        "max_features": Parameter("integer", minimum=1, maximum=500),
        "ridge": Parameter("number", minimum=0, maximum=1_000_000),
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "max_bins": 8,
        "min_bin_share": 0.05,
        "min_information_value": 0.01,
        "max_features": 50,
        "ridge": 1.0,
    }

    def _fit(self, inputs: FitInputs) -> Fitted:
        import numpy as np

        bad = inputs.y == 1
        found, codes, left_out = [], {}, []
        for name, direction in zip(inputs.train.names, inputs.directions, strict=True):
            column = _column(inputs.train, name)
            feature = self._binned(name, column, bad, direction, inputs)
            if isinstance(feature, LeftOutFeature):
                left_out.append(feature)
                continue
            found.append(feature)
            codes[name] = feature.bins(column, inputs.train.levels.get(name)).astype(np.uint8)
        # In the order of the features among equals.
        found.sort(key=lambda one: -one.information_value)
        most = int(inputs.params["max_features"])
        left_out += [LeftOutFeature(one.name, f"{most} features tell more (max_features)") for one in found[most:]]
        card = _added_up(found[:most], codes, bad, float(inputs.params["ridge"]))
        card = replace(card, left_out=(*left_out, *card.left_out))
        history = {
            f"{split}-logloss": [_log_loss(np.concatenate([*self._margins(card, rows, 1)]), target)]
            for split, rows, target in (
                ("train", inputs.train, inputs.y),
                ("validation", inputs.validation, inputs.y_val),
            )
        }
        return Fitted(card, 1, history)

    def _binned(
        self, name: str, column: NDArray[Any], bad: NDArray[np.bool_], direction: int, inputs: FitInputs
    ) -> CardFeature | LeftOutFeature:
        """The feature with bins of largest information value."""
        levels = inputs.train.levels.get(name)
        try:
            if levels is None:
                edges = _edges(column, bad, direction, inputs.params)
                feature = _counted(name, edges, None, column, bad) if edges else None
                while feature is not None and (at := _against(feature, direction)) is not None:
                    edges = (*edges[:at], *edges[at + 1 :])
                    feature = _counted(name, edges, None, column, bad) if edges else None
            else:
                groups = _groups(column, bad, levels, inputs.params)
                feature = _counted(name, None, groups, column, bad, levels) if len(groups) > 1 else None
        except (ValueError, TypeError, ArithmeticError) as error:
            raise self.refused(error) from error
        least = float(inputs.params["min_information_value"])
        if feature is None:
            return LeftOutFeature(name, f"no bins tell goods from bads{' in its direction' if direction else ''}")
        if feature.information_value < least:
            value = f"{feature.information_value:.4f}"
            return LeftOutFeature(name, f"its information value is {value}, below {least:g} (min_information_value)")
        return feature

    def save(self, model: Any, path: Path) -> None:
        text = json.dumps(model.to_record(), indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")

    def load(self, path: Path) -> Any:
        try:
            return Card.from_record(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            words = f"{type(error).__name__}: {error}"[:200]
            raise ValueError(f"variant {self.name}: {path.name} holds no whole scorecard ({words})") from error

    def _margins(self, model: Any, rows: Encoded, _threads: int) -> Iterator[NDArray[Any]]:
        for parts in _parts(model, rows):
            # One after the other: a row's sum does not depend on the rows beside it.
            yield sum(parts[1:], start=parts[0])

    def _contributions(self, model: Any, rows: Encoded, _threads: int, /) -> Contributions:
        """The points of each bin less the mean of the feature's over the train rows: of a sum, that is exact."""
        import numpy as np

        place = {name: at for at, name in enumerate(rows.names)}
        found = [np.empty((0, len(rows.names)))]
        for intercept, *parts in _parts(model, rows):
            added = np.zeros((len(intercept), len(rows.names)))
            for feature, part in zip(model.features, parts, strict=True):
                added[:, place[feature.name]] = part - feature.mean_log_odds()
            found.append(added)
        base = -model.intercept + sum(one.mean_log_odds() for one in model.features)
        return Contributions(base, np.concatenate(found))

    def untrainable(self) -> str:
        if find_spec(self.distribution) is not None:
            return ""
        return (
            f"variant {self.name} is trained with the package {self.distribution}, which is not installed here: "
            f"install credit-assets[{self.extra}]"
        )


def _parts(card: Card, rows: Encoded) -> Iterator[list[NDArray[np.float64]]]:
    """Of each batch what makes up the log-odds of default: the intercept, then each feature."""
    import numpy as np

    places = {name: place for place, name in enumerate(rows.names)}
    tables = [(one, places[one.name], one.log_odds()) for one in card.features]
    for columns in rows.batches():
        yield [
            np.full(len(columns[0]), -card.intercept),
            *(table[one.bins(columns[place], rows.levels.get(one.name))] for one, place, table in tables),
        ]


# Bins


def _column(rows: Encoded, name: str) -> NDArray[Any]:
    import numpy as np

    return np.concatenate([columns[0] for columns in replace(rows, names=(name,)).batches()])


def _sampled(rows: int) -> NDArray[np.intp]:
    import numpy as np

    return np.linspace(0, rows - 1, min(rows, MOST_ROWS)).astype(np.intp)


def _edges(
    column: NDArray[np.float64], bad: NDArray[np.bool_], direction: int, params: Mapping[str, Any]
) -> tuple[float, ...]:
    import numpy as np

    some = _sampled(len(column))
    values, target = column[some], bad[some]
    known = np.isfinite(values)
    values, target = values[known], target[known]
    if not _worth(values, target):
        return ()
    found = _optimal("numerical", params, monotonic_trend=_TRENDS[direction])
    found.fit(values, target.astype(np.int64))
    return tuple(float(edge) for edge in found.splits) if found.status in ("OPTIMAL", "FEASIBLE") else ()


def _groups(
    column: NDArray[np.int32], bad: NDArray[np.bool_], levels: Sequence[str], params: Mapping[str, Any]
) -> tuple[tuple[str, ...], ...]:
    """Levels with like bad rates; every level is in one of them."""
    import numpy as np

    some = _sampled(len(column))
    values, target = column[some], bad[some]
    target, values = target[values >= 0], values[values >= 0]
    rare = np.bincount(values, minlength=len(levels)) < _RARE * len(values)
    # One level more stands for all rare ones.
    values = np.where(rare[values], len(levels), values)
    if not _worth(values, target):
        return ()
    found = _optimal("categorical", params)
    found.fit(values.astype(np.float64), target.astype(np.int64))
    if found.status not in ("OPTIMAL", "FEASIBLE"):
        return ()
    groups = [{int(code) for code in group} for group in found.splits]
    if rare.any() and not any(len(levels) in group for group in groups):
        # Levels that only rows outside the sample have.
        groups[-1].add(len(levels))
    named = [
        tuple(level for place, level in enumerate(levels) if (len(levels) if rare[place] else place) in group)
        for group in groups
    ]
    return tuple(group for group in named if group)


def _worth(values: NDArray[Any], target: NDArray[np.bool_]) -> bool:
    """Whether there is anything to tell apart: two values, goods and bads."""
    return bool(len(values)) and bool((values != values[0]).any()) and 0 < int(target.sum()) < len(target)


def _optimal(kind: str, params: Mapping[str, Any], **more: Any) -> Any:
    from optbinning.binning.binning import OptimalBinning

    share = float(params["min_bin_share"])
    return OptimalBinning(
        dtype=kind,
        max_n_bins=int(params["max_bins"]),
        min_bin_size=share,
        min_prebin_size=min(share, 0.05),
        **more,
    )


def _counted(
    name: str,
    edges: tuple[float, ...] | None,
    groups: tuple[tuple[str, ...], ...] | None,
    column: NDArray[Any],
    bad: NDArray[np.bool_],
    levels: Sequence[str] | None = None,
) -> CardFeature:
    """The feature with counts and weights of all rows."""
    import numpy as np

    from credit_assets.ml.evidence.weights import information_value, weights_of_evidence
    from credit_assets.ml.learners.missing import LEAST_SEEN

    count = (len(edges) + 1 if edges is not None else len(groups or ())) + 1
    empty = (0,) * count
    feature = CardFeature(name, edges, groups, empty, empty, (0.0,) * count, 0.0)
    bins = feature.bins(column, levels)
    bads, rows = (np.bincount(bins[of], minlength=count) for of in (bad, slice(None)))
    goods = rows - bads
    weights = weights_of_evidence(goods, bads)
    if rows[-1] < LEAST_SEEN:
        weights[-1] = 0.0
        # Of the rows that have the feature.
        value = information_value(goods[:-1], bads[:-1])
    else:
        value = information_value(goods, bads)
    return replace(
        feature,
        goods=tuple(int(one) for one in goods),
        bads=tuple(int(one) for one in bads),
        weights=tuple(float(one) for one in weights),
        information_value=value,
    )


def _against(feature: CardFeature, direction: int) -> int | None:
    """The place of an edge where the bad rate goes against the direction, or does not change at all: with more rows
    than were searched it may.
    """
    import numpy as np

    weights = np.asarray(feature.weights[:-1])
    rows = (np.asarray(feature.goods) + np.asarray(feature.bads))[:-1]
    steps = np.diff(weights) * (-direction if direction else 1)
    wrong = (steps <= 0) if direction else (steps == 0)
    wrong |= (rows[:-1] == 0) | (rows[1:] == 0)
    return int(np.argmax(wrong)) if wrong.any() else None


# Adding up


def _added_up(
    features: Sequence[CardFeature], codes: Mapping[str, NDArray[np.uint8]], bad: NDArray[np.bool_], ridge: float
) -> Card:
    """The regression of those whose coefficients have the right sign: the one that is furthest on the wrong side, by
    its standard error, is left out first.
    """
    import numpy as np

    from credit_assets.ml.evidence.weights import logistic_regression

    kept, left_out = list(features), []
    while True:
        line = logistic_regression(_designs(kept, codes, bad), float(bad.mean()), ridge)
        coefficients, errors = -line.coefficients, line.errors
        if not kept or coefficients[:-1].min() > 0:
            break
        worst = int(np.argmin(coefficients[:-1] / errors[:-1]))
        left_out.append(
            LeftOutFeature(
                kept.pop(worst).name,
                f"its coefficient {coefficients[worst]:+.3f} (standard error {errors[worst]:.3f}) has the wrong sign "
                "beside the other features",
            )
        )
    fitted = [
        replace(one, coefficient=float(coefficient), standard_error=float(error))
        for one, coefficient, error in zip(kept, coefficients[:-1], errors[:-1], strict=True)
    ]
    return Card(float(coefficients[-1]), tuple(fitted), tuple(left_out))


def _designs(features: Sequence[CardFeature], codes: Mapping[str, NDArray[np.uint8]], bad: NDArray[np.bool_]) -> Blocks:
    """The weights of all rows in pieces, so that no more than a piece is there as numbers."""
    import numpy as np

    tables = [(one.name, np.asarray(one.weights)) for one in features]

    def blocks() -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        for begin in range(0, len(bad), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            design = np.ones((len(bad[part]), len(tables) + 1))
            for place, (name, table) in enumerate(tables):
                design[:, place] = table[codes[name][part]]
            yield design, bad[part]

    return blocks


def _log_loss(margin: NDArray[np.float64], target: NDArray[np.float32]) -> float:
    import numpy as np

    return float((np.logaddexp(0.0, margin) - target * margin).mean())
