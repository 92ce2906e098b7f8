"""The best candidate of the as-of date, and how it stands against the champion on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.comparison import compare_with_champion, comparison_record
from credit_assets.assets.conventions import Table, daily_asset, inputs
from credit_assets.assets.cutoffs import cutoffs_record
from credit_assets.assets.described import described_record
from credit_assets.assets.due import not_due_result, why_no_training
from credit_assets.assets.fairness import fairness_record
from credit_assets.assets.first_days import first_days_record
from credit_assets.assets.leaks import gains_before, importance_record, leaks_record
from credit_assets.assets.policies import policy_of
from credit_assets.assets.recalibration import RECALIBRATED, Recalibrating, mode_of
from credit_assets.checks import rule_results, rule_specs, rules_not_asked
from credit_assets.ledger.registry import BASELINE, Registry
from credit_assets.ledger.retraining import triggers_of
from credit_assets.ml.rules.due import NOT_DUE
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking

if TYPE_CHECKING:
    from credit_assets.ml.data.gate_results import GateResult
    from credit_assets.ml.learners.scorer import CreditScorer


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @daily_asset(
        "trained_model",
        settings,
        partitions,
        "mlflow",
        ins=inputs("trained_model", settings),
        check_specs=rule_specs(partitions),
        description="The candidate with the best AUC on the validation rows, or the champion with a new calibration "
        "where nobody asked for more; its evaluation on the out-of-time test, and its difference from the champion in "
        "force, on rows that neither has seen, with a paired DeLong interval; "
        "and how the newest days look to it beside those of its out-of-time test.",
    )
    def trained_model(
        context: dg.AssetExecutionContext,
        training_set: Table,
        tracking: dg.ResourceParam[Tracking],
        registry: dg.ResourceParam[Registry],
        store: dg.ResourceParam[Store],
        claims: dg.ResourceParam[Claims],
        **records: dict[str, Any],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.fingerprints import frame_hash
        from credit_assets.ml.learners.scorer import CreditScorer
        from credit_assets.ml.reports.scorecard import SCORECARD, scorecard_record
        from credit_assets.ml.reports.selection import best_candidate, summary
        from credit_assets.ml.rules.model_rules import judge_model

        if why := why_no_training(store, training_set, context.partition_key):
            record = {"as_of": context.partition_key, "status": NOT_DUE}
            return not_due_result(record, why, rules_not_asked(context.partition_key, why))
        as_of, data = date.fromisoformat(context.partition_key), frame_hash(training_set)
        candidates = list(records.values())
        if any(one["status"] == RECALIBRATED for one in candidates):
            best: Mapping[str, Any] = Recalibrating(context, settings, training_set, data).record(
                registry, tracking, store
            )
        else:
            best = best_candidate(candidates, data, settings.variants, as_of)

        def scorer_of(one: Mapping[str, Any]) -> CreditScorer:
            return CreditScorer.load(tracking.models.download(one["model_uri"]))

        scorer, gates = scorer_of(best), store.gates("training_set", context.partition_key)
        selecting = Selecting(settings, store, registry, training_set, gates)
        record = selecting.record(candidates, best, scorer)
        record[SCORECARD] = scorecard_record(training_set, candidates, best, scorer_of, settings.portfolio_contract)
        policy, record["mode"] = policy_of(settings), mode_of(best, triggers_of(claims, as_of), record["champion"])
        judged = judge_model(record, policy)
        record |= {"policy": policy.to_record(), "judged": [one.to_record() for one in judged]}
        return dg.MaterializeResult(
            value=record,
            data_version=dg.DataVersion(best["fingerprint"]),
            metadata=summary(record),
            check_results=rule_results(context.partition_key, judged),
        )

    return [trained_model]


@dataclass(frozen=True)
class Selecting:
    """What the evidence for a model is made of: the training set of its as-of date with what its gates said, and all
    that the store and the registry have of the days until then.

    Made again later, of the same, it is the same: whoever re-performs a version compares it with what was recorded.
    """

    settings: Settings
    store: Store
    registry: Registry
    training_set: Table
    gates: Sequence[GateResult]

    def record(
        self, candidates: Sequence[Mapping[str, Any]], best: Mapping[str, Any], scorer: CreditScorer
    ) -> dict[str, Any]:
        """The record of the chosen model, which `scorer` is, before anything judges it."""
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
        record["fairness"] = fairness_record(
            settings, store, registry.tracking.models, candidates, scorer, training_set
        )
        tested = unseen_rows(training_set, date_column, date.fromisoformat(record["test_from"]))
        record["calibration"] = calibration_record(tested, pd_of, portfolio, fit_of(baseline))
        record["age"] = age_record(tested, date_column, as_of)
        return record


def directions_record(training_set: Table, settings: Settings, scorer: CreditScorer) -> dict[str, Any]:
    """What `measure_directions` finds."""
    from credit_assets.ml.evidence.directions import measure_directions

    pd, tolerance = partial(scorer.pd, threads=settings.training_threads), policy_of(settings).directions.tolerance
    return measure_directions(pd, training_set, settings.portfolio_contract, tolerance)
