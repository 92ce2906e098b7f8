"""How often the rules of calibration err: sound models refused, and PDs planted wrong that pass.

    python -m benchmarks.calibration_errors [fitted] [sizes] [customers] [champion] [recalibrated] [learners]

Belongs here: models whose calibration is fitted on outcomes as a training fits it, what is done to their PDs, and the
tables of docs/calibration.md. Does not belong here: any rule. Limits are those of the policy by default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.drift_errors import table
from credit_assets.ml.data.policies import CalibrationPolicy
from credit_assets.ml.evidence.calibration_error import CalibrationError
from credit_assets.ml.evidence.calibration_evidence import compare_calibration, measure_calibration
from credit_assets.ml.evidence.evaluation import ece, lift
from credit_assets.ml.evidence.logistic import logistic_line
from credit_assets.ml.learners.calibration import fit_platt
from credit_assets.ml.rules.calibration_rules import BETTER_LEVEL, judge_calibration

RATES = (0.02, 0.1, 0.3)
SIZES: Mapping[int, tuple[int, int]] = {
    20: (1_500, 200),
    50: (1_500, 200),
    200: (600, 60),
    1_000: (150, 20),
    5_000: (30, 3),
}
"""By bads of the validation and as many of the test, how many sound models are judged and how many of each fault."""
QUICK: Mapping[int, tuple[int, int]] = {20: (60, 12)}
UNEQUAL = ((50, 500), (500, 50), (20, 200), (200, 20))
BOOKS = 1_000
_SEVERITY = 0.6
"""Standard deviation of what the rows of one customer have in common beyond their PDs, in log-odds."""


def times(factor: float) -> Callable[[Any], Any]:
    return lambda pd: np.minimum(factor * pd, 0.999)


def slope(of: float) -> Callable[[Any], Any]:
    """PDs whose logistic recalibration has this slope, and the right level."""

    def stretched(pd: Any) -> Any:
        odds = np.log(pd / (1 - pd))
        apart = (odds - odds.mean()) / of
        low, high = -15.0, 10.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if (1 / (1 + np.exp(-middle - apart))).mean() < pd.mean() else (low, middle)
        return 1 / (1 + np.exp(-(low + high) / 2 - apart))

    return stretched


FAULTS: Mapping[str, Callable[[Any], Any]] = {
    "x 2": times(2),
    "x 1.5": times(1.5),
    "/ 1.5": times(1 / 1.5),
    "/ 2": times(1 / 2),
    "/ 5": times(1 / 5),
    "/ 1,000": times(1 / 1_000),
    "0 for all": np.zeros_like,
    "slope .5": slope(0.5),
    "slope 2": slope(2),
    "x 1.1, slope .9": lambda pd: slope(0.9)(times(1.1)(pd)),
}


class Rows(NamedTuple):
    """Outcomes, the margins that a learner gives them, and the customer of each; None where every row is its own."""

    y: Any
    margin: Any
    customers: Any = None


class Model(NamedTuple):
    """The PDs of a fitted model on its validation and test rows."""

    validation: Rows
    test: Rows
    fitted: Any
    pd: Any

    def judged(self, fault: Callable[[Any], Any], *, exact: bool) -> tuple[set[str], Mapping[str, Any], bool]:
        """What stands against the model with this fault, its measures, and whether its ECE does; `exact` where its PDs
        are taken for such.
        """
        test, pd = self.test, fault(self.pd)
        fit = CalibrationError.of(self.validation.y, fault(self.fitted), self.validation.customers)
        found = measure_calibration(test.y, pd, test.customers, None if exact else fit).to_record()
        error, deciles = ece(test.y, pd), [{"rows": one.rows, "mean_pd": one.mean_pd} for one in lift(test.y, pd)]
        evidence = {"calibration": found, "champion": None, "evaluation": {"ece": error, "lift": deciles}}
        against = {one.rule for one in judge_calibration(evidence, CalibrationPolicy()) if not one.passed}
        return against - {"max_ece"}, found, "max_ece" in against


def sound(pd: Any) -> Any:
    return pd


@cache
def middle_of(rate: float) -> float:
    """The mean of normal log-odds of standard deviation 1 whose mean PD is this."""
    grid, middles = np.linspace(-6, 6, 1_201), np.linspace(-8, 2, 2_001)
    weight = np.exp(-(grid**2) / 2) / np.exp(-(grid**2) / 2).sum()
    means = [weight @ (1 / (1 + np.exp(-middle - grid))) for middle in middles]
    return float(np.interp(rate, means, middles))


def book(rng: np.random.Generator, bads: int, rate: float, copies: int = 1) -> Rows:
    """Outcomes with both classes, of about so many bads, and margins that rise with their log-odds; `copies` rows of
    each customer, who have a severity of their own in common.
    """
    rows = round(bads / rate)
    while True:
        if copies == 1:
            odds, customers = middle_of(rate) + rng.standard_normal(rows), None
            y = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)
        else:
            customers = np.arange(rows) // copies
            odds = middle_of(rate) + rng.standard_normal(rows // copies + 1)[customers]
            own = odds + _SEVERITY * rng.standard_normal(rows // copies + 1)[customers]
            y = (rng.random(rows) < 1 / (1 + np.exp(-own))).astype(float)
        if 1 < y.sum() < rows - 1:
            return Rows(y, 1.5 * odds + 0.5, customers)


def model(rng: np.random.Generator, bads: tuple[int, int], rate: float, copies: int = 1) -> Model:
    """A model whose calibration is fitted on validation rows of so many bads, with a test of so many."""
    validation, test = (book(rng, of, rate, copies) for of in bads)
    calibration = fit_platt(validation.margin, validation.y)
    return Model(validation, test, calibration.pd(validation.margin), calibration.pd(test.margin))


def fitted(sizes: Mapping[int, tuple[int, int]] = SIZES) -> str:
    """Per rate and size: the shares refused of sound models, then of each fault."""
    lines = []
    for bads, (books, planted) in sizes.items():
        for rate in RATES:
            rng = np.random.default_rng([bads, round(1_000 * rate)])
            line = [f"{bads:,}, {rate:.0%}", *_shares(rng, (bads, bads), rate, books)]
            for fault in FAULTS.values():
                found = [model(rng, (bads, bads), rate).judged(fault, exact=False) for _ in range(planted)]
                line.append(
                    f"{np.mean([bool(one[0]) for one in found]):.0%} ({np.mean([one[2] for one in found]):.0%})"
                )
            lines.append(_said(line))
    return table(["bads, bad rate", *_SOUND, *(f"PDs {name}" for name in FAULTS)], lines)


_SOUND = ("sound: refused with PDs as exact", "sound: refused", "joint test at 5%", "by ECE")


def _shares(rng: np.random.Generator, bads: tuple[int, int], rate: float, books: int, copies: int = 1) -> list[str]:
    found = []
    for _ in range(books):
        made = model(rng, bads, rate, copies)
        against, measured, by_error = made.judged(sound, exact=False)
        before = made.judged(sound, exact=True)
        found.append((bool(before[0]) or before[2], bool(against), measured["p_value"] < 0.05, by_error))
    return [f"{share:.1%}" for share in np.mean(found, axis=0)]


def sizes(books: int = BOOKS) -> str:
    """Validation and test of different sizes."""
    lines = []
    for rate in RATES:
        for bads in UNEQUAL:
            rng = np.random.default_rng([*bads, round(1_000 * rate)])
            lines.append(_said([f"{bads[0]}, {bads[1]}, {rate:.0%}", *_shares(rng, bads, rate, books)]))
    return table(["bads of validation, of test, bad rate", *_SOUND], lines)


def customers(books: int = BOOKS) -> str:
    """Three rows of each customer, who default together beyond what their PDs say."""
    lines = []
    for rate in RATES:
        for bads in (50, 200):
            rng = np.random.default_rng([bads, round(1_000 * rate), 3])
            lines.append(_said([f"{bads}, {rate:.0%}", *_shares(rng, (bads, bads), rate, books, copies=3)]))
    return table(["bads, bad rate", *_SOUND], lines)


def champion(books: int = BOOKS) -> str:
    """A candidate beside a champion that was fitted on other rows of the same book, by the rule on both alone."""
    lines = []
    for bads in (50, 200, 1_000):
        rng, taken = np.random.default_rng([bads, 7]), np.zeros(4)
        of = max(40, books * 50 // bads)
        for _ in range(of):
            first, second = model(rng, (bads, bads), 0.1), model(rng, (bads, bads), 0.1)
            # The same test rows for both.
            theirs = fit_platt(second.validation.margin, second.validation.y).pd(first.test.margin)
            for at, fault in enumerate((sound, times(1.5), times(2), times(0.5))):
                found = compare_calibration(first.test.y, fault(first.pd), theirs)
                taken[at] += np.exp(found["farther"]["low"]) > CalibrationPolicy().max_loss_to_champion
        lines.append(_said([f"{bads}, 10%", *(f"{one:.1%}" for one in taken / of)]))
    heads = ["bads, bad rate", "both sound: refused", "PDs x 1.5", "PDs x 2", "PDs / 2"]
    return table(heads, lines)


def recalibrated(books: int = 200) -> str:
    """A new calibration by the bads that it is fitted on: how often it is taken on a test of 100, and how far its level
    is off there, the mean of |ln O/E|; where the level stands still, and where it moves by a tenth in 100 bads.
    """
    lines = []
    for ratio in (1.0, 0.7, 0.5):
        for drift in (0.0, 0.1):
            line = [f"{ratio:g}, {drift:g}"]
            for bads in (50, 100, 200, 400):
                rng = np.random.default_rng([bads, round(100 * ratio), round(100 * drift)])
                taken, off = zip(*(_recalibrated(rng, ratio, drift, bads) for _ in range(books)), strict=True)
                line.append(f"{np.mean(taken):.0%}, {np.mean(off):.2f}")
            lines.append(_said(line))
    return table(["champion's O/E, moves by", *(f"{bads} bads" for bads in (50, 100, 200, 400))], lines)


def _recalibrated(rng: np.random.Generator, ratio: float, drift: float, bads: int) -> tuple[bool, float]:
    rows = round((bads + 100) / 0.1)
    odds = middle_of(0.1) + rng.standard_normal(rows)
    # In the order of days: what the test's level is, the older rows fall short of.
    age = np.maximum(0, rows - 1_000 - np.arange(rows)) / 1_000
    y = (rng.random(rows) < 1 / (1 + np.exp(-odds + drift * age))).astype(float)
    old, new = odds - np.log(ratio), slice(rows - 1_000, rows)
    line = logistic_line(y[: rows - 1_000], old[: rows - 1_000], 0.0, slope_free=False)
    assert line is not None
    theirs, ours = (1 / (1 + np.exp(-one[new])) for one in (old, old + line[0]))
    found = compare_calibration(y[new], ours, theirs)
    return found["better_p"] < BETTER_LEVEL, abs(float(np.log((y[new].sum() + 0.5) / (ours.sum() + 0.5))))


def learners(books: int = 60) -> str:
    """Boosters trained, stopped early and calibrated as a training does it, on a book that they learn in part."""
    from benchmarks.calibration_learners import refused_of

    lines = []
    for name in ("lightgbm", "xgboost", "catboost"):
        for bads in (50, 150):
            lines.append(_said([f"{name}, {bads}", *refused_of(name, bads, books)]))
    return table(["learner, bads of validation and of test", *_SOUND[:2]], lines)


def _said(line: list[str]) -> tuple[str, ...]:
    print(" | ".join(line), file=sys.stderr, flush=True)
    return tuple(line)


TABLES: Mapping[str, Callable[[], str]] = {
    "fitted": fitted,
    "sizes": sizes,
    "customers": customers,
    "champion": champion,
    "recalibrated": recalibrated,
    "learners": learners,
}


def main(names: Sequence[str]) -> None:
    for name in names or TABLES:
        print(f"\n{TABLES[name].__doc__}\n\n{TABLES[name]()}")


if __name__ == "__main__":
    main(sys.argv[1:])
