"""Every gate, failed: its message has what was found, what is allowed, the columns, and a setting that there is."""

from __future__ import annotations

import re
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from credit_assets.checks import APPLICATION_GATES, OUTCOME_GATES, RECORDED_GATES, TRAINING_GATES
from credit_assets.loans.generator import generate_book
from credit_assets.ml.data.accounts import Account
from credit_assets.ml.data.cohorts import CohortWindow
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.matured import Matured
from credit_assets.ml.data.orphans import Orphans
from credit_assets.ml.data.policies import Policy, WorldPolicy
from credit_assets.ml.data.portfolio import Column, Gates, OutcomeTable, Portfolio, load_portfolio
from credit_assets.ml.evidence.world import measure_feed, measure_target, measure_world
from credit_assets.ml.rules.account_gates import account_gate
from credit_assets.ml.rules.copies_gates import copies_gate
from credit_assets.ml.rules.day_gates import check_applications, check_outcomes
from credit_assets.ml.rules.population_gates import evidence_gate, population_gate, status_gate
from credit_assets.ml.rules.training_gates import orphan_gate, training_gates
from credit_assets.ml.rules.world_gates import outcomes_arrive, world_gates
from credit_assets.settings import Settings
from credit_assets_tests.support.tiny import TINY, WINDOW, days

DAY = date(2024, 1, 2)
SPLITS_OF = np.array(["train", "validation", "test"], dtype=object)


def applications() -> pd.DataFrame:
    loans, _ = generate_book(200, DAY, DAY, 1)
    return loans.to_pandas()


def failing_applications() -> list[GateResult]:
    """Days that each break one or two gates."""
    base = load_portfolio().model_dump()
    base["columns"] = [
        {**column, "max_missing_share": 0.02} if column["name"] == "annual_income" else column
        for column in base["columns"]
    ]
    portfolio = Portfolio.model_validate(base)
    frame = applications()
    several = pd.concat([frame, frame.iloc[:50].assign(loan_amount=frame["loan_amount"].iloc[:50] + 1)])
    recent = {DAY - timedelta(number): 200 for number in range(1, 20)}
    spoiled = [
        (frame.drop(columns=["loan_amount"]), recent),
        (frame.assign(loan_amount=-5.0), recent),
        (frame.assign(annual_income=np.where(np.arange(len(frame)) % 2, np.nan, frame["annual_income"])), recent),
        (several, recent),
        (frame.assign(application_date=DAY + timedelta(1)), recent),
        (frame.iloc[:5], recent),
        (frame.iloc[:0], recent),
    ]
    results = [check_applications(rows, portfolio, [DAY], volume) for rows, volume in spoiled]
    return [gate for one in results for gate in one.gates[DAY] if not gate.passed]


def failing_outcomes() -> list[GateResult]:
    portfolio = load_portfolio()
    frame = pd.DataFrame(
        {"application_id": ["A1", "A2", "A1"], "outcome_date": [DAY] * 3, "defaulted": [True, True, False]}
    )
    spoiled = [
        frame.drop(columns=["defaulted"]),
        frame.assign(defaulted=None),
        frame,
        frame.assign(outcome_date=DAY + timedelta(1)),
    ]
    recent = {DAY - timedelta(number): 2000 for number in range(1, 150)}
    results = [check_outcomes(rows, portfolio, [DAY], recent) for rows in spoiled]
    return [gate for one in results for gate in one.gates[DAY] if not gate.passed]


def training_set(bads: int = 40, rows: int = 200, **columns: object) -> pd.DataFrame:
    target = np.zeros(rows, dtype=np.int8)
    target[np.linspace(0, rows - 1, bads).astype(int)] = 1
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": [f"a{n}" for n in range(rows)],
            "day": np.repeat(np.array(days(20), dtype="datetime64[ms]"), rows // 20),
            "amount": rng.normal(size=rows),
            "kind": rng.choice(np.array(["a", "b"], dtype=object), rows),
            "default": target,
            "split": np.repeat(SPLITS_OF, [rows // 2, rows // 4, rows // 4]),
        }
    ).assign(**columns)


def failing_training() -> list[GateResult]:
    base = TINY.model_dump()
    base["columns"] = [{**c, "max_missing_share": 0.1} if c["name"] == "amount" else c for c in base["columns"]]
    portfolio = Portfolio.model_validate(base)
    frame = training_set()
    sets = [
        training_set(bads=2, rows=20),
        training_set(bads=190),
        frame.assign(amount=frame["default"] * 5.0),
        frame.assign(amount=np.nan),
        frame.assign(amount=1.0),
        frame.drop(columns=["kind"]),
    ]
    gates = [gate for one in sets for gate in training_gates(one, portfolio, WINDOW) if not gate.passed]
    unaccounted = account_gate([Account("outs", "known_on", 100, ingested=90, missing=10)], Gates())
    orphans = orphan_gate(Orphans(100, 25, "text of 5 characters", "text of 9"), portfolio)
    evidence = evidence_gate(Matured(100, 60, 35, 5, "365 days after its term"), portfolio)
    unknown = status_gate("outcomes", "bad", {"sold": 2})
    world = [gate for gate in failing_world(portfolio) if not gate.passed]
    loans = applications()
    twice = pd.concat([loans, loans.assign(application_id=loans["application_id"] + "-2")]).assign(split="train")
    copies = copies_gate(twice, load_portfolio())
    return [*gates, unaccounted, orphans, evidence, unknown, population_gate(portfolio, None), copies, *world]


def failing_world(portfolio: Portfolio) -> list[GateResult]:
    """A column in another unit, lost goods, and a feed that stopped."""
    then, now = (pd.DataFrame({"amount": np.arange(1.0, 501.0) * unit}) for unit in (1, 1_000))
    measured = measure_world(then, now, ["amount"], [])
    days = {"train": ["2024-01-01", "2024-01-31"], "test": ["2024-02-01", "2024-02-29"]}
    applied = np.repeat(np.array(["2024-01-10", "2024-02-10"], dtype="datetime64[D]"), 300)
    bad = (np.arange(600) % 10 == 0) | (np.arange(600) >= 400)
    evidence = {
        "comparisons": [{"before": "train", "after": "test", "days": days, **measured}],
        "newest": "",
        "target": measure_target(applied, bad, applied),
    }
    feed = measure_feed(np.arange(19_700, 19_800), date(2023, 12, 9), date(2024, 5, 31))
    return [
        *world_gates(evidence, WorldPolicy(), portfolio),
        outcomes_arrive({"outcomes": feed}, "2024-05-31", WorldPolicy(), portfolio),
    ]


def failing_decisions() -> list[GateResult]:
    return [status_gate("population", "status", {"frozen": 3})]


CASES = {
    "applications": (failing_applications, APPLICATION_GATES),
    "outcomes": (failing_outcomes, OUTCOME_GATES),
    # States never fail: `due`, and when a column was read.
    "decisions": (failing_decisions, set(RECORDED_GATES) - {"recorded"}),
    "training": (failing_training, set(TRAINING_GATES) - {"due"}),
}
# Of a whole day or set, and not of columns.
WITHOUT_COLUMN = {"volume", "quarantined_share", "population"}


@pytest.mark.parametrize("kind", list(CASES))
def test_every_gate_says_what_where_how_much_and_what_rules_it(kind: str) -> None:
    make, names = CASES[kind]
    failed = make()
    # None is left out: a new gate needs a case here.
    assert {gate.name for gate in failed} == set(names)
    for gate in failed:
        message = gate.message()
        found = str(gate.value) if not isinstance(gate.value, float) else f"{gate.value:.6g}"
        assert f"Found {found}, allowed {gate.threshold}." in message
        assert re.search(r"\d", found)
        assert re.search(r"\d", gate.threshold)
        assert f"Ruled by {gate.setting}." in message
        assert gate.setting in gate.line()
        if gate.name in WITHOUT_COLUMN:
            assert not gate.details
        else:
            assert gate.details
            assert all(one["column"] in message and str(one["count"]) in message for one in gate.details[:5])


@pytest.mark.parametrize("kind", list(CASES))
def test_what_rules_a_gate_can_be_set(kind: str) -> None:
    make, _ = CASES[kind]
    for gate in make():
        parts = re.split(r",? and (?=CREDIT_)", gate.setting)
        for part in parts:
            if part.startswith("CREDIT_"):
                assert part.removeprefix("CREDIT_").lower() in Settings.model_fields
            elif part in Portfolio.model_fields:
                continue
            elif part.startswith("gates: "):
                assert set(part.removeprefix("gates: ").split(", ")) <= set(Gates.model_fields)
            elif part.startswith("policy: "):
                _, section, keys = part.split(": ")
                assert set(keys.split(", ")) <= set(getattr(Policy(), section).model_dump())
            else:
                where, _, keys = part.rpartition(": ")
                assert where.startswith("columns: ")
                words = {word for word in re.split(r"[, ()]+|and", keys) if word}
                assert words <= {*Column.model_fields, "id", "date", *OutcomeTable.model_fields}


def advice(bads: int, rows: int, first: date | None) -> str:
    gates = training_gates(training_set(bads, rows), TINY, WINDOW, first)
    return next(gate.description for gate in gates if gate.name == "enough_outcomes")


def test_a_longer_lookback_is_advised_only_where_there_is_one() -> None:
    older = advice(3, 200, WINDOW.first - timedelta(100))
    assert "of cohorts have enough: a longer lookback (CREDIT_LOOKBACK_DAYS, now 20)" in older
    assert older == advice(3, 200, None)
    none = advice(3, 200, WINDOW.first)
    assert f"no cohort is older than {WINDOW.first} (CREDIT_START_DATE), so that a longer lookback finds none" in none
    assert "a later as-of date" in none
    unmet = advice(0, 200, None)
    assert "not one default met its application: see whether outcomes are loaded up to" in unmet
    assert "lookback" not in unmet


def test_features_that_tell_nothing_are_named_before_they_are_trained_on() -> None:
    def of(frame: pd.DataFrame, portfolio: Portfolio = TINY) -> GateResult:
        return next(g for g in training_gates(frame, portfolio, WINDOW) if g.name == "usable_features")

    frame = training_set()
    assert of(frame).passed
    # One row with a value and all others without says that there is one value only.
    once = frame.assign(amount=np.where(np.arange(200) == 3, 7.0, np.nan))
    for spoiled, column, problem, count in (
        (frame.assign(amount=np.nan), "amount", "all missing", 200),
        (frame.assign(kind=None), "kind", "all missing", 200),
        (frame.assign(kind="a"), "kind", "the same value in all rows that have one (0 missing)", 200),
        (frame.assign(kind=pd.Categorical(["a"] * 200, ["a", "b"])), "kind", "the same value in all rows", 200),
        (once, "amount", "the same value in all rows that have one (199 missing)", 1),
        (frame.drop(columns=["amount"]), "amount", "gone: the set has no such column", 200),
    ):
        found = of(spoiled)
        assert (found.verdict, found.value) == ("warn", 1)
        assert (found.details[0]["column"], found.details[0]["count"]) == (column, count)
        assert found.details[0]["problem"].startswith(problem)
    gates = {**TINY.gates.model_dump(), "unusable_features": "error"}
    strict = Portfolio.model_validate({**TINY.model_dump(), "gates": gates})
    assert of(frame.assign(amount=1.0), strict).blocks
    assert of(frame, strict).passed


def test_the_window_of_the_tests_is_what_the_messages_say() -> None:
    assert isinstance(WINDOW, CohortWindow)
    assert WINDOW.lookback_days == 20
