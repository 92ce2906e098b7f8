"""Comparison with the champion, the first of a chain and a plain scorecard: every rule, and how often each errs where
the truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from credit_assets.ml.data.policies import ComparisonPolicy
from credit_assets.ml.evidence.evaluation import compare, evaluate
from credit_assets.ml.rules.comparison_rules import (
    days_to_spend,
    judge_comparison,
    judge_first_champion,
    margin_of,
)
from credit_assets.ml.rules.decisions import Reason
from credit_assets_tests.support.policies import COMPARISON, changed

POLICY = ComparisonPolicy()
CORRELATION = 0.9
"""Of the scores of two models a quarter apart, or of two learners of one day, on the public LendingClub loans."""


def policy(**keys: Any) -> ComparisonPolicy:
    return changed("comparison", **keys).comparison


def beside(difference: float, error: float, bads: int = 400, auc: float = 0.7, **more: Any) -> dict[str, Any]:
    return {
        "version": "3",
        "comparable": True,
        "evaluation": {"auc": auc},
        "difference": {"difference": difference, "standard_error": error, "rows": 10 * bads, "bads": bads},
        **more,
    }


def ahead(difference: float | None) -> dict[str, Any] | None:
    """The difference on the validation rows, by a standard error of 0.01."""
    if difference is None:
        return None
    return {"difference": difference, "standard_error": 0.01, "rows": 3_000, "bads": 300}


def evidence(champion: Any, mode: str = "improvement", **found: Any) -> dict[str, Any]:
    return {"champion": champion, "mode": mode, "comparison": {**COMPARISON, **found}}


def failed(reasons: tuple[Reason, ...]) -> list[str]:
    return [reason.rule for reason in reasons if not reason.passed]


# Better


@pytest.mark.parametrize(
    ("difference", "error", "days", "against_it"),
    [
        (0.02, 0.006, 365, []),
        (0.02, 0.006, 30, []),
        # 2.7 standard errors above, where 30 days ask for 2.65 and one day for 3.67.
        (0.016, 0.006, 30, []),
        (0.016, 0.006, 1, ["shown_better"]),
        (0.0045, 0.001, 365, ["improvement"]),
        (0.006, 0.006, 365, ["shown_better"]),
        (-0.02, 0.006, 365, ["improvement", "shown_better"]),
        (0.006, 0.0, 1, []),
    ],
)
def test_an_improvement_is_shown_at_a_level_that_is_spent(
    difference: float, error: float, days: int, against_it: list[str]
) -> None:
    assert failed(judge_comparison(evidence(beside(difference, error), days=days), POLICY)) == against_it


def test_a_year_of_comparisons_spends_one_level_whatever_the_schedule() -> None:
    from credit_assets.ml.rules.levels import spent_level

    for days in (1, 7, 30, 365):
        assert sum(spent_level(0.05, days) for _ in range(365 // days)) == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize(
    ("lead", "spent", "said"),
    [
        (0.016, 30.0, "30 of 120 days saved, for a model 1.6 standard errors ahead on the validation rows,"),
        (None, 30.0, "30 of 120 days saved, for a model without validation rows that the champion has not seen,"),
    ],
)
def test_every_decision_says_what_it_spends_and_what_its_rows_could_show(
    lead: float | None, spent: float, said: str
) -> None:
    for difference in (0.02, 0.001):
        champion = beside(difference, 0.006, validation=ahead(lead))
        text = judge_comparison(evidence(champion, days=spent, saved=120.0, previous="2024-02-29"), POLICY)[-1].text
        assert f"(level 0.0041: {said} of 0.05 a year, CREDIT_PROMOTION_ALPHA)" in text
        assert text.endswith("these rows could show 0.021")


def test_a_decision_of_before_the_validation_rows_decided_says_what_it_said() -> None:
    found = evidence(beside(0.001, 0.006), days=30, previous="2024-02-29")
    text = judge_comparison(found, POLICY)[-1].text
    assert "30 days since the comparison as of 2024-02-29 of 0.05 a year, CREDIT_PROMOTION_ALPHA" in text


@pytest.mark.parametrize(
    ("lead", "share"), [(0.02, 1.0), (0.0199, 0.25), (0.01, 0.25), (0.0, 0.03), (-0.001, 0.0), (None, 0.03)]
)
def test_what_a_comparison_spends_follows_from_the_validation_rows(lead: float | None, share: float) -> None:
    # The test has no part in it.
    for difference in (-0.05, 0.05):
        found = evidence(beside(difference, 0.006, validation=ahead(lead)))
        assert days_to_spend(found, 120, POLICY) == pytest.approx(120 * share)
    assert days_to_spend(evidence(beside(0.05, 0.006, bads=49, validation=ahead(lead))), 120, POLICY) == 0


@pytest.mark.parametrize(("difference", "share"), [(0.01, 1.0), (0.0, 0.03), (-0.01, 0.0)])
def test_validation_rows_that_leave_nothing_to_chance_decide_too(difference: float, share: float) -> None:
    alike = {"difference": difference, "standard_error": 0.0, "rows": 40, "bads": 20}
    assert days_to_spend(evidence(beside(0.0, 0.006, validation=alike)), 1.0, POLICY) == share


@pytest.mark.parametrize(("saved", "days"), [(365, 182.5), (182.5, 182.5), (30, 30), (0, 0)])
def test_a_first_model_spends_the_level_that_it_is_held_to(saved: float, days: float) -> None:
    """A year's level is twice that of a first model, so that a second attempt has the same."""
    assert days_to_spend(evidence(None), saved, POLICY) == pytest.approx(days)
    assert days_to_spend(evidence(None), saved, policy(first_level=0.2)) == saved


@pytest.mark.parametrize("error", [0.006, 0.0])
def test_a_model_that_is_behind_on_the_validation_rows_saves_the_level(error: float) -> None:
    champion = beside(0.03, error, validation=ahead(-0.004))
    reason = judge_comparison(evidence(champion, days=0.0, saved=120.0), POLICY)[-1]
    assert (reason.rule, reason.passed) == ("shown_better", False)
    said = (
        "the model is 0.4 standard errors behind on the validation rows, so that none of the 120 days saved of 0.05 a"
    )
    assert said in reason.text
    assert not failed(judge_comparison(evidence(champion, days=0.0, saved=120.0), policy(rule="point")))


def test_rows_too_few_save_the_level_and_say_so() -> None:
    champion = beside(0.03, 0.01, bads=49, validation=ahead(0.03))
    reasons = judge_comparison(evidence(champion, days=0.0, saved=120.0), POLICY)
    assert failed(reasons) == ["common_rows", "shown_better"]
    assert reasons[-1].text.startswith("these rows are too few, so that none of the 120 days saved")


def test_a_model_that_takes_the_place_of_one_that_cannot_be_compared_has_the_level_saved() -> None:
    found = first(0.68, 110) | {"champion": {"version": "1", "comparable": False, "why": "gone"}, "mode": "replacement"}
    found["comparison"] |= {"days": 0.0, "saved": 30.0}
    assert days_to_spend(found, 30.0, POLICY) == 0
    assert not failed(judge_first_champion(found, POLICY))
    assert "0.05 x the 30 days saved / 365" in judge_first_champion(found, POLICY)[0].text


@pytest.mark.parametrize(("bads", "rows", "enough"), [(49, 5_000, False), (50, 100, True), (5_000, 5_049, False)])
def test_models_are_compared_on_rows_enough(bads: int, rows: int, enough: bool) -> None:
    champion = beside(0.2, 0.001)
    champion["difference"] |= {"bads": bads, "rows": rows}
    reasons = judge_comparison(evidence(champion), POLICY)
    assert failed(reasons) == ([] if enough else ["common_rows"])
    assert (days_to_spend(evidence(champion), 30.0, POLICY) > 0) == enough
    alike = champion | {"difference": champion["difference"] | {"difference": 0.0}}
    refresh = judge_comparison(evidence(alike, "non_inferiority"), POLICY)
    assert ("common_rows" in failed(refresh)) == (not enough)
    # Rows of the same customer are one.
    champion["difference"] |= {
        "rows": 10_000,
        "bads": 1_000,
        "independent_bads": bads,
        "independent_goods": rows - bads,
    }
    assert failed(judge_comparison(evidence(champion), POLICY)) == ([] if enough else ["common_rows"])
    fewer = policy(min_bads=49, min_goods=49)
    assert not failed(judge_comparison(evidence(champion), fewer))


def test_two_bads_depose_nobody_whatever_they_show() -> None:
    reasons = judge_comparison(evidence(beside(1.0, 0.0, bads=2)), POLICY)
    assert failed(reasons) == ["common_rows"]


def test_the_plain_rule_takes_the_difference_as_measured_and_says_what_that_costs() -> None:
    reasons = judge_comparison(evidence(beside(0.006, 0.01), days=1), policy(rule="point"))
    assert not failed(reasons)
    assert "CREDIT_PROMOTION_RULE is point), at the cost of 24 promotions by chance a year" in reasons[-1].text
    assert failed(judge_comparison(evidence(beside(0.004, 0.001)), policy(rule="point"))) == ["improvement"]
    assert failed(judge_comparison(evidence(beside(0.006, 0.01, bads=40)), policy(rule="point"))) == ["common_rows"]


def test_what_cannot_be_compared_is_refused_in_every_mode() -> None:
    champion = {"version": "3", "comparable": False, "why": "no common rows"}
    for mode in ("improvement", "non_inferiority"):
        (reason,) = judge_comparison(evidence(champion, mode), POLICY)
        assert (reason.passed, reason.text) == (False, "cannot be compared with champion version 3: no common rows")
    assert not days_to_spend(evidence(champion), 30.0, POLICY)


# Not worse


@pytest.mark.parametrize(
    ("difference", "error", "against_it"),
    [
        (0.0, 0.004, []),
        (0.0, 0.006, ["non_inferiority"]),
        (-0.005, 0.002, []),
        (-0.005, 0.003, ["non_inferiority"]),
        (-0.014, 0.002, ["non_inferiority"]),
        # Better by what was measured, and still not shown: the test is too small.
        (0.01, 0.05, ["non_inferiority"]),
        # Shown to be better is more than shown not to be worse.
        (0.05, 0.012, []),
    ],
)
def test_a_refresh_is_shown_not_to_be_worse(difference: float, error: float, against_it: list[str]) -> None:
    reasons = judge_comparison(evidence(beside(difference, error), "non_inferiority"), POLICY)
    assert failed(reasons) == against_it


def test_a_refresh_says_what_its_rows_could_show() -> None:
    reason = judge_comparison(evidence(beside(-0.001, 0.006), "non_inferiority"), POLICY)[-1]
    assert "a refresh must be shown not to be worse by 0.01" in reason.text
    assert "of equal models 38% would be on these rows" in reason.text


def test_a_refresh_that_is_better_is_one_that_is_shown_to_be() -> None:
    found = evidence(beside(0.03, 0.005), "non_inferiority", first=beside(-0.03, 0.002))
    assert [reason.rule for reason in judge_comparison(found, POLICY)] == ["improvement", "common_rows", "shown_better"]


@pytest.mark.parametrize(("auc", "margin"), [(0.9, 0.01), (0.7, 0.01), (0.6, 0.005), (0.52, 0.001), (0.45, 0.0)])
def test_the_margin_is_in_proportion_to_the_skill(auc: float, margin: float) -> None:
    assert margin_of(POLICY, auc) == pytest.approx(margin)


def test_a_refresh_is_held_against_the_first_of_its_chain() -> None:
    champion = beside(-0.004, 0.002)
    worse, same = beside(-0.02, 0.002, version="1"), beside(-0.004, 0.002, version="1")
    assert not failed(judge_comparison(evidence(champion, "non_inferiority", first=same), POLICY))
    found = evidence(champion, "non_inferiority", first=worse)
    reasons = judge_comparison(found, POLICY)
    assert failed(reasons) == ["non_inferiority_first"]
    assert "over the first model of the chain of refreshes, version 1" in reasons[-1].text
    assert not failed(judge_comparison(found, policy(against_first=False)))


def test_a_first_of_the_chain_that_scores_no_more_stops_refreshes_and_says_what_ends_that() -> None:
    gone = {"version": "1", "comparable": False, "why": "its files are gone"}
    reasons = judge_comparison(evidence(beside(0.0, 0.002), "non_inferiority", first=gone), POLICY)
    assert failed(reasons) == ["non_inferiority_first"]
    assert "its files are gone; so nothing says how far" in reasons[-1].text
    assert "CREDIT_REFRESH_AGAINST_FIRST" in reasons[-1].text
    better = evidence(beside(0.03, 0.004), "non_inferiority", first=gone)
    assert not failed(judge_comparison(better, POLICY))


# Tests before


def before(newer_by: int, *tests: tuple[int, float, float, int]) -> dict[str, Any]:
    """By how much the model and those of earlier tests are newer; of these difference, standard error and bads."""
    found = [
        {"newer_by": days, "difference": difference, "standard_error": error, "rows": 10 * bads, "bads": bads}
        for days, difference, error, bads in tests
    ]
    return {"newer_by": newer_by, "tests": found}


def test_tests_that_share_no_row_show_together_what_none_shows_alone() -> None:
    champion = beside(0.004, 0.008, bads=40)
    alone = judge_comparison(evidence(champion, "non_inferiority"), POLICY)
    assert failed(alone) == ["common_rows", "non_inferiority"]
    earlier = before(270, (180, 0.004, 0.008, 40), (200, 0.005, 0.008, 40))
    reasons = judge_comparison(evidence(champion, "non_inferiority", earlier=earlier), POLICY)
    assert not failed(reasons)
    assert "on the same 400 rows (40 bads) and 2 earlier tests (80 bads)" in reasons[-1].text
    # Better is asked of the test that the level is spent on, whose rows are newer than those that decided on it.
    assert failed(judge_comparison(evidence(champion, earlier=earlier), POLICY)) == [
        "improvement",
        "common_rows",
        "shown_better",
    ]


def test_models_before_it_do_not_speak_for_one_that_is_measured_to_be_worse() -> None:
    earlier = before(100, (95, 0.02, 0.004, 400), (90, 0.02, 0.004, 400))
    reasons = judge_comparison(evidence(beside(-0.02, 0.02), "non_inferiority", earlier=earlier), POLICY)
    assert failed(reasons) == ["non_inferiority"]
    assert reasons[-1].text.endswith("its own test has -0.0200, which models before it do not make good")


def test_the_first_of_the_chain_has_its_own_tests_before() -> None:
    first = beside(-0.004, 0.006, version="1")
    champion = beside(0.0, 0.003)
    assert failed(judge_comparison(evidence(champion, "non_inferiority", first=first), POLICY)) == [
        "non_inferiority_first"
    ]
    first["earlier"] = before(500, (450, 0.002, 0.004, 400))
    assert not failed(judge_comparison(evidence(champion, "non_inferiority", first=first), POLICY))


# Where applicants have moved

MOVED = {"newer_by": 300, "days": 5, "of": 5, "shifted": ["interest_rate", "term_months"]}


@pytest.mark.parametrize("mode", ["improvement", "non_inferiority"])
@pytest.mark.parametrize(
    ("difference", "earlier", "first", "against_it"),
    [
        (0.02, (0.0, 60), None, None),
        (0.004, (0.02, 60), None, "improvement"),
        (0.02, (0.0, 20), None, "common_rows"),
        (0.02, (-0.06, 60), None, "moved"),
        (0.02, (0.0, 60), 0.005, None),
        (0.02, (0.0, 60), 0.004, "moved_first"),
    ],
)
def test_where_applicants_have_moved_an_improvement_is_taken_as_measured(
    mode: str, difference: float, earlier: tuple[float, int], first: float | None, against_it: str | None
) -> None:
    found = {
        "moved": MOVED,
        "days": 0.0,
        "earlier": before(300, (200, earlier[0], 0.03, earlier[1])),
        "first": None if first is None else beside(first, 0.03, version="1"),
    }
    champion = beside(difference, 0.03, bads=29)
    reasons = judge_comparison(evidence(champion, mode, **found), POLICY)
    assert bool(failed(reasons)) == (against_it is not None)
    if mode == "improvement" and against_it:
        assert failed(reasons) == [against_it]
    if not against_it:
        assert "interest_rate, term_months shifted on 5 of 5 days" in reasons[0].text
    still = policy(moved_after=None)
    assert failed(judge_comparison(evidence(champion, mode, **found), still))
    young = evidence(champion, mode, **found | {"moved": MOVED | {"newer_by": 27}})
    assert failed(judge_comparison(young, POLICY))


def test_what_is_taken_as_measured_goes_on_with_the_champions_chain() -> None:
    from credit_assets.ml.rules.chains import NOT_WORSE, how_shown

    found = evidence(beside(0.02, 0.02), "non_inferiority", moved=MOVED, days=0.0)
    assert how_shown(judge_comparison(found, POLICY)) == NOT_WORSE


def test_a_first_of_the_chain_that_scores_no_more_stops_what_is_taken_as_measured_too() -> None:
    gone = {"version": "1", "comparable": False, "why": "its files are gone"}
    reasons = judge_comparison(evidence(beside(0.02, 0.02), moved=MOVED, days=0.0, first=gone), POLICY)
    assert failed(reasons) == ["non_inferiority_first"]


# The first champion


def first(auc: float, bads: int, scorecard: float = 0.0, days: int = 365, seed: int = 1) -> dict[str, Any]:
    """Evidence of a first model whose measured AUC is about `auc`, beside a scorecard that is better by so much."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(bads), np.zeros(9 * bads)]
    common, (ours, theirs) = rng.normal(size=len(y)), rng.normal(size=(2, len(y)))
    ranks = [
        ndtr(np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * own + y * NormalDist().inv_cdf(a) * 2**0.5)
        for own, a in ((ours, auc), (theirs, auc + scorecard))
    ]
    beside = {"auc": evaluate(y, ranks[1]).auc, "difference": compare(y, *ranks).to_record()}
    found = {**COMPARISON, "days": days, "scorecard": beside}
    return {"evaluation": evaluate(y, ranks[0]).to_record(), "champion": None, "comparison": found}


@pytest.mark.parametrize(
    ("auc", "bads", "scorecard", "days", "against_it"),
    [
        (0.68, 37, 0.0, 365, []),
        (0.68, 110, 0.0, 1, []),
        (0.5, 110, 0.0, 365, ["first_skill"]),
        (0.68, 400, 0.005, 365, []),
        (0.62, 400, 0.08, 365, ["scorecard"]),
    ],
)
def test_a_first_champion_has_skill(auc: float, bads: int, scorecard: float, days: int, against_it: list[str]) -> None:
    assert failed(judge_first_champion(first(auc, bads, scorecard, days), POLICY)) == against_it


def test_the_level_of_first_models_is_the_recorded_interval_and_spent_after_that() -> None:
    found = first(0.6, 60)
    once = judge_first_champion(found, POLICY)[0]
    assert once.value == pytest.approx(found["evaluation"]["auc_ci_low"])
    found["comparison"]["days"] = 1
    again = judge_first_champion(found, POLICY)[0]
    assert again.value < once.value
    assert "at level 0.00014" in again.text


def test_few_bads_show_nothing_at_a_level_of_a_day() -> None:
    found = first(0.7, 2)
    found["evaluation"] |= {"auc": 0.7, "auc_ci_low": 1e-6}
    found["comparison"]["days"] = 1
    skill = judge_first_champion(found, POLICY)[0]
    assert (skill.rule, skill.passed, skill.value) == ("first_skill", False, 0.0)


def test_a_champion_in_force_is_held_against_instead() -> None:
    assert judge_first_champion(evidence(beside(0.1, 0.01)) | {"evaluation": {}}, POLICY) == ()


def test_a_first_model_without_a_scorecard_beside_it_is_refused() -> None:
    (reason,) = judge_first_champion(evidence(None) | {"evaluation": {"auc": 0.9}}, POLICY)
    assert not reason.passed


def test_most_sound_first_models_pass_and_few_without_skill() -> None:
    """At 50 bads: a true AUC of 0.66 passes in 19 of 20 first attempts, one of 0.5 in 1 of 40."""
    passed = {
        auc: np.mean([not failed(judge_first_champion(first(auc, 50, seed=seed), POLICY)) for seed in range(200)])
        for auc in (0.5, 0.66)
    }
    assert passed[0.5] <= 0.06
    assert passed[0.66] >= 0.9


# How often it errs


def months(bads: int, better: float, count: int) -> Iterator[dict[str, Any]]:
    """Tests of as many months, in which the candidate is truly better by so much; the champion's AUC is 0.68."""
    rng = np.random.default_rng(bads)
    y = np.r_[np.ones(bads), np.zeros(9 * bads)]
    apart = [NormalDist().inv_cdf(auc) * 2**0.5 * y for auc in (0.68 + better, 0.68)]
    for _ in range(count):
        common, own = rng.normal(size=len(y)), rng.normal(size=(2, len(y)))
        pds = [
            ndtr(np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * noise + shift)
            for noise, shift in zip(own, apart, strict=True)
        ]
        yield beside(0, 0) | {"evaluation": {"auc": 0.68}, "difference": compare(y, *pds).to_record()}


@cache
def taken(bads: int, better: float, rule: str, mode: str = "improvement") -> float:
    """The share of monthly comparisons in which the candidate is taken."""
    of = policy(rule=rule)
    found = [evidence(champion, mode, days=30) for champion in months(bads, better, 400)]
    return float(np.mean([not failed(judge_comparison(one, of)) for one in found]))


@pytest.mark.parametrize("bads", [60, 110])
def test_models_of_equal_worth_are_promoted_once_in_ten_years_at_most(bads: int) -> None:
    assert 12 * taken(bads, 0.0, "interval") <= 0.2
    assert 12 * taken(bads, 0.0, "point") >= 2


def test_a_better_model_is_taken() -> None:
    """By 0.019, at 400 bads: in three of five months, and so within three months in nine of ten cases."""
    assert 1 - (1 - taken(400, 0.019, "interval")) ** 3 >= 0.9


def test_a_refresh_that_is_truly_worse_is_refused() -> None:
    assert taken(400, -0.014, "interval", "non_inferiority") <= 0.02
