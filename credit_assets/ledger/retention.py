"""How long is kept what grows with every day and nothing decides by: what goes by the settings, and what never does.

Belongs here: the three kinds, and which candidates have to stay. Does not belong here: how they are taken out of
Dagster (`credit_assets.instance.retention`) and MLflow (`credit_assets.tracking.forgotten`), and what killed processes
have left (`credit_assets.instance.rubbish`).

Nothing goes unless a setting says so. Never touched, whatever they say: partitions and records of days, quarantined
rows (an account counts them), scores, reports, dossiers, decisions; the logs of moves, requests and signatures, the
journal and every claim; what is kept with versions; registered versions, and all candidates of an as-of date of which
one was registered, since a reproduction holds the version against them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from credit_assets.instance.retention import EVENTS, OUTPUT, note_place, place_of, take_out_old
from credit_assets.ledger.kept import EVIDENCE, Kept
from credit_assets.ledger.registry import Registry
from credit_assets.settings import Settings, variable
from credit_assets.stages import candidate
from credit_assets.storage.store import Store
from credit_assets.tracking.forgotten import OldCandidates, would_go

if TYPE_CHECKING:
    import dagster as dg
    from mlflow.entities import Run

CANDIDATES = "candidates"
_BEGIN = datetime.fromtimestamp(0, UTC)


class Gone(NamedTuple):
    """One thing that went, or would go: its kind, what it is, and what there was of it."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True)
class Retention:
    """Applies the settings to one house. Raises as Dagster's instance, `Registry` and `Kept` do."""

    settings: Settings
    instance: dg.DagsterInstance
    registry: Registry
    store: Store
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def apply(self, *, dry_run: bool = False, seconds: float | None = None) -> Iterator[Gone]:
        """Take out what the settings no longer keep, oldest first, each as it goes. After so many `seconds` it stops
        at the next, and the next call goes on there. With `dry_run` nothing goes.
        """
        until = None if seconds is None else time.monotonic() + seconds
        for kind in (self._of_runs(EVENTS, dry_run), self._of_runs(OUTPUT, dry_run), self._candidates(dry_run)):
            for gone in kind:
                yield gone
                if until is not None and time.monotonic() > until:
                    return

    def limits(self) -> dict[str, str]:
        """By kind the setting that says how long it is kept, in words."""
        return {
            kind: f"{variable(name)}={days}" if (days := getattr(self.settings, name)) else "kept for ever"
            for kind, name in _SETTINGS.items()
        }

    def _before(self, kind: str) -> datetime | None:
        days = getattr(self.settings, _SETTINGS[kind])
        return None if days is None else self.now - timedelta(days)

    def _of_runs(self, kind: str, dry_run: bool) -> Iterator[Gone]:
        if (before := self._before(kind)) is None:
            return
        for run in take_out_old(self.instance, self.settings.naming, kind, before, dry_run=dry_run):
            what = "output of its steps" if run.events is None else f"{run.events:,} events"
            if run.events != 0:
                yield Gone(kind, f"run {run.run_id}", f"{run.job}, {run.made:%Y-%m-%d}: {what}")

    def _candidates(self, dry_run: bool) -> Iterator[Gone]:
        if (before := self._before(CANDIDATES)) is None or self.settings.tracking_is_new:
            return
        naming, server = self.settings.naming, self.registry.tracking.server
        names = {"/".join(naming.asset(candidate(variant).name)) for variant in self._variants()}
        old = OldCandidates(server, names)
        if not dry_run:
            for _ in old.cut_short():
                pass
        runs = old.ended(place_of(self.instance, naming, CANDIDATES) or _BEGIN, before)
        stays = self._kept_runs() if runs else _Staying(frozenset(), frozenset())
        for run in runs:
            if not stays.has(run) and not self._registered(run):
                gone = would_go(run) if dry_run else old.forget(run)
                where = "" if dry_run or gone.erased else "; its server keeps it as deleted until `mlflow gc`"
                yield Gone(CANDIDATES, f"MLflow run {gone.run_id}", f"{gone.name}, {gone.ended:%Y-%m-%d}{where}")
            if not dry_run:
                note_place(self.instance, naming, CANDIDATES, _ended(run))

    def _variants(self) -> Iterator[str]:
        """Every variant that there is: of those that are trained no more the candidates are still there."""
        from credit_assets.ml.learners import VARIANTS

        yield from VARIANTS

    def _kept_runs(self) -> _Staying:
        """What versions and their reproduction need: by run and by as-of date."""
        kept = Kept(self.store)
        runs, days = set[str](), set[str]()
        for version in self.registry.shown():
            runs.add(version.run_id)
            days |= {version.as_of.isoformat(), version.trained_as_of.isoformat()}
        for record in kept.all():
            evidence: dict[str, Any] = kept.content(EVIDENCE, record.evidence) or {}
            runs |= {str(run) for run in (evidence.get("candidate_runs") or {}).values()}
            runs.add(str(evidence.get("run_id")))
            days.add(record.as_of)
        return _Staying(frozenset(runs), frozenset(days))

    def _registered(self, run: Run) -> bool:
        """Whether anybody registered its model, under whatever name."""
        server = self.registry.tracking.server
        search, where = server.client.search_model_versions, f"run_id = '{run.info.run_id}'"
        return bool(server.call("cannot search versions", search, where))


class _Staying(NamedTuple):
    runs: frozenset[str]
    as_ofs: frozenset[str]

    def has(self, run: Run) -> bool:
        return run.info.run_id in self.runs or run.data.tags.get("partition") in self.as_ofs


def _ended(run: Run) -> datetime:
    return datetime.fromtimestamp(run.info.end_time / 1000, UTC)


_SETTINGS = {EVENTS: "keep_events_days", OUTPUT: "keep_output_days", CANDIDATES: "keep_candidates_days"}
