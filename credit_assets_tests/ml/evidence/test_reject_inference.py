"""Reject inference: measures under assumptions, against worked numbers, naive sums, and books whose truth is known."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.loans.lender_book import generate_lender_book
from credit_assets.ml.evidence.evaluation import evaluate
from credit_assets.ml.evidence.reject_inference import (
    APPROVED,
    FACTORS,
    METHODS,
    Assumed,
    Measures,
    _point,
    fuzzy_odds,
    sensitivity,
)
from credit_assets_tests.support.fuzz import fuzz
from credit_assets_tests.support.truth import expected_auc


def people(rows: int, seed: int = 1, factor: float = 1.0) -> tuple[Any, Any, Any, Any]:
    """PDs, targets, decisions and true PDs: calibrated on the booked, and of the declined `factor` times too low."""
    rng = np.random.default_rng(seed)
    pds = rng.beta(1.2, 12, rows)
    decided = np.where(rng.random(rows) < 3 * pds, "declined", np.where(rng.random(rows) < 0.2, "withdrawn", "booked"))
    truth = np.where(decided == "declined", np.minimum(1, factor * pds), pds)
    return pds, (rng.random(rows) < truth).astype(float), decided, truth


def test_on_the_booked_it_says_what_evaluation_says() -> None:
    pds, target, decided, _ = people(5_000)
    booked = decided == "booked"
    known, found = evaluate(target[booked], pds[booked]), sensitivity(pds, target, decided).booked
    assert (found.rows, found.bads) == (known.rows, known.bads)
    assert found.auc.value == pytest.approx(known.auc, abs=1e-12)
    assert (found.auc.low, found.auc.high) == (known.auc_ci_low, known.auc_ci_high)
    assert found.observed_over_expected.value == pytest.approx(known.observed_over_expected)
    assert found.ece == pytest.approx(known.ece, abs=0.002)
    # PDs are right, and so are the lines through them.
    assert found.intercept.low < 0 < found.intercept.high
    assert found.slope.low < 1 < found.slope.high


def test_of_those_without_an_outcome_the_target_is_not_looked_at() -> None:
    pds, target, decided, _ = people(3_000)
    blank = np.where(decided == "booked", target, np.nan)
    assert sensitivity(pds, target, decided) == sensitivity(pds, blank, decided)


def test_a_worked_example_of_each_method() -> None:
    """Two bands of 500: at a PD of .1 400 are booked and 40 bad, at .4 100 are booked and 40 bad."""
    pds = np.repeat([0.1, 0.4], 500)
    decided = np.array((["booked"] * 400 + ["declined"] * 100) + (["booked"] * 100 + ["declined"] * 400))
    target = np.zeros(1_000)
    target[:40] = target[500:540] = 1
    found = {
        (one.method, one.factor): one for one in sensitivity(pds, target, decided, factors=[1, 2, 3], bands=2).assumed
    }
    # Parcelling: rates .1 and .4 of the booked; at 3 times, .3 and all.
    assert found["parcelling", 1].declined_bad_rate == pytest.approx((100 * 0.1 + 400 * 0.4) / 500)
    assert found["parcelling", 2].declined_bad_rate == pytest.approx((100 * 0.2 + 400 * 0.8) / 500)
    assert found["parcelling", 3].declined_bad_rate == pytest.approx((100 * 0.3 + 400 * 1.0) / 500)
    whole = found["parcelling", 2].measures
    assert whole.bads == pytest.approx(40 + 20 + 40 + 320)
    assert whole.observed_over_expected.value == pytest.approx(420 / 250)
    # 360 bads above, 60 below; 440 goods below, 140 above; ties half.
    assert whole.auc.value == pytest.approx((360 * 440 + 0.5 * (360 * 140 + 60 * 440)) / (420 * 580))
    by_share = {one.share: one.bad_rate.value for one in whole.approvals}
    assert by_share[0.5] == pytest.approx(60 / 500)
    assert by_share[0.4] == pytest.approx(60 / 500)
    assert by_share[0.9] == pytest.approx((60 + 0.8 * 360) / 900)
    # Fuzzy: odds 1/9 and 2/3 of the PDs; twice as high, 2/9 and 4/3.
    assert found["fuzzy", 1].declined_bad_rate == pytest.approx((100 * 0.1 + 400 * 0.4) / 500)
    assert found["fuzzy", 2].declined_bad_rate == pytest.approx((100 * 2 / 11 + 400 * 4 / 7) / 500)


def test_who_withdrew_is_as_bad_as_the_booked_whatever_the_factor() -> None:
    pds, target, decided, _ = people(4_000)
    withdrawn = np.where(decided == "declined", "withdrawn", decided)
    found = sensitivity(pds, target, withdrawn)
    assert (found.declined, found.beyond) == (0, 0)
    for method in METHODS:
        of_method = [one for one in found.assumed if one.method == method]
        assert len({one.measures.bads for one in of_method}) == 1
        assert {one.declined_bad_rate for one in of_method} == {0}


def test_where_all_were_lent_to_nothing_is_assumed() -> None:
    pds, target, decided, _ = people(4_000)
    booked = decided == "booked"
    found = sensitivity(pds[booked], target[booked], decided[booked])
    for one in found.assumed:
        assert one.measures.auc.value == pytest.approx(found.booked.auc.value)
        assert one.measures.bads == found.booked.bads


@fuzz(60)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), st.floats(0, 1)), min_size=2, max_size=40))
def test_partial_outcomes_count_in_part(rows: list[tuple[float, float]]) -> None:
    """AUC, ratio and approvals against sums over single rows and pairs."""
    pds, bad = (np.array(column) for column in zip(*rows, strict=True))
    if bad.sum() < 1e-6 or (1 - bad).sum() < 1e-6:
        return
    found = _point(pds, bad)
    wins = sum(
        bad[i] * (1 - bad[j]) * (1.0 if pds[i] > pds[j] else 0.5 if pds[i] == pds[j] else 0.0)
        for i in range(len(bad))
        for j in range(len(bad))
    )
    assert found.auc[0] == pytest.approx(wins / (bad.sum() * (1 - bad).sum()))
    assert found.ratio[0] == pytest.approx(bad.sum() / max(pds.sum(), 1e-9))
    for share, rate in zip(APPROVED, found.approvals[0], strict=True):
        left, taken = share * len(bad), 0.0
        for value in np.unique(pds):
            here = bad[pds == value]
            part = min(len(here), left)
            taken, left = taken + part * here.mean(), left - part
        assert rate == pytest.approx(taken / (share * len(bad)), abs=1e-9)


def test_the_order_of_rows_does_not_matter() -> None:
    pds, target, decided, _ = people(3_000)
    other = np.random.default_rng(5).permutation(3_000)
    a, b = sensitivity(pds, target, decided), sensitivity(pds[other], target[other], decided[other])
    assert a.booked.auc == b.booked.auc
    for one, two in zip(a.assumed, b.assumed, strict=True):
        assert one.measures.auc.value == pytest.approx(two.measures.auc.value)
        assert one.measures.bads == pytest.approx(two.measures.bads)


def test_more_assumed_risk_is_more_risk() -> None:
    pds, target, decided, _ = people(6_000)
    found = sensitivity(pds, target, decided, factors=FACTORS)
    for method in METHODS:
        bads = [one.measures.bads for one in found.assumed if one.method == method]
        assert bads == sorted(bads)
        at_40 = [one.measures.approvals[3].bad_rate.value for one in found.assumed if one.method == method]
        assert at_40 == sorted(at_40)


def measured(found: tuple[Assumed, ...], method: str, factor: float) -> Measures:
    return next(one.measures for one in found if (one.method, one.factor) == (method, factor))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_where_the_assumption_is_true_the_intervals_hold_the_truth(factor: float) -> None:
    """40 books in which the declined are as bad as assumed: the true values lie in the intervals as often as they say.

    With an interval of 95% fewer than 33 of 40 lie in it in one of 1,000 cases.
    """
    inside = {"auc": 0, "ratio": 0, "rate": 0}
    for seed in range(40):
        pds, target, decided, truth = people(4_000, seed, factor)
        found = measured(sensitivity(pds, target, decided, factors=[factor]).assumed, "parcelling", factor)
        best = np.sort(pds, kind="stable")[int(0.4 * len(pds))]
        true = {
            "auc": (found.auc, expected_auc(truth, pds)),
            "ratio": (found.observed_over_expected, truth.sum() / pds.sum()),
            "rate": (found.approvals[3].bad_rate, truth[pds < best].mean()),
        }
        for name, (interval, value) in true.items():
            inside[name] += interval.low <= value <= interval.high
    # AUC by parcelling is a little too small: within a band the declined of less and of more risk count alike.
    assert inside["ratio"] >= 33
    assert inside["rate"] >= 33
    assert inside["auc"] >= 30


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"factors": []}, "every factor"),
        ({"factors": [1.0, 0.0]}, "every factor"),
        ({"factors": [float("nan")]}, "every factor"),
        ({"bands": 0}, "bands must be"),
        ({"decided": ["booked", "approved"] * 20}, "not approved"),
        ({"decided": ["declined"] * 40}, "no rows"),
        ({"target": [0.0] * 40}, "all 40 rows are good"),
        ({"target": [0.0, 1.0, np.nan, 0.0] * 10}, "0 .good. or 1"),
        ({"pd": [0.1, 1.2] * 20}, "20 PDs"),
        ({"pd": [0.1]}, "equal length"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong: dict[str, Any], said: str) -> None:
    sound: dict[str, Any] = {"pd": [0.1, 0.2] * 20, "target": [0.0, 1.0] * 20, "decided": ["booked"] * 40}
    with pytest.raises(ValueError, match=said):
        sensitivity(**{**sound, **wrong})


def test_few_booked_are_one_band() -> None:
    found = sensitivity([0.1, 0.2] * 20, [0.0, 1.0] * 20, ["booked", "declined"] * 10 + ["booked"] * 20, bands=10)
    assert found.bands == 1


@pytest.fixture(scope="module")
def of_a_lender() -> tuple[pd.DataFrame, Any]:
    """Applications of a lender's book that its model did not see, with the model's PDs; and what is made of them."""
    import lightgbm as lgb

    book = generate_lender_book(60_000, date(2022, 1, 1), date(2023, 12, 31), 3, known_until=date(2025, 6, 30))
    rows = book.truth.to_pandas(date_as_object=False)
    columns = book.applications.to_pandas().select_dtypes("number").drop(columns="interest_rate")
    rows["bad"] = (rows["outcome"] == "bad").astype(float)
    kinds = {"booked": "booked", "declined": "declined", "withdrawn": "withdrawn", "offer_expired": "withdrawn"}
    rows["decided"] = rows["status"].map(kinds)
    new = (rows["application_date"] >= "2023-06-01").to_numpy()
    lent = (rows["decided"] == "booked").to_numpy() & rows["outcome"].isin(["good", "bad"]).to_numpy()
    parameters = {"objective": "binary", "num_leaves": 6, "min_child_samples": 150, "seed": 1, "verbose": -1}
    model = lgb.train(
        {**parameters, "learning_rate": 0.08, "num_threads": 1},
        lgb.Dataset(columns[lent & ~new], rows["bad"][lent & ~new]),
        50,
    )
    rows["score"] = model.predict(columns, num_threads=1)
    kept = rows[new & rows["decided"].notna() & ((rows["decided"] != "booked") | lent)].reset_index(drop=True)
    return kept, sensitivity(kept["score"], kept["bad"], kept["decided"])


@pytest.mark.slow
def test_against_the_truth_of_a_lenders_book(of_a_lender: tuple[pd.DataFrame, Any]) -> None:
    """The declined of this book are about three times as bad as the booked of their score, which it cannot tell.
    What is asked of the table: that the truth lies within what it spans, and that the booked alone do not tell it.
    """
    rows, found = of_a_lender
    true = expected_auc(rows["pd"], rows["score"])
    ratio = rows["pd"].sum() / rows["score"].sum()
    approved = rows["score"] <= rows["score"].quantile(0.4)
    rate = rows.loc[approved, "pd"].mean()
    spans = {
        "auc": [one.measures.auc for one in found.assumed],
        "ratio": [one.measures.observed_over_expected for one in found.assumed],
        "rate": [one.measures.approvals[3].bad_rate for one in found.assumed],
    }
    for name, value in {"auc": true, "ratio": ratio, "rate": rate}.items():
        assert min(one.low for one in spans[name]) <= value <= max(one.high for one in spans[name]), name
    # On the booked the model is right about them, and wrong about everyone.
    booked = rows[rows["decided"] == "booked"]
    assert found.booked.auc.low <= expected_auc(booked["pd"], booked["score"]) <= found.booked.auc.high
    assert found.booked.observed_over_expected.high < ratio
    assert found.booked.approvals[3].bad_rate.high < rate
    # k = 1 is refuted by the truth, in both methods; it looks best.
    for method in METHODS:
        one = measured(found.assumed, method, 1.0)
        assert one.observed_over_expected.high < ratio
    declined = rows[rows["decided"] == "declined"]["pd"].mean()
    nearest = min(found.assumed, key=lambda one: abs(one.declined_bad_rate - declined))
    assert nearest.factor >= 2


def test_odds() -> None:
    assert fuzzy_odds(np.array([0.0, 0.2, 0.5, 1.0]), 2.0) == pytest.approx([0, 1 / 3, 2 / 3, 1])
