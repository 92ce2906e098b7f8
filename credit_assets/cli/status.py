"""`credit-assets status` for people: one screen of 80 columns that says how things stand.

Belongs here: what stands on the screen and how it is put. Does not belong here: finding it out (`state`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from credit_assets.cli.shown import shortened
from credit_assets.cli.state import rejected_line
from credit_assets.ml.data.extensions import described

_LABELS, _RUNS = 14, 3
_EVERY_ROW = "Every row is accounted for. "
_STYLES = {"alarm": "bold red", "look": "yellow", "good": "green", "dim": "dim"}


def print_status(record: dict[str, Any], console: Console, whole: bool = False) -> None:
    """The screen; with `whole` the partitions of each asset too, and every text at its full length."""
    # Two lines of what is beside the labels.
    most = 2 * (console.width - _LABELS) - 10
    screen = Table.grid(padding=(0, 2))
    screen.add_column(style="bold", no_wrap=True)
    screen.add_column(overflow="fold")
    for label, text, style in _lines(record, whole):
        shown = text if whole or label == "alarm" else shortened(text, most)
        screen.add_row(label, Text(shown, style=_STYLES.get(style, "")))
    console.print(screen)
    if whole:
        console.print(partitions_table(record))


def partitions_table(record: Mapping[str, Any]) -> Table:
    table = Table("asset", "partitions", "first", "last", title="Partitions", title_justify="left")
    for name, entry in record["assets"].items():
        table.add_row(name, f"{entry['partitions']:,}", entry["first"] or "-", entry["last"] or "-")
    return table


def _lines(record: Mapping[str, Any], whole: bool) -> Iterator[tuple[str, str, str]]:
    """Label, text and style of each line."""
    yield "home", f"{record['home']}, portfolio {record['portfolio']}", "dim"
    yield from _alarm_lines(record)
    yield from _model_lines(record)
    yield from _gate_lines(record)
    yield from _monitoring_lines(record)
    yield from _partition_lines(record)
    yield from _ticking_lines(record)
    label = "last runs"
    for run in record["runs"][: None if whole else _RUNS]:
        text = f"{run['run'][:8]} {run['status'].lower()} {run['job']} {run['partition'] or ''}"
        yield label, text.strip(), "look" if run["status"] == "FAILURE" else ""
        label = ""


def _alarm_lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for text in record["alarms"]:
        yield "alarm", text, "alarm"
    alerts = record["alerts_to"]
    services = (
        f"alerts go to {alerts} service{'s' * (alerts != 1)}"
        if alerts
        else "nobody is told: CREDIT_ALERT_URLS is empty"
    )
    yield "alarms", f"{len(record['alarms']) or 'none'}; {services}", "" if record["alarms"] else "good"


def _model_lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    champion, shadow, last = record["champion"], record["shadow"], record["last_decision"]
    if champion:
        since = champion["in_force"][-1][0] if champion["in_force"] else None
        force = f"; in force since {since}" if since else ""
        yield "champion", f"{model_in_words(champion)}{_promise(champion)}{force}", "good"
    else:
        training = record["training"]
        yield "champion", "none yet; `credit-assets replay` trains one", "look"
        yield "", f"first model: possible as of {training['first_possible']} ({training['why']})", ""
    if shadow:
        yield "on trial", f"{model_in_words(shadow)}{_promise(shadow)}{_trial(record['trial'])}", ""
    for model in (champion, shadow):
        if model and model["extensions"]:
            made_by = "; ".join(map(described, model["extensions"]))
            yield "", f"version {model['version']} was made with {made_by}", ""
    if last and not (champion and last["version"] == champion["version"]):
        yield "last model", f"as of {last['as_of']} {last['decision']}: {last['reason']}", ""


def model_in_words(model: Mapping[str, Any]) -> str:
    of = f", version {model['recalibrates']} with a new calibration" if model.get("recalibrates") else ""
    return f"version {model['version']}, {model['variant']}, as of {model['as_of']}{of}"


def _promise(model: Mapping[str, Any]) -> str:
    auc = model["metrics"].get("auc")
    return "" if auc is None else f"; AUC {auc:.3f} on its test"


def _trial(report: Mapping[str, Any] | None) -> str:
    return f"; {report['days']} days by {report['day']}, decision: {report['decision']}" if report else ""


def _gate_lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    label = "gates"
    if passed := [one for one in record["gates"] if not one["failed"]]:
        yield label, "passed: " + ", ".join(f"{one['asset']} {one['day']} ({one['gates']})" for one in passed), "good"
        label = ""
    for one in record["gates"]:
        if one["failed"]:
            of = f"{len(one['failed'])} of {one['gates']} failed"
            yield (
                label,
                f"{one['asset']} {one['day']}: {of}: {'; '.join(one['failed'])}",
                "alarm" if one["rejected"] else "look",
            )
            label = ""
    kept = []
    for account in record["accounts"].values():
        if isinstance(account, str):
            yield "rows", account, "look"
        elif account["verdict"] == "passed":
            kept.append(account["description"].removeprefix(_EVERY_ROW))
    if kept:
        # The others are alarms.
        yield "rows", f"passed: {_EVERY_ROW}{' '.join(kept)}", "good"


def _monitoring_lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    if drift := record["drift"]:
        style = {"stable": "good", "shifted": "alarm", "watch": "look"}.get(drift["verdict"], "")
        yield "drift", f"{drift['day']} {drift['verdict']}{_because(drift)}", style
    if (found := record["performance"]) is None:
        return
    label = "performance"
    for name, words in (
        ("realised", "in use"),
        ("since_training", "matured since training"),
        ("estimated", "estimated"),
    ):
        if text := _measured(found.get(name), words):
            yield label, text, ""
            label = ""
    if label:
        why = (found.get("realised") or {}).get("why") or "nothing is measured yet"
        yield label, f"{found['day']}: {why}", ""


def _because(drift: Mapping[str, Any]) -> str:
    why = str(drift.get("why") or "")
    return f": {why.removeprefix(drift['verdict'] + ': ')}" if why else ""


def _measured(part: Mapping[str, Any] | None, words: str) -> str:
    """One measurement with its interval; "" where there is none."""
    if not part:
        return ""
    if found := part.get("evaluation"):
        auc = f"AUC {found['auc']:.3f} ({found['auc_ci_low']:.3f} to {found['auc_ci_high']:.3f})"
        level = part.get("observed_over_expected")
        ratio = f", observed/expected {level['value']:.2f} ({level['low']:.2f} to {level['high']:.2f})" if level else ""
        return f"{words}: {auc}{ratio}, {found['bads']:,} bads by {part['to']}"
    if part.get("auc") is not None:
        return f"{words}: AUC {part['auc']:.3f} ({part['auc_low']:.3f} to {part['auc_high']:.3f}) by {part['to']}"
    return ""


def _partition_lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Assets whose partitions are the same in a line of their own."""

    def place(name: str) -> tuple[int, str, str]:
        entry = record["assets"][name]
        return -entry["partitions"], entry["last"] or "", entry["first"] or ""

    label = "partitions"
    # In the order of the graph within each group.
    for (count, last, first), group in groupby(sorted(record["assets"], key=place), place):
        names = ", ".join(group)
        yield label, f"{-count:,} days {first} .. {last}: {names}" if count else f"none: {names}", ""
        label = ""
    if skipped := record["assets"]["training_set"]["not_due"]:
        yield "", f"training_set: {skipped:,} of its days are not due: no model can be made as of them", ""
    for name, entry in record["assets"].items():
        if line := rejected_line(name, entry):
            yield "", line, "look"
    scores = record["assets"]["loan_scores"]
    if scores["unscored"]:
        text = f"loan_scores: {scores['scored']:,} days scored ({scores['scored_applications']:,} applications), "
        text += f"{scores['unscored']:,} unscored ({scores['unscored_applications']:,}): no champion was in force"
        yield "", text, ""
    if refused := scores["refused_applications"]:
        yield "", f"loan_scores: {refused:,} applications refused for a value that is missing (missing: reject)", ""


def _ticking_lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    schedule, daemon = record["schedule"], record["daemon"]
    if schedule["on"]:
        yield "next tick", f"{schedule['next'].replace('T', ' ')}, {schedule['name']}", ""
    else:
        yield (
            "next tick",
            f"none: {schedule['name']} is off; set CREDIT_DAILY_SCHEDULE=on, or switch it on in the Dagster UI",
            "",
        )
    if daemon["running"]:
        yield "daemon", f"running, {record['sensors']['on']} sensors and schedules on", "good"
    else:
        heard = f"last heard of {daemon['last_heard']}" if daemon["last_heard"] else "never heard of"
        yield "daemon", f"not running, {heard}; `credit-assets dev` starts it", "dim"
