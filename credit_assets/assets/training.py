"""The training set of an as-of date, and one candidate model a variant trained on it."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets import stages, stopping
from credit_assets.assets import engines
from credit_assets.assets.columns import column_schema, made_of
from credit_assets.assets.conventions import Table, asset_key, daily_asset, daily_result, dependencies, inputs
from credit_assets.assets.cutoffs import cut_off_identity, with_cut_off
from credit_assets.assets.due import not_due_result, training_set_of, why_no_training
from credit_assets.assets.made_with import made_with
from credit_assets.assets.policies import training_config
from credit_assets.assets.recalibration import not_trained, to_recalibrate
from credit_assets.assets.references import of_everyone
from credit_assets.assets.requested import NOT_REQUESTED, RetrainingRequest, requested
from credit_assets.assets.searching import Trials, search_identity, with_found
from credit_assets.checks import current_days_result, current_days_spec, gate_specs, gates_of
from credit_assets.failures import PermanentError, error_text, is_transient
from credit_assets.ledger.integrity import Integrity
from credit_assets.ledger.registry import Registry
from credit_assets.ml.data.schemas import training_fields
from credit_assets.ml.rules.due import NOT_DUE
from credit_assets.settings import Settings
from credit_assets.storage.footers import with_makers
from credit_assets.storage.partition_files import stage
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking
from credit_assets.tracking.dagster_mlflow import DagsterStep
from credit_assets.tracking.evidence import log_candidate
from credit_assets.tracking.runs import CandidateKey
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    from credit_assets.ml.learners.candidates import Candidate

# Before any learner loads OpenMP: idle threads that spin cost a fit up to eight times its CPU once cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before numpy loads OpenBLAS, whose threads spin too: sums over some ten thousand rows are too short to be shared. A
# month of performance reports cost 6.8 s of CPU with two threads and 2.5 s with one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    candidates = (candidate_asset(settings, partitions, variant) for variant in settings.variants)
    return [training_set_asset(settings, partitions), *candidates]


def training_set_asset(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    portfolio = settings.portfolio_contract
    gates = gates_of("training_set", portfolio)

    @daily_asset(
        "training_set",
        settings,
        partitions,
        "pandas",
        "parquet",
        deps=dependencies("training_set", settings),
        check_specs=[*gate_specs("training_set", gates, partitions), current_days_spec(partitions)],
        description=f"Features of the cohorts that are mature by the as-of date, with their target: default within "
        f"{settings.window_days} days of application. {settings.lookback_days} days of cohorts, split by time; "
        "nothing in it was learned after the as-of date. Without rows where the date is not due: where no model can be "
        "made as of it yet.",
        metadata=column_schema(
            portfolio, training_fields(portfolio), made_of(portfolio, "training_set", partial(asset_key, settings))
        ),
    )
    def training_set(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        retraining: RetrainingRequest,
    ) -> dg.MaterializeResult[Any]:
        as_of = date.fromisoformat(context.partition_key)
        made = training_set_of(retraining.applied(settings), warehouse, store, as_of, tuple(gates))
        path = store.path("training_set", f"{as_of}.parquet")
        makers = with_makers(made.table.schema, portfolio.made_by()).metadata
        staged = stage(store, path, made.table.replace_schema_metadata(makers), made.gates, made.inputs)
        current = [current_days_result(as_of)]
        return daily_result(
            context,
            {as_of: staged},
            {as_of: made.gates},
            {as_of: {**made.metadata, **requested(retraining.to_record())}},
            current,
        )

    return training_set


def candidate_asset(settings: Settings, partitions: dg.PartitionsDefinition, variant: str) -> dg.AssetsDefinition:
    """The asset `<variant>_candidate`. All variants come from here; a new one is one entry in `ml.learners`, or an
    extension.
    """
    from credit_assets.ml.learners import VARIANTS

    name = stages.candidate(variant).name
    learner = VARIANTS[variant]

    @daily_asset(
        name,
        settings,
        partitions,
        variant,
        "mlflow",
        ins=inputs(name, settings),
        description=f"{learner.label} model of the as-of date: rounds chosen by early stopping, calibrated, logged to "
        "MLflow. Trained again only when data, code, parameters or seed have changed.",
    )
    def candidate(
        context: dg.AssetExecutionContext,
        training_set: Table,
        tracking: dg.ResourceParam[Tracking],
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        retraining: RetrainingRequest,
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.learners.candidates import rounds_at_the_cap

        as_of, applied = context.partition_key, retraining.applied(settings)
        if retraining.leaves_out(variant):
            return not_requested_result(variant, as_of, retraining)
        if why := why_no_training(store, training_set, as_of):
            return not_due_result({"variant": variant, "as_of": as_of, "status": NOT_DUE}, why)
        if not retraining.changes and (
            champion := to_recalibrate(registry, registry.claims, date.fromisoformat(as_of))
        ):
            return not_trained(variant, as_of, champion)
        Integrity(registry).refuse_broken(f"{name} {as_of} is not trained")
        try:
            record = train_or_reuse(context, applied, variant, training_set, tracking, store)
        except Exception as error:
            last = not is_transient(error) or context.retry_number >= settings.retries
            if not last or stopping.requested() is not None:
                raise
            if settings.on_variant_failure == "fail":
                raise PermanentError(f"variant {variant} failed: {error_text(error)}") from error
            why = error_text(error)
            context.log.error(f"variant {variant} failed and CREDIT_ON_VARIANT_FAILURE lets the others go on: {why}")
            record = {"variant": variant, "as_of": as_of, "status": "failed", "error": why}
            return dg.MaterializeResult(value=record, metadata={"status": "failed", "error": why})
        test = record["metrics"]["test"]
        at_cap = rounds_at_the_cap(record["rounds"], record["identity"]["params"])
        if at_cap is not None:
            context.log.warning(f"{name}: {at_cap}")
        return dg.MaterializeResult(
            value=record,
            data_version=dg.DataVersion(record["fingerprint"]),
            metadata={
                "status": record["status"],
                "auc": test["auc"],
                "gini": test["gini"],
                "ks": test["ks"],
                "brier": test["brier"],
                "ece": test["ece"],
                "bad_rate": test["observed_rate"],
                "rounds": record["rounds"],
                **({"warning": at_cap} if at_cap is not None else {}),
                **engines.metadata(record),
                "fingerprint": record["fingerprint"],
                "mlflow_run": tracking.server.run_link(record["run_id"]),
                "mlflow_experiment": tracking.server.experiment_link(),
            },
        )

    return candidate


def not_requested_result(variant: str, as_of: str, request: RetrainingRequest) -> dg.MaterializeResult[Any]:
    """What a candidate returns where a person asked for a model of others only."""
    why = f"this training was asked for {', '.join(request.variants)} alone: {request.reason}"
    return dg.MaterializeResult(
        value={"variant": variant, "as_of": as_of, "status": NOT_REQUESTED, "why": why},
        data_version=dg.DataVersion(NOT_REQUESTED),
        metadata={"status": NOT_REQUESTED, "why": why},
    )


def train_or_reuse(
    context: dg.AssetExecutionContext,
    settings: Settings,
    variant: str,
    table: Table,
    tracking: Tracking,
    store: Store,
) -> dict[str, Any]:
    """The candidate's record: of the finished MLflow run with the same fingerprint, else of a training now."""
    from credit_assets.ml.data.extensions import described
    from credit_assets.ml.data.fingerprints import MODEL_CODE, fingerprint
    from credit_assets.ml.extensions import used

    as_of, name = context.partition_key, stages.candidate(variant).name
    portfolio = settings.portfolio_contract
    identity = identity_of(settings, store, variant, as_of, table)
    key = fingerprint(**identity)
    expired = None if settings.reuse_days is None else datetime.now(UTC) - timedelta(settings.reuse_days)
    # In an experiment that several portfolios share, none finds or supersedes the candidates of another.
    candidate = CandidateKey("/".join(settings.naming.asset(name)), as_of, variant, key, ended_after=expired)
    finished = tracking.runs.find_finished(candidate)
    if finished is not None:
        context.log.info(f"{name}: data, code, parameters and seed unchanged; MLflow run {finished.run_id} is reused")
        return dict(finished.load_record("candidate.json"))
    step = DagsterStep(context.run.run_id, context.job_name, context.log, context.instance)
    tags = {
        "as_of": as_of,
        "code_version": identity["code"],
        "data_hash": identity["data"],
        "portfolio": portfolio.name,
        "contract": portfolio.contract,
    }
    if theirs := used(portfolio, [variant]):
        tags["extensions"] = "; ".join(map(described, theirs))
    with tracking.runs.candidate(candidate, step, tags) as run:
        trained, record = train_now(settings, store, run, identity, table, Trials(store, key, context.log))
        record["made_with"] = made_with(settings, store, variant, identity, MODEL_CODE)
        record["model_uri"], record["files"] = log_candidate(run, trained, record, table, portfolio)
        run.log_dict(record, "candidate.json")
    return record


def identity_of(settings: Settings, store: Store, variant: str, as_of: str, table: Table) -> dict[str, Any]:
    """What decides which model a training comes to, as JSON types."""
    from credit_assets.ml.data.fingerprints import frame_hash
    from credit_assets.ml.learners.candidates import candidate_identity

    portfolio, config = settings.portfolio_contract, training_config(settings, variant)
    identity = candidate_identity(variant, as_of, frame_hash(table), config, portfolio)
    return {**identity, **search_identity(settings, variant), **cut_off_identity(settings, store, table)}


def train_now(
    settings: Settings, store: Store, run: engines.TrainingLog, identity: dict[str, Any], table: Table, trials: Trials
) -> tuple[Candidate, dict[str, Any]]:
    """The model of this identity, trained, with the record of its candidate but for where its files are and what it was
    made with. `run` is told where it is trained.
    """
    from credit_assets.ml.data.fingerprints import fingerprint
    from credit_assets.ml.extensions import used

    variant, as_of = identity["variant"], identity["as_of"]
    config, theirs = training_config(settings, variant), used(settings.portfolio_contract, [variant])
    training = engines.Training(variant, as_of, config, table)
    training, searched = with_found(settings, training, trials)
    trained, where = engines.train(trials.log, run, settings, training)
    trained = of_everyone(settings, store, trained, table)
    trained, cut_off = with_cut_off(settings, store, trained, table)
    return trained, {
        "status": "trained",
        "variant": variant,
        "as_of": as_of,
        "fingerprint": fingerprint(**identity),
        "run_id": run.run_id,
        "identity": identity,
        **({"extensions": theirs} if theirs else {}),
        # Not part of the identity, so that another machine finds this model again; needed to re-perform it, since sums
        # over threads round differently.
        "threads": config.threads,
        "trained_on": where,
        **searched,
        "rounds": trained.best_rounds,
        "metrics": {split: evaluation.to_record() for split, evaluation in trained.metrics.items()},
        "calibration_choice": trained.calibration_choice,
        **cut_off,
    }
