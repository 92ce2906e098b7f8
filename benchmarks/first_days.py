"""How often the comparison of the newest days with the test errs: sound models stopped, planted faults missed.

Belongs here: books, the faults planted in them, and the table. Does not belong here: any rule. Measures are
`ml.evidence.first_days`, the verdict `ml.rules.first_days`, with the settings in force.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.drift_errors import table
from credit_assets.assets.policies import drift_policy, policy_of
from credit_assets.loans.generator import generate_book
from credit_assets.ml.data.cohorts import CohortWindow, assemble_training_set
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import Column, Portfolio, load_portfolio
from credit_assets.ml.evidence.first_days import Sides, measure_first_days
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.ml.rules.first_days import decide_first_days
from credit_assets.settings import load_settings

if TYPE_CHECKING:
    import pyarrow as pa

LEAK = "balance_at_close"
REAL = "lending_club_2007_2011.parquet"
W = 365
Fault = Callable[["Book", date, np.random.Generator], "pa.Table"]


@dataclass(frozen=True)
class Book:
    """Features of all days, sorted by day, with outcomes."""

    name: str
    features: pa.Table
    outcomes: pa.Table
    portfolio: Portfolio

    def bads(self) -> Any:
        import pyarrow.compute as pc

        bad = self.outcomes.filter(pc.equal(self.outcomes["defaulted"], 1))["application_id"].combine_chunks()
        return pc.is_in(self.features["application_id"], value_set=bad).to_numpy()

    def days(self) -> Any:
        return self.features["application_date"].to_numpy()


def with_leak() -> Portfolio:
    packaged = load_portfolio(None)
    return packaged.model_copy(update={"columns": (*packaged.columns, Column(name=LEAK, type="float"))})


def column(book: Book, values: Any, name: str = LEAK) -> pa.Table:
    import pyarrow as pa

    made = pa.array(values, from_pandas=True)
    names = book.features.column_names
    return (
        book.features.set_column(names.index(name), name, made)
        if name in names
        else book.features.append_column(name, made)
    )


def nothing(book: Book, newest_from: date, rng: np.random.Generator) -> pa.Table:
    return column(book, rng.normal(size=len(book.features)))


def filled_from_outcome(strength: float, now: float, share: float = 1.0) -> Fault:
    """A column that leans on the outcome in old days, for a share of the bads, and is `now` in the newest."""

    def planted(book: Book, newest_from: date, rng: np.random.Generator) -> pa.Table:
        told = book.bads() & (rng.random(len(book.features)) < share)
        values = rng.normal(size=len(book.features)) + strength * told
        new = book.days() >= np.datetime64(newest_from)
        return column(book, np.where(new, now, values))

    return planted


def only_bads(share: float, now: float) -> Fault:
    """0 but for a share of the bads; 0 for all in the newest days."""

    def planted(book: Book, newest_from: date, rng: np.random.Generator) -> pa.Table:
        told = book.bads() & (rng.random(len(book.features)) < share)
        new = book.days() >= np.datetime64(newest_from)
        return column(book, np.where(new, now, np.where(told, rng.lognormal(6, 1, len(book.features)), 0.0)))

    return planted


def times(name: str, factor: float) -> Fault:
    def planted(book: Book, newest_from: date, rng: np.random.Generator) -> pa.Table:
        values = book.features[name].to_numpy().astype(float)
        new = book.days() >= np.datetime64(newest_from)
        changed = Book(
            book.name, column(book, np.where(new, values * factor, values), name), book.outcomes, book.portfolio
        )
        return column(changed, rng.normal(size=len(values)))

    return planted


FAULTS: dict[str, Fault] = {
    "none": nothing,
    "leak .76, missing now": filled_from_outcome(1.0, np.nan),
    "leak .64, missing now": filled_from_outcome(0.5, np.nan),
    "leak .76, constant now": filled_from_outcome(1.0, 0.0),
    "leak .64, constant now": filled_from_outcome(0.5, 0.0),
    "half of the bads flagged": only_bads(0.5, 0.0),
    "a fifth of the bads flagged": only_bads(0.2, 0.0),
    "income in thousands": times("annual_income", 1 / 1000),
    "rate as a share": times("interest_rate", 1 / 100),
    "income a month": times("annual_income", 1 / 12),
    "limit missing": times("credit_limit", np.nan),
}


def case(
    book: Book, as_of: date, lookback: int, fault: Fault, rng: np.random.Generator, variant: str = "lightgbm"
) -> dict[str, Any]:
    """The comparison for a model as of a day, on a book with a fault."""
    import pyarrow.compute as pc

    settings = load_settings()
    window, days = CohortWindow(as_of, W, lookback), book.days()
    first, rows = as_of + timedelta(1), 0
    while rows < policy_of(settings).first_days.min_rows and first > window.last + timedelta(1):
        first = max(window.last + timedelta(1), first - timedelta(policy_of(settings).first_days.days))
        rows = int(((days >= np.datetime64(first)) & (days <= np.datetime64(as_of))).sum())
    rows_of = fault(book, first, rng)
    training = assemble_training_set(
        rows_of, book.outcomes, window, book.portfolio, test_share=settings.test_share, validation_share=0.2
    )
    config = TrainingConfig(max_rounds=400, threads=1)
    scorer = train_candidate(training, variant, book.portfolio, config).scorer
    test = training.filter(pc.equal(training["split"], "test"))

    def between(a: date, b: date) -> pa.Table:
        at = np.searchsorted(days, [np.datetime64(a), np.datetime64(b + timedelta(1))])
        return rows_of.slice(int(at[0]), int(at[1] - at[0]))

    def score(data: Any) -> tuple[Any, Any]:
        scores = scorer.score(data)
        return scores["pd"].to_numpy(), scores["score"].to_numpy()

    sides = Sides(test, between(pc.min(test["application_date"]).as_py(), window.last), between(first, as_of))
    portfolio = book.portfolio
    return measure_first_days(
        score, sides, portfolio.feature_names, portfolio.categorical_features, drift_policy(settings)
    )


def real_book(folder: Path) -> Book:
    from credit_assets.loans.lending_club import read_lending_club

    read = read_lending_club(folder / REAL)
    portfolio = load_portfolio(None)
    features = feature_table(read.applications.sort_by("application_date"), portfolio)
    return Book("LendingClub", features, read.outcomes, with_leak())


def generated(rate: int, seed: int, start: date, days: int) -> Book:
    end = start + timedelta(days - 1)
    applications, outcomes = generate_book(rate * days, start, end, seed)
    return Book(f"generated {rate}", feature_table(applications, load_portfolio(None)), outcomes, with_leak())


# The table


@dataclass(frozen=True)
class Size:
    """What is measured: generated books, seeds by applications a day; as-of dates of the real one.

    Of each book there is a model without a fault for each lookback and one for each fault.
    """

    seeds: Mapping[int, int]
    real: int
    faults: tuple[str, ...] = tuple(FAULTS)


FULL = Size({20: 10, 100: 6, 400: 4}, 19)
QUICK = Size({20: 1}, 0, ("none", "leak .76, missing now"))


@dataclass(frozen=True)
class Verdict:
    book: str
    fault: str
    stopped: bool
    named: bool
    """Whether the planted column is among those named."""


def real_loans() -> Path | None:
    """Folder of the LendingClub files, where the tests look for them; None where it is not there."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("CREDIT_TEST_DATA") or root / ".." / "shared" / "data").resolve()
    return folder if (folder / REAL).is_file() else None


def main(size: Size, folder: Path | None = None) -> list[Verdict]:
    """Every verdict on every book."""
    return [verdict for book, when in books(size, folder) for verdict in verdicts(book, when, size)]


def books(size: Size, folder: Path | None) -> Iterator[tuple[Book, list[tuple[date, int]]]]:
    """Each book with its as-of dates and lookbacks."""
    if folder is not None and size.real:
        months = [date(year, month, 1) - timedelta(1) for year in (2009, 2010, 2011) for month in (4, 7, 10)]
        months += [date(year, 1, 1) - timedelta(1) for year in (2010, 2011, 2012)]
        months += [date(year, month, 1) - timedelta(1) for year in (2010, 2011) for month in (3, 6, 9, 12)]
        yield real_book(folder), [(day, lookback) for day in sorted(months)[-size.real :] for lookback in (365, 730)]
    start = date(2010, 1, 1)
    for rate, seeds in size.seeds.items():
        for seed in range(seeds):
            # A longer lookback of a large book shows the same and takes its time.
            lookbacks = (90,) if rate > 100 else (90, 365)
            yield generated(rate, seed, start, 1100), [(start + timedelta(1099), lookback) for lookback in lookbacks]


def verdicts(book: Book, when: Sequence[tuple[date, int]], size: Size) -> Iterator[Verdict]:
    policy = policy_of(load_settings()).first_days
    for number, (as_of, lookback) in enumerate(when):
        print(f"  {book.name} as of {as_of}, {lookback} days", file=sys.stderr, flush=True)
        for name in size.faults:
            # Faults at the longest lookback alone, where the model has the most to find them by.
            if name != "none" and lookback != max(days for _, days in when):
                continue
            found = case(book, as_of, lookback, FAULTS[name], np.random.default_rng([number, len(name)]))
            against = [reason for reason in decide_first_days(found, policy) if not reason.passed]
            column_ = COLUMNS.get(name, LEAK)
            yield Verdict(book.name, name, bool(against), any(column_ in reason.text for reason in against))


COLUMNS = {
    "income in thousands": "annual_income",
    "income a month": "annual_income",
    "rate as a share": "interest_rate",
    "limit missing": "credit_limit",
}


def markdown(found: Sequence[Verdict]) -> str:
    """One row a fault, one column a book: how many takeovers were stopped, and of how many the column was named."""
    names = list(dict.fromkeys(one.book for one in found))
    rows = []
    for fault in dict.fromkeys(one.fault for one in found):
        row = [fault]
        for name in names:
            of = [one for one in found if (one.book, one.fault) == (name, fault)]
            stopped, told = sum(one.stopped for one in of), sum(one.named for one in of)
            row.append(f"{stopped} of {len(of)}" + ("" if fault == "none" or not of else f", {told} named"))
        rows.append(row)
    return table(["planted", *names], rows)
