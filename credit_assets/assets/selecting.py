"""The evidence for the model that is chosen as of a date, as one record.

Belongs here: what it is made of and in which order. Does not belong here: each measure, the asset that materializes
the record (`selection`), nor Dagster: whoever makes evidence again does so without a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from credit_assets.assets.comparison import compare_with_champion, comparison_record
from credit_assets.assets.cutoffs import cutoffs_record
from credit_assets.assets.described import described_record
from credit_assets.assets.fairness import fairness_record
from credit_assets.assets.first_days import first_days_record
from credit_assets.assets.leaks import gains_before, importance_record, leaks_record
from credit_assets.assets.policies import policy_of
from credit_assets.ledger.registry import BASELINE, Registry
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.gate_results import GateResult
    from credit_assets.ml.learners.scorer import CreditScorer


@dataclass(frozen=True)
class Selecting:
    """What the evidence for a model is made of: the training set of its as-of date with what its gates said, and all
    that the store and the registry have of the days until then.

    Made again later, of the same, it is the same: whoever re-performs a version compares it with what was recorded.
    """

    settings: Settings
    store: Store
    registry: Registry
    training_set: pa.Table
    gates: Sequence[GateResult]

    def record(
        self, candidates: Sequence[Mapping[str, Any]], best: Mapping[str, Any], scorer: CreditScorer
    ) -> dict[str, Any]:
        """The record of the chosen model, which `scorer` is, before anything judges it."""
        from credit_assets.ml.learners.scorer import CreditScorer
        from credit_assets.ml.reports.reliability import RELIABILITY, reliability_record
        from credit_assets.ml.reports.scorecard import SCORECARD, scorecard_record
        from credit_assets.ml.reports.selection import (
            age_record,
            baseline_record,
            calibration_record,
            fit_of,
            selection_record,
            unseen_rows,
        )
        from credit_assets.ml.rules.population_gates import classes_record

        settings, store, registry, training_set = self.settings, self.store, self.registry, self.training_set
        # In one order, whoever hands them on: curves over all of them are compared figure by figure.
        candidates = sorted(candidates, key=lambda one: one["variant"])

        def scorer_of(one: Mapping[str, Any]) -> CreditScorer:
            """The model of a candidate; of the chosen one the given, which may be made again and logged nowhere."""
            if one["variant"] == best["variant"]:
                return scorer
            return CreditScorer.load(registry.tracking.models.of_record(one))

        portfolio, as_of = settings.portfolio_contract, date.fromisoformat(best["as_of"])
        pd_of, made = partial(scorer.pd, threads=settings.training_threads), best.get("recalibrates")
        before = registry.version(made["version"]).baseline if made else None
        baseline = baseline_record(training_set, pd_of, portfolio, made, before)
        champion = compare_with_champion(training_set, settings, best, scorer, registry)
        data, date_column = best["identity"]["data"], portfolio.date_column
        record = selection_record(training_set, data, candidates, best, champion, date_column)
        record["cutoffs"] = cutoffs_record(settings, store, registry, best, scorer, training_set)
        record["trained_on"] = classes_record(self.gates)
        record["first_days"] = first_days_record(settings, store, scorer, training_set, as_of)
        record["directions"] = directions_record(training_set, settings, scorer)
        record[BASELINE] = baseline
        record["comparison"] = comparison_record(record, training_set, settings, scorer, registry, store)
        record["importance"] = importance_record(settings, scorer, training_set)
        record |= described_record(settings, scorer, training_set)
        record["leaks"] = leaks_record(settings, scorer, training_set, record, gains_before(store, registry, as_of))
        record["fairness"] = fairness_record(settings, store, candidates, scorer_of, scorer, training_set)
        record[SCORECARD] = scorecard_record(training_set, candidates, best, scorer_of, portfolio)
        tested = unseen_rows(training_set, date_column, date.fromisoformat(record["test_from"]))
        record["calibration"] = calibration_record(tested, pd_of, portfolio, fit_of(baseline))
        record[RELIABILITY] = reliability_record(tested, scorer, portfolio, settings.training_threads)
        record["age"] = age_record(tested, date_column, as_of)
        return record


def directions_record(training_set: pa.Table, settings: Settings, scorer: CreditScorer) -> dict[str, Any]:
    """What `measure_directions` finds."""
    from credit_assets.ml.evidence.directions import measure_directions

    pd, tolerance = partial(scorer.pd, threads=settings.training_threads), policy_of(settings).directions.tolerance
    return measure_directions(pd, training_set, settings.portfolio_contract, tolerance)
