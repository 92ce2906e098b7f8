"""Requests and trials on a real registry and store, whoever requests and is killed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from credit_assets.failures import PermanentError
from credit_assets.ledger.deployment import ACTOR, Deployment, standing
from credit_assets.tracking import Tracking
from credit_assets_tests.support.registry import Q1, Q2, Q3, YES, ask, day_after, holders, opened, register, trained

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]

MAY, JUNE = date(2024, 5, 1), date(2024, 6, 1)


@pytest.fixture
def deployment(tracking: Tracking) -> Deployment:
    return opened(tracking)


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
    deployment = opened(tracking, "immediate")
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
