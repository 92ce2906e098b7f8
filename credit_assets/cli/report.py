"""`credit-assets report`: a site of files from the store, to look at, to print and to hand on.

Belongs here: finding the records, and writing the files. Does not belong here: what stands on the pages
(`credit_assets.ml.reports.site` and `dossier`), and HTML.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from credit_assets.assets.dossier_material import material_of
from credit_assets.cli.days import days_between
from credit_assets.cli.dossier import written
from credit_assets.cli.models import models_record
from credit_assets.cli.state import status_record
from credit_assets.instance.embedded_reads import Readable
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import ALIASES
from credit_assets.ledger.kept import evidence_hash
from credit_assets.ledger.registry import Registry
from credit_assets.ml.rules.decisions import summary_of
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    from credit_assets.cli.replay import OnProgress
    from credit_assets.ml.reports.site import AliasMove, SiteMaterial, StoredRecord

INDEX = "index.html"
_DECIDED = ("registered", "rejected")
_PASSING = ("daemon", "schedule", "sensors", "runs")


def write_report(
    settings: Settings, instance: Readable, folder: Path, days: int, on_progress: OnProgress
) -> dict[str, Any]:
    """Write the pages of the portfolio and a dossier of each version into the folder; the newest so many days of
    reports are shown. Raises PermanentError where the folder cannot be written.
    """
    from credit_assets.ml.reports.dossier.page import html
    from credit_assets.ml.reports.dossier.whole import dossier
    from credit_assets.ml.reports.site import pages

    resources = build_resources(settings)
    store, registry = resources["store"], resources["registry"]
    status, models = status_record(settings, instance), models_record(settings)
    versions = [one["version"] for one in models["versions"]]
    on_progress("pages", 0, 1 + len(versions))
    made = pages(_material(store, registry, status, models, days))
    links = {name: INDEX if number == 0 else f"{name.lower()}.html" for number, name in enumerate(made)}
    links |= {f"Version {version}": f"version-{version}.html" for version in versions}
    texts = {links[name]: html(page, "report", links, name) for name, page in made.items()}
    for number, version in enumerate(versions, 1):
        on_progress(f"dossier of version {version}", number, 1 + len(versions))
        found = dossier(material_of(settings, store, registry, registry.version(version)))
        name = f"Version {version}"
        texts[links[name]] = html(found, "model dossier", links, name)
    # The first page last: whoever finds it finds what it links to.
    files = {name: written(folder / name, texts[name]) for name in sorted(texts, key=lambda name: name == INDEX)}
    return {
        "portfolio": status["portfolio"],
        "index": str(files[INDEX]),
        "pages": [str(file) for file in files.values()],
        "bytes": sum(len(page.encode()) for page in texts.values()),
    }


def _material(
    store: Store, registry: Registry, status: dict[str, Any], models: dict[str, Any], days: int
) -> SiteMaterial:
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.site import SiteMaterial

    moves = list(_moves(Aliases(registry)))
    today = status["assets"]["raw_loan_data"]["last"] or "no day yet"
    return SiteMaterial(
        # Without what passes by: equal stores give equal pages.
        status=_recorded("status", today, {name: one for name, one in status.items() if name not in _PASSING}),
        models=_recorded(f"versions of {models['model']}", today, models),
        drift=_reports(store, "drift_report", days),
        performance=_reports(store, "performance_report", days),
        decisions=[
            (_recorded("registered_model", day, found), summary_of(found["reasons"]))
            for day in store.days("registered_model")
            if (found := store.read_record(store.path("registered_model", f"{day}.json")))["decision"] in _DECIDED
        ],
        moves=moves,
        moves_source=Source("model_aliases", today, evidence_hash([vars(one) for one in moves]), ""),
    )


def _recorded(asset: str, partition: str, record: dict[str, Any]) -> StoredRecord:
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.site import StoredRecord

    return StoredRecord(record, Source(asset, partition, evidence_hash(record), ""))


def _reports(store: Store, asset: str, days: int) -> Sequence[StoredRecord]:
    """Those of the newest days up to the newest report."""
    there = store.days(asset)
    if not there:
        return ()
    last = date.fromisoformat(there[-1])
    wanted = {day.isoformat() for day in days_between(last - timedelta(days - 1), last)}.intersection(there)
    return [_recorded(asset, day, store.read_record(store.path(asset, f"{day}.json"))) for day in sorted(wanted)]


def _moves(aliases: Aliases) -> Iterator[AliasMove]:
    from credit_assets.ml.reports.site import AliasMove

    found = [(alias, move) for alias in ALIASES for move in aliases.moves(alias)]
    for alias, move in sorted(found, key=lambda one: (one[1].at, one[0], one[1].number)):
        change = move.change
        yield AliasMove(str(change.effective_from), alias, move.version, change.kind, change.by, change.reason)


def print_report(record: dict[str, Any], console: Console) -> None:
    """Where to look."""
    console.print(f"{len(record['pages'])} pages, {record['bytes']:,} bytes, of portfolio {record['portfolio']}")
    console.print(record["index"], markup=False, soft_wrap=True)
