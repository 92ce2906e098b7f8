"""Registered versions for tests: made without training, moved in a line, and consistent or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

from credit_assets.ledger.alias_log import MoveDetails, MoveKind
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import Deployment
from credit_assets.ledger.registry import Registry, Version
from credit_assets.ledger.requests import Requests
from credit_assets.ml.rules.decisions import Decision, Promotion, Reason
from credit_assets.tracking import Tracking

MODEL = "credit-scorer"
Q1, Q2, Q3 = date(2024, 3, 31), date(2024, 6, 30), date(2024, 9, 30)


def register(registry: Registry, fingerprint: str, as_of: date = Q1, **tags: str) -> Version:
    tracking = registry.tracking
    run = tracking.runs.parent("dagster-1", "job")
    model = tracking.server.client.create_logged_model(tracking.server.experiment_id, name="model", source_run_id=run)
    return registry.register(
        f"models:/{model.model_id}", run_id=run, fingerprint=fingerprint, as_of=as_of, tags=tags, description="why"
    )


def move(registry: Registry, version: str, start: date, alias: str = "champion", **more: Any) -> Version:
    return Aliases(registry).move(alias, version, change(start), **more)


def end(registry: Registry, version: str, start: date, alias: str = "shadow") -> None:
    Aliases(registry).end(alias, version, change(start, reason="over"))


def change(start: date, reason: str = "better", by: str = "someone", kind: MoveKind = MoveKind.OTHER) -> MoveDetails:
    return MoveDetails(start, kind, by, reason)


def day_after(day: date) -> date:
    return day + timedelta(days=1)


# A deployment under trials

YES = Decision.of([Reason("policy", True, None, None, "promotion is immediate")])
NO = Decision.of([Reason("policy", False, None, None, "a trial first")])


def opened(
    tracking: Tracking,
    promotion: Promotion = "shadow",
    takeover: Callable[[Version], Sequence[Reason]] = lambda _: (),
) -> Deployment:
    """With nothing against any version, unless `takeover` says so."""
    return Deployment(Registry(tracking, MODEL, tracking.claims), Requests(tracking.claims), promotion, takeover)


def trained(deployment: Deployment, name: str, as_of: date, decision: Decision = NO) -> str:
    """A version of this as-of date that passed its gates, with its aliases moved as its run would."""
    version = register(deployment.registry, name, as_of)
    deployment.after_training(version, day_after(as_of), decision, made=False)
    return version.version


def ask(deployment: Deployment, kind: Any, version: str, start: date, by: str = "someone", **more: Any) -> str:
    deployment.requests.add(kind, version, by=by, reason="because", effective_from=start, **more)
    ((_, outcome),) = deployment.apply_pending()
    return outcome


def holders(deployment: Deployment) -> dict[str, str | None]:
    found = {alias: deployment.registry.alias(alias) for alias in ("champion", "challenger", "shadow")}
    return {alias: version.version if version else None for alias, version in found.items()}
