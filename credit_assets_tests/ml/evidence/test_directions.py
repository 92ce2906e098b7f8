"""Directions of whole applicants, measured: against models whose violations can be counted, and learners themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.policies import DirectionsPolicy
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.values import numbers
from credit_assets.ml.evidence.directions import DirectionsPlan, measure_directions, missing_effect
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.rules.directions_rules import judge_directions
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set

TOLERANCE = 0.01
COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "role": "id", "nullable": False},
    {"name": "day", "type": "date", "role": "date", "nullable": False},
    {"name": "amount", "type": "float"},
    {"name": "rate", "type": "float", "monotone": 1},
    {"name": "term", "type": "integer", "monotone": 1},
    {"name": "income", "type": "float", "monotone": -1},
    {"name": "owner", "type": "boolean", "monotone": -1},
    {"name": "kind", "type": "category"},
]
LOAN = {"loan_amount": "amount", "interest_rate": "rate", "term_months": "term"}
BURDEN = {"name": "burden", "function": "payment_to_income", "inputs": {**LOAN, "annual_income": "income"}}
LENDER = Portfolio.model_validate({"name": "lender", "columns": COLUMNS, "derived": [BURDEN]})


def applicants(rows: int = 600, seed: int = 3) -> pa.Table:
    """A training set, all of it the test, with an outcome that nothing knows."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"{n:05d}" for n in range(rows)],
            "day": pd.Timestamp("2024-01-01"),
            "amount": rng.uniform(1_000, 30_000, rows),
            "rate": np.where(rng.random(rows) < 0.2, np.nan, rng.uniform(4, 25, rows)),
            "term": rng.choice([12, 24, 36, 60], rows),
            "income": rng.lognormal(10.8, 0.5, rows),
            "owner": rng.random(rows) < 0.5,
            "kind": rng.choice(["a", "b"], rows),
        }
    )
    table = feature_table(frame, LENDER)
    target = pa.array((rng.random(rows) < 0.1).astype(np.int8))
    return table.append_column("default", target).append_column("split", pa.repeat("test", rows))


class Model:
    """log-odds = weights x (raw columns, in units of their size, and the burden computed anew) + noise."""

    def __init__(self, noise: float = 0.0, **weights: float) -> None:
        self.weights, self.noise, self.scored = weights, noise, 0

    def pd(self, data: Any) -> Any:
        self.scored += data.num_rows
        assert "burden" not in data.column_names or "default" in data.column_names, "moved with what derives from it"
        from credit_assets.ml.data.formulas import FUNCTIONS

        value = {name: pd.Series(numbers(data[name])).fillna(10.0) for name in ("amount", "rate", "term", "income")}
        burden = FUNCTIONS["payment_to_income"](value["amount"], value["rate"], value["term"], value["income"])
        parts = {
            "rate": value["rate"] / 10,
            "term": value["term"] / 36,
            "income": value["income"] / 50_000,
            "owner": pd.Series(numbers(data["owner"])),
            "burden": burden,
        }
        log_odds = -2.0 + sum(weight * parts[name] for name, weight in self.weights.items())
        rounding = self.noise * np.sin(1e6 * value["income"].to_numpy() + value["term"].to_numpy())
        return 1 / (1 + np.exp(-(np.asarray(log_odds) + rounding)))


def measured(model: Model, portfolio: Portfolio = LENDER, **plan: int) -> dict[str, Any]:
    table = applicants()
    return measure_directions(model.pd, table, portfolio, TOLERANCE, DirectionsPlan(**plan) if plan else None)["moved"]


def test_a_direction_that_the_derived_feature_undoes_is_counted_by_applicant() -> None:
    """A longer term: 0.3 more log-odds for two years, and less burden, which outweighs it where the loan is large."""
    moved = measured(Model(term=0.3, burden=8.0), values=12)
    table, terms = applicants(), np.array([12, 24, 36, 60])
    value = {name: pd.Series(numbers(table[name])).fillna(10.0) for name in ("amount", "rate", "income")}
    from credit_assets.ml.data.formulas import FUNCTIONS

    curves = np.column_stack(
        [
            0.3 * term / 36
            + 8.0
            * FUNCTIONS["payment_to_income"](value["amount"], value["rate"], value["rate"] * 0 + term, value["income"])
            for term in terms
        ]
    )
    worst = np.array([max(row[a] - row[b] for a in range(4) for b in range(a, 4)) for row in curves])
    assert 0.2 < (worst > TOLERANCE).mean() < 1
    assert moved["term"]["share"] == pytest.approx((worst > TOLERANCE).mean())
    assert moved["term"]["largest"] == pytest.approx(worst.max(), rel=1e-6)
    assert moved["term"]["median"] == pytest.approx(np.median(worst[worst > TOLERANCE]), rel=1e-6)
    assert 0 < moved["term"]["largest_pd"] < 1
    assert moved["term"]["through"] == [{"derived": "burden", "wanted": -1}]
    # The others are kept, and those whose rate is missing are not moved.
    assert {name: one["share"] for name, one in moved.items() if name != "term"} == {"rate": 0, "income": 0, "owner": 0}
    assert moved["rate"]["rows"] == 600 - table["rate"].null_count
    assert (moved["rate"]["span"] > 0, moved["owner"]["span"]) == (True, 0)


@pytest.mark.parametrize("against", [("rate", -0.3), ("income", 0.3), ("owner", 0.3), ("term", -0.3)])
def test_a_model_against_a_direction_violates_it_for_nearly_everyone(against: tuple[str, float]) -> None:
    name, weight = against
    moved = measured(Model(**{name: weight}))
    assert {other for other, one in moved.items() if one["share"]} == {name}
    assert moved[name]["share"] == 1.0


def test_rounding_is_no_violation() -> None:
    """1e-9 of log-odds is none, nor is anything up to the tolerance; more is."""
    weights = {"term": 0.3, "income": -0.3, "rate": 0.2, "owner": -0.1}
    for noise, found in ((1e-9, 0.0), (0.004, 0.0), (0.3, 1.0)):
        moved = measured(Model(noise, **weights))
        assert max(one["share"] for one in moved.values()) == pytest.approx(found, abs=0.2)


def test_a_column_without_two_values_is_not_moved() -> None:
    table = applicants()
    at = table.schema.get_field_index("income")
    table = table.set_column(at, "income", pa.array([40_000.0] * table.num_rows))
    moved = measure_directions(Model(income=1.0).pd, table, LENDER, TOLERANCE)["moved"]
    assert moved["income"] == {"direction": -1, "through": [{"derived": "burden", "wanted": 1}],
                               "rows": 0, "share": 0.0, "span": 0.0}  # fmt: skip


def test_the_same_applicants_are_taken_and_their_number_is_bounded() -> None:
    first, second, small = Model(term=1.0), Model(term=1.0), Model(term=1.0)
    one = measured(first, applicants=200, values=5)
    assert one == measured(second, applicants=200, values=5)
    assert one["income"]["rows"] == 200
    measured(small, applicants=100, values=5)
    assert small.scored < first.scored <= 4 * 200 * 6 + 600
    assert DirectionsPlan().of(10) == DirectionsPlan()
    assert DirectionsPlan().of(1000) == DirectionsPlan(100, 12)


# Learners


@pytest.mark.parametrize("variant", ["xgboost", "lightgbm", "catboost"])
def test_learners_keep_what_is_secured(variant: str) -> None:
    frame = training_set()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    scorer = train_candidate(frame, variant, PORTFOLIO, quick_config(variant)).scorer
    evidence = measure_directions(scorer.pd, table, PORTFOLIO, TOLERANCE)
    assert {name: one["share"] for name, one in evidence["moved"].items()} == {"income": 0, "inquiries": 0}
    assert all(reason.passed for reason in judge_directions(evidence, DirectionsPolicy()))


def test_a_free_derived_feature_lets_a_violation_through_and_is_named() -> None:
    """The burden falls with the income that must lower the PD, and nothing keeps the model from using it otherwise."""
    frame = training_set(4000)
    rng = np.random.default_rng(5)
    # The lower the burden, the more defaults: what the portfolio leaves the model free to learn.
    rise = frame["burden"].rank(pct=True)
    frame["default"] = (rng.random(len(frame)) < 0.35 - 0.3 * rise).astype(np.int8)
    free = PORTFOLIO.model_copy(update={"derived": (PORTFOLIO.derived[0].model_copy(update={"monotone": 0}),)})
    scorer = train_candidate(frame, "lightgbm", free, quick_config("lightgbm")).scorer
    evidence = measure_directions(scorer.pd, pa.Table.from_pandas(frame, preserve_index=False), free, TOLERANCE)
    assert evidence["moved"]["income"]["share"] > 0.5
    broken = [one for one in judge_directions(evidence, DirectionsPolicy()) if not one.passed]
    assert [one.rule for one in broken] == ["directions"]
    assert "column income has monotone: -1, and a higher value raises the PD" in broken[0].text
    assert "write `monotone: 1` for burden, or `monotone: 0` for income" in broken[0].text


@pytest.mark.parametrize("variant", ["xgboost", "lightgbm", "catboost"])
def test_a_direction_against_the_outcomes_is_named(variant: str) -> None:
    """Inquiries raise the PD, and the portfolio says that they lower it: the model leaves them out."""
    frame = training_set(6000)
    columns = tuple(
        one.model_copy(update={"monotone": -1}) if one.name == "inquiries" else one for one in PORTFOLIO.columns
    )
    reversed_ = PORTFOLIO.model_copy(update={"columns": columns})
    scorer = train_candidate(frame, variant, reversed_, quick_config(variant)).scorer
    evidence = measure_directions(scorer.pd, pa.Table.from_pandas(frame, preserve_index=False), reversed_, TOLERANCE)
    assert evidence["moved"]["inquiries"]["span"] < 0.2
    against = [one for one in judge_directions(evidence, DirectionsPolicy()) if not one.passed]
    assert [one.rule for one in against] == ["direction_of_outcomes"]
    assert against[0].text.startswith("inquiries has monotone: -1, and outcomes go the other way")


# Outcomes


def outcomes(rng: np.random.Generator, rows: int, effect: float, slope: float = 1.0) -> dict[str, Any]:
    """A model with a feature that it knows, and one of this effect that it does not; too steep or too flat."""
    known, left_out = rng.normal(size=(2, rows))
    log_odds = -2.2 + 0.8 * known
    target = rng.random(rows) < 1 / (1 + np.exp(-(log_odds + effect * left_out)))
    said = 1 / (1 + np.exp(-(-2.2 + slope * 0.8 * known)))
    values = left_out if effect or slope == 1 else known
    return missing_effect(values, target.astype(float), said)


def test_a_score_test_holds_its_size_and_finds_its_effect() -> None:
    rng = np.random.default_rng(1)
    null = np.array([outcomes(rng, 1500, 0.0)["z"] for _ in range(2000)])
    assert null.std() == pytest.approx(1.0, abs=0.05)
    assert np.mean(null < -1.645) == pytest.approx(0.05, abs=0.02)
    # A feature that the model knows, in a model that is too steep: nothing is missing of it.
    steep = np.array([outcomes(rng, 1500, 0.0, slope=1.6)["z"] for _ in range(500)])
    assert abs(steep.mean()) < 0.2
    found = np.array([outcomes(rng, 3000, -0.5)["effect"] for _ in range(100)])
    assert found.mean() == pytest.approx(-0.5, abs=0.1)


def test_a_book_that_is_there_twice_says_no_more() -> None:
    rng = np.random.default_rng(4)
    x, pds = rng.normal(size=2000), np.full(2000, 0.1)
    target = (rng.random(2000) < 1 / (1 + np.exp(2.2 + 0.4 * x))).astype(float)
    once = missing_effect(x, target, pds)["z"]
    twice = [np.concatenate([one, one]) for one in (x, target, pds)]
    customers = np.tile(np.arange(2000), 2)
    assert missing_effect(*twice)["z"] == pytest.approx(np.sqrt(2) * once)
    assert missing_effect(*twice, customers)["z"] == pytest.approx(once, rel=0.1)


@pytest.mark.parametrize(("slope", "level"), [(0.14, 0.0), (0.001, 0.0), (8.0, 0.0), (1.0, -6.9), (0.05, 4.0)])
def test_what_is_missing_does_not_depend_on_how_the_model_is_calibrated(slope: float, level: float) -> None:
    """A model of few bads has PDs that lie close together: a slope of 7 is no reason to find features against it."""
    rng = np.random.default_rng(8)
    known, other = rng.normal(size=(2, 400))
    log_odds = -3.0 + 0.8 * known
    target = (rng.random(400) < 1 / (1 + np.exp(-log_odds))).astype(float)
    usual = missing_effect(other, target, 1 / (1 + np.exp(-log_odds)))
    assert abs(usual["z"]) < 3
    found = missing_effect(other, target, 1 / (1 + np.exp(3.0 - level - slope * 0.8 * known)))
    assert (found["effect"], found["z"]) == pytest.approx((usual["effect"], usual["z"]), rel=1e-3)


def test_pds_that_separate_the_outcomes_leave_nothing_to_a_feature() -> None:
    target = np.repeat([0.0, 1.0], [385, 15])
    other = np.random.default_rng(9).normal(size=400)
    found = missing_effect(other, target, np.where(target == 1, 0.05, 0.04))
    assert (found["effect"], found["z"]) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_missing_values_and_constants_say_nothing() -> None:
    rng = np.random.default_rng(2)
    target, pds = (rng.random(500) < 0.2).astype(float), np.full(500, 0.2)
    assert missing_effect(np.full(500, 3.0), target, pds)["z"] == 0
    assert missing_effect(np.full(500, np.nan), target, pds) == {"rows": 0, "bads": 0, "effect": 0.0, "z": 0.0}
    # What the model's log-odds are themselves adds nothing to them.
    own = rng.normal(size=500)
    assert missing_effect(own, target, 1 / (1 + np.exp(2 - 1e-9 * own)))["rows"] == 500


def test_outcomes_of_one_kind_are_not_held_against_anything() -> None:
    table = applicants()
    table = table.set_column(table.schema.get_field_index("default"), "default", pa.array([0] * 600, pa.int8()))
    evidence = measure_directions(Model(income=-1.0).pd, table, LENDER, TOLERANCE)
    assert evidence["outcomes"] == {}
    assert all(reason.passed for reason in judge_directions(evidence, DirectionsPolicy()))
