"""Messages: what people read of one event.

Belongs here: the form of a message, the pages that it points to, and the words for retrainings, checks and moves of
aliases. Does not belong here: the alert of a failed run (`alerts`), which events there are messages of (`follow`,
`watch`), and how one is sent (`notifier`).

Everything that a message says stands in the event log, so that writing one needs neither the store nor MLflow, which
may be what is broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from credit_assets.checks import A_FAILURE, REJECTS, measured
from credit_assets.ledger.alias_log import MoveKind
from credit_assets.ledger.deployment import CHALLENGER, SHADOW
from credit_assets.links import address_of, asset_page, run_page
from credit_assets.naming import PLAIN, Names
from credit_assets.notify.notifier import Kind
from credit_assets.stages import RETRAIN
from credit_assets.tags import EVENT_TAG, REASON_TAG, TRIGGER_TAG, partition_of

_OURS = "credit_assets"
_LONGEST = 400
_SHOWN = 10


@dataclass(frozen=True)
class Message:
    """One event, for people."""

    title: str
    body: str
    kind: Kind

    @classmethod
    def of(cls, what: str, lines: Iterable[str], kind: Kind) -> Message:
        """A message whose title says whose it is, since an inbox gets mail from others too."""
        return cls(f"{_OURS}: {what}", "\n".join(lines), kind)

    def about(self, naming: Names) -> Message:
        """The message with its portfolio, in the title too where that has names of its own."""
        title = self.title
        if naming.prefix:
            title = f"{_OURS} {naming.portfolio}: {title.removeprefix(f'{_OURS}: ')}"
        return Message(title, f"{self.body}\nPortfolio: {naming.portfolio}", self.kind)


def started_message(run: dg.DagsterRun, dagster_url: str, naming: Names = PLAIN) -> Message:
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
        f"Asset: {asset_page(dagster_url, _decision(naming).path, day)}",
    ]
    return Message.of(f"retraining{of_day(day)} started by {trigger or 'hand'}", lines, "info")


def ended_message(
    run: dg.DagsterRun, events: Sequence[dg.DagsterEvent], dagster_url: str, naming: Names = PLAIN
) -> Message | None:
    """What came of a retraining, and the failed checks of any run that went on all the same; None where neither."""
    day = partition_of(run.tags)
    checks = failed_checks(events)
    decided = _metadata_of(_decision(naming), events) if run.job_name == naming.dagster(RETRAIN) else None
    if not checks and decided is None:
        return None
    lines: list[str] = []
    title = f"failed checks in {run.job_name}{of_day(day)}"
    kind: Kind = "warning"
    if decided is not None:
        accepted = decided["decision"].value == "registered"
        came_to = f"version {decided['version'].value} registered" if accepted else str(decided["decision"].value)
        title = f"retraining{of_day(day)} ended: {came_to}" + (", with failed checks" if checks else "")
        kind = "warning" if checks else "success" if accepted else "info"
        lines += [f"Started by: {run.tags.get(TRIGGER_TAG) or 'hand'}", f"Decision: {came_to}"]
        lines += [f"- {text}" for text in _reasons(decided.get("reasons"), passed=accepted)]
    lines += check_lines(checks, dagster_url)
    lines.append(f"Look: {run_page(dagster_url, run.run_id)}")
    if decided is not None:
        lines.append(f"Asset: {asset_page(dagster_url, _decision(naming).path, day)}")
        if link := decided.get("mlflow_version"):
            lines.append(f"MLflow: {address_of(str(link.value))}")
    return Message.of(title, lines, kind)


def move_message(move: Mapping[str, Any], asset: str, mlflow: str) -> Message:
    """One move of an alias: which, from whom to whom, since when, by whom and why. `asset`, `mlflow`: both pages,
    the latter empty where there is none.
    """
    alias, former, version, start = move["alias"], move["from"], move["to"], move["effective_from"]
    kind: Kind = "success" if alias not in (CHALLENGER, SHADOW) else "info"
    if version == "none":
        what = f"trial of version {former} ended" if alias == SHADOW else f"nobody is {alias} from {start}"
    elif alias == SHADOW:
        what = f"trial of version {version} started"
    elif move.get("kind") == MoveKind.ROLLBACK:
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
        f"By: {one_line(move['by'])}",
        f"Why: {one_line(move['reason'])}",
        f"Moved at: {move['at']}",
        f"Asset: {asset}",
    ]
    if mlflow:
        lines.append(f"MLflow: {mlflow}")
    return Message.of(what, lines, kind)


def failed_checks(events: Iterable[dg.DagsterEvent]) -> list[dg.AssetCheckEvaluation]:
    """The checks whose last evaluation in a run failed, in order: a step that is retried evaluates its checks again.

    Without the rules of a model whose failure is an ordinary rejection: on most days a model is not better than the
    champion, and nobody reads a message of every day.
    """
    last: dict[Any, dg.AssetCheckEvaluation] = {}
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            one = event.asset_check_evaluation_data
            last[one.asset_key, one.check_name, one.partition] = one
    return [one for one in last.values() if not one.passed and not _ordinary(one)]


def _ordinary(check: dg.AssetCheckEvaluation) -> bool:
    follows = check.metadata.get(A_FAILURE)
    return follows is not None and follows.value == REJECTS


def check_lines(checks: Sequence[dg.AssetCheckEvaluation], dagster_url: str) -> list[str]:
    """Failed checks with value, threshold and page. What a gate writes there holds no applicant's data by its rules."""
    if not checks:
        return []
    return ["Failed checks:", *bullets(_check_line(check, dagster_url) for check in checks)]


def _check_line(check: dg.AssetCheckEvaluation, dagster_url: str) -> str:
    found = measured(check.metadata)
    parts = [
        f"{check.asset_key.to_user_string()}, {check.check_name}",
        "warning" if check.severity is dg.AssetCheckSeverity.WARN else "error",
        *([found] if found else []),
        *([one_line(check.description)] if check.description else []),
    ]
    page = asset_page(dagster_url, check.asset_key.path, view="checks", checkDetail=check.check_name)
    return f"{': '.join(parts)}\n  {page}"


def bullets(items: Iterable[str]) -> list[str]:
    """Items as lines of a list, the first few of very many."""
    lines = [f"- {item}" for item in items]
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"- and {len(lines) - _SHOWN} more"]


def one_line(text: str, longest: int = _LONGEST) -> str:
    """A text on one line, cut where it is too long for a message."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def of_day(day: str) -> str:
    """The end of a title: for which partition, where there is one."""
    return f" for {day}" if day else ""


def _decision(naming: Names) -> dg.AssetKey:
    return dg.AssetKey(naming.asset("registered_model"))


def _metadata_of(asset: dg.AssetKey, events: Iterable[dg.DagsterEvent]) -> Mapping[str, Any] | None:
    """Metadata of an asset's materialization among the events of a run, None where it was not materialized."""
    metadata: Mapping[str, Any] | None = None
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key == asset:
            metadata = event.step_materialization_data.materialization.metadata
    return metadata


def _reasons(table: Any, *, passed: bool) -> list[str]:
    """The texts of a decision's reasons: all of an accepted one, those that spoke against a rejected one."""
    rows = [record.data for record in table.records] if table else []
    return [one_line(str(row["text"])) for row in rows if passed or row["passed"] == "False"]
