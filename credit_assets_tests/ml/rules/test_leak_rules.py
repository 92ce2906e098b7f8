"""Skill that a person has to look at: a jump beyond what others gained, and one feature that makes it."""

from __future__ import annotations

from typing import Any

import pytest

from credit_assets.ml.data.policies import LeaksPolicy
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.leak_rules import judge_leaks

STRONG = {"name": "recovered", "gain": 0.20, "gain_low": 0.15, "share": 0.6, "alone": 0.82}
USUAL = {"name": "interest_rate", "gain": 0.07, "gain_low": 0.03, "share": 0.4, "alone": 0.66}


def judged(**changed: Any) -> dict[str, Reason]:
    evidence = {"auc": 0.68, "auc_ci_low": 0.64, "champion": None, "gains": [], "concentration": [USUAL], **changed}
    return {one.rule: one for one in judge_leaks(evidence, LeaksPolicy())}


def over(difference: float, low: float) -> dict[str, Any]:
    return {"version": "3", "difference": difference, "ci_low": low, "rows": 900}


def test_ordinary_skill_passes() -> None:
    assert all(one.passed for one in judged().values())
    assert all(one.passed for one in judged(champion=over(0.02, 0.01)).values())


def test_without_a_champion_the_skill_itself_is_looked_at() -> None:
    assert judged(auc=0.85, auc_ci_low=0.79)["leaks jump"].passed
    found = judged(auc=0.88, auc_ci_low=0.85)["leaks jump"]
    assert not found.passed
    assert "AUC 0.8800" in found.text
    assert "max_first_auc" in found.text
    assert "interest_rate (AUC 0.070, 0.660 alone)" in found.text
    assert "promote VERSION --accept leaks --reason WHY" in found.text


@pytest.mark.parametrize(
    ("gains", "low", "passes"),
    [
        ([], 0.04, True),
        ([], 0.06, False),
        ([0.2] * 4, 0.06, False),
        ([0.01, 0.0, 0.012, -0.01, 0.004], 0.019, True),
        ([0.01, 0.0, 0.012, -0.01, 0.004], 0.021, False),
        ([0.01, 0.0, 0.035, -0.01, 0.004], 0.03, True),
        # Nothing that was accepted once makes a larger jump ordinary.
        ([0.01, 0.0, 0.21, -0.01, 0.004], 0.06, False),
    ],
)
def test_a_gain_is_held_against_those_before(gains: list[float], low: float, passes: bool) -> None:
    found = judged(champion=over(low + 0.02, low), gains=gains)["leaks jump"]
    assert found.passed is passes
    if not passes:
        assert "over champion version 3" in found.text
        assert "is a jump beyond" in found.text


def test_a_champion_that_cannot_be_compared_tells_no_gain() -> None:
    found = judged(champion={"version": "3", "why": "no rows"})["leaks jump"]
    assert found.passed
    assert "no rows" in found.text


def test_one_feature_that_makes_the_skill_is_named_unless_it_is_known_to_be_strong() -> None:
    found = judged(concentration=[STRONG, USUAL])["leaks concentration"]
    assert not found.passed
    assert "recovered (AUC 0.200, 95% interval from 0.150 on, 60% of the skill; 0.820 alone)" in found.text
    assert "interest_rate" not in found.text
    evidence = {"auc": 0.7, "auc_ci_low": 0.6, "champion": None, "gains": [], "concentration": [STRONG]}
    assert all(one.passed for one in judge_leaks(evidence, LeaksPolicy(), strong=("recovered",)))


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        # A price of .65 in a book of few columns makes the skill, and is no leak.
        ({"gain": 0.155, "gain_low": 0.103, "alone": 0.649, "alone_low": 0.62}, True),
        ({"gain": 0.155, "gain_low": 0.103, "alone": 0.73, "alone_low": 0.69}, True),
        ({"gain": 0.155, "gain_low": 0.103, "alone": 0.73, "alone_low": 0.71}, False),
        # What little it says by itself becomes much beside another column.
        ({"gain": 0.22, "gain_low": 0.17, "alone": 0.56, "alone_low": 0.53}, False),
        ({"gain": 0.12, "gain_low": 0.079, "alone": 0.75, "alone_low": 0.74}, True),
        # Of before the error of what it knows alone was recorded.
        ({"gain": 0.155, "gain_low": 0.103, "alone": 0.73}, False),
        ({"gain": 0.155, "gain_low": 0.103, "alone": 0.66}, True),
    ],
)
def test_a_feature_that_brings_much_is_suspicious_by_how_strong_it_is(found: dict[str, float], passes: bool) -> None:
    said = judged(concentration=[{"name": "rate", "share": 0.7, **found}])["leaks concentration"]
    assert said.passed is passes
    assert ("max_feature_alone" in said.text) is not passes


def test_nothing_recorded_stands_against_it() -> None:
    (found,) = judge_leaks(None, LeaksPolicy())
    assert not found.passed
    assert "train as of its date again" in found.text


def test_limits_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="min_gain must not lie above max_gain"):
        LeaksPolicy(min_gain=0.1)
