"""Requests and trials on a real registry and store, whoever requests and is killed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from credit_assets.failures import PermanentError
from credit_assets.ledger.deployment import ACTOR, Deployment, standing
from credit_assets.ml.rules.decisions import Reason
from credit_assets.tracking import Tracking
from credit_assets_tests.support.registry import NO, Q1, Q2, Q3, YES, ask, day_after, holders, opened, register, trained

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
    assert ask(deployment, "reject", second, JUNE) == "done"
    assert holders(deployment) == {"champion": first, "challenger": fourth, "shadow": fourth}
    periods = deployment.aliases.history("shadow")
    assert periods == ((second, MAY, date(2024, 5, 31)), (fourth, JUNE, None))
    assert ask(deployment, "reject", fourth, date(2024, 6, 15)) == "done"
    assert holders(deployment)["shadow"] is None
    assert third not in {period.version for period in deployment.aliases.history("shadow")}


def test_what_was_held_against_a_former_champion_goes_on_no_trial(deployment: Deployment) -> None:
    """It passed for being better than the first, and says nothing of the second."""
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", date(2024, 4, 30))
    third = trained(deployment, "c", date(2024, 5, 20))
    assert ask(deployment, "promote", second, JUNE, by=ACTOR) == "done"
    assert holders(deployment) == {"champion": second, "challenger": third, "shadow": None}
    fourth = trained(deployment, "d", date(2024, 6, 10))
    assert holders(deployment) == {"champion": second, "challenger": fourth, "shadow": fourth}
    assert first != second


def test_a_trial_promotes_over_no_other_champion_than_it_was_held_against(deployment: Deployment) -> None:
    """Somebody rolls back meanwhile: the trial ends, and the next model is held against the champion in force."""
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", date(2024, 4, 30), YES)
    third = trained(deployment, "c", date(2024, 5, 20))
    assert holders(deployment) == {"champion": second, "challenger": third, "shadow": third}
    assert ask(deployment, "rollback", first, JUNE) == "done"
    assert holders(deployment)["shadow"] == third
    refused = ask(deployment, "promote", third, date(2024, 6, 20), by=ACTOR)
    assert f"held against champion version {second}, and version {first} is in force since" in refused
    assert holders(deployment) == {"champion": first, "challenger": third, "shadow": None}
    # A person may still bring it into force.
    assert ask(deployment, "promote", third, date(2024, 6, 21)) == "done"


def test_the_tag_says_whom_a_version_was_held_against(deployment: Deployment) -> None:
    first = trained(deployment, "a", Q1, YES)
    other = register(deployment.registry, "b", Q2, compared_with="9")
    reason = deployment.judged_against(other, Q2)
    assert (reason.passed, reason.value, reason.threshold) == (False, "9", first)


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


class Stopped(BaseException):
    """The process ended here."""


def test_killed_between_the_move_and_what_follows(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(deployment, "a", Q1, YES)
    second = trained(deployment, "b", date(2024, 4, 30))
    deployment.requests.add("promote", second, by=ACTOR, reason="trial passed", effective_from=JUNE, identity="t")

    def stop(*_: Any, **__: Any) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(deployment, "settle_trial", stop)
        with pytest.raises(Stopped):
            deployment.apply_pending()
    assert holders(deployment)["shadow"] == second
    ((_, outcome),) = deployment.apply_pending()
    assert outcome == "done"
    assert holders(deployment) == {"champion": second, "challenger": second, "shadow": None}
    assert deployment.apply_pending() == []


# The newest days beside the test


FEATURES = Reason("first_days features", False, "balance", "AUC loss 0.03", "balance behaves otherwise")


def leaking(*fingerprints: str) -> Any:
    return lambda version: (FEATURES,) if version.fingerprint in fingerprints else ()


@pytest.mark.parametrize("promotion", ["immediate", "shadow", "manual"])
def test_a_version_whose_newest_days_differ_gets_no_alias_in_any_mode(tracking: Tracking, promotion: Any) -> None:
    deployment = opened(tracking, promotion, leaking("leak"))
    first = trained(deployment, "a", Q1, YES)
    leak = trained(deployment, "leak", Q2)
    assert holders(deployment) == {"champion": first, "challenger": first, "shadow": None}
    for kind, by in (("promote", "someone"), ("promote", ACTOR)):
        outcome = ask(deployment, kind, leak, Q3, by=by)
        assert outcome.startswith(f"refused: version {leak} does not take over: balance behaves otherwise")
        assert "--accept first_days" in outcome
    assert "neither on trial nor the challenger" in ask(deployment, "approve", leak, Q3)
    assert holders(deployment)["champion"] == first
    # The next sound one is not held up by it.
    later = trained(deployment, "b", date(2024, 7, 31), YES if promotion == "immediate" else NO)
    assert holders(deployment)["challenger"] == later


def test_who_accepts_it_is_recorded_with_what_was_accepted(tracking: Tracking) -> None:
    deployment = opened(tracking, "shadow", leaking("leak"))
    first, leak = trained(deployment, "a", Q1, YES), trained(deployment, "leak", Q2)
    assert ask(deployment, "promote", leak, Q3, by="ann", accepted=("first_days",)) == "done"
    assert holders(deployment)["champion"] == leak
    move = deployment.aliases.moves("champion")[-1]
    assert move.change.by == "ann"
    assert move.change.reason == "promote: because (in spite of: balance behaves otherwise)"
    assert deployment.requests.all()[-1].accepted == ("first_days",)
    # Back to what was in force before, and from there to the other again: a rollback is not judged.
    assert ask(deployment, "rollback", first, date(2024, 10, 15)) == "done"
    assert ask(deployment, "rollback", leak, date(2024, 10, 16)) == "done"
    assert holders(deployment)["champion"] == leak


def test_a_trial_that_ends_well_is_judged_again(tracking: Tracking) -> None:
    against: list[str] = []
    deployment = opened(tracking, "shadow", lambda version: leaking(*against)(version))
    first, second = trained(deployment, "a", Q1, YES), trained(deployment, "b", Q2)
    third = trained(deployment, "c", date(2024, 7, 31))
    against.append("b")
    assert "balance behaves otherwise" in ask(deployment, "promote", second, Q3, by=ACTOR)
    # Its trial is over, and the next begins; a person may still bring it into force.
    assert holders(deployment) == {"champion": first, "challenger": third, "shadow": third}
    assert "balance behaves otherwise" in deployment.aliases.moves("shadow")[-2].change.reason
    assert ask(deployment, "promote", second, date(2024, 10, 5), accepted=("first_days",)) == "done"
