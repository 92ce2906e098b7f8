"""How assets are presented: whose they are, by which tags they are found, where their code is, and which of their dates
are due.

Belongs here: what the settings say of all assets alike. Does not belong here: descriptions and columns.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from credit_assets.assets.due import planned
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN

CODE = "dagster/code_references"
_ROOT = Path(__file__).resolve().parents[2]


def presented(settings: Settings) -> dict[str, Any]:
    """Owners and tags, as arguments of an asset."""
    return {"owners": list(settings.owners), "tags": dict(settings.asset_tags)}


def code_reference(settings: Settings, function: Callable[..., Any]) -> dict[str, Any]:
    """Where the code of an asset is, as metadata: at CREDIT_SOURCE_URL, else in the file on this machine.

    Read from the compiled function: looking for its source would read and parse every file when definitions are built.
    """
    code = function.__code__
    file, line = Path(code.co_filename), code.co_firstlineno
    label = f"{function.__name__} in {file.name}"
    reference: Any = dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=label)
    if settings.source_url and file.is_relative_to(_ROOT):
        url = f"{settings.source_url.rstrip('/')}/{file.relative_to(_ROOT).as_posix()}#L{line}"
        reference = dg.UrlCodeReference(url=url, label=label)
    return {CODE: dg.CodeReferencesMetadataValue(code_references=[reference])}


def due_dates(settings: Settings, asset: str) -> dict[str, Any]:
    """Which dates of an asset that trainings make are due, as its metadata; nothing of another asset.

    It has a partition a day, since a job takes one kind of partitions and a training may be asked for as of any day.
    """
    if asset not in settings.graph.made_by(RETRAIN):
        return {}
    first = planned(settings).first_due.isoformat()
    if settings.retraining == "daily":
        wanted = "each day"
    elif settings.refresh == "monthly":
        wanted = "the last day of each month, and each day for which a trigger or a person asks"
    else:
        wanted = "each day for which a trigger or a person asks"
    return {"due": f"{wanted}, from {first} on; a date that is missing is not late", "first_due": first}


def scores_by(settings: Settings) -> dg.FreshnessPolicy | None:
    """Scores of the day before are wanted by CREDIT_SCORES_BY, in CREDIT_TIMEZONE; None where that is none."""
    if settings.scores_by == "none":
        return None
    hour, minute = map(int, settings.scores_by.split(":"))
    # From midnight on the day before is closed and can be scored.
    since = timedelta(hours=hour, minutes=minute) or timedelta(days=1)
    return dg.FreshnessPolicy.cron(f"{minute} {hour} * * *", since, timezone=settings.timezone)
