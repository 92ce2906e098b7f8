"""How often the rules of calibration err: calibrated models refused, and PDs planted wrong that pass.

    python -m benchmarks.calibration_errors

Belongs here: PDs whose truth is known, what is done to them, and the tables of docs/calibration.md. Does not belong
here: any rule. Limits are those of the policy by default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from benchmarks.drift_errors import table
from credit_assets.ml.data.policies import CalibrationPolicy
from credit_assets.ml.evidence.calibration_evidence import measure_calibration
from credit_assets.ml.evidence.evaluation import ece, lift
from credit_assets.ml.rules.calibration_limit import ece_limit
from credit_assets.ml.rules.calibration_rules import judge_calibration

RATES = (0.02, 0.1, 0.3)
SIZES: Mapping[int, tuple[int, int]] = {250: (2_000, 300), 1_000: (1_000, 200), 10_000: (300, 60), 1_000_000: (20, 3)}
"""By rows of the test, on how many tests calibrated models are judged and on how many each fault."""
QUICK: Mapping[int, tuple[int, int]] = {250: (100, 20)}


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
    "/ 5": times(1 / 5),
    "/ 1,000": times(1 / 1_000),
    "0 for all": np.zeros_like,
    "slope .5": slope(0.5),
    "slope 2": slope(2),
    "x 1.1, slope .9": lambda pd: slope(0.9)(times(1.1)(pd)),
}


@cache
def middle_of(rate: float) -> float:
    """The mean of normal log-odds of standard deviation 1 whose mean PD is this."""
    grid, middles = np.linspace(-6, 6, 1_201), np.linspace(-8, 2, 2_001)
    weight = np.exp(-(grid**2) / 2) / np.exp(-(grid**2) / 2).sum()
    means = [weight @ (1 / (1 + np.exp(-middle - grid))) for middle in middles]
    return float(np.interp(rate, means, middles))


def book(rng: np.random.Generator, rows: int, rate: float) -> tuple[Any, Any]:
    """Outcomes with both classes and their true PDs, whose log-odds have a standard deviation of 1."""
    middle = middle_of(rate)
    while True:
        pd = 1 / (1 + np.exp(-middle - rng.standard_normal(rows)))
        y = (rng.random(rows) < pd).astype(float)
        if 0 < y.sum() < rows:
            return y, pd


def refused(y: Any, pd: Any, policy: CalibrationPolicy) -> tuple[bool, bool, bool]:
    """Whether level or slope stand against the PDs, whether the joint test at 5% rejects them, whether the calibration
    error stands against them.
    """
    found = measure_calibration(y, pd).to_record()
    error, deciles = ece(y, pd), [{"rows": one.rows, "mean_pd": one.mean_pd} for one in lift(y, pd)]
    evidence = {"calibration": found, "champion": None, "evaluation": {"ece": error, "lift": deciles}}
    against = {reason.rule for reason in judge_calibration(evidence, policy) if not reason.passed}
    by_error = error > ece_limit(deciles, policy.max_ece)
    return bool(against - {"max_ece"}), found["p_value"] < 0.05, by_error


def main(sizes: Mapping[int, tuple[int, int]] = SIZES) -> list[tuple[str, ...]]:
    """Per size and rate: the shares refused of calibrated models, then of each fault."""
    policy, lines = CalibrationPolicy(), []
    for rows, (sound, planted) in sizes.items():
        for rate in RATES:
            rng = np.random.default_rng([rows, round(1_000 * rate)])
            shares = _shares(rng, rows, rate, lambda pd: pd, sound, policy)
            line = [f"{rows:,}, {rate:.0%}", *(f"{share:.1%}" for share in shares)]
            for fault in FAULTS.values():
                of = _shares(rng, rows, rate, fault, planted, policy)
                line.append(f"{of[0]:.0%} ({of[2]:.0%})")
            lines.append(tuple(line))
            print(" | ".join(line), file=sys.stderr, flush=True)
    return lines


def _shares(
    rng: np.random.Generator, rows: int, rate: float, fault: Callable[[Any], Any], books: int, policy: CalibrationPolicy
) -> Any:
    found = []
    for _ in range(books):
        y, pd = book(rng, rows, rate)
        found.append(refused(y, fault(pd), policy))
    return np.mean(found, axis=0)


def markdown(lines: Sequence[tuple[str, ...]]) -> str:
    heads = ["rows, bad rate", "calibrated: refused", "joint test at 5%", "by ECE", *(f"PDs {name}" for name in FAULTS)]
    return table(heads, lines)


if __name__ == "__main__":
    print(markdown(main()))
