"""Texts of published files: the forms of a month, and numbers with their signs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.loans.published_values import month_of, numbers


@pytest.mark.parametrize(
    "text",
    ["Dec-2011", "dec-11", "11-Dec", "2011-12-01", "2011-12", "2011-12-01 00:00:00", "12/1/2011", "12/2011", "1-Dec-11",
     "December 2011"],
)  # fmt: skip
def test_month_forms(text: str) -> None:
    assert month_of(text) == 2011 * 12 + 11


@pytest.mark.parametrize("text", ["", "2011", "Dez-2011", "2011-13-01", "13/1/2011", "soon"])
def test_no_months(text: str) -> None:
    assert month_of(text) is None


def test_numbers_lose_their_signs_and_what_is_none_is_said() -> None:
    found = numbers(pa.chunked_array([["$1,000", " 36 months", "7%", "n/a", None, "lots", "%"]]))
    np.testing.assert_array_equal(found.values, [1000.0, 36.0, 7.0, np.nan, np.nan, np.nan, np.nan])
    assert found.unreadable.tolist() == [False] * 5 + [True, True]
    assert found.percent_signs
    typed = numbers(pa.chunked_array([[1.5, None]]))
    np.testing.assert_array_equal(typed.values, [1.5, np.nan])
    assert not typed.unreadable.any()
