"""The resources of the code location, each built from settings and connecting only when used."""

from __future__ import annotations

from typing import Any

from credit_assets.assets.policies import takeover_judge
from credit_assets.ledger.deployment import Deployment
from credit_assets.ledger.registry import Owner, Registry
from credit_assets.ledger.requests import Requests
from credit_assets.notify.notifier import Notifier
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.io_managers import ParquetIOManager, RecordIOManager
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking
from credit_assets.warehouse import open_warehouse


def build_resources(settings: Settings) -> dict[str, Any]:
    """Every resource by the name under which assets and sensors ask for it."""
    store = Store(settings.store)
    claims = Claims(settings.store)
    tracking = Tracking(settings.tracking_uri, settings.experiment_name, claims)
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
        "deployment": Deployment(registry, requests, settings.promotion, takeover_judge(settings, store)),
        "notifier": Notifier(settings.alert_targets),
    }
