"""What monitoring sees of a day before any outcome is known: drift of features and score."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import date
from typing import Any

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
from credit_assets.assets.policies import drift_policy
from credit_assets.assets.stored_days import StoredDays
from credit_assets.ledger.registry import Registry
from credit_assets.ml.rules.periods import champion_history, period_on
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

NAME = "drift_report"


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @daily_asset(
        NAME,
        settings,
        partitions,
        "json",
        deps=dependencies(NAME, settings),
        description="Every feature and the score of the day's applications against the training data of the champion "
        f"in force: PSI, tests, missing values, new levels. A day of fewer than {settings.drift_min_rows} applications "
        f"is pooled with those before it, up to {settings.drift_window_days} days.",
    )
    def drift_report(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], registry: dg.ResourceParam[Registry]
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.reports.drift import feature_table, summary
        from credit_assets.ml.reports.pictures import heat_map_days, of_drift

        days = days_of(context)
        records, refused = made_or_refused(days, lambda some: drift_records(settings, some, store, registry))
        metadata = {
            day: summary(record) | version_links(registry, record["champion"]) for day, record in records.items()
        }
        last = max(records)
        if records[last]["features"]:
            stored, looked_at = StoredDays(store), heat_map_days(date.fromisoformat(last))
            recent = {one.isoformat(): records.get(one.isoformat()) or stored.record(NAME, one) for one in looked_at}
            drawn = of_drift({day: record for day, record in recent.items() if record})
            metadata[last] |= pages.pictures(drawn, store, NAME, last)
            metadata[last]["features"] = dg.MetadataValue.md(feature_table(records[last]))
        return records_result(context, records, metadata, refused)

    return [drift_report]


def drift_records(
    settings: Settings, days: Sequence[date], store: Store, registry: Registry
) -> dict[str, dict[str, Any]]:
    """The report of each of the consecutive `days`, by ISO day.

    Raises PermanentError naming partitions that are not there, ValueError where a model's drift reference is damaged.
    """
    from credit_assets.ml.data.missing import refusing
    from credit_assets.ml.evidence.drift_reference import DriftReference
    from credit_assets.ml.reports.drift import Pooling, drift_reports

    versions = {version.version: version for version in registry.versions()}
    champions = champion_history(versions.values())
    in_force = {period.version for day in days if (period := period_on(day, champions))}
    references = {}
    for version in sorted(in_force):
        # Those that were registered before models kept a reference have none.
        with contextlib.suppress(FileNotFoundError):
            references[version] = DriftReference.load(registry.download(versions[version]))
    tables = StoredDays(store)
    portfolio = settings.portfolio_contract
    pooling = Pooling(
        tables.first_day(settings.start_date), settings.drift_window_days, portfolio.date_column, refusing(portfolio)
    )
    return drift_reports(days, champions, references, tables, pooling, drift_policy(settings))
