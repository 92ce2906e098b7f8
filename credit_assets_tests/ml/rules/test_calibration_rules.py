"""The rules of calibration: what they say, and how often they err on PDs whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from credit_assets.ml.data.policies import CalibrationPolicy
from credit_assets.ml.evidence.calibration_evidence import compare_calibration, measure_calibration
from credit_assets.ml.evidence.evaluation import ece, evaluate, lift
from credit_assets.ml.rules.calibration_rules import judge_calibration
from credit_assets.ml.rules.decisions import Reason
from credit_assets_tests.support.calibration_books import book, fitted_book, stretched

POLICY = CalibrationPolicy()


def evidence(y: Any, pd: Any, champion: Any = None) -> dict[str, Any]:
    beside = None
    if champion is not None:
        beside = {"version": "3", "calibration": compare_calibration(y, pd, champion)}
    # What the rules read of `evaluate`, whose other half takes half the time of a thousand books.
    evaluation = {
        "rows": len(y),
        "bads": int(y.sum()),
        "ece": ece(y, pd),
        "lift": [dict(vars(one)) for one in lift(y, pd)],
    }
    return {
        "evaluation": evaluation,
        "calibration": measure_calibration(y, pd).to_record(),
        "champion": beside,
    }


def judged(y: Any, pd: Any, champion: Any = None, policy: CalibrationPolicy = POLICY) -> dict[str, Reason]:
    return {reason.rule: reason for reason in judge_calibration(evidence(y, pd, champion), policy)}


def against(reasons: dict[str, Reason]) -> list[str]:
    return [name for name, reason in reasons.items() if not reason.passed]


def refused(rows: int, rate: float, fault: Any, books: int) -> float:
    rng = np.random.default_rng([rows, round(100 * rate), 7])
    count = 0
    for _ in range(books):
        y, pd = book(rng, rows, rate)
        while y.sum() < 2:
            y, pd = book(rng, rows, rate)
        count += bool(against(judged(y, fault(pd))))
    return count / books


@pytest.mark.parametrize(("rows", "books"), [(250, 500), (1_000, 400), (10_000, 100)])
@pytest.mark.parametrize("rate", [0.02, pytest.param(0.1, marks=pytest.mark.slow), 0.3])
def test_a_calibrated_model_is_hardly_ever_refused(rows: int, books: int, rate: float) -> None:
    """85% were once, on 250 rows at 30% bad. Two tests at 1% each."""
    assert refused(rows, rate, lambda pd: pd, books) <= 0.02 + 4 * np.sqrt(0.02 * 0.98 / books)


@pytest.mark.parametrize(("bads", "rate"), [(20, 0.3), (50, 0.02), (50, 0.1), (200, 0.1)])
def test_a_model_whose_calibration_was_fitted_is_hardly_ever_refused(bads: int, rate: float) -> None:
    """12% of those of 20 bads were, by a rule that took their PDs for exact. Two tests at 1% each, and the ECE."""
    rng, books, refused, exact = np.random.default_rng([bads, round(100 * rate)]), 250, 0, 0
    for _ in range(books):
        y, pd, _customers, error = fitted_book(rng, (bads, bads), rate)
        found = evidence(y, pd)
        exact += not all(one.passed for one in judge_calibration(found, POLICY))
        found["calibration"] = measure_calibration(y, pd, None, error).to_record()
        refused += not all(one.passed for one in judge_calibration(found, POLICY))
    assert refused / books <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / books)
    assert exact > refused


def test_the_rules_read_of_an_evaluation_what_is_handed_to_them_here() -> None:
    y, pd = book(np.random.default_rng(4), 500, 0.1)
    found = evidence(y, pd)
    whole = evaluate(y, pd).to_record()
    assert {name: whole[name] for name in found["evaluation"]} == found["evaluation"]
    assert judge_calibration(found, POLICY) == judge_calibration({**found, "evaluation": whole}, POLICY)


def test_what_chance_holds_is_said_with_the_p_value() -> None:
    y, pd, _customers, error = fitted_book(np.random.default_rng(4), (40, 40), 0.1, lambda pd: np.minimum(3 * pd, 0.99))
    found = evidence(y, pd)
    before = judge_calibration(found, POLICY)[0].text
    assert "of the test alone, since nothing is recorded of the calibration's own rows; level 0.01): PDs over" in before
    measured = measure_calibration(y, pd, None, error).to_record()
    now = judge_calibration(found | {"calibration": measured}, POLICY)[0].text
    assert f"with a standard error of {measured['fitted']['level']:.2g} of the calibration's own rows; level" in now


@pytest.mark.parametrize(
    ("rows", "rate", "fault", "least"),
    [
        (1_000, 0.02, lambda pd: np.minimum(2 * pd, 0.999), 0.7),
        (250, 0.1, lambda pd: np.minimum(2 * pd, 0.999), 0.9),
        (1_000, 0.1, lambda pd: np.minimum(1.5 * pd, 0.999), 0.9),
        (10_000, 0.02, lambda pd: np.minimum(1.5 * pd, 0.999), 0.95),
        (10_000, 0.1, lambda pd: pd / 1.5, 0.95),
        (250, 0.1, lambda pd: pd / 5, 0.99),
        (250, 0.02, lambda pd: pd / 1000, 0.95),
        (250, 0.1, lambda pd: stretched(pd, 2), 0.6),
        (1_000, 0.1, lambda pd: stretched(pd, 2), 0.95),
        (1_000, 0.1, lambda pd: stretched(pd, 0.5), 0.8),
    ],
)
def test_planted_faults_are_refused_where_the_sample_can_show_them(
    rows: int, rate: float, fault: Any, least: float
) -> None:
    assert refused(rows, rate, fault, 60) >= least


def test_a_harmless_misfit_on_many_rows_is_said_and_allowed() -> None:
    y, pd = book(np.random.default_rng(1), 300_000, 0.1)
    reasons = judged(y, stretched(1.1 * pd, 1.1))
    assert against(reasons) == []
    for name in ("calibration_level", "calibration_slope"):
        assert "it is not 1 (p " in reasons[name].text
        assert "which is allowed" in reasons[name].text


def test_a_misfit_beyond_the_limit_on_few_rows_may_be_chance_and_is_said() -> None:
    y, pd = np.array([1.0] * 6 + [0.0] * 94), np.linspace(0.02, 0.06, 100)
    reasons = judged(y, pd)
    assert against(reasons) == []
    level = reasons["calibration_level"].text
    assert level.startswith("observed over expected defaults 1.50 (95% interval ")
    assert " on 100 rows (6 bads), 4.0 expected is outside 0.80 .. 1.25, which may be chance (p " in level


def test_what_stands_against_a_model_names_value_limit_and_key() -> None:
    y, pd = book(np.random.default_rng(2), 5_000, 0.1)
    low, high = judged(y, pd / 2), judged(y, np.minimum(2 * pd, 0.999))
    assert low["calibration_level"].value == pytest.approx(2, abs=0.2)
    assert low["calibration_level"].threshold == "0.80 .. 1.25"
    assert low["calibration_level"].text.endswith(
        "level 0.01): PDs understate the risk (policy calibration.max_level_ratio)"
    )
    assert "PDs overstate the risk" in high["calibration_level"].text
    wide, narrow = judged(y, stretched(pd, 2.5)), judged(y, stretched(pd, 0.4))
    assert "PDs lie too far apart" in wide["calibration_slope"].text
    assert "PDs lie too close together" in narrow["calibration_slope"].text


@pytest.mark.parametrize("pd", [0.0, 1e-12, 1.0])
def test_one_pd_for_everybody_is_refused_where_it_is_wrong(pd: float) -> None:
    """A calibration error of .04 was within its limit of .05."""
    y, _ = book(np.random.default_rng(3), 2_000, 0.04)
    assert "calibration_level" in against(judged(y, np.full(2_000, pd)))


def test_a_level_farther_than_the_champions_stands_against_the_model_once_it_is_shown() -> None:
    y, pd = book(np.random.default_rng(4), 20_000, 0.1)
    worse = judged(y, 1.22 * pd, pd)["calibration_champion"]
    assert not worse.passed
    assert worse.value == pytest.approx(1.22, abs=0.06)
    assert "champion version 3" in worse.text
    assert "on the same 20,000 rows (" in worse.text
    assert judged(y, pd, 1.22 * pd)["calibration_champion"].passed
    # As far off to the other side: no worse.
    assert judged(y, 1.15 * pd, pd / 1.15)["calibration_champion"].passed
    few, true = book(np.random.default_rng(5), 300, 0.1)
    assert judged(few, 1.22 * true, true)["calibration_champion"].passed
    assert "calibration_champion" not in judged(y, pd)


def test_an_equal_model_is_seldom_refused_for_the_champions_sake() -> None:
    rng, books, count = np.random.default_rng(6), 300, 0
    for _ in range(books):
        y, pd = book(rng, 1_500, 0.1)
        # Two models that err by chance of their calibration rows, a twentieth to either side.
        ours, theirs = np.exp(rng.normal(0, 0.05, 2))
        count += not judged(y, np.minimum(ours * pd, 0.999), np.minimum(theirs * pd, 0.999))[
            "calibration_champion"
        ].passed
    assert count / books <= 0.05


def test_the_age_is_said_and_stands_against_nothing() -> None:
    y, pd = book(np.random.default_rng(8), 500, 0.1)
    age = {"test": ["2010-05-14", "2010-06-30"], "in_use_from": "2011-07-01", "days": 366}
    said = judge_calibration(evidence(y, pd) | {"age": age}, POLICY)[-1]
    assert (said.rule, said.passed, said.value) == ("age", True, 366)
    assert "in use from 2011-07-01 on, it scores applications at least 366 days newer" in said.text


def test_evidence_without_a_usable_measure_is_an_error() -> None:
    y, pd = book(np.random.default_rng(9), 500, 0.1)
    found = evidence(y, pd)
    found["calibration"]["level_p"] = None
    with pytest.raises(ValueError, match="no usable 'level_p'"):
        judge_calibration(found, POLICY)


MADE = {
    "version": "3",
    "why": "",
    "rows": 2_400,
    "bads": 201,
    "days": ["2024-01-01", "2024-03-01"],
    "calibration": {"slope": 1.0, "intercept": 0.9},
}


def recalibration(y: Any, pd: Any, champion: Any, **made: Any) -> Reason:
    found = evidence(y, pd, champion) | {"mode": "recalibration", "recalibrates": {**MADE, **made}}
    return {reason.rule: reason for reason in judge_calibration(found, POLICY)}["recalibration"]


def test_a_recalibration_must_be_shown_to_be_better() -> None:
    y, pd = book(np.random.default_rng(10), 3_000, 0.1)
    better = recalibration(y, pd, pd / 2)
    assert better.passed
    assert "fitted on 2,400 rows (201 bads) of 2024-01-01 .. 2024-03-01" in better.text
    assert "champion's on rows that neither used, shown to be less (p " in better.text
    assert not recalibration(y, pd / 2, pd).passed
    same = recalibration(y, pd, pd)
    assert not same.passed
    assert "not shown to be less" in same.text
    few = recalibration(y, pd, pd / 2, why="9 rows with 2 bads lie between")
    assert not few.passed
    assert "has no new calibration: 9 rows with 2 bads lie between; ask for a retraining" in few.text


def test_a_recalibration_that_nothing_compares_is_refused() -> None:
    y, pd = book(np.random.default_rng(11), 500, 0.1)
    found = evidence(y, pd) | {"mode": "recalibration", "recalibrates": MADE, "champion": {"comparable": False}}
    assert "recalibration" in against({reason.rule: reason for reason in judge_calibration(found, POLICY)})


def test_a_new_calibration_of_a_sound_champion_is_seldom_taken() -> None:
    """Fitted on 100 bads, so off by a tenth by chance: it is better on the test by chance alone."""
    rng, books, taken = np.random.default_rng(12), 300, 0
    for _ in range(books):
        y, pd = book(rng, 1_500, 0.1)
        odds = np.log(pd / (1 - pd)) + rng.normal(0, 0.1)
        taken += recalibration(y, 1 / (1 + np.exp(-odds)), pd).passed
    assert taken / books <= 0.05


@pytest.mark.parametrize(("ratio", "least"), [(0.5, 0.95), (0.7, 0.6), (1.5, 0.5)])
def test_a_new_calibration_of_a_champion_that_is_off_is_taken(ratio: float, least: float) -> None:
    """`ratio` is observed over expected of the champion, on 150 bads."""
    rng, books, taken = np.random.default_rng(13), 100, 0
    for _ in range(books):
        y, pd = book(rng, 1_500, 0.1)
        odds = np.log(pd / (1 - pd)) + rng.normal(0, 0.1)
        taken += recalibration(y, 1 / (1 + np.exp(-odds)), np.minimum(pd / ratio, 0.999)).passed
    assert taken / books >= least


@pytest.mark.parametrize("wrong", [{"max_level_ratio": 1}, {"alpha": 0}, {"max_slope_ratio": 0.6}, {"alpha": 0.5}])
def test_limits_that_limit_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CalibrationPolicy(**wrong)
