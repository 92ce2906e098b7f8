"""Past decisions under another policy: the same policy decides the same, another one says which rule changed it."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.reports.policy_replay import RecordedDay, mode_of, replay_day, replay_trial, totals
from credit_assets.ml.rules.decisions import ChampionDates, decide_promotion
from credit_assets.ml.rules.fairness_rules import judge_takeover
from credit_assets.ml.rules.first_days import decide_first_days
from credit_assets.ml.rules.leak_rules import judge_leaks
from credit_assets.ml.rules.model_rules import MODEL_RULES, decide_registration, judge_model
from credit_assets.ml.rules.trials import decide_trial
from credit_assets_tests.support.policies import COMPARISON, changed, trial

GATES = (GateResult("leakage", True, "error", 0.6, "at most 0.95", "No feature knows the outcome."),)
# Rules whose evidence is made by hand below; others have theirs.
RULES = tuple(rule for rule in MODEL_RULES if rule.name in ("skill", "plausible_skill", "comparison"))
DIFFERENCE = {"difference": 0.012, "ci_low": -0.004, "ci_high": 0.028, "standard_error": 0.003, "p_value": 0.13}
FIRST_DAYS = {
    "days": {"then": ["2024-01-01", "2024-01-31"], "now": ["2025-01-25", "2025-01-31"]},
    "rows": {"test": 900, "then": 900, "now": 600},
    "mean_pd": {"then": 0.05, "now": 0.05},
    "pd_odds_ratio": {"value": 1.0, "ci_low": 0.9, "ci_high": 1.1},
    "score": {"psi": 0.3},
    "auc": 0.70,
    "together": {"auc_as_now": 0.70, "auc_loss": 0.0, "auc_loss_low": -0.01, "pd_odds_ratio": 1.0, "used": True},
    "compared": 20,
    "features": [],
}
LEAKS = {
    "auc": 0.70,
    "auc_ci_low": 0.66,
    "champion": None,
    "gains": [],
    "strong": [],
    "concentration": [{"name": "rate", "gain": 0.06, "gain_low": 0.03, "share": 0.3, "alone": 0.64}],
}


def trained(**more: Any) -> dict[str, Any]:
    test = {"auc": 0.66, "ece": 0.01, "rows": 5_000, "bads": 400, "auc_ci_low": 0.63, "auc_ci_high": 0.69}
    champion = {
        "version": "3",
        "comparable": True,
        "difference": DIFFERENCE | {"rows": 5_000, "bads": 400},
        "evaluation": {"auc": 0.65},
    }
    found = {"evaluation": test, "champion": champion, "comparison": COMPARISON, "first_days": FIRST_DAYS}
    found |= {"leaks": LEAKS, "fairness": {"why": "the portfolio has no column with role: protected"}}
    return {"fingerprint": "f1", **found, **more}


def lived(policy: Policy, record: dict[str, Any] | None = None, gates: Any = GATES, **more: Any) -> RecordedDay:
    """What a day leaves that was decided by a policy, as the assets record it."""
    record = trained() if record is None else record
    mode = more.pop("mode", "improvement")
    decision = decide_registration(record | {"mode": mode}, gates, policy, RULES)
    registered = {
        "decision": "registered" if decision.accepted else "rejected",
        "fingerprint": record["fingerprint"],
        "mode": mode,
        "policy": policy.to_record(),
        "reasons": [reason.to_record() for reason in decision.reasons],
    }
    judged = (
        *decide_first_days(record["first_days"], policy.first_days),
        *judge_leaks(record["leaks"], policy.leaks),
        *judge_takeover(record["fairness"]),
    )
    promotion = decide_promotion(
        "immediate",
        as_of=date(2024, 3, 31),
        standing=ChampionDates(date(2024, 2, 1), date(2024, 2, 1)),
        accepted=decision.accepted,
        takeover=judged if decision.accepted else (),
    )
    deployed = {
        "decision": "promoted" if promotion.accepted else "unchanged",
        "reasons": [reason.to_record() for reason in promotion.reasons],
    }
    # As it comes out of the store.
    found = json.loads(json.dumps({"trained": record, "registered": registered, "deployed": deployed, **more}))
    return RecordedDay("2024-03-31", gates, **found)


def both(day: RecordedDay, policy: Policy) -> list[tuple[str, str, str, list[str]]]:
    return [
        (one["what"], one["then"]["decision"], one["now"]["decision"], [rule["rule"] for rule in one["now"]["by"]])
        for one in replay_day(day, policy, RULES)
    ]


@pytest.mark.parametrize(
    "policy",
    [Policy(), changed("comparison", min_improvement=0.02), changed("first_days", max_psi=0.1)],
)
@pytest.mark.parametrize("mode", ["improvement", "non_inferiority"])
def test_the_policy_of_then_decides_as_then(policy: Policy, mode: str) -> None:
    """Every decision is judged again from its record, and ends the same, with the same rules against it."""
    day = lived(policy, mode=mode)
    for one in replay_day(day, policy, RULES):
        assert one["now"]["decision"] == one["then"]["decision"]
        assert not one["changed"]
        assert one["not_recorded"] == {}
        then = [text for rule in one["then"]["by"] for text in rule["why"]]
        now = [text for rule in one["now"]["by"] for text in rule["why"]]
        assert [text for text in now if text] == [text for text in then if "not registered" not in text]


@pytest.mark.parametrize(
    ("other", "registration", "takeover"),
    [
        (changed("comparison", min_improvement=0.02), ("rejected", ["comparison"]), ("unchanged", ["registered"])),
        (changed("comparison", min_auc=0.7), ("rejected", ["skill"]), ("unchanged", ["registered"])),
        (changed("comparison", max_auc=0.65), ("rejected", ["plausible_skill"]), ("unchanged", ["registered"])),
        (changed("first_days", max_psi=0.1), ("registered", []), ("unchanged", ["first_days scores"])),
        (
            changed("leaks", max_feature_gain=0.02, max_feature_alone=0.6),
            ("registered", []),
            ("unchanged", ["leaks concentration"]),
        ),
    ],
)
def test_another_policy_says_which_rule_changed_it(other: Policy, registration: Any, takeover: Any) -> None:
    then = lived(changed("comparison", min_improvement=0.005))
    assert both(then, other) == [
        ("registration", "registered", *registration),
        ("takeover", "promoted", *takeover),
    ]
    changes = [one["changed"] for one in replay_day(then, other, RULES)]
    assert changes == [registration[0] != "registered", takeover[0] != "promoted"]


def test_what_was_rejected_then_may_pass_now_with_its_takeover() -> None:
    then = lived(changed("comparison", min_improvement=0.02))
    now = changed("comparison", min_improvement=0.005)
    assert both(then, now) == [
        ("registration", "rejected", "registered", []),
        ("takeover", "unchanged", "promoted", []),
    ]


def test_a_gate_stands_as_it_was_judged() -> None:
    gate = GateResult("leakage", False, "error", 0.99, "at most 0.95", "No feature knows.", setting="gates: x")
    (registration, _) = replay_day(lived(Policy(), gates=(gate,)), Policy(), RULES)
    assert "gate leakage" in [rule["rule"] for rule in registration["now"]["by"]]


def test_evidence_that_was_not_recorded_is_named_and_counts_neither_way() -> None:
    day = lived(Policy())
    old = trained(evaluation={"auc": 0.66})
    del old["champion"], old["first_days"], old["leaks"], old["fairness"]
    missing = RecordedDay(day.as_of, None, old, day.registered, day.deployed)
    registration, takeover = replay_day(missing, Policy(), RULES)
    assert set(registration["not_recorded"]) == {"gates", "comparison"}
    assert registration["now"]["decision"] == "registered"
    assert set(takeover["not_recorded"]) == {"gates", "comparison", "first_days", "leaks", "fairness"}
    bare = RecordedDay("d", GATES, {"fingerprint": "f1"}, day.registered, None)
    assert set(replay_day(bare, Policy())[0]["not_recorded"]) == {rule.name for rule in MODEL_RULES}
    damaged = RecordedDay("d", GATES, trained(evaluation={"auc": "x"}), day.registered, None)
    assert "no usable 'auc'" in replay_day(damaged, Policy(), RULES)[0]["not_recorded"]["skill"]


@pytest.mark.parametrize("name", ["first_days", "leaks", "fairness"])
@pytest.mark.parametrize("found", [None, {}])
def test_evidence_of_a_takeover_that_lacks_a_measure_is_named(name: str, found: Any) -> None:
    day = lived(Policy())
    record = {key: value for key, value in trained().items() if key != name} | ({name: found} if found == {} else {})
    _, takeover = replay_day(RecordedDay("d", GATES, record, day.registered, day.deployed), Policy(), RULES)
    assert "nothing is recorded of" in takeover["not_recorded"][name]


@pytest.mark.parametrize("gone", [None, trained(fingerprint="f2")])
def test_a_decision_without_its_evidence_is_not_decided_again(gone: Any) -> None:
    day = lived(Policy())
    registration, takeover = replay_day(
        RecordedDay(day.as_of, GATES, gone, day.registered, day.deployed), changed("comparison", min_auc=0.9), RULES
    )
    assert (registration["now"]["decision"], registration["changed"]) == ("not decided", False)
    assert (takeover["now"]["decision"], takeover["changed"]) == ("not decided", False)
    assert "trained_model" in registration["not_recorded"]


def test_a_day_that_a_rule_stopped_has_no_record_of_registration_and_is_told() -> None:
    policy = changed("comparison", max_auc=0.65)
    record = trained(mode="improvement", policy=policy.to_record())
    record["judged"] = [one.to_record() for one in judge_model(record, policy, RULES)]
    (one,) = replay_day(RecordedDay("2024-03-31", GATES, record, None, None), policy, RULES)
    assert (one["then"]["decision"], one["now"]["decision"], one["changed"]) == ("blocked", "rejected", False)
    assert one["policy_then"] == policy.version
    (one,) = replay_day(RecordedDay("2024-03-31", GATES, record, None, None), changed("comparison", max_auc=0.9), RULES)
    assert [rule["rule"] for rule in one["then"]["by"]] == ["plausible_skill"]


def test_a_day_that_was_not_due_has_no_decision() -> None:
    not_due = {"decision": "not due", "fingerprint": None, "reasons": []}
    assert replay_day(RecordedDay("d", (), {"status": "not due"}, not_due, not_due), Policy()) == []


def test_the_mode_of_records_of_before_is_told_by_who_asked() -> None:
    assert mode_of({"mode": "recalibration", "triggers": ["refresh"]}) == "recalibration"
    assert mode_of({"triggers": ["drift", "refresh"]}) == "non_inferiority"
    assert mode_of({"triggers": []}) == "improvement"


SEEN = {"days": 40, "rows": 900, "correlation": {"spearman": 0.9}, "psi": 0.1, "matured": None}
MEANS = {"mean_pd": {"champion": 0.05, "shadow": 0.06}}


def on_trial(policy: Any, **seen: Any) -> dict[str, Any]:
    record = {"day": "2024-05-01", "shadow": "2", "promotion": policy.promotion, **SEEN, **MEANS, **seen}
    decision, reasons = decide_trial(policy, record)
    return record | {"decision": decision, "reasons": [reason.to_record() for reason in reasons]}


def test_trials_are_judged_again() -> None:
    then = on_trial(trial())
    same = replay_trial(then, Policy(), "shadow")
    assert same is not None
    assert (same["then"]["decision"], same["now"]["decision"], same["changed"]) == ("promote", "promote", False)
    other = replay_trial(then, changed("trials", min_correlation=0.95), "shadow")
    assert other is not None
    assert (other["now"]["decision"], other["changed"]) == ("end", True)
    assert [rule["rule"] for rule in other["now"]["by"]] == ["correlation"]
    assert replay_trial(on_trial(trial(), days=3), Policy(), "shadow") is None
    assert replay_trial({"shadow": None}, Policy(), "shadow") is None
    old = {name: value for name, value in then.items() if name != "matured"}
    lacking = replay_trial(old, Policy(), "shadow")
    assert lacking is not None
    assert "matured" in lacking["not_recorded"]["trial"]
    assert not lacking["changed"]


def test_decisions_are_counted() -> None:
    then, other = lived(Policy()), changed("comparison", min_auc=0.7)
    decisions = [*replay_day(then, Policy(), RULES), *replay_day(then, other, RULES)]
    found = totals(decisions)["registration"]
    assert sum(found["then"].values()) == sum(found["now"].values()) == 2
    assert found["now"]["rejected"] >= 1
    assert found["changed"] == sum(one["changed"] for one in decisions if one["what"] == "registration")
