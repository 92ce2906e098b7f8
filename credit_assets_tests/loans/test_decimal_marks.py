"""Decimal point or comma: what each value is evidence of, what decides, and what is refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.decimal_marks import Mark, decimal_marks, forms_of, plain


def column(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


@pytest.mark.parametrize(
    ("value", "mark"),
    [
        ("12,5", ","), ("1.234,56", ","), ("1.234.567", ","), ("0,123", ","), (",5", ","), ("1234,567", ","),
        ("-7,25", ","), ("1,2345", ","), ("1,5e3", ","),
        ("12.5", "."), ("1,234.56", "."), ("1,234,567", "."), ("0.123", "."), (".5", "."), ("5.", "."),
        ("1234.567", "."),
        ("1,23,456", "."), ("12,34,567.00", "."), ("1.5e3", "."), ("+3.25", "."),
        ("1,234", ""), ("1.234", ""), ("12", ""), ("1e3", ""), ("1.23.4", ""), ("a,b", ""),
    ],
)  # fmt: skip
def test_what_a_value_is_evidence_of(value: str, mark: Mark) -> None:
    assert forms_of(column(value)).certain == mark


@pytest.mark.parametrize(
    ("mark", "given", "read"),
    [
        (",", ["1.234,56", "12,5", "1.234", "1.234.567", "12", "12.5", "1.23,4", "x", None],
         ["1234.56", "12.5", "1234", "1234567", "12", "no number", "no number", "x", None]),
        (".", ["1,234.56", "12.5", "1,234", "1,234,567", "12", "12,5", "1,23,456.7", "x", None],
         ["1234.56", "12.5", "1234", "1234567", "12", "12,5", "123456.7", "x", None]),
        ("", ["12", "1,234", None], ["12", "1234", None]),
    ],
)  # fmt: skip
def test_numbers_as_they_are_read(mark: Mark, given: list[str | None], read: list[str | None]) -> None:
    """What is no number of the column's form stays none: a decimal sign is never dropped."""
    assert plain(column(*given), mark).to_pylist() == read


def marks(told: Mark = "", **columns: list[Any]) -> dict[str, Mark]:
    return decimal_marks({name: column(*values) for name, values in columns.items()}, told, "book.csv")


def test_columns_of_one_file_may_differ() -> None:
    assert marks(income=["45123,0", "1.234,5"], rate=["12.5"], count=["3"]) == {"income": ",", "rate": ".", "count": ""}


def test_values_with_two_readings_follow_the_rest_of_the_file() -> None:
    assert marks(income=["45,000", "1,234", "900"], rate=["12.5"])["income"] == "."
    assert marks(income=["45.000", "1.234", "900"], rate=["12,5"])["income"] == ","


@pytest.mark.parametrize("others", [{"rate": ["12"]}, {"rate": ["12.5", "1"], "debt": ["7,5"]}])
def test_where_nothing_decides_the_file_is_refused(others: dict[str, list[str]]) -> None:
    with pytest.raises(PermanentError, match=r"column income has 2 values with one comma .* give --decimal") as refused:
        marks(income=["45,000", "1,234", "900"], **others)
    assert "1,234" not in str(refused.value)
    with pytest.raises(PermanentError, match="column income has 1 values with one point"):
        marks(income=["45.000", "900"], **others)


def test_a_sign_of_decimals_elsewhere_does_not_make_decimals_of_thousands() -> None:
    """Incomes like 45.000 beside rates like 12.5 were read as 45."""
    with pytest.raises(PermanentError, match="column income has 2 values with one point before three digits"):
        marks(income=["45.000", "1.234", "900"], rate=["12.5"])
    with pytest.raises(PermanentError, match="column income has 2 values with one comma before three digits"):
        marks(income=["45,000", "1,234", "900"], rate=["12,5"])


def test_the_user_decides() -> None:
    assert marks(",", income=["45.000"], rate=["12.5"]) == {"income": ",", "rate": ","}


def test_a_slip_of_the_pen_is_one_row_and_more_is_refused() -> None:
    assert marks(income=["1.5"] * 199 + ["2,5"]) == {"income": "."}
    with pytest.raises(
        PermanentError, match=r"column income has both decimal commas \(2 values\) and .* points \(98\)"
    ):
        marks(income=["1.5"] * 98 + ["2,5"] * 2)
