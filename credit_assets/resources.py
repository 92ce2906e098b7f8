"""The resources of the code location, each built from settings and connecting only when used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from credit_assets.assets.policies import takeover_judge
from credit_assets.assets.presented import mlflow_ui
from credit_assets.assets.requested import RESOURCE, RetrainingRequest
from credit_assets.ledger.deployment import Deployment
from credit_assets.ledger.registry import Owner, Registry
from credit_assets.ledger.requests import Requests
from credit_assets.masking import masked, masked_url
from credit_assets.notify.notifier import Notifier
from credit_assets.settings import Settings
from credit_assets.settings.approvers import Approvers
from credit_assets.storage.claims import Claims
from credit_assets.storage.counted import CountedStore
from credit_assets.storage.io_managers import ParquetIOManager, RecordIOManager
from credit_assets.tracking import Tracking
from credit_assets.tracking.server import Pages
from credit_assets.warehouse import open_warehouse


def build_resources(settings: Settings) -> dict[str, Any]:
    """Every resource by the name under which assets and sensors ask for it."""
    store = CountedStore(settings.store)
    claims = Claims(settings.store)
    pages = Pages(mlflow_ui(settings), settings.dagster_url)
    tracking = Tracking(settings.tracking_uri, settings.experiment_name, claims, pages=pages)
    owner = Owner(settings.naming, settings.portfolio_contract.contract)
    registry, requests = Registry(tracking, settings.naming.registered_model, claims, owner), Requests(claims)
    return {
        "warehouse": open_warehouse(settings.warehouse, settings.timezone),
        "store": store,
        "claims": claims,
        "parquet": ParquetIOManager(store),
        "record": RecordIOManager(store),
        "tracking": tracking,
        "registry": registry,
        "requests": requests,
        "deployment": Deployment(
            registry,
            requests,
            settings.promotion,
            takeover_judge(settings, store),
            Approvers.read(settings.approvers) if settings.approvers else None,
        ),
        "notifier": Notifier(settings.alert_targets),
        RESOURCE: RetrainingRequest(),
    }


def shown_resources(settings: Settings, resources: Mapping[str, Any]) -> dict[str, Any]:
    """The same as Dagster's pages show them: each by its class, with what it is for and the settings that decide it,
    secrets masked. Dagster by itself calls an object that is handed to it `<lambda>`.
    """
    descriptions = _descriptions(settings)
    return {name: _definition(value, descriptions.get(name)) for name, value in resources.items()}


def objects_of(definitions: dg.Definitions) -> dict[str, Any]:
    """The resources of definitions as the objects that they are, but for those with a configuration of their own."""
    found = definitions.resources or {}
    return {
        name: one.resource_fn.value
        if isinstance(one, dg.ResourceDefinition) and isinstance(one.resource_fn, _There)
        else one
        for name, one in found.items()
    }


class _There:
    """The function of a resource that is there already; it goes by the name of the resource's class."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.__module__, self.__name__ = type(value).__module__, type(value).__qualname__

    def __call__(self, _context: Any) -> Any:
        return self.value


def _definition(value: Any, description: str | None) -> Any:
    if isinstance(value, dg.ResourceDefinition | dg.ConfigurableResource):
        return value
    kind = dg.IOManagerDefinition if isinstance(value, dg.IOManager) else dg.ResourceDefinition
    return kind(resource_fn=_There(value), description=description)


def _descriptions(settings: Settings) -> dict[str, str]:
    store, tracking = masked(settings.store), masked_url(settings.tracking_uri)
    recipients = ", ".join(Notifier(settings.alert_targets).describe()) or "nobody"
    return {
        "warehouse": f"The lender's tables, read only: {masked_url(settings.warehouse)} (CREDIT_WAREHOUSE_URL).",
        "store": f"Partitions and records: {store} (CREDIT_STORE_URI).",
        "claims": f"Who was first: claims of events and moves, beside the partitions in {store}.",
        "parquet": f"Tables as Parquet files, one a partition, in {store}.",
        "record": f"Records as JSON files, one a partition, in {store}.",
        "tracking": f"MLflow at {tracking} (MLFLOW_TRACKING_URI), experiment {settings.experiment_name}.",
        "registry": f"Versions and aliases of the registered model {settings.naming.registered_model} in MLflow.",
        "requests": "Moves of aliases that people and trials ask for (promote, approve, reject, rollback).",
        "deployment": f"How a registered model comes into force: {settings.promotion} (CREDIT_PROMOTION).",
        "notifier": f"Who hears of what happens: {recipients} (CREDIT_ALERT_URLS).",
        "runs": "Starts runs of other jobs from within a step: days that have changed in the warehouse.",
    }
