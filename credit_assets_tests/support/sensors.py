"""Ticks of sensors as the daemon makes them, and runs for them to meet."""

from __future__ import annotations

import sys
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from credit_assets import pages
from credit_assets.ledger.alias_log import AliasLog, Move, MoveDetails, MoveKind, scope_of
from credit_assets.ledger.reported import alias_key, record_of
from credit_assets.settings import load_settings
from credit_assets.storage.claims import Claims

DAYS = dg.DailyPartitionsDefinition("2024-01-01")
DAY = "2024-03-05"
# Stands in errors of foreign libraries; no message may hold a word of it.
APPLICANT = "applicant-4711 Jane Doe"
DAGSTER_URL = "http://dagster.example.org"


class Ticker:
    """Ticks one sensor, cursor and all; the first tick, which only takes note of where the log stands, at once."""

    def __init__(self, defs: dg.Definitions, name: str, instance: dg.DagsterInstance) -> None:
        self.defs, self.name, self.instance = defs, name, instance
        self.cursor: str | None = None
        self.tick()

    def tick(self) -> Any:
        repository = self.defs.get_repository_def()
        with dg.build_sensor_context(
            self.instance,
            self.cursor,
            repository_def=repository,
            resources=repository.get_top_level_resources(),
            sensor_name=self.name,
        ) as context:
            data = repository.get_sensor_def(self.name).evaluate_tick(context)
        self.cursor = data.cursor
        return data


def run(defs: dg.Definitions, job: str, instance: dg.DagsterInstance, **tags: str) -> str:
    """Run a job for the day, however it ends, and return the run's id."""
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=DAY, raise_on_error=False, tags=tags
    )
    return result.run_id


def report_move(
    instance: dg.DagsterInstance, alias: str, former: str, version: str, reason: str, by: str = "ann"
) -> dict[str, Any]:
    """A move of an alias in the log of the store, as the ledger enters and reports it; what is reported."""
    log = AliasLog(Claims(load_settings().store), scope_of("credit-scorer", 1), alias)
    kind = next((kind for kind in MoveKind if reason.startswith(kind.value)), MoveKind.OTHER)
    change = MoveDetails(date(2024, 3, 6), kind, by, reason)
    before = log.newest()
    held = "" if former == "none" else former
    if held and (before is None or before.version != held):
        log.enter(Move(before.number + 1 if before else 1, held, change, "2024-03-04T10:00:00+00:00", ()))
        before = log.newest()
    held = "" if version == "none" else version
    log.enter(Move(before.number + 1 if before else 1, held, change, "2024-03-05T10:00:00+00:00", ()))
    made = log.newest()
    assert made is not None
    record = record_of(log, made, before)
    instance.report_runless_asset_event(dg.AssetMaterialization(alias_key(alias), metadata=pages.entries(record)))
    return record


def repository_origin() -> RemoteRepositoryOrigin:
    """Where the daemon has loaded this package from."""
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name="credit_assets.definitions")
    return RemoteRepositoryOrigin(InProcessCodeLocationOrigin(target, location_name="credit_assets"), "__repository__")
