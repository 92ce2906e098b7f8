"""What a trial shows: the model on trial beside the champion, every day, until the trial is decided and beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from credit_assets.assets.first_days import look_again
from credit_assets.assets.policies import policy_of, trial_policy
from credit_assets.assets.stored_days import StoredDays
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import ACTOR, SHADOW
from credit_assets.ledger.registry import RECALIBRATES, Registry
from credit_assets.ledger.requester import requester_of_run
from credit_assets.ledger.requests import Requests
from credit_assets.ml.rules.periods import champion_history
from credit_assets.ml.rules.trials import LONGEST
from credit_assets.settings import Settings
from credit_assets.storage.store import Store


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @daily_asset(
        "shadow_report",
        settings,
        partitions,
        "json",
        deps=dependencies("shadow_report", settings),
        description="The model on trial beside the champion, on the applications that both scored since the trial "
        f"began (its newest {LONGEST} days): correlation, PSI, who would be approved by one and not by the other, "
        "performance once matured, the two arms, and the decision. After a trial, its cohort as it matures.",
    )
    def shadow_report(
        context: dg.AssetExecutionContext,
        store: dg.ResourceParam[Store],
        registry: dg.ResourceParam[Registry],
        requests: dg.ResourceParam[Requests],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.reports.pictures import of_trial
        from credit_assets.ml.reports.shadow import summary

        days = days_of(context)
        records, refused = made_or_refused(days, lambda some: shadow_records(settings, some, store, registry))
        for version, day in decided(records).items():
            look_again(settings, store, registry, registry.version(version), date.fromisoformat(day))
        request_decisions(records, requests, requester_of_run(context.run))
        metadata = {
            day: summary(record) | version_links(registry, record["champion"], record["shadow"])
            for day, record in records.items()
        }
        last = max(records)
        metadata[last] |= pages.pictures(of_trial(records[last]), store, "shadow_report", last)
        metadata[last] |= report_tables(records[last])
        return records_result(context, records, metadata, refused)

    return [shadow_report]


def shadow_records(
    settings: Settings, days: Sequence[date], store: Store, registry: Registry
) -> dict[str, dict[str, Any]]:
    """The report of each of `days`, by ISO day. Raises PermanentError naming partitions that are not there."""
    from credit_assets.ml.reports.shadow import TrialView, shadow_reports

    versions = registry.versions()
    histories = champion_history(versions), Aliases(registry).history(SHADOW)
    view = TrialView(
        first_day=StoredDays(store).first_day(settings.start_date),
        window_days=settings.window_days,
        cohort_days=settings.performance_cohort_days,
        approval_rate=settings.approval_rate,
        recalibrates={one.version: one.tags[RECALIBRATES] for one in versions if RECALIBRATES in one.tags},
    )
    policy, portfolio = policy_of(settings).to_record(), settings.portfolio_contract
    records = shadow_reports(days, histories, StoredDays(store), view, portfolio, trial_policy(settings))
    decided_by = {"policy": policy, "promotion": settings.promotion}
    nothing = dict.fromkeys(decided_by)
    return {day: record | (nothing if record["shadow"] is None else decided_by) for day, record in records.items()}


def decided(records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Versions whose trial may bring them into force, and the newest ISO day that says so: what they scored first is
    held against their test once more.
    """
    return {record["shadow"]: day for day, record in records.items() if record["decision"] in ("promote", "wait")}


def request_decisions(
    records: Mapping[str, Mapping[str, Any]], requests: Requests, entered_by: Mapping[str, str] | None = None
) -> None:
    """Ask the deployment for what a trial came to, once a trial, however often it is reported; `entered_by` a run."""
    from credit_assets.ml.reports.shadow import trial_requests

    for one in trial_requests(records):
        requests.add(
            one.kind,
            one.version,
            by=ACTOR,
            reason=one.reason,
            effective_from=one.effective_from,
            identity=one.identity,
            entered_by=entered_by or {},
        )


def report_tables(record: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of one day: the comparison, the reasons, and the former trial as it matures."""
    from credit_assets.ml.reports.shadow import comparison_table

    tables: dict[str, Any] = {}
    if record["shadow"] is not None:
        tables["comparison"] = dg.MetadataValue.md(comparison_table(record))
        tables["reasons"] = pages.reasons(record["reasons"])
    if record["followed_up"] is not None:
        tables["followed_up"] = dg.MetadataValue.md(comparison_table(record["followed_up"]))
    return tables
