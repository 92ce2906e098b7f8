"""Who holds which alias by the store's own records: for a look that need not wait for MLflow's client.

Belongs here: reading the newest entry of each alias's log, and the records of the training that made its version. Does
not belong here: moving an alias, and what MLflow shows (`registry`). Where the records do not say, nothing is said
here, and MLflow has to be asked.
"""

from __future__ import annotations

from typing import Any

from credit_assets.ledger.alias_log import logs_of, newest_moves, newest_scope
from credit_assets.ml.rules.periods import Period, holder_now
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store

METRICS = ("auc", "gini", "ks", "brier", "ece")


def histories(claims: Claims, model_name: str) -> dict[str, list[Period]]:
    """Every period of each alias, oldest first, from the newest log of the registered model; empty where none is there.

    Raises PermanentError for a damaged entry.
    """
    scope = newest_scope(claims, model_name)
    newest = newest_moves(logs_of(claims, scope)) if scope else {}
    return {alias: list(move.history) for alias, move in newest.items()}


def version_record(store: Store, version: str, held: dict[str, list[Period]]) -> dict[str, Any] | None:
    """The version as `credit-assets models` shows it; None where the records of its training have been replaced."""
    as_of = next((day for day in reversed(store.days("registered_model")) if _version(store, day) == version), None)
    if as_of is None:
        return None
    registered = store.read_record(store.path("registered_model", f"{as_of}.json"))
    trained = store.read_record(store.path("trained_model", f"{as_of}.json"))
    if trained["fingerprint"] != registered["fingerprint"]:
        return None
    aliases = sorted(
        alias for alias, periods in held.items() if (now := holder_now(periods)) and now.version == version
    )
    in_force = [period for period in held.get("champion", ()) if period.version == version]
    return {
        "version": version,
        "as_of": as_of,
        "variant": trained["variant"],
        "status": "champion" if "champion" in aliases else "archived" if in_force else "registered",
        "aliases": aliases,
        "in_force": [[str(first), str(last) if last else None] for _, first, last in in_force],
        # As many digits as the registry keeps.
        "metrics": {name: round(trained["evaluation"][name], 6) for name in METRICS},
        "fingerprint": trained["fingerprint"],
        "run_id": trained["run_id"],
        "extensions": trained.get("extensions", []),
        "recalibrates": (trained.get("recalibrates") or {}).get("version"),
    }


def _version(store: Store, day: str) -> str | None:
    version: str | None = store.read_record(store.path("registered_model", f"{day}.json"))["version"]
    return version
