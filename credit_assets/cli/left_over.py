"""What processes that were killed have left: done away with by every command that makes runs, by `clean` and `doctor`.

Belongs here: looking for it and saying what was found. Does not belong here: how it is known that a process is gone
(`credit_assets.processes`), ending a run (`credit_assets.instance.lost_runs`) and where files may lie
(`credit_assets.instance.rubbish`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.aside import LeftOver, take_away
from credit_assets.assets.conventions import asset_key
from credit_assets.failures import PermanentError, TransientError
from credit_assets.health import Health, first_line
from credit_assets.instance.home import instance_of
from credit_assets.instance.lost_runs import end_lost_runs, line_of, lost_runs, process_of
from credit_assets.instance.own_runs import own_runs
from credit_assets.instance.rubbish import HOUR, OLD_SECONDS, find, sweep
from credit_assets.instance.statuses import AT_WORK
from credit_assets.ledger.retention import Gone, Retention
from credit_assets.resources import build_resources
from credit_assets.settings import Settings
from credit_assets.tracking import Tracking

if TYPE_CHECKING:
    from rich.console import Console

_MOST = 100
_SHOWN = 20


def tidy(settings: Settings, instance: dg.DagsterInstance, tracking: Tracking) -> None:
    """What every command that makes runs does first: a run that a killed one left would count as running for twelve
    hours, and what it wrote would lie there for ever. Raises as MLflow does, where a run had begun to log there.
    """
    end_lost_runs(instance, settings.naming, tracking.runs.close)
    sweep(settings)


def cut_short(instance: dg.DagsterInstance, settings: Settings, days: Sequence[date]) -> list[date]:
    """Those of these days, which have no dossier, whose training was killed before it made one: the run that deployed
    its model did not succeed. One that did is of a release that made none.
    """
    key = asset_key(settings, "deployed_model")

    def was_killed(day: date) -> bool:
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day.isoformat()])
        made = instance.fetch_materializations(wanted, limit=1).records
        run = instance.get_run_by_id(made[0].run_id) if made else None
        return run is not None and run.status != dg.DagsterRunStatus.SUCCESS

    return [day for day in days if was_killed(day)]


@dataclass(frozen=True)
class Cleaned:
    """What `clean` did, or would do: the runs that it ended, the files that it removed, and those that it could not."""

    dry_run: bool
    runs: Sequence[str]
    removed: Sequence[LeftOver]
    kept: Sequence[LeftOver] = ()
    old: Sequence[Gone] = ()
    """What the settings no longer keep, where that was asked for."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """By kind how long it is kept, where that was asked for."""

    def to_record(self) -> dict[str, Any]:
        """As JSON types."""
        files = {name: [_record(one) for one in of] for name, of in (("removed", self.removed), ("kept", self.kept))}
        return {
            "dry_run": self.dry_run,
            "runs": list(self.runs),
            **files,
            "bytes": sum(one.bytes for one in self.removed),
            **({"old": [one._asdict() for one in self.old], "kept_for": dict(self.limits)} if self.limits else {}),
        }


def _record(one: LeftOver) -> dict[str, Any]:
    return {"path": str(one.path), "bytes": one.bytes, "why": one.why}


def clean(
    settings: Settings, *, dry_run: bool = False, older_hours: float = OLD_SECONDS / HOUR, retention: bool = False
) -> Cleaned:
    """End runs whose process is gone, and remove what such processes left; with `retention` also take out what the
    settings no longer keep. With `dry_run` only say what it would be.
    """
    found, resources = find(settings, older_hours * HOUR), build_resources(settings)
    with instance_of(settings) as instance:
        if dry_run:
            runs = [line_of(run, mark) for run, mark in lost_runs(instance, settings.naming)]
        else:
            runs = end_lost_runs(instance, settings.naming, resources["tracking"].runs.close)
        keep = Retention(settings, instance, resources["registry"], resources["store"])
        old = [*keep.apply(dry_run=dry_run)] if retention else []
        limits = keep.limits() if retention else {}
    if dry_run:
        return Cleaned(dry_run, runs, found, (), old, limits)
    done = {one: take_away(one) for one in found}
    gone, kept = ([one for one in found if done[one] is way] for way in (True, False))
    return Cleaned(dry_run, runs, gone, kept, old, limits)


def print_cleaned(cleaned: Cleaned, out: Console) -> None:
    would = "would be " if cleaned.dry_run else ""
    for line in cleaned.runs:
        out.print(f"{would}ended: {line}", markup=False, soft_wrap=True)
    for one in cleaned.removed[:_SHOWN]:
        out.print(f"{would}removed: {one.path} ({one.bytes:,} bytes; {one.why})", markup=False, soft_wrap=True)
    if (more := len(cleaned.removed) - _SHOWN) > 0:
        out.print(f"and {more:,} more (--json names all)")
    for old in cleaned.old[:_SHOWN]:
        out.print(f"{would}taken out: {old.name} ({old.text})", markup=False, soft_wrap=True)
    if (more := len(cleaned.old) - _SHOWN) > 0:
        out.print(f"and {more:,} more (--json names all)")
    for kind, limit in cleaned.limits.items():
        count = sum(one.kind == kind for one in cleaned.old)
        out.print(f"{kind}: {count:,} {would}taken out ({limit})", markup=False)
    held = sum(one.bytes for one in cleaned.removed)
    out.print(f"{len(cleaned.removed):,} files and folders, {held:,} bytes; {len(cleaned.runs)} runs", markup=False)
    if cleaned.kept:
        raise PermanentError(
            f"{len(cleaned.kept)} could not be removed, {cleaned.kept[0].path} first: see that you may write there"
        )


def runs_health(settings: Settings) -> Health:
    """Ends the runs whose process is gone; says which they were, and which cannot be looked at from here."""
    tracking = build_resources(settings)["tracking"]
    try:
        with instance_of(settings) as instance:
            ended = end_lost_runs(instance, settings.naming, tracking.runs.close)
            under_way = own_runs(instance, settings.naming, _MOST, dg.RunsFilter(statuses=list(AT_WORK)))
    except (PermanentError, TransientError) as error:
        return Health("not looked at", "warn", f"runs whose process is gone could not be ended: {first_line(error)}")
    elsewhere = sorted({str(mark) for run in under_way if (mark := process_of(run)) and mark.gone is None})
    value = f"{len(under_way)} under way" + (
        f", of them not to be seen from here: {', '.join(elsewhere)}" * bool(elsewhere)
    )
    if not ended:
        return Health(value)
    return Health(
        f"{value}; {len(ended)} ended whose process was killed",
        "warn",
        f"{'; '.join(ended)}: run the same command again, it goes on where it was; what Dagster's daemon had started "
        "it starts again",
    )
