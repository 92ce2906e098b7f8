"""Where steps run: the executor of each environment, in one declared map.

Belongs here: the choice of executor and what a step asks of a cluster. Does not belong here: what a step does.
"""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

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
    from dagster_k8s import k8s_job_executor

    return k8s_job_executor.configured({"max_concurrent": settings.max_concurrent})


EXECUTORS: dict[str, Callable[[Settings], dg.ExecutorDefinition]] = {
    "in_process": _in_process,
    "multiprocess": _multiprocess,
    "k8s": _k8s,
}


def executor(settings: Settings) -> dg.ExecutorDefinition:
    return EXECUTORS[settings.executor](settings)
