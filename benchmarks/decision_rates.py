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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Protocol

import numpy as np

from credit_assets.ml.data.policies import ComparisonPolicy, Policy
from credit_assets.ml.evidence.evaluation import AucDifference, compare
from credit_assets.ml.rules.comparison_rules import days_to_spend, judge_comparison
from credit_assets.ml.rules.levels import saved_after

LOOKBACK, TEST, VALIDATION = 90, 22, 18
"""Days, as the settings have them by default."""
LEARNERS, NOISE = 3, 6
SHARED = 0.6
"""Share of a learner's error, in variance, that it has in common with the others on the same days."""
BAD_RATE = 0.05
SIGNAL, ERROR = 0.85, 0.45
"""Standard deviation of the true log-odds, and of a model's error in them: it ranks with an AUC of .695, of .72
that could be."""

Takes = Callable[[AucDifference, "Callable[[], AucDifference | None]", "Savings"], bool]
"""Whether a comparison brings the candidate into force: the difference on the test, what finds that on validation rows
which the champion has not seen, and what is saved of the level, of which it spends.
"""


@dataclass(frozen=True)
class Rule:
    """`by_test`: the variant is the best on the test that it is then compared on, else on the validation slice."""

    name: str
    by_test: bool
    takes: Takes


@dataclass
class Savings:
    """Days of the level that are left."""

    days: float = 0.0

    def spend(self, champion: Mapping[str, Any], policy: ComparisonPolicy) -> dict[str, float]:
        """What `trained_model` records of them."""
        saved = self.days
        spent = days_to_spend({"champion": champion}, saved, policy)
        self.days = saved - spent
        return {"saved": saved, "days": spent}


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
    """The AUC where no two scores are equal; a half where there is one outcome only."""
    order = np.argsort(score)
    bads = int(target.sum())
    if bads in (0, len(target)):
        return 0.5
    ranks = np.flatnonzero(target[order]).sum() + bads
    return float(ranks - bads * (bads + 1) / 2) / (bads * (len(target) - bads))


def errors(days: int, rng: np.random.Generator, chance: float = 0.3) -> np.ndarray:
    """Directions of the errors of each learner by the training day: days x learners x NOISE, each of length 1."""
    trained = LOOKBACK - TEST
    daily = np.sqrt(SHARED) * rng.normal(size=(days + trained, 1, NOISE))
    daily = daily + np.sqrt(1 - SHARED) * rng.normal(size=(days + trained, LEARNERS, NOISE))
    sums = np.cumsum(daily, axis=0)
    made = sums[trained:] - sums[:-trained]
    # A training has chance of its own besides: rows left out, rounds stopped earlier or later.
    made = made / np.sqrt(trained) + chance * rng.normal(size=made.shape)
    return np.asarray(made / np.linalg.norm(made, axis=2, keepdims=True))


class World(Protocol):
    """The loans of a year, with what became of them, and the models of each day. A model ranks the loans of a span."""

    days: int
    bad: np.ndarray
    groups: np.ndarray | None
    chosen: dict[tuple[int, int], np.ndarray]
    """What `best` found, by the day and the first row: every rule asks for the same."""

    def test(self, day: int) -> slice: ...

    def validation(self, day: int) -> slice: ...

    def models(self, day: int) -> Sequence[np.ndarray]: ...

    def pd(self, model: np.ndarray, rows: slice) -> np.ndarray: ...


@dataclass(frozen=True)
class Kind:
    """What a simulated year is like. `chance`: of one training, beside that of its days; much of it makes models that
    have no error in common. `copies`: loans of each customer on a day, alike in everything. `season`: how much a
    direction among the features, another one every SEASON days, tells of outcomes while it lasts, so that a model is
    worth more in some months and less in others.
    """

    name: str = "models alike"
    chance: float = 0.3
    copies: int = 1
    season: float = 0.0


KINDS = (Kind(), Kind("models independent", chance=20.0), Kind("customers with four loans each", copies=4))
SEASONS = Kind("worth that changes by the month", season=0.1)
SEASON = 30


class Simulated:
    """A year of loans and models without a pipeline; a model is the direction of its error."""

    def __init__(self, loans: int, rng: np.random.Generator, days: int = 365, kind: Kind = KINDS[0]) -> None:
        self.loans, self.days = loans, days
        self.chosen: dict[tuple[int, int], np.ndarray] = {}
        rows = loans * (days + TEST + VALIDATION)
        customers = np.repeat(np.arange(rows // kind.copies), kind.copies)
        self.groups = customers if kind.copies > 1 else None
        self.log_odds = SIGNAL * rng.normal(size=rows)[customers]
        drawn = rng.random(rows)
        self.features = rng.normal(size=(rows, NOISE))[customers]
        risk = self.log_odds
        if kind.season:
            lasting = kind.season * rng.normal(size=(rows // (loans * SEASON) + 1, NOISE))
            risk = risk + np.einsum("ij,ij->i", self.features, np.repeat(lasting, loans * SEASON, axis=0)[:rows])
        self.bad = drawn[customers] < _at_bad_rate(risk)
        self.errors = errors(days, rng, kind.chance)

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


def live(
    world: World,
    every: int,
    rule: Rule,
    champion: np.ndarray | None = None,
    most: int | None = None,
    savings: Savings | None = None,
) -> Year:
    """A year of trainings, one every so many days, each compared with the champion that there is: at first the one
    given, which has seen none of the rows, else the best of the first day. It ends with so many promotions. `savings`
    are of before; it has what is left of them in the end.
    """
    year, tested_from, savings = Year(), 0, savings or Savings()
    if champion is None:
        champion, tested_from = best(world, 0, world.validation(0)), world.test(0).start
    for day in range(every, world.days, every):
        rows, chosen_on = world.test(day), world.validation(day)
        candidate = best(world, day, rows if rule.by_test else chosen_on)
        found = _compared(world, rows, candidate, champion)
        unseen = slice(max(chosen_on.start, tested_from), chosen_on.stop)
        before = partial(_compared, world, unseen, candidate, champion)
        year.trainings += 1
        savings.days = saved_after(savings.days, every)
        if found and rule.takes(found, before, savings):
            year.claimed.append(found.difference)
            year.days.append(day)
            champion, tested_from = candidate, rows.start
            if year.promotions == most:
                break
    return year


def _compared(world: World, rows: slice, ours: np.ndarray, theirs: np.ndarray) -> AucDifference | None:
    bad = world.bad[rows]
    if bad.all() or not bad.any():
        return None
    groups = None if world.groups is None else world.groups[rows]
    return compare(bad, world.pd(ours, rows), world.pd(theirs, rows), groups)


def _at_bad_rate(log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-log_odds - np.log(BAD_RATE / (1 - BAD_RATE)) + 0.4)))


def plain(minimum: float = 0.005) -> Rule:
    """The best of three on the test, by a point estimate on that test."""
    return Rule(f"the plain {minimum:g}", True, lambda found, *_: found.difference >= minimum)


def default() -> Rule:
    """The rule in force: the best of three on the validation slice, judged as a decision on registration judges it."""
    return _of_policy("the default", Policy().comparison)


def by_setting() -> Rule:
    """The plain rule as the policy offers it: the variant is chosen on the validation slice all the same."""
    return _of_policy("`rule: point`", Policy.model_validate({"comparison": {"rule": "point"}}).comparison)


def _of_policy(name: str, limits: ComparisonPolicy) -> Rule:
    def takes(found: AucDifference, before: Callable[[], AucDifference | None], savings: Savings) -> bool:
        ahead = before()
        champion = {
            "version": "1",
            "comparable": True,
            "difference": found.to_record(),
            "validation": ahead.to_record() if ahead else None,
        }
        evidence = {"champion": champion, "comparison": savings.spend(champion, limits)}
        return all(reason.passed for reason in judge_comparison(evidence, limits))

    return Rule(name, False, takes)


@dataclass(frozen=True)
class Rate:
    """Promotions a year where no model is better, of so many simulated years."""

    kind: str
    rule: str
    loans: int
    every: int
    years: int
    bads: float
    promotions: float
    any_promotion: float
    single: float
    claimed: float


def null_rate(
    loans: int, every: int, rules: Sequence[Rule], years: int, seed: int, kind: Kind = KINDS[0]
) -> list[Rate]:
    """Each rule on the same simulated years."""
    lived: dict[str, list[Year]] = {rule.name: [] for rule in rules}
    bads = []
    for number in range(years):
        world = Simulated(loans, np.random.default_rng([seed, loans, number]), kind=kind)
        bads.append(world.bad.mean() * TEST * loans)
        for rule in rules:
            lived[rule.name].append(live(world, every, rule))
    return [
        Rate(
            kind.name,
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


@cache
def saved_by(every: int, years: int = 10) -> tuple[float, ...]:
    """Days of the level that are left after years in which no model is better, by the default rule."""
    left = []
    for number in range(years):
        savings = Savings()
        live(Simulated(100, np.random.default_rng([7, number])), every, default(), savings=savings)
        left.append(savings.days)
    return tuple(left)


@dataclass(frozen=True)
class Power:
    """How often a candidate that is better by `gain` is taken, at so many bads on the test. `correlation` of the two
    models' scores; None where their errors are independent.
    """

    rule: str
    every: int
    bads: int
    gain: float
    correlation: float | None
    taken: float


def power(
    bads: int, gain: float, rules: Sequence[tuple[Rule, int]], repeats: int, correlation: float | None = None
) -> list[Power]:
    """Each rule, with the days between its trainings, on the same comparisons of one candidate with its champion, after
    a year in which no candidate was better.
    """
    rng, error = np.random.default_rng([bads, round(1e4 * gain)]), error_for(gain)
    common = _in_common(error, correlation)
    taken = np.zeros(len(rules))
    for _ in range(repeats):
        found, before = (_pair(round(share * bads / BAD_RATE), error, common, rng) for share in (1, VALIDATION / TEST))
        for at, (rule, every) in enumerate(rules):
            left = float(rng.choice(saved_by(every)))
            taken[at] += rule.takes(found, partial(_as_found, before), Savings(saved_after(left, every)))
    return [
        Power(rule.name, every, bads, gain, correlation, float(share))
        for (rule, every), share in zip(rules, taken / repeats, strict=True)
    ]


def _as_found(found: AucDifference) -> AucDifference:
    return found


def _pair(rows: int, error: float, common: float, rng: np.random.Generator) -> AucDifference:
    """A model and one with a larger error, on so many rows."""
    log_odds = SIGNAL * rng.normal(size=rows)
    bad = rng.random(rows) < _at_bad_rate(log_odds)
    ours, own = rng.normal(size=(2, rows))
    theirs = common * ours + np.sqrt(1 - common**2) * own
    return compare(bad, _at_bad_rate(log_odds + ERROR * ours), _at_bad_rate(log_odds + error * theirs))


def _in_common(error: float, correlation: float | None) -> float:
    """The correlation of the errors where the scores have this one, as far as it can be."""
    if correlation is None:
        return 0.0
    shared = correlation * np.sqrt((SIGNAL**2 + ERROR**2) * (SIGNAL**2 + error**2)) - SIGNAL**2
    return float(np.clip(shared / (ERROR * error), 0, 1))


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
    """A champion that every model of the year is better than by the same, and how long each rule keeps it, after a year
    in which none was better.
    """
    size = error_for(gain) / ERROR
    found: dict[str, list[int]] = {rule.name: [] for rule in rules}
    for number in range(years):
        rng = np.random.default_rng([seed, loans, number])
        world = Simulated(loans, rng, max(WITHIN) + 1)
        direction = rng.normal(size=NOISE)
        champion = size * direction / np.linalg.norm(direction)
        for rule in rules:
            savings = Savings(float(rng.choice(saved_by(every))))
            days = live(world, every, rule, champion, most=1, savings=savings).days
            found[rule.name].append(days[0] if days else world.days)
    return [
        Taken(name, loans, every, gain, years, {f"{days}": float(np.mean(np.array(at) <= days)) for days in WITHIN})
        for name, at in found.items()
    ]
