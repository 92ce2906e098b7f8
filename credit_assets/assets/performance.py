"""How the model in use performs: on matured cohorts, and, before they mature, by estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets import pages
from credit_assets.assets.conventions import (
    daily_asset,
    days_of,
    dependencies,
    made_or_refused,
    records_result,
    version_links,
)
from credit_assets.assets.policies import policy_of
from credit_assets.assets.stored_days import StoredDays
from credit_assets.ledger.registry import Registry, Version
from credit_assets.ml.rules.periods import champion_history
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from upath import UPath

    from credit_assets.ml.reports.dossier.blocks import Figure
    from credit_assets.ml.reports.in_force import Cohorts, RegisteredModel

NAME = "performance_report"
_SUNDAY = 6
_FEW = 30


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @daily_asset(
        NAME,
        settings,
        partitions,
        "json",
        deps=dependencies(NAME, settings),
        description=f"Scores as they were given against what became of the {settings.performance_cohort_days} days of "
        f"applications that matured last (default within {settings.window_days} days); the performance to expect of "
        "the newest applications, from their PDs alone; and the estimate of then against what was realised.",
    )
    def performance_report(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], registry: dg.ResourceParam[Registry]
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.reports.performance import measures_table, summary

        days = days_of(context)
        records, refused = made_or_refused(days, lambda some: performance_records(settings, some, store, registry))
        metadata = {
            day: summary(record) | version_links(registry, record["champion"]) for day, record in records.items()
        }
        last = date.fromisoformat(max(records))
        of_last = metadata[last.isoformat()]
        of_last |= pages.pictures(drawn_small(settings, last, records, store), store, NAME, last.isoformat())
        of_last["measures"] = dg.MetadataValue.md(measures_table(records[last.isoformat()]))
        # Drawing takes longer than measuring, and the picture of years changes little from day to day.
        weekly = len(days) > 1 or last.weekday() == _SUNDAY
        path = draw(settings, last, records, store) if weekly else None
        if path is not None:
            of_last["performance_over_time"] = dg.MetadataValue.path(str(path))
        return records_result(context, records, metadata, refused)

    return [performance_report]


def performance_records(
    settings: Settings, days: Sequence[date], store: Store, registry: Registry
) -> dict[str, dict[str, Any]]:
    """The report of each of the consecutive `days`, by ISO day. Raises PermanentError naming partitions that are not
    there.
    """
    from credit_assets.ml.reports.in_force import Champions
    from credit_assets.ml.reports.performance import performance_reports

    versions = registry.versions()
    models = {version.version: _registered(version) for version in versions}
    champions = Champions(champion_history(versions), models, _scorers(settings, registry, versions))
    portfolio, min_bads = settings.portfolio_contract, policy_of(settings).performance.min_bads
    tables = StoredDays(store)
    return performance_reports(days, champions, tables, _cohorts(settings, tables), portfolio, min_bads)


def draw(settings: Settings, day: date, records: Mapping[str, Mapping[str, Any]], store: Store) -> UPath | None:
    """Write the picture of the reports up to `day`: those of `records`, by ISO day, and those of the store."""
    from credit_assets.ml.reports.performance import picture

    stored = StoredDays(store)
    drawn = picture(
        day, _cohorts(settings, stored), lambda one: records.get(one.isoformat()) or stored.record(NAME, one)
    )
    if drawn is None:
        return None
    path = store.path("figures", NAME, f"{day}.png")
    store.write_bytes(path, drawn)
    return path


def drawn_small(
    settings: Settings, day: date, records: Mapping[str, Mapping[str, Any]], store: Store
) -> dict[str, Figure]:
    """The pictures of every day, of few reports: on an object store each is a request."""
    from credit_assets.ml.reports.performance import over_time
    from credit_assets.ml.reports.pictures import of_performance

    stored = StoredDays(store)
    found = over_time(
        day, _cohorts(settings, stored), lambda one: records.get(one.isoformat()) or stored.record(NAME, one), _FEW
    )
    return of_performance(*found, day.isoformat())


def _cohorts(settings: Settings, tables: StoredDays) -> Cohorts:
    from credit_assets.ml.reports.in_force import Cohorts

    return Cohorts(tables.first_day(settings.start_date), settings.window_days, settings.performance_cohort_days)


def _scorers(
    settings: Settings, registry: Registry, versions: Sequence[Version]
) -> Callable[[str, pa.Table], NDArray[np.float64]]:
    """The PDs of a version, which is loaded once. Raises as `Registry.download`, ValueError where it cannot score."""
    from credit_assets.ml.learners.scorer import CreditScorer

    known, loaded = {version.version: version for version in versions}, dict[str, CreditScorer]()

    def pd(version: str, features: pa.Table) -> NDArray[np.float64]:
        if version not in loaded:
            loaded[version] = CreditScorer.load(registry.download(known[version]))
        return loaded[version].pd(features, threads=settings.training_threads)

    return pd


def _registered(version: Version) -> RegisteredModel:
    from credit_assets.ml.reports.in_force import RegisteredModel
    from credit_assets.ml.reports.performance import MEASURES

    tags = version.tags
    rows = int(tags["training_rows"]) if "training_rows" in tags else None
    measures = {name: float(tags[name]) for name in MEASURES if name in tags}
    return RegisteredModel(version.as_of, measures, rows, version.baseline, version.trained_as_of)
