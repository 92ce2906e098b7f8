"""What drift is held against where not everyone was lent to: everyone who applied while the model's loans were made.

Belongs here: which days these are, and reading them. Does not belong here: what a reference is
(`ml.evidence.drift_reference`).

A model learns from booked loans and scores everyone. Held against the loans that it learned from, those who apply
would differ from them on every day, by what the lender's own choice took out.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from credit_assets.assets.stored_days import StoredDays
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.learners.candidates import Candidate

_FEATURES = "processed_features"
_MOST_ROWS = 200_000
"""Rows of a reference: more would not move its quantiles."""


def of_everyone(settings: Settings, store: Store, trained: Candidate, training_set: pa.Table) -> Candidate:
    """The model with a reference of everyone who applied on the days of its training set, their points from the days
    on which none of its loans was fitted on; as it is where everyone was lent to.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.data.missing import without_refused
    from credit_assets.ml.evidence.drift_reference import DriftReference

    portfolio = settings.portfolio_contract
    if portfolio.decisions is None:
        return trained
    dates = training_set[portfolio.date_column]
    unseen = dates.filter(pc.not_equal(training_set["split"], "train"))
    last = pc.max(dates).as_py()
    applied = _sample(store, pc.min(dates).as_py(), last)
    applied = applied.filter(pa.array(without_refused(applied, portfolio)))
    points = trained.scorer.score(_sample(store, pc.min(unseen).as_py(), last), threads=settings.training_threads)
    features = trained.scorer.features
    unrefused = points["score"].dropna().to_numpy()
    reference = DriftReference.of(applied, features, portfolio.categorical_features, unrefused)
    return replace(trained, reference=reference)


def _sample(store: Store, first: date, last: date) -> pa.Table:
    """Everyone who applied from the first day to the last, evenly taken where they are many."""
    tables = StoredDays(store)
    days = tables.accepted(_FEATURES, [first + timedelta(n) for n in range((last - first).days + 1)])
    return tables.sample(_FEATURES, days, _MOST_ROWS)
