"""What the end of a run means to others: the alert of a failed run, and closing what a run left open in MLflow.

Belongs here: what an alert says and when there is one. Does not belong here: all other messages and the sensors that
deliver them (`credit_assets.notify.follow`), how one is sent (`credit_assets.notify.notifier`), and how MLflow
runs are ended (`credit_assets.tracking.runs`).

An alert holds no applicant's data. An error of this package says by its own rules what is wrong without showing a
row; a message of any other library may quote a value, so of those only the kind of error is told.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import dagster as dg

from credit_assets.ledger.deployment import CHALLENGER, SHADOW
from credit_assets.notify.notifier import Kind
from credit_assets.stages import RETRAIN
from credit_assets.tags import EVENT_TAG, REASON_TAG, TRIGGER_TAG, WILL_RETRY_TAG, partition_of
from credit_assets.tracking.runs import Tracking

if TYPE_CHECKING:
    pass

CHECK_FAILED = "DagsterAssetCheckFailedError"
# A person has decided to read these words: they name columns, counts, settings and servers, never rows.
_SAFE_ERRORS = {"PermanentError", "TransientError", "SettingsError", "PortfolioError", CHECK_FAILED}
_WRAPPERS = {
    "Failure",
    "RetryRequested",
    "DagsterExecutionStepExecutionError",
    "SensorExecutionError",
    "ScheduleExecutionError",
    "RunStatusSensorExecutionError",
}
_LONGEST = 400
_SHOWN = 10
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
    """What people are told of one event."""

    title: str
    body: str
    kind: Kind


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
    return failure_message(
        run.run_id, run.job_name, run.tags, problems, dagster_url, failed_checks(events), list(assets)
    )


def failure_message(
    run_id: str,
    job: str,
    tags: dict[str, str] | Any,
    problems: Sequence[StepProblem],
    dagster_url: str,
    checks: Sequence[dg.AssetCheckEvaluation] = (),
    assets: Sequence[dg.AssetKey] = (),
) -> Message:
    """The alert for a failed run: which one, where it failed and why, where to look, what to do.

    `checks` are the failed ones, `assets` those of the failed steps.
    """
    partition = partition_of(tags)
    title = f"credit_assets: {job} failed" + (f" for {partition}" if partition else "")
    lines = [f"Job: {job}", f"Partition: {partition or 'none'}", f"Run: {run_id}"]
    if problems:
        lines += ["Failed steps:", *_list(str(problem) for problem in problems)]
    else:
        lines.append("No step failed: the run itself did not start, was lost, or ran out of time.")
    lines += check_lines(checks, dagster_url)
    lines += [f"Look: {run_page(dagster_url, run_id)}"]
    lines += [f"Asset: {asset_page(dagster_url, key, partition)}" for key in assets[:_SHOWN]]
    return Message(title, "\n".join([*lines, f"Do: {_hint(problems)}"]), "failure")


def failed_checks(events: Iterable[dg.DagsterEvent]) -> list[dg.AssetCheckEvaluation]:
    """The checks whose last evaluation in a run failed, in order: a step that is retried evaluates its checks again."""
    last: dict[Any, dg.AssetCheckEvaluation] = {}
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            one = event.asset_check_evaluation_data
            last[one.asset_key, one.check_name, one.partition] = one
    return [one for one in last.values() if not one.passed]


def check_lines(checks: Sequence[dg.AssetCheckEvaluation], dagster_url: str) -> list[str]:
    """Failed checks with value, threshold and page. What a gate writes there holds no applicant's data by its rules."""
    if not checks:
        return []
    return ["Failed checks:", *_list(_check_line(check, dagster_url) for check in checks)]


def _check_line(check: dg.AssetCheckEvaluation, dagster_url: str) -> str:
    said = {name: str(check.metadata[name].value) for name in ("value", "threshold") if name in check.metadata}
    measured = ", ".join(f"{name} {text}" for name, text in said.items())
    parts = [
        f"{check.asset_key.to_user_string()}, {check.check_name}",
        "warning" if check.severity is dg.AssetCheckSeverity.WARN else "error",
        *([measured] if measured else []),
        *([one_line(check.description)] if check.description else []),
    ]
    page = asset_page(dagster_url, check.asset_key, view="checks", checkDetail=check.check_name)
    return f"{': '.join(parts)}\n  {page}"


def _list(items: Iterable[str]) -> list[str]:
    lines = [f"- {item}" for item in items]
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"- and {len(lines) - _SHOWN} more"]


def run_page(dagster_url: str, run_id: str) -> str:
    return f"{dagster_url.rstrip('/')}/runs/{run_id}"


def asset_page(dagster_url: str, key: dg.AssetKey, partition: str = "", **query: str) -> str:
    """Page of an asset in the Dagster UI; of its partition where there is one and not a range."""
    if partition and " " not in partition:
        query = {"view": "partitions", "partition": partition, **query}
    path = "/".join(quote(part, safe="") for part in key.path)
    return f"{dagster_url.rstrip('/')}/assets/{path}" + (f"?{urlencode(query)}" if query else "")


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


def _first_line(text: str) -> str:
    """The first line that says something, without the name of the exception, and not too long."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    kind, _, rest = line.partition(": ")
    # "credit_assets.failures.PermanentError: what" -> "what"
    if rest and " " not in kind and kind.rpartition(".")[2][:1].isupper():
        line = rest
    return one_line(line)


def one_line(text: str) -> str:
    """A text on one line, cut where it is too long for a message."""
    line = " ".join(text.split())
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


def started_message(run: dg.DagsterRun, dagster_url: str) -> Message:
    """That a retraining started and by what, from the tags of its run."""
    day, tags = partition_of(run.tags), run.tags
    trigger = tags.get(TRIGGER_TAG)
    lines = [f"Started by: {trigger or 'hand'}"]
    lines += [
        f"{what}: {one_line(tags[tag])}" for what, tag in (("Why", REASON_TAG), ("Event", EVENT_TAG)) if tag in tags
    ]
    if run.parent_run_id:
        lines.append(f"Again after: {run_page(dagster_url, run.parent_run_id)}")
    lines += [
        f"Look: {run_page(dagster_url, run.run_id)}",
        f"Asset: {asset_page(dagster_url, dg.AssetKey('registered_model'), day)}",
    ]
    return Message(_title(f"retraining{_for(day)} started by {trigger or 'hand'}"), "\n".join(lines), "info")


def ended_message(run: dg.DagsterRun, events: Sequence[dg.DagsterEvent], dagster_url: str) -> Message | None:
    """What came of a retraining, and the failed checks of any run that went on all the same; None where neither."""
    day = partition_of(run.tags)
    checks = failed_checks(events)
    decided = _metadata_of("registered_model", events) if run.job_name == RETRAIN else None
    if not checks and decided is None:
        return None
    lines: list[str] = []
    title = f"failed checks in {run.job_name}{_for(day)}"
    kind: Kind = "warning"
    if decided is not None:
        accepted = decided["decision"].value == "registered"
        came_to = f"version {decided['version'].value} registered" if accepted else "rejected"
        title = f"retraining{_for(day)} ended: {came_to}" + (", with failed checks" if checks else "")
        kind = "warning" if checks else "success" if accepted else "info"
        lines += [f"Started by: {run.tags.get(TRIGGER_TAG) or 'hand'}", f"Decision: {came_to}"]
        lines += [f"- {text}" for text in _reasons(decided.get("reasons"), passed=accepted)]
    lines += check_lines(checks, dagster_url)
    lines.append(f"Look: {run_page(dagster_url, run.run_id)}")
    if decided is not None:
        lines.append(f"Asset: {asset_page(dagster_url, dg.AssetKey('registered_model'), day)}")
        if link := decided.get("mlflow_version"):
            lines.append(f"MLflow: {link.value}")
    return Message(_title(title), "\n".join(lines), kind)


def move_message(key: dg.AssetKey, metadata: Mapping[str, Any], dagster_url: str) -> Message:
    """One move of an alias: which, from whom to whom, since when, by whom and why."""
    said = {name: str(value.value) for name, value in metadata.items()}
    alias, former, version, start = key.path[-1], said["from"], said["to"], said["effective_from"]
    reason = one_line(said["reason"])
    kind: Kind = "success" if alias not in (CHALLENGER, SHADOW) else "info"
    if version == "none":
        what = f"trial of version {former} ended" if alias == SHADOW else f"nobody is {alias} from {start}"
    elif alias == SHADOW:
        what = f"trial of version {version} started"
    elif reason.startswith("rollback"):
        what, kind = f"rollback: version {version} is {alias} again from {start}", "warning"
    elif alias == CHALLENGER:
        what = f"version {version} is {alias} from {start}"
    else:
        what = f"promotion: version {version} is {alias} from {start}"
    lines = [
        f"Alias: {alias}",
        f"From: {former}",
        f"To: {version}",
        f"Effective from: {start}",
        f"By: {one_line(said['by'])}",
        f"Why: {reason}",
        f"Moved at: {said['at']}",
        f"Asset: {asset_page(dagster_url, key, view='events')}",
    ]
    if link := said.get("mlflow_version"):
        lines.append(f"MLflow: {link}")
    return Message(_title(what), "\n".join(lines), kind)


def _title(text: str) -> str:
    return f"credit_assets: {text}"


def _for(day: str) -> str:
    return f" for {day}" if day else ""


def _metadata_of(asset: str, events: Iterable[dg.DagsterEvent]) -> Mapping[str, Any] | None:
    """Metadata of an asset's materialization among the events of a run, None where it was not materialized."""
    found: Mapping[str, Any] | None = None
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key == dg.AssetKey(asset):
            found = event.step_materialization_data.materialization.metadata
    return found


def _reasons(table: Any, *, passed: bool) -> list[str]:
    """The texts of a decision's reasons: all of an accepted one, those that spoke against a rejected one."""
    rows = [record.data for record in table.records] if table else []
    return [one_line(str(row["text"])) for row in rows if passed or row["passed"] == "False"]
