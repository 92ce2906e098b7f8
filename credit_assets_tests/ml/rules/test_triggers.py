"""The rules of the triggers, by tables: what they make of a run of daily reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from credit_assets.ml.rules.decisions import Decision
from credit_assets.ml.rules.triggers import (
    TriggerPolicy,
    TriggerState,
    decide_calibration,
    decide_drift,
    decide_performance,
    decide_volume,
)
from credit_assets_tests.support.policies import drift_trigger, performance_trigger, volume_trigger

FIRST = date(2011, 1, 1)
SMALL = drift_trigger(days=2, window=3, cooldown_days=5, repeat_days=10)
LETTERS = {"s": "shifted", "w": "watch", ".": "stable", "u": "unknown"}


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def drift(number: int, letter: str, champion: str | None = "4") -> dict[str, Any]:
    shifted = ["rate", "income"] if letter == "s" else []
    return {"day": str(day(number)), "champion": champion, "verdict": LETTERS[letter], "shifted": shifted, "why": "few"}


def replay(
    letters: str, policy: TriggerPolicy = SMALL, champions: str | None = None, retrainings: Sequence[int] = ()
) -> tuple[list[int], list[Decision], TriggerState]:
    """Days on which drift fires when each letter is the verdict of a day ("-": no report), and the decisions."""
    reports: dict[int, dict[str, Any]] = {}
    state, fired, decisions = TriggerState(), [], []
    for number, letter in enumerate(letters):
        if letter == "-":
            continue
        reports[number] = drift(number, letter, champions[number] if champions else "4")
        window = [reports[n] for n in range(number - policy.window + 1, number + 1) if n in reports]
        last = max((day(n) for n in [*retrainings, *fired] if n < number), default=None)
        decision, state = decide_drift(window, state, policy, last_retraining=last)
        state = TriggerState.from_record(state.to_record())
        decisions.append(decision)
        if decision.accepted:
            fired.append(number)
    return fired, decisions, state


def against(decision: Decision) -> list[str]:
    return [reason.rule for reason in decision.reasons if not reason.passed]


@pytest.mark.parametrize(
    ("letters", "fires"),
    [
        ("......", []),
        ("wwwwww", []),
        (".s...s..", []),  # Never two of three.
        (".ss", [2]),
        (".s.s", [3]),
        ("s..s", []),  # The first has left the window.
        ("su.s", []),
        ("sus", [2]),  # A day without a verdict counts neither way.
        ("uuu", []),
        ("s-s", [2]),  # Neither does a day without a report.
        ("s--s", []),
        ("sssssss", [1]),  # Stays true: once.
        ("ssssssssssssss", [1, 11]),  # And again after repeat_days.
        ("ss....ss", [1, 7]),  # Over, and true again.
        ("ss.ssssss", [1]),  # Not over: it held on all but two days.
        ("ssuuuusss", [1]),  # Days that say nothing do not arm it.
    ],
)
def test_hysteresis(letters: str, fires: list[int]) -> None:
    fired, _, _ = replay(letters)
    assert fired == fires


def test_calm_days_count_in_a_row() -> None:
    # False on days 6 and 7, and on 10, with true ones between them: never three in a row.
    fired, _, _ = replay("sss..s.ss..s", drift_trigger(days=3, window=5, cooldown_days=0))
    assert fired == [2]


def test_reports_before_the_window_do_not_count() -> None:
    assert not decide_drift([drift(0, "s"), drift(3, "s")], TriggerState(), SMALL)[0].accepted
    assert decide_drift([drift(1, "s"), drift(3, "s")], TriggerState(), SMALL)[0].accepted


def test_another_champion_arms_and_does_not_inherit_what_was_seen_under_the_former() -> None:
    fired, decisions, _ = replay("sssssssss", champions="444444455")
    assert fired == [1, 8]  # Day 7 has one shifted day of its own only.
    assert against(decisions[7]) == ["condition"]


def test_a_day_without_champion_is_no_other_champion() -> None:
    fired, _, state = replay("ssuss", champions=None)
    assert fired == [1]
    decision, state = decide_drift([drift(5, "u", None)], state, SMALL)
    assert not decision.accepted
    assert state.fired == day(1)
    assert against(decide_drift([drift(5, "s", None), drift(6, "s", None)], state, SMALL)[0])[0] == "condition"


@pytest.mark.parametrize(
    ("retraining", "fires"),
    [
        (0, [5]),  # Holds it back and does not disarm it: fires on the first day after.
        (-4, [1]),
        (-3, [2]),
    ],
)
def test_cooldown(retraining: int, fires: list[int]) -> None:
    fired, decisions, _ = replay("ssssssss", retrainings=[retraining])
    assert fired == fires
    for decision in decisions[1 : fires[0]]:
        assert against(decision) == ["cooldown"]


def test_nothing_fires_for_a_day_before_a_retraining() -> None:
    policy = drift_trigger(days=1, window=1, cooldown_days=0)
    decision, _ = decide_drift([drift(3, "s")], TriggerState(), policy, last_retraining=day(9))
    assert against(decision) == ["cooldown"]
    assert "none of an older date is started" in decision.summary()
    assert decide_drift([drift(9, "s")], TriggerState(), policy, last_retraining=day(9))[0].accepted


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_day_that_was_considered_decides_nothing(number: int) -> None:
    _, _, state = replay("......")
    decision, after = decide_drift([drift(number, "s")], state, drift_trigger(days=1, window=1))
    assert against(decision) == ["day"]
    assert after == state


def test_a_decision_tells_every_rule() -> None:
    fired, decisions, state = replay(".s.s")
    assert fired == [3]
    assert [(r.rule, r.passed) for r in decisions[-1].reasons] == [
        (rule, True) for rule in ("day", "condition", "armed", "cooldown")
    ]
    assert "shifted on 2 of the last 3 days (2 needed); shifted: rate, income" in decisions[-1].summary()
    assert state == TriggerState(day(3), fired=day(3), fired_for="4")
    told = replay("suw")[1][-1].summary()
    assert told == "shifted on 1 of the last 3 days (2 needed, 1 without a verdict); shifted: rate, income"


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"day": "2011-01-01"},
        {"day": "tomorrow", "champion": "4", "verdict": "stable", "shifted": []},
        {"day": "2011-01-01", "champion": "4", "verdict": "fine", "shifted": []},
        {"day": "2011-01-01", "champion": "4", "verdict": "stable"},
        [],
    ],
)
def test_what_is_no_drift_report_is_refused(report: Any) -> None:
    with pytest.raises(ValueError, match="drift report"):
        decide_drift([report], TriggerState(), SMALL)


PERFORMANCE = performance_trigger(days=1, window=1)
BASELINE = {
    "rows": 2000,
    "bads": 200,
    "auc": 0.68,
    "auc_error": 0.005,
    "level": 0.0,
    "level_error": 0.02,
    "level_bads": 400,
}


def performance(number: int = 0, champion: str | None = "4", **more: Any) -> dict[str, Any]:
    baseline = {**BASELINE, "estimated_auc": None, "estimated_auc_drawn": None}
    return {
        "day": str(day(number)),
        "champion": champion,
        "registered": {"auc": 0.68, "baseline": baseline},
        "realised": None,
        "since_training": None,
        "estimated": None,
        "newly_matured": None,
        "training_rows": None,
        **more,
    }


def matured(auc: float = 0.68, ratio: float = 1.0, bads: int = 400) -> dict[str, Any]:
    level = {"observed_over_expected": {"value": ratio}, "expected": bads / ratio, "level_error": (ratio / bads) ** 0.5}
    ranking = {"evaluation": {"auc": auc}, "auc_error": 0.005, "bads": bads}
    return {"since_training": {**level, **ranking, "from": "2010-01-01", "to": "2010-03-31"}}


@pytest.mark.parametrize(
    ("decide", "off"), [(decide_performance, matured(auc=0.60)), (decide_calibration, matured(ratio=0.5))]
)
def test_conditions_count_days_and_arm(decide: Any, off: dict[str, Any]) -> None:
    policy = performance_trigger(days=2, window=3)
    reports = [performance(n, **found) for n, found in enumerate((off, matured(), off))]
    assert not decide(reports[:2], TriggerState(), policy)[0].accepted
    assert decide(reports, TriggerState(), policy)[0].accepted
    # Known and false arms a trigger that has fired; unknown does not.
    fired = TriggerState(fired=day(-1), fired_for="4")
    assert decide([performance(**matured())], fired, PERFORMANCE)[1].fired is None
    assert decide([performance()], fired, PERFORMANCE)[1].fired == day(-1)


def test_ranking_and_level_are_triggers_of_their_own() -> None:
    ranks_worse, level_off = performance(**matured(auc=0.60)), performance(**matured(ratio=0.5))
    assert decide_performance([ranks_worse], TriggerState(), PERFORMANCE)[0].accepted
    assert not decide_calibration([ranks_worse], TriggerState(), PERFORMANCE)[0].accepted
    assert not decide_performance([level_off], TriggerState(), PERFORMANCE)[0].accepted
    assert decide_calibration([level_off], TriggerState(), PERFORMANCE)[0].accepted


@pytest.mark.parametrize(
    "more",
    [
        {"since_training": {"bads": 100}},
        {"estimated": {"versions": ["4"]}},
        {"registered": 0.6},
        {"estimated": {"versions": {"4": {"auc": 0.6, "rows": "many"}}}},
    ],
)
def test_what_is_no_performance_report_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the performance report of 2011-01-01"):
        decide_performance([{**performance(), **more}], TriggerState(), PERFORMANCE)


@pytest.mark.parametrize(
    ("new", "rows", "share", "fires"),
    [
        (3_999, 4_000, 1.0, False),
        (4_000, 4_000, 1.0, True),
        (2_000, 4_000, 0.5, True),
        (None, 4_000, 1.0, False),
        (4_000, None, 1.0, False),
        (0, 0, 1.0, False),
    ],
)
def test_volume(new: int | None, rows: int | None, share: float, fires: bool) -> None:
    report = performance(newly_matured=new, training_rows=rows)
    decision, _ = decide_volume(report, TriggerState(), volume_trigger(share=share))
    assert decision.accepted == fires


def test_volume_tells_its_numbers_and_fires_once() -> None:
    report = performance(newly_matured=5_000, training_rows=4_000)
    decision, state = decide_volume(report, TriggerState(), volume_trigger())
    assert decision.reasons[1].text == (
        "5,000 loans matured since champion version 4 was trained on 4,000: 125%, threshold 100%"
    )
    again, state = decide_volume({**report, "day": str(day(89))}, state, volume_trigger())
    assert against(again) == ["armed"]
    assert decide_volume({**report, "day": str(day(90))}, state, volume_trigger())[0].accepted


@pytest.mark.parametrize("given", [{"days": 0}, {"days": 6, "window": 5}, {"cooldown_days": -1}, {"repeat_days": 0}])
def test_a_policy_that_makes_no_sense_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        drift_trigger(**given)


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(ValueError, match="state"):
        TriggerState.from_record({"day": None})
