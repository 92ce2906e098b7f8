"""What a trained model's skill comes from, beside what its champion and the versions before it had.

Belongs here: gathering the evidence. Does not belong here: the measure (`ml.evidence.leaks`) and the rules
(`ml.rules.leak_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.assets.first_days import thinned
from credit_assets.ledger.kept import Kept
from credit_assets.ledger.registry import RECALIBRATES, Registry
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.learners.scorer import CreditScorer


def leaks_record(
    settings: Settings, scorer: CreditScorer, training_set: pa.Table, trained: Mapping[str, Any], gains: list[float]
) -> dict[str, Any]:
    """What `judge_leaks` reads. `trained`: the record of the model; `gains`: what `gains_before` found."""
    from credit_assets.ml.evidence.leaks import foremost

    evaluation = trained["evaluation"]
    importance = trained.get("importance") or importance_record(settings, scorer, training_set)
    return {
        "auc": evaluation["auc"],
        "auc_ci_low": evaluation["auc_ci_low"],
        "champion": _gain(trained["champion"]),
        "gains": gains,
        "strong": list(settings.portfolio_contract.gates.strong_features),
        "concentration": foremost(importance["features"]),
    }


def importance_record(settings: Settings, scorer: CreditScorer, training_set: pa.Table) -> dict[str, Any]:
    """What each feature brings to the model's order of the out-of-time test."""
    import pyarrow.compute as pc

    from credit_assets.ml.data.customers import groups_of
    from credit_assets.ml.evidence.leaks import MOST, measure_concentration

    def pd(data: Any) -> NDArray[np.float64]:
        return scorer.pd(data, threads=settings.training_threads)

    test = thinned(training_set.filter(pc.equal(training_set["split"], "test")))
    groups = groups_of(test, settings.portfolio_contract)
    return {
        "meaning": "AUC that the out-of-time test loses where the values of one feature are dealt out anew among its "
        "rows",
        "rows": test.num_rows,
        "of": len(scorer.features),
        "features": measure_concentration(pd, test, scorer.features, groups, MOST),
    }


def gains_before(store: Store, registry: Registry, as_of: date) -> list[float]:
    """What each version that took over up to a day gained over the champion before it, the oldest first. One that is
    another with a new calibration orders applicants as that does: its gain of nothing tells no limit for trainings.
    """
    kept, found = Kept(store), []
    for version in sorted(registry.versions(), key=lambda one: (one.as_of, int(one.version))):
        if (
            version.as_of < as_of
            and RECALIBRATES not in version.tags
            and any(first <= as_of for first, _ in version.champion_periods)
        ):
            record = kept.of(version)
            champion = record.leaks["champion"] if record and record.leaks else None
            if champion and "difference" in champion:
                found.append(float(champion["difference"]))
    return found


def _gain(champion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if champion is None:
        return None
    if not champion.get("comparable", True):
        return {"version": champion["version"], "why": champion["why"]}
    difference = champion["difference"]
    return {
        "version": champion["version"],
        "difference": difference["difference"],
        "ci_low": difference["ci_low"],
        "rows": difference["rows"],
    }
