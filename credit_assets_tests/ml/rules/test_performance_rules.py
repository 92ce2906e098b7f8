"""What a performance report says of the champion, by tables; and how often it does in books whose truth is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.data.policies import PerformancePolicy
from credit_assets.ml.evidence.baseline import JudgedRows, measure_baseline
from credit_assets.ml.evidence.calibration_error import CalibrationError
from credit_assets.ml.evidence.performance import estimate, realised
from credit_assets.ml.learners.calibration import fit_platt
from credit_assets.ml.rules.performance_rules import level_is_off, ranks_worse

LIMITS = PerformancePolicy()
COHORT = 90
BASELINE = {
    "rows": 2_000,
    "bads": 200,
    "auc": 0.68,
    "auc_error": 0.005,
    "estimated_auc": 0.70,
    "estimated_auc_drawn": 0.002,
    "level": 0.0,
    "level_error": 0.02,
    "level_bads": 400,
    "calibration": vars(CalibrationError()),
}


def report(baseline: dict[str, Any] | None = BASELINE, **more: Any) -> dict[str, Any]:
    registered = {"auc": 0.68, "baseline": baseline}
    return {"champion": "4", "registered": registered, "since_training": None, "estimated": None, **more}


def since(auc: float = 0.68, error: float = 0.005, bads: int = 200, ratio: float = 1.0) -> dict[str, Any]:
    return {
        "since_training": {
            "bads": bads,
            "expected": bads / ratio,
            "evaluation": {"auc": auc},
            "auc_error": error,
            "observed_over_expected": {"value": ratio, "low": ratio * 0.9, "high": ratio * 1.1},
            "level_error": (ratio / bads) ** 0.5,
            "from": "2010-01-01",
            "to": "2010-03-31",
        }
    }


def estimated(auc: float, drawn: float = 0.002, rows: int = 2000, version: str = "4") -> dict[str, Any]:
    one = {"rows": rows, "auc": auc, "auc_drawn": drawn, "auc_error": 0.01, "expected_rate": 0.1}
    return {"estimated": {"versions": {version: one}}}


@pytest.mark.parametrize(
    ("given", "met", "says"),
    [
        (report(), None, "fewer than 50 defaults"),
        (report(**since(0.62)), True, "realised AUC 0.6200 on 200 bads that matured since the training, 0.0600 below"),
        (report(**since(0.64)), False, "0.0400 below the 0.6800 of the test; a loss is one from 0.05 on"),
        (report(**since(0.62, error=0.02)), False, "chance explains 0.07"),  # Large, and within chance.
        (report({**BASELINE, "auc_error": 0.03}, **since(0.60)), False, "chance explains 0.09"),  # So was the test's.
        (report(**since(0.72)), False, "0.0400 above the 0.6800"),
        (report(**since(0.50, bads=49)), None, "fewer than 50 defaults"),
        (report(**since(0.50, bads=50)), True, "50 bads"),
        (report({**BASELINE, "auc": 0.57}, **since(0.53)), True, "below the floor 0.55 by more than chance"),
        (report({**BASELINE, "auc": 0.57}, **since(0.54)), False, "0.0300 below"),
        (report(None, **since(0.60)), False, "an older release registered it"),
        (report(None, **since(0.50)), True, "below the floor"),
        (report(**estimated(0.64)), True, "estimated AUC 0.6400 with 200 bads expected, 0.0600 below the 0.7000"),
        (report(**estimated(0.66)), False, "0.0400 below the 0.7000"),  # The test's estimate, not its AUC.
        (report(**estimated(0.64, drawn=0.03)), False, "chance explains 0.1"),
        (report(**estimated(0.50, version="3")), None, "fewer than 50 defaults"),  # Another's loans.
        (report(**estimated(0.50, rows=400)), None, "fewer than 50 defaults"),
        (report(**since(0.68), **estimated(0.60)), True, "estimated AUC 0.6000"),
        (report(**since(0.60), **estimated(0.70)), True, "realised AUC 0.6000"),
        (report(**since(0.67), **estimated(0.70)), False, "realised AUC 0.6700"),
        ({**report(), "registered": None, "champion": None}, None, "fewer than 50 defaults"),
    ],
)
def test_a_loss_of_ranking(given: dict[str, Any], met: bool | None, says: str) -> None:
    found = ranks_worse(given, LIMITS, COHORT)
    assert found.met is met
    assert says in found.text


@pytest.mark.parametrize(
    ("given", "met", "says"),
    [
        (report(), None, "fewer than 50 defaults"),
        (report(**since(ratio=0.5)), True, "observed over expected defaults 0.50, 200 bads where 400 were expected"),
        (report(**since(ratio=2.0, bads=400)), True, "allowed are 0.83 .. 1.20, and after the 1.00 of"),
        (report(**since(ratio=0.85, bads=20_000)), False, "defaults 0.85"),  # Beyond chance, and of no size.
        (report(**since(ratio=1.3, bads=100)), False, "chance explains 0.64 .. 1.57"),  # Of a size, and within chance.
        (report({**BASELINE, "level_error": 0.25}, **since(ratio=0.5)), False, "chance explains 0.44 .. 2.25"),
        (report({**BASELINE, "level": -0.5}, **since(ratio=0.7)), False, "after the 0.61 of"),  # So it was then.
        (report({**BASELINE, "level": 0.3}, **since(ratio=0.7)), True, "after the 1.35 of"),
        (report(**since(ratio=0.5, bads=20)), None, "fewer than 50"),
        (report(**since(ratio=40.0, bads=200)), True, "defaults 40.00"),  # Hardly any expected, and many came.
        (report(**since(ratio=1e3, bads=50)), True, "50 bads where 0 were expected"),  # PDs of a thousandth.
        (report(**since(ratio=1e9, bads=50)), True, "50 bads where 0 were expected"),
        (report(None, **since(ratio=0.5)), None, "an older release registered it"),
    ],
)
def test_a_level_that_is_off(given: dict[str, Any], met: bool | None, says: str) -> None:
    found = level_is_off(given, LIMITS, COHORT)
    assert found.met is met
    assert says in found.text


# Books whose truth is known


class Champion:
    """Trained on 90 days of a book of which the margin says all there is to know, and looked at for a year."""

    def __init__(self, a_day: int, seed: int) -> None:
        self.rng, self.a_day = np.random.default_rng(seed), a_day
        margin, y = self.loans(18)
        self.calibration = fit_platt(margin, y)
        fitted = JudgedRows(y, self.calibration.pd(margin))
        margin, y = self.loans(22)
        self.baseline = measure_baseline(fitted, JudgedRows(y, self.calibration.pd(margin))).to_record()

    def loans(self, days: int, spread: float = 1.0, more: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        margin = self.rng.normal(-2.4, 0.7, days * self.a_day)
        return margin, (self.rng.random(len(margin)) < probability(-2.4 + spread * (margin + 2.4) + more)).astype(int)

    def year(self, **change: float) -> Iterator[dict[str, Any]]:
        """A look each second week, of the last 90 days."""
        margin, y = self.loans(365, **change)
        pd = self.calibration.pd(margin)
        for day in range(30, 366, 14):
            rows = slice(max(0, day - COHORT) * self.a_day, day * self.a_day)
            matured = {"from": "a", "to": "b", **realised(y[rows], pd[rows]).to_record()}
            calibration = CalibrationError(**self.baseline["calibration"])
            newest = estimate(pd[rows], calibration=calibration).to_record()
            yield report(self.baseline, since_training=matured, estimated={"versions": {"4": newest}})


def named(years: Iterable[Iterable[dict[str, Any]]], judge: Any) -> float:
    """The share of the years in which a look names the champion."""
    return float(np.mean([any(judge(one, LIMITS, COHORT).met for one in year) for year in years]))


def changed(champions: int, a_day: int, **change: float) -> Iterator[Iterator[dict[str, Any]]]:
    return (Champion(a_day, 100 + seed).year(**change) for seed in range(champions))


@pytest.fixture(scope="module")
def quiet_years() -> list[list[dict[str, Any]]]:
    """Of 60 champions, in which nothing changes."""
    return [list(year) for year in changed(60, 20)]


def plainly_below(given: dict[str, Any], _limits: Any, _cohort: int) -> Any:
    """As if what the test said were known exactly, and the PDs were right."""
    one, test = given["estimated"]["versions"]["4"], given["registered"]["baseline"]["auc"]
    chance = estimate_error_alone(one)

    class Found:
        met = one["auc"] + 1.96 * chance < max(0.55, test - 0.05)

    return Found


def estimate_error_alone(one: dict[str, Any]) -> float:
    """About what the outcomes of so many rows make the AUC vary by."""
    return float(0.3 / np.sqrt(one["rows"] * one["expected_rate"]))


@pytest.mark.slow
@pytest.mark.parametrize("judge", [ranks_worse, level_is_off])
def test_a_year_without_a_change_names_hardly_any_champion(quiet_years: Any, judge: Any) -> None:
    """At 1%, three of 60 come once in 40 tries."""
    assert named(quiet_years, judge) <= 2 / 60


@pytest.mark.slow
def test_the_plain_comparison_names_many(quiet_years: Any) -> None:
    assert named(quiet_years, plainly_below) >= 4 / 60


def test_what_has_changed_is_named() -> None:
    assert named(changed(15, 120, spread=0.35), ranks_worse) >= 0.8
    assert named(changed(15, 60, more=0.8), level_is_off) >= 0.9
    assert named(changed(15, 120, more=-0.8), level_is_off) >= 0.9


@pytest.mark.slow
def test_another_level_is_no_other_ranking() -> None:
    assert named(changed(15, 120, more=-0.8), ranks_worse) <= 0.1
