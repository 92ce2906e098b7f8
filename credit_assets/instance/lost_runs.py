"""Runs whose process is gone: each run knows its process, and whoever comes next ends those that are left.

Belongs here: the mark of a run, finding runs without a process, and ending them in Dagster. Does not belong here: their
MLflow runs (`credit_assets.tracking`), and starting them again, which Dagster's daemon does where they have an origin.

A process that is killed outright reports nothing: its run stays STARTED, and counts against the runs that may run at
once until Dagster's limit of its duration (12 hours). Dagster looks at the health of runs in a cluster alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster import DagsterRunStatus as Status

from credit_assets.instance.own_runs import is_own
from credit_assets.instance.statuses import WITH_PROCESS
from credit_assets.naming import Names
from credit_assets.processes import ProcessMark, own_mark, parse
from credit_assets.tags import MAX_RETRIES_TAG, PROCESS_TAG

LOCK_FILE = ".lost-runs.lock"
_RUN = "run"


def process_tags(run_id: str) -> dict[str, str]:
    """The tag that says that this process makes the run."""
    # With the run's id: whoever starts a run again copies the tags of the one that was lost.
    return {PROCESS_TAG: json.dumps({**json.loads(own_mark().to_json()), _RUN: run_id}, sort_keys=True)}


def in_this_process(tags: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Arguments of `execute_in_process`: an id for the run, and these tags beside the one of its process."""
    run_id = str(uuid4())
    return {"run_id": run_id, "tags": {**(tags or {}), **process_tags(run_id)}}


def process_of(run: dg.DagsterRun) -> ProcessMark | None:
    """The process that makes the run, None where the run does not say."""
    text = run.tags.get(PROCESS_TAG, "")
    with suppress(ValueError, AttributeError):
        if json.loads(text).get(_RUN) == run.run_id:
            return parse(text)
    return None


def lost_runs(instance: dg.DagsterInstance, naming: Names) -> Iterator[tuple[dg.DagsterRun, ProcessMark]]:
    """This portfolio's runs that have not ended and whose process has, each with its process."""
    for run in instance.get_runs(dg.RunsFilter(statuses=list(WITH_PROCESS))):
        if (mark := process_of(run)) is not None and mark.gone and is_own(naming, run):
            yield run, mark


def end_lost_runs(
    instance: dg.DagsterInstance, naming: Names, close: Callable[[str, str], None] | None = None
) -> list[str]:
    """End them, FAILED or, where somebody had asked for it, CANCELED; what was ended, a line each.

    `close` (a run's id, its end) ends its MLflow runs, before the run itself: a process that is killed between both
    leaves the run to be found again. Raises what `close` raises. The daemon starts again what it had started; a command
    is run again by whoever ran it.
    """
    if not any(True for _ in lost_runs(instance, naming)):
        return []
    from filelock import FileLock

    # Two that look at once would report an end twice, and alert twice.
    with FileLock(Path(instance.root_directory) / LOCK_FILE):
        return [_end(instance, run, mark, close) for run, mark in list(lost_runs(instance, naming))]


def _end(
    instance: dg.DagsterInstance, run: dg.DagsterRun, mark: ProcessMark, close: Callable[[str, str], None] | None
) -> str:
    canceled = run.status == Status.CANCELING
    if close is not None:
        close(run.run_id, "CANCELED" if canceled else "FAILURE")
    why = f"The {mark}, which made this run, is gone: it was killed, or the machine was restarted."
    if run.remote_job_origin is None:
        # Of a command: nothing knows how to start it again, and an alert would wait for that.
        instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})
    if canceled:
        instance.report_run_canceled(run, why)
    else:
        instance.report_run_failed(run, why)
    # Else whoever needs the same pool waits for a daemon to give them back.
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return line_of(run, mark)


def line_of(run: dg.DagsterRun, mark: ProcessMark) -> str:
    """A run and its process, in words."""
    return f"run {run.run_id[:8]} ({run.job_name}) of {mark}"
