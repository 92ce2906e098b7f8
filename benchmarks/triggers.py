"""How often the triggers on performance fire where nothing has changed, and what they find of what has.

Run: `python -m benchmarks.triggers [--champions N] [--only null|auc|level]`, which prints the tables of
docs/monitoring.md.

Belongs here: books whose truth is known, and the rules of the pipeline on daily reports of them. A book's margin says
all there is to know of a loan; the champion is its calibration, fitted and tested on 90 days, and the reports are
counted in bins of the margin, so that a year of looks costs milliseconds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.policies import PerformancePolicy
from credit_assets.ml.evidence.baseline import JudgedRows, measure_baseline
from credit_assets.ml.learners.calibration import fit_platt
from credit_assets.ml.rules.performance_rules import level_is_off, ranks_worse

Counts = NDArray[np.float64]
LIMITS, COHORT, BINS = PerformancePolicy(), 90, 200
# Days of a training set of 90: those of the validation and of the test.
VALIDATION, TEST = 18, 22
# On as many of the last days, as by the default settings.
NEEDED, AMONG = 3, 5
RULES = {"estimated": ranks_worse, "realised": ranks_worse, "level": level_is_off}
SIZES, LEVELS = (20, 60, 120, 400), (0.5, 0.7, 0.8, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class Book:
    """Loans a day, their default rate, and the standard deviation of their log-odds."""

    a_day: int
    rate: float = 0.10
    sd: float = 0.6

    @property
    def centre(self) -> float:
        """The mean log-odds, by bisection."""
        low, high = -9.0, 3.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if probability(middle + self.sd * _NORMAL).mean() > self.rate else (middle, high)
        return low

    def auc(self, spread: float = 1.0, meaning: float = 1.0) -> float:
        """Where margins lie `spread` times as far apart, and mean `meaning` times as much."""
        p = probability(self.centre + meaning * spread * self.sd * _NORMAL)
        return float((p * ((1 - p).cumsum() - (1 - p) / 2)).sum() / (p.sum() * (1 - p).sum()))


@dataclass(frozen=True)
class World:
    """How the margins lie, and what they mean: as they did, unless said."""

    spread: float = 1.0
    meaning: float = 1.0
    shift: float = 0.0


_NORMAL = np.sort(np.random.default_rng(5).normal(0, 1, 60_000))


class Champion:
    """A calibration of the book's margin, with its baseline, and a life of daily reports."""

    def __init__(self, book: Book, seed: Sequence[int]) -> None:
        self.rng, self.book, self.centre = np.random.default_rng(seed), book, book.centre
        while True:
            margin, y = self.loans(VALIDATION)
            tested, outcome = self.loans(TEST)
            if min(y.sum(), outcome.sum()) >= 2:
                self.calibration = fit_platt(margin, y)
                fitted = JudgedRows(y, self.calibration.pd(margin))
                baseline = measure_baseline(fitted, JudgedRows(outcome, self.calibration.pd(tested)))
                # What a first model has to show.
                if baseline.auc - 1.645 * baseline.auc_error > 0.5:
                    break
        self.baseline = baseline.to_record()

    def loans(self, days: int, world: World = World()) -> tuple[Counts, NDArray[np.int64]]:
        rows = self.rng.poisson(self.book.a_day * days)
        margin = self.rng.normal(self.centre, world.spread * self.book.sd, rows)
        risk = probability(self.centre + world.meaning * (margin - self.centre) + world.shift)
        return margin, (self.rng.random(rows) < risk).astype(np.int64)

    def life(self, days: int, change: World = World(), since: int = 0) -> Iterator[dict[str, Any]]:
        """The report of each day: of the loans of the last 90, which count as the newest and as matured alike."""
        edges = self.centre + self.book.sd * _NORMAL[np.linspace(0, len(_NORMAL) - 1, BINS + 1).astype(int)[1:-1]]
        p = self.calibration.pd(np.r_[edges[0], (edges[1:] + edges[:-1]) / 2, edges[-1]])
        counts = np.zeros((2, days, BINS))
        for first, last, world in ((0, since, World()), (since, days, change)):
            margin, y = self.loans(last - first, world)
            made = self.rng.integers(first, max(last, first + 1), len(y))
            np.add.at(counts, (y, made, np.searchsorted(edges, margin)), 1)
        total = np.concatenate([np.zeros((2, 1, BINS)), counts.cumsum(axis=1)], axis=1)
        for day in range(1, days + 1):
            goods, bads = total[:, day] - total[:, max(0, day - COHORT)]
            yield self.report(goods, bads, p)

    def report(self, goods: Counts, bads: Counts, p: Counts) -> dict[str, Any]:
        rows, expected = goods + bads, float((goods + bads) @ p)
        since, newest = None, None
        if min(goods.sum(), bads.sum()) >= 2:
            auc, error = _auc(bads, goods)
            level = math.sqrt(float(rows @ (p * (1 - p)))) / expected
            since = {"evaluation": {"auc": auc}, "auc_error": error, "bads": int(bads.sum()), "expected": expected}
            since |= {"observed_over_expected": {"value": bads.sum() / expected}, "level_error": level}
            since |= {"from": "", "to": ""}
            newest = {"rows": int(rows.sum()), "expected_rate": expected / rows.sum(), **_estimate(rows, p)}
        head = {"champion": "1", "registered": {"auc": self.baseline["auc"], "baseline": self.baseline}}
        return {**head, "since_training": since, "estimated": {"versions": {"1": newest}}}


def _auc(bads: Counts, goods: Counts) -> tuple[float, float]:
    """AUC and DeLong's standard error."""
    b, g = bads.sum(), goods.sum()
    below, above = (goods.cumsum() - goods / 2) / g, (b - bads.cumsum() + bads / 2) / b
    auc = float(bads @ below / b)
    variance = bads @ (below - auc) ** 2 / (b - 1) / b + goods @ (above - auc) ** 2 / (g - 1) / g
    return auc, math.sqrt(variance)


def _estimate(rows: Counts, p: Counts) -> dict[str, float]:
    """As `performance.estimate`, without the uncertainty of the calibration, which only the floor asks for."""
    bads, goods = rows * p, rows * (1 - p)
    b, g = bads.sum(), goods.sum()
    below, above = goods.cumsum() - goods / 2, b - bads.cumsum() + bads / 2
    auc = float(bads @ below / (b * g))
    part = (p * below + (1 - p) * above - auc * (p * g + (1 - p) * b)) / (b * g)
    chance = (below - above - auc * (g - b)) / (b * g)
    drawn, error = float(rows @ part**2), float(rows @ (p * (1 - p) * chance**2))
    return {"auc": auc, "auc_drawn": math.sqrt(drawn), "auc_error": math.sqrt(error + drawn)}


def as_if_exact(report: dict[str, Any], *_: Any) -> bool:
    """The comparison of before: the estimate's interval of outcomes against the test's AUC, as if that were exact."""
    one, test = report["estimated"]["versions"]["1"], report["registered"]["auc"]
    if one is None or one["rows"] * one["expected_rate"] < LIMITS.min_bads:
        return False
    error = math.sqrt(max(0.0, one["auc_error"] ** 2 - one["auc_drawn"] ** 2))
    return bool(one["auc"] + 1.96 * error < max(LIMITS.floor, test - LIMITS.margin))


def fired(
    champion: Champion, what: Sequence[str], days: int, change: World = World(), since: int = 0
) -> dict[str, Any]:
    """The day on which each condition was met on enough of the last days; None where it never was."""
    met: dict[str, list[bool]] = {name: [] for name in what}
    for report in champion.life(days, change, since):
        for name in what:
            if name == "before":
                met[name].append(as_if_exact(report))
                continue
            alone = {"estimated": {"since_training": None}, "realised": {"estimated": None}}.get(name, {})
            met[name].append(bool(RULES[name]({**report, **alone}, LIMITS, COHORT).met))
    found: dict[str, Any] = {}
    for name, days_met in met.items():
        counted = np.convolve(days_met, np.ones(AMONG), "full")[: len(days_met)]
        late = np.flatnonzero((counted >= NEEDED) & (np.arange(len(days_met)) >= since))
        found[name] = int(late[0]) - since if len(late) else None
    return found


def _share(found: list[Any]) -> str:
    return f"{np.mean([one is not None for one in found]):.1%}"


def _found(found: list[Any]) -> str:
    """Share, and the median of days; a dash where less than half are found."""
    days = sorted(math.inf if one is None else one for one in found)[len(found) // 2]
    return f"{np.mean([one is not None for one in found]):.0%}, {'-' if days == math.inf else days}"


def null(champions: int) -> Iterator[str]:
    what = ("before", "estimated", "realised", "level")
    yield "| loans a day | default rate, true AUC | before | AUC estimated | AUC realised | O/E |"
    yield "|---:|---|---:|---:|---:|---:|"
    for size in SIZES:
        for rate, sd in ((0.10, 0.6), (0.10, 0.9), (0.04, 0.6)):
            book = Book(size, rate, sd)
            lives = [fired(Champion(book, (1, size, int(100 * sd), n)), what, 365) for n in range(champions)]
            cells = " | ".join(_share([life[name] for life in lives]) for name in what)
            yield f"| {size} | {rate:.0%}, {book.auc():.2f} | {cells} |"


def auc(champions: int) -> Iterator[str]:
    yield "| loans a day | loss of AUC | mix, estimated | meaning, realised |"
    yield "|---:|---:|---:|---:|"
    for size in SIZES:
        for loss in (0.02, 0.05, 0.10):
            book, cells = Book(size), []
            for name, key in (("estimated", "spread"), ("realised", "meaning")):
                world = World(**{key: _less(book, key, loss)})
                lives = [fired(Champion(book, (2, size, n)), [name], 485, world, 120) for n in range(champions)]
                cells.append(_found([life[name] for life in lives]))
            yield f"| {size} | {loss:.2f} | {' | '.join(cells)} |"


def level(champions: int) -> Iterator[str]:
    yield f"| loans a day | O/E {' | '.join(f'{ratio:.2f}' for ratio in LEVELS)} |"
    yield "|---:|" + "---:|" * len(LEVELS)
    for size in SIZES:
        cells = []
        for ratio in LEVELS:
            world = World(shift=_shift(Book(size), ratio))
            lives = [fired(Champion(Book(size), (3, size, n)), ["level"], 485, world, 120) for n in range(champions)]
            cells.append(_found([life["level"] for life in lives]))
        yield f"| {size} | {' | '.join(cells)} |"


def _less(book: Book, key: str, loss: float) -> float:
    """The factor at which the book's AUC is less by so much, by bisection."""
    low, high, wanted = 0.0, 1.0, book.auc() - loss
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if book.auc(**{key: middle}) > wanted else (middle, high)
    return high


def _shift(book: Book, ratio: float) -> float:
    low, high = -3.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        rate = probability(book.centre + middle + book.sd * _NORMAL).mean()
        low, high = (low, middle) if rate > ratio * book.rate else (middle, high)
    return low


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--champions", type=int, default=400)
    parser.add_argument("--only", choices=("null", "auc", "level"))
    given = parser.parse_args()
    for name, table in (("null", null), ("auc", auc), ("level", level)):
        if given.only in (None, name):
            for line in table(given.champions):
                print(line, flush=True)
            print()


if __name__ == "__main__":
    main()
