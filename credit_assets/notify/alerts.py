"""The alert of a failed run: when there is one, and what it says.

Belongs here: sorting the failures of a run into what may be shown of them. Does not belong here: all other messages
(`messages`), and how an alert is delivered (`follow`).

An alert holds no applicant's data. An error of this package says by its own rules what is wrong without showing a
row; a message of any other library may quote a value, so of those only the kind of error is shown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from credit_assets.checks import GATE_FAILED
from credit_assets.links import asset_page, run_page
from credit_assets.masking import masked
from credit_assets.notify.messages import (
    Message,
    bullets,
    check_lines,
    failed_checks,
    of_day,
    one_line,
)
from credit_assets.tags import WILL_RETRY_TAG, partition_of

CHECK_FAILED = "DagsterAssetCheckFailedError"
"""Of a check of somebody else's that blocks; ours fail as GATE_FAILED."""
# A person has decided to read these words: they name columns, counts, settings and servers, never rows.
_SAFE_ERRORS = {"PermanentError", "TransientError", "SettingsError", "PortfolioError", CHECK_FAILED, GATE_FAILED}
_WRAPPERS = {
    "Failure",
    "RetryRequested",
    "DagsterExecutionStepExecutionError",
    "SensorExecutionError",
    "ScheduleExecutionError",
    "RunStatusSensorExecutionError",
}
_PAGES = 10
_TAG_WAIT_SECONDS = 3.0


@dataclass(frozen=True)
class StepProblem:
    """One failed step: its key, the kind of error, and the first line of the error where it is safe to show."""

    step: str
    error: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.step}: {self.line or f'{self.error} (its message stands in the run only)'}"


def failure_alert(instance: dg.DagsterInstance, run: dg.DagsterRun, dagster_url: str) -> Message | None:
    """The alert for a failed run; None where the run will be retried, since its last attempt decides."""
    if _will_be_retried(instance, run):
        return None
    wanted = {
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    }
    events = [
        r.event_log_entry.get_dagster_event() for r in instance.get_records_for_run(run.run_id, of_type=wanted).records
    ]
    failed = [event for event in events if event.event_type is dg.DagsterEventType.STEP_FAILURE]
    problems = [
        step_problem(
            event.step_key or "?",
            event.step_failure_data.error,
            data.description if (data := event.step_failure_data.user_failure_data) else None,
        )
        for event in failed
    ]
    steps = {event.step_key for event in failed}
    planned = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    assets = dict.fromkeys(
        e.asset_key for e in events if e.event_type is planned and e.step_key in steps and e.asset_key
    )
    return failure_message(run, problems, dagster_url, failed_checks(events), list(assets))


def failure_message(
    run: dg.DagsterRun,
    problems: Sequence[StepProblem],
    dagster_url: str,
    checks: Sequence[dg.AssetCheckEvaluation] = (),
    assets: Sequence[dg.AssetKey] = (),
) -> Message:
    """The alert for a failed run: which one, where it failed and why, where to look, what to do.

    `checks` are the failed ones, `assets` those of the failed steps.
    """
    partition = partition_of(run.tags)
    lines = [f"Job: {run.job_name}", f"Partition: {partition or 'none'}", f"Run: {run.run_id}"]
    if problems:
        lines += ["Failed steps:", *bullets(str(problem) for problem in problems)]
    else:
        lines.append("No step failed: the run itself did not start, was lost, or ran out of time.")
    lines += check_lines(checks, dagster_url)
    lines += [f"Look: {run_page(dagster_url, run.run_id)}"]
    lines += [f"Asset: {asset_page(dagster_url, key.path, partition)}" for key in assets[:_PAGES]]
    lines.append(f"Do: {_hint(problems)}")
    return Message.of(f"{run.job_name} failed{of_day(partition)}", lines, "failure")


def step_problem(step: str, error: Any, description: str | None = None) -> StepProblem:
    """Sort the recorded error of a step (Dagster's SerializableErrorInfo, or None) into what may be shown of it.

    `description` is the text of a `dg.Failure`; it is shown only where no foreign error stands behind it.
    """
    foreign = ""
    while error is not None:
        name = error.cls_name or "error"
        if name in _SAFE_ERRORS:
            # A failed check lists its checks on the lines after the first.
            text = " ".join(error.message.split()) if name == CHECK_FAILED else error.message
            return StepProblem(step, name, _first_line(text, name))
        if name not in _WRAPPERS and not foreign:
            foreign = name
        error = error.cause or error.context
    if foreign:
        return StepProblem(step, foreign)
    return StepProblem(step, "Failure", _first_line(description or ""))


def _will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    # Dagster writes the tag a moment after the failure that this sensor reacts to, on every failed run where retries
    # are enabled. Without this wait a run could be both announced and retried.
    deadline = time.monotonic() + (_TAG_WAIT_SECONDS if instance.run_retries_enabled else 0)
    tags = run.tags
    while WILL_RETRY_TAG not in tags and time.monotonic() < deadline:
        time.sleep(0.2)
        current = instance.get_run_by_id(run.run_id)
        tags = current.tags if current else tags
    return tags.get(WILL_RETRY_TAG) == "true"


def _first_line(text: str, error: str = "") -> str:
    """The first line that says something, without the name of the error's class, and not too long."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    name, _, rest = line.partition(": ")
    # "credit_assets.failures.PermanentError: what" -> "what"
    return one_line(masked(rest if error and name.rpartition(".")[2] == error else line))


def _hint(problems: Sequence[StepProblem]) -> str:
    errors = {problem.error for problem in problems}
    if not problems:
        return "see the run's last events; start it again once the machine has room for it."
    if errors & {CHECK_FAILED, GATE_FAILED}:
        return "see the checks of the asset for value, threshold and columns; correct the data, then materialize again."
    if errors & {"PermanentError", "SettingsError", "PortfolioError"}:
        return "correct what the message names, then use 'Re-execute from failure' in the run."
    if "TransientError" in errors:
        return "run `credit-assets doctor`; once the service answers, use 'Re-execute from failure' in the run."
    return "open the run, look at the failed step, then use 'Re-execute from failure'."
