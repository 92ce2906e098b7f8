"""Requests, trials and the record of moves: a real registry, store and Dagster instance, whoever asks and is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets.automation.deployment import deployment_sensor
from credit_assets.failures import PermanentError, TransientError
from credit_assets.ledger.deployment import ACTOR, Deployment, alias_key, report_moves, standing
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.requests import Requests
from credit_assets.ml.rules.decisions import Decision, Reason
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets_tests.support.registry import Q1, Q2, Q3, day_after, register

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]

YES = Decision.of([Reason("policy", True, None, None, "promotion is immediate")])
NO = Decision.of([Reason("policy", False, None, None, "a trial first")])
MAY, JUNE = date(2024, 5, 1), date(2024, 6, 1)


@pytest.fixture
def deployment(tracking: Tracking) -> Deployment:
    registry = Registry(tracking, "credit-scorer", tracking.claims)
    return Deployment(registry, Requests(tracking.claims), "shadow")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


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


# The log of requests


def test_requests_are_numbered_kept_and_done_once(tmp_path: Path) -> None:
    requests = Requests(Claims(str(tmp_path)))
    assert requests.pending() == []
    first = requests.add("rollback", "1", by="ann", reason="two\nlines", effective_from=MAY)
    second = requests.add("promote", "2", by=ACTOR, reason="trial passed", effective_from=MAY, identity="trial:2")
    assert requests.add("promote", "2", by=ACTOR, reason="again", effective_from=JUNE, identity="trial:2") == second
    assert [(r.number, r.kind, r.reason) for r in requests.pending()] == [
        (1, "rollback", "two lines"),
        (2, "promote", "trial passed"),
    ]
    assert requests.finish(first, "done") == "done"
    assert requests.finish(first, "refused") == "done"
    assert requests.pending() == [second]
    assert requests.outcome(second) is None
    assert datetime.fromisoformat(second.at).tzinfo == UTC


@pytest.mark.parametrize(
    ("kind", "by", "reason", "message"),
    [
        ("delete", "ann", "why", "unknown request 'delete'"),
        ("promote", "", "why", "--by"),
        ("promote", "ann", " \n", "--reason"),
    ],
)
def test_a_request_names_what_who_and_why(tmp_path: Path, kind: Any, by: str, reason: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        Requests(Claims(str(tmp_path))).add(kind, "1", by=by, reason=reason, effective_from=MAY)


def test_a_damaged_entry_is_named(tmp_path: Path) -> None:
    claims = Claims(str(tmp_path))
    claims.claim("requests/log/000001", json.dumps({"number": 1}))
    with pytest.raises(PermanentError, match="entry 000001 of requests/log"):
        Requests(claims).pending()


# Trials


def test_the_first_model_is_promoted_and_the_next_one_goes_on_trial(deployment: Deployment) -> None:
    first = trained(deployment, "a", Q1, YES)
    assert holders(deployment) == {"champion": first, "challenger": first, "shadow": None}
    second = trained(deployment, "b", Q2)
    assert holders(deployment) == {"champion": first, "challenger": second, "shadow": second}
    assert deployment.aliases.period_of("shadow", day_after(Q2)) == (second, day_after(Q2), None)
    # The same day run again starts nothing new.
    assert trained(deployment, "b", Q2) == second
    assert len(deployment.aliases.moves("shadow")) == 1


def test_a_trial_is_not_cut_short_and_the_newest_challenger_is_next(deployment: Deployment) -> None:
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", date(2024, 4, 30))
    third, fourth = trained(deployment, "c", date(2024, 5, 10)), trained(deployment, "d", date(2024, 5, 20))
    assert holders(deployment) == {"champion": first, "challenger": fourth, "shadow": second}
    assert ask(deployment, "promote", second, JUNE, by=ACTOR) == "done"
    assert holders(deployment) == {"champion": second, "challenger": fourth, "shadow": fourth}
    periods = deployment.aliases.history("shadow")
    assert periods == ((second, MAY, date(2024, 5, 31)), (fourth, JUNE, None))
    assert ask(deployment, "reject", fourth, date(2024, 6, 15)) == "done"
    assert holders(deployment)["shadow"] is None
    assert third not in {period.version for period in deployment.aliases.history("shadow")}


def test_a_trial_ends_when_a_person_promotes_something_newer(deployment: Deployment) -> None:
    trained(deployment, "a", Q1, YES)
    second, third = trained(deployment, "b", date(2024, 4, 30)), trained(deployment, "c", date(2024, 5, 10))
    assert ask(deployment, "approve", third, JUNE) == "done"
    assert holders(deployment) == {"champion": third, "challenger": third, "shadow": None}
    assert deployment.aliases.history("shadow") == ((second, MAY, date(2024, 5, 31)),)


def test_under_immediate_no_trial_begins(tracking: Tracking) -> None:
    registry = Registry(tracking, "credit-scorer", tracking.claims)
    deployment = Deployment(registry, Requests(tracking.claims), "immediate")
    trained(deployment, "a", Q1, YES)
    second = trained(deployment, "b", Q2, YES)
    assert holders(deployment) == {"champion": second, "challenger": second, "shadow": None}


# Rollback


def test_a_rollback_stands_until_a_newer_model_passes(deployment: Deployment) -> None:
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", date(2024, 4, 30))
    assert ask(deployment, "promote", second, JUNE, by=ACTOR) == "done"
    assert ask(deployment, "rollback", first, Q2) == "done"
    assert holders(deployment)["champion"] == first
    assert standing(deployment.registry.versions()).in_force == Q1
    outcome = ask(deployment, "promote", second, Q3, by=ACTOR)
    assert outcome.startswith("refused:")
    assert "only a person brings it back" in outcome
    same_day = trained(deployment, "b2", date(2024, 4, 30))
    assert holders(deployment)["shadow"] is None
    assert "was rolled back: only a newer model" in ask(deployment, "promote", same_day, Q3, by=ACTOR)
    newer = trained(deployment, "c", Q2)
    assert holders(deployment)["shadow"] == newer
    assert ask(deployment, "promote", newer, Q3, by=ACTOR) == "done"
    assert holders(deployment) == {"champion": newer, "challenger": newer, "shadow": None}


def test_a_person_may_bring_back_what_was_rolled_back(deployment: Deployment) -> None:
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", date(2024, 4, 30))
    ask(deployment, "approve", second, JUNE)
    ask(deployment, "rollback", first, Q2)
    assert ask(deployment, "promote", second, Q3) == "done"
    assert holders(deployment)["champion"] == second


@pytest.mark.parametrize(
    ("kind", "version", "message"),
    [
        ("rollback", "2", "never champion"),
        ("reject", "1", "not on trial"),
        ("approve", "3", "neither on trial nor the challenger"),
        ("promote", "3", "older than the champion"),
        ("promote", "7", "no version 7"),
    ],
)
def test_what_cannot_be_met_is_refused_and_moves_nothing(
    deployment: Deployment, kind: Any, version: str, message: str
) -> None:
    trained(deployment, "a", Q1, YES)
    trained(deployment, "b", Q2)
    register(deployment.registry, "c", date(2024, 2, 1))
    before = holders(deployment)
    with pytest.raises(PermanentError, match=message):
        deployment.examine(kind, version, by="someone")
    assert message in ask(deployment, kind, version, Q3)
    assert holders(deployment) == before


# Killed halfway


class StoppedError(Exception):
    """The process ended here."""


def test_killed_between_the_move_and_what_follows(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(deployment, "a", Q1, YES)
    second = trained(deployment, "b", date(2024, 4, 30))
    deployment.requests.add("promote", second, by=ACTOR, reason="trial passed", effective_from=JUNE, identity="t")

    def stop(*_: Any, **__: Any) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(deployment, "settle_trial", stop)
        with pytest.raises(StoppedError):
            deployment.apply_pending()
    assert holders(deployment)["shadow"] == second
    ((_, outcome),) = deployment.apply_pending()
    assert outcome == "done"
    assert holders(deployment) == {"champion": second, "challenger": second, "shadow": None}
    assert deployment.apply_pending() == []


# The sensor


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
