"""Registered versions for tests: made without training, moved in a line, and consistent or not."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from credit_assets.ledger.aliases import Aliases, Change, MoveKind
from credit_assets.ledger.registry import Registry, Version

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


def change(start: date, reason: str = "better", by: str = "someone", kind: MoveKind = MoveKind.OTHER) -> Change:
    return Change(start, kind, by, reason)


def day_after(day: date) -> date:
    return day + timedelta(days=1)
