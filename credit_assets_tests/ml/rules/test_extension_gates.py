"""Gates of a lender's own: on days that come in pieces, on training sets, and with what goes wrong in them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.checks import TRAINING_GATES, gates_of
from credit_assets.ml.data.extensions import ExtensionError
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.data.schemas import applications_schema, training_schema
from credit_assets.ml.extensions import try_used
from credit_assets.ml.rules.day_gates import check_applications, check_outcomes
from credit_assets.ml.rules.extension_gates import GATES, OwnDayGates
from credit_assets.ml.rules.training_gates import training_gates
from credit_assets_tests.support.lender import Lender
from credit_assets_tests.support.tiny import TINY, WINDOW

RULES = '''
"""Gates."""
from typing import TYPE_CHECKING
from credit_assets.ml.extensions import Judgement, detail, gate
if TYPE_CHECKING:
    import pyarrow as pa

@gate(of="applications", columns=["amount"])
def own_zero_amounts(rows: "pa.Table", *, most: float = 0.5) -> Judgement:
    """Few enough applications ask for nothing."""
    zero = sum(value == 0 for value in rows["amount"].to_pylist())
    share = zero / max(rows.num_rows, 1)
    return Judgement(share <= most, share, f"at most {most}", "Too many.", details=(detail("amount", "zero", zero),))

@gate(of="outcomes")
def own_no_outcome(rows: "pa.Table", *, most: int) -> Judgement:
    """Few enough outcomes become known in a day."""
    return Judgement(rows.num_rows <= most, rows.num_rows, f"at most {most}", "Too many.", severity="warn")

@gate(of="training_set", columns=["amount", "default", "split"])
def own_test_rows(rows: "pa.Table", *, least: int = 1) -> Judgement:
    """Rows enough to test on."""
    tested = sum(split == "test" for split in rows["split"].to_pylist())
    return Judgement(tested >= least, tested, f"at least {least}", "Too few." if tested < least else "Enough.")
'''
DAY = date(2024, 1, 2)


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lender:
    return Lender(tmp_path, monkeypatch).write(rules=RULES).install(module="rules")


def using(*gates: dict[str, Any]) -> Portfolio:
    return Portfolio.model_validate({**TINY.model_dump(), "extensions": {"gates": gates}})


def applications(*amounts: tuple[date, float]) -> pa.Table:
    frame = pd.DataFrame(
        {
            "id": [f"a{n}" for n in range(len(amounts))],
            "day": [day for day, _ in amounts],
            "amount": [amount for _, amount in amounts],
            "kind": "a",
            "gender": None,
            "branch": None,
        }
    )
    return pa.Table.from_pandas(frame, preserve_index=False).cast(applications_schema(TINY))


def test_a_day_is_judged_after_the_packages_own_gates(lender: Lender) -> None:
    own = using({"name": "own_zero_amounts", "parameters": {"most": 0.4}})
    rows = applications((DAY, 0.0), (DAY, 1.0), (DAY, 0.0))
    gate = check_applications(rows, own, [DAY], {}).gates[DAY][-1]
    assert (gate.name, gate.verdict, round(float(gate.value or 0), 3)) == ("own_zero_amounts", "error", 0.667)
    # Which one it was stands beside the verdict for ever.
    assert gate.setting.startswith("extensions: gates: own_zero_amounts, a gate own_zero_amounts of ")
    assert "1.2.0" in gate.setting
    assert "own_zero_amounts" not in {one.name for one in check_applications(rows, TINY, [DAY], {}).gates[DAY]}


def test_outcomes_and_days_without_rows_are_judged_too(lender: Lender) -> None:
    own = using({"name": "own_no_outcome", "parameters": {"most": 1}})
    outcomes = pd.DataFrame({"id": ["a", "b"], "known": [DAY, DAY], "bad": [0, 1]})
    days = [DAY, DAY + timedelta(1)]
    gates = check_outcomes(outcomes, own, days, {}).gates
    assert [(gates[day][-1].value, gates[day][-1].verdict) for day in days] == [(2, "warn"), (0, "passed")]


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_pieces_make_no_difference(lender: Lender, piece: int) -> None:
    own = using({"name": "own_zero_amounts"})
    days = [DAY + timedelta(n) for n in range(4)]
    # The third day has no rows.
    rows = applications((days[0], 0.0), (days[0], 1.0), (days[1], 0.0), (days[1], 0.0), (days[1], 5.0), (days[3], 1.0))
    judged = OwnDayGates(own, "applications", days, "day")
    for begin in range(0, rows.num_rows, piece):
        judged.add(rows.slice(begin, piece))
        assert len(judged._waiting) <= 1, "the rows of one day are held"
    assert [gates[0].value for gates in judged.close().values()] == [0.5, 2 / 3, 0.0, 0.0]


def test_without_such_gates_nothing_is_held(lender: Lender) -> None:
    judged = OwnDayGates(using({"name": "own_test_rows"}), "applications", [DAY], "day")
    judged.add(applications((DAY, 1.0)))
    assert judged._waiting == {}
    assert judged.close() == {DAY: ()}


def test_a_training_set_is_judged(lender: Lender) -> None:
    own = using({"name": "own_test_rows", "parameters": {"least": 3}})
    rows = pd.DataFrame(
        {
            "id": ["a", "b"],
            "day": [WINDOW.first] * 2,
            "amount": [1.0, 2.0],
            "kind": "a",
            "default": [0, 1],
            "split": "test",
        }
    )
    table = pa.Table.from_pandas(rows, preserve_index=False).cast(training_schema(own))
    gate = training_gates(table, own, WINDOW)[-1]
    assert (gate.name, gate.value, gate.blocks) == ("own_test_rows", 2, True)
    assert list(gates_of("training_set", own)) == [*TRAINING_GATES, "own_test_rows"]
    assert gates_of("training_set", own)["own_test_rows"].startswith("Rows enough to test on. (gate own_test_rows of ")
    assert list(gates_of("training_set", TINY)) == list(TRAINING_GATES)


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ({"name": "own_zero_amount"}, "there is no gate 'own_zero_amount' here; those of extensions are own_"),
        (
            {"name": "own_zero_amounts", "parameters": {"most": "0.5"}},
            "parameter most is '0.5': Input should be a valid number",
        ),
        ({"name": "own_zero_amounts", "parameters": {"mots": 0.5}}, "has no parameter mots; it takes most"),
        ({"name": "own_no_outcome"}, "gate 'own_no_outcome' needs its parameter most"),
        (
            {"name": "own_no_outcome", "parameters": {"most": 0.5}},
            "parameter most is 0.5: Input should be a valid integer",
        ),
        ({"name": "own_zero_amounts", "limit": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_use_that_cannot_be_is_refused_with_the_portfolio(lender: Lender, used: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="extensions") as refused:
        using(used)
    assert said in str(refused.value)


def test_one_gate_is_used_once(lender: Lender) -> None:
    with pytest.raises(ValueError, match="gate own_test_rows is named twice"):
        using({"name": "own_test_rows"}, {"name": "own_test_rows", "parameters": {"least": 3}})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'of="applications"',
            'of="loans"',
            "it judges 'loans': write @gate(of=...) with one of applications, outcomes",
        ),
        ("*, most: float = 0.5", "most: float = 0.5", "its parameter 'most' must be keyword-only (after a *)"),
        ("*, most: float = 0.5", "*, most=0.5", "its parameter 'most' must be keyword-only (after a *) and annotated"),
        ("*, most: float = 0.5", "*, most: 'Share' = 0.5", "its annotation Share cannot be read (NameError"),
        ('rows: "pa.Table", *, most: float = 0.5', "*, most: float = 0.5", "its first parameter is what it looks at"),
        (
            ') -> Judgement:\n    """Few enough applications',
            ') -> bool:\n    """Few enough applications',
            "its result must be annotated Judgement",
        ),
        ('    """Few enough applications ask for nothing."""\n', "", "it has no docstring"),
    ],
)
def test_a_function_that_is_no_gate_is_refused(lender: Lender, old: str, new: str, said: str) -> None:
    lender.edit("rules", old, new)
    with pytest.raises(ExtensionError) as refused:
        GATES.extensions()
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max(rows.num_rows, 1)", "rows.num_rows", "failed with ZeroDivisionError (rules.py, line 12) on 0 rows"),
        (
            'columns=["amount"]',
            'columns=["amuont"]',
            "it reads amuont, which applications of this portfolio do not have",
        ),
        ("    return Judgement(share", "    return share\n    return Judgement(share", "gives a float: it must give a"),
        (
            'detail("amount", "zero", zero)',
            '{"amount": zero}',
            "its Judgement is none: gate 'own_zero_amounts': a detail has",
        ),
        (
            '"Too many.", details',
            '"Too many.", severity="fatal", details',
            "severity is 'error' or 'warn', not 'fatal'",
        ),
    ],
)
def test_what_a_table_without_rows_shows_is_refused_before_the_night(
    lender: Lender, old: str, new: str, said: str
) -> None:
    try_used(using({"name": "own_zero_amounts"}, {"name": "own_no_outcome", "parameters": {"most": 3}}))
    lender.edit("rules", old, new)
    with pytest.raises(ExtensionError) as refused:
        try_used(using({"name": "own_zero_amounts"}))
    assert said in str(refused.value)


def test_a_gate_may_not_have_the_name_of_another(lender: Lender) -> None:
    lender.edit("rules", "def own_zero_amounts", "def volume")
    with pytest.raises(ExtensionError, match="raw_loan_data has a gate of this name itself: rename yours"):
        gates_of("raw_loan_data", using({"name": "volume"}))


def test_a_failure_on_data_shows_no_value_of_it(lender: Lender) -> None:
    lender.edit(
        "rules", "    zero = sum(", '    if 4711.0 in rows["amount"].to_pylist(): raise KeyError(4711)\n    zero = sum('
    )
    own = using({"name": "own_zero_amounts"})
    with pytest.raises(ExtensionError) as failed:
        check_applications(applications((DAY, 4711.0)), own, [DAY], {})
    assert "failed with KeyError (rules.py, line 11) on 1 rows" in str(failed.value)
    assert "4711" not in str(failed.value)
