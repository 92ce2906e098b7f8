"""How often the gates about the world of a training set err: sound sets stopped, planted faults missed.

Belongs here: books, the faults planted in them, and the table, which `python -m benchmarks.world [--quick]` prints.
Does not belong here: any rule. Measures are `ml.evidence.world`, verdicts `ml.rules.world_gates`, limits the defaults.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.drift_errors import table
from benchmarks.first_days import W, generated, real_book, real_loans
from credit_assets.assets.world import ends, feeds, target_record
from credit_assets.ml.data.cohorts import SPLITS, Cohort, CohortWindow, Known
from credit_assets.ml.data.policies import FirstDaysPolicy, WorldPolicy
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.evidence.world import measure_world
from credit_assets.ml.rules.training_gates import shortages
from credit_assets.ml.rules.world_gates import NEWEST, outcomes_arrive, world_gates

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

NONE = "nothing"


@dataclass(frozen=True)
class Rows:
    """Features of all days, sorted by day, and what is known of them."""

    name: str
    features: pa.Table
    known: Known
    portfolio: Portfolio

    def days(self) -> NDArray[Any]:
        found: NDArray[Any] = self.features[self.portfolio.date_column].to_numpy()
        return found


def fired(rows: Rows, as_of: date, lookback: int) -> tuple[str, ...] | None:
    """The gates that stop a training as of a day; None where there are too few outcomes to train."""
    import pyarrow.compute as pc

    window, policy, day = CohortWindow(as_of, W, lookback), WorldPolicy(), rows.portfolio.date_column

    def between(first: date, last: date) -> pa.Table:
        at = np.searchsorted(rows.days(), [np.datetime64(first), np.datetime64(last + timedelta(1))])
        return rows.features.slice(int(at[0]), int(at[1] - at[0]))

    cohort = Cohort(
        between(window.first - timedelta(rows.portfolio.booking_days), window.last), rows.known, window, rows.portfolio
    )
    training = cohort.training_set(0.25, 0.2)
    arrive = outcomes_arrive(feeds(cohort, window.first, as_of), as_of.isoformat(), policy, rows.portfolio)
    if shortages(training, rows.portfolio):
        return (arrive.name,) if arrive.blocks else None
    parts = {name: training.filter(pc.equal(training["split"], name)) for name in SPLITS}
    pairs = [("train", parts["train"], name, parts[name]) for name in SPLITS[1:]]
    newest, first = between(as_of, as_of), as_of
    while newest.num_rows < FirstDaysPolicy().min_rows and first > window.last + timedelta(7):
        first -= timedelta(7)
        newest = between(first, as_of)
    pairs.append(("the cohorts", cohort.table, NEWEST, newest))
    portfolio = rows.portfolio
    comparisons = [
        {
            "before": before,
            "after": after,
            "days": {before: ends(old[day]), after: ends(new[day])},
            **measure_world(old, new, portfolio.feature_names, portfolio.categorical_features),
        }
        for before, old, after, new in pairs
    ]
    evidence = {"comparisons": comparisons, "newest": "", "target": target_record(training, cohort.table, day)}
    gates = (*world_gates(evidence, policy, portfolio), arrive)
    return tuple(gate.name for gate in gates if gate.blocks)


# Faults


@dataclass(frozen=True)
class Place:
    """Where a fault is planted: the rows of a book, the first day of its test, and its as-of date."""

    rows: Rows
    test: date
    window: CohortWindow
    rng: np.random.Generator

    def since(self, day: date) -> NDArray[np.bool_]:
        return np.asarray(self.rows.days() >= np.datetime64(day))

    def bads(self) -> NDArray[np.bool_]:
        import pyarrow.compute as pc

        outcomes = self.rows.known.outcomes
        bad = outcomes.filter(pc.equal(outcomes["defaulted"], 1))["application_id"].combine_chunks()
        found: NDArray[np.bool_] = pc.is_in(self.rows.features["application_id"], value_set=bad).to_numpy()
        return found


Fault = Callable[[Place], Rows]


def changed(name: str, how: Callable[[NDArray[Any]], Any], *, newest: bool = False, share: float = 1.0) -> Fault:
    """A column is otherwise from the first day of the test on, or in the newest days alone, in a share of the rows."""

    def planted(place: Place) -> Rows:
        import pyarrow as pa

        rows = place.rows
        values = rows.features[name].to_numpy().astype(float)
        since = place.since(place.window.last + timedelta(1) if newest else place.test)
        since = since & (place.rng.random(len(values)) < share)
        made = pa.array(np.where(since, how(values), values), from_pandas=True)
        features = rows.features.set_column(rows.features.column_names.index(name), name, made)
        return Rows(rows.name, features, rows.known, rows.portfolio)

    return planted


def lost(share: float, *, bads: bool) -> Fault:
    """Applications of goods, or outcomes of bads, are gone from the older half of the cohorts."""

    def planted(place: Place) -> Rows:
        import pyarrow as pa
        import pyarrow.compute as pc

        rows, bad = place.rows, place.bads()
        middle = place.window.first + (place.window.last - place.window.first) / 2
        gone = ~place.since(middle) & (place.rng.random(len(bad)) < share) & (bad if bads else ~bad)
        outcomes = rows.known.outcomes
        if not bads:
            return Rows(rows.name, rows.features.filter(pa.array(~gone)), rows.known, rows.portfolio)
        ids = rows.features.filter(pa.array(gone))["application_id"].combine_chunks()
        kept = outcomes.filter(pc.invert(pc.is_in(outcomes["application_id"], value_set=ids)))
        return Rows(rows.name, rows.features, Known(kept), rows.portfolio)

    return planted


def stopped(days: int) -> Fault:
    """Nothing has become known for so many days."""

    def planted(place: Place) -> Rows:
        import pyarrow as pa
        import pyarrow.compute as pc

        rows, last = place.rows, place.window.as_of - timedelta(days)
        outcomes = rows.known.outcomes
        kept = outcomes.filter(pc.less_equal(outcomes["outcome_date"], pa.scalar(last)))
        return Rows(rows.name, rows.features, Known(kept), rows.portfolio)

    return planted


FAULTS: dict[str, Fault] = {
    "income in thousands from the test on": changed("annual_income", lambda x: x / 1000),
    "income a month from the test on": changed("annual_income", lambda x: x / 12),
    "a tenth of incomes in cents from the test on": changed("annual_income", lambda x: x * 100, share=0.1),
    "a tenth of incomes in thousands from the test on": changed("annual_income", lambda x: x / 1000, share=0.1),
    "half of incomes a month from the test on": changed("annual_income", lambda x: x / 12, share=0.5),
    "a fifth of amounts in cents in the newest days": changed("loan_amount", lambda x: x * 100, newest=True, share=0.2),
    "income 3 deviations higher from the test on": changed("annual_income", lambda x: x + 3 * np.nanstd(x)),
    "inquiries 3 deviations higher from the test on": changed("inquiries_6m", lambda x: x + 3 * np.nanstd(x)),
    "rate 3 deviations higher from the test on": changed("interest_rate", lambda x: x + 3 * np.nanstd(x)),
    "income 2 deviations higher from the test on": changed("annual_income", lambda x: x + 2 * np.nanstd(x)),
    "income 1 deviation higher from the test on": changed("annual_income", lambda x: x + np.nanstd(x)),
    "limit missing from the test on": changed("credit_limit", lambda x: x * np.nan),
    "limit missing in the newest days": changed("credit_limit", lambda x: x * np.nan, newest=True),
    "limit of one value in the newest days": changed("credit_limit", lambda x: x * 0 + 5_000, newest=True),
    "all goods of the older half lost": lost(1.0, bads=False),
    "four fifths of them": lost(0.8, bads=False),
    "half of them": lost(0.5, bads=False),
    "all bads of the older half lost": lost(1.0, bads=True),
    "four fifths of the bads": lost(0.8, bads=True),
    "half of the bads": lost(0.5, bads=True),
    "no outcomes for 60 days": stopped(60),
    "no outcomes for 120 days": stopped(120),
    "no outcomes for 180 days": stopped(180),
}


# The tables


@dataclass(frozen=True)
class Verdict:
    book: str
    fault: str
    fired: tuple[str, ...] | None


@dataclass(frozen=True)
class Size:
    """Generated books, seeds by applications a day; as-of dates of the real one; lender's books, of 40,000.
    `every`: days between as-of dates of generated books.
    """

    seeds: dict[int, int]
    real: int
    lender: int
    every: int = 69
    faults: tuple[str, ...] = tuple(FAULTS)


FULL = Size({20: 4, 50: 3, 100: 3, 400: 1}, 37, 2)
QUICK = Size({20: 1}, 0, 0, 500, ("income in thousands from the test on", "no outcomes for 60 days"))


def main(size: Size) -> list[Verdict]:
    """Every verdict: of each set without a fault, and of some with each."""
    return [verdict for rows, when, faults in books(size) for verdict in verdicts(rows, when, faults)]


def books(size: Size) -> Iterator[tuple[Rows, list[tuple[date, int]], Sequence[str]]]:
    start, folder = date(2010, 1, 1), real_loans()
    if size.real and folder is not None:
        book = real_book(folder)
        months = [date(year, month, 1) - timedelta(1) for year in (2009, 2010, 2011) for month in range(1, 13)]
        months = [*months, date(2011, 12, 31)][-size.real :]
        when = [(day, lookback) for day in months for lookback in (90, 365, 730)]
        yield _plain(book), when, size.faults
    for rate, seeds in size.seeds.items():
        for seed in range(seeds):
            days = 1_500 if rate < 400 else 900
            when = [
                (start + timedelta(day), lookback)
                for day in range(465, days, size.every)
                for lookback in (90, 365)[: 400 // rate]
            ]
            yield _plain(generated(rate, seed, start, days)), when, size.faults
    for seed in range(size.lender):
        yield lender(seed)


def lender(seed: int) -> tuple[Rows, list[tuple[date, int]], Sequence[str]]:
    """A lender that declines 60%, with a list price that moves each quarter."""
    from benchmarks.population import AS_OF, Book

    book = Book(40_000, seed)
    portfolio, known = book.stated()
    when = [(AS_OF - timedelta(31 * n), lookback) for n in range(6) for lookback in (90, 365)]
    return Rows("lender, list price", book.features, known, portfolio), when, ()


def _plain(book: Any) -> Rows:
    from credit_assets.ml.data.portfolio import load_portfolio

    return Rows(book.name, book.features, Known(book.outcomes), load_portfolio(None))


def verdicts(rows: Rows, when: Sequence[tuple[date, int]], faults: Sequence[str]) -> Iterator[Verdict]:
    for number, (as_of, lookback) in enumerate(when):
        found = fired(rows, as_of, lookback)
        yield Verdict(rows.name, NONE, found)
        if found is None or number % 7:
            continue
        window = CohortWindow(as_of, W, lookback)
        test = window.last - timedelta(lookback // 4)
        for name in faults:
            planted = FAULTS[name](Place(rows, test, window, np.random.default_rng([number, len(name)])))
            yield Verdict(rows.name, name, fired(planted, as_of, lookback))


def markdown(found: Sequence[Verdict]) -> str:
    """One row a fault, one column a book: how many trainings were stopped, and by which gates most."""
    names = list(dict.fromkeys(one.book for one in found))
    rows = []
    for fault in dict.fromkeys(one.fault for one in found):
        row, by = [fault], dict[str, int]()
        for name in names:
            of = [one for one in found if (one.book, one.fault) == (name, fault) and one.fired is not None]
            row.append(f"{sum(bool(one.fired) for one in of)} of {len(of)}" if of else "-")
            for gate in (gate for one in of for gate in one.fired or ()):
                by[gate] = by.get(gate, 0) + 1
        rows.append([*row, ", ".join(sorted(by, key=lambda one: -by[one])[:2]) or "-"])
    return table(["planted", *names, "by"], rows)


if __name__ == "__main__":
    print(markdown(main(QUICK if "--quick" in sys.argv else FULL)))
