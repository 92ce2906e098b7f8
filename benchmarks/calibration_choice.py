"""Which shape of calibration is chosen where the truth is known, and what the choice costs.

`python -m benchmarks.calibration_choice [BOOKS]` prints the table of docs/calibration.md.

Belongs here: truths that are known, and how the choice does on them. Does not belong here: the choice itself
(`credit_assets.ml.learners.calibration_choice`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import numpy as np

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.learners.calibration import FITS
from credit_assets.ml.learners.calibration_choice import choose

Map = Callable[[np.ndarray], np.ndarray]
TRUTHS: Mapping[str, Map] = {
    "none": lambda margin: margin,
    "platt": lambda margin: 0.7 * margin - 0.2,
    "beta": lambda margin: -1.6 * np.logaddexp(0, -margin) + 0.3 * np.logaddexp(0, margin) + 0.9,
    "step": lambda margin: np.where(margin < -2.2, -3.2, np.where(margin < -1.2, -2.0, -0.7)),
}
"""True log-odds of a margin. Margins have a mean of -2.4 and a standard deviation of 1."""
BADS = (40, 100, 200, 400, 2_000)
_TESTED = 20_000


def row(truth: str, bads: int, books: int) -> str:
    rng, of = np.random.default_rng(1), TRUTHS[truth]
    tested = rng.normal(-2.4, 1.0, _TESTED)
    p = probability(of(tested))
    least = float(-(p * np.log(p) + (1 - p) * np.log1p(-p)).mean())
    rows, picks = int(bads / p.mean()), dict.fromkeys(FITS, 0)
    lost: dict[str, list[float]] = {name: [] for name in (*FITS, "chosen")}
    for _ in range(books):
        margin = rng.normal(-2.4, 1.0, rows)
        y = (rng.random(rows) < probability(of(margin))).astype(float)
        choice = choose(margin, y)
        picks[choice.method] += 1  # type: ignore[index]
        found = {name: fit(margin, y) for name, fit in FITS.items()} | {"chosen": choice.calibration}
        for name, calibration in found.items():
            log_odds = calibration.log_odds(tested)
            lost[str(name)].append(float((np.logaddexp(0, log_odds) - p * log_odds).mean()) - least)
    shares = " | ".join(f"{picks[name] / books:.0%}" for name in FITS)
    costs = " | ".join(f"{1e4 * float(np.mean(lost[str(name)])):.0f}" for name in (*FITS, "chosen"))
    return f"| {truth}, {bads:,} | {shares} | {costs} |"


def main(books: int) -> None:
    names = " | ".join(FITS)
    print(f"| truth, bads | {names} | {names} | chosen |")
    print("|---|" + "---:|" * (2 * len(FITS) + 1))
    for truth in TRUTHS:
        for bads in BADS:
            # The larger the book, the less it varies.
            print(row(truth, bads, max(10, books * 40 // max(40, bads))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
