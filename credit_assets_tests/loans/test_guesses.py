"""Guesses about a table nobody has described, on tables of which the truth is known."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.first_look import beside, look_at, portfolio_name, read_file
from credit_assets.loans.generator import generate_book
from credit_assets.loans.guesses import Guesses, guess
from credit_assets.loans.layouts import ReadOptions
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets_tests.support.guessed_books import RENAMED, WAYS, count

# What a person would write who knows the generated book. Amounts are floats, counts are whole.
TRUTH: dict[str, dict[str, Any]] = {
    column.name: {"type": column.type, "role": column.role, "monotone": column.monotone}
    for column in load_portfolio().columns
}
TRUTH["application_id"]["type"] = "string"
TRUTH["state"]["role"] = "feature"  # Ignored there by a lender's decision, which no table shows.


@pytest.fixture(scope="module")
def book() -> tuple[pa.Table, pa.Table]:
    return generate_book(12_000, date(2022, 1, 1), date(2023, 6, 30), 11)


def guessed(folder: Path, book: tuple[pa.Table, pa.Table], way: str) -> Guesses:
    looks = []
    for name, table in zip(("applications", "outcomes"), book, strict=True):
        WAYS[way](table, folder / f"{name}.csv")
        looks.append(read_file(folder / f"{name}.csv", ReadOptions()))
    look = look_at(looks[0].columns, ReadOptions(), "applications")
    key = guess(look, "applications").named("id").look.given
    apart = look_at(beside(looks[0].columns, key, looks[1].columns, "outcomes"), ReadOptions(), "outcomes")
    return guess(look, "applications", apart)


@pytest.mark.parametrize("way", WAYS)
def test_types_roles_and_directions_of_the_generated_book(
    way: str, book: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    guesses = guessed(tmp_path, book, way)
    names = RENAMED if way == "German" else {}
    types, roles = (count(guesses, TRUTH, names, key) for key in ("type", "role"))
    assert types.right >= types.of - 1, types.wrong
    assert roles.right == roles.of, roles.wrong
    # A direction is guessed seldom rather than wrongly: none against the truth.
    directions = {one.look.given: one.monotone for one in guesses.columns if one.monotone}
    for name, true in TRUTH.items():
        said = directions.get(names.get(name, name), 0)
        assert said * true["monotone"] >= 0, name
    assert directions[names.get("interest_rate", "interest_rate")] == 1
    assert guesses.outcome is not None
    assert guesses.outcome.column == portfolio_name(names.get("defaulted", "defaulted"))
    assert guesses.outcome.date == portfolio_name(names.get("outcome_date", "outcome_date"))


def test_columns_without_a_direction_get_none() -> None:
    """2,000 columns of noise against 20,000 known outcomes: at five standard errors none is expected to be taken."""
    draw = np.random.default_rng(3)
    target = (draw.random(20_000) < 0.1).astype(int)
    noise = {f"n{number}": draw.normal(size=20_000) for number in range(300)}
    # Risk that rises and falls again has no direction either.
    hump = draw.normal(size=20_000)
    defaulted = np.where(np.abs(hump) < 0.3, draw.random(20_000) < 0.4, target == 1).astype(int)
    days = [date(2024, 1, 1)] * 20_000
    table = pa.table(
        {
            "loan_id": [f"L{n:05d}" for n in range(20_000)],
            "applied_on": days,
            "defaulted": defaulted,
            "hump": hump,
            **noise,
        }
    )
    guesses = guess(look_at(table, ReadOptions(), "noise"), "noise")
    assert {one.look.name: one.monotone for one in guesses.columns if one.monotone} == {}


def test_what_is_known_later_is_found_by_name_and_by_rank() -> None:
    draw = np.random.default_rng(5)
    rows = 5_000
    bad = draw.random(rows) < 0.2
    table = pa.table(
        {
            "loan_id": [f"L{n:05d}" for n in range(rows)],
            "issue_date": [date(2024, 1, 1)] * rows,
            "is_bad": bad.astype(int),
            "bureau_score": 600 + draw.normal(size=rows) * 60 - 25 * bad,
            "lastPaymentAmount": draw.random(rows),
            "recoveries": draw.random(rows),
            "collections_12_mths": draw.integers(0, 3, rows),
            # Nothing in its name: there for the bad ones, and almost the outcome itself.
            "xq_17": pa.array(draw.random(rows), mask=~(bad | (draw.random(rows) < 0.02))),
            "xq_18": bad * 3.0 + draw.normal(size=rows),
            "mortgage_balance": draw.random(rows) * 1e5,
            "age_of_oldest_account": draw.integers(0, 300, rows),
            "applicant_age": draw.integers(18, 80, rows),
            "zip-code": [f"{n % 9_000:05d}" for n in range(rows)],
        }
    )
    guesses = guess(look_at(table, ReadOptions(), "t"), "t")
    roles = {one.look.name: one.role for one in guesses.columns}
    assert [name for name, role in roles.items() if role == "ignored"] == [
        "is_bad", "lastPaymentAmount", "recoveries", "xq_17", "xq_18",
    ]  # fmt: skip
    assert [name for name, role in roles.items() if role == "protected"] == ["applicant_age", "zip-code"]
    assert "AUC" in next(one.why for one in guesses.columns if one.look.name == "xq_17")


def test_statuses_are_sorted_into_classes() -> None:
    levels = [
        "Angenommen-ausgezahlt",
        "abgelehnt",
        "Vom Kunden storniert",
        "in Bearbeitung",
        "Ausgefallen",
        "zurückgezahlt",
    ]
    status = [levels[n % 6] for n in range(600)]
    days = [date(2024, 1, 1 + n % 28) for n in range(600)]
    table = pa.table({"nr": range(600), "datum_antrag": days, "x": [n % 7 for n in range(600)], "Status": status})
    guesses = guess(look_at(table, ReadOptions(), "t"), "t")
    assert guesses.population == (
        "Status",
        {
            "withdrawn": ("Vom Kunden storniert",),
            "declined": ("abgelehnt",),
            "undecided": ("in Bearbeitung",),
            "booked": ("Angenommen-ausgezahlt", "Ausgefallen", "zurückgezahlt"),
        },
    )
    assert guesses.outcome is not None
    assert guesses.outcome.classes == {"bad": ("Ausgefallen",), "good": ("zurückgezahlt",)}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 1, 2], "day": [date(2024, 1, 1)] * 3}, "no column can be the id of the applications"),
        ({"id": [1, 1, 2], "day": [date(2024, 1, 1)] * 3}, "id has 0 missing and 2 different values in 3 rows"),
        ({"id": [1, 2, 3], "x": [0.5, 1, 2]}, "no column can be the day of application.*no column holds days"),
        ({"id": [1, 2, 3], "m": ["Dec-2015"] * 3}, r"\(m: months without a day\)"),
        ({"id": [1, 2, 3], "paid": [date(2024, 1, 1), None, None]}, r"dates are paid \(missing in 2 of 3 rows\)"),
    ],
)
def test_tables_without_an_id_or_a_day_say_what_was_found(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        guess(look_at(pa.table(columns), ReadOptions(), "t"), "t")


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("customer_id", [f"C{n % 700}" for n in range(1_000)], "customer"),
        ("KundenNr", [n % 700 for n in range(1_000)], "customer"),
        ("member_id", [10_000 + n for n in range(1_000)], "customer"),
        ("borrower", [f"B{n % 900}" if n % 5 else None for n in range(1_000)], "customer"),
        ("customer_type", [n % 3 for n in range(1_000)], "feature"),
        ("customer_group_id", [n % 4 for n in range(1_000)], "feature"),
        ("client_income", [float(n) / 3 for n in range(1_000)], "feature"),
    ],
)
def test_whose_application_it_is_is_told_by_name_and_by_how_many_there_are(
    name: str, values: list[Any], role: str
) -> None:
    table = pa.table(
        {
            "loan_id": [f"L{n:05d}" for n in range(1_000)],
            "applied": [date(2024, 1, 1)] * 1_000,
            name: values,
            "amount": [float(n % 97) for n in range(1_000)],
        }
    )
    found = guess(look_at(table, ReadOptions(), "loans"), "loans")
    assert {one.look.name: one.role for one in found.columns}[name] == role
