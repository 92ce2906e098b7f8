"""Sensors that follow runs to their end: they tell people about failures and close what a run left open in MLflow.

Belongs here: what an alert says and when there is one. Does not belong here: how it is sent
(`credit_assets.resources.notifier`) and how MLflow runs are ended (`credit_assets.resources.tracking`).

An alert holds no applicant's data. An error of this package says by its own rules what is wrong without showing a
row; a message of any other library may quote a value, so of those only the kind of error is told.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from credit_assets.resources.notifier import Notifier
from credit_assets.resources.tracking import Tracking
from credit_assets.settings import Settings

WILL_RETRY_TAG = "dagster/will_retry"
CHECK_FAILED = "DagsterAssetCheckFailedError"
# A person has decided to read these words: they name columns, counts, settings and servers, never rows.
_SAFE_ERRORS = {"PermanentError", "TransientError", "SettingsError", "PortfolioError", CHECK_FAILED}
_WRAPPERS = {"Failure", "RetryRequested", "DagsterExecutionStepExecutionError"}
_LONGEST = 400
_STEPS_SHOWN = 10
_TAG_WAIT_SECONDS = 3.0


@dataclass(frozen=True)
class StepProblem:
    """One failed step: its key, the kind of error, and the first line of the error where it is safe to show."""

    step: str
    error: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.step}: {self.line or f'{self.error} (its message stands in the run only)'}"


@dataclass(frozen=True)
class Message:
    title: str
    body: str


def failure_message(
    run_id: str, job: str, tags: dict[str, str] | Any, problems: Sequence[StepProblem], dagster_url: str
) -> Message:
    """The alert for a failed run: which one, where it failed and why, where to look, what to do."""
    partition = _partition(tags)
    title = f"credit_assets: {job} failed" + (f" for {partition}" if partition else "")
    lines = [f"Job: {job}", f"Partition: {partition or 'none'}", f"Run: {run_id}"]
    if problems:
        lines.append("Failed steps:")
        lines += [f"- {problem}" for problem in problems[:_STEPS_SHOWN]]
        if len(problems) > _STEPS_SHOWN:
            lines.append(f"- and {len(problems) - _STEPS_SHOWN} more")
    else:
        lines.append("No step failed: the run itself did not start, was lost, or ran out of time.")
    lines += [f"Look: {dagster_url.rstrip('/')}/runs/{run_id}", f"Do: {_hint(problems)}"]
    return Message(title, "\n".join(lines))


def step_problem(step: str, error: Any, description: str | None = None) -> StepProblem:
    """Sort the recorded error of a step (Dagster's SerializableErrorInfo, or None) into what may be told of it.

    `description` is the text of a `dg.Failure`; it is shown only where no foreign error stands behind it.
    """
    foreign = ""
    while error is not None:
        name = error.cls_name or "error"
        if name in _SAFE_ERRORS:
            # A failed check lists its checks on the lines after the first.
            told = " ".join(error.message.split()) if name == CHECK_FAILED else error.message
            return StepProblem(step, name, _first_line(told))
        if name not in _WRAPPERS and not foreign:
            foreign = name
        error = error.cause or error.context
    if foreign:
        return StepProblem(step, foreign)
    return StepProblem(step, "Failure", _first_line(description or ""))


def failure_alert_sensor(settings: Settings) -> dg.SensorDefinition:
    """One message for each run of this code location that has failed for good."""
    url = settings.dagster_url

    @dg.run_failure_sensor(
        name="failure_alerts",
        description="Sends one message to CREDIT_ALERT_URLS for each run that failed and is not retried.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    def failure_alerts(
        context: dg.RunFailureSensorContext, notifier: dg.ResourceParam[Notifier]
    ) -> dg.SkipReason | None:
        run = context.dagster_run
        if _will_be_retried(context.instance, run):
            return dg.SkipReason(f"run {run.run_id} will be retried; its last attempt decides")
        problems = [
            step_problem(
                event.step_key or "?",
                event.step_failure_data.error,
                data.description if (data := event.step_failure_data.user_failure_data) else None,
            )
            for event in context.get_step_failure_events()
        ]
        message = failure_message(run.run_id, run.job_name, run.tags, problems, url)
        if not notifier.send(message.title, message.body, "failure"):
            return dg.SkipReason(f"run {run.run_id} failed; CREDIT_ALERT_URLS is empty, so nobody was told")
        return None

    return failure_alerts


def tracking_close_sensors() -> list[dg.SensorDefinition]:
    """One sensor per final status: each ends the MLflow runs that a Dagster run has left open.

    They look at every run of the instance, since `credit-assets replay` starts runs that belong to no code location.
    A run without an MLflow run costs one look.
    """
    return [
        _tracking_close_sensor(status)
        for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
    ]


def _tracking_close_sensor(status: dg.DagsterRunStatus) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=f"close_tracking_{status.value.lower()}",
        description=f"Ends the MLflow runs of Dagster runs that ended as {status.value}.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        monitor_all_code_locations=True,
    )
    def close_tracking(context: dg.RunStatusSensorContext, tracking: dg.ResourceParam[Tracking]) -> None:
        tracking.close_run(context.dagster_run.run_id, status.value)

    return close_tracking


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


def _partition(tags: Any) -> str:
    if key := tags.get("dagster/partition"):
        return str(key)
    start, end = tags.get("dagster/asset_partition_range_start"), tags.get("dagster/asset_partition_range_end")
    return f"{start} .. {end}" if start and end else ""


def _first_line(text: str) -> str:
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    kind, _, rest = line.partition(": ")
    # "credit_assets.failures.PermanentError: what" -> "what"
    if rest and " " not in kind and kind.rpartition(".")[2][:1].isupper():
        line = rest
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _hint(problems: Sequence[StepProblem]) -> str:
    errors = {problem.error for problem in problems}
    if not problems:
        return "see the run's last events; start it again once the machine has room for it."
    if CHECK_FAILED in errors:
        return "see the checks of the asset for value, threshold and columns; correct the data, then materialize again."
    if errors & {"PermanentError", "SettingsError", "PortfolioError"}:
        return "correct what the message names, then use 'Re-execute from failure' in the run."
    if "TransientError" in errors:
        return "run `credit-assets doctor`; once the service answers, use 'Re-execute from failure' in the run."
    return "open the run, look at the failed step, then use 'Re-execute from failure'."
