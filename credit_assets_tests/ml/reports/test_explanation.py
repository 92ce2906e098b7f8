"""Why an applicant has his score: the record, and the page for the credit officer."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.ml.data.reasons import ReasonContract
from credit_assets.ml.learners.reason_codes import reason_codes
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.ml.reports.explanation import explanation, officer_page
from credit_assets_tests.support.modelling import PORTFOLIO, applications

SCORER = Path(__file__).parents[2] / "data" / "scorers" / "lightgbm"
CONTRACT = ReasonContract.of(PORTFOLIO)
WHERE = {
    "application_id": "<L&1>",
    "day": "2024-05-01",
    "portfolio": "Loans",
    "version": "7",
    "variant": "lightgbm",
    "arm": "champion",
    "contract": "version",
    "as_recorded": True,
}


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return pa.Table.from_pandas(applications(200).drop(columns=["truth", "applied_on"]), preserve_index=False)


@pytest.fixture(scope="module")
def scorer(rows: pa.Table) -> CreditScorer:
    plain = CreditScorer.load(SCORER)
    return replace(plain, cut_off=float(np.quantile(plain.pd(rows), 0.7)))


def test_the_record_is_the_decision_and_adds_up(scorer: CreditScorer, rows: pa.Table) -> None:
    expected, scores = reason_codes(scorer, CONTRACT, rows), scorer.score(rows)
    decisions = set()
    for at in range(40):
        said = explanation(scorer, CONTRACT, rows.slice(at, 1))
        assert said["pd"] == scores["pd"][at]
        assert said["reasons"] == expected[at]
        assert said["declined"] is (said["pd"] > scorer.cut_off)
        assert said["texts"] == [CONTRACT.text_of(code) for code in said["reasons"]]
        points = [one["points"] for one in said["effects"]]
        assert points == sorted(points)
        assert sum(points) + said["rest_points"] + said["reference_points"] == pytest.approx(said["score"], abs=1e-8)
        assert (said["score"] < said["cut_off_points"]) is said["declined"]
        decisions.add(said["decision"])
    assert decisions == {"declined", "approved"}


@pytest.mark.parametrize("case", ["declined", "approved", "none", "refused", "no contract", "nothing adverse", "old"])
def test_the_page_is_whole_and_shows_only_what_is_said(case: str, scorer: CreditScorer, rows: pa.Table) -> None:
    one, contract, row = scorer, CONTRACT, rows.slice(int(np.argmax(scorer.pd(rows))), 1)
    more: dict[str, Any] = {}
    match case:
        case "approved":
            row = rows.slice(int(np.argmin(scorer.pd(rows))), 1)
        case "none":
            one = replace(scorer, cut_off=None)
        case "refused":
            from credit_assets.ml.learners.missing import Meaning

            one = replace(scorer, missing={"income": Meaning("reject", (1.0,))})
            row = row.set_column(row.column_names.index("income"), "income", pa.array([None], pa.float64()))
        case "old":
            more = {"contract": "portfolio", "as_recorded": False}
    said = {**explanation(one, None if case == "no contract" else contract, row), **WHERE, **more}
    if case == "nothing adverse":
        said |= {"reasons": [], "texts": []}
    page = officer_page(said)
    assert "&lt;L&amp;1&gt;" in page
    assert "<L&1>" not in page
    # Nothing is fetched from anywhere, and nothing runs.
    assert not re.search(r"(src|href)=|https?://|url\(|@import|<script", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    words = {
        "declined": ("Declined", "Principal reasons, as the customer reads them"),
        "approved": ("Approved", "What speaks against the applicant most"),
        "none": ("decides nothing",),
        "refused": ("Not scored", "without: income"),
        "no contract": ("gives no reasons",),
        "nothing adverse": ("Nothing that may be given as a reason",),
        "old": ("is not what was scored on that day", "words of the portfolio as it is today"),
    }[case]
    for text in (*words, *(said["texts"] or ())):
        assert text in page
    if case == "declined":
        assert page.count("<li>") == len(said["reasons"]) > 0
