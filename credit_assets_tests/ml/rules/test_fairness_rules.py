"""What follows of fairness: warned, asked, blocked, and what is no reason to."""

from __future__ import annotations

from typing import Any

import pytest

from credit_assets.ml.data.fairness import Fairness
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.rules.fairness_rules import judge_fairness, judge_takeover
from credit_assets.ml.rules.model_rules import MODEL_RULES, judge_model


def interval(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def group(**other: Any) -> dict[str, Any]:
    return {
        "name": "f",
        "applications": 500,
        "approved": 400,
        "air": interval(0.95, 0.1),
        "below_limit": False,
        "shortfall": {"limit": 0.0, "parity": 10.0},
        "smd": interval(-0.1, 0.05),
        "opportunity": interval(-0.02, 0.03),
        "observed_over_expected": interval(1.0, 0.2),
        **other,
    }


def evidence(*groups: dict[str, Any], association: Any = (), indicative: bool = False, **limits: Any) -> dict[str, Any]:
    attribute = {
        "column": "sex",
        "reference": "m",
        "named": True,
        "missing": 0,
        "small": {"groups": 0, "rows": 0},
        "groups": [{"name": "m"}, *groups],
    }
    return {
        "limits": Fairness(**limits).model_dump(mode="json"),
        "attributes": [attribute],
        "association": list(association),
        "indicative": indicative,
    }


STAND_IN = {"feature": "title", "column": "sex", "group": "f", "auc": 0.97, "near": 0.96}
LOW = {"air": interval(0.7, 0.1), "below_limit": True, "shortfall": {"limit": 40.0, "parity": 130.0}}
BREACHES: dict[str, dict[str, Any]] = {
    "min_air": LOW,
    "max_smd": {"smd": interval(-0.5, 0.1)},
    "max_opportunity_difference": {"opportunity": interval(-0.2, 0.1)},
    "max_calibration_ratio": {"observed_over_expected": interval(1.6, 0.4)},
}


def stops(found: Any) -> list[str]:
    return [one.text for one in found if not one.passed]


@pytest.mark.parametrize("key", BREACHES)
def test_each_limit_stops_where_it_blocks_asks_where_it_asks_and_is_said_where_it_warns(key: str) -> None:
    broken = group(**BREACHES[key])
    assert f"fairness: {key}" in stops(judge_fairness(evidence(broken, disparity="block")))[0]
    assert not stops(judge_takeover(evidence(broken, disparity="block")))
    assert not stops(judge_fairness(evidence(broken, disparity="ask")))
    (asked,) = stops(judge_takeover(evidence(broken, disparity="ask")))
    assert "--accept fairness" in asked
    for judge in (judge_fairness, judge_takeover):
        found = judge(evidence(broken))
        assert not stops(found)
        assert any(f"fairness: {key}" in one.text and "a warning, which stops nothing" in one.text for one in found)


@pytest.mark.parametrize("key", BREACHES)
def test_what_may_be_chance_stops_nothing_unless_the_point_decides(key: str) -> None:
    measure, found = next((name, one) for name, one in BREACHES[key].items() if isinstance(one, dict) and "low" in one)
    wide = {**BREACHES[key], measure: {**found, "low": found["value"] - 2, "high": found["value"] + 2}}
    assert not stops(judge_fairness(evidence(group(**wide), disparity="block")))
    assert stops(judge_fairness(evidence(group(**wide), disparity="block", rule="point")))


@pytest.mark.parametrize(
    "better",
    [
        {"air": interval(1.4, 0.1)},
        {"smd": interval(0.6, 0.1)},
        {"opportunity": interval(0.3, 0.1)},
    ],
)
def test_a_group_that_fares_better_than_the_reference_is_no_reason(better: dict[str, Any]) -> None:
    assert not stops(judge_fairness(evidence(group(**better), disparity="block")))


def test_exactly_the_limit_passes() -> None:
    """By the counts, not by a rounded quotient."""
    at = {"air": interval(0.8, 0.05), "below_limit": False}
    assert not stops(judge_fairness(evidence(group(**at), disparity="block")))


def test_without_a_cut_off_approvals_are_not_judged_and_it_is_said() -> None:
    found = judge_fairness(evidence(group(**LOW), disparity="block", indicative=True))
    assert not stops(found)
    assert any("approvals are not judged" in one.text for one in found)


@pytest.mark.parametrize(
    "why", [{"calibration": "fewer than 10 bads among its loans"}, "fewer than 10 bads among its loans"]
)
def test_what_is_too_few_is_not_judged(why: Any) -> None:
    """A text, as it was recorded before, stands for all that is measured of loans."""
    few = {"observed_over_expected": interval(1.6, 0.4), "not_judged": why}
    assert not stops(judge_fairness(evidence(group(**few), disparity="block")))
    assert stops(judge_fairness(evidence(group(**few, **LOW), disparity="block")))


def test_a_stand_in_blocks_by_default_and_names_feature_and_column() -> None:
    (text,) = stops(judge_fairness(evidence(association=[STAND_IN])))
    assert "title tells sex with an AUC of 0.970" in text
    assert not stops(judge_fairness(evidence(association=[{**STAND_IN, "near": 0.9}])))


@pytest.mark.parametrize(("consequence", "registers", "takes_over"), [("ask", True, False), ("warn", True, True)])
def test_a_stand_in_is_asked_for_or_said(consequence: str, registers: bool, takes_over: bool) -> None:
    found = evidence(association=[STAND_IN])
    found["limits"]["association"] = consequence
    assert (not stops(judge_fairness(found)), not stops(judge_takeover(found))) == (registers, takes_over)


def test_an_accepted_feature_may_tell_and_is_named() -> None:
    found = evidence(association=[STAND_IN], accepted_features=("title",))
    assert not stops(judge_fairness(found))
    assert any("accepted (fairness: accepted_features): title" in one.text for one in judge_fairness(found))


def test_a_reference_that_is_named_and_not_there_stands_against_a_model_that_is_to_be_judged() -> None:
    found = evidence(disparity="block")
    found["attributes"][0] |= {"groups": [], "reference": None, "why": "the reference group 'm' has fewer than 100"}
    assert stops(judge_fairness(found))
    found["attributes"][0]["named"] = False
    assert not stops(judge_fairness(found))


def test_what_could_not_be_measured_stands_against_it_only_where_something_would() -> None:
    broken = {**evidence(), "why": "the day is gone"}
    # A stand-in blocks by default, and nobody has looked for one.
    assert stops(judge_fairness(broken))
    broken["limits"]["association"] = "warn"
    assert not stops(judge_fairness(broken))


def test_a_version_of_before_waits_only_where_a_person_is_asked() -> None:
    assert not stops(judge_takeover(None))
    assert not stops(judge_takeover(None, Fairness()))
    assert stops(judge_takeover(None, Fairness(disparity="ask")))


def test_a_model_without_evidence_of_it_is_refused_by_its_rule() -> None:
    rule = [one for one in MODEL_RULES if one.name == "fairness"]
    (judged,) = judge_model({}, Policy(), rule)
    assert not judged.passed
    (judged,) = judge_model({"fairness": {"why": "the portfolio has no column with role: protected"}}, Policy(), rule)
    assert judged.passed


def test_a_less_discriminatory_candidate_is_named_with_what_it_costs() -> None:
    found = evidence(group(**LOW), disparity="block")
    found["less_discriminatory"] = [
        {"variant": "catboost", "column": "sex", "auc": [0.700, 0.698], "air": [0.7, 0.86]},
        {"variant": "lightgbm", "column": "sex", "auc": [0.700, 0.699], "air": [0.7, 0.75]},
    ]
    (text,) = stops(judge_fairness(found))
    assert (
        "catboost has 0.860 times as many approvals instead of 0.700, with an AUC of 0.6980 instead of 0.7000" in text
    )
