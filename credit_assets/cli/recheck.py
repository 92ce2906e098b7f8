"""`credit-assets recheck`: compare ingested days with the warehouse now, and make again what has changed."""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg
from rich.console import Console

from credit_assets.assets.recheck import INGESTED, lines
from credit_assets.cli.replay import Replay
from credit_assets.cli.trainings import ReplayReport
from credit_assets.failures import PermanentError
from credit_assets.settings import Settings


def run_recheck(
    settings: Settings, instance: dg.DagsterInstance, days: int | None, since: date | None
) -> dict[str, Any]:
    """The record of the job `recheck_loans` for the newest ingested day, over so many days, or all since a day.

    Raises PermanentError where both are given, nothing is ingested, or something cannot be made again.
    """
    if days is not None and since is not None:
        raise PermanentError("--days and --since both say how far to look back: give one of them")
    newest = Replay(settings, instance).newest_ingested()
    if newest is None:
        raise PermanentError("no day is ingested yet: `credit-assets replay --start DAY --end DAY` ingests some")
    if since is not None and since > newest:
        raise PermanentError(f"--since {since} lies after {newest}, the newest day that is ingested")
    depth = days or ((newest - since).days + 1 if since else settings.recheck_days)
    report = ReplayReport()
    record = Replay(settings.model_copy(update={"recheck_days": depth}), instance).recheck(newest, report)
    return {"days": depth, **record}


def print_recheck(record: dict[str, Any], console: Console) -> None:
    restated = record["restated"]
    console.print(
        f"{record['compared_days']:,} ingested days up to {record['as_of']} compared with the warehouse: "
        + (f"{len(restated):,} restated" if restated else "none has changed")
    )
    for line in lines(record):
        console.print(f"  {line}")
    if restated and record["policy"] == INGESTED:
        console.print("ingested again, with features")
    elif restated:
        console.print("reported only, and nothing was ingested again (CREDIT_RESTATED)")
    if scored := record["scored_again"]:
        console.print(f"scored and reported again: {scored[0]} .. {scored[1]}")
