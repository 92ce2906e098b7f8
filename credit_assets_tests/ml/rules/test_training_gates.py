"""The gates of a training set: each at its border, for frames and for the same rows as Arrow tables."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.ml.data.cohorts import CohortWindow, assemble_training_set
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.ml.rules import training_gates as rules
from credit_assets_tests.support.synthetic import (
    GIVE_ME_SOME_CREDIT,
    canonical_book,
    give_me_some_credit_book,
    model_inputs,
)
from credit_assets_tests.support.tiny import AS_OF, TINY, WINDOW, days, features


def training_gates(frame: pd.DataFrame, portfolio: Portfolio, window: CohortWindow) -> tuple[GateResult, ...]:
    gates = rules.training_gates(frame, portfolio, window)
    assert repr(rules.training_gates(pa.Table.from_pandas(frame, preserve_index=False), portfolio, window)) == repr(
        gates
    )
    return gates


def training_set(bads: int = 40, rows: int = 200, **columns: object) -> pd.DataFrame:
    """`rows` applications, every fifth day one, bads spread evenly, features that know nothing."""
    target = np.zeros(rows, dtype=np.int8)
    target[np.linspace(0, rows - 1, bads).astype(int)] = 1
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": [f"a{n}" for n in range(rows)],
            "day": np.repeat(np.array(days(20), dtype="datetime64[ms]"), rows // 20),
            "amount": rng.normal(size=rows),
            "kind": rng.choice(np.array(["a", "b"], dtype=object), rows),
            "default": target,
            "split": np.repeat(
                np.array(["train", "validation", "test"], dtype=object), [rows * 6 // 10, rows // 5, rows // 5]
            ),
        }
    )
    return frame.assign(**columns)


def gate(frame: pd.DataFrame, name: str, portfolio: Portfolio = TINY) -> GateResult:
    gates = training_gates(frame, portfolio, WINDOW)
    names = ["enough_outcomes", "target_rate", "leakage", "missing_share", "usable_features", "copies"]
    assert [g.name for g in gates] == names
    return {g.name: g for g in gates}[name]


def test_a_sound_training_set_passes():
    assert all(g.passed for g in training_gates(training_set(), TINY, WINDOW))


@pytest.mark.parametrize(("bads", "passed"), [(10, False), (15, True)])
def test_enough_outcomes(bads: int, passed: bool):
    frame = training_set(bads)
    result = gate(frame, "enough_outcomes")
    test_bads = int(frame.loc[frame["split"] == "test", "default"].sum())
    assert result.passed == passed == (test_bads >= 3)
    assert result.value == f"{200 - bads} goods, {bads} bads, {test_bads} test bads"
    assert passed or result.details == (
        {"column": "default", "problem": "test bads, fewer than 3", "count": test_bads},
    )


def test_too_few_goods_and_bads_are_both_told():
    result = gate(training_set(bads=5, rows=20), "enough_outcomes")
    assert result.blocks
    assert {d["problem"].split(",")[0] for d in result.details} == {"goods", "bads", "test bads"}


@pytest.mark.parametrize(
    ("bads", "rows", "passed"),
    [(1, 200, True), (2, 200, True), (5, 2000, False), (120, 200, True), (130, 200, True), (145, 200, False)],
)
def test_target_rate_beyond_its_borders_and_chance(bads: int, rows: int, passed: bool):
    """1% to 60%: 1 of 200 and 130 of 200 occur at a plausible rate, 5 of 2,000 and 145 of 200 do not."""
    result = gate(training_set(bads, rows), "target_rate")
    assert result.passed == passed
    assert result.value == pytest.approx(bads / rows)


def test_features_named_like_leakage_are_refused():
    base = TINY.model_dump()
    base["columns"] = [*base["columns"], {"name": "Total_Rec_Int", "type": "float"}, {"name": "known", "type": "float"}]
    portfolio = Portfolio.model_validate(base)
    result = gate(training_set(Total_Rec_Int=0.0, known=0.0), "leakage", portfolio)
    assert [d["column"] for d in result.details] == ["Total_Rec_Int", "known"]
    assert result.blocks


@pytest.mark.parametrize("column", ["gender", "branch", "recoveries", "bad"])
def test_columns_that_are_no_features_are_refused(column: str):
    result = gate(training_set(**{column: "x"}), "leakage")
    assert result.blocks
    assert result.details == ({"column": column, "problem": "not a feature of the portfolio", "count": 200},)


def leaks() -> dict[str, pd.Series]:
    bad = training_set()["default"]
    noise = np.random.default_rng(1).normal(size=200)
    return {
        "high": bad * 5 + noise * 0.5,
        "low": noise * 0.5 - bad * 5,
        # Present for defaulted loans alone: the values know nothing, their absence everything.
        "absence": pd.Series(noise).where(bad == 1),
        "presence": pd.Series(noise).where(bad == 0),
    }


@pytest.mark.parametrize("leak", ["high", "low", "absence", "presence"])
def test_a_feature_that_knows_the_outcome_is_found(leak: str):
    base = TINY.model_dump()
    base["columns"][2]["max_missing_share"] = 1.0
    result = gate(training_set(amount=leaks()[leak]), "leakage", Portfolio.model_validate(base))
    assert result.blocks
    assert result.value > 0.95
    assert [d["column"] for d in result.details] == ["amount"]


def test_a_category_that_knows_the_outcome_is_found():
    status = np.where(training_set()["default"] == 1, "Charged Off", "Fully Paid").astype(object)
    assert [d["column"] for d in gate(training_set(kind=status), "leakage").details] == ["kind"]


def test_a_level_for_every_loan_is_noise_and_no_leak():
    names = pd.Series([f"employer {n}" for n in range(200)], dtype=object)
    assert gate(training_set(kind=names), "leakage").passed


def test_single_feature_auc_is_the_share_of_pairs_ranked_right():
    frame = training_set()
    frame["amount"] += 1.0 * frame["default"]
    bad = frame.loc[frame["default"] == 1, "amount"].to_numpy()[:, None]
    good = frame.loc[frame["default"] == 0, "amount"].to_numpy()[None, :]
    area = ((bad > good) + 0.5 * (bad == good)).mean()
    frame["kind"] = "a"
    assert gate(frame, "leakage").value == pytest.approx(max(area, 1 - area))


def test_missing_share_names_the_column():
    frame = training_set()
    frame.loc[:59, "amount"] = np.nan
    result = gate(frame, "missing_share")
    assert result.blocks
    assert result.value == pytest.approx(0.3)
    assert result.details == ({"column": "amount", "problem": "missing, at most 0.1 of the rows", "count": 60},)


def test_gates_refuse_what_is_no_training_set():
    with pytest.raises(ValueError, match="column default, split is missing"):
        training_gates(features(("a", AS_OF)), TINY, WINDOW)


@pytest.mark.parametrize("lender", ["canonical", "give_me_some_credit"])
def test_whole_way_from_applications_to_a_training_set_that_passes(lender: str):
    if lender == "canonical":
        portfolio, book = load_portfolio(), canonical_book
    else:
        portfolio, book = load_portfolio(GIVE_ME_SOME_CREDIT), give_me_some_credit_book
    applications, known = book(4_000, date(2014, 1, 1), date(2014, 6, 30), seed=7)
    window = CohortWindow(
        date(2014, 6, 30) + timedelta(days=portfolio.performance_window_days), portfolio.performance_window_days, 120
    )
    result = assemble_training_set(
        model_inputs(applications, portfolio), known, window, portfolio, test_share=0.25, validation_share=0.25
    ).to_pandas(date_as_object=False)
    gates = training_gates(result, portfolio, window)
    assert all(g.passed for g in gates), [g.line() for g in gates]
    assert 0.03 < result["default"].mean() < 0.10
    leak = next(g for g in gates if g.name == "leakage")
    assert 0.55 < leak.value < 0.85
