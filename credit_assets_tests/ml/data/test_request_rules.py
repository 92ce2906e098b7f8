"""The rules of a request: what is refused, what is scored with a warning, and what is said of it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.loans.generator import generate_book
from credit_assets.ml.data.portfolio import Column, Portfolio, load_portfolio
from credit_assets.ml.data.request_rules import RULES_FILE, CheckedRequest, RequestError, RequestRules

LEVELS = {"purpose": ["car", "boat"]}
AMOUNT: dict[str, Any] = {"name": "amount", "type": "float", "nullable": False, "minimum": 1, "maximum": 100}
TERM: dict[str, Any] = {"name": "term", "type": "integer"}
OWNER: dict[str, Any] = {"name": "owner", "type": "boolean"}
PURPOSE: dict[str, Any] = {"name": "purpose", "type": "category", "allowed": ["car", "boat", "house"]}
SOUND: dict[str, list[Any]] = {
    "amount": [5.0, 6.0],
    "term": [36, None],
    "owner": [True, None],
    "purpose": ["car", None],
}

BREACHES = [
    ("amount", [5.0, None], "missing"),
    ("amount", [5.0, np.nan], "missing"),
    ("amount", [5.0, pd.NA], "missing"),
    ("amount", [5.0, pd.NaT], "missing"),
    ("amount", [5.0, "  "], "missing"),
    ("amount", [5.0, 0.5], "below 1"),
    ("amount", [5.0, -60_000], "below 1"),
    ("amount", [5.0, 101], "above 100"),
    ("amount", [5.0, np.inf], "not a finite number"),
    ("amount", [5.0, 10**400], "not a finite number"),
    ("amount", [5.0, "12.5%"], "not a finite number"),
    ("amount", [5.0, "1,000"], "not a finite number"),
    ("amount", [5.0, [7]], "not a finite number"),
    ("amount", [5.0, {"a": 7}], "not a finite number"),
    ("amount", [5.0, pd.Timestamp("2020-01-01")], "not a finite number"),
    ("term", [36, 12.5], "not a whole number"),
    ("term", [36, 2.0**70], "not a whole number"),
    ("term", [36, "three years"], "not a whole number"),
    ("owner", [True, 2], "not true or false"),
    ("owner", [True, "perhaps"], "not true or false"),
    ("purpose", ["car", "yacht"], "not an allowed value"),
    ("purpose", ["car", "Car"], "not an allowed value"),
    ("purpose", ["car", {"car": 1}], "not text"),
]


def rules(on_request: str | None = None, **changes: Any) -> RequestRules:
    columns = (AMOUNT, TERM, OWNER, PURPOSE)
    return RequestRules(tuple(Column(**{**column, "on_request": on_request, **changes}) for column in columns))


def ask(rules: RequestRules, batch: dict[str, Any], rows: int = 2) -> tuple[RequestError | None, list[Any]]:
    request = CheckedRequest(rules, LEVELS)
    _, warnings = request.read({name: pd.Series(values, dtype=object) for name, values in batch.items()}, rows)
    return request.refusal, [None] * rows if warnings is None else warnings.tolist()


@pytest.mark.parametrize("on_request", [None, "refuse", "warn"])
def test_sound_rows_are_scored_without_a_word(on_request: str | None) -> None:
    assert ask(rules(on_request), SOUND) == (None, [None, None])


@pytest.mark.parametrize(("column", "values", "rule"), BREACHES)
def test_a_breach_of_the_contract_is_refused_unless_the_column_says_otherwise(
    column: str, values: list[Any], rule: str
) -> None:
    for on_request in (None, "refuse"):
        refusal, _ = ask(rules(on_request), {**SOUND, column: values})
        assert str(refusal) == f"1 of 2 rows are refused: {column}: {rule} (row 2)"
        assert refusal is not None
        assert refusal.problems() == [{"column": column, "rule": rule, "rows": 1, "first": [2]}]
    assert ask(rules("warn"), {**SOUND, column: values}) == (None, [None, f"{column}: {rule}"])


def test_a_level_that_the_model_has_not_seen_is_sound() -> None:
    unseen = {**SOUND, "purpose": ["house", "car"]}
    warned = ["purpose: a level that the model has not seen", None]
    assert ask(rules(), unseen) == (None, warned)
    assert ask(rules(nullable=False), {**unseen, "term": [1, 1], "owner": [0, 1]}) == (None, warned)
    assert ask(rules("warn"), unseen) == (None, warned)
    assert "purpose: a level that the model has not seen (row 1)" in str(ask(rules("refuse"), unseen)[0])
    free = RequestRules((Column(name="purpose", type="category"),))
    assert ask(free, {"purpose": ["yacht", None]}) == (None, warned)


def test_a_column_that_is_left_out() -> None:
    without = {name: values for name, values in SOUND.items() if name != "term"}
    said = "term: not among the columns given"
    assert ask(rules(), without) == (None, [said, said])
    assert ask(rules("warn", nullable=False), {**without, "owner": [1, 1], "purpose": ["car", "car"]})[1] == [said] * 2
    for strict in (rules("refuse"), rules(nullable=False)):
        assert f"{said} (2 rows: 1, 2)" in str(ask(strict, without)[0])
    # No rows break no rule.
    assert ask(rules("refuse"), {}, rows=0) == (None, [])


def test_rows_are_counted_over_all_batches_and_the_first_few_are_named() -> None:
    request = CheckedRequest(rules(), LEVELS)
    bad = {**SOUND, "amount": [0.0, None], "purpose": ["yacht", "house"]}
    for batch in (SOUND, bad, bad, SOUND, bad, bad, bad, bad):
        request.read({name: pd.Series(values, dtype=object) for name, values in batch.items()}, 2)
    assert str(request.refusal) == (
        "12 of 16 rows are refused: amount: below 1 (6 rows: 3, 5, 9, 11, 13, ...); "
        "amount: missing (6 rows: 4, 6, 10, 12, 14, ...); purpose: not an allowed value (6 rows: 3, 5, 9, 11, 13, ...)"
    )


def test_several_warnings_of_one_row_stand_side_by_side() -> None:
    _, warnings = ask(rules("warn"), {**SOUND, "amount": [0, 5], "purpose": ["yacht", "house"]})
    assert warnings == [
        "amount: below 1; purpose: not an allowed value",
        "purpose: a level that the model has not seen",
    ]


def test_values_are_read_as_the_contract_reads_them() -> None:
    given = {"amount": [5, " 6.50 "], "term": ["36", 36.0], "owner": ["YES", 0], "purpose": ["car", None]}
    columns, _ = CheckedRequest(rules(), LEVELS).read(
        {name: pd.Series(v, dtype=object) for name, v in given.items()}, 2
    )
    assert {name: values.to_pylist() for name, values in columns.items()} == {
        "amount": [5.0, 6.5],
        "term": [36, 36],
        "owner": [True, False],
        "purpose": ["car", None],
    }


def test_a_model_without_rules_of_its_own_wants_all_columns_in_their_types_and_no_more() -> None:
    old = RequestRules.of_types(["amount", "purpose"], {"purpose"})
    assert ask(old, {"amount": [-1, None], "purpose": ["yacht", None]}) == (None, [None, None])
    assert ask(old, {"amount": [np.inf, np.nan], "purpose": ["", None]}) == (None, [None, None])
    assert "amount: not a finite number (row 1)" in str(ask(old, {"amount": ["x", 1], "purpose": ["car", None]})[0])
    assert "purpose: not among the columns given" in str(ask(old, {"amount": [1, 1]})[0])


FAULTS: list[tuple[str, Any]] = [
    ("annual_income", -60_000.0),
    ("annual_income", "12.5%"),
    ("term_months", 99_999),
    ("term_months", 2.5),
    ("term_months", None),
    ("purpose", "yacht"),
    ("inquiries_6m", -1),
]


def test_sound_applications_are_never_refused_and_planted_faults_always() -> None:
    portfolio = load_portfolio()
    book, _ = generate_book(4000, date(2023, 1, 1), date(2023, 12, 31), seed=3)
    frame = book.to_pandas()
    seen = {name: sorted(frame[name].dropna().unique()) for name in portfolio.categorical_features}

    def held(frame: pd.DataFrame) -> tuple[RequestError | None, Any]:
        request = CheckedRequest(RequestRules.of(portfolio), seen)
        _, warnings = request.read(frame.to_dict("series"), len(frame))
        return request.refusal, warnings

    assert held(frame) == (None, None)
    for column, value in FAULTS:
        spoilt = frame.astype({column: object})
        spoilt.loc[::8, column] = value
        refusal, warnings = held(spoilt)
        assert refusal is not None
        assert [(one.column, one.rows) for one in refusal.broken] == [(column, 500)]
        assert warnings is None


# The saved form


def test_rules_come_back_as_they_were_saved(tmp_path: Path) -> None:
    portfolio = load_portfolio()
    kept = RequestRules.of(portfolio)
    kept.save(tmp_path)
    before = (tmp_path / RULES_FILE).read_bytes()
    loaded = RequestRules.load(tmp_path)
    assert loaded is not None
    loaded.save(tmp_path)
    assert (tmp_path / RULES_FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [RULES_FILE]
    assert loaded.recorded
    assert [column.name for column in loaded.columns] == [column.name for column in portfolio.input_columns]
    term, original = loaded.columns[6], portfolio.column("term_months")
    assert (term.name, term.type, term.nullable) == ("term_months", "integer", False)
    assert (term.minimum, term.maximum) == (original.minimum, original.maximum)
    assert loaded.columns[7].allowed == portfolio.column("purpose").allowed


def test_what_is_not_for_requests_does_not_change_them() -> None:
    def record(**changes: Any) -> dict[str, Any]:
        key = {"name": "id", "type": "string", "role": "id", "nullable": False}
        day = {"name": "day", "type": "date", "role": "date", "nullable": False}
        columns = [key, day, {**AMOUNT, **changes}]
        return RequestRules.of(Portfolio.model_validate({"name": "small", "columns": columns})).to_record()

    assert record(description="x", unit="y", max_missing_share=0.1, on_violation="reject", monotone=1) == record()
    assert record(on_request="warn") != record()
    assert record(maximum=101) != record()


def test_a_folder_without_rules_has_none(tmp_path: Path) -> None:
    assert RequestRules.load(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as the rules of requests"),
        ("[]", "cannot be read as the rules of requests"),
        ('{"format": 2, "columns": []}', "format 2, and this version of credit_assets reads 1"),
        ('{"format": 1}', "columns"),
        (json.dumps({"format": 1, "columns": [{"name": "a", "type": "float", "unknown": 1}]}), "unknown"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / RULES_FILE).write_text(text)
    with pytest.raises(ValueError, match=message):
        RequestRules.load(tmp_path)
