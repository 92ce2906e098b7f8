"""The dossier of the version registered on the as-of date: its page and its JSON, logged to the version's run.

Belongs here: the asset. Does not belong here: finding the records (`dossier_material`), and what is said of them
(`credit_assets.ml.reports.dossier`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.conventions import daily_asset, dependencies
from credit_assets.assets.dossier_material import material_of
from credit_assets.ledger.registry import Registry
from credit_assets.settings import Settings
from credit_assets.stages import DOSSIER
from credit_assets.storage.seals import canonical_json
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking
from credit_assets.tracking.run import FinishedRun

if TYPE_CHECKING:
    from credit_assets.ml.reports.dossier.whole import Dossier

HTML, JSON = "dossier/dossier.html", "dossier/dossier.json"
"""Files of the version's run."""


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @daily_asset(
        DOSSIER,
        settings,
        partitions,
        "html",
        "json",
        "mlflow",
        deps=dependencies(DOSSIER, settings),
        description="The validation document of the version registered on the as-of date, as a page to print and as "
        "JSON: purpose, population, data, method, results, limits, monitoring plan, decisions and changes, every "
        "number with its source. A short record where none was registered.",
    )
    def model_dossier(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        tracking: dg.ResourceParam[Tracking],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.reports.dossier.whole import dossier

        day = context.partition_key
        registered = store.read_record(store.path("registered_model", f"{day}.json"))
        if registered["version"] is None:
            record = {"as_of": day, "version": None, "why": f"no version was registered: {registered['decision']}"}
            return dg.MaterializeResult(
                value=record,
                data_version=dg.DataVersion("none"),
                metadata={"version": "none", "why": record["why"]},
            )
        version = registry.version(registered["version"])
        takes_over = date.fromisoformat(day) + timedelta(1)
        made = dossier(material_of(settings, store, registry, version, until=takes_over))
        texts = {HTML: page_of(made), JSON: json_of(made)}
        run = FinishedRun(tracking.server, version.run_id)
        for file, text in texts.items():
            run.log_text(text, file)
        record = {
            "as_of": day,
            "version": version.version,
            "fingerprint": version.fingerprint,
            "run_id": version.run_id,
            "files": {file: described(text) for file, text in texts.items()},
            "findings": list(made.findings),
            "missing": list(made.missing),
        }
        return dg.MaterializeResult(
            value=record,
            data_version=dg.DataVersion(record["files"][JSON]["sha256"]),
            metadata={
                "version": version.version,
                "findings": len(made.findings),
                "evidence_missing": len(made.missing),
                "sources": len(made.sources),
                "page_bytes": record["files"][HTML]["bytes"],
                "summary": dg.MetadataValue.md(summary(made)),
                "page": tracking.server.run_file_link(version.run_id, HTML),
                "mlflow_version": registry.version_link(version.version),
            },
        )

    return [model_dossier]


def page_of(made: Dossier) -> str:
    """The page."""
    from credit_assets.ml.reports.dossier.page import html

    return html(made)


def json_of(made: Dossier) -> str:
    """The JSON, in the store's canonical form."""
    return canonical_json(made.to_record()).decode()


def described(text: str) -> dict[str, Any]:
    """Size and hash of a file."""
    content = text.encode()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def summary(made: Dossier) -> str:
    """Markdown: the front page and the known weaknesses."""
    facts = "\n".join(f"| {item.label} | {_cell(item.cell.text)} |" for item in made.front.items)
    found = "\n".join(f"- {_cell(text)}" for text in made.findings) or "None of the rules speaks."
    return f"| | |\n|---|---|\n{facts}\n\n**Known weaknesses**\n\n{found}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def file_names(record: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the two files of a version, page and JSON."""
    stem = f"{record['model']}-{record['version']}-dossier"
    return f"{stem}.html", f"{stem}.json"
