"""`credit-assets trigger`: ask for a retraining from outside, as a monitoring system does through GraphQL."""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg

from credit_assets.assets.conventions import asset_key
from credit_assets.assets.due import calendar_of
from credit_assets.automation.external_trigger import EXTERNAL_ASSET, KINDS
from credit_assets.failures import PermanentError
from credit_assets.partitions import daily_partitions
from credit_assets.settings import Settings
from credit_assets.storage.store import Store


def report_trigger(
    settings: Settings, instance: dg.DagsterInstance, kind: str, *, reason: str, by: str, as_of: date | None
) -> dict[str, Any]:
    """Report one materialization of the asset `external_trigger`; its sensor starts the retraining.

    Without `as_of` the newest day that is ingested counts. Where no model can be made as of the day yet, `not_due` says
    why: the request is recorded, and the sensor passes it by. Raises PermanentError for an unknown kind, an empty
    reason or a day that is no partition.
    """
    reason = " ".join(reason.split())
    if kind not in KINDS:
        raise PermanentError(f"unknown kind of trigger {kind!r}; known: {', '.join(KINDS)}")
    if not reason or not by.strip():
        raise PermanentError("a trigger needs who and why (--by, --reason): it is what a validator reads")
    partitions = daily_partitions(settings)
    if as_of is not None and not partitions.has_partition_key(as_of.isoformat()):
        raise PermanentError(
            f"{as_of} is no partition: the first is {settings.start_date} (CREDIT_START_DATE), the last closed day "
            f"{partitions.get_last_partition_key()}"
        )
    day = as_of.isoformat() if as_of else None
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key(settings, EXTERNAL_ASSET), description=f"{kind}: {reason}", partition=day, metadata={"by": by}
        )
    )
    store = Store(settings.store)
    newest = max(store.days("loan_outcomes"), default=None)
    training_day = as_of or (date.fromisoformat(newest) if newest else None)
    not_due = calendar_of(settings, store).why_not(training_day) if training_day else ""
    return {"kind": kind, "reason": reason, "by": by, "as_of": day, "not_due": not_due or None}
