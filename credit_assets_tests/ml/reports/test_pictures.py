"""Pictures within a report: valid, small, the same for the same record, readable on any paper, and of no applicant."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest

from credit_assets.ml.reports import pictures
from credit_assets.ml.reports.dossier.blocks import Figure
from credit_assets.ml.reports.figures import Point
from credit_assets.ml.rules.periods import Period

LAST = date(2025, 8, 31)


def model(comparable: bool = True) -> dict[str, Any]:
    tenths = [
        {
            "decile": n,
            "rows": 100,
            "bads": 20 - n,
            "mean_pd": 0.2 - n / 100,
            "bad_rate": 0.2 - n / 100,
            "lift": 2 - n / 9,
        }
        for n in range(1, 11)
    ]
    evaluation = {"auc": 0.7, "auc_ci_low": 0.66, "auc_ci_high": 0.74, "lift": tenths}
    curve = {"x": [n / 100 for n in range(101)], "y": [(n / 100) ** 0.5 for n in range(101)]}
    scores = {"edges": [500.0, 520.0, 540.0], "goods": [3, 9], "bads": [2, 1]}
    difference = {"rows": 1000, "difference": 0.02, "ci_low": -0.01, "ci_high": 0.05}
    champion = {"version": "3", "comparable": comparable, "evaluation": evaluation, "candidate_evaluation": evaluation}
    gains = [{"name": f"feature_{n}", "gain": 0.1 - n / 200, "gain_low": 0.0, "gain_high": 0.12} for n in range(12)]
    return {
        "as_of": str(LAST),
        "evaluation": evaluation,
        "champion": {**champion, "difference": difference},
        "curves": {"roc": curve, "gain": curve, "scores": scores},
        "importance": {"features": gains},
    }


def drifts(features: int = 20) -> dict[str, dict[str, Any]]:
    def psi(n: int, day: int) -> float | None:
        return None if n == 1 else (0.3 if n == 2 else 0.12 if n == 3 and day % 2 else 0.01)

    names = ["score", *(f"feature_{n}" for n in range(1, features))]
    return {
        str(day): {"features": [{"name": name, "psi": psi(n, i)} for n, name in enumerate(names)]}
        for i, day in enumerate(pictures.heat_map_days(LAST))
    }


def trial() -> dict[str, Any]:
    side = {"auc": 0.7, "auc_ci_low": 0.66, "auc_ci_high": 0.74}
    return {
        "day": str(LAST),
        "champion": "1",
        "shadow": "2",
        "rows": 900,
        "mean_pd": {"champion": 0.05, "shadow": 0.06},
        "matured": {"rows": 500, "difference": {"difference": 0.01}, "champion": side, "shadow": side},
    }


def points(value: float) -> list[Point]:
    return [Point(LAST - timedelta(30 * n), value, value - 0.1, value + 0.1) for n in (3, 2, 1)]


def everything() -> dict[str, Figure]:
    periods = [Period("1", date(2025, 1, 1), date(2025, 3, 1)), Period("2", date(2025, 3, 2), None)]
    return {
        **pictures.of_model(model()),
        **pictures.of_drift(drifts()),
        **pictures.of_performance(points(0.7), points(0.68), points(1.1), str(LAST)),
        **pictures.of_trial(trial()),
        **pictures.of_champions(periods, LAST),
    }


@pytest.mark.parametrize("name", everything())
def test_a_picture_is_small_valid_and_stands_on_any_paper(name: str) -> None:
    text = pictures.markdown(everything()[name])
    assert text == pictures.markdown(everything()[name])
    found = re.search(r"\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", text)
    assert found
    svg = base64.b64decode(found[1]).decode()
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    # As wide as the narrowest column of Dagster's pages at the least.
    assert float(root.attrib["width"]) <= 520
    assert "background" not in svg
    assert "nan" not in svg
    assert "currentColor" not in svg
    assert len(text) < 10_000


def test_a_day_of_any_report_keeps_the_bound_of_an_event() -> None:
    from credit_assets.pages import EVENT_BYTES

    for drawn in (pictures.of_model(model()), pictures.of_drift(drifts(200))):
        assert sum(len(pictures.markdown(one)) for one in drawn.values()) < EVENT_BYTES


def test_what_a_record_lacks_is_not_drawn() -> None:
    bare = {"as_of": str(LAST), "evaluation": {"lift": []}, "champion": None}
    assert pictures.of_model(bare) == {}
    assert "champion_against_candidate" not in pictures.of_model(model(comparable=False))
    assert pictures.of_drift({str(LAST): {"features": []}}) == {}
    assert pictures.of_performance([], [], [], str(LAST)) == {}
    assert pictures.of_trial({**trial(), "shadow": None}) == {}
    assert pictures.of_champions([Period("1", LAST + timedelta(1), None)], LAST) == {}
    assert "auc_against_champion" not in pictures.of_trial({**trial(), "matured": None})


def test_consecutive_days_of_one_level_are_one_box() -> None:
    heat = pictures.of_drift(drifts())["psi_over_days"]
    of_level = {series.name: series for series in heat.series}
    first = pictures.heat_map_days(LAST)[0].toordinal()
    assert of_level["0.25 and more"].x == (float(first),)
    assert of_level["0.25 and more"].high == (float(LAST.toordinal() + 1),)
    assert len(of_level["0.1 and more"].x) == pictures.HEAT_MAP_DAYS // 2
    # Unmeasured features have no place.
    assert "feature_1" not in heat.labels


def test_drawing_needs_no_matplotlib() -> None:
    code = "import credit_assets.ml.reports.pictures, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
