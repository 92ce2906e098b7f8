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
from credit_assets.ledger.deployment import ACTOR, Deployment
from credit_assets.ledger.reported import alias_key, report_moves
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


FORGED = [
    {},
    {"number": 999, "log": "here"},
    {"number": "many"},
    {"log": 7, "number": [1]},
]


@pytest.mark.parametrize("metadata", FORGED)
def test_a_forged_materialization_neither_silences_moves_nor_breaks_a_tick(
    deployment: Deployment, instance: dg.DagsterInstance, metadata: dict[str, Any]
) -> None:
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", Q2)
    tick(deployment, instance)
    log = deployment.aliases.log("champion").folder
    forged = {name: log if value == "here" else value for name, value in metadata.items()}

    def forge() -> None:
        for alias in ("champion", "challenger", "shadow"):
            instance.report_runless_asset_event(dg.AssetMaterialization(alias_key(alias), metadata=forged))

    forge()
    assert tick(deployment, instance) == "no request and no move"
    deployment.requests.add("approve", second, by="ann", reason="report read", effective_from=Q3)
    forge()
    assert "request 1 (approve version 2 by ann): done" in tick(deployment, instance)
    assert tick(deployment, instance) == "no request and no move"
    records = instance.fetch_materializations(alias_key("champion"), limit=100, ascending=True).records
    told = [metadata.get("to") for record in records if (metadata := record.asset_materialization.metadata)]
    assert [one.value for one in told if one is not None] == [first, second]


def test_a_move_whose_reporter_was_killed_before_it_noted_it_is_reported_once(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(deployment, "a", Q1, YES)
    with monkeypatch.context() as patch:
        patch.setattr("credit_assets.ledger.reported._note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            report_moves(instance, deployment.registry)
    assert [alias for alias, _ in report_moves(instance, deployment.registry)] == ["challenger"]
    assert len(moves_in_dagster(instance, "champion")) == 1
    assert len(moves_in_dagster(instance, "challenger")) == 1


def test_one_damaged_request_and_one_that_cannot_be_done_keep_nobody_elses_from_being_done(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", Q2)
    deployment.requests.claims.claim("requests/log/000001", '{"kind": "promote"}')
    deployment.requests.add("approve", second, by="ann", reason="why", effective_from=Q3)
    deployment.requests.add("rollback", first, by="bob", reason="why not", effective_from=Q3)
    examine = deployment.examine

    def odd(kind: str, *more: Any, **named: Any) -> Any:
        if kind == "approve":
            raise ValueError("of no kind that anybody foresaw, with a row: 1024, 52000")
        return examine(kind, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(deployment, "examine", odd)
        said = tick(deployment, instance)
    assert "request 2 (approve version 2 by ann): not done yet: ValueError" in said
    assert "request 3 (rollback version 1 by bob): done" in said
    assert "entry 000001 of requests/log in the store is damaged" in said
    assert "52000" not in said
    # The other is done as soon as it can be.
    assert "request 2 (approve version 2 by ann): done" in tick(deployment, instance)
    assert holders(deployment)["champion"] == second


def test_mlflow_is_asked_for_the_model_a_few_times_a_move_and_not_at_all_where_nothing_is_to_be_done(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(deployment, "a", Q1, YES)
    second = trained(deployment, "b", Q2)
    tick(deployment, instance)
    asked, client = list[str](), deployment.registry.tracking.server.client
    for name in dir(client):
        if name.startswith(("get_", "search_", "set_", "delete_")):

            def call(*args: Any, _call: Any = getattr(client, name), _name: str = name, **more: Any) -> Any:
                asked.append(_name)
                return _call(*args, **more)

            monkeypatch.setattr(client, name, call)
    assert tick(deployment, instance) == "no request and no move"
    assert asked == []
    deployment.requests.add("approve", second, by="ann", reason="read", effective_from=JUNE)
    assert "request 1 (approve version 2 by ann): done" in tick(deployment, instance)
    # MLflow's client asks once itself before each of its writes.
    own = asked.count("get_registered_model") - sum(name.startswith(("set_", "delete_")) for name in asked)
    assert 0 < own <= 12


def test_a_tick_that_finds_nothing_reads_the_same_however_many_requests_and_moves_there_were(
    deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, read = deployment.requests.claims, list[str]()
    for name in ("get", "names"):

        def counted(place: str, _call: Any = getattr(claims, name), _name: str = name) -> Any:
            read.append(f"{_name} {place.partition('/')[0]}")
            return _call(place)

        monkeypatch.setattr(claims, name, counted)

    def idle() -> list[str]:
        while tick(deployment, instance) != "no request and no move":
            pass
        tick(deployment, instance)
        read.clear()
        assert tick(deployment, instance) == "no request and no move"
        return sorted(read)

    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", Q2)
    deployment.requests.add("approve", second, by="ann", reason="read", effective_from=JUNE)
    young = idle()
    for number in range(4):
        kind: Any = "promote" if number % 2 else "rollback"
        version = second if number % 2 else first
        deployment.requests.add(kind, version, by="ann", reason=f"{number}", effective_from=Q3)
    assert idle() == young
    # The folder of the logs alone is listed.
    assert [one for one in young if one.startswith("names")] == ["names mlflow-aliases"]


def test_after_ticks_that_found_nothing_whatever_comes_is_met(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    first = trained(deployment, "a", Q1, YES)
    second = trained(deployment, "b", Q2)
    for _ in range(3):
        tick(deployment, instance)
    # By another process.
    elsewhere = opened(deployment.registry.tracking)
    elsewhere.requests.add("approve", second, by="ann", reason="read", effective_from=JUNE)
    assert "request 1 (approve version 2 by ann): done" in tick(deployment, instance)
    for _ in range(3):
        tick(deployment, instance)
    third = trained(elsewhere, "c", Q3)
    assert f"challenger moved to {third}" in tick(deployment, instance)
    for _ in range(3):
        tick(deployment, instance)
    # The store is brought back from a time before the request, and another gets its number.
    log = Path(deployment.requests.claims.store_uri) / "claims" / "requests"
    for name in ("log/000001", "done/000001"):
        (log / name).unlink()
    elsewhere.requests.add("rollback", first, by="bob", reason="complaints", effective_from=Q3)
    assert "request 1 (rollback version 1" in tick(deployment, instance)
    for _ in range(3):
        tick(deployment, instance)
    # What waits or is damaged is said at each tick.
    (log / "log" / "000002").write_text("{}\n")
    assert all("entry 000002" in tick(deployment, instance) for _ in range(3))
    (log / "log" / "000002").unlink()
    (tmp_path / "another").mkdir()
    with dg.instance_for_test(temp_dir=str(tmp_path / "another")) as other:
        assert "champion moved to" in tick(deployment, other)
