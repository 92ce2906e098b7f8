"""Two models on the same applications: what is compared, what the arms show, and how a trial ends."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data.fingerprints import rounded
from credit_assets.ml.data.log_odds import probability
from credit_assets.ml.evidence.evaluation import auc, compare
from credit_assets.ml.evidence.intervals import Interval, difference_of_proportions, proportion
from credit_assets.ml.evidence.shadow import compare_arms, compare_scores
from credit_assets.ml.learners.scorer import ScoreScale
from credit_assets.ml.rules.trials import decide_trial
from credit_assets_tests.support import policies

SCALE = ScoreScale()


def recorded(interval: Interval | None) -> Any:
    return rounded(interval.to_record()) if interval else None


def frame_of(champion: Any, shadow: Any, default: Any = None, arm: str = "champion") -> pd.DataFrame:
    """Rows as `side_by_side` gives them, from log-odds of default."""
    champion, shadow = np.asarray(champion, dtype=float), np.asarray(shadow, dtype=float)
    frame = pd.DataFrame({"champion_pd": probability(champion), "champion_score": SCALE.points(champion)})
    frame = frame.assign(shadow_pd=probability(shadow), shadow_score=SCALE.points(shadow), arm=arm)
    frame["pd"] = frame["champion_pd"]
    return frame.assign(default=np.nan if default is None else np.asarray(default, dtype=float))


def book(rows: int, seed: int = 1, *, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds of the true risk and of a model that sees it through noise, and defaults."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-2.5, 1.0, rows)
    return truth, truth + rng.normal(0, noise, rows), rng.random(rows) < probability(truth)


# What they say of the same applications


def test_equal_models_agree_in_everything() -> None:
    truth, _, default = book(500)
    record = compare_scores(frame_of(truth, truth, default), 0.8)
    assert record["correlation"] == {"pearson": 1.0, "spearman": 1.0}
    assert record["psi"] == 0
    assert (record["swap"]["approved"], record["swap"]["in"], record["swap"]["out"]) == (400, 0, 0)
    assert record["mean_pd"]["champion"] == record["mean_pd"]["shadow"]
    assert record["matured"]["difference"]["difference"] == 0
    assert (record["matured"]["difference"]["ci_low"], record["matured"]["difference"]["ci_high"]) == (0, 0)


def test_a_reversed_model_agrees_in_nothing() -> None:
    truth, _, default = book(500)
    record = compare_scores(frame_of(truth, -5 - truth, default), 0.8)
    assert record["correlation"] == {"pearson": -1.0, "spearman": -1.0}
    # Each approves 400 of 500; the other's last 100 are its first.
    assert (record["swap"]["in"], record["swap"]["out"]) == (100, 100)
    assert record["swap"]["in_share"] == 0.2
    assert record["matured"]["difference"]["ci_high"] < 0
    rates = record["swap"]["bad_rate"]
    assert rates["in"]["value"] > rates["out"]["value"]
    assert rates["difference"]["low"] > 0


def test_numbers_are_those_of_the_definitions() -> None:
    truth, model, default = book(2_000)
    frame = frame_of(model, truth, default)
    frame.loc[1_500:, "default"] = np.nan
    record = compare_scores(frame, 0.7)
    assert record["rows"] == 2_000
    assert record["correlation"]["pearson"] == pytest.approx(np.corrcoef(model, truth)[0, 1], abs=1e-6)
    ranks = [pd.Series(one).rank() for one in (model, truth)]
    assert record["correlation"]["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-6)
    # A PSI by the formula, over deciles of 200 rows each.
    bins = pd.cut(truth, [-np.inf, *np.sort(model)[200:2_000:200], np.inf], right=False).value_counts() / 2_000
    assert record["psi"] == pytest.approx(((bins - 0.1) * np.log(bins / 0.1)).sum(), abs=1e-6)
    approved = [set(frame[score].nlargest(1_400).index) for score in ("champion_score", "shadow_score")]
    swapped = {"in": sorted(approved[1] - approved[0]), "out": sorted(approved[0] - approved[1])}
    for name, rows in swapped.items():
        assert record["swap"][name] == len(rows)
        assert record["swap"][f"{name}_share"] == pytest.approx(len(rows) / 2_000)
        known = frame.loc[rows, "default"].dropna()
        assert record["swap"]["bad_rate"][name]["value"] == pytest.approx(known.mean(), abs=1e-6)
        for side in ("champion", "shadow"):
            mean = frame.loc[rows, f"{side}_pd"].mean()
            assert record["swap"]["mean_pd"][name][side] == pytest.approx(mean, abs=1e-6)
    matured = frame[:1_500]
    assert (record["matured"]["rows"], record["matured"]["bads"]) == (1_500, int(matured["default"].sum()))
    difference = compare(matured["default"], matured["shadow_pd"], matured["champion_pd"])
    assert record["matured"]["difference"] == rounded(difference.to_record())
    assert record["matured"]["difference"]["difference"] > 0
    shadow = record["matured"]["shadow"]
    assert shadow["auc"] == pytest.approx(auc(matured["default"], matured["shadow_pd"]), abs=1e-6)
    calibration = record["calibration"]["shadow"]
    assert calibration["expected_rate"] == pytest.approx(matured["shadow_pd"].mean(), abs=1e-6)
    ratio = calibration["observed_over_expected"]
    assert ratio["value"] == pytest.approx(shadow["observed_over_expected"], abs=2e-6)
    assert ratio["low"] < 1 < ratio["high"]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.85, 0.99])
def test_both_models_approve_equally_many_and_ties_swap_nobody(rate: float) -> None:
    _, model, _ = book(301)
    coarse = np.round(model)
    record = compare_scores(frame_of(coarse, coarse * 2 - 1), rate)
    assert record["swap"]["approved"] == int(rate * 301 + 0.5)
    assert (record["swap"]["in"], record["swap"]["out"]) == (0, 0)
    # The same order in other numbers: ranks agree, points do not.
    assert record["correlation"]["spearman"] == 1
    assert record["psi"] > 0.25


def test_before_anything_has_matured_outcomes_are_not_judged() -> None:
    record = compare_scores(frame_of([-3, -2, -1], [-3, -1, -2]), 0.5)
    assert (record["matured"], record["calibration"], record["swap"]["bad_rate"]) == (None, None, None)


@pytest.mark.parametrize(
    ("default", "expected"), [([0, 0, 0], "all 3 rows are good"), ([1, 1, 1], "all 3 rows are bad")]
)
def test_one_class_alone_ranks_nothing_and_says_so(default: list[int], expected: str) -> None:
    record = compare_scores(frame_of([-3, -2, -1], [-3, -1, -2], default), 0.5)
    assert record["matured"]["difference"] is None
    assert record["matured"]["shadow"] is None
    assert expected in record["matured"]["why"]
    assert record["calibration"]["bad_rate"]["value"] == default[0]


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_tiny_samples_are_a_record_too(rows: int) -> None:
    frame = frame_of([-3.0, -2.0][:rows], [-2.0, -3.0][:rows])
    record = compare_scores(frame, 0.8)
    assert record["rows"] == rows
    assert record["correlation"]["spearman"] == (-1 if rows == 2 else None)
    assert (record["psi"] is None) == (rows == 0)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_model_that_says_the_same_of_everybody_has_no_correlation() -> None:
    assert compare_scores(frame_of([-3, -2, -1], [-2, -2, -2]), 0.5)["correlation"]["spearman"] is None


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_an_approval_rate_lies_between_0_and_1(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        compare_scores(frame_of([1], [1]), rate)


# The arms


def arms_of(champion: tuple[int, int], challenger: tuple[int, int], waiting: int = 0) -> pd.DataFrame:
    """Rows of both arms from (bads, matured), and `waiting` in each that have not matured."""
    frames = []
    for arm, (bads, rows) in (("champion", champion), ("challenger", challenger)):
        default = np.r_[np.arange(rows) < bads, np.full(waiting, np.nan)]
        frames.append(frame_of(np.linspace(-1, -4, len(default)), np.full(len(default), -3), default, arm))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(
    ("champion", "challenger", "enough", "expected"),
    [
        ((0, 0), (0, 0), False, "has matured: nothing can be said"),
        ((5, 100), (0, 0), False, "has matured: nothing can be said"),
        ((40, 800), (12, 200), False, "too small to say anything: 12 defaults in the challenger's arm and 40 in the"),
        ((60, 1_000), (0, 200), False, "too small to say anything: 0 defaults"),
        ((60, 1_000), (70, 1_000), True, "may be chance: +1.00%"),
        ((60, 1_000), (140, 1_000), True, "has the higher bad rate: +8.00%"),
        ((140, 1_000), (60, 1_000), True, "has the lower bad rate: -8.00%"),
    ],
)
def test_the_arms_say_what_they_can_show(
    champion: tuple[int, int], challenger: tuple[int, int], enough: bool, expected: str
) -> None:
    record = compare_arms(arms_of(champion, challenger, waiting=20), 50)
    assert record is not None
    assert record["enough"] == enough
    assert expected in record["why"]
    for arm, (bads, rows) in (("champion", champion), ("challenger", challenger)):
        assert (record[arm]["applications"], record[arm]["matured"], record[arm]["bads"]) == (rows + 20, rows, bads)
        assert record[arm]["bad_rate"] == recorded(proportion(bads, rows))
        assert (record[arm]["auc"] is None) == (bads == 0)
    assert record["difference"] == recorded(difference_of_proportions(*challenger, *champion))
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_an_arm_is_measured_by_the_model_that_decided() -> None:
    frame = arms_of((10, 100), (10, 100))
    # In the order of `arms_of` the riskiest by `pd` default first.
    record = compare_arms(frame, 5)
    assert record is not None
    assert record["champion"]["auc"]["value"] == record["challenger"]["auc"]["value"] == 1
    assert record["champion"]["mean_pd"] == pytest.approx(frame["pd"][:100].mean(), abs=1e-6)


def test_without_a_challenger_there_are_no_arms() -> None:
    assert compare_arms(frame_of([1, 2], [1, 2]), 50) is None
    assert compare_arms(frame_of([], []), 50) is None


# As evidence


def test_a_comparison_is_evidence_and_decides_again_from_its_record() -> None:
    truth, model, default = book(1_500)
    record = {"days": 40, **compare_scores(frame_of(model, truth, default), 0.8)}
    decision, reasons = decide_trial(policies.trial(), record)
    assert decision == "promote", reasons
    assert decide_trial(policies.trial(), json.loads(json.dumps(record))) == (decision, reasons)
    worse = {"days": 40, **compare_scores(frame_of(truth, model, default), 0.8)}
    decision, reasons = decide_trial(policies.trial(min_correlation=-1, max_psi=9), worse)
    assert (decision, reasons[-1].passed) == ("end", False)


# Customers


def test_a_doubled_trial_shows_no_more_than_the_trial() -> None:
    truth, noisy, default = book(2_000)
    frame, twice = frame_of(noisy, truth, default), np.tile(np.arange(2_000), 2)
    doubled = pd.concat([frame, frame], ignore_index=True)
    alone, rows, customers = (
        compare_scores(frame, 0.8),
        compare_scores(doubled, 0.8),
        compare_scores(doubled, 0.8, twice),
    )

    def width(record: dict[str, Any], *path: str) -> float:
        for name in path:
            record = record[name]
        low, high = ("ci_low", "ci_high") if "ci_low" in record else ("low", "high")
        return float(record[high] - record[low])

    for path in (
        ("matured", "difference"),
        ("calibration", "bad_rate"),
        ("calibration", "shadow", "observed_over_expected"),
        ("swap", "bad_rate", "in"),
        ("swap", "bad_rate", "difference"),
    ):
        assert width(customers, *path) == pytest.approx(width(alone, *path), rel=0.03), path
        assert width(rows, *path) == pytest.approx(width(alone, *path) / np.sqrt(2), rel=0.05), path
    assert customers["matured"]["difference"]["difference"] == rows["matured"]["difference"]["difference"]


def test_arms_of_customers_who_come_twice_are_half_as_large() -> None:
    truth, _, default = book(1_600)
    arm = np.where(np.arange(1_600) % 2 == 0, "champion", "challenger")
    frame = frame_of(truth, truth, default).assign(arm=arm)
    doubled, twice = pd.concat([frame, frame], ignore_index=True), np.tile(np.arange(1_600), 2)
    alone, customers = compare_arms(frame, 10), compare_arms(doubled, 10, twice)
    assert alone is not None
    assert customers is not None
    assert customers["smallest_detectable_difference"] == pytest.approx(
        alone["smallest_detectable_difference"], rel=0.02
    )
    for one in ("champion", "challenger"):
        for measure in ("bad_rate", "auc"):
            widths = [record[one][measure]["high"] - record[one][measure]["low"] for record in (customers, alone)]
            assert widths[0] == pytest.approx(widths[1], rel=0.03)
    assert customers["champion"]["matured"] == 2 * alone["champion"]["matured"]
