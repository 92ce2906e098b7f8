"""What cut-offs bring: the example of the documentation, computed again, and each measure beside a plain reckoning."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from credit_assets.ml.data.policies import CutoffPolicy
from credit_assets.ml.evidence.money import FundedLoans, break_even, measure_money, measure_swap, swaps_at_equal_rates

DOCS = Path(__file__).resolve().parents[3] / "docs" / "cutoffs.md"


def loans(count: int = 3_000, seed: int = 1) -> FundedLoans:
    rng = np.random.default_rng(seed)
    pd = 1 / (1 + np.exp(-rng.normal(-2.2, 0.9, count)))
    return FundedLoans(rng.random(count) < pd, pd, np.round(rng.lognormal(9, 0.6, count), 2))


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a line of the documentation."""
    text = DOCS.read_text("utf-8").split(heading, 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines
    return [[cell.strip() for cell in row.strip("| \n").split("|")] for row in lines[0].strip().splitlines()[2:]]


def test_the_example_of_the_documentation_holds() -> None:
    given = np.array([[float(cell.replace(",", "")) for cell in row] for row in table("Ten loans")])
    _, pd, amount, bad = given.T
    policy = CutoffPolicy(loss_given_default=0.5, margin=0.1, bootstrap=100)
    of = FundedLoans(bad == 1, pd, amount)
    found = measure_money(of, pd, policy)
    shown = table("What each cut-off brings:")
    by_cut = {round(row["pd"], 6): row for row in found["table"]}
    assert len(shown) == 5
    for cut, rate, approved, bads, expected, loss, profit in shown:
        row = by_cut[float(cut)]
        assert row["approval_rate"] == pytest.approx(float(rate.strip("%")) / 100)
        assert (row["loans"], row["bads"]) == (int(approved), int(bads))
        amounts = [float(text.replace(",", "")) for text in (expected, loss, profit)]
        assert [row["expected_loss"], row["loss"], row["profit"]] == pytest.approx(amounts)
    assert found["best"]["pd"] == 0.12
    assert found["break_even"] == pytest.approx(1 / 6)
    other = np.array([float(row[1]) for row in table("another model's PDs")])
    swap = measure_swap(of, other, (0.12, 0.12), policy)
    for side, some, bads in table("The swap set"):
        assert (swap[side.strip("`")]["loans"], swap[side.strip("`")]["bads"]) == (int(some), int(bads)), side
    assert swap["gain"] == pytest.approx(300)


def test_rows_rise_from_the_strictest_cut_off_to_everyone() -> None:
    found = measure_money(loans(), loans(seed=2).pd, CutoffPolicy(bootstrap=100), own=0.2)
    assert len(found["table"]) == 20
    for column in ("pd", "approval_rate", "loans", "expected_loss", "loss"):
        values = [row[column] for row in found["table"]]
        assert values == sorted(values), column
    last = found["table"][-1]
    assert (last["approval_rate"], last["loans"], last["bads"]) == (1.0, 3_000, found["bads"])
    assert found["own"]["pd"] == 0.2
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("costs", [{}, {"declined_good": 0.05, "declined_bad": 0.02}, {"margin": 0.02}])
def test_no_cut_off_brings_more_than_the_best_one(costs: dict[str, float]) -> None:
    policy, of = CutoffPolicy(bootstrap=100, **costs), loans()
    found = measure_money(of, of.pd, policy)

    def profit(cut: float) -> float:
        yes = of.pd <= cut
        made = np.where(of.bad, -policy.loss_given_default, policy.margin)[yes] @ of.amount[yes]
        lost = np.where(of.bad, policy.declined_bad, policy.declined_good)[~yes] @ of.amount[~yes]
        return float(made - lost)

    by_hand = max(profit(cut) for cut in (0.0, *of.pd))
    assert found["best"]["profit"] == pytest.approx(by_hand) == pytest.approx(profit(found["best"]["pd"]))
    assert all(row["profit"] == pytest.approx(profit(row["pd"])) for row in found["table"])
    assert found["best"]["low"] <= found["best"]["pd"] <= found["best"]["high"]
    # Where PDs are right, the best cut-off lies about where approving brings as much as declining.
    assert found["best"]["low"] < break_even(policy) < found["best"]["high"]


def test_nobody_is_approved_where_every_loan_is_bad() -> None:
    of = FundedLoans(np.ones(50, bool), np.linspace(0.1, 0.5, 50), np.ones(50))
    found = measure_money(of, of.pd, CutoffPolicy(bootstrap=100))["best"]
    assert (found["pd"], found["loans"], found["profit"], found["bad_rate"]) == (0.0, 0, 0.0, None)


def test_customers_are_drawn_whole() -> None:
    """Loans of one customer that stand or fall together tell as little as one of them."""
    once = loans(400)
    times = FundedLoans(
        *(np.repeat(values, 5) for values in (once.bad, once.pd, once.amount)), np.repeat(np.arange(400), 5)
    )
    alone = FundedLoans(times.bad, times.pd, times.amount)
    policy = CutoffPolicy(bootstrap=200)
    ends = [measure_money(of, of.pd, policy)["best"] for of in (once, times, alone)]
    widths = [one["high"] - one["low"] for one in ends]
    assert widths[1] == pytest.approx(widths[0], rel=0.3)
    assert widths[2] < 0.8 * widths[1]


def test_the_interval_holds_the_best_cut_off_as_often_as_it_says() -> None:
    policy, held = CutoffPolicy(bootstrap=100), 0
    for seed in range(60):
        found = measure_money(loans(1_000, seed), np.array([0.1]), policy)["best"]
        held += found["low"] <= break_even(policy) <= found["high"]
    # 57 of 60 are expected; fewer than 51 come by chance in 1 of 1,000 series.
    assert held >= 51


@pytest.mark.parametrize(("of", "applied"), [(loans(0), np.ones(1)), (loans(5), np.empty(0))])
def test_nothing_to_measure_on_is_refused(of: FundedLoans, applied: Any) -> None:
    with pytest.raises(ValueError, match="to measure cut-offs on"):
        measure_money(of, applied, CutoffPolicy())


def test_every_loan_stands_on_one_side_of_a_swap() -> None:
    of = loans()
    theirs = np.clip(of.pd * np.random.default_rng(3).lognormal(0, 0.5, len(of.pd)), 0, 0.99)
    for one in swaps_at_equal_rates(of, theirs, CutoffPolicy()):
        sides = [one[name] for name in ("in", "out", "both", "neither")]
        assert sum(side["loans"] for side in sides) == len(of.pd)
        assert sum(side["bads"] for side in sides) == of.bad.sum()
        # Both approve the same number, so that as many come in as go out.
        assert one["in"]["loans"] == one["out"]["loans"] > 0
    json.dumps(one, allow_nan=False)
