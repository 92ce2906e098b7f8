"""Which differences between the rows of a training set stop it, and what each says."""

from __future__ import annotations

from typing import Any

import pytest

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import WorldPolicy
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.rules.world_gates import NEWEST, WORLD_GATES, outcomes_arrive, world_gates

PORTFOLIO = load_portfolio()
ALIKE: dict[str, Any] = {
    "name": "annual_income", "kind": "numeric", "psi": 0.3, "psi_by_chance": 0.01, "p_value": 1e-9,
    "missing": {"before": 0.0, "after": 0.0}, "new_levels": 0.0, "distance": 0.3, "size": 1.4, "constant": False,
    "list_price": False,
}  # fmt: skip
SIDE = {"first": "2024-01-01", "last": "2024-03-31", "days": 91, "applications": 1_000, "goods": 900, "bads": 100}


def evidence(after: str = "test", jump: dict[str, Any] | None = None, newest: str = "", **feature: Any) -> Any:
    before = "the cohorts" if after == NEWEST else "train"
    days = {before: ["2024-01-01", "2024-02-10"], after: ["2024-02-20", "2024-03-01"]}
    one = {"before": before, "after": after, "days": days, "rows": {"before": 900, "after": 300}, "compared": 18}
    return {
        "comparisons": [{**one, "features": [{**ALIKE, **feature}]}],
        "newest": newest,
        "target": {"months": [{}, {}], "jump": jump},
    }


def same_world(policy: WorldPolicy | None = None, **more: Any) -> GateResult:
    return world_gates(evidence(**more), policy or WorldPolicy(), PORTFOLIO)[0]


def test_a_part_of_the_newest_rows_in_another_unit_stops_the_training_too() -> None:
    (found,) = same_world(beyond={"rows": 120, "of": 600}, after=NEWEST).details
    assert "in the newest days" in found["problem"]
    assert "20% of the values beyond twice the range before, as of another unit in a part" in found["problem"]
    assert same_world(WorldPolicy(max_beyond=0.3), beyond={"rows": 120, "of": 600}, after=NEWEST).passed


def test_the_table_names_the_gates() -> None:
    gates = [
        *world_gates(evidence(), WorldPolicy(), PORTFOLIO),
        outcomes_arrive({}, "2024-03-31", WorldPolicy(), PORTFOLIO),
    ]
    assert [gate.name for gate in gates] == list(WORLD_GATES)
    assert all(gate.passed for gate in gates)


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ({"size": 0.001}, "values 0.001 times the size, as in another unit"),
        ({"size": 12.0}, "values 12 times the size"),
        ({"size": 0.0}, "no value but zero"),
        ({"beyond": {"rows": 90, "of": 900}}, "10% of the values beyond twice the range before"),
        ({"missing": {"before": 0.02, "after": 0.9}}, "missing 90% instead of 2%"),
        ({"new_levels": 1.0, "distance": None, "size": None}, "100% of the values in levels of their own"),
        ({"psi": 8.0, "distance": 0.87}, "87% apart"),
        ({"psi": 8.0, "distance": 0.87, "constant": True}, "one value in all rows"),
    ],
)
def test_what_no_drift_does_stops_the_training_and_names_the_column(feature: dict[str, Any], said: str) -> None:
    result = same_world(**feature)
    assert result.blocks
    (found,) = result.details
    assert found["column"] == "annual_income"
    assert said in found["problem"]
    assert found["problem"].startswith("in test (2024-02-20 .. 2024-03-01) against train (2024-01-01 .. 2024-02-10): ")
    assert "annual_income changed on the way" in result.description
    assert "role: ignored" in result.description


@pytest.mark.parametrize(
    "feature",
    [
        {"psi": 5.3, "distance": 0.49},  # interest rates of the public loans
        {"psi": 12.0, "distance": 1.0, "list_price": True},
        {"psi": 0.9, "distance": 0.8},
        {"size": 1.8},
        {"size": None},
        # The most that a feature of the public loans had was 2.1%; beyond chance of few rows nothing is.
        {"beyond": {"rows": 30, "of": 1_000}},
        {"beyond": {"rows": 4, "of": 50}},
        {"beyond": {"rows": 900, "of": 900}, "list_price": True},
        {"beyond": None},
        {"missing": {"before": 0.9, "after": 0.0}},
        {"after": NEWEST, "psi": 8.0, "distance": 0.9},
    ],
)
def test_drift_list_prices_and_columns_that_fill_up_stop_nothing(feature: dict[str, Any]) -> None:
    assert same_world(**feature).passed


def test_newest_days_of_one_value_stop_it() -> None:
    result = same_world(after=NEWEST, psi=8.0, distance=0.9, constant=True)
    assert result.blocks
    assert "the newest days (2024-02-20 .. 2024-03-01) against the cohorts" in result.details[0]["problem"]


def test_a_change_that_is_known_is_said_and_stops_nothing() -> None:
    result = same_world(WorldPolicy(changed_features=("annual_income",)), size=0.001)
    assert result.passed
    assert "Known to have changed (policy: world: changed_features): annual_income." in result.description


def test_newest_days_that_are_not_there_are_said() -> None:
    assert "The newest days are not among them: nothing is there." in same_world(newest="nothing is there").description


@pytest.mark.parametrize(("ratio", "nearest", "passes"), [(1.6, 1.2, True), (0.2, 0.4, False), (9.0, 4.0, False)])
def test_a_break_of_the_rate_says_which_of_goods_and_bads_are_fewer(ratio: float, nearest: float, passes: bool) -> None:
    jump = {
        "from": "2024-04-01", "ratio": ratio, "nearest": nearest, "before": SIDE,
        "after": {**SIDE, "first": "2024-04-01", "last": "2024-06-30", "goods": 91},
    }  # fmt: skip
    result = world_gates(evidence(jump=jump), WorldPolicy(), PORTFOLIO)[1]
    assert result.passed is passes
    if not passes:
        assert "breaks on 2024-04-01: 100 of 1,000 loans bad (10.0%) among 1,000 applications" in result.description
        assert "9.89 goods a day, then 1 and 1.1 bads a day, then 1.1" in result.description
        assert "loan_outcomes (defaulted)" in result.description


def feed(**changed: Any) -> dict[str, Any]:
    return {"rows": 900, "last": "2024-01-31", "gap": 60, "longest_gap": 3, "expected": 120.0, **changed}


def arrive(**feeds: dict[str, Any]) -> GateResult:
    return outcomes_arrive(feeds, "2024-03-31", WorldPolicy(), PORTFOLIO)


def test_a_stopped_feed_says_since_when_and_where() -> None:
    result = arrive(outcomes=feed(), defaults=feed(expected=30.0))
    assert result.blocks
    assert result.description.startswith(
        "The feed of outcomes has stopped: none has become known since 2024-01-31, 60 days before 2024-03-31, where "
        "120 were to be expected and the longest gap before was 3 days."
    )
    assert "no lookback mends it" in result.description
    assert "loan_outcomes (column outcome_date)" in result.description
    assert result.details[0]["column"] == "outcome_date"


def test_defaults_alone_may_have_stopped() -> None:
    result = arrive(outcomes=feed(gap=0), defaults=feed(expected=30.0))
    assert result.blocks
    assert "The feed of defaults has stopped" in result.description
    assert "while other outcomes do" in result.description


@pytest.mark.parametrize(
    "changed",
    [{"gap": 45}, {"expected": 13.0}, {"longest_gap": 40}, {"rows": 0, "last": None, "expected": 0.0}],
    ids=["as long as allowed", "few to be expected", "a batch that is due", "none at all, which enough_outcomes says"],
)
def test_a_gap_that_may_be_none_stops_nothing(changed: dict[str, Any]) -> None:
    assert arrive(outcomes=feed(**changed)).passed


def test_a_feed_of_few_cannot_be_told() -> None:
    assert "Too few outcomes" in arrive(outcomes=feed(expected=3.0)).description
