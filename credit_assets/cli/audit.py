"""`credit-assets audit`: the walk over everything that was decided, for people.

Belongs here: what Dagster says was made, and showing what was found. Does not belong here: the checks
(`credit_assets.ledger.audit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg
from rich.console import Console

from credit_assets.assets.conventions import GATES_HASH, asset_key
from credit_assets.ledger.audit import CHECKS, described, gaps
from credit_assets.ledger.audit.reading import Reading
from credit_assets.ledger.audit.walk import Verdict
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
    found = {check.__name__: gaps(walk, [check]) for check in CHECKS}
    named = [*walk.unreadable, *(gap for some in found.values() for gap in some)]
    return {
        "clean": not named,
        "walked": walk.counts(),
        "checks": [
            {"check": check.__name__, "looks at": described(check), "gaps": len(found[check.__name__])}
            for check in CHECKS
        ],
        "gaps": [gap.to_record() | {"where": gap.where} for gap in named],
    }


def made_by(settings: Settings, instance: dg.DagsterInstance) -> Mapping[str, Sequence[str]]:
    """By asset, the days that Dagster says were made."""
    return {
        row.name: sorted(instance.get_materialized_partitions(asset_key(settings, row.name)))
        for row in settings.graph.assets
    }


def judged_by(settings: Settings, instance: dg.DagsterInstance) -> Mapping[str, Mapping[str, Verdict]]:
    """By asset and ISO day, what Dagster recorded of the gates when the day was judged last, made or rejected; of
    assets whose days have some.
    """
    found = {row.name: _judged(instance, asset_key(settings, row.name)) for row in settings.graph.assets}
    return {asset: days for asset, days in found.items() if days}


def _judged(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Verdict]:
    # A day that gates reject is observed and not made.
    read = [_Events(instance.fetch_materializations, key, False), _Events(instance.fetch_observations, key, True)]
    if not any(one.has_hash() for one in read):
        return {}
    newest: dict[str, tuple[int, Verdict | None]] = {}
    for one in read:
        for number, day, found in one.all():
            if number > newest.get(day, (-1, None))[0]:
                newest[day] = number, found
    return {day: verdict for day, (_, verdict) in newest.items() if verdict is not None}


class _Events(NamedTuple):
    """The events of one kind of an asset."""

    fetch: Callable[..., dg.EventRecordsResult]
    key: dg.AssetKey
    rejected: bool
    """Whether these are of days that were rejected."""

    def has_hash(self) -> bool:
        return any(GATES_HASH in event.metadata for _, event in self._read(self.fetch(self.key, limit=1).records))

    def all(self) -> Iterator[tuple[int, str, Verdict | None]]:
        """Place in the log, ISO day, and what is recorded of its gates; of observations those of rejected days."""
        cursor: str | None = None
        while True:
            page = self.fetch(self.key, limit=_PAGE, cursor=cursor)
            for number, event in self._read(page.records):
                recorded = event.metadata.get(GATES_HASH)
                if event.partition and (recorded or not self.rejected):
                    yield number, event.partition, Verdict(str(recorded.value), self.rejected) if recorded else None
            if not page.has_more:
                return
            cursor = page.cursor

    @staticmethod
    def _read(
        records: Sequence[dg.EventLogRecord],
    ) -> Iterator[tuple[int, dg.AssetMaterialization | dg.AssetObservation]]:
        for one in records:
            event = one.asset_materialization or one.asset_observation
            if event is not None:
                yield one.storage_id, event


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
