"""The sensor that does what is requested and records every move in Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.automation.deployment import deployment_sensor
from credit_assets.failures import TransientError
from credit_assets.ledger.deployment import ACTOR, Deployment, alias_key, report_moves
from credit_assets.tracking import Tracking
from credit_assets_tests.support.registry import Q1, Q2, Q3, YES, holders, opened, trained

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]

JUNE = date(2024, 6, 1)


@pytest.fixture
def deployment(tracking: Tracking) -> Deployment:
    return opened(tracking)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


def tick(deployment: Deployment, instance: dg.DagsterInstance) -> str:
    context = dg.build_sensor_context(instance=instance, resources={"deployment": deployment})
    found = deployment_sensor()(context)
    assert isinstance(found, dg.SkipReason)
    return found.skip_message or ""


def moves_in_dagster(instance: dg.DagsterInstance, alias: str) -> list[tuple[Any, ...]]:
    records = instance.fetch_materializations(alias_key(alias), limit=100, ascending=True).records
    metadata = [record.asset_materialization.metadata for record in records]
    return [tuple(m[name].value for name in ("number", "from", "to", "by", "reason")) for m in metadata]


def test_a_tick_puts_the_former_champion_back_and_records_who_and_why(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", Q2)
    deployment.requests.add("approve", second, by="ann", reason="report read", effective_from=JUNE)
    tick(deployment, instance)
    deployment.requests.add("rollback", first, by="bob", reason="complaints", effective_from=Q3)
    assert holders(deployment)["champion"] == second
    assert "request 2 (rollback version 1 by bob): done" in tick(deployment, instance)
    assert holders(deployment)["champion"] == first
    assert tick(deployment, instance) == "no request and no move"
    assert moves_in_dagster(instance, "champion") == [
        (1, "none", first, ACTOR, "promote: promotion is immediate"),
        (2, first, second, "ann", "approve: report read"),
        (3, second, first, "bob", "rollback: complaints"),
    ]
    assert moves_in_dagster(instance, "shadow")[1][:3] == (2, second, "none")


def test_moves_that_nobody_saw_are_reported_by_the_next_tick_once(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    first = trained(deployment, "a", Q1, YES)
    assert len(report_moves(instance, deployment.registry)) == 2
    assert report_moves(instance, deployment.registry) == []
    # A registered model that was deleted and made anew counts its moves from one again.
    deployment.registry.tracking.server.client.delete_registered_model("credit-scorer")
    again = trained(deployment, "z", Q2, YES)
    assert [(alias, move.version) for alias, move in report_moves(instance, deployment.registry)] == [
        ("champion", again),
        ("challenger", again),
    ]
    assert first == again


def test_what_cannot_be_reached_is_said_and_nothing_is_lost(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", Q2)
    deployment.requests.add("approve", second, by="ann", reason="why", effective_from=Q3)

    def fail(*_: Any, **__: Any) -> None:
        raise TransientError("cannot move an alias: the server is away")

    with monkeypatch.context() as patch:
        patch.setattr(deployment.aliases, "move", fail)
        said = tick(deployment, instance)
    assert said.startswith("cannot reach the store or MLflow: cannot move an alias")
    assert holders(deployment)["champion"] == first
    assert "request 1 (approve version 2 by ann): done" in tick(deployment, instance)
    assert holders(deployment)["champion"] == second
