"""How often chance alone promotes a model, and how often a truly better one is taken: by simulation.

Belongs here: many years of comparisons on rows that they share, and the power of one comparison. Does not belong here:
the rule. A comparison is measured by `ml.evidence.evaluation.compare` and judged by the policy's own rule.

A year of trainings. Every day brings loans; a training's out-of-time test is the newest quarter of its lookback, its
validation slice the days before it. So the tests of two trainings share most of their rows, and a champion that was
lucky on them stays lucky until they have left. A model's score is the true log-odds, and an error that is a direction
among NOISE random features of the loan: all models rank equally well in truth, whichever way their error points. The
error of a learner is the sum over the days that it was trained on of that day's chance, the larger part of which all
learners share: so models of successive days resemble each other as far as their training sets do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np

from credit_assets.ml.data.policies import ComparisonPolicy, Policy
from credit_assets.ml.evidence.evaluation import AucDifference, compare
from credit_assets.ml.rules.comparison_rules import judge_comparison

LOOKBACK, TEST, VALIDATION = 90, 22, 18
"""Days, as the settings have them by default."""
LEARNERS, NOISE = 3, 6
SHARED = 0.6
"""Share of a learner's error, in variance, that it has in common with the others on the same days."""
BAD_RATE = 0.05
SIGNAL, ERROR = 0.85, 0.45
"""Standard deviation of the true log-odds, and of a model's error in them: it ranks with an AUC of .695, of .72
that could be."""

Takes = Callable[[AucDifference, int], bool]
"""Whether a comparison brings the candidate into force, where so many days lie between two trainings."""


@dataclass(frozen=True)
class Rule:
    """`by_test`: the variant is the best on the test that it is then compared on, else on the validation slice."""

    name: str
    by_test: bool
    takes: Takes


@dataclass
class Year:
    """What a rule made of one year: its promotions, with what each claimed and the day of each."""

    trainings: int = 0
    claimed: list[float] = field(default_factory=list)
    days: list[int] = field(default_factory=list)

    @property
    def promotions(self) -> int:
        return len(self.claimed)


def area(target: np.ndarray, score: np.ndarray) -> float:
    """The AUC where no two scores are equal."""
    order = np.argsort(score)
    bads = int(target.sum())
    ranks = np.flatnonzero(target[order]).sum() + bads
    return float(ranks - bads * (bads + 1) / 2) / (bads * (len(target) - bads))


def errors(days: int, rng: np.random.Generator) -> np.ndarray:
    """Directions of the errors of each learner by the training day: days x learners x NOISE, each of length 1."""
    trained = LOOKBACK - TEST
    daily = np.sqrt(SHARED) * rng.normal(size=(days + trained, 1, NOISE))
    daily = daily + np.sqrt(1 - SHARED) * rng.normal(size=(days + trained, LEARNERS, NOISE))
    sums = np.cumsum(daily, axis=0)
    made = sums[trained:] - sums[:-trained]
    # A training has chance of its own besides: rows left out, rounds stopped earlier or later.
    made = made / np.sqrt(trained) + 0.3 * rng.normal(size=made.shape)
    return np.asarray(made / np.linalg.norm(made, axis=2, keepdims=True))


class World(Protocol):
    """The loans of a year, with what became of them, and the models of each day. A model ranks the loans of a span."""

    days: int
    bad: np.ndarray
    chosen: dict[tuple[int, int], np.ndarray]
    """What `best` found, by the day and the first row: every rule asks for the same."""

    def test(self, day: int) -> slice: ...

    def validation(self, day: int) -> slice: ...

    def models(self, day: int) -> Sequence[np.ndarray]: ...

    def pd(self, model: np.ndarray, rows: slice) -> np.ndarray: ...


class Simulated:
    """A year of loans and models without a pipeline; a model is the direction of its error."""

    def __init__(self, loans: int, rng: np.random.Generator, days: int = 365) -> None:
        self.loans, self.days = loans, days
        self.chosen: dict[tuple[int, int], np.ndarray] = {}
        rows = loans * (days + TEST + VALIDATION)
        self.log_odds = SIGNAL * rng.normal(size=rows)
        self.bad = rng.random(rows) < _at_bad_rate(self.log_odds)
        self.features = rng.normal(size=(rows, NOISE))
        self.errors = errors(days, rng)

    def test(self, day: int) -> slice:
        first = (day + VALIDATION) * self.loans
        return slice(first, first + TEST * self.loans)

    def validation(self, day: int) -> slice:
        return slice(day * self.loans, (day + VALIDATION) * self.loans)

    def models(self, day: int) -> Sequence[np.ndarray]:
        return list(self.errors[day])

    def pd(self, model: np.ndarray, rows: slice) -> np.ndarray:
        return _at_bad_rate(self.log_odds[rows] + ERROR * (self.features[rows] @ model))


def best(world: World, day: int, rows: slice) -> np.ndarray:
    """The day's model that ranks these rows best."""
    key = (day, rows.start)
    if key not in world.chosen:
        world.chosen[key] = max(world.models(day), key=lambda model: area(world.bad[rows], world.pd(model, rows)))
    return world.chosen[key]


def live(world: World, every: int, rule: Rule, champion: np.ndarray | None = None, most: int | None = None) -> Year:
    """A year of trainings, one every so many days, each compared with the champion that there is: at first the one
    given, else the best of the first day. It ends with so many promotions.
    """
    year = Year()
    if champion is None:
        champion = best(world, 0, world.validation(0))
    for day in range(every, world.days, every):
        rows = world.test(day)
        candidate = best(world, day, rows if rule.by_test else world.validation(day))
        found = compare(world.bad[rows], world.pd(candidate, rows), world.pd(champion, rows))
        year.trainings += 1
        if rule.takes(found, every):
            year.claimed.append(found.difference)
            year.days.append(day)
            champion = candidate
            if year.promotions == most:
                break
    return year


def _at_bad_rate(log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-log_odds - np.log(BAD_RATE / (1 - BAD_RATE)) + 0.4)))


def plain(minimum: float = 0.005) -> Rule:
    """The best of three on the test, by a point estimate on that test."""
    return Rule(f"the plain {minimum:g}", True, lambda found, _: found.difference >= minimum)


def default() -> Rule:
    """The rule in force: the best of three on the validation slice, judged as a decision on registration judges it."""
    return _of_policy("the default", Policy().comparison)


def by_setting() -> Rule:
    """The plain rule as the policy offers it: the variant is chosen on the validation slice all the same."""
    return _of_policy("`rule: point`", Policy.model_validate({"comparison": {"rule": "point"}}).comparison)


def _of_policy(name: str, limits: ComparisonPolicy) -> Rule:
    def takes(found: AucDifference, every: int) -> bool:
        champion = {"version": "1", "comparable": True, "difference": found.to_record()}
        evidence = {"champion": champion, "comparison": {"days": every, "previous": None}}
        return all(reason.passed for reason in judge_comparison(evidence, limits))

    return Rule(name, False, takes)


@dataclass(frozen=True)
class Rate:
    """Promotions a year where no model is better, of so many simulated years."""

    rule: str
    loans: int
    every: int
    years: int
    bads: float
    promotions: float
    any_promotion: float
    single: float
    claimed: float


def null_rate(loans: int, every: int, rules: Sequence[Rule], years: int, seed: int) -> list[Rate]:
    """Each rule on the same simulated years."""
    lived: dict[str, list[Year]] = {rule.name: [] for rule in rules}
    bads = []
    for number in range(years):
        world = Simulated(loans, np.random.default_rng([seed, loans, number]))
        bads.append(world.bad.mean() * TEST * loans)
        for rule in rules:
            lived[rule.name].append(live(world, every, rule))
    return [
        Rate(
            name,
            loans,
            every,
            years,
            float(np.mean(bads)),
            float(np.mean([year.promotions for year in found])),
            float(np.mean([year.promotions > 0 for year in found])),
            sum(year.promotions for year in found) / max(1, sum(year.trainings for year in found)),
            float(np.mean([gain for year in found for gain in year.claimed] or [0.0])),
        )
        for name, found in lived.items()
    ]


# Power


def true_area(error: float, rng: np.random.Generator, rows: int = 400_000) -> float:
    """The AUC of a model whose error has this standard deviation."""
    log_odds = SIGNAL * rng.normal(size=rows)
    bad = rng.random(rows) < _at_bad_rate(log_odds)
    return area(bad, log_odds + error * rng.normal(size=rows))


@cache
def _areas() -> tuple[np.ndarray, np.ndarray]:
    """Sizes of errors, and the AUC of a model with each; of the same draws, so that the AUC falls with the size."""
    sizes = np.linspace(ERROR, 6 * ERROR, 40)
    return sizes, np.array([true_area(size, np.random.default_rng(1)) for size in sizes])


def error_for(loss: float) -> float:
    """The error of a model whose AUC is so much smaller than that of one with ERROR."""
    sizes, areas = _areas()
    return float(np.interp(areas[0] - loss, areas[::-1], sizes[::-1]))


@dataclass(frozen=True)
class Power:
    """How often a candidate that is better by `gain` is taken, at so many bads on the test."""

    rule: str
    every: int
    bads: int
    gain: float
    taken: float


def power(bads: int, gain: float, rules: Sequence[tuple[Rule, int]], repeats: int, seed: int) -> list[Power]:
    """Each rule, with the days between its trainings, on the same comparisons of one candidate with its champion."""
    rng, error = np.random.default_rng([seed, bads, round(1e4 * gain)]), error_for(gain)
    taken = np.zeros(len(rules))
    for _ in range(repeats):
        log_odds = SIGNAL * rng.normal(size=round(bads / BAD_RATE))
        bad = rng.random(len(log_odds)) < _at_bad_rate(log_odds)
        ours, theirs = (_at_bad_rate(log_odds + size * rng.normal(size=len(log_odds))) for size in (ERROR, error))
        found = compare(bad, ours, theirs)
        taken += [rule.takes(found, every) for rule, every in rules]
    return [
        Power(rule.name, every, bads, gain, float(share))
        for (rule, every), share in zip(rules, taken / repeats, strict=True)
    ]


@dataclass(frozen=True)
class Taken:
    """How often one of a year's candidates, each better than the champion by `gain`, was taken within so many days."""

    rule: str
    loans: int
    every: int
    gain: float
    years: int
    within: dict[str, float]


WITHIN = (30, 90, 365)


def waiting(loans: int, every: int, gain: float, rules: Sequence[Rule], years: int, seed: int) -> list[Taken]:
    """A champion that every model of the year is better than by the same, and how long each rule keeps it."""
    size = error_for(gain) / ERROR
    found: dict[str, list[int]] = {rule.name: [] for rule in rules}
    for number in range(years):
        rng = np.random.default_rng([seed, loans, number])
        world = Simulated(loans, rng, max(WITHIN) + 1)
        direction = rng.normal(size=NOISE)
        champion = size * direction / np.linalg.norm(direction)
        for rule in rules:
            days = live(world, every, rule, champion, most=1).days
            found[rule.name].append(days[0] if days else world.days)
    return [
        Taken(name, loans, every, gain, years, {f"{days}": float(np.mean(np.array(at) <= days)) for days in WITHIN})
        for name, at in found.items()
    ]
