"""A figure in fewer than a thousand characters: Dagster shows longer markdown only on a click.

Belongs here: what is left of a figure where it must be so short. Does not belong here: which figures there are and how
they look in full (`pictures`, `dossier.charts`).

Marks and the ends of the axes remain; grids, labels of axes and captions do not. Points are thinned out, and of rows by
name the first are kept, until it is short enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from urllib.parse import quote

from credit_assets.ml.reports.dossier.blocks import Figure, Series
from credit_assets.ml.reports.dossier.charts import Axis, dates, range_of, tick_label, ticks

LETTERS = 999
"""Of a line of markdown at most, as Dagster's page counts them."""
_WIDTH, _HEIGHT, _SIDE, _ROW = 320, 130, 150, 17
_TOP, _BOTTOM, _LEFT = 16, 15, 34
_INKS = ("steelblue", "chocolate", "seagreen")
_HEAT = ("skyblue", "orange", "crimson")
_MARKS = (
    *((80, 15, 14, True), (40, 12, 14, True), (28, 10, 13, True), (20, 8, 12, True), (14, 6, 12, True)),
    *((12, 6, 10, False), (10, 5, 10, False), (7, 4, 9, False), (5, 3, 8, False), (3, 2, 6, False)),
)
"""Points of a series, rows, letters of a name, and whether points have their intervals, from what is best to what is
shortest."""
# What a data URI and a line of markdown can hold as it is; apostrophes instead of quotation marks.
_PLAIN = "-_.,:;='/!$*+@"


def preview(figure: Figure) -> str | None:
    """The figure as a line of markdown of at most `LETTERS`; None where it cannot be so short."""
    for points, rows, letters, intervals in _MARKS:
        drawn = _named(figure, rows, letters, points) if figure.labels else _plain(figure, points, intervals=intervals)
        drawn = quote(drawn, safe=_PLAIN)
        text = f"![{figure.caption.split(':')[0][:40]}](data:image/svg+xml,{drawn})"
        if len(text) <= LETTERS:
            return text
    return None


def _plain(figure: Figure, most: int, *, intervals: bool) -> str:
    width, height = (_SIDE + _LEFT, _SIDE) if figure.square else (_WIDTH, _HEIGHT)
    x_ticks = dates(*range_of(figure, "x")) if figure.dates else ticks(*range_of(figure, "x"))
    y_ticks = ticks(*range_of(figure, "y"))
    across = Axis(x_ticks[0], x_ticks[-1], _LEFT, width - 6)
    down = Axis(y_ticks[0], y_ticks[-1], height - _BOTTOM, _TOP if _has_legend(figure) else 6)
    low, high = (tick_label(y_ticks[n], y_ticks, "y" in figure.percent) for n in (0, -1))
    parts = [
        f"<path d='M{_LEFT},{down.end:.0f}V{down.start:.0f}H{across.end:.0f}' stroke='gray'/>",
        _text(0, down.end + 8, high),
        _text(0, down.start, low),
        *_ends(figure, across, x_ticks, height),
    ]
    for ink, series in _inked(figure, _INKS):
        parts.append(_mark(series if intervals else replace(series, low=(), high=()), across, down, ink, most))
    return _document(width, height, parts, _legend(figure, _LEFT + 6))


def _named(figure: Figure, rows: int, letters: int, points: int) -> str:
    """Rows by name: an interval and its point, or cells, each."""
    shown = [label if len(label) <= letters else f"{label[: letters - 1]}~" for label in figure.labels[:rows]]
    cells = any(series.kind == "cells" for series in figure.series)
    top = _TOP if cells else 4
    width, height = _WIDTH, top + _ROW * len(shown) + _BOTTOM
    places = dates(*range_of(figure, "x")) if figure.dates else ticks(*range_of(figure, "x"))
    across = Axis(places[0], places[-1], 8 + 6 * max(len(label) for label in shown), width - 8)
    down = Axis(-0.5, len(shown) - 0.5, top, height - _BOTTOM)
    parts = [_text(0, down.at(n) + 4, label) for n, label in enumerate(shown)]
    parts += _ends(figure, across, places, height)
    for ink, series in _inked(figure, _HEAT if cells else _INKS):
        if series.kind == "rule":
            at = across.at(series.x[0])
            parts.append(f"<path d='M{at:.0f},{top}V{down.end:.0f}' stroke='gray' stroke-dasharray='3'/>")
            continue
        ends = series.high or series.x
        low = series.x if series.kind == "cells" else series.low or series.x
        kept = [n for n, y in enumerate(series.y) if y < len(shown)]
        lines = "".join(
            f"M{across.at(low[n]):.0f},{down.at(series.y[n]):.0f}H{across.at(ends[n]):.0f}" for n in kept[: points * 2]
        )
        parts.append(f"<path d='{lines}' stroke='{ink}' stroke-width='{_ROW - 4 if cells else 3}'/>")
        if not cells:
            dots = "".join(f"M{across.at(series.x[n]) - 3:.0f},{down.at(series.y[n]):.0f}h6" for n in kept)
            parts.append(f"<path d='{dots}' stroke='{ink}' stroke-width='8'/>")
    return _document(width, height, parts, _legend(figure, across.start) if cells else "")


def _mark(series: Series, across: Axis, down: Axis, ink: str, most: int) -> str:
    points = [(across.at(x), down.at(y)) for x, y in zip(series.x, series.y, strict=True)]
    if series.kind == "bars":
        base, width = down.at(0.0), across.at(series.width) - across.at(0.0)
        path = f"M{points[0][0]:.0f},{base:.0f}" + "".join(f"V{y:.0f}h{width:.1f}" for _, y in points) + f"V{base:.0f}"
        return f"<path d='{path}' stroke='{ink}' fill='{ink}' fill-opacity='.25'/>"
    if series.kind == "rule":
        return f"<path d='{_path(points)}' stroke='gray' stroke-dasharray='3'/>"
    kept = _thinned(list(range(len(points))), most)
    if series.kind == "line":
        return f"<path d='{_path([points[n] for n in kept])}' stroke='{ink}' stroke-width='2'/>"
    bars = ""
    if series.low:
        bars = "".join(f"M{points[n][0]:.0f},{down.at(series.low[n]):.0f}V{down.at(series.high[n]):.0f}" for n in kept)
        bars = f"<path d='{bars}' stroke='{ink}' stroke-opacity='.5'/>"
    dots = "".join(f"M{points[n][0] - 2:.0f},{points[n][1]:.0f}h4" for n in kept)
    return f"{bars}<path d='{dots}' stroke='{ink}' stroke-width='4'/>"


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Steps in whole pixels, from where the last one ended: nothing adds up to a shift."""
    x, y = (round(value) for value in points[0])
    text = f"M{x},{y}l"
    for next_x, next_y in points[1:]:
        text += f"{',' if text[-1] != 'l' and round(next_x) >= x else ''}{round(next_x) - x},{round(next_y) - y}"
        x, y = round(next_x), round(next_y)
    return text


def _thinned(places: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spread, the first and the last among them.

    >>> _thinned(range(7), 3)
    [0, 3, 6]
    """
    if len(places) <= most:
        return list(places)
    return [places[round(n * (len(places) - 1) / (most - 1))] for n in range(most)]


def _ends(figure: Figure, across: Axis, places: Sequence[float], height: int) -> list[str]:
    """The first and the last value of the x axis."""
    values = (places[0], places[-1])
    if figure.dates:
        first, last = (date.fromordinal(int(value)).isoformat() for value in values)
    else:
        first, last = (tick_label(value, places, "x" in figure.percent) for value in values)
    return [_text(across.start, height - 3, first), _text(across.end, height - 3, last, end=True)]


def _inked(figure: Figure, inks: Sequence[str]) -> list[tuple[str, Series]]:
    """What is drawn, with its colour; a rule and what shows nothing take none."""
    drawn, number = [], 0
    for series in figure.series:
        if series.kind == "span" or not series.x:
            number += series.kind != "span"
            continue
        drawn.append((inks[number % len(inks)], series))
        number += series.kind != "rule"
    return drawn


def _has_legend(figure: Figure) -> bool:
    return sum(series.kind != "rule" for series in figure.series) > 1


def _legend(figure: Figure, left: float) -> str:
    """Names in the colours of their series, where there are several."""
    cells = any(series.kind == "cells" for series in figure.series)
    named = [(ink, one.name) for ink, one in _inked(figure, _HEAT if cells else _INKS) if one.kind != "rule"]
    if len(named) < 2 and not cells:
        return ""
    names = "".join(f"<tspan fill='{ink}'>{name.split(' and ')[0].split(' from ')[0]}</tspan> " for ink, name in named)
    if cells:
        names = f"PSI from {names}" if named else f"PSI {figure.note}"
    return f"<text x='{left:.0f}' y='10'>{names.strip()}</text>"


def _text(x: float, y: float, text: str, *, end: bool = False) -> str:
    anchor = " text-anchor='end'" if end else ""
    place = f" x='{x:.0f}'" if x else ""
    return f"<text{place} y='{y:.0f}'{anchor}>{text.replace('&', '').replace('<', '')}</text>"


def _document(width: int, height: int, parts: Sequence[str], legend: str) -> str:
    lines = "".join(part for part in parts if not part.startswith("<text"))
    words = "".join(part for part in parts if part.startswith("<text")) + legend
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'><g fill='none'>{lines}</g>"
        f"<g fill='gray' style='font:11px Arial'>{words}</g></svg>"
    )
