"""`credit-assets retrain`: one training as of a date, with what is asked of it, for real or as a dry run.

Belongs here: reading what is asked, and showing what came. Does not belong here: what may be asked
(`credit_assets.assets.requested`), and the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from credit_assets.assets.dry_run import DryRun, summary
from credit_assets.assets.requested import RetrainingRequest
from credit_assets.cli.replay import Replay
from credit_assets.cli.trainings import ReplayReport
from credit_assets.failures import PermanentError
from credit_assets.ledger.reported import report_moves
from credit_assets.ml.data.documents import json_of
from credit_assets.notify.messages import one_line
from credit_assets.partitions import daily_partitions
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets.tags import REASON_TAG


@dataclass(frozen=True)
class ProgressLog:
    """Where a dry run says what it does."""

    say: Any

    def info(self, text: str) -> None:
        self.say(text, 0, 1)

    warning = info


def dry_run(settings: Settings, request: RetrainingRequest, as_of: date | None, progress: Any) -> dict[str, Any]:
    """What the retraining would come to; registers nothing. Raises PermanentError as the training would."""
    made = build_resources(settings)
    day = _day(settings, as_of, made["store"].days("processed_features"))
    training = DryRun(settings, request, made["warehouse"], made["store"], made["registry"], ProgressLog(progress))
    record = training.record(day)
    progress("done", 1, 1)
    return record


def retrain(
    settings: Settings, instance: dg.DagsterInstance, request: RetrainingRequest, as_of: date | None
) -> dict[str, Any]:
    """Train as of a day (the newest ingested one) in a run of the job retrain_model; what came of it, as JSON types.

    Raises PermanentError where the request cannot be used, the day is none, or a run fails.
    """
    request.applied(settings)
    replay, report = Replay(settings, instance), ReplayReport()
    day = _day(settings, as_of, replay.store.days("processed_features"))
    tags = {REASON_TAG: one_line(request.reason)} if request.reason else {}
    outcome = replay.train(day, report, tags, request)
    report_moves(instance, replay.registry)
    report.trainings.append(outcome)
    return {**vars(outcome), "as_of": f"{day}", "requested": request.to_record()}


def print_retraining(record: dict[str, Any], console: Console) -> None:
    """One line of what came of it."""
    if record.get("dry_run"):
        console.print(f"dry run: {summary(record)}", markup=False, soft_wrap=True)
        _print_reasons(record["reasons"], console)
        return
    moved = ", promoted" if record["promoted"] else ", on trial" if record["on_trial"] else ""
    version = f" as version {record['version']}" if record["version"] else ""
    auc = f", test AUC {record['metrics']['auc']:.4f}" if record["metrics"] else ""
    variant = f" ({record['variant']}{auc})" if record["variant"] else ""
    text = f"as of {record['as_of']}: {record['status']}{version}{moved}{variant}: {record['reason']}"
    console.print(text, markup=False, soft_wrap=True)


def _print_reasons(reasons: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table("rule", "passed", "why")
    for one in reasons:
        table.add_row(one["rule"], "yes" if one["passed"] else "no", one["text"])
    console.print(table)


def _day(settings: Settings, as_of: date | None, ingested: Sequence[str]) -> date:
    if as_of is None:
        if not ingested:
            raise PermanentError("no day is ingested yet: run `credit-assets replay` first, or name a day with --as-of")
        return date.fromisoformat(max(ingested))
    partitions = daily_partitions(settings)
    if not partitions.has_partition_key(as_of.isoformat()):
        raise PermanentError(
            f"{as_of} is no partition: the first is {settings.start_date} (CREDIT_START_DATE), the last closed day "
            f"{partitions.get_last_partition_key()}"
        )
    return as_of


def nested(option: str, example: str, given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`a.b=value` as {a: {b: value}}, the value as JSON where it is any, else as text."""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        of, dot, key = name.strip().partition(".")
        if not (equals and dot and of and key):
            raise PermanentError(f"{option} {text}: give it as {example}")
        found.setdefault(of, {})[key] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    try:
        return json_of(text)
    except ValueError:
        return text
