"""How often comparisons promote by chance, and what they find, by how the level of a year is spent on them.

Belongs here: years of comparisons as normal numbers, of hundreds of books at once, so that schedules and ways to spend
can be told apart in seconds. The spending is that of `ml.rules.levels`. Does not belong here: the rule itself on rows
and models (`decision_rates`), which is the slower and the truer measure.

`python -m benchmarks.savings [BOOKS]` prints the tables of docs/promotion.md. A model is the direction of its error
among NOISE features; what a day's loans say of such directions is a normal vector, so that the difference of two models
on a span of days, in standard errors, is the sum of its days along the difference of their directions. Spans and models
overlap from day to day as those of the pipeline do.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from benchmarks.decision_rates import LEARNERS, LOOKBACK, NOISE, SEASON, SHARED, TEST, VALIDATION
from benchmarks.decision_tables import SCHEDULES
from credit_assets.ml.data.policies import ComparisonPolicy
from credit_assets.ml.rules.levels import YEAR, days_of, share_spent, spent_level

ALPHA = ComparisonPolicy().alpha
GAINS = (1.0, 1.75, 2.75, 3.5)
"""In standard errors of the test: +.019 lies 2.75 to 3.1 above zero at 400 bads where scores correlate at 0.9, 1.4 to
1.5 at 100, and 1.7 at 400 bads where errors are independent."""
WITHIN = (30, 90, 364)
Spending = Callable[[float], float]
WAYS: dict[str, Spending] = {"all": lambda _: 1.0, "by the validation": share_spent}


@dataclass(frozen=True)
class World:
    """`chance` of one training beside that of its days; `season`: what a direction is worth for SEASON days, in
    standard errors of a test; `optimism`: standard errors by which every model looks better on its validation rows.
    """

    chance: float = 0.3
    season: float = 0.0
    optimism: float = 0.0


WORLDS = {
    "models alike": World(),
    "models independent": World(chance=20.0),
    "validation too good by a standard error": World(optimism=1.0),
    "worth that changes by the month": World(season=0.5),
}


class Books:
    """Two years of many books: in the second, if in any, every model is better than the champion."""

    def __init__(self, count: int, world: World = World(), seed: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.count, self.days, self.world = count, 2 * YEAR, world
        said = rng.normal(size=(self.days + VALIDATION + TEST, count, NOISE))
        if world.season:
            lasting = rng.normal(size=(len(said) // SEASON + 1, count, NOISE)) * world.season / math.sqrt(TEST)
            said += np.repeat(lasting, SEASON, axis=0)[: len(said)]
        self.said = np.concatenate([np.zeros((1, count, NOISE)), said.cumsum(axis=0)])
        trained = LOOKBACK - TEST
        daily = math.sqrt(SHARED) * rng.normal(size=(self.days + trained, count, 1, NOISE))
        daily = daily + math.sqrt(1 - SHARED) * rng.normal(size=(self.days + trained, count, LEARNERS, NOISE))
        sums = daily.cumsum(axis=0)
        made = (sums[trained:] - sums[:-trained]) / math.sqrt(trained)
        made += world.chance * rng.normal(size=made.shape)
        self.models = made / np.linalg.norm(made, axis=3, keepdims=True)

    def lived(self, every: int, spending: Spending, gain: float = 0.0) -> tuple[float, float, list[float]]:
        """Promotions and level spent in the second year, and how soon the better model was taken: share of books at the
        first comparison, and within so many days.
        """
        books, better = np.arange(self.count), -(-YEAR // every) * every if gain else self.days
        champion, champion_day = self.models[0][:, 0], np.zeros(self.count, int)
        savings, share = np.zeros(self.count), np.vectorize(spending, otypes=[float])
        taken, promotions, spent = np.full(self.count, np.inf), 0, 0.0
        for day in range(every, self.days, every):
            chosen_on = self.said[day + VALIDATION] - self.said[day]
            tested = self.said[day + VALIDATION + TEST] - self.said[day + VALIDATION]
            best = np.einsum("bln,bn->bl", self.models[day], chosen_on).argmax(axis=1)
            candidate = self.models[day][books, best]
            apart = candidate - champion
            apart /= np.linalg.norm(apart, axis=1, keepdims=True) + 1e-12
            now = gain if day >= better else 0.0
            # Validation rows that the champion has not seen.
            first = np.clip(champion_day + VALIDATION, day, day + VALIDATION)
            rows = day + VALIDATION - first
            ahead = np.einsum("bn,bn->b", apart, self.said[day + VALIDATION] - self.said[first, books])
            lead = ahead / np.sqrt(np.maximum(rows, 1)) + now * np.sqrt(rows / TEST) + self.world.optimism
            savings = np.minimum(savings + every, YEAR)
            days = savings * np.where(rows > 0, share(lead), spending(0.0))
            savings = savings - days
            level = spent_level(ALPHA, 1.0) * days
            shown = np.einsum("bn,bn->b", apart, tested) / math.sqrt(TEST) + now
            takes = (days > 0) & (shown > -ndtri(np.maximum(level, 1e-12)))
            if day >= better:
                taken = np.where(takes & np.isinf(taken), day - better, taken)
                continue
            if day >= YEAR:
                promotions, spent = promotions + int(takes.sum()), spent + float(level.sum())
            champion = np.where(takes[:, None], candidate, champion)
            champion_day = np.where(takes, day, champion_day)
        soon = [float((taken < every).mean()), *(float((taken <= most).mean()) for most in WITHIN)]
        return promotions / self.count, spent / self.count, soon


def chance(count: int) -> Iterator[str]:
    yield f"| models, {count} books | trained | level spent | {' | '.join(f'spending {way}' for way in WAYS)} |"
    yield "|---|---|---:|" + "---:|" * len(WAYS)
    for name, world in WORLDS.items():
        books = Books(count, world)
        for every, schedule in SCHEDULES.items():
            found = [books.lived(every, spending) for spending in WAYS.values()]
            yield f"| {name} | {schedule} | {found[-1][1]:.3f} | {' | '.join(f'{one[0]:.3f}' for one in found)} |"


def power(count: int) -> Iterator[str]:
    books = Books(count)
    yield f"| trained | spending | {' | '.join(f'{gain:g} standard errors better' for gain in GAINS)} |"
    yield "|---|---|" + "---:|" * len(GAINS)
    for every, schedule in SCHEDULES.items():
        for way, spending in WAYS.items():
            found = [books.lived(every, spending, gain)[2] for gain in GAINS]
            cells = " | ".join(", ".join(f"{share:.0%}" for share in soon) for soon in found)
            yield f"| {schedule} | {way} | {cells} |"


FIRST_LEVEL = ComparisonPolicy().first_level
ATTEMPTS = (1, 2, 3, 6)
FIRST_MODELS = ((0.50, 20, 0.0), (0.60, 20, 1.5), (0.66, 20, 2.5), (0.60, 50, 2.4), (0.66, 50, 4.1))
"""True AUC, bads of a test, and how many standard errors above a half that is."""
FIRST_RULES: dict[str, Spending] = {
    "spending all": lambda saved: saved,
    "spending its level": lambda saved: np.minimum(saved, days_of(ALPHA, FIRST_LEVEL)),
}


def first_models(count: int) -> Iterator[str]:
    """Share of books that have a first champion after so many attempts, and within a year, by what one that fails has
    spent. A test is a normal number beside the quantile of Student's t; those of less than TEST days apart share rows.
    """
    named = " | ".join(f"attempt {number}" for number in ATTEMPTS)
    yield f"| true AUC, {count} books | bads | trained | a failed one | {named} | within a year |"
    yield "|---|---:|---|---|" + "---:|" * (len(ATTEMPTS) + 1)
    for auc, bads, gain in FIRST_MODELS:
        rng = np.random.default_rng(bads)
        sums = (rng.normal(size=(YEAR + TEST, count)) + gain / math.sqrt(TEST)).cumsum(axis=0)
        tests = (sums[TEST:] - sums[:-TEST]) / math.sqrt(TEST)
        for every, schedule in SCHEDULES.items():
            for name, spending in FIRST_RULES.items():
                cells = " | ".join(f"{share:.1%}" for share in _passed(tests[::every], every, spending, bads - 1))
                yield f"| {auc:.2f} | {bads} | {schedule} | {name} | {cells} |"


def _passed(tests: np.ndarray, every: int, spending: Spending, freedom: int) -> list[float]:
    saved, taken = float(YEAR), np.full(tests.shape[1], np.inf)
    for attempt, test in enumerate(tests, 1):
        level = min(FIRST_LEVEL, spent_level(ALPHA, saved))
        taken = np.minimum(taken, np.where(test > -stdtrit(freedom, level), attempt, np.inf))
        saved = min(YEAR, saved - spending(saved) + every)
    return [float((taken <= most).mean()) for most in (*ATTEMPTS, len(tests))]


if __name__ == "__main__":
    asked = int(sys.argv[1]) if sys.argv[1:] else 400
    for line in (*chance(asked), "", *power(asked), "", *first_models(10 * asked)):
        print(line, flush=True)
