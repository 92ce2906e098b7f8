"""The job that trains as of a date and leaves nothing behind but what it says.

Belongs here: the job. Does not belong here: the training (`credit_assets.assets.dry_run`), and what may be asked of it
(`credit_assets.assets.requested`).
"""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg

from credit_assets import pages
from credit_assets.assets.conventions import retry_policy, retry_transient_only
from credit_assets.assets.dry_run import DryRun, summary
from credit_assets.assets.requested import RetrainingRequest
from credit_assets.cluster.op_tags import op_tags
from credit_assets.ledger.registry import Registry
from credit_assets.partitions import daily_partitions
from credit_assets.settings import Settings
from credit_assets.stages import candidate
from credit_assets.storage.store import Store
from credit_assets.tags import PORTFOLIO_TAG
from credit_assets.warehouse import Warehouse

DRY_RUN = "retrain_dry_run"


def dry_run_job(settings: Settings) -> dg.JobDefinition:
    """Training set to registration decision of one as-of date, in memory."""

    def training_in_memory(
        context: dg.OpExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        retraining: RetrainingRequest,
    ) -> dg.Output[Any]:
        made = DryRun(settings, retraining, warehouse, store, registry, context.log)
        record = made.record(date.fromisoformat(context.partition_key))
        context.log.info(summary(record))
        return dg.Output(
            None,
            metadata={
                "decision": record["decision"],
                "summary": summary(record),
                **{name: value for name, value in record.get("metrics", {}).items() if value is not None},
                "reasons": pages.reasons(record["reasons"]),
                "record": dg.MetadataValue.json({name: record[name] for name in record if name != "reasons"}),
            },
        )

    step = dg.op(
        name=settings.naming.dagster("training_in_memory"),
        description="The training set, every candidate, the evidence and the registration decision of an as-of date, "
        "with the functions that the assets call. Writes no partition, no MLflow run, no version and no alias.",
        out=dg.Out(dg.Nothing),
        retry_policy=retry_policy(settings),
        tags=op_tags(settings, candidate(settings.variants[0]).name),
    )(retry_transient_only(training_in_memory))

    @dg.job(
        name=settings.naming.dagster(DRY_RUN),
        description="What a retraining as of a date would come to, with the run configuration of an ad-hoc training "
        "(resources: retraining). Registers nothing and leaves no trace but this run.",
        partitions_def=daily_partitions(settings),
        tags={PORTFOLIO_TAG: settings.portfolio_contract.name},
    )
    def dry_run() -> None:
        step()

    return dry_run
