"""`credit-assets reproduce`: a version made again, for people.

Belongs here: showing it. Does not belong here: making it again and comparing (`credit_assets.assets.reproduction`).
"""

from __future__ import annotations

from typing import Any

from rich.console import Console

from credit_assets.assets.reproduction import reproduce
from credit_assets.resources import build_resources
from credit_assets.settings import Settings


def reproduction_record(settings: Settings, version: str | None) -> dict[str, Any]:
    """What `reproduce` gives. Raises PermanentError where there is no such version."""
    resources = build_resources(settings)
    return reproduce(settings, resources["store"], resources["registry"], version)


def print_reproduction(record: dict[str, Any], console: Console) -> None:
    """What was compared, then what differs, then what else is to be known."""
    of = f", which recalibrates version {record['recalibrates']}" if record["recalibrates"] else ""
    outcome = "made again, and equal" if record["equal"] else "NOT shown to be equal"
    about = f"version {record['version']} ({record['variant']}, as of {record['as_of']}{of})"
    console.print(f"{about}: {outcome}", style="bold", markup=False)
    for what, came in record["compared"].items():
        console.print(f"  {what}: {came}", markup=False)
    for one in record["differences"]:
        then = f" -> {one['do']}" if one["do"] else ""
        console.print(f"DIFFERS ({one['kind']}) {one['where']}: {one['text']}{then}", style="bold", markup=False)
    for one in record["notes"]:
        console.print(f"note ({one['kind']}) {one['where']}: {one['text']}", style="dim", markup=False)
    console.print(f"{record['cpu_seconds']:.1f} s of CPU; nothing was written", style="dim", markup=False)
