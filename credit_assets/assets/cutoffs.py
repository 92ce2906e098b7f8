"""The cut-off of a model: above which PD it declines, by those who applied on the days of its out-of-time test.

Belongs here: finding these applications, and the record. Does not belong here: the measures (`ml.evidence.cutoffs`)
and the use of a cut-off (`ml.learners.scorer`).

Everyone who applied counts, whoever of them was lent to: an approval rate is a share of applications. A model and its
cut-off are one: it is saved with the model's files, so that whoever scores with them declines alike, and a model that
comes back into force brings its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.assets.applied import columns_beside
from credit_assets.assets.first_days import thinned
from credit_assets.assets.model_inputs import ModelInputs
from credit_assets.assets.policies import policy_of
from credit_assets.assets.stored_days import StoredDays
from credit_assets.failures import PermanentError, error_text
from credit_assets.ledger.registry import Registry, Version
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.evidence.money import FundedLoans
    from credit_assets.ml.learners.candidates import Candidate
    from credit_assets.ml.learners.scorer import CreditScorer

FEATURES = "processed_features"
MOST_ROWS = 200_000
"""Applications by which a cut-off is found: more would not move a quantile."""
_MOST_LOANS = 20_000
_EVERYONE = "all applications of the days of the test"
_LOANS = "the loans of the test: no applications of its days are stored"


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
        population = _EVERYONE
    else:
        pd, population = trained.predictions["test"].pd, _LOANS
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


def cutoffs_record(
    settings: Settings,
    store: Store,
    registry: Registry,
    best: Mapping[str, Any],
    scorer: CreditScorer,
    training_set: pa.Table,
) -> dict[str, Any]:
    """What each cut-off would have brought on the loans of the test, and who changes sides against the champion; with
    `pd`, the model's own cut-off, and how it was found. `best` is the record of the model, which `scorer` is.
    """
    import numpy as np
    import pyarrow.compute as pc

    from credit_assets.ml.evidence.money import measure_money

    policy, threads = policy_of(settings).cutoff, settings.training_threads
    test = thinned(training_set.filter(pc.equal(training_set["split"], "test")))
    whole = _loans(settings, store, test, scorer.pd(test, threads=threads))
    known = (whole.amount > 0) & ~np.isnan(whole.pd)
    loans, days = whole.kept(known), applied_on(store, training_set, settings)
    record = {
        **best.get("cut_off", {}),
        "pd": scorer.cut_off,
        "unit": policy.amount_column or "loan",
        "refused": int(np.isnan(whole.pd).sum()),
        "without_amount": int((~(whole.amount > 0)).sum()),
        "approval_rates_of": _EVERYONE if days else _LOANS,
    }
    applied = scorer.pd(StoredDays(store).sample(FEATURES, days, _MOST_LOANS), threads=threads) if days else loans.pd
    applied = applied[~np.isnan(applied)]
    if not len(loans.bad) or not len(applied):
        return {**record, "why": "no loan of the test has both a PD and an amount"}
    champion = registry.champion_at(date.fromisoformat(best["as_of"]))
    return {
        **record,
        **measure_money(loans, applied, policy, scorer.cut_off),
        "swap": None if champion is None else _swap(settings, store, registry, champion, (scorer, test, whole)),
    }


def _loans(settings: Settings, store: Store, test: pa.Table, pd: NDArray[np.float64]) -> FundedLoans:
    """The loans of a test; NaN where an amount is missing."""
    import numpy as np
    import pyarrow as pa

    from credit_assets.ml.data.customers import groups_of
    from credit_assets.ml.data.values import numbers
    from credit_assets.ml.evidence.money import FundedLoans

    portfolio, column = settings.portfolio_contract, policy_of(settings).cutoff.amount_column
    if column is None:
        amount = np.ones(test.num_rows)
    elif column in test.column_names:
        amount = numbers(test[column])
    else:
        found = columns_beside(store, portfolio, test, [column])[column]
        amount = numbers(pa.chunked_array([found.cast(pa.float64())]))
    return FundedLoans(test["default"].to_numpy() == 1, pd, amount, groups_of(test, portfolio))


def _swap(
    settings: Settings,
    store: Store,
    registry: Registry,
    champion: Version,
    ours: tuple[CreditScorer, pa.Table, FundedLoans],
) -> dict[str, Any]:
    """Who changes sides, among the loans of the test that neither model has used: where each has its own cut-off, and
    where both approve the same share of these loans.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.evidence.money import measure_swap, swaps_at_equal_rates
    from credit_assets.ml.learners.scorer import CreditScorer

    portfolio, policy = settings.portfolio_contract, policy_of(settings).cutoff
    scorer, test, loans = ours
    since = date.fromisoformat(champion.tags["test_from"])
    new = pc.greater_equal(test[portfolio.date_column], pa.scalar(since)).to_numpy()
    record: dict[str, Any] = {"version": champion.version}
    try:
        theirs = CreditScorer.load(registry.download(champion))
        rows = ModelInputs(store, portfolio).beside(test.filter(pa.array(new)), theirs)
        pd = theirs.pd(rows, threads=settings.training_threads)
    except (PermanentError, ValueError) as error:
        return {**record, "why": error_text(error)}
    loans = loans.kept(new)
    known = (loans.amount > 0) & ~np.isnan(loans.pd + pd)
    loans, pd = loans.kept(known), pd[known]
    record["loans"] = len(pd)
    if not len(pd):
        return {**record, "why": "no loans that neither model has used and both score"}
    if scorer.cut_off is not None and theirs.cut_off is not None:
        record["at_cut_offs"] = measure_swap(loans, pd, (scorer.cut_off, theirs.cut_off), policy)
    else:
        record["at_cut_offs"] = None
    return {**record, "at_equal_rates": swaps_at_equal_rates(loans, pd, policy)}


def applied_on(store: Store, training_set: pa.Table, settings: Settings) -> dict[date, int]:
    """The days of a test whose applications are stored, with how many they are."""
    first, last = _ends(training_set, settings)
    return StoredDays(store).accepted(FEATURES, [first + timedelta(n) for n in range((last - first).days + 1)])


def _ends(training_set: pa.Table, settings: Settings) -> tuple[date, date]:
    import pyarrow.compute as pc

    test = training_set.filter(pc.equal(training_set["split"], "test"))
    ends = pc.min_max(test[settings.portfolio_contract.date_column]).as_py()
    return ends["min"], ends["max"]
