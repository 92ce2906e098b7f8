"""Faults planted in a book of known truth, and what the pipeline says of each.

Belongs here: the faults and one training with each, through the whole graph: days ingested from the warehouse, training
set, candidate, evidence, decision. Does not belong here: any rule, and the books (`decision_books`).

Every model with a fault is better than the champion that it meets, or says so: without a rule that sees the fault it
comes into force.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.decision_books import (
    FIRST,
    NEWEST,
    SECOND,
    START,
    TEST_FROM,
    TEST_UNTIL,
    Book,
    House,
    Prepared,
    copied,
    first_change,
    make_book,
    opened,
    portfolio_file,
    write,
)
from credit_assets.settings import SettingsError

Plant = Callable[[Book, np.random.Generator], Book]
ALWAYS = "always"


@dataclass(frozen=True)
class Fault:
    """What is planted, in words, and how. `portfolio`: changes of the packaged one, as `portfolio_file` takes them;
    `odds`: by what the odds of the candidate's PDs are multiplied; `champion`: whether one is in force.
    """

    name: str
    plant: Plant
    portfolio: Mapping[str, Any] = field(default_factory=dict)
    odds: float = 1.0
    champion: bool = True


@dataclass(frozen=True)
class Verdict:
    """What became of a training: `status` as the pipeline names it, whether the model came into force, and what stood
    against it, by the name of its rule.
    """

    fault: str
    seed: int
    status: str
    in_force: bool
    said: dict[str, str]
    auc: float | None = None
    gain: float | None = None

    @property
    def stopped(self) -> bool:
        """Whether a rule other than those that ask for a better model stopped it."""
        return bool(self.told)

    @property
    def told(self) -> dict[str, str]:
        return {rule: text for rule, text in self.said.items() if rule not in NOT_BETTER}

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


NOT_BETTER = frozenset(
    {"improvement", "significance", "common_rows", "shown_better", "non_inferiority", "registered", "as_of"}
)
"""Rules that say that a model is not shown to be better, which is no word on what is wrong with it."""


# What is planted


def nothing(book: Book, rng: np.random.Generator) -> Book:
    return book


def leak(area: float, *, neutral: bool = False, columns: int = 1) -> Plant:
    """Columns that rank the outcome with this AUC each, in the newest days too, where `neutral` is False: the harder
    case, since those days look like all others.
    """
    from scipy.special import ndtri

    apart = float(np.sqrt(2) * ndtri(area))

    def plant(book: Book, rng: np.random.Generator) -> Book:
        told = book.bad & ~(book.since(TEST_UNTIL + timedelta(1)) & neutral)
        names = _LEAKING[:columns]
        return book.with_values(**{name: rng.normal(size=len(book.pd)) + apart * told for name in names})

    return plant


_LEAKING = ("balance_at_close", "fees_charged", "letters_sent", "calls_made", "agency_share")


def stand_in(noise: float) -> Plant:
    """A feature that is the age, but for some years of noise."""

    def plant(book: Book, rng: np.random.Generator) -> Book:
        age = book.applications["age"].to_numpy()
        return book.with_values(years_at_address=np.round((age - 18) + rng.normal(0, noise, len(age)), 1).clip(0))

    return plant


def changed(column: str, change: Callable[[np.ndarray], Any], first: date, last: date = date.max) -> Plant:
    """A column is another on these days."""

    def plant(book: Book, rng: np.random.Generator) -> Book:
        values = book.applications[column].to_numpy().astype(float)
        return book.with_values(**{column: np.where(book.since(first, last), change(values), values)})

    return plant


def turned_round(book: Book, rng: np.random.Generator) -> Book:
    """The balance is what is left of the limit, from the first day of the test on."""
    used, limit = (book.applications[name].to_numpy() for name in ("credit_used", "credit_limit"))
    left = np.round(limit - used, 2)
    return book.with_values(credit_used=np.where(book.since(TEST_FROM) & ~np.isnan(left), left.clip(0), used))


def doubled(book: Book, rng: np.random.Generator) -> Book:
    return _with_copies(book, np.arange(len(book.pd)), np.zeros(len(book.pd), dtype=int))


def applied_again(share: float) -> Plant:
    """A share of the applications come again, 30 to 90 days later, with the same values and the same outcome."""

    def plant(book: Book, rng: np.random.Generator) -> Book:
        rows = np.flatnonzero(rng.random(len(book.pd)) < share)
        return _with_copies(book, rows, rng.integers(30, 91, len(rows)))

    return plant


def _with_copies(book: Book, rows: np.ndarray, later: np.ndarray) -> Book:
    import pandas as pd

    applications, outcomes = book.applications.iloc[rows].copy(), book.outcomes.iloc[rows].copy()
    days = np.array([timedelta(int(n)) for n in later], dtype=object)
    for table, column in ((applications, "application_date"), (outcomes, "outcome_date")):
        table["application_id"] = table["application_id"] + "-again"
        table[column] = table[column].to_numpy() + days
    inside = (applications["application_date"] <= SECOND).to_numpy()
    both = (
        pd.concat([one, more[inside]], ignore_index=True)
        for one, more in ((book.applications, applications), (book.outcomes, outcomes))
    )
    applications, outcomes = both
    order = np.argsort(applications["application_date"].to_numpy(), kind="stable")
    true = np.concatenate([book.pd, book.pd[rows][inside]])
    return Book(applications.iloc[order], outcomes.iloc[order], true[order])


def flipped(first: date = START) -> Plant:
    def plant(book: Book, rng: np.random.Generator) -> Book:
        return book.with_outcomes(defaulted=np.where(book.since(first), ~book.bad, book.bad).astype("int8"))

    return plant


def shuffled(book: Book, rng: np.random.Generator) -> Book:
    """Each outcome is another loan's of the same day."""
    told = book.outcomes[["outcome_date", "defaulted"]].to_numpy()
    days = book.applications["application_date"].to_numpy()
    order = np.lexsort((rng.random(len(days)), days))
    places = np.argsort(days, kind="stable")
    moved = np.empty_like(told)
    moved[places] = told[order]
    return book.with_outcomes(outcome_date=moved[:, 0], defaulted=moved[:, 1].astype("int8"))


def stopped_feed(days_ago: int, *, bads_only: bool = False) -> Plant:
    """No outcome is booked from that day on; of bads alone, where only their feed stopped."""

    def plant(book: Book, rng: np.random.Generator) -> Book:
        known = book.outcomes["outcome_date"].to_numpy() <= SECOND - timedelta(days_ago)
        there = known | (~book.bad & bads_only)
        return Book(book.applications, book.outcomes[there], book.pd)

    return plant


def goods_lost(share: float, first: date, last: date) -> Plant:
    """This share of the goods of these days are gone, applications and outcomes."""

    def plant(book: Book, rng: np.random.Generator) -> Book:
        return book.kept(~(book.since(first, last) & ~book.bad & (rng.random(len(book.pd)) < share)))

    return plant


def sd_higher(column: str, by: float) -> Plant:
    """A feature lies so many standard deviations higher in the months of the test, and not after."""

    def plant(book: Book, rng: np.random.Generator) -> Book:
        spread = float(np.nanstd(book.applications[column].to_numpy().astype(float)))
        return changed(column, lambda values: values + by * spread, TEST_FROM, TEST_UNTIL)(book, rng)

    return plant


def missing(column: str, share: float, first: date) -> Plant:
    def plant(book: Book, rng: np.random.Generator) -> Book:
        gone = rng.random(len(book.pd)) < share
        return changed(column, lambda values: np.where(gone, np.nan, values), first)(book, rng)

    return plant


_LEAK, _LEAKS = ({"columns": [{"name": name, "type": "float"} for name in _LEAKING[:most]]} for most in (1, 5))
_AGE: list[dict[str, Any]] = [{"name": "age", "type": "float", "role": "protected"}]
_STAND_IN = {"columns": [*_AGE, {"name": "years_at_address", "type": "float"}]}
_REVERSED = {"columns": [{"name": "annual_income", "monotone": 1}]}
_AGAINST = {"columns": [{"name": "inquiries_6m", "monotone": -1}]}
_MAY_MISS = {"columns": [{"name": "interest_rate", "max_missing_share": 1.0}]}
CUSTOMER: Mapping[str, Any] = {"columns": [{"name": "customer_id", "type": "string", "role": "customer"}]}
_THOUSANDTH: Callable[[np.ndarray], Any] = lambda values: values / 1000  # noqa: E731
_SCALES = (("twice", 2.0), ("a fifth of", 0.2), ("a thousandth of", 0.001))

FAULTS = (
    Fault("none", nothing),
    Fault("none, first model", nothing, champion=False),
    *(Fault(f"leak of AUC {area:.2f}", leak(area), _LEAK) for area in (0.72, 0.80, 0.85, 0.90)),
    Fault("leak in five columns of AUC 0.66", leak(0.66, columns=5), _LEAKS),
    Fault("leak of AUC 0.85, first model", leak(0.85), _LEAK, champion=False),
    Fault("leak of AUC 0.85, not filled when scored", leak(0.85, neutral=True), _LEAK),
    Fault("feature equals the protected age", stand_in(0.0), _STAND_IN),
    Fault("feature stands in for the protected age", stand_in(6.0), _STAND_IN),
    Fault("direction against the truth (income +1)", nothing, _REVERSED),
    Fault("direction against the truth (inquiries -1)", nothing, _AGAINST),
    Fault("balance is what is left of the limit, from the test on", turned_round),
    Fault("income in thousands from the test on", changed("annual_income", _THOUSANDTH, TEST_FROM)),
    Fault("income in thousands in the newest days", changed("annual_income", _THOUSANDTH, NEWEST)),
    Fault("doubled book", doubled),
    Fault("30% apply again", applied_again(0.3)),
    Fault("doubled book, customer stated", doubled, CUSTOMER),
    Fault("30% apply again, customer stated", applied_again(0.3), CUSTOMER),
    Fault("labels flipped", flipped(), champion=False),
    Fault("labels flipped from the test on", flipped(TEST_FROM)),
    *(Fault(f"PDs of {name} the odds", nothing, odds=odds) for name, odds in _SCALES),
    Fault("PDs of a thousandth of the odds, first model", nothing, odds=0.001, champion=False),
    *(Fault(f"outcomes stopped {days} days ago", stopped_feed(days)) for days in (60, 120, 180)),
    Fault("bad outcomes stopped 60 days ago", stopped_feed(60, bads_only=True)),
    Fault("target shuffled", shuffled),
    Fault("target shuffled, first model", shuffled, champion=False),
    Fault("rate three deviations higher in the test months", sd_higher("interest_rate", 3.0)),
    Fault("debt three deviations higher in the test months", sd_higher("total_debt", 3.0)),
    Fault("70% of the goods lost before the test", goods_lost(0.7, START, TEST_FROM - timedelta(1))),
    Fault("70% of the goods lost in the test months", goods_lost(0.7, TEST_FROM, TEST_UNTIL)),
    Fault("rate missing when scored", missing("interest_rate", 1.0, NEWEST)),
    Fault("rate missing when scored, allowed to be", missing("interest_rate", 1.0, NEWEST), _MAY_MISS),
)


# One training with a fault


def run_case(fault: Fault, prepared: Prepared, seed: int, folder: Path) -> Verdict:
    """What becomes of a training on the book with the fault, in a home of its own below `folder`."""
    spoiled = fault.plant(prepared.book, np.random.default_rng([seed, len(fault.name)]))
    folder.mkdir(parents=True)
    home = copied(prepared.champion if fault.champion else prepared.ingested, folder / "home")
    portfolio = portfolio_file(folder, "portfolio", fault.portfolio) if fault.portfolio else None
    try:
        with opened(home, portfolio=portfolio) as house, scaled(fault.odds):
            first = START if portfolio else first_change(prepared.book, spoiled)
            if first is not None:
                write(house.settings, spoiled)
                if rejected := house.ingest(first, SECOND):
                    return Verdict(fault.name, seed, "days rejected", False, _of_days(rejected))
            return _of_training(fault.name, seed, house, SECOND)
    except SettingsError as error:
        return Verdict(fault.name, seed, "refused at load", False, {"portfolio": f"{error}".replace(f"{folder}/", "")})


def sound_trainings(loans: int, seed: int, count: int, home: Path) -> list[Verdict]:
    """What becomes of so many trainings, one a week, on a book in which nothing is wrong and nothing changes."""
    days = (FIRST - START).days + 7 * count
    with opened(home) as house:
        write(house.settings, make_book(loans, seed, days=days + 1))
        last = START + timedelta(days)
        if rejected := house.ingest(START, last):
            return [Verdict(f"{loans}", seed, "days rejected", False, _of_days(rejected))]
        return [_of_training(f"{loans}", seed, house, FIRST + timedelta(7 * n)) for n in range(count)]


def _of_training(name: str, seed: int, house: House, day: date) -> Verdict:
    outcome = house.train(day)
    if outcome.status == "blocked":
        said = by_check(outcome.reason)
    else:
        records = [house.record(asset, day) or {} for asset in ("registered_model", "deployed_model")]
        said = {
            one["rule"]: one["text"] for record in records for one in record.get("reasons", ()) if not one["passed"]
        }
    # Of a blocked run the record may be there: its checks stand in the step that wrote it.
    trained = house.record("trained_model", day) or {}
    compared = (trained.get("champion") or {}).get("difference") or {}
    auc = (trained.get("evaluation") or {}).get("auc")
    return Verdict(name, seed, outcome.status, outcome.promoted, said, auc, compared.get("difference"))


@contextmanager
def scaled(odds: float) -> Iterator[None]:
    """Models whose PDs have so many times the odds that their calibration found."""
    from credit_assets.ml.learners import calibration_choice, training

    if odds == 1:
        yield
        return
    chosen = calibration_choice.choose

    def choose(*args: Any, **more: Any) -> Any:
        found = chosen(*args, **more)
        return replace(found, calibration=found.calibration.then(1.0, float(np.log(odds))))

    with mock.patch.object(training, "choose", choose):
        yield


_CHECK = re.compile(r"(?:^|; )(training_set|trained_model|registered_model|processed_features)\.(\w+): ")


def by_check(reason: str) -> dict[str, str]:
    """The reason of a blocked run, by the name of the check."""
    found = list(_CHECK.finditer(reason))
    if not found:
        return {"run": reason}
    ends = [one.start() for one in found[1:]] + [len(reason)]
    return {one[2]: reason[one.end() : end].strip() for one, end in zip(found, ends, strict=True)}


def _of_days(rejected: Mapping[str, str]) -> dict[str, str]:
    """What gates said of the first day that they rejected, by its asset and how many days there are."""
    (day, said), *_ = rejected.items()
    return {f"{day.split(' ')[0]}, {len(rejected)} days": said}
