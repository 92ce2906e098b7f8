"""Where steps run: one map from the setting CREDIT_EXECUTOR to Dagster's executor.

Belongs here: the map, and whether this machine can do what it says. Does not belong here: what happens to the pod of a
step (`cluster.step_executor`).

Where the steps of a run belong to a process of this machine, the run is told which: where that is killed, the next one
that looks ends the run (`instance.lost_runs`).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg

from credit_assets.health import Health
from credit_assets.instance.home import CONFIG_FILE
from credit_assets.instance.lost_runs import process_tags
from credit_assets.settings import Settings, variable

# Imported once by the fork server, then shared by all steps. A module that fails to import here fails silently.
LIBRARIES = "credit_assets.preload_libraries"
PRELOAD = ["credit_assets.preload", LIBRARIES]


class _OfProcess(dg.Executor):
    """Another executor, whose run says first that this process makes it."""

    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    @property
    def retries(self) -> Any:
        return self._executor.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._executor.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        plan_context.instance.add_run_tags(plan_context.run_id, process_tags(plan_context.run_id))
        return self._executor.execute(plan_context, execution_plan)


def _of_process(definition: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    make = definition.executor_creation_fn
    assert make is not None

    def marked(context: dg.InitExecutorContext) -> dg.Executor:
        return _OfProcess(make(context))

    schema: Any = definition.config_schema
    return dg.ExecutorDefinition(definition.name, schema, definition.get_requirements, marked, definition.description)


def _in_process(_: Settings) -> dg.ExecutorDefinition:
    return _of_process(dg.in_process_executor)


def _multiprocess(settings: Settings) -> dg.ExecutorDefinition:
    # forkserver: a step starts from a process that has the code location loaded, not from a bare interpreter.
    return _of_process(dg.multiprocess_executor).configured(
        {"max_concurrent": settings.max_concurrent, "start_method": {"forkserver": {"preload_modules": PRELOAD}}}
    )


def _k8s(settings: Settings) -> dg.ExecutorDefinition:
    from credit_assets.cluster.step_executor import step_job_executor

    return step_job_executor(settings)


EXECUTORS: dict[str, Callable[[Settings], dg.ExecutorDefinition]] = {
    "in_process": _in_process,
    "multiprocess": _multiprocess,
    "k8s": _k8s,
}
"""The executor of each environment: a laptop, a machine with many cores, a cluster."""


def executor(settings: Settings) -> dg.ExecutorDefinition:
    return EXECUTORS[settings.executor](settings)


def health(settings: Settings) -> Health:
    """Where steps would run, and whether what they share can be reached from there."""
    threads = f"{settings.training_threads} thread{'s' if settings.training_threads > 1 else ''} each"
    if settings.executor == "in_process":
        return Health(f"steps one after another in one process, {threads}")
    if settings.executor == "multiprocess":
        return Health(f"up to {settings.max_concurrent} step processes on this machine, {threads}")
    if importlib.util.find_spec("dagster_k8s") is None:
        return Health("dagster_k8s is not installed", "fail", "install dagster-k8s, or choose another CREDIT_EXECUTOR")
    local = [
        variable(field)
        for field, value in {
            "warehouse_url": settings.warehouse,
            "store_uri": settings.store,
            "mlflow_tracking_uri": settings.tracking_uri,
        }.items()
        if value.startswith(("duckdb:", "sqlite:", "file:")) or "://" not in value
    ]
    if local:
        return Health(
            "step pods would not share local files",
            "fail",
            f"pods do not see each other's files: set {', '.join(local)} to something that all of them reach",
        )
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return Health(
            "step pods, seen from outside a cluster",
            "warn",
            "runs must be launched where K8sRunLauncher is configured: deploy with the Helm chart, or configure it in "
            f"{CONFIG_FILE} with load_incluster_config: false and a kubeconfig_file",
        )
    return Health("step pods, inside a cluster")
