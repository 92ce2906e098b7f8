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
from credit_assets.failures import PermanentError
from credit_assets.instance.ownership import mark_file, parse
from credit_assets.ledger.audit import CHECKS, described, gaps
from credit_assets.ledger.audit.chains import off_the_journal
from credit_assets.ledger.audit.reading import AuditReading, LedgerInDagster
from credit_assets.ledger.audit.walk import Reported, Verdict, Walk
from credit_assets.ledger.deployment import ALIASES
from credit_assets.ledger.integrity import HEADS, Integrity, break_in_words
from credit_assets.ledger.reported import alias_key
from credit_assets.pages import whole_hashes
from credit_assets.resources import build_resources
from credit_assets.settings import Settings

_PAGE = 1_000
_NOTES = 400
"""Decisions whose notes of the ledger are looked at, the newest: who cuts a log off would have to reach them all."""


Progress = Callable[[str, int, int], None]


def audit_record(
    settings: Settings, instance: dg.DagsterInstance, on_progress: Progress, *, verify: bool = False
) -> dict[str, Any]:
    """What each check looked at and found, and how much was walked; `clean` where nothing was found. With `verify` the
    rows of every partition are read and held against the hash that was recorded of them.
    """
    walk = read(settings, instance, on_progress, verify=verify)
    found = {check.__name__: gaps(walk, [check]) for check in CHECKS}
    named = [*walk.unreadable, *(gap for some in found.values() for gap in some)]
    return {
        "clean": not named,
        "walked": walk.counts(),
        "heads": {name: {"entries": head.number, "hash": head.hash} for name, head in walk.ledger.heads.items()},
        "checks": [
            {"check": check.__name__, "looks at": described(check), "gaps": len(found[check.__name__])}
            for check in CHECKS
        ],
        "accepted": list(walk.ledger.accepted),
        "gaps": [gap.to_record() | {"where": gap.where} for gap in named],
    }


def read(settings: Settings, instance: dg.DagsterInstance, on_progress: Progress, *, verify: bool = False) -> Walk:
    """Everything that an audit walks over."""
    resources = build_resources(settings)
    made, judged = made_by(settings, instance), judged_by(settings, instance)
    in_dagster = ledger_in_dagster(settings, instance)
    reading = AuditReading(
        resources["store"], resources["registry"], resources["requests"], made, judged, in_dagster, verify
    )
    return reading.walk(on_progress)


def accept(settings: Settings, instance: dg.DagsterInstance, reason: str, **who: Any) -> dict[str, Any]:
    """Go on in spite of what is broken now. Raises PermanentError where nothing is, or without a reason."""
    if not reason.strip():
        raise PermanentError("--accept needs --reason: it is what a validator reads")
    walk = read(settings, instance, lambda *_: None)
    contents = {path: walk.ledger.files.get(path, "") for path in off_the_journal(walk)}
    if not walk.ledger.breaks and not contents:
        raise PermanentError("no chain is broken: there is nothing to accept")
    named = [break_in_words(one) for one in walk.ledger.breaks]
    named += [f"{path}: {text}" for path, text in off_the_journal(walk).items()]
    integrity = Integrity(build_resources(settings)["registry"])
    integrity.accept(walk.ledger.breaks, contents, reason=" ".join(reason.split()), named=named, **who)
    return {"accepted": named, "reason": reason, **who}


def print_accepted(record: dict[str, Any], console: Console) -> None:
    for text in record["accepted"]:
        console.print(f"accepted: {text}", markup=False)
    console.print("it is recorded in the journal with who and why; trainings and promotions go on", style="bold")


def made_by(settings: Settings, instance: dg.DagsterInstance) -> Mapping[str, Sequence[str]]:
    """By asset, the days that Dagster says were made."""
    return {
        row.name: sorted(instance.get_materialized_partitions(asset_key(settings, row.name)))
        for row in settings.graph.assets
    }


def ledger_in_dagster(settings: Settings, instance: dg.DagsterInstance) -> LedgerInDagster:
    """What Dagster has of the ledger."""
    decisions = instance.fetch_materializations(asset_key(settings, "deployed_model"), limit=_NOTES).records
    noted = [whole_hashes(str(event.metadata[HEADS].value)) for _, event in _read(decisions) if HEADS in event.metadata]
    try:
        book = parse(mark_file(settings).read_text("utf-8"), str(mark_file(settings))).id
    except (OSError, PermanentError):
        book = ""
    moves = {
        alias: _Events(instance.fetch_materializations, alias_key(alias, settings.naming), False) for alias in ALIASES
    }
    return LedgerInDagster(
        {alias: [_reported(event) for event in of.events()] for alias, of in moves.items()}, noted, book
    )


def _reported(event: Any) -> Reported:
    names = ("log", "number", "to", "hash")
    fields = {name: whole_hashes(str(value.value)) for name, value in event.metadata.items() if name in names}
    number = fields.get("number", "")
    return Reported(
        fields.get("log", ""), int(number) if number.isdigit() else 0, fields.get("to", ""), fields.get("hash", "")
    )


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

    def events(self) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
        """Every event, whatever it is of."""
        for records in self._pages():
            yield from (event for _, event in _read(records))

    def has_hash(self) -> bool:
        return any(GATES_HASH in event.metadata for _, event in _read(self.fetch(self.key, limit=1).records))

    def all(self) -> Iterator[tuple[int, str, Verdict | None]]:
        """Place in the log, ISO day, and what is recorded of its gates; of observations those of rejected days."""
        for records in self._pages():
            for number, event in _read(records):
                recorded = event.metadata.get(GATES_HASH)
                if event.partition and (recorded or not self.rejected):
                    hashed = recorded and whole_hashes(str(recorded.value))
                    yield number, event.partition, Verdict(hashed, self.rejected) if hashed else None

    def _pages(self) -> Iterator[Sequence[dg.EventLogRecord]]:
        cursor: str | None = None
        while True:
            page = self.fetch(self.key, limit=_PAGE, cursor=cursor)
            yield page.records
            if not page.has_more:
                return
            cursor = page.cursor


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
    for one in record["accepted"]:
        line = (
            f"accepted by {one.get('by')} at {one.get('at')} ({one.get('reason')}): {'; '.join(one.get('named', ()))}"
        )
        console.print(f"  {line}", markup=False)
    for gap in record["gaps"]:
        console.print(f"GAP ({gap['check']}) {gap['where']}: {gap['text']}", style="bold", markup=False)
        console.print(f"    -> {gap['do']}", markup=False)
    line = "no gap was found" if record["clean"] else f"{len(record['gaps'])} gaps were found"
    console.print(f"{line}; nothing was written", style="bold", markup=False)
