"""Figures of a dossier as SVG: drawn from their data, in the colours of the page, the same bytes for the same data.

Belongs here: scales, axes and marks. Does not belong here: which figures there are (the sections), and the pictures of
a candidate in MLflow (`credit_assets.ml.reports.figures`).

Colours are classes that the page's style fills in, so that a picture is light, dark or printed as the page is; series
differ in line and hatching too. Numbers are written with one digit behind the point: pixels need no more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

from credit_assets.ml.reports.dossier.blocks import Figure, Series

_WIDTH, _HEIGHT, _SIDE = 680.0, 330.0, 400.0
_TOP, _RIGHT, _BOTTOM, _LEFT = 34.0, 16.0, 46.0, 60.0
_ROW = 24.0
_LETTER = 6.6
_TICKS = 6
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_DAYS = (1, 2, 7, 14, 28, 61, 91, 183, 365, 730, 1826, 3653)
_DATES = 4
_DATE = 18.0


@dataclass(frozen=True)
class PictureSize:
    """Width and height in pixels, and the side of a square one."""

    width: float
    height: float
    side: float


_PAGE = PictureSize(_WIDTH, _HEIGHT, _SIDE)


@dataclass(frozen=True)
class Axis:
    """From values to pixels: `low` .. `high` on `start` .. `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def svg(figure: Figure, size: PictureSize = _PAGE) -> str:
    """The figure as an SVG element without a size of its own beyond its view box."""
    named = bool(figure.labels)
    width = size.side if figure.square else size.width
    height = size.side if figure.square else size.height
    left = _LEFT
    if named:
        left = 16 + _LETTER * max(len(label) for label in figure.labels)
        height = _TOP + _BOTTOM + _ROW * len(figure.labels)
    x_ticks = dates(*range_of(figure, "x")) if figure.dates else ticks(*range_of(figure, "x"))
    y_ticks = ticks(*range_of(figure, "y"))
    across = Axis(x_ticks[0], x_ticks[-1], left, width - _RIGHT - (_DATE if figure.dates else 0.0))
    down = Axis(y_ticks[0], y_ticks[-1], height - _BOTTOM, _TOP)
    if named:
        down = Axis(-0.5, len(figure.labels) - 0.5, _TOP, height - _BOTTOM)
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(figure.caption, quote=True)}">',
        *_x_axis(figure, across, x_ticks, (down.start, down.end)),
        *(_names(figure, down, left) if named else _y_axis(figure, down, y_ticks, (across.start, across.end))),
    ]
    number = 0
    for series in figure.series:
        number += series.kind != "rule"
        parts += _marks(series, across, down, f"s{number}", named)
    parts += _legend(figure.series, left)
    parts.append("</svg>")
    return "".join(parts)


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Round places from at or below `low` to at or above `high`, some six of them.

    >>> ticks(0.0, 1.0)
    (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    >>> ticks(-0.013, 0.082)
    (-0.02, 0.0, 0.02, 0.04, 0.06, 0.08, 0.1)
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        low, high = (low - 0.5, low + 0.5) if math.isfinite(low) else (0.0, 1.0)
    rough = (high - low) / (_TICKS - 1)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * of for of in _STEPS if size * of >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(n * step, 10) for n in range(first, last + 1))


def dates(low: float, high: float) -> tuple[float, ...]:
    """Days (ordinals) at even distances from `low` to at or beyond `high`, four or fewer steps.

    >>> dates(739000.0, 739029.0)
    (739000.0, 739014.0, 739028.0, 739042.0)
    """
    span = max(high - low, 1.0)
    step = next((days for days in _DAYS if days * _DATES >= span), math.ceil(span / _DATES))
    return tuple(low + step * n for n in range(math.ceil(span / step) + 1))


def range_of(figure: Figure, axis: str) -> tuple[float, float]:
    """The least and the largest value on the axis `x` or `y`, ends of intervals among them."""
    values: list[float] = []
    for one in figure.series:
        if axis == "x":
            values += one.x
            if one.kind == "bars":
                values += [x + one.width for x in one.x]
        else:
            values += [*one.y, *([0.0] if one.kind == "bars" else [])]
        if (axis == "x") is bool(figure.labels):
            values += [*one.low, *one.high]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _x_axis(figure: Figure, across: Axis, places: Sequence[float], ends: tuple[float, float]) -> list[str]:
    top, bottom = min(ends), max(ends)
    parts = []
    for value in places:
        x = across.at(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
        label = (
            date.fromordinal(int(value)).isoformat()
            if figure.dates
            else tick_label(value, places, "x" in figure.percent)
        )
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{label}</text>')
    parts.append(f'<path class="axis" d="M{across.start:.1f} {bottom:.1f}H{across.end:.1f}"/>')
    middle = (across.start + across.end) / 2
    parts.append(
        f'<text class="label" x="{middle:.1f}" y="{bottom + 36:.1f}" text-anchor="middle">'
        f"{escape(figure.x_label)}</text>"
    )
    return parts


def _y_axis(figure: Figure, down: Axis, places: Sequence[float], ends: tuple[float, float]) -> list[str]:
    parts = []
    for value in places:
        y = down.at(value)
        parts.append(f'<path class="grid" d="M{ends[0]:.1f} {y:.1f}H{ends[1]:.1f}"/>')
        label = tick_label(value, places, "y" in figure.percent)
        parts.append(f'<text x="{ends[0] - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    middle = (down.start + down.end) / 2
    parts.append(
        f'<text class="label" transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(figure.y_label)}</text>"
    )
    return parts


def _names(figure: Figure, down: Axis, left: float) -> list[str]:
    return [
        f'<text class="label" x="{left - 10:.1f}" y="{down.at(n) + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        for n, label in enumerate(figure.labels)
    ]


def tick_label(value: float, places: Sequence[float], percent: bool) -> str:
    """A value of an axis with as many digits as tell its `places` from one another."""
    step = (places[1] - places[0]) * (100 if percent else 1)
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    if step * 10**digits % 1 > 1e-6:
        digits += 1
    return f"{value:.{digits}%}" if percent else f"{value:,.{digits}f}"


def _marks(series: Series, across: Axis, down: Axis, style: str, named: bool) -> list[str]:
    points = [(across.at(x), down.at(y)) for x, y in zip(series.x, series.y, strict=True)]
    if series.kind == "span":
        return []
    if series.kind == "bars":
        return _bars(series, across, down, style)
    if series.kind == "cells":
        return _cells(series, across, down, style)
    if series.kind in ("line", "rule"):
        path = " ".join(f"{x:.1f} {y:.1f}" for x, y in points)
        return [f'<path class="{"rule" if series.kind == "rule" else f"line {style}"}" d="M{path}"/>']
    parts = []
    for (x, y), low, high in zip(points, series.low, series.high, strict=False):
        if named:
            parts.append(f'<path class="error {style}" d="M{across.at(low):.1f} {y:.1f}H{across.at(high):.1f}"/>')
        else:
            parts.append(f'<path class="error {style}" d="M{x:.1f} {down.at(low):.1f}V{down.at(high):.1f}"/>')
    return [*parts, *(f'<circle class="point {style}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points)]


def _bars(series: Series, across: Axis, down: Axis, style: str) -> list[str]:
    """Bars as one outline, so that two series over each other can both be read."""
    if not series.x:
        return []
    base = down.at(0.0)
    path = [f"M{across.at(series.x[0]):.1f} {base:.1f}"]
    for x, y in zip(series.x, series.y, strict=True):
        path.append(f"V{down.at(y):.1f}H{across.at(x + series.width):.1f}")
    return [f'<path class="bars {style}" d="{"".join(path)}V{base:.1f}Z"/>']


def _cells(series: Series, across: Axis, down: Axis, style: str) -> list[str]:
    """Boxes from `x` to `high`, as high as the place of a name, all of one look."""
    high = abs(down.at(1.0) - down.at(0.0)) - 2
    boxes = [
        f"M{across.at(x):.0f} {down.at(y) - high / 2:.0f}h{across.at(end) - across.at(x) - 1:.0f}v{high:.0f}"
        f"H{across.at(x):.0f}z"
        for x, y, end in zip(series.x, series.y, series.high, strict=True)
    ]
    return [f'<path class="cells {style}" d="{"".join(boxes)}"/>'] if boxes else []


def _legend(series: Sequence[Series], left: float) -> list[str]:
    """Names above the axes; none where a single series has no rule to be told from."""
    if len(series) < 2:
        return []
    parts, x, number = [], left, 0
    for one in series:
        if one.kind == "span":
            continue
        number += one.kind != "rule"
        boxed = one.kind in ("bars", "cells")
        style = "rule" if one.kind == "rule" else f"{one.kind if boxed else 'line'} s{number}"
        if one.kind == "points":
            parts.append(f'<circle class="point s{number}" cx="{x + 11:.1f}" cy="14" r="4"/>')
        elif boxed:
            parts.append(f'<path class="{style}" d="M{x:.1f} 9H{x + 22:.1f}V19H{x:.1f}Z"/>')
        else:
            parts.append(f'<path class="{style}" d="M{x:.1f} 14H{x + 22:.1f}"/>')
        parts.append(f'<text class="label" x="{x + 28:.1f}" y="18">{escape(one.name)}</text>')
        x += 52 + _LETTER * len(one.name)
    return parts
