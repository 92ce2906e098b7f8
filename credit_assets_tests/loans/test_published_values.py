"""Texts of files: numbers with their signs, and what a file's numbers say of how they are written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError
from credit_assets.loans.published_values import NumberColumns, Numbers, read_numbers


def read(**columns: list[Any]) -> NumberColumns:
    return read_numbers({name: pa.chunked_array([values]) for name, values in columns.items()}, "", "book.csv")


def one(values: list[Any]) -> Numbers:
    return read(amount=values).columns["amount"]


def test_numbers_lose_their_signs_and_what_is_none_is_said() -> None:
    found = one(["$1,000.0", " 36 months", "7%", "n/a", None, "lots", "%"])
    np.testing.assert_array_equal(found.values, [1000.0, 36.0, 7.0, np.nan, np.nan, np.nan, np.nan])
    assert found.unreadable.tolist() == [False] * 5 + [True, True]
    assert found.percent is not None
    assert found.percent.tolist() == [False, False, True, False, False, False, True]
    typed = one([1.5, None])
    np.testing.assert_array_equal(typed.values, [1.5, np.nan])
    assert not typed.unreadable.any()
    assert typed.percent is None


def test_thousands_are_parted_by_blanks_and_apostrophes_too() -> None:
    found = one(["1 234,56", "1\u00a0234,5", "1\u202f234,5", "1'234,5", "1’234’567,8", "1 2"])
    np.testing.assert_array_equal(found.values, [1234.56, 1234.5, 1234.5, 1234.5, 1234567.8, np.nan])


def test_a_file_says_its_marks_and_its_currency() -> None:
    found = read(income=["€ 1.234,50", "€12,5"], rate=["12.5", "7"], count=["3", "4"], typed=[1, 2])
    assert found.notes == {"decimal comma": "income", "decimal point": "rate", "currency sign": "€"}
    assert found.columns["income"].values.tolist() == [1234.5, 12.5]


def test_two_currencies_are_refused() -> None:
    with pytest.raises(PermanentError, match=r"book\.csv: amounts in more than one currency \(\$, €\)"):
        read(income=["$5.0"], debt=["€7.0"])
