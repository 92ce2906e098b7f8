"""`credit-assets audit`: the walk over everything that was decided, for people.

Belongs here: what Dagster says was made, and showing what was found. Does not belong here: the checks
(`credit_assets.ledger.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
from rich.console import Console

from credit_assets.assets.conventions import asset_key
from credit_assets.ledger.audit import CHECKS, described
from credit_assets.ledger.audit.reading import Reading
from credit_assets.resources import build_resources
from credit_assets.settings import Settings


def audit_record(
    settings: Settings, instance: dg.DagsterInstance, on_progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """What each check looked at and found, and how much was walked; `clean` where nothing was found."""
    resources = build_resources(settings)
    reading = Reading(resources["store"], resources["registry"], resources["requests"], made_by(settings, instance))
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
