"""Calibration: from a learner's margin to a probability that means what it says.

Belongs here: the shapes of the map, fitting and applying them. Does not belong here: which of them a model gets
(`calibration_choice`), and judging it (`evaluation`).

Four shapes, the simplest first: none; Platt's line through the log-odds, two parameters; beta, three; isotonic, any
rising one. All of them rise strictly, so that calibration changes neither AUC nor KS. Isotonic regression by itself
does not: it makes plateaus on which applicants of different risk get one PD, with a PD of exactly 0 at the safe end,
and lost .012 of AUC at 40 bads. Here its blocks are joined by lines between their centres.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from credit_assets.ml.data.log_odds import probability

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Method = Literal["none", "platt", "beta", "isotonic"]
MIN_SLOPE = 0.01
"""Smallest slope: below it the margin says nothing about the validation rows, but it must not be turned round."""
MAX_LOG_ODDS = 30.0
"""Bound of the calibrated log-odds: a PD of 1e-13 is further than any data reach, and stays between 0 and 1."""

_STEPS = 100
_TOLERANCE = 1e-10


class Calibration(ABC):
    """A strictly rising map from margins to log-odds of default, held within +-MAX_LOG_ODDS."""

    method: ClassVar[Method]

    def log_odds(self, margin: ArrayLike) -> NDArray[np.float64]:
        """Calibrated log-odds of default, natural logarithm, in the shape of `margin`."""
        return np.clip(self._map(np.asarray(margin, dtype=np.float64)), -MAX_LOG_ODDS, MAX_LOG_ODDS)

    def pd(self, margin: ArrayLike) -> NDArray[np.float64]:
        """Probability of default, strictly between 0 and 1."""
        return probability(self.log_odds(margin))

    @property
    def line(self) -> tuple[float, float] | None:
        """Slope and intercept, where the map is a line through the log-odds."""
        return None

    @abstractmethod
    def then(self, slope: float, intercept: float) -> Calibration:
        """This map with a line after it: slope * log-odds + intercept."""

    @abstractmethod
    def _map(self, margin: NDArray[np.float64]) -> NDArray[np.float64]: ...

    def to_record(self) -> dict[str, Any]:
        return {"method": self.method, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class NoCalibration(Calibration):
    """The margin as it is."""

    method = "none"

    @property
    def line(self) -> tuple[float, float] | None:
        return 1.0, 0.0

    def then(self, slope: float, intercept: float) -> Calibration:
        return PlattCalibration(slope, intercept)

    def _map(self, margin: NDArray[np.float64]) -> NDArray[np.float64]:
        return margin


@dataclass(frozen=True)
class PlattCalibration(Calibration):
    """Calibrated log-odds of default = slope * margin + intercept; slope is positive.

    Slope 1 and intercept 0 leave the margin as it is. With slope 0.5 and intercept -1, a margin of 2 has log-odds 0
    and a PD of 0.5.
    """

    method = "platt"
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope > 0):
            raise ValueError(
                f"a calibration needs a finite positive slope and a finite intercept, not {self.slope} and "
                f"{self.intercept}"
            )

    @property
    def line(self) -> tuple[float, float] | None:
        return self.slope, self.intercept

    def then(self, slope: float, intercept: float) -> PlattCalibration:
        return PlattCalibration(slope * self.slope, slope * self.intercept + intercept)

    def _map(self, margin: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.slope * margin + self.intercept

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> PlattCalibration:
        """Restore what `to_record` gave. Raises ValueError for another method or other keys."""
        if set(record) != {"method", "slope", "intercept"} or record["method"] != "platt":
            raise ValueError(f"not the record of a Platt calibration: {dict(record)}")
        return cls(float(record["slope"]), float(record["intercept"]))


@dataclass(frozen=True)
class BetaCalibration(Calibration):
    """Calibrated log-odds = a ln p - b ln(1 - p) + c, where p is the probability of the margin; a and b are positive.

    With a = b it is Platt's line of slope a. Source: M. Kull, T. Silva Filho, P. Flach, AISTATS 2017.
    """

    method = "beta"
    a: float
    b: float
    c: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.c) and 0 < self.a < math.inf and 0 < self.b < math.inf):
            given = f"{self.a}, {self.b} and {self.c}"
            raise ValueError(f"a beta calibration needs positive a and b and a finite c, not {given}")

    def then(self, slope: float, intercept: float) -> BetaCalibration:
        return BetaCalibration(slope * self.a, slope * self.b, slope * self.c + intercept)

    def _map(self, margin: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.a * -np.logaddexp(0.0, -margin) + self.b * np.logaddexp(0.0, margin) + self.c


@dataclass(frozen=True)
class IsotonicCalibration(Calibration):
    """Calibrated log-odds `values` at margins `knots`, both strictly rising, with lines between them; outside they rise
    by `outside`.

    The knots are the centres of the blocks of an isotonic regression. Source of the lines between them: A. Oron,
    N. Flournoy, Centered isotonic regression, Statistics in Biopharmaceutical Research 9, 2017.
    """

    method = "isotonic"
    knots: tuple[float, ...]
    values: tuple[float, ...]
    outside: float = MIN_SLOPE

    def __post_init__(self) -> None:
        given = np.array([self.knots, self.values], dtype=np.float64)
        if (
            not 0 < self.outside < math.inf
            or given.shape[1] == 0
            or not np.isfinite(given).all()
            or not (np.diff(given) > 0).all()
        ):
            raise ValueError("an isotonic calibration needs knots and values, as many of each, strictly rising")

    def then(self, slope: float, intercept: float) -> IsotonicCalibration:
        values = tuple(slope * value + intercept for value in self.values)
        return IsotonicCalibration(self.knots, values, slope * self.outside)

    def _map(self, margin: NDArray[np.float64]) -> NDArray[np.float64]:
        outside = margin - np.clip(margin, self.knots[0], self.knots[-1])
        return np.interp(margin, self.knots, self.values) + self.outside * outside


def calibration_of(record: Mapping[str, Any]) -> Calibration:
    """What `to_record` gave. Raises ValueError for an unknown method or other keys."""
    given = {name: value for name, value in record.items() if name != "method"}
    try:
        if record["method"] == "platt":
            return PlattCalibration.from_record(record)
        if record["method"] == "beta":
            return BetaCalibration(**{name: float(value) for name, value in given.items()})
        if record["method"] == "isotonic":
            knots, values = (tuple(map(float, given.pop(name))) for name in ("knots", "values"))
            return IsotonicCalibration(knots, values, **{name: float(value) for name, value in given.items()})
        if record["method"] == "none" and not given:
            return NoCalibration()
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the record of a calibration: {dict(record)}") from error
    raise ValueError(f"not the record of a calibration: {dict(record)}")


def fit_platt(margin: ArrayLike, y: ArrayLike) -> PlattCalibration:
    """The slope and intercept of largest likelihood for margins and their outcomes (1-d, equal length; y is 0 or 1).

    Targets are drawn in as Platt does, to (bads + 1) / (bads + 2) and 1 / (goods + 2): margins that separate the rows
    entirely still give a finite slope. Where the best slope lies below MIN_SLOPE (the margin ranks these rows no
    better than chance, or the wrong way), it is set to MIN_SLOPE and the intercept alone is fitted, so that the mean
    PD still meets the bad rate.

    Source: J. Platt, Probabilistic outputs for support vector machines, 1999, with the damped Newton iteration of
    H.-T. Lin, C.-J. Lin, R. C. Weng, A note on Platt's probabilistic outputs, Machine Learning 68, 2007.
    Raises ValueError for empty or unequal input, a margin that is not finite, or a target of one class.
    """
    margins, _, drawn_in = _checked(margin, y)
    # Centred and scaled: margins far from zero would make slope and intercept nearly one direction.
    centre, scale = float(margins.mean()), float(margins.std())
    if scale < 1e-12 * max(1.0, abs(centre)):
        return _with_slope(margins, drawn_in, MIN_SLOPE)
    standard = (margins - centre) / scale
    slope, intercept = _newton(np.column_stack([standard, np.ones_like(standard)]), np.zeros_like(standard), drawn_in)
    if slope / scale < MIN_SLOPE:
        return _with_slope(margins, drawn_in, MIN_SLOPE)
    return PlattCalibration(float(slope / scale), float(intercept - slope * centre / scale))


def fit_beta(margin: ArrayLike, y: ArrayLike) -> BetaCalibration:
    """The three parameters of largest likelihood, of targets drawn in as `fit_platt` does. One that would be below
    MIN_SLOPE is held there and the rest fitted. Raises as `fit_platt`.
    """
    margins, _, drawn_in = _checked(margin, y)
    parts = np.column_stack([-np.logaddexp(0.0, -margins), np.logaddexp(0.0, margins)])
    held: dict[int, float] = {}
    while True:
        free = [place for place in (0, 1) if place not in held]
        offset = sum((parts[:, place] * value for place, value in held.items()), np.zeros_like(margins))
        centre = parts[:, free].mean(axis=0)
        scale = parts[:, free].std(axis=0)
        flat = scale < 1e-12 * np.maximum(1.0, np.abs(centre))
        if flat.any():
            held |= {place: MIN_SLOPE for place, none in zip(free, flat, strict=True) if none}
            continue
        design = np.column_stack([(parts[:, free] - centre) / scale, np.ones_like(margins)])
        *slopes, intercept = _newton(design, offset, drawn_in)
        found = np.array(slopes) / scale if free else np.empty(0)
        if (found >= MIN_SLOPE).all():
            a, b = (held[place] if place in held else float(found[free.index(place)]) for place in (0, 1))
            return BetaCalibration(a, b, float(intercept - found @ centre))
        held[free[int(np.argmin(found))]] = MIN_SLOPE


def fit_isotonic(margin: ArrayLike, y: ArrayLike) -> IsotonicCalibration:
    """The isotonic regression of the outcomes on the margins, by pooling adjacent violators, with a knot at the centre
    of each block. A block without bads (or goods) has half a one, so that no PD is 0 or 1. Raises as `fit_platt`.
    """
    margins, target, _ = _checked(margin, y)
    # Bads first among equal margins: they are pooled with the goods there, and no margin lies in two blocks.
    order = np.lexsort((-target, margins))
    margins, target = margins[order], target[order]
    # A block begins with a bad after a good at the latest; before, it would be pooled anyway.
    begins = np.r_[0, np.flatnonzero((target[1:] == 1) & (target[:-1] == 0)) + 1]
    sizes = np.diff(np.r_[begins, len(target)])
    blocks: list[tuple[float, float, float]] = []
    for one in zip(sizes, np.add.reduceat(target, begins), np.add.reduceat(margins, begins), strict=True):
        block = (float(one[0]), float(one[1]), float(one[2]))
        while blocks and blocks[-1][1] * block[0] >= block[1] * blocks[-1][0]:
            block = _pooled(blocks.pop(), block)
        blocks.append(block)
    while len(blocks) > 1 and _rate(blocks[0]) >= _rate(blocks[1]):
        blocks[:2] = [_pooled(blocks[0], blocks[1])]
    while len(blocks) > 1 and _rate(blocks[-1]) <= _rate(blocks[-2]):
        blocks[-2:] = [_pooled(blocks[-2], blocks[-1])]
    rates = [_rate(block) for block in blocks]
    return IsotonicCalibration(
        tuple(total / rows for rows, _, total in blocks), tuple(math.log(rate / (1 - rate)) for rate in rates)
    )


def _pooled(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _rate(block: tuple[float, float, float]) -> float:
    rows, bads, _ = block
    return bads / rows if 0 < bads < rows else (bads + 0.5) / (rows + 1)


FITS: Mapping[Method, Callable[[ArrayLike, ArrayLike], Calibration]] = {
    "none": lambda _margin, _y: NoCalibration(),
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}
"""How each shape is fitted, the simplest first."""


def _checked(margin: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Margins, targets, and the targets drawn in."""
    margins, target = np.asarray(margin, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if margins.ndim != 1 or margins.shape != target.shape:
        raise ValueError(f"margins and targets must be one-dimensional and of equal length, not {margins.shape} and "
                         f"{target.shape}")  # fmt: skip
    if set(np.unique(target)) != {0.0, 1.0}:
        raise ValueError("calibration needs at least one good (0) and one bad (1) in the validation rows")
    if not np.isfinite(margins).all():
        raise ValueError(f"{int((~np.isfinite(margins)).sum())} margins are not finite")
    bads = float(target.sum())
    goods = len(target) - bads
    return margins, target, np.where(target == 1, (bads + 1) / (bads + 2), 1 / (goods + 2))


def _with_slope(margins: NDArray[np.float64], target: NDArray[np.float64], slope: float) -> PlattCalibration:
    (intercept,) = _newton(np.ones((len(margins), 1)), slope * margins, target)
    return PlattCalibration(slope, float(intercept))


def _newton(
    design: NDArray[np.float64], offset: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients of the logistic regression of `target` (in 0 .. 1) on `design`, with a fixed offset."""
    coefficients = np.zeros(design.shape[1])
    rate = target.mean()
    coefficients[-1] = math.log(rate / (1 - rate)) - float(offset.mean())
    loss = _loss(design @ coefficients + offset, target)
    for _ in range(_STEPS):
        p = probability(design @ coefficients + offset)
        gradient = design.T @ (p - target)
        # The ridge only keeps the matrix invertible where all probabilities are near 0 or 1.
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(design.shape[1])
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while size > 1e-10:
            trial = coefficients - size * step
            trial_loss = _loss(design @ trial + offset, target)
            # A sufficient decrease, as Armijo asks for.
            if trial_loss <= loss - 1e-4 * size * float(gradient @ step):
                break
            size /= 2
        else:
            break
        coefficients, decrease, loss = trial, loss - trial_loss, trial_loss
        if decrease <= _TOLERANCE * max(1.0, abs(loss)) * 1e-3:
            break
    return coefficients


def _loss(log_odds: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Sum of the log losses, from log-odds: log(1 + exp(z)) - target * z."""
    return float((np.logaddexp(0.0, log_odds) - target * log_odds).sum())
