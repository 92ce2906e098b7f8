"""`credit-assets audit`: the walk over everything that was decided, for people.

Belongs here: what Dagster says was made, and showing what was found. Does not belong here: the checks
(`credit_assets.ledger.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from rich.console import Console

from credit_assets.assets.conventions import GATES_HASH, asset_key
from credit_assets.ledger.audit import CHECKS, described
from credit_assets.ledger.audit.reading import Reading
from credit_assets.resources import build_resources
from credit_assets.settings import Settings

_PAGE = 1_000


def audit_record(
    settings: Settings, instance: dg.DagsterInstance, on_progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """What each check looked at and found, and how much was walked; `clean` where nothing was found."""
    resources = build_resources(settings)
    made, judged = made_by(settings, instance), judged_by(settings, instance)
    reading = Reading(resources["store"], resources["registry"], resources["requests"], made, judged)
    walk = reading.walk(on_progress)
    found = {check.__name__: list(check(walk)) for check in CHECKS}
    gaps = [*walk.unreadable, *(gap for some in found.values() for gap in some)]
    return {
        "clean": not gaps,
        "walked": walk.counts(),
        "checks": [
            {"check": check.__name__, "looks at": described(check), "gaps": len(found[check.__name__])}
            for check in CHECKS
        ],
        "gaps": [gap.to_record() | {"where": gap.where} for gap in gaps],
    }


def made_by(settings: Settings, instance: dg.DagsterInstance) -> Mapping[str, Sequence[str]]:
    """By asset, the days that Dagster says were made."""
    return {
        row.name: sorted(instance.get_materialized_partitions(asset_key(settings, row.name)))
        for row in settings.graph.assets
    }


def judged_by(settings: Settings, instance: dg.DagsterInstance) -> Mapping[str, Mapping[str, str]]:
    """By asset and ISO day, the hash of the gate results that Dagster recorded when the day was made last; of assets
    whose days have some.
    """
    found = {row.name: _judged(instance, asset_key(settings, row.name)) for row in settings.graph.assets}
    return {asset: days for asset, days in found.items() if days}


def _judged(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, str]:
    newest = instance.get_latest_materialization_event(key)
    if newest is None or newest.asset_materialization is None:
        return {}
    if GATES_HASH not in newest.asset_materialization.metadata:
        return {}
    found: dict[str, str | None] = {}
    for event in _materializations(instance, key):
        if event.partition:
            recorded = event.metadata.get(GATES_HASH)
            found.setdefault(event.partition, None if recorded is None else str(recorded.value))
    return {day: one for day, one in found.items() if one is not None}


def _materializations(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[dg.AssetMaterialization]:
    """All of an asset, the newest first."""
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(key, limit=_PAGE, cursor=cursor)
        yield from (one.asset_materialization for one in page.records if one.asset_materialization is not None)
        if not page.has_more:
            return
        cursor = page.cursor


def print_audit(record: dict[str, Any], console: Console) -> None:
    """How much was walked, what each check came to, and each gap with what to do."""
    walked = ", ".join(f"{count:,} {what}" for what, count in record["walked"].items())
    console.print(f"walked: {walked}", markup=False)
    for one in record["checks"]:
        console.print(f"  {'ok  ' if not one['gaps'] else 'GAPS'} {one['looks at']}", markup=False)
    for gap in record["gaps"]:
        console.print(f"GAP ({gap['check']}) {gap['where']}: {gap['text']}", style="bold", markup=False)
        console.print(f"    -> {gap['do']}", markup=False)
    said = "no gap was found" if record["clean"] else f"{len(record['gaps'])} gaps were found"
    console.print(f"{said}; nothing was written", style="bold", markup=False)
