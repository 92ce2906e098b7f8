"""Registration and promotion: every rule, in tables."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pytest

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.rules.decisions import (
    ChampionDates,
    Decision,
    Reason,
    decide_promotion,
    summary_of,
)
from credit_assets_tests.support.policies import changed, registered

POLICY = Policy()
RULES = ("skill", "plausible_skill", "calibration", "comparison")
GOOD = {"auc": 0.66, "ece": 0.01}


def gate(name: str, passed: bool = True, severity: Any = "error") -> GateResult:
    return GateResult(name, passed, severity, 3, "at least 5", f"{name} was looked at", setting="gates: x")


GATES = (gate("enough_outcomes"), gate("leakage"))


def against(difference: float, error: float = 0.001, **more: Any) -> dict[str, Any]:
    """A champion on the same rows. The standard error is small: what is better is shown to be."""
    return {
        "version": "3",
        "comparable": True,
        "evaluation": {"auc": 0.66},
        "candidate_evaluation": {"auc": 0.66 + difference},
        "difference": {"difference": difference, "standard_error": error, "rows": 5049, "bads": 115},
        **more,
    }


def failed(decision: Decision) -> list[str]:
    return [reason.rule for reason in decision.reasons if not reason.passed]


@pytest.mark.parametrize(
    ("candidate", "gates", "against_it"),
    [
        (GOOD, GATES, []),
        ({"auc": 0.55, "ece": 0.05}, GATES, []),
        ({"auc": 0.5499, "ece": 0.01}, GATES, ["min_auc"]),
        ({"auc": 0.95, "ece": 0.01}, GATES, []),
        ({"auc": 0.9501, "ece": 0.01}, GATES, ["max_auc"]),
        ({"auc": 0.66, "ece": 0.0501}, GATES, ["max_ece"]),
        ({"auc": 0.40, "ece": 0.3}, GATES, ["min_auc", "max_ece"]),
        (GOOD, (gate("leakage", passed=False),), ["gate leakage"]),
        (GOOD, (gate("volume", passed=False, severity="warn"),), []),
        (GOOD, (gate("a", False), gate("b"), gate("c", False)), ["gate a", "gate c"]),
        (GOOD, (), ["gates"]),
    ],
)
def test_the_first_model(candidate: dict[str, Any], gates: tuple[GateResult, ...], against_it: list[str]) -> None:
    decision = registered(RULES, candidate, None, gates, POLICY)
    assert failed(decision) == against_it
    assert decision.accepted == (not against_it)


@pytest.mark.parametrize(
    ("champion", "policy", "against_it"),
    [
        (against(0.006), POLICY, []),
        (against(0.005), POLICY, []),
        # What 0.665 - 0.66 is in binary.
        (against(0.665 - 0.66), POLICY, []),
        (against(0.0049), POLICY, ["improvement"]),
        (against(0.0), POLICY, ["improvement", "shown_better"]),
        (against(-0.02), POLICY, ["improvement", "shown_better"]),
        (against(0.006, error=0.01), POLICY, ["shown_better"]),
        (against(0.0001), changed("comparison", min_improvement=0.0, rule="point"), []),
        ({"version": "3", "comparable": False, "why": "no common rows"}, POLICY, ["improvement"]),
    ],
)
def test_a_later_model(champion: dict[str, Any], policy: Policy, against_it: list[str]) -> None:
    decision = registered(RULES, GOOD, champion, GATES, policy)
    assert failed(decision) == against_it
    assert decision.accepted == (not against_it)


def test_floors_and_gates_hold_for_a_later_model_too() -> None:
    decision = registered(RULES, {"auc": 0.5, "ece": 0.5}, against(0.1), (gate("leakage", False),), POLICY)
    assert failed(decision) == ["gate leakage", "min_auc", "max_ece"]


def test_the_reasons_say_value_and_threshold() -> None:
    decision = registered(RULES, GOOD, against(0.0031), GATES, POLICY)
    reasons = {reason.rule: reason for reason in decision.reasons}
    assert list(reasons) == [
        "gate enough_outcomes", "gate leakage", "min_auc", "max_auc", "calibration_level", "calibration_slope",
        "max_ece", "improvement", "common_rows", "shown_better",
    ]  # fmt: skip
    improvement = reasons["improvement"]
    assert (improvement.value, improvement.threshold) == (0.0031, 0.005)
    assert improvement.text == (
        "AUC +0.0031 over champion version 3, 0.6631 against 0.6600 on the same 5,049 rows (115 bads) falls short of "
        "the required 0.005 (CREDIT_MIN_IMPROVEMENT)"
    )
    assert decision.summary() == improvement.text
    assert (reasons["min_auc"].value, reasons["min_auc"].threshold) == (0.66, 0.55)


def test_an_accepted_decision_counts_what_passed_and_tells_what_it_is_about() -> None:
    gates = [gate(f"g{number}") for number in range(12)]
    decision = registered(RULES, GOOD, against(0.02), (*gates, gate("volume", False, "warn")), POLICY)
    assert decision.accepted
    told = {reason.rule: reason.text for reason in decision.reasons}
    rules = len(decision.reasons) - 13
    assert decision.summary() == "; ".join(
        [f"13 gates and {rules} rules passed", told["gate volume"], told["min_auc"], told["improvement"]]
    )
    first = registered(RULES, GOOD, None, GATES, POLICY)
    assert first.summary().startswith("2 gates and 6 rules passed; out-of-time AUC 0.6600")
    assert first.summary().endswith("no champion is in force: gates and absolute floors decide")
    # A rejected one says what stands against it, and nothing of what passed.
    assert "passed" not in registered(RULES, GOOD, against(0.0), gates, POLICY).summary()


def test_a_decision_of_few_reasons_has_all_of_them() -> None:
    decision = Decision.of([Reason("a", True, 1, 2, "one"), Reason("b", True, 1, 2, "two")])
    assert decision.summary() == "one; two"


def test_a_gate_that_only_warns_is_told() -> None:
    decision = registered(RULES, GOOD, None, (gate("volume", False, "warn"),), POLICY)
    assert decision.accepted
    assert (
        decision.reasons[0].text
        == "gate volume: warn, 3 (at least 5); ruled by gates: x; a warning, which stops nothing"
    )


def test_why_models_cannot_be_compared_is_told() -> None:
    champion = {"version": "3", "comparable": False, "why": "no rows with both outcomes that neither model has seen"}
    decision = registered(RULES, GOOD, champion, GATES, POLICY)
    assert decision.summary() == (
        "cannot be compared with champion version 3: no rows with both outcomes that neither model has seen"
    )


@pytest.mark.parametrize(
    ("candidate", "champion", "message"),
    [
        ({"ece": 0.1}, None, "candidate has no usable 'auc': None"),
        ({"auc": float("nan"), "ece": 0.1}, None, "candidate has no usable 'auc': nan"),
        ({"auc": 0.6, "ece": "0.1"}, None, "candidate has no usable 'ece': '0.1'"),
        (GOOD, {"version": "3", "comparable": True}, "no `difference`"),
        (GOOD, {"version": "3", "difference": {"difference": 0.1}}, "difference has no usable 'standard_error'"),
    ],
)
def test_evidence_that_is_not_there_is_named(candidate: Any, champion: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        registered(RULES, candidate, champion, GATES, POLICY)


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("comparison", {"min_improvement": -0.1}, "comparison.min_improvement"),
        ("comparison", {"min_auc": 0.9, "max_auc": 0.8}, "min_auc must lie below max_auc"),
        ("comparison", {"max_auc": 1.1}, "comparison.max_auc"),
        ("calibration", {"max_ece": 0.0}, "calibration.max_ece"),
        ("comparison", {"non_inferiority_margin": 0.0}, "non_inferiority_margin"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(section: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(section, **options)


OLD, NEW = date(2011, 3, 31), date(2011, 6, 30)


@pytest.mark.parametrize(
    ("policy", "as_of", "champion_as_of", "accepted", "against_it"),
    [
        ("immediate", NEW, None, True, []),
        ("immediate", NEW, OLD, True, []),
        ("immediate", NEW, NEW, True, []),
        ("immediate", OLD, NEW, True, ["as_of"]),
        ("immediate", NEW, OLD, False, ["registered"]),
        ("immediate", NEW, None, False, ["registered"]),
        ("immediate", OLD, NEW, False, ["registered", "as_of"]),
        ("shadow", NEW, OLD, True, ["policy"]),
        ("shadow", NEW, None, True, []),
        ("manual", NEW, None, True, ["policy"]),
        ("manual", NEW, OLD, True, ["policy"]),
        ("manual", OLD, NEW, True, ["as_of", "policy"]),
    ],
)
def test_promotion(
    policy: Any, as_of: date, champion_as_of: date | None, accepted: bool, against_it: list[str]
) -> None:
    decision = decide_promotion(
        policy, as_of=as_of, standing=ChampionDates(champion_as_of, champion_as_of), accepted=accepted
    )
    assert failed(decision) == against_it
    assert decision.accepted == (not against_it)


def test_time_never_runs_back_and_says_so() -> None:
    decision = decide_promotion("immediate", as_of=OLD, standing=ChampionDates(NEW, NEW), accepted=True)
    assert (
        decision.summary()
        == "as-of date 2011-03-31 is older than the champion's, 2011-06-30: an older model replaces no newer one"
    )


@pytest.mark.parametrize(("as_of", "passes"), [(OLD, False), (NEW, False), (date(2011, 7, 1), True)])
def test_a_rollback_stands_until_a_newer_model_comes(as_of: date, passes: bool) -> None:
    decision = decide_promotion(
        "immediate", as_of=as_of, standing=ChampionDates(newest=NEW, in_force=OLD), accepted=True
    )
    assert failed(decision) == ([] if passes else ["as_of"])


def test_an_unknown_promotion_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="'canary'; known: immediate, shadow, manual"):
        decide_promotion("canary", as_of=NEW, standing=ChampionDates(), accepted=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "decision",
    [
        registered(RULES, GOOD, against(0.001), GATES, POLICY),
        registered(RULES, GOOD, None, (), POLICY),
        decide_promotion("shadow", as_of=NEW, standing=ChampionDates(OLD, OLD), accepted=True),
    ],
)
def test_decisions_survive_json(decision: Decision) -> None:
    records = json.loads(json.dumps([reason.to_record() for reason in decision.reasons], allow_nan=False))
    assert Decision.of([Reason.from_record(record) for record in records]) == decision
    assert summary_of(records) == decision.summary()


def test_records_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="not the record of a reason"):
        Reason.from_record({"rule": "min_auc"})


def test_the_evidence_is_what_evaluation_records() -> None:
    """The names that the rules read are those that the measures write."""
    from credit_assets.ml.evidence.evaluation import compare, evaluate

    y, ours = np.tile([0, 0, 1, 1, 0, 1], 40), np.tile([0.1, 0.2, 0.3, 0.9, 0.1, 0.8], 40)
    theirs = np.tile([0.1, 0.4, 0.3, 0.2, 0.2, 0.8], 40)
    champion = {
        "version": "1",
        "comparable": True,
        "evaluation": evaluate(y, theirs).to_record(),
        "candidate_evaluation": evaluate(y, ours).to_record(),
        "difference": compare(y, ours, theirs).to_record(),
    }
    policy = Policy.model_validate({"calibration": {"max_ece": 1.0}, "comparison": {"max_auc": 1.0}})
    assert registered(RULES, evaluate(y, ours).to_record(), champion, GATES, policy).accepted
