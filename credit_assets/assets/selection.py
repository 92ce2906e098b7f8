"""The best candidate of the as-of date, and how it stands against the champion on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg

from credit_assets import pages
from credit_assets.assets.conventions import Table, daily_asset, inputs
from credit_assets.assets.due import not_due_result, why_no_training
from credit_assets.assets.policies import policy_of
from credit_assets.assets.recalibration import RECALIBRATED, Recalibrating, mode_of
from credit_assets.assets.requested import NOT_REQUESTED, RetrainingRequest, requested
from credit_assets.assets.selecting import Selecting
from credit_assets.checks import rule_results, rule_specs, rules_without_a_model
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import triggers_of
from credit_assets.ml.rules.due import NOT_DUE
from credit_assets.settings import Settings
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking


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
        retraining: RetrainingRequest,
        **records: dict[str, Any],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.fingerprints import frame_hash
        from credit_assets.ml.learners.scorer import CreditScorer
        from credit_assets.ml.reports.pictures import of_model
        from credit_assets.ml.reports.selection import best_candidate, summary
        from credit_assets.ml.rules.model_rules import judge_model

        if why := why_no_training(store, training_set, context.partition_key):
            record = {"as_of": context.partition_key, "status": NOT_DUE}
            return not_due_result(record, why, rules_without_a_model(context.partition_key, why))
        as_of, data = date.fromisoformat(context.partition_key), frame_hash(training_set)
        applied = retraining.applied(settings)
        candidates = [one for one in records.values() if one["status"] != NOT_REQUESTED]
        if any(one["status"] == RECALIBRATED for one in candidates):
            best: Mapping[str, Any] = Recalibrating(context, applied, training_set, data).record(
                registry, tracking, store
            )
        else:
            best = best_candidate(candidates, data, applied.variants, as_of)

        scorer = CreditScorer.load(tracking.models.of_record(best))
        selecting = Selecting(applied, store, registry, training_set, store.gates("training_set", as_of.isoformat()))
        record = selecting.record(candidates, best, scorer)
        record |= requested(retraining.to_record())
        record["mode"] = mode_of(best, triggers_of(registry.claims, as_of), record["champion"])
        policy = policy_of(applied)
        judged = judge_model(record, policy)
        record |= {"policy": policy.to_record(), "judged": [one.to_record() for one in judged]}
        return dg.MaterializeResult(
            value=record,
            data_version=dg.DataVersion(best["fingerprint"]),
            metadata={
                **summary(record),
                "mlflow_run": tracking.server.run_link(record["run_id"]),
                "mlflow_experiment": tracking.server.experiment_link(),
                **pages.pictures(of_model(record), store, "trained_model", context.partition_key),
                "fingerprint": record["fingerprint"],
            },
            check_results=rule_results(context.partition_key, judged),
        )

    return [trained_model]
