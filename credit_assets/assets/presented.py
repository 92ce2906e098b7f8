"""How assets are presented: whose they are, by which tags they are found, where their code is, which of their dates are
due, and what to read on.

Belongs here: what the settings say of all assets alike. Does not belong here: descriptions and columns.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from credit_assets.assets.due import planned
from credit_assets.links import markdown_link, mlflow_page, model_page
from credit_assets.places import database_file
from credit_assets.settings import Settings
from credit_assets.stages import RETRAIN

CODE = "dagster/code_references"
DOCS, MODEL = "docs", "mlflow_model"
_ROOT = Path(__file__).resolve().parents[2]
_PAGES = {
    "restated_days": "data-problems.md",
    "raw_loan_data": "data-problems.md",
    "loan_outcomes": "data-problems.md",
    "loan_decisions": "population.md",
    "history_features": "histories.md",
    "processed_features": "portfolio.md",
    "training_set": "population.md",
    "scorecard_candidate": "scorecard.md",
    "trained_model": "pages.md",
    "registered_model": "policy.md",
    "deployed_model": "promotion.md",
    "model_dossier": "dossier.md",
    "loan_scores": "reasons.md",
    "drift_report": "monitoring.md",
    "performance_report": "monitoring.md",
    "shadow_report": "promotion.md",
}
"""Asset: the page of `docs/` that explains it best. Candidates: how a training can be asked for."""
_CANDIDATE = "ad-hoc-training.md"


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


def read_on(settings: Settings, asset: str) -> dict[str, Any]:
    """Links of an asset, as metadata: its page of the docs, at CREDIT_SOURCE_URL or in the checkout on this machine,
    and the registered model in MLflow where its UI is known.
    """
    page = f"docs/{_PAGES.get(asset, _CANDIDATE)}"
    found: dict[str, Any] = {}
    if settings.source_url:
        found[DOCS] = dg.MetadataValue.md(markdown_link(page, f"{settings.source_url.rstrip('/')}/{page}"))
    elif (_ROOT / page).is_file():
        found[DOCS] = dg.MetadataValue.path(str(_ROOT / page))
    if url := mlflow_page(mlflow_ui(settings) or settings.tracking_uri, model_page(settings.naming.registered_model)):
        found[MODEL] = dg.MetadataValue.md(markdown_link(settings.naming.registered_model, url))
    return found


def mlflow_ui(settings: Settings) -> str:
    """Where people reach MLflow: as the settings say, else the UI that `dev` starts where its store is a file of this
    machine; empty where the tracking server's own address is it.
    """
    if settings.mlflow_url:
        return settings.mlflow_url
    return f"http://localhost:{settings.dev_mlflow_port}" if database_file(settings.tracking_uri) is not None else ""


def wanted_by(settings: Settings) -> dg.FreshnessPolicy | None:
    """The day before, of what its scores and reports are made of too, is wanted by CREDIT_SCORES_BY, in
    CREDIT_TIMEZONE; None where that is none.
    """
    if settings.scores_by == "none":
        return None
    hour, minute = map(int, settings.scores_by.split(":"))
    # From midnight on the day before is closed and can be scored.
    since = timedelta(hours=hour, minutes=minute) or timedelta(days=1)
    return _by_cron(f"{minute} {hour} * * *", since, settings.timezone)


@cache
def _by_cron(cron: str, since: timedelta, timezone: str) -> dg.FreshnessPolicy:
    """One for all assets: Dagster walks through a thousand ticks to judge a cron string."""
    return dg.FreshnessPolicy.cron(cron, since, timezone=timezone)
