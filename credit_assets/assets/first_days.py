"""The newest days beside those of the out-of-time test, scored by a model that has not taken over yet.

Belongs here: which days these are, and reading them. Does not belong here: the measures (`ml.evidence.first_days`) and
the rules (`ml.rules.first_days`).

Like is held against like: everyone who applied on the days of the test against everyone who applied on the newest days,
whoever of them was lent to. What the store has of these days is what was known when they were ingested.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.assets.model_inputs import ModelInputs
from credit_assets.assets.policies import drift_policy, policy_of
from credit_assets.assets.stored_days import StoredDays
from credit_assets.failures import PermanentError, error_text
from credit_assets.ledger.kept import Kept
from credit_assets.ledger.registry import Registry, Version
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.learners.scorer import CreditScorer

_FEATURES = "processed_features"
_MOST_ROWS = 20_000
"""Rows of either side: what a million would show beyond that is no matter of taking over."""


def first_days_record(
    settings: Settings, store: Store, scorer: CreditScorer, training_set: pa.Table, as_of: date
) -> dict[str, Any]:
    """What `measure_first_days` finds, with the `days` on either side; or `why` nothing can be said."""
    import pyarrow.compute as pc

    from credit_assets.ml.rules.first_days import LEAST_ROWS

    tables, test = StoredDays(store), training_set.filter(pc.equal(training_set["split"], "test"))
    dates = test[settings.portfolio_contract.date_column]
    first, last = pc.min(dates).as_py(), pc.max(dates).as_py()
    then = tables.accepted(_FEATURES, [first + timedelta(n) for n in range((last - first).days + 1)])
    now = newest_days(tables, last, as_of, settings)
    if not then:
        return {"why": f"{_FEATURES} has nothing of {first} .. {last}, the days of the test"}
    if sum(now.values()) < LEAST_ROWS:
        return {
            "why": f"{sum(now.values())} applications are there of {last + timedelta(1)} .. {as_of}, the days after "
            f"the test, and {LEAST_ROWS} are needed"
        }
    try:
        inputs = ModelInputs(store, settings.portfolio_contract)
        sides = [tables.sample(_FEATURES, days, _MOST_ROWS) for days in (then, now)]
        measured = _measured(settings, scorer, *(inputs.beside(rows, scorer) for rows in (thinned(test), *sides)))
    except (PermanentError, ValueError) as error:
        # A training does not wait for days that it does not need; the model waits for them.
        return {"why": error_text(error)}
    return {"days": {"then": _ends(list(then)), "now": _ends(list(now))}, **measured}


def look_again(settings: Settings, store: Store, registry: Registry, version: Version, day: date) -> None:
    """Measure a registered version anew by the newest days up to this one, for the decision after its trial. Changes
    nothing where nothing is kept of it.
    """
    from credit_assets.ml.learners.scorer import CreditScorer

    kept = Kept(store)
    record = kept.of(version)
    if record is None or record.training_set is None:
        return
    table = store.read_table(store.path(record.training_set))
    scorer = CreditScorer.load(registry.download(version))
    kept.looked_at(record, first_days_record(settings, store, scorer, table, day))


def _measured(
    settings: Settings, scorer: CreditScorer, test: pa.Table, then: pa.Table, now: pa.Table
) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa

    from credit_assets.ml.data.customers import groups_of
    from credit_assets.ml.evidence.first_days import Sides, measure_first_days

    def score(data: Any) -> tuple[Any, Any]:
        scores = scorer.score(data, threads=settings.training_threads)
        return scores["pd"].to_numpy(), scores["score"].to_numpy()

    # Whom the model refuses for a value that is missing it will not score in use either.
    kept = [side.filter(pa.array(~np.isnan(score(side)[0]))) for side in (test, then, now)]
    refused = [side.num_rows - some.num_rows for side, some in zip((test, then, now), kept, strict=True)]
    # A derived feature that has left the portfolio is in no table; the model computes it from what is compared here.
    features = [name for name in scorer.features if all(name in rows.column_names for rows in kept)]
    categorical = [name for name in features if name in scorer.categories]
    of_test, of_then, of_now = kept
    customers = groups_of(of_test, settings.portfolio_contract)
    sides = Sides(of_test, of_then, of_now, customers)
    found = measure_first_days(score, sides, features, categorical, drift_policy(settings))
    return {**found, **({"refused": dict(zip(("test", "then", "now"), refused, strict=True))} if any(refused) else {})}


def newest_days(tables: StoredDays, after: date, as_of: date, settings: Settings) -> dict[date, int]:
    """The newest days up to the as-of date: CREDIT_FIRST_DAYS of them, and on from there until they have
    CREDIT_FIRST_DAYS_MIN_ROWS applications; none of the test's own days.
    """
    found: dict[date, int] = {}
    end, limits = as_of, policy_of(settings).first_days
    while end > after:
        begin = max(after + timedelta(1), end - timedelta(limits.days - 1))
        days = [begin + timedelta(n) for n in range((end - begin).days + 1)]
        found = {**tables.accepted(_FEATURES, days), **found}
        if sum(found.values()) >= limits.min_rows:
            break
        end = begin - timedelta(1)
    return found


def _ends(days: Sequence[date]) -> list[str]:
    return [days[0].isoformat(), days[-1].isoformat()]


def thinned(table: pa.Table) -> pa.Table:
    """At most so many rows, evenly taken."""
    import numpy as np

    if table.num_rows <= _MOST_ROWS:
        return table
    return table.take(np.linspace(0, table.num_rows - 1, _MOST_ROWS).astype(np.int64))
