"""A model takes over where the newest days look to it like its test; what stands against it is named with figures."""

from __future__ import annotations

from typing import Any

import pytest

from credit_assets.ml.data.policies import FirstDaysPolicy
from credit_assets.ml.rules.first_days import decide_first_days
from credit_assets_tests.support.policies import first_days

POLICY = first_days()


def feature(name: str = "income", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "psi": 0.3,
        "missing_share": 0.0,
        "missing_reference": 0.0,
        "out_of_range_share": 0.0,
        "new_level_share": None,
        "unread": 0.0,
        "scale": 1.0,
        "used": True,
        "auc_as_now": 0.70,
        "auc_loss": 0.0,
        "auc_loss_low": -0.01,
        "pd_odds_ratio": 1.0,
        **changes,
    }


def evidence(*features: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "days": {"then": ["2024-01-01", "2024-01-31"], "now": ["2025-01-25", "2025-01-31"]},
        "rows": {"test": 900, "then": 900, "now": 600},
        "mean_pd": {"then": 0.05, "now": 0.05},
        "pd_odds_ratio": {"value": 1.0, "ci_low": 0.9, "ci_high": 1.1},
        "score": {"psi": 0.01},
        "auc": 0.70,
        "together": {"auc_as_now": 0.70, "auc_loss": 0.0, "auc_loss_low": -0.01, "pd_odds_ratio": 1.0, "used": True},
        "compared": 20,
        "features": list(features),
        **changes,
    }


def against(found: dict[str, Any] | None, policy: FirstDaysPolicy = POLICY) -> list[str]:
    return [reason.text for reason in decide_first_days(found, policy) if not reason.passed]


def test_days_that_look_alike_stand_against_nothing() -> None:
    reasons = decide_first_days(evidence(), POLICY)
    assert [reason.rule for reason in reasons] == [
        "first_days mean_pd",
        "first_days scores",
        "first_days features",
    ]
    assert all(reason.passed for reason in reasons)
    assert "of 20 features none" in reasons[2].text
    assert "600 applications of the newest days (2025-01-25 .. 2025-01-31)" in reasons[0].text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"unread": 0.96, "missing_share": 0.98, "missing_reference": 0.02},
            "missing in 98% of the newest rows, 2% of",
        ),
        ({"unread": 0.8, "new_level_share": 0.8}, "80% of the newest values in levels that the test's days had not"),
        ({"scale": 0.001}, "values 0.001 times the size of the test's days"),
        ({"scale": 12.0}, "values 12 times the size of the test's days"),
        ({"auc_loss": 0.04, "auc_loss_low": 0.01, "auc_as_now": 0.66}, "AUC of the test 0.6600 where it looks as"),
        ({"pd_odds_ratio": 1.8}, "makes the odds of default 1.80 times"),
        ({"pd_odds_ratio": 0.5}, "makes the odds of default 0.50 times"),
    ],
)
def test_a_feature_that_behaves_otherwise_is_named_with_what_it_does(changes: dict[str, Any], said: str) -> None:
    (text,) = against(evidence(feature("rate", psi=0.2), feature("balance", **changes)))
    assert "behave otherwise in scoring than in training: balance (" in text
    assert said in text
    assert "PSI 0.30" in text
    assert "rate" not in text.split("; suspect")[0].replace("otherwise", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"psi": 5.0},
        {"auc_loss": 0.04, "auc_loss_low": -0.001},
        {"auc_loss": 0.02, "auc_loss_low": 0.01},
        {"unread": 0.49, "missing_share": 0.49},
        {"unread": 1.0, "missing_share": 1.0, "used": False},
        {"scale": 2.5, "out_of_range_share": 1.0},
        {"scale": None},
    ],
)
def test_what_drifts_or_is_not_used_is_let_pass(changes: dict[str, Any]) -> None:
    assert against(evidence(feature(**changes))) == []


def test_features_that_stand_in_for_one_another_are_found_together() -> None:
    both = {"auc_as_now": 0.62, "auc_loss": 0.08, "auc_loss_low": 0.03, "pd_odds_ratio": 0.9, "used": True}
    found = evidence(feature("paid", pd_odds_ratio=0.8), feature("owed", pd_odds_ratio=0.9), together=both)
    (text,) = against(found)
    assert "AUC 0.7000 of the test is 0.6200" in text
    assert text.index("paid (odds 0.80 times") < text.index("owed (odds 0.90 times")


def test_the_mean_pd_and_the_scores_have_limits_of_their_own() -> None:
    ratio = {"value": 0.5, "ci_low": 0.45, "ci_high": 0.55}
    found = evidence(feature("paid", pd_odds_ratio=0.7), pd_odds_ratio=ratio, mean_pd={"then": 0.05, "now": 0.026})
    (text,) = against(found)
    assert "mean PD 2.60%" in text
    assert "odds 0.50 times" in text
    assert "paid (odds 0.70 times" in text
    # The interval reaches the limit: it may be chance.
    assert against(evidence(pd_odds_ratio={"value": 1.7, "ci_low": 1.4, "ci_high": 2.0})) == []
    (text,) = against(evidence(score={"psi": 0.9}))
    assert "PSI of the scores 0.900" in text
    assert "no single feature differs beyond chance" in text


def test_limits_are_those_of_the_policy() -> None:
    wide = first_days(max_pd_ratio=5.0, max_psi=2.0, max_auc_loss=0.4)
    found = evidence(
        feature(auc_loss=0.2, auc_loss_low=0.1, pd_odds_ratio=3.0),
        pd_odds_ratio={"value": 3.0, "ci_low": 2.9, "ci_high": 3.1},
        score={"psi": 1.5},
    )
    assert len(against(found)) == 3
    assert against(found, wide) == []
    for bad in ({"max_pd_ratio": 1.0}, {"max_psi": 0.0}, {"max_auc_loss": 0.5}):
        with pytest.raises(ValueError, match=rf"first_days.{next(iter(bad))}"):
            first_days(**bad)


def test_what_cannot_be_told_stands_against_it() -> None:
    (text,) = against(None)
    assert "nothing is recorded" in text
    (text,) = against({"why": "12 applications"})
    assert text.endswith("12 applications")
