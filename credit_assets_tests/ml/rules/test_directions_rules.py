"""The verdict on directions, from recorded evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from credit_assets.ml.data.policies import DirectionsPolicy
from credit_assets.ml.rules.directions_rules import judge_directions

KEPT: dict[str, Any] = {"direction": 1, "through": [], "rows": 1000, "share": 0.0, "span": 0.5}
BROKEN = {**KEPT, "share": 0.3, "median": 0.05, "largest": 0.4, "largest_pd": 0.03}
AGREED: dict[str, Any] = {"direction": 1, "rows": 4000, "bads": 400, "effect": -0.05, "z": -1.0}


def evidence(moved: dict[str, Any] | None = None, outcomes: dict[str, Any] | None = None) -> dict[str, Any]:
    record = {"tolerance": 0.01, "applicants": 1000, "moved": moved or {}, "outcomes": outcomes or {}}
    return json.loads(json.dumps(record))  # type: ignore[no-any-return]


def against(record: dict[str, Any], **policy: float) -> list[tuple[str, str]]:
    return [(one.rule, one.text) for one in judge_directions(record, DirectionsPolicy(**policy)) if not one.passed]


def test_directions_that_are_kept_pass_with_both_rules_said() -> None:
    found = judge_directions(evidence({"term": KEPT}, {"term": AGREED}), DirectionsPolicy())
    assert [(one.rule, one.passed) for one in found] == [("directions", True), ("direction_of_outcomes", True)]
    assert [one.passed for one in judge_directions(evidence(), DirectionsPolicy())] == [True, True]


@pytest.mark.parametrize(("share", "passes"), [(0.0, True), (0.01, True), (0.0101, False), (1.0, False)])
def test_the_share_of_applicants_decides(share: float, passes: bool) -> None:
    record = evidence({"term": {**BROKEN, "share": share}, "rate": KEPT})
    assert (not against(record)) is passes
    assert not against(record, max_share=1.0)


def test_each_column_is_named_with_what_to_write() -> None:
    through = [{"derived": "burden", "wanted": -1}, {"derived": "own", "wanted": 0}]
    moved = {"rate": {**BROKEN, "direction": -1}, "term": {**BROKEN, "share": 0.6, "through": through}}
    (_, first), (_, second) = against(evidence(moved))
    assert first.startswith(
        "column term has monotone: 1, and a higher value lowers the PD of 60.0% of 1,000 applicants"
    )
    assert "at most 1.0% by more than 0.01 log-odds; in the median 0.050, at most 0.400 or 0.0300 of PD" in first
    assert "write `monotone: -1` for burden, leave own out" in first
    assert first.endswith("or `monotone: 0` for term")
    assert second.startswith("column rate has monotone: -1, and a higher value raises the PD of 30.0%")
    assert second.endswith("the learner does not keep directions")


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        ({"effect": -0.5, "z": -6.0}, False),
        ({"effect": 0.5, "z": 6.0}, True),  # the model could use more of it, and in the direction
        ({"effect": -0.1, "z": -6.0}, True),  # a large book, and no matter
        ({"effect": -0.5, "z": -2.0}, True),  # chance
        ({"effect": 0.5, "z": 6.0, "direction": -1}, False),
    ],
)
def test_outcomes_against_a_direction_must_be_clear_and_matter(found: dict[str, float], passes: bool) -> None:
    record = evidence({}, {"term": {**AGREED, **found}})
    assert (not against(record)) is passes


def test_chance_is_shared_by_all_features() -> None:
    """Three standard errors are rare for one feature, and not for fifty."""
    found = {**AGREED, "effect": -0.5, "z": -3.3}
    assert against(evidence({}, {"term": found}))
    assert not against(evidence({}, {f"x{n}": found for n in range(50)}))


def test_what_outcomes_say_is_in_odds() -> None:
    [(rule, text)] = against(evidence({}, {"term": {**AGREED, "effect": -0.5, "z": -6.0}}))
    assert rule == "direction_of_outcomes"
    assert "the odds of default are 1.65 times as high for each standard deviation that it is lower" in text
    assert "correct `monotone` of term where the portfolio errs, or the source of the column" in text
    # PDs of a thousandth of what they should be say nothing of how large it is.
    [(_, text)] = against(evidence({}, {"term": {**AGREED, "effect": -1e4, "z": -6.0}}))
    assert "the odds of default are more than 100 times as high" in text


def test_of_many_columns_the_worst_are_shown() -> None:
    found = against(evidence({f"x{n:02d}": {**BROKEN, "share": 0.1 + n / 100} for n in range(30)}))
    assert len(found) == 11
    assert found[0][1].startswith("column x29 ")
    assert found[-1][1] == "20 more columns fail the rule directions"
