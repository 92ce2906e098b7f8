"""Drift: the reference of a model, the measures against it, and what they say of the real loans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.evidence.drift import (
    FeatureDrift,
    measure_drift,
)
from credit_assets.ml.evidence.drift_reference import DriftReference
from credit_assets_tests.support import policies
from credit_assets_tests.support.drifting import CATEGORIES, NUMBERS, book, points, reference
from credit_assets_tests.support.synthetic import model_inputs

POLICY = policies.drift()


@pytest.fixture(scope="module", name="reference")
def _reference() -> DriftReference:
    return reference()


def found(reference: DriftReference, frame: pd.DataFrame, score: Any = None, **policy: Any) -> dict[str, FeatureDrift]:
    findings = measure_drift(reference, frame, score, policies.drift(**policy))
    return {one.name: one for one in findings.features}


# Findings


def test_the_training_rows_themselves_have_not_shifted(reference: DriftReference) -> None:
    findings = measure_drift(reference, book(3000, 1), points(1300, 1), POLICY)
    assert findings.verdict == "stable"
    assert [one.psi for one in findings.features] == pytest.approx([0] * 6)
    assert {one.statistic for one in findings.features} == {0.0}
    assert [one.kind for one in findings.features] == ["numeric"] * 4 + ["category", "score"]


@pytest.mark.parametrize(
    ("shift", "name", "verdict"),
    [
        ({"income": 0.1}, "income", "stable"),
        ({"income": 0.18}, "income", "watch"),
        ({"income": 0.5}, "income", "shifted"),
        ({"count": 0.7}, "count", "shifted"),
        ({"missing": 0.30}, "income", "shifted"),
        ({"missing": 0.10}, "income", "watch"),
        ({"new": 0.10}, "purpose", "shifted"),
        ({"new": 0.03}, "purpose", "watch"),
        ({"term": 0.20}, "term", "shifted"),
        ({"term": 0.002}, "term", "stable"),
    ],
)
def test_a_shift_is_seen_where_it_is(
    shift: dict[str, float], name: str, verdict: str, reference: DriftReference
) -> None:
    findings = measure_drift(reference, book(2000, 2, **shift), points(2000, 2), POLICY)
    verdicts = {one.name: one.verdict for one in findings.features}
    assert verdicts == {**dict.fromkeys(verdicts, "stable"), name: verdict}
    assert findings.verdict == verdict
    if verdict != "stable":
        assert f"{verdict}: {name} (" in findings.why


def test_a_shifted_score_is_a_shift(reference: DriftReference) -> None:
    findings = measure_drift(reference, book(800, 2), points(800, 2, shift=-15), POLICY)
    assert findings.names("shifted") == ["score"]
    assert findings.verdict == "shifted"


def test_missing_new_and_outside_are_counted_and_named(reference: DriftReference) -> None:
    frame = book(2000, 2, missing=0.3, new=0.1, term=0.2)
    one = found(reference, frame)
    assert one["income"].missing_share == pytest.approx(frame["income"].isna().mean())
    assert one["income"].missing_reference == pytest.approx(0.05, abs=0.01)
    assert one["income"].missing_p_value is not None
    assert one["income"].missing_p_value < 1e-20
    # The values that are there have the distribution they had.
    assert one["income"].p_value is not None
    assert one["income"].p_value > 0.01
    assert "missing 3" in one["income"].why
    assert one["purpose"].new_levels == ("space travel",)
    assert one["purpose"].new_level_share == pytest.approx((frame["purpose"] == "space travel").mean())
    assert "in new levels" in one["purpose"].why
    assert one["term"].out_of_range_share == pytest.approx((frame["term"] == 60).mean())
    assert "out of the training range" in one["term"].why
    assert one["rate"].new_levels == ()
    assert (one["rate"].rows, one["rate"].reference_rows) == (2000, 3000)


def test_a_new_level_is_named_where_many_rows_have_it_and_counted_where_few_do(reference: DriftReference) -> None:
    """What one applicant wrote is nobody else's business."""
    frame = book(2000, 2)
    frame.loc[:8, "purpose"] = "CANARY few"
    frame.loc[20:29, "purpose"] = "many"
    one = found(reference, frame)["purpose"]
    assert one.new_levels == ("many",)
    assert one.new_level_share == pytest.approx(19 / 2000)


def test_values_below_the_range_count_as_those_above(reference: DriftReference) -> None:
    frame = book(2000, 2)
    frame.loc[:199, "rate"] = -50.0
    one = found(reference, frame)["rate"]
    assert one.out_of_range_share == pytest.approx(0.1, abs=0.002)
    assert one.verdict == "shifted"


@pytest.mark.parametrize("values", [np.nan, None])
def test_a_feature_that_is_all_missing(values: Any, reference: DriftReference) -> None:
    one = found(reference, book(1000, 2).assign(income=values, purpose=None))
    for name in ("income", "purpose"):
        assert one[name].verdict == "shifted"
        assert (one[name].missing_share, one[name].p_value, one[name].statistic) == (1.0, None, None)


def test_a_feature_that_training_never_had() -> None:
    never = DriftReference.of(
        book(1000, 1).assign(income=np.nan, purpose=None), ("income", "purpose"), ("purpose",), [1]
    )
    assert {one.verdict for one in found(never, book(1000, 2).assign(income=np.nan, purpose=None)).values()} == {
        "stable",
        "unknown",
    }
    one = found(never, book(1000, 2))
    assert (one["income"].verdict, one["income"].out_of_range_share) == ("shifted", 1.0)
    assert (one["purpose"].verdict, one["purpose"].new_level_share) == ("shifted", 1.0)


def test_too_few_rows_are_unknown_with_their_measures(reference: DriftReference) -> None:
    findings = measure_drift(reference, book(60, 2, term=1.0), points(60, 2), POLICY)
    assert findings.verdict == "unknown"
    assert findings.why == "60 rows, fewer than 500"
    assert {one.verdict for one in findings.features} == {"unknown"}
    assert all(one.psi is not None for one in findings.features)
    empty = measure_drift(reference, book(0, 2), None, POLICY)
    assert {(one.psi, one.missing_share, one.verdict) for one in empty.features} == {(None, None, "unknown")}


def test_too_few_scores_leave_the_features_their_verdict(reference: DriftReference) -> None:
    findings = measure_drift(reference, book(2000, 2, term=0.2), points(100, 2, -100), POLICY)
    assert findings.verdict == "shifted"
    assert findings.names("unknown") == ["score"]
    assert findings.features[-1].why == "100 scores of the champion, fewer than 500"


def test_the_order_of_rows_does_not_matter(reference: DriftReference) -> None:
    frame, score = book(900, 2, missing=0.1, new=0.05), points(900, 2)
    order = np.random.default_rng(0).permutation(900)
    mixed = measure_drift(reference, frame.iloc[order], score[order], POLICY)
    assert mixed == measure_drift(reference, frame, score, POLICY)
    again = DriftReference.of(
        book(3000, 1).sample(frac=1, random_state=1), (*NUMBERS, *CATEGORIES), CATEGORIES, points(1300, 1)[::-1]
    )
    assert again == reference


def test_a_record_is_json_with_rounded_numbers(reference: DriftReference) -> None:
    record = measure_drift(reference, book(2000, 2, new=0.1), None, POLICY).to_record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["shifted"] == ["purpose"]
    assert (record["rows"], record["score_rows"]) == (2000, 0)
    purpose = record["features"][4]
    assert purpose["new_levels"] == ["space travel"]
    assert purpose["psi"] == round(purpose["psi"], 6)
    assert set(purpose) == {
        "name", "kind", "psi", "psi_by_chance", "test", "statistic", "p_value", "bin_p_value", "rows",
        "reference_rows", "missing_share", "missing_reference", "missing_p_value", "out_of_range_share", "new_levels",
        "new_level_share",
        "outside_p_value", "verdict", "why",
    }  # fmt: skip


@pytest.mark.parametrize(
    "bad", [{"watch": 0.3}, {"watch": 0}, {"alpha": 0}, {"alpha": 1}, {"min_rows": 0}, {"shifted": float("inf")}]
)
def test_a_policy_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="drift policy"):
        policies.drift(**bad)


def test_a_frame_without_a_feature_is_refused(reference: DriftReference) -> None:
    with pytest.raises(ValueError, match="lacks the features rate, purpose"):
        measure_drift(reference, book(10, 1).drop(columns=["rate", "purpose"]), None, POLICY)


# How often it is wrong


def test_without_a_shift_hardly_any_report_alarms_where_psi_alone_would() -> None:
    """300 books of 60 to 600 rows from the distribution of training: a false verdict in at most 1 of 100."""
    trained = DriftReference.of(book(1500, 1), (*NUMBERS, *CATEGORIES), CATEGORIES, points(600, 1))
    alarms, large = 0, 0
    for seed in range(300):
        rows = (60, 200, 600)[seed % 3]
        findings = measure_drift(trained, book(rows, seed + 100), points(rows, seed), policies.drift(min_rows=50))
        alarms += findings.verdict != "stable"
        # Chance alone: what is taken off, put back.
        large += any((one.psi or 0) + (one.psi_by_chance or 0) >= POLICY.watch for one in findings.features)
    assert large > 50
    # Expected below 3; 9 or more would come by chance once in 200 such tests.
    assert alarms < 9


def test_a_category_of_many_levels_does_not_alarm_by_itself() -> None:
    """46% to 100% of such books alarmed: a reference has no row in a level that it lacks, newer rows have."""
    alarms = 0
    for levels, trained, rows in ((300, 5000, 500), (300, 300, 3000), (3000, 20_000, 500), (3000, 1000, 3000)):
        draws = zipcodes(levels)
        new = 0.0
        for seed in range(25):
            rng = np.random.default_rng([seed, levels])
            kept = DriftReference.of(draws(rng, trained), ["zip"], ["zip"], points(600, seed))
            newer = draws(rng, rows)
            findings = measure_drift(kept, newer, points(rows, seed), POLICY)
            new += findings.features[0].new_level_share or 0
            alarms += findings.verdict != "stable"
        assert new > 0
    # At most 1 of the 100 is promised; 5 or more would come by chance once in 300 such tests.
    assert alarms < 5


def zipcodes(levels: int) -> Any:
    """Draws a column of levels with shares like 1 / rank."""
    names = np.array([f"z{number:05d}" for number in range(levels)], dtype=object)
    shares = 1 / np.arange(1, levels + 1)
    return lambda rng, rows: pd.DataFrame({"zip": rng.choice(names, rows, p=shares / shares.sum())})


def instead(share: float, draw: Any) -> Any:
    """Puts what `draw` gives into this share of the rows."""
    return lambda rng, zips: np.where(rng.random(len(zips)) < share, draw(rng, len(zips)), zips)


@pytest.mark.parametrize(
    ("levels", "spoil", "least"),
    [
        (300, instead(0.03, lambda rng, rows: "NEW"), "watch"),
        (300, instead(0.10, lambda rng, rows: "NEW"), "shifted"),
        (3000, instead(0.10, lambda rng, rows: "NEW"), "shifted"),
        (300, instead(0.10, lambda rng, rows: rng.random(rows).astype(str)), "shifted"),
        # The rarest level, from 0.05% on.
        (300, instead(0.04, lambda rng, rows: "z00299"), "watch"),
        (3000, lambda rng, zips: rng.permutation([f"z{n:05d}" for n in range(3000)])[: len(zips)], "shifted"),
    ],
)
def test_a_shift_of_a_category_of_many_levels_is_found(levels: int, spoil: Any, least: str) -> None:
    draws, rng = zipcodes(levels), np.random.default_rng(7)
    kept = DriftReference.of(draws(rng, 10_000), ["zip"], ["zip"], points(600, 1))
    newer = draws(rng, 2000)
    one = found(kept, newer.assign(zip=spoil(rng, newer["zip"].to_numpy())))["zip"]
    assert one.verdict in {"watch": ("watch", "shifted"), "shifted": ("shifted",)}[least]


def choice(values: dict[float, float]) -> Any:
    """Draws a column of these values with their shares."""
    return lambda rng, rows: rng.choice(np.array(list(values), dtype=float), rows, p=list(values.values()))


def flags(share: float) -> Any:
    return choice({0: 1 - share, 1: share})


def poisson(mean: float) -> Any:
    return lambda rng, rows: rng.poisson(mean, rows)


def pareto(scale: float) -> Any:
    return lambda rng, rows: scale * rng.pareto(1.1, rows)


@pytest.mark.parametrize(
    ("before", "after", "least"),
    [
        # A 0/1 column from 0.1% to 5% was called stable: Kolmogorov-Smirnov loses nearly all its power to ties.
        (flags(0.001), flags(0.05), "watch"),
        (flags(0.001), flags(0.10), "shifted"),
        (poisson(0.05), poisson(0.2), "watch"),
        # A value that training never had, between two that it has: no bin and no step of the distribution showed it.
        (choice({36: 0.7, 60: 0.3}), choice({36: 0.7, 48: 0.3}), "shifted"),
        (choice({36: 0.7, 60: 0.3}), choice({36: 0.7, 48: 0.04, 60: 0.26}), "watch"),
        (pareto(1), pareto(2), "watch"),
        (choice({np.nan: 0.99, 1: 0.01}), choice({np.nan: 0.9, 1: 0.1}), "watch"),
        (choice({1: 1.0}), choice({2: 1.0}), "shifted"),
    ],
)
@pytest.mark.parametrize("rows", [1000, 5000])
def test_a_shift_of_a_column_with_ties_is_found(before: Any, after: Any, least: str, rows: int) -> None:
    rng = np.random.default_rng(11)
    kept = DriftReference.of(pd.DataFrame({"x": before(rng, 5000).astype(float)}), ["x"], [], points(600, 1))
    one = found(kept, pd.DataFrame({"x": after(rng, rows).astype(float)}))["x"]
    assert one.verdict in {"watch": ("watch", "shifted"), "shifted": ("shifted",)}[least]
    calm = found(kept, pd.DataFrame({"x": before(rng, rows).astype(float)}))["x"]
    assert calm.verdict == "stable"


def test_a_shift_of_half_a_standard_deviation_is_found_in_500_rows() -> None:
    trained = DriftReference.of(book(3000, 1), (*NUMBERS, *CATEGORIES), CATEGORIES, points(600, 1))
    verdicts = [measure_drift(trained, book(500, seed, income=0.3), None, POLICY) for seed in range(100, 150)]
    assert sum("income" in one.names("shifted") for one in verdicts) >= 45


def test_many_rows_without_a_shift_are_stable(reference: DriftReference) -> None:
    """Significant they may be: with so many rows everything is."""
    frame, score = book(300_000, 2), points(300_000, 2)
    assert measure_drift(reference, frame, score, POLICY).verdict == "stable"


# The real loans


@pytest.fixture(scope="module")
def real_quarters(real_loans_dir: Path) -> dict[str, dict[str, FeatureDrift]]:
    """Each quarter of 2009 .. 2011 against the loans up to the end of 2008."""
    from credit_assets.loans.lending_club import read_lending_club

    portfolio = load_portfolio()
    loans = read_lending_club(real_loans_dir / "lending_club_2007_2011.parquet").applications
    frame = model_inputs(loans.to_pandas(date_as_object=False), portfolio)
    day = frame[portfolio.date_column]
    before = day < "2009-01-01"
    # No model is needed to see what happened to the applications.
    trained = DriftReference.of(frame[before], portfolio.feature_names, portfolio.categorical_features, [0.0])
    quarters = {str(quarter): rows for quarter, rows in frame[~before].groupby(day.dt.to_period("Q"))}
    quarters["2011"] = frame[day >= "2011-01-01"]
    return {name: found(trained, rows) for name, rows in quarters.items()}


# The first quarter of each verdict; a shifted feature was watched from that quarter on unless said.
FIRST_SHIFTED = {
    "interest_rate": "2009Q1",
    "term_months": "2010Q2",
    "employment_years": "2010Q2",
    "purpose": "2010Q4",
    "inquiries_6m": "2011Q1",
    "loan_amount": "2011Q1",
}


@pytest.mark.real_loans
def test_which_features_of_the_real_loans_shift_and_when(
    real_quarters: dict[str, dict[str, FeatureDrift]],
) -> None:
    first: dict[str, dict[str, str]] = {"watch": {}, "shifted": {}}
    for quarter, features in real_quarters.items():
        for name, one in features.items():
            if quarter != "2011" and one.verdict in first:
                first[one.verdict].setdefault(name, quarter)
    assert first["shifted"] == FIRST_SHIFTED
    # Watched before they shift: the warning comes two years ahead.
    assert first["watch"]["inquiries_6m"] == "2009Q2"
    assert first["watch"]["loan_amount"] == "2009Q1"


@pytest.mark.real_loans
def test_the_two_headline_ratios_of_the_real_loans_never_shift(
    real_quarters: dict[str, dict[str, FeatureDrift]],
) -> None:
    for name in ("debt_to_income", "credit_utilization"):
        sizes = {quarter: features[name].psi for quarter, features in real_quarters.items()}
        assert {features[name].verdict for features in real_quarters.values()} <= {"stable", "watch"}
        assert max(sizes.values()) == sizes["2011Q4"]
        # Utilisation jumps from .479 to .550 then: a PSI just below the line, and the features made of it above.
        assert 0.09 < sizes["2011Q4"] < 0.11
        assert max(size for quarter, size in sizes.items() if quarter != "2011Q4") < 0.07
    assert real_quarters["2011Q4"]["credit_used"].verdict == "watch"


@pytest.mark.real_loans
def test_the_shift_of_the_real_loans_by_2011(real_quarters: dict[str, dict[str, FeatureDrift]]) -> None:
    features = real_quarters["2011"]
    sizes = {name: one.psi for name, one in features.items()}
    assert sizes["inquiries_6m"] == pytest.approx(0.65, abs=0.02)
    assert sizes["interest_rate"] == pytest.approx(0.79, abs=0.02)
    assert sizes["loan_amount"] == pytest.approx(0.66, abs=0.02)
    assert sizes["debt_to_income"] == pytest.approx(0.064, abs=0.005)
    assert sizes["credit_utilization"] == pytest.approx(0.033, abs=0.005)
    # 60-month loans did not exist, nor did loans above 25,000.
    assert features["term_months"].out_of_range_share == pytest.approx(0.351, abs=0.002)
    assert features["loan_amount"].out_of_range_share == pytest.approx(0.075, abs=0.002)
