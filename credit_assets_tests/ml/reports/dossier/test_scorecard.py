"""The benchmark scorecard: points by bin, and why there is none."""

from __future__ import annotations

from typing import Any

from credit_assets.ml.reports.dossier.blocks import Paragraph, Table
from credit_assets.ml.reports.dossier.material import Recorded
from credit_assets.ml.reports.dossier.scorecard import blocks
from credit_assets_tests.support.dossiers import source

BIN: dict[str, Any] = {"goods": 90, "bads": 10, "bad_rate": 0.1, "weight": 0.3, "points": 8.66}
CARD: dict[str, Any] = {
    "auc": {"value": 0.7, "low": 0.65, "high": 0.75},
    "rows": 1_500,
    "bads": 150,
    "chosen": False,
    "base_points": 512.34,
    "beside": {
        "variant": "lightgbm",
        "auc": 0.72,
        "difference": {"difference": 0.02, "ci_low": -0.01, "ci_high": 0.05, "p_value": 0.2},
    },
    "features": [
        {
            "feature": "income",
            "information_value": 0.3,
            "bins": [
                {"from": None, "to": 20_001.0, **BIN},
                {"from": 20_001.0, "to": 1e6, **BIN},
                {"from": 1e6, "to": None, **BIN},
                {"missing": True, **BIN, "goods": 0, "bads": 0},
            ],
        },
        {"feature": "purpose", "information_value": 0.1, "bins": [{"levels": ["car", "house"], **BIN}]},
    ],
    "left_out": [{"feature": "noise", "why": "it tells nothing"}],
}


def test_each_bin_has_its_points_and_an_empty_one_is_left_out() -> None:
    said, beside, points = blocks(Recorded(CARD, source("trained_model")))
    assert isinstance(said, Paragraph)
    assert "0.7000 (0.6500 .. 0.7500)" in said.text
    assert isinstance(beside, Table)
    assert [cell.text for cell in beside.rows[0]] == ["lightgbm", "0.7200", "+0.0200", "-0.0100 .. 0.0500", "0.200"]
    assert isinstance(points, Table)
    assert [row[2].text for row in points.rows] == [
        "below 20,001",
        "20,001 .. 1,000,000",
        "1,000,000 and more",
        "car, house",
    ]
    assert [row[0].text for row in points.rows] == ["income", "", "", "purpose"]
    assert points.rows[0][-1].text == "+8.7"
    assert points.note == "Left out: noise."


def test_a_day_without_a_scorecard_says_why() -> None:
    (only,) = blocks(Recorded({"why": "optbinning is not installed"}, source("trained_model")))
    assert isinstance(only, Paragraph)
    assert only.kind == "missing"
    assert only.text.endswith(": optbinning is not installed.")
    assert blocks(None)
