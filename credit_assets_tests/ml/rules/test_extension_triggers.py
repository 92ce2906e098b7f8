"""Triggers of a lender's own: a condition of theirs, under the rules that every trigger passes."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from credit_assets.automation.report_triggers import report_sensors
from credit_assets.ml.data.extensions import ExtensionError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.rules.extension_triggers import TAKEN, TRIGGERS
from credit_assets.ml.rules.triggers import TriggerPolicy, TriggerState
from credit_assets.settings import load_settings
from credit_assets_tests.support.lender import TRIGGER, Lender
from credit_assets_tests.support.tiny import TINY

DAY = date(2024, 5, 1)


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lender:
    return Lender(tmp_path, monkeypatch).write(rules=TRIGGER).install(module="rules")


def reports(*values: float | None) -> list[dict[str, Any]]:
    return [{"day": (DAY + timedelta(n)).isoformat(), "champion": "1", "psi": value} for n, value in enumerate(values)]


def using(**use: Any) -> Portfolio:
    return Portfolio.model_validate({**TINY.model_dump(), "extensions": {"triggers": [{"name": "own_shift", **use}]}})


def test_it_fires_once_where_its_condition_holds_on_enough_days(lender: Lender) -> None:
    policy = TriggerPolicy(days=2, window=3, cooldown_days=30, repeat_days=90)
    own, state = TRIGGERS["own_shift"], TriggerState()
    fired = []
    values = [0.3, None, 0.31, 0.3, 0.4]
    for n in range(len(values)):
        decision, state = own.decide({"psi": 0.3}, reports(*values[: n + 1]), state, policy)
        fired.append(decision.accepted)
        reason = next(reason.text for reason in decision.reasons if reason.rule == "condition")
    # Twice of three days on the third, and not again while it lasts.
    assert fired == [False, False, True, False, False]
    assert f"own_shift of {lender.name} 1.2.0" in reason
    decision, _ = own.decide({"psi": 0.3}, reports(0.3, 0.3), TriggerState(), policy, last_retraining=DAY)
    assert not decision.accepted, "the cooldown holds for every trigger"


def test_the_portfolio_gives_its_days_window_and_limits(lender: Lender, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(using(days=2, window=4, parameters={"psi": 0.1}).model_dump_json())
    sensors = {sensor.name: sensor for sensor in report_sensors(load_settings(portfolio=file, names="bare"))}
    assert list(sensors) == ["drift_trigger", "performance_trigger", "volume_trigger", "own_shift_trigger"]
    assert "The scores have moved (on 2 of 4 days; trigger own_shift of" in str(
        sensors["own_shift_trigger"].description
    )
    with pytest.raises(ValueError, match=r"days \(3\) cannot exceed window \(2\)"):
        using(days=3, window=2)
    with pytest.raises(ValueError, match="has no parameter limit; it takes psi"):
        using(parameters={"limit": 1})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('of="drift_report"', 'of="loan_scores"', "it reads 'loan_scores': write @trigger(of=...) with one of"),
        ("def own_shift", "def drift", "a reason for a training has this name already"),
        ("-> Condition", "-> bool", "its result must be annotated Condition"),
        ('    """The scores have moved."""\n', "", "it has no docstring"),
    ],
)
def test_a_function_that_is_no_trigger_is_refused(lender: Lender, old: str, new: str, said: str) -> None:
    lender.edit("rules", old, new)
    with pytest.raises(ExtensionError) as refused:
        TRIGGERS.extensions()
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('report["psi"]', 'report["PSI"]', "failed with KeyError (rules.py, line 10) on a drift_report"),
        ("return Condition(None if", "return (None if", "must give a Condition"),
        ('f"PSI {found}")', "None)", "must give a Condition"),
    ],
)
def test_a_condition_that_is_none_names_the_trigger(lender: Lender, old: str, new: str, said: str) -> None:
    lender.edit("rules", old, new)
    with pytest.raises(ExtensionError) as failed:
        TRIGGERS["own_shift"].condition(reports(0.1)[0], {})
    assert said in str(failed.value)


def test_the_names_that_are_taken_are_those_of_the_house() -> None:
    named = {sensor.name.removesuffix("_trigger") for sensor in report_sensors(load_settings())}
    assert named <= TAKEN
