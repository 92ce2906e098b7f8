"""Years without change lived through by the functions that the pipeline itself calls, to hold the simulation against.

Belongs here: the models of such a year. Does not belong here: what is promoted of them (`decision_rates`).

A training set is assembled, and each variant trained, as of every training day of a book in which nothing changes. A
model is kept as its PDs of all loans of the book, so that any rule can live the same year.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.decision_books import START, make_book
from benchmarks.decision_inputs import VARIANTS, config, tables, training_set
from benchmarks.decision_rates import BAD_RATE, LOOKBACK
from credit_assets.ml.data.cohorts import SPLIT, CohortWindow
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.learners.candidates import train_candidate

if TYPE_CHECKING:
    import pyarrow as pa

_WINDOW = 90


class Lived:
    """A year of models, trained every so many days by the pipeline's own functions."""

    def __init__(self, loans: int, seed: int, every: int, days: int = 365) -> None:
        self.days, self.every = days, every
        self.chosen: dict[tuple[int, int], np.ndarray] = {}
        book = make_book(loans, seed, days=days + LOOKBACK + _WINDOW, bad_rate=BAD_RATE)
        self.bad = book.bad
        self.groups: np.ndarray | None = None
        self._days = np.array([(day - START).days for day in book.applications["application_date"]])
        portfolio = load_portfolio(None)
        self._table, outcomes = tables(book, portfolio)
        self._spans: dict[int, dict[str, slice]] = {}
        self._models: dict[int, list[np.ndarray]] = {}
        for day in range(0, days, every):
            as_of = START + timedelta(LOOKBACK + _WINDOW + day)
            window = CohortWindow(as_of, _WINDOW, LOOKBACK)
            training = training_set(self._table, outcomes, window, portfolio)
            self._spans[day] = {split: self._span(training, split) for split in ("validation", "test")}
            self._models[day] = [
                train_candidate(training, variant, portfolio, config(variant)).scorer.pd(self._table, threads=1)
                for variant in VARIANTS
            ]

    def _span(self, training: pa.Table, split: str) -> slice:
        import pyarrow.compute as pc

        dates = training.filter(pc.equal(training[SPLIT], split))["application_date"]
        first, last = pc.min(dates).as_py(), pc.max(dates).as_py()
        return slice(*(int(np.searchsorted(self._days, self._number(day))) for day in (first, last + timedelta(1))))

    @staticmethod
    def _number(day: date) -> int:
        return (day - START).days

    def test(self, day: int) -> slice:
        return self._spans[day]["test"]

    def validation(self, day: int) -> slice:
        return self._spans[day]["validation"]

    def models(self, day: int) -> Sequence[np.ndarray]:
        return self._models[day]

    def pd(self, model: np.ndarray, rows: slice) -> np.ndarray:
        return model[rows]
