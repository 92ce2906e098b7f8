"""How formulas move with their inputs, and portfolios whose directions contradict themselves."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from credit_assets.ml.data.directions import MOVES, contradictions, effects, not_secured, try_directions
from credit_assets.ml.data.extensions import ExtensionError
from credit_assets.ml.data.formulas import FUNCTIONS, parameters
from credit_assets.ml.data.portfolio import Portfolio, PortfolioError, load_portfolio
from credit_assets_tests.support.lender import Lender
from credit_assets_tests.support.synthetic import GIVE_ME_SOME_CREDIT

ROWS = 20_000
EVERY = [(function, name) for function in FUNCTIONS.packaged for name in parameters(function)]
PORTFOLIOS = sorted((Path(__file__).parents[3] / "credit_assets" / "portfolios").glob("*.yaml"))


def drawn(function: str, rng: np.random.Generator, signed: frozenset[str] = frozenset()) -> dict[str, pd.Series[float]]:
    """Values of any size, zeros and ones among them; those of `signed` inputs negative too."""
    made = {}
    for name in parameters(function):
        values = np.exp(rng.uniform(-6, 14, ROWS)) * rng.choice([0.0, 1.0], ROWS, p=[0.05, 0.95])
        values = np.where(rng.random(ROWS) < 0.05, 1.0, values)
        if name in ("term_months", "dependents", "open_accounts"):
            values = np.round(values % 480)
        if name == "interest_rate":
            values %= 100
        made[name] = pd.Series(np.where(rng.random(ROWS) < 0.5, -values, values) if name in signed else values)
    return made


def change(function: str, moved: str, signed: frozenset[str] = frozenset()) -> np.ndarray[Any, Any]:
    """By how much the formula changes as `moved` rises, in units of what rounding may do; 0 where either is missing."""
    rng = np.random.default_rng(11)
    values = drawn(function, rng, signed)
    low, high = values[moved], values[moved] * rng.choice([1.0001, 1.5, 30.0], ROWS) + rng.choice([0.0, 1.0], ROWS)
    if moved == "interest_rate":
        high = pd.Series(np.minimum(high, 100.0))
    with np.errstate(all="ignore"):
        ends = [FUNCTIONS[function](**{**values, moved: one}).to_numpy() for one in (low, high)]
        amounts = sum((np.abs(one.to_numpy()) for one in values.values()), start=np.ones(ROWS))
        size = 1e-10 * (np.abs(ends[0]) + np.abs(ends[1])) + 1e-14 * amounts
        return np.nan_to_num((ends[1] - ends[0]) / size)


def test_every_input_of_every_formula_has_its_move() -> None:
    """A formula without one would let contradictions pass by."""
    assert {(function, name) for function, moves in MOVES.items() for name in moves} == set(EVERY)


@pytest.mark.parametrize(("function", "name"), EVERY)
def test_a_formula_moves_as_it_is_declared(function: str, name: str) -> None:
    move = MOVES[function][name]
    moved = change(function, name) * move.sign
    assert move.sign != 0
    assert moved.min() >= -1
    assert (moved > 1).mean() > 0.2, "it hardly moves at all: the values show nothing"


@pytest.mark.parametrize(("function", "name"), EVERY)
def test_what_a_move_depends_on_is_declared(function: str, name: str) -> None:
    """Each input that must not be negative is one under which the formula turns round, and there is no other."""
    over = MOVES[function][name].over
    for other in parameters(function):
        if (
            other in ("annual_income", "term_months", "interest_rate", "dependents", "collateral_value")
            or other == name
        ):
            continue  # Divisors and times: the formulas have a floor for them, or no value below it.
        falls = change(function, name, frozenset({other})) * MOVES[function][name].sign < -1
        # What is left of a sum of large amounts may fall by its rounding.
        assert bool(falls.mean() > 0.05) is (other in over), other


def lender(**directions: int) -> dict[str, Any]:
    """A portfolio with all inputs of an instalment and its burden, with these directions."""
    columns: list[dict[str, Any]] = [
        {"name": "id", "type": "string", "role": "id", "nullable": False},
        {"name": "day", "type": "date", "role": "date", "nullable": False},
        *({"name": name, "type": "float"} for name in ("loan_amount", "interest_rate", "term_months", "annual_income")),
    ]
    derived: list[dict[str, Any]] = [{"name": "monthly_payment"}, {"name": "payment_to_income"}]
    for one in (*columns, *derived):
        if one["name"] in directions:
            one["monotone"] = directions[one["name"]]
    return {"name": "lender", "columns": columns, "derived": derived}


@pytest.mark.parametrize(
    ("directions", "pairs"),
    [
        ({"term_months": 1, "payment_to_income": 1}, [("term_months", "payment_to_income")]),
        ({"annual_income": 1, "payment_to_income": 1}, [("annual_income", "payment_to_income")]),
        ({"interest_rate": -1, "payment_to_income": 1}, [("interest_rate", "payment_to_income")]),
        ({"loan_amount": 1, "monthly_payment": -1}, [("loan_amount", "monthly_payment")]),
        (
            {"term_months": 1, "payment_to_income": 1, "monthly_payment": 1},
            [("term_months", "monthly_payment"), ("term_months", "payment_to_income")],
        ),
        ({"term_months": -1, "payment_to_income": 1, "annual_income": -1, "interest_rate": 1}, []),
        ({"term_months": 1}, []),
        ({"payment_to_income": 1, "monthly_payment": -1}, []),
        ({}, []),
    ],
)
def test_a_contradiction_is_refused_with_the_pair_named(
    tmp_path: Path, directions: dict[str, int], pairs: list[tuple[str, str]]
) -> None:
    file = tmp_path / "portfolio.yaml"
    file.write_text(yaml.safe_dump(lender(**directions)), "utf-8")
    if not pairs:
        load_portfolio(file)
        return
    with pytest.raises(PortfolioError, match="contradict each other") as refused:
        load_portfolio(file)
    said = str(refused.value)
    for column, derived in pairs:
        assert f"column {column!r} with monotone: {directions[column]}" in said
        assert f"derived feature {derived!r} with monotone: {directions[derived]}" in said
    assert said.count("contradict each other") == len(pairs)
    assert "write `monotone: 0`" in said


def test_what_the_message_says_to_write_is_loaded(tmp_path: Path) -> None:
    """The direction that it names for the derived feature, and none for either."""
    Portfolio.model_validate(lender(term_months=1, payment_to_income=-1))
    Portfolio.model_validate(lender(term_months=0, payment_to_income=1))
    Portfolio.model_validate(lender(term_months=1, payment_to_income=0))
    with pytest.raises(ValueError, match="or `monotone: -1` for payment_to_income"):
        Portfolio.model_validate(lender(term_months=1, payment_to_income=1))


def test_a_ratio_of_what_may_be_negative_is_not_judged() -> None:
    """Its denominator moves it either way."""
    content = lender(annual_income=1)
    content["derived"] = [
        {"name": "burden", "function": "ratio", "monotone": 1,
         "inputs": {"numerator": "loan_amount", "denominator": "annual_income"}},
    ]  # fmt: skip
    with pytest.raises(ValueError, match="as annual_income rises, burden falls"):
        Portfolio.model_validate(content)
    content["columns"][2]["minimum"] = -10
    assert [one.sign for one in effects(Portfolio.model_validate(content))] == [1, 0]


def test_a_column_that_is_read_twice_moves_by_both() -> None:
    content = lender(annual_income=1)
    content["derived"] = [
        {"name": "same", "function": "total", "inputs": {"left": "annual_income", "right": "annual_income"},
         "monotone": -1},
    ]  # fmt: skip
    with pytest.raises(ValueError, match="as annual_income rises, same rises"):
        Portfolio.model_validate(content)
    content["derived"][0]["function"] = "difference"
    assert [one.sign for one in effects(Portfolio.model_validate(content))] == [0]


def test_directions_of_columns_that_a_pattern_takes_are_judged_once_they_are_known() -> None:
    content = lender(payment_to_income=1)
    content["columns"] = [one for one in content["columns"] if one["name"] != "term_months"]
    content["columns_matching"] = [{"names": "term*", "type": "float", "monotone": 1}]
    portfolio = Portfolio.model_validate(content)
    with pytest.raises(PortfolioError, match="column 'term_months' with monotone: 1"):
        portfolio.with_columns(["id", "day", "term_months"])


def test_a_history_feature_that_is_read_is_a_column_like_any_other() -> None:
    content = lender()
    content["columns"].append({"name": "customer", "type": "string", "role": "ignored"})
    content["histories"] = [
        {"name": "months", "table": "m", "key": "customer", "date": "month", "columns": ["balance"]}
    ]
    content["derived"] = [
        {"name": "balance", "history": "months", "aggregate": "last", "column": "balance", "monotone": 1},
        {"name": "left_over", "function": "difference", "inputs": {"left": "annual_income", "right": "balance"},
         "monotone": 1},
    ]  # fmt: skip
    with pytest.raises(ValueError, match="column 'balance' with monotone: 1 and derived feature 'left_over'"):
        Portfolio.model_validate(content)


@pytest.mark.parametrize("file", [*PORTFOLIOS, GIVE_ME_SOME_CREDIT], ids=lambda file: Path(file).stem)
def test_packaged_portfolios_hold_their_directions_by_construction(file: Path) -> None:
    """Nothing that they derive pulls a whole applicant the other way."""
    portfolio = load_portfolio(file)
    assert not contradictions(portfolio)
    assert not not_secured(portfolio)


def test_a_free_derived_feature_is_named_as_one_that_may_pull_the_other_way() -> None:
    portfolio = Portfolio.model_validate(lender(interest_rate=1, payment_to_income=1))
    assert {name: [one.derived for one in through] for name, through in not_secured(portfolio).items()} == {
        "interest_rate": ["monthly_payment"]
    }


# Extensions

SOURCE = """
from credit_assets.ml.extensions import Numbers, feature

@feature({declared})
def burden(loan_amount: Numbers, annual_income: Numbers) -> Numbers:
    return loan_amount / annual_income.clip(lower=1.0)
"""


def own(folder: Path, monkeypatch: pytest.MonkeyPatch, declared: str, **directions: int) -> Portfolio:
    """A portfolio with a feature of an extension that declares this; refused where it contradicts the directions."""
    Lender(folder, monkeypatch).write(features=SOURCE.format(declared=declared)).install()
    content = copy.deepcopy(lender(**directions))
    content["derived"] = [{"name": "burden", "monotone": 1}]
    return Portfolio.model_validate(content)


DECLARED = 'directions={"loan_amount": 1, "annual_income": -1}'


def test_what_an_extension_declares_is_held_against_the_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="column 'annual_income' with monotone: 1 and derived feature 'burden'"):
        own(tmp_path, monkeypatch, DECLARED, annual_income=1)


def test_what_an_extension_does_not_declare_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    portfolio = own(tmp_path, monkeypatch, "", annual_income=1)
    assert [one.derived for one in not_secured(portfolio)["annual_income"]] == ["burden"]
    try_directions(portfolio)


def test_a_declaration_that_is_kept_secures_the_direction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    portfolio = own(tmp_path, monkeypatch, DECLARED, annual_income=-1)
    assert not not_secured(portfolio)
    try_directions(portfolio)


def test_a_declaration_that_is_not_kept_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    portfolio = own(tmp_path, monkeypatch, 'directions={"loan_amount": -1}')
    with pytest.raises(
        ExtensionError, match=r"feature burden .*directions: 'loan_amount': -1: in \d+ of 400 made rows"
    ):
        try_directions(portfolio)


@pytest.mark.parametrize("declared", ['{"income": 1}', '{"loan_amount": 2}', '{"loan_amount": True}'])
def test_a_declaration_that_says_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str
) -> None:
    with pytest.raises(ValueError, match=r"feature burden .*directions: '(income|loan_amount)'"):
        own(tmp_path, monkeypatch, f"directions={declared}")
