"""The cut-off of a model: above which PD it declines, by those who applied on the days of its out-of-time test.

Belongs here: finding these applications, and the record. Does not belong here: the measures (`ml.evidence.cutoffs`)
and the use of a cut-off (`ml.learners.scorer`).

Everyone who applied counts, whoever of them was lent to: an approval rate is a share of applications. A model and its
cut-off are one: it is saved with the model's files, so that whoever scores with them declines alike, and a model that
comes back into force brings its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.assets.policies import policy_of
from credit_assets.assets.stored_days import StoredDays
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.learners.candidates import Candidate

FEATURES = "processed_features"
MOST_ROWS = 200_000
"""Applications by which a cut-off is found: more would not move a quantile."""


def cut_off_identity(settings: Settings, store: Store, training_set: pa.Table) -> dict[str, Any]:
    """What a cut-off is made of, as part of a model's identity: the policy's keys, and the content of the days whose
    applications decide it. Nothing where the policy has nobody declined.
    """
    from credit_assets.ml.data.fingerprints import fingerprint

    policy = policy_of(settings).cutoff
    if not policy.decides:
        return {}
    made: dict[str, Any] = {"approval_rate": policy.approval_rate, "max_pd": policy.max_pd}
    if policy.approval_rate is not None:
        days = [day.isoformat() for day in applied_on(store, training_set, settings)]
        footers = store.footers(FEATURES, days, damaged_too=False)
        made["applications"] = fingerprint(days={day: footers[day].content for day in sorted(footers)})
    return {"cut_off": made}


def with_cut_off(
    settings: Settings, store: Store, trained: Candidate, training_set: pa.Table
) -> tuple[Candidate, dict[str, Any]]:
    """The model with its cut-off, and the record of it: `pd`, which is None where the policy has nobody declined, by
    whom it was found, and how many of them it approves.
    """
    import numpy as np

    from credit_assets.ml.evidence.cutoffs import cut_off

    policy = policy_of(settings).cutoff
    if not policy.decides:
        return trained, {"cut_off": {"pd": None, "why": "the policy declines nobody (policy: cutoff)"}}
    days = applied_on(store, training_set, settings)
    if days:
        rows = StoredDays(store).sample(FEATURES, days, MOST_ROWS)
        pd = trained.scorer.pd(rows, threads=settings.training_threads)
        population = "all applications of the days of the test"
    else:
        pd, population = trained.predictions["test"].pd, "the loans of the test: no applications of its days are stored"
    pd = pd[~np.isnan(pd)]
    found = cut_off(pd, policy)
    assert found is not None
    record = {
        "pd": found,
        "approval_rate": policy.approval_rate,
        "max_pd": policy.max_pd,
        "population": population,
        "days": [day.isoformat() for day in _ends(training_set, settings)],
        "applications": sum(days.values()) if days else len(pd),
        "scored": len(pd),
        "approved": float((pd <= found).mean()) if len(pd) else None,
    }
    return replace(trained, scorer=replace(trained.scorer, cut_off=found)), {"cut_off": record}


def applied_on(store: Store, training_set: pa.Table, settings: Settings) -> dict[date, int]:
    """The days of a test whose applications are stored, with how many they are."""
    first, last = _ends(training_set, settings)
    return StoredDays(store).accepted(FEATURES, [first + timedelta(n) for n in range((last - first).days + 1)])


def _ends(training_set: pa.Table, settings: Settings) -> tuple[date, date]:
    import pyarrow.compute as pc

    test = training_set.filter(pc.equal(training_set["split"], "test"))
    ends = pc.min_max(test[settings.portfolio_contract.date_column]).as_py()
    return ends["min"], ends["max"]
