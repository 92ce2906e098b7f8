"""Refreshes on books that stay and books that move, with known truth: how many are taken, what the decisions lose
beside the newest model, and how often a chain ends below where it began.

    python -m benchmarks.moving [BOOKS] [--quick]

Belongs here: three years of monthly comparisons of many books as normal numbers, each judged by the rule itself. Does
not belong here: promotions of models that are trained daily (`savings`, `decision_rates`), any rule, and the one book
that is real (`policies`).

A model is a direction of chance, in which models of one span of days resemble each other, and a true AUC of its own
(standard deviation SPREAD); a span of loans is a normal vector that says of each direction what it seems to be worth.
So two models differ on a test by what they are worth and by chance, the more the less they resemble each other, and
tests that share loans agree as far as they do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from credit_assets.ml.data.policies import ComparisonPolicy
from credit_assets.ml.rules.comparison_rules import judge_comparison, margin_of

AUC, SPREAD, ERROR = 0.68, 0.004, 0.208
"""Of the first model; of the true AUC of models in AUC; and standard error of a difference times the root of the bads,
of models that have nothing in common: .024 at 75 bads, as on the public loans (.012 a month apart)."""
BLOCK, EVERY, YEARS, NOISE, OWN = 10, 3, 3, 6, 0.5
"""Days of a block, blocks between trainings, years, directions, and chance of one training beside that of its days."""
REFRESHES = 12


@dataclass(frozen=True)
class Book:
    """Blocks of train, validation and test, and of the performance window."""

    name: str
    train: int
    validation: int
    test: int
    window: int


BOOKS = (Book("90 days, window 90", 5, 2, 2, 9), Book("730 days, window 365", 40, 15, 18, 36))


@dataclass(frozen=True)
class World:
    """`rate`: AUC a year that a model loses for being older; `jump`: AUC that one loses which has not seen what is so
    since a day of the second half-year; `creep`: AUC by which each model is worse than the champion.
    """

    name: str
    rate: float = 0.0
    jump: float = 0.0
    creep: float = 0.0


WORLDS = (
    World("nothing changes"),
    World("moves slowly, .02 a year", rate=0.02),
    World("jumps once, .03", jump=0.03),
    World("each model worse by .004", creep=0.004),
)


@dataclass(frozen=True)
class Way:
    """A policy, whether tests before count, and whether drift says that applicants have moved."""

    name: str
    policy: ComparisonPolicy
    earlier: bool = True
    moved: bool = False


PLAIN = ComparisonPolicy(rule="point", min_bads=2, min_goods=2, against_first=False)
WAYS = (
    Way("each test alone", ComparisonPolicy(), earlier=False),
    Way("default", ComparisonPolicy()),
    Way("default, applicants have moved", ComparisonPolicy(), moved=True),
    Way("plain 0.005", PLAIN),
)


class Lives:
    """Books of one kind and world, and what a way makes of them."""

    def __init__(self, count: int, bads: int, book: Book, world: World, seed: int = 1) -> None:
        self.count, self.bads, self.book, self.world = count, bads, book, world
        rng = np.random.default_rng(seed)
        self.trainings = int(YEARS * 365 / BLOCK) // EVERY + 1
        blocks = self.trainings * EVERY + book.train + book.validation + book.test + book.window + EVERY
        self.said = np.concatenate([np.zeros((1, count, NOISE)), rng.normal(size=(blocks, count, NOISE)).cumsum(0)])
        daily = np.concatenate([np.zeros((1, count, NOISE)), rng.normal(size=(blocks, count, NOISE)).cumsum(0)])
        starts = EVERY * np.arange(self.trainings)
        made = (daily[starts + book.train] - daily[starts]) / np.sqrt(book.train)
        self.models = _unit(made + OWN * rng.normal(size=made.shape))
        worth = _unit(rng.normal(size=(count, NOISE)))
        self.own = SPREAD * np.sqrt(NOISE) * np.einsum("kbn,bn->kb", self.models, worth)

    def test(self, training: int) -> tuple[int, int]:
        first = training * EVERY + self.book.train + self.book.validation
        return first, first + self.book.test

    def use(self, training: int) -> tuple[int, int]:
        first = self.test(training)[1] + self.book.window
        return first, first + EVERY

    def worth(self, training: int, one: int, span: tuple[int, int]) -> float:
        """The true AUC of a book's model on a span, less that of an average one without a change."""
        first, last = span
        begun = training * EVERY
        found = float(self.own[training, one]) - self.world.rate / 365 * BLOCK * (
            (first + last) / 2 - begun - self.book.train / 2
        )
        if self.world.jump:
            since = self.book.train + self.book.validation + self.book.test + 180 // BLOCK
            knows = min(1.0, max(0.0, (begun + self.book.train - since) / self.book.train))
            after = min(1.0, max(0.0, (last - max(first, since)) / (last - first)))
            found -= self.world.jump * ((1 - knows) * after + knows * (1 - after) / 2)
        return found

    def compared(self, training: int, other: int, one: int, levels: Sequence[float]) -> dict[str, Any]:
        """The difference of two models on the test of the newer; `levels`: what each is worth where all are worse."""
        first, last = span = self.test(training)
        apart = self.models[training, one] - self.models[other, one]
        scale = ERROR / np.sqrt(2 * self.bads)
        chance = float(apart @ (self.said[last, one] - self.said[first, one])) / np.sqrt(last - first)
        gain = self.worth(training, one, span) - self.worth(other, one, span)
        if self.world.creep:
            gain = levels[training] - levels[other]
        error = float(np.linalg.norm(apart)) * scale
        return {"difference": gain + chance * scale, "standard_error": error, "rows": 20 * self.bads, "bads": self.bads}

    def beside(self, training: int, other: int, one: int, levels: Sequence[float], way: Way) -> dict[str, Any]:
        """The comparison with a version, and those of models before it on tests that share no loan."""
        tests, before = [], self.test(training)[0]
        for earlier in range(training - 1, other, -1) if way.earlier else ():
            if self.test(earlier)[1] <= before:
                found = self.compared(earlier, other, one, levels)
                tests.append({"newer_by": (earlier - other) * EVERY * BLOCK, **found})
                before = self.test(earlier)[0]
        return {
            "version": "1",
            "comparable": True,
            "evaluation": {"auc": AUC},
            "difference": self.compared(training, other, one, levels),
            "earlier": {"newer_by": (training - other) * EVERY * BLOCK, "tests": tests},
        }

    def lived(self, one: int, way: Way) -> tuple[float, float, bool]:
        """Of a book: refreshes taken a year, AUC lost beside the newest model in use, and whether after REFRESHES the
        model in force is truly worse than the first by more than the margin.
        """
        champion, taken, lost, worse, levels = 0, 0, 0.0, False, [0.0]
        margin = margin_of(way.policy, AUC)
        for training in range(1, self.trainings):
            levels.append(levels[champion] - self.world.creep)
            record = self.beside(training, champion, one, levels, way)
            found: dict[str, Any] = {"previous": None, "days": 0.0, "first": None, "earlier": record["earlier"]}
            if champion:
                found["first"] = self.beside(training, 0, one, levels, way)
            if way.moved:
                newer = (training - champion) * EVERY * BLOCK
                found["moved"] = {"newer_by": newer, "days": 5, "of": 5, "shifted": ["rate"]}
            evidence = {"champion": record, "comparison": found, "mode": "non_inferiority"}
            if all(reason.passed for reason in judge_comparison(evidence, way.policy)):
                champion, taken = training, taken + 1
            use = self.use(training)
            lost += self.worth(training, one, use) - self.worth(champion, one, use)
            if training == REFRESHES:
                gained = self.worth(champion, one, use) - self.worth(0, one, use)
                worse = (levels[champion] if self.world.creep else gained) < -margin
        return taken / YEARS, lost / (self.trainings - 1), worse


def table(count: int, sizes: tuple[int, ...], books: tuple[Book, ...] = BOOKS) -> Iterator[str]:
    yield f"| lookback | bads of a test | rule | {' | '.join(f'{world.name}' for world in WORLDS)} |"
    yield "|---|---:|---|" + "---|" * len(WORLDS)
    for book in books:
        for bads in sizes:
            worlds = [Lives(count, bads, book, world) for world in WORLDS]
            for way in WAYS:
                cells = []
                for lives in worlds:
                    found = np.array([lives.lived(one, way) for one in range(count)]).mean(axis=0)
                    lost = "" if lives.world.creep else f" {found[1]:+.4f},"
                    cells.append(f"{found[0]:.1f},{lost} {found[2]:.1%}")
                yield f"| {book.name} | {bads} | {way.name} | {' | '.join(cells)} |"


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


if __name__ == "__main__":
    quick = "--quick" in sys.argv[1:]
    asked = [int(word) for word in sys.argv[1:] if word.isdigit()]
    for line in table(asked[0] if asked else 20 if quick else 300, (75,) if quick else (30, 75, 200, 800)):
        print(line, flush=True)
