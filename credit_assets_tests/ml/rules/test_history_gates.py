"""Gates of history features: a lost history is found, and chance is not taken for one."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.ml.data.contracts import Contract
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.rules.history_gates import Unread, Without, history_gates, history_rules
from credit_assets_tests.support.histories import portfolio_of

DAY = date(2024, 3, 31)
PORTFOLIO = portfolio_of()
BEFORE = {DAY - timedelta(days=n): Without(100, {"months": 10}) for n in range(1, 15)}


def judged(
    days: dict[date, tuple[int, int]],
    before: dict[date, Without] = BEFORE,
    unread: dict[tuple[date, str], Unread] | None = None,
) -> dict[date, dict[str, GateResult]]:
    """The gates of days of so many applications, of which so many have no row."""
    contract = Contract(history_rules(PORTFOLIO), list(days))
    for day, (rows, without) in days.items():
        columns = {"id": [f"A{n:06d}" for n in range(rows)], "day": [day] * rows}
        columns |= {"months.rows": [None] * without + [3] * (rows - without)}
        schema = contract.schema
        table = pa.table({f.name: pa.array(columns.get(f.name, [None] * rows), f.type) for f in schema}, schema=schema)
        contract.check(table)
    gates = history_gates(contract.findings, PORTFOLIO, unread or {}, before)
    return {day: {gate.name: gate for gate in of} for day, of in gates.items()}


@pytest.mark.parametrize(("rows", "without", "verdict"), [
    (100, 10, "passed"), (100, 0, "passed"), (100, 30, "passed"), (100, 35, "passed"), (100, 45, "error"),
    (100, 100, "error"), (3, 3, "passed"), (5, 5, "error"), (0, 0, "passed"),
])  # fmt: skip
def test_the_share_without_a_row_is_held_against_the_days_before(rows: int, without: int, verdict: str) -> None:
    gate = judged({DAY: (rows, without)})[DAY]["history_rows"]
    assert gate.verdict == verdict
    if verdict == "error":
        assert gate.details == (
            {"column": "months", "problem": "without a row, 0.1 of the days before", "count": without},
        )
        assert "see whether it was loaded" in gate.message()
        assert "gates: max_history_loss" in gate.message()


def test_without_a_day_before_only_all_of_many_are_news() -> None:
    assert judged({DAY: (100, 99)}, {})[DAY]["history_rows"].passed
    assert judged({DAY: (19, 19)}, {})[DAY]["history_rows"].passed
    gate = judged({DAY: (20, 20)}, {})[DAY]["history_rows"]
    assert (gate.verdict, gate.details[0]["problem"]) == ("warn", "without a row, all of them")


def test_a_lost_history_stays_lost_however_long_it_lasts() -> None:
    days = {DAY + timedelta(days=n): (100, 100) for n in range(27)}
    assert {of["history_rows"].verdict for of in judged(days).values()} == {"error"}
    # As one by one: the days before are those that were not rejected.
    assert judged({DAY + timedelta(days=20): (100, 100)})[DAY + timedelta(days=20)]["history_rows"].verdict == "error"


def test_rows_that_cannot_be_read_are_told_and_many_stop_the_day() -> None:
    def verdict(one: Unread) -> GateResult:
        return judged({DAY: (100, 10)}, unread={(DAY, "months"): one})[DAY]["history_values"]

    assert verdict(Unread(1000)).verdict == "passed"
    few = verdict(Unread(1000, undated=3, unreadable=2))
    assert (few.verdict, [one["count"] for one in few.details]) == ("warn", [3, 2])
    assert verdict(Unread(1000, undated=40)).verdict == "error"
    assert verdict(Unread(0, undated=1)).verdict == "error"
    assert verdict(Unread(1000, unreadable=1000)).value == 1.0


@pytest.mark.parametrize("applications", [20, 100, 1000])
def test_when_nothing_is_wrong_it_does_not_fire_and_half_a_history_lost_is_found(applications: int) -> None:
    chance = np.random.default_rng(7)
    first = DAY + timedelta(days=1)

    def fired(share: float) -> float:
        drawn = chance.binomial(applications, share, 60)
        return float(np.mean([judged({first: (applications, int(n))})[first]["history_rows"].blocks for n in drawn]))

    assert fired(0.1) == 0.0
    if applications >= 100:
        assert fired(0.55) > 0.95
