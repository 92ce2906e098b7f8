"""How a trial ends: every rule, in a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.trials import decide_trial
from credit_assets_tests.support.policies import trial


def evidence(**changes: Any) -> dict[str, Any]:
    """A trial that keeps every limit, with nothing matured."""
    return {
        "days": 30,
        "rows": 500,
        "correlation": {"pearson": 0.9, "spearman": 0.9},
        "psi": 0.05,
        "mean_pd": {"champion": 0.05, "shadow": 0.06},
        "matured": None,
        **changes,
    }


def matured(low: float, high: float, bads: int = 50) -> dict[str, Any]:
    difference = {"difference": (low + high) / 2, "ci_low": low, "ci_high": high}
    return {"rows": 1_000, "bads": bads, "difference": difference, "why": None}


@pytest.mark.parametrize(
    ("changes", "decision", "against"),
    [
        ({}, "promote", []),
        ({"days": 29}, "continue", ["days"]),
        ({"rows": 499}, "continue", ["loans"]),
        # A limit that is broken early may be small numbers: it ends nothing before the trial has run.
        ({"days": 3, "rows": 10, "psi": 3.0}, "continue", ["days", "loans", "psi"]),
        ({"correlation": {"spearman": 0.6}}, "promote", []),
        ({"correlation": {"spearman": 0.599999}}, "end", ["correlation"]),
        ({"correlation": {"spearman": None}}, "end", ["correlation"]),
        ({"psi": 2.0}, "promote", []),
        ({"psi": 2.000001}, "end", ["psi"]),
        ({"psi": None}, "end", ["psi"]),
        ({"mean_pd": {"champion": 0.05, "shadow": 0.1}}, "promote", []),
        ({"mean_pd": {"champion": 0.05, "shadow": 0.1001}}, "end", ["mean_pd"]),
        ({"mean_pd": {"champion": 0.05, "shadow": 0.0249}}, "end", ["mean_pd"]),
        ({"mean_pd": {"champion": None, "shadow": None}}, "end", ["mean_pd"]),
        ({"matured": matured(-0.05, -0.01)}, "end", ["performance"]),
        ({"matured": matured(-0.05, 0.0)}, "promote", []),
        ({"matured": matured(-0.05, 0.01)}, "promote", []),
        ({"matured": matured(0.01, 0.05)}, "promote", []),
        ({"matured": matured(-0.05, -0.01, bads=49)}, "promote", []),
        ({"matured": {"rows": 9, "bads": 0, "difference": None, "why": "all good"}}, "promote", []),
        ({"psi": 2.5, "correlation": {"spearman": 0.1}}, "end", ["correlation", "psi"]),
        # The champion with a new calibration.
        ({"recalibrates": True, "psi": 5.0, "mean_pd": {"champion": 0.02, "shadow": 0.09}}, "promote", []),
        ({"recalibrates": True, "psi": 5.0, "correlation": {"spearman": 0.1}}, "end", ["correlation"]),
        ({"recalibrates": False, "psi": 5.0}, "end", ["psi"]),
    ],
)
def test_a_trial_ends_by_its_rules(changes: dict[str, Any], decision: str, against: list[str]) -> None:
    found, reasons = decide_trial(trial(), evidence(**changes))
    assert found == decision
    assert [reason.rule for reason in reasons if not reason.passed] == against
    rules = ["days", "loans", "correlation", "psi", "mean_pd", "performance"]
    assert [reason.rule for reason in reasons] == rules
    for reason in reasons:
        assert reason.threshold is not None
        assert Reason.from_record(json.loads(json.dumps(reason.to_record(), allow_nan=False))) == reason
    manual, _ = decide_trial(trial(promotion="manual"), evidence(**changes))
    assert manual == {"promote": "wait"}.get(decision, decision)


def test_thresholds_come_from_the_policy() -> None:
    strict = trial(days=31, min_loans=501, min_correlation=0.95, max_psi=0.01, max_pd_ratio=1.1, min_bads=5)
    _, reasons = decide_trial(strict, evidence(matured=matured(-0.2, -0.1, bads=5)))
    assert not any(reason.passed for reason in reasons)
    assert [reason.threshold for reason in reasons] == [31, 501, 0.95, 0.01, 1.1, 0]
    assert [reason.value for reason in reasons] == [30, 500, 0.9, 0.05, 1.2, -0.1]


def test_evidence_that_lacks_something_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks psi, matured"):
        decide_trial(trial(), {k: v for k, v in evidence().items() if k not in ("psi", "matured")})


@pytest.mark.parametrize(
    "bad",
    [
        {"promotion": "later"},
        {"days": 0},
        {"min_loans": 0},
        {"min_correlation": 2},
        {"max_psi": 0},
        {"max_pd_ratio": 1},
    ],
)
def test_a_policy_must_make_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(bad))}|promotion"):
        trial(**bad)
