"""Figures in fewer characters than Dagster's page hides behind a click."""

from __future__ import annotations

import math
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from credit_assets.ml.reports.dossier.blocks import Figure, Series, Source
from credit_assets.ml.reports.pictures import of_drift
from credit_assets.ml.reports.previews import LETTERS, preview

SOURCE = (Source("a", "2025-01-01", "", ""),)


def drawn(figure: Figure) -> ElementTree.Element:
    text = preview(figure)
    assert text is not None
    assert len(text) <= LETTERS < 1_000
    # Nothing in it ends a link of markdown.
    head, uri = text.split("](data:image/svg+xml,")
    assert head.startswith("![")
    assert uri.endswith(")")
    assert not set(uri[:-1]) & set(' ()<>"\n')
    return ElementTree.fromstring(unquote(uri[:-1]))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]


def wave(points: int) -> Series:
    xs = tuple(n / points for n in range(points + 1))
    return Series("wave", "line", xs, tuple((1 + math.sin(9 * x)) / 2 for x in xs))


@pytest.mark.parametrize("points", [2, 30, 5_000])
def test_a_line_has_its_ends_and_the_ends_of_its_axes_whatever_its_length(points: int) -> None:
    root = drawn(Figure("a wave: long", "x", "y", (wave(points), Series("r", "rule", (0.0, 1.0), (0.0, 1.0))), SOURCE))
    assert texts(root)[:4] == ["1.0", "0.0", "0.0", "1.0"] if points > 2 else texts(root)
    line = next(one for one in root.iter() if one.get("stroke") == "steelblue")
    steps = [float(n) for n in line.attrib["d"].split("l")[1].replace("-", ",-").strip(",").split(",") if n]
    # Steps add up to the whole width: rounding is not carried on.
    assert sum(steps[::2]) == pytest.approx(float(root.attrib["width"]) - 40, abs=1)


@pytest.mark.parametrize("names", [1, 8, 300])
def test_rows_by_name_are_as_many_as_there_is_place_for(names: int) -> None:
    labels = tuple(f"a_feature_with_a_long_name_{n} <&" for n in range(names))
    places = tuple(float(n) for n in range(names))
    values = tuple(1.0 / (n + 1) for n in range(names))
    series = (Series("PSI", "points", values, places, (0.0,) * names, values), Series("r", "rule", (0.1, 0.1), (0, 1)))
    shown = texts(drawn(Figure("names", "x", "", series, SOURCE, labels=labels)))
    assert shown[0].startswith("a_feat")
    assert len(shown) >= 2 + min(names, 3)


def test_several_series_are_told_apart_by_the_colour_of_their_names() -> None:
    days = tuple(float(739_000 + 30 * n) for n in range(40))
    values = tuple(0.6 + n / 400 for n in range(40))
    low, high = tuple(v - 0.05 for v in values), tuple(v + 0.05 for v in values)
    both = (
        Series("realised", "points", days, values, low, high),
        Series("estimated from PDs", "points", days, values, low, high),
    )
    root = drawn(Figure("AUC", "day", "AUC", both, SOURCE, dates=True))
    inks = {one.text: one.get("fill") for one in root.iter("{http://www.w3.org/2000/svg}tspan")}
    assert inks == {"realised": "steelblue", "estimated": "chocolate"}


def test_a_heat_map_without_a_cell_says_so() -> None:
    days = {f"2024-01-0{n}": {"features": [{"name": "age", "psi": 0.01}]} for n in (1, 2)}
    assert texts(drawn(of_drift(days)["psi_over_days"]))[-1] == "PSI below 0.05 everywhere"


def test_a_figure_without_a_point_in_a_series_is_drawn_without_it() -> None:
    empty = Series("realised", "points", (), ())
    root = drawn(Figure("AUC", "day", "AUC", (empty, wave(10)), SOURCE))
    assert not [one for one in root.iter() if one.get("stroke") == "steelblue"]
