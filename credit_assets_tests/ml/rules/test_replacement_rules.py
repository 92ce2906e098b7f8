"""The standing of a champion that reads columns which have left the portfolio."""

from __future__ import annotations

from typing import Any

import pytest

from credit_assets.ledger.retraining import REFRESH, training_mode
from credit_assets.ml.data.left_columns import REPLACE
from credit_assets.ml.data.policies import ComparisonPolicy
from credit_assets.ml.rules.chains import FIRST, how_shown
from credit_assets.ml.rules.comparison_rules import judge_comparison, judge_first_champion
from credit_assets.ml.rules.replacement_rules import judge_standing

LEFT = {"inquiries": "ignored"}
GONE: dict[str, Any] = {"version": "3", "comparable": False, "why": "the store has no values", "left": LEFT}
COMPARISON = {"days": 7, "previous": "2024-01-01", "first": None, "scorecard": None}


@pytest.mark.parametrize(
    ("triggers", "champion", "mode"),
    [
        ((), None, "improvement"),
        ((), {"version": "3"}, "improvement"),
        ((REFRESH,), {"version": "3"}, "non_inferiority"),
        ((), GONE, "non_inferiority"),
        ((REPLACE,), GONE, "replacement"),
        ((REPLACE, REFRESH), GONE, "replacement"),
        # Nothing to be replaced: the comparison is not walked around.
        ((REPLACE,), {"version": "3"}, "improvement"),
        ((REPLACE,), None, "improvement"),
    ],
)
def test_what_a_training_is_for(triggers: tuple[str, ...], champion: dict[str, Any] | None, mode: str) -> None:
    assert training_mode(triggers, champion) == mode


def judged(champion: dict[str, Any] | None, mode: str) -> Any:
    return judge_standing({"champion": champion, "comparison": COMPARISON, "mode": mode}, ComparisonPolicy())


def test_a_champion_that_reads_the_portfolio_is_compared_as_ever() -> None:
    evidence = {"champion": None, "comparison": COMPARISON, "mode": "improvement"}
    assert judge_standing(evidence, ComparisonPolicy()) == judge_comparison(evidence, ComparisonPolicy())


def test_one_that_cannot_be_compared_stays_until_a_person_asks() -> None:
    said, refused = judged(GONE, "non_inferiority")
    assert (said.rule, said.passed, refused.passed) == ("left_columns", True, False)
    assert said.text.startswith("champion version 3 reads columns that have left the portfolio: inquiries (ignored)")
    assert "`credit-assets trigger replace --reason WHY`" in said.text
    [replaced] = judged(GONE, "replacement")
    assert replaced.passed
    assert "its replacement was asked for" in replaced.text
    assert "not compared: the store has no values" in replaced.text
    # What takes its place begins a chain of its own: none of its refreshes is held against the former champion.
    assert how_shown([replaced]) == FIRST


def test_what_takes_its_place_has_the_skill_of_a_first_champion() -> None:
    evidence = {"champion": GONE, "comparison": COMPARISON, "evaluation": {"auc": 0.6}}
    assert judge_first_champion(evidence | {"mode": "non_inferiority"}, ComparisonPolicy()) == ()
    [refused] = judge_first_champion(evidence | {"mode": "replacement"}, ComparisonPolicy())
    assert not refused.passed
