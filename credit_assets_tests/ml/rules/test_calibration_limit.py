"""The limit of a calibration error: how often it is wrong on tests whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.evidence.evaluation import evaluate
from credit_assets.ml.rules.calibration_limit import ece_limit
from credit_assets.ml.rules.decisions import Decision
from credit_assets_tests.support.policies import registered

GATES = [GateResult("leakage", True, "error", 0.6, "at most 0.9", "no feature knows the outcome")]


def decided(rng: np.random.Generator, rows: int, rate: float, factor: float) -> Decision:
    """The decision about a model whose PDs are `factor` times the true ones."""
    true = rng.beta(2, 2 * (1 - rate) / rate, rows)
    target = (rng.random(rows) < true).astype(float)
    found = evaluate(target, np.minimum(1.0, factor * true)).to_record()
    return registered(["skill", "calibration"], found, None, GATES, Policy())


def refused(rows: int, rate: float, factor: float, tests: int = 100) -> float:
    """Share of tests in which the calibration error stands against the model."""
    rng = np.random.default_rng([rows, int(rate * 100)])
    decisions = [decided(rng, rows, rate, factor) for _ in range(tests)]
    return float(np.mean([not r.passed for one in decisions for r in one.reasons if r.rule == "max_ece"]))


@pytest.mark.parametrize(("rows", "rate"), [(250, 0.3), (250, 0.1), (500, 0.3), (1000, 0.1), (1000, 0.3), (5000, 0.05)])
def test_a_calibrated_model_is_not_refused_for_the_size_of_its_test(rows: int, rate: float) -> None:
    """85% of these were, on 250 rows at 30% bad."""
    assert refused(rows, rate, 1.0) <= 0.01


@pytest.mark.parametrize(
    ("rows", "rate", "factor", "least"),
    [(250, 0.3, 1.5, 0.85), (500, 0.3, 1.5, 0.97), (1000, 0.3, 1 / 1.5, 0.9), (5000, 0.3, 1 / 1.5, 0.99)],
)
def test_pds_half_too_high_or_too_low_are_refused(rows: int, rate: float, factor: float, least: float) -> None:
    assert refused(rows, rate, factor) >= least


def test_a_model_at_the_limit_is_refused_in_one_of_twenty() -> None:
    """A true error of 0.05 at a bad rate of 25%: PDs a fifth too high."""
    assert refused(1000, 0.25, 1.2, tests=300) <= 0.1


def test_a_true_error_below_the_limit_is_no_reason() -> None:
    """At 5% bad, PDs half too high err by 0.025: allowed here, and refused by observed over expected."""
    assert refused(4000, 0.05, 1.5, tests=20) == 0


def test_the_message_says_what_chance_adds() -> None:
    rng = np.random.default_rng(4)
    reasons = {r.rule: r for r in decided(rng, 250, 0.3, 2.0).reasons}
    assert not reasons["max_ece"].passed
    assert " on 250 rows (" in reasons["max_ece"].text
    assert "0.05 (CREDIT_MAX_ECE), which a test of this size may show as up to 0.1" in reasons["max_ece"].text
    assert "95% interval" in reasons["min_auc"].text


def test_limits_that_need_no_arithmetic() -> None:
    assert ece_limit([], 0.05) == 0.05
    assert ece_limit([{"rows": 10, "mean_pd": 0.0}], 0.05) == 0.05
    # Nobody is overstated by more than all, nor riskier than certain.
    assert 0.5 <= ece_limit([{"rows": 1000, "mean_pd": 0.1}, {"rows": 1000, "mean_pd": 0.9}], 0.5) < 0.6
    assert ece_limit([{"rows": 10**9, "mean_pd": 0.3}], 0.05) == pytest.approx(0.05, abs=1e-4)
