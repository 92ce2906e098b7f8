"""Chains of refreshes, and whether a version was held against the champion that it would take over from."""

from __future__ import annotations

import pytest

from credit_assets.ml.rules.chains import BETTER, FIRST, NONE, NOT_WORSE, first_of_chain, how_shown, judged_against
from credit_assets.ml.rules.decisions import Reason


def tags(*links: tuple[str, str, str]) -> dict[str, dict[str, str]]:
    return {number: {"shown": shown, "compared_with": before} for number, shown, before in links}


CHAIN = tags(
    ("1", FIRST, NONE), ("2", NOT_WORSE, "1"), ("3", NOT_WORSE, "2"), ("4", BETTER, "3"), ("5", NOT_WORSE, "4")
)


@pytest.mark.parametrize(("version", "first"), [("1", "1"), ("2", "1"), ("3", "1"), ("4", "4"), ("5", "4")])
def test_a_chain_begins_with_what_was_better_or_the_first_of_all(version: str, first: str) -> None:
    assert first_of_chain(version, CHAIN) == first


def test_a_rollback_changes_no_chain() -> None:
    """Version 2 was brought back, and refreshed: the chain is what each was held against, not who was in force when."""
    assert first_of_chain("6", CHAIN | tags(("6", NOT_WORSE, "2"))) == "1"


@pytest.mark.parametrize(
    ("known", "first"),
    [
        ({"2": {}, "3": {"shown": NOT_WORSE, "compared_with": "2"}}, "2"),
        ({"3": {"shown": NOT_WORSE, "compared_with": "2"}}, "3"),
        ({"3": {"shown": NOT_WORSE}}, "3"),
        ({"3": {"shown": NOT_WORSE, "compared_with": "3"}}, "3"),
        ({"2": {"shown": NOT_WORSE, "compared_with": "3"}, "3": {"shown": NOT_WORSE, "compared_with": "2"}}, "2"),
        ({}, "3"),
    ],
    ids=["of before", "deleted", "not noted", "itself", "circle", "nothing"],
)
def test_a_chain_ends_where_nothing_is_known(known: dict[str, dict[str, str]], first: str) -> None:
    assert first_of_chain("3", known) == first


def test_how_a_model_was_registered_is_what_its_reasons_say() -> None:
    def reasons(low: float, *rules: str) -> list[Reason]:
        return [Reason(rule, True, low, None, "") for rule in rules]

    assert how_shown(reasons(0.001, "min_auc", "improvement", "shown_better")) == BETTER
    # By a policy that takes the improvement as measured: nothing was shown, and the chain goes on.
    assert how_shown(reasons(-0.001, "min_auc", "improvement", "shown_better")) == NOT_WORSE
    assert how_shown(reasons(0.001, "min_auc", "non_inferiority", "non_inferiority_first")) == NOT_WORSE
    assert how_shown(reasons(0.001, "min_auc", "recalibration")) == NOT_WORSE
    assert how_shown(reasons(0.001, "min_auc", "champion", "first_skill", "scorecard")) == FIRST


@pytest.mark.parametrize(
    ("compared_with", "champion", "same"), [("3", "3", True), (NONE, None, True), ("3", "4", False), (NONE, "1", False)]
)
def test_a_version_takes_over_from_whom_it_was_held_against(compared_with: str, champion: str, same: bool) -> None:
    reason = judged_against(compared_with, champion)
    assert reason.passed == same
    assert ("is in force since" in reason.text) != same
