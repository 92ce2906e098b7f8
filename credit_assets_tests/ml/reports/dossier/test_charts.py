"""Figures as SVG."""

from __future__ import annotations

import re

import pytest

from credit_assets.ml.reports.dossier.blocks import Figure, Series
from credit_assets.ml.reports.dossier.charts import svg, ticks
from credit_assets_tests.support.dossiers import source


def figure(*series: Series, **more: object) -> Figure:
    return Figure("A figure", "x", "y", series, (source("trained_model"),), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-3.2, 17.9), (420.0, 655.0), (0.0, 1e-4), (5.0, 5.0), (0.001, 0.0011)]
)
def test_ticks_hold_what_is_drawn_and_are_few(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 9
    assert list(found) == sorted(set(found))


def test_every_mark_lies_within_the_picture() -> None:
    drawn = svg(
        figure(
            Series("goods", "bars", (500.0, 510.0), (0.4, 0.6), width=10.0),
            Series("rates", "points", (505.0,), (0.5,), (0.1,), (0.9,)),
            Series("line", "line", (500.0, 520.0), (0.0, 1.0)),
        )
    )
    _, _, width, height = map(float, re.search(r'viewBox="([^"]+)"', drawn).group(1).split())  # type: ignore[union-attr]
    for x, y in re.findall(r"M([\d.]+) ([\d.]+)", drawn):
        assert 0 <= float(x) <= width
        assert 0 <= float(y) <= height
    assert drawn.count("<circle") == 2  # the point and its sign in the legend
    assert "goods" in drawn


def test_names_stand_at_their_rows() -> None:
    drawn = svg(
        figure(Series("", "points", (0.1, 0.2), (0.0, 1.0), (0.0, 0.1), (0.2, 0.3)), labels=("first", "second"))
    )
    heights = [float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="end">(?:first|second)', drawn)]
    assert heights == sorted(heights)
    assert len(heights) == 2


def test_the_same_data_give_the_same_text() -> None:
    one = figure(Series("line", "line", (0.0, 1.0), (0.0, 1.0)), percent="xy", square=True)
    assert svg(one) == svg(one)
    assert "100%" in svg(one)
