"""A small job for tests of the Kubernetes executor: two steps, of which the second waits while a file says so."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg

from credit_assets.assets.conventions import retry_transient_only
from credit_assets.cluster.op_tags import op_tags
from credit_assets.executors import executor
from credit_assets.settings import load_settings

SETTINGS = load_settings(
    executor="k8s",
    pending_minutes=1,
    cost_centre="risk-analytics",
    profiles={"train-gpu": {"on_demand": {"capacity": "on-demand"}}},
)
DAYS = dg.DailyPartitionsDefinition("2024-01-01")


def folder() -> Path:
    return Path(os.environ["TWO_STEPS"])


@dg.asset(partitions_def=DAYS, op_tags=op_tags(SETTINGS, "raw_loan_data"), required_resource_keys={"warehouse"})
@retry_transient_only
def source(context: dg.AssetExecutionContext) -> None: ...


@dg.asset(
    partitions_def=DAYS,
    deps=[source],
    op_tags=op_tags(SETTINGS, "xgboost_candidate"),
    retry_policy=dg.RetryPolicy(max_retries=2, delay=0.1),
)
@retry_transient_only
def model(context: dg.AssetExecutionContext) -> None:
    while (folder() / "hold").exists():
        time.sleep(0.02)
    with (folder() / "done").open("a") as file:
        file.write(f"{context.retry_number}\n")


def make_job() -> dg.JobDefinition:
    job = dg.define_asset_job("two_steps", selection="*")
    resources = {"warehouse": dg.ResourceDefinition.none_resource()}
    defs = dg.Definitions([source, model], jobs=[job], executor=executor(SETTINGS), resources=resources)
    return defs.resolve_job_def("two_steps")
