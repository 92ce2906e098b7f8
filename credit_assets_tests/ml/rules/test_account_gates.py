"""The gate on the accounts of the tables: what it stops, what it shows, and in which words."""

from __future__ import annotations

from datetime import date

import pytest

from credit_assets.ml.data.accounts import Account
from credit_assets.ml.data.portfolio import Gates
from credit_assets.ml.rules.account_gates import account_gate, account_of_training

OLD, FIRST, LAST = date(2024, 1, 1), date(2024, 3, 1), date(2024, 3, 31)


def outs(rows: int = 1000, **parts: int) -> Account:
    return Account("outs", "known_on", rows, ingested=rows - sum(parts.values()), **parts)


def late(*days: date, rows: int = 10_000, gone: dict[date, int] | None = None) -> Account:
    arrived = dict.fromkeys(days, 3)
    ingested = rows - sum(arrived.values()) + sum((gone or {}).values())
    return Account("outs", "known_on", rows, ingested=ingested, arrived=arrived, gone=gone or {})


@pytest.mark.parametrize(
    ("parts", "limits", "verdict"),
    [
        ({}, {}, "passed"),
        ({"before_start": 400, "open": 3, "not_ingested": 50, "quarantined": 7}, {}, "passed"),
        ({"missing": 1}, {}, "error"),
        ({"unreadable": 1}, {}, "error"),
        ({"implausible": 1}, {}, "error"),
        ({"missing": 10}, {"max_undated_share": 0.01}, "warn"),
        ({"missing": 6, "unreadable": 5}, {"max_undated_share": 0.01}, "error"),
        ({"missing": 620}, {"unaccounted": "warn"}, "warn"),
        ({"future": 9}, {}, "warn"),
    ],
)
def test_rows_that_no_day_finds(parts: dict[str, int], limits: dict[str, object], verdict: str) -> None:
    assert account_gate([outs(), outs(**parts)], Gates.model_validate(limits)).verdict == verdict


@pytest.mark.parametrize(
    ("account", "verdict"),
    [
        (late(), "passed"),
        (late(LAST), "warn"),  # 3 of 10,000
        (late(LAST, rows=1000), "error"),  # 3 of 1,000
        (late(rows=1000, gone={LAST: 3}), "error"),
    ],
)
def test_rows_that_came_or_went_since(account: Account, verdict: str) -> None:
    assert account_gate([account], Gates()).verdict == verdict


def test_the_words_have_the_numbers_the_column_the_setting_and_the_way_out() -> None:
    gate = account_gate([outs(6000, missing=620), late(LAST, FIRST, rows=60)], Gates())
    assert gate.value == 626
    assert gate.details == (
        {"column": "outs.known_on", "problem": "no date", "count": 620},
        {"column": "outs.known_on", "problem": "arrived after their day was ingested", "count": 6},
    )
    for text in (
        "outs: 6,000 rows = 5,380 ingested + 620 without a date",
        "620 of 6,000 rows of outs (0.103), at most 0 allowed (gates: max_undated_share)",
        "6 of 60 rows of outs (0.1), at most 0.001 allowed (gates: max_late_share)",
        "credit-assets recheck --since 2024-03-01",
    ):
        assert text in gate.description
    assert "max_undated_share" in gate.threshold


def test_a_training_set_is_held_against_its_own_days() -> None:
    window = {"loan_outcomes": (FIRST, LAST)}
    before = account_of_training({"loan_outcomes": late(OLD, rows=100, gone={OLD: 1})}, window, Gates())
    assert before.passed
    within = account_of_training({"loan_outcomes": late(OLD, LAST, rows=100)}, window, Gates())
    assert (within.verdict, within.value) == ("error", 3)
    # Nobody knows in which window a row without a date would lie.
    assert account_of_training({"loan_outcomes": outs(missing=1)}, window, Gates()).blocks
