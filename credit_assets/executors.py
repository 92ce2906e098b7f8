"""Where steps run: one map from the setting CREDIT_EXECUTOR to Dagster's executor.

Belongs here: the map. Does not belong here: what happens to the pod of a step (`cluster.step_jobs`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from credit_assets.settings import Settings


# Imported once by the fork server, then shared by all steps. A module that fails to import here fails silently.
PRELOAD = ["credit_assets.preload"]


def _in_process(settings: Settings) -> dg.ExecutorDefinition:
    return dg.in_process_executor


def _multiprocess(settings: Settings) -> dg.ExecutorDefinition:
    # forkserver: a step starts from a process that has the code location loaded, not from a bare interpreter.
    return dg.multiprocess_executor.configured(
        {"max_concurrent": settings.max_concurrent, "start_method": {"forkserver": {"preload_modules": PRELOAD}}}
    )


def _k8s(settings: Settings) -> dg.ExecutorDefinition:
    from credit_assets.cluster.step_jobs import step_job_executor

    return step_job_executor(settings)


EXECUTORS: dict[str, Callable[[Settings], dg.ExecutorDefinition]] = {
    "in_process": _in_process,
    "multiprocess": _multiprocess,
    "k8s": _k8s,
}
"""The executor of each environment: a laptop, a machine with many cores, a cluster."""


def executor(settings: Settings) -> dg.ExecutorDefinition:
    return EXECUTORS[settings.executor](settings)
