"""What sections of a dossier are made of: paragraphs, facts, tables and figures, each with the sources of its numbers.

Belongs here: the blocks, their JSON form, and how single values are written. Does not belong here: what a section says,
and HTML (`page`).

A number stands beside the text that people read, so that the JSON has the number and the page the text. Whatever has
numbers names the records that they are from: a fact, a table or a figure without a source is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

NONE = "–"
Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Source:
    """Where numbers are from: an asset and its partition, the content's hash, and the version of the code that made it.

    `asset` may also be the portfolio, the settings or an alias, whose partitions are their name, a day or an entry.
    """

    asset: str
    partition: str
    content: str
    code: str


@dataclass(frozen=True)
class Cell:
    """A value and the text that people read for it."""

    value: Scalar
    text: str

    @property
    def is_number(self) -> bool:
        return isinstance(self.value, int | float) and not isinstance(self.value, bool)


@dataclass(frozen=True)
class Paragraph:
    """Prose. Where it has numbers of its own, `sources` say from where."""

    text: str
    sources: tuple[Source, ...] = ()
    kind: Literal["paragraph", "missing", "finding"] = "paragraph"


@dataclass(frozen=True)
class Fact:
    """One labelled value."""

    label: str
    cell: Cell
    source: Source


@dataclass(frozen=True)
class Facts:
    """Labelled values, one below the other."""

    items: tuple[Fact, ...]
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells below headings."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sources: tuple[Source, ...]
    note: str = ""

    def __post_init__(self) -> None:
        _require(self.caption, self.sources)
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.caption!r}: a row has not {len(self.columns)} cells")


@dataclass(frozen=True)
class Series:
    """Points of a figure: a line, points with intervals (`low`, `high`), bars that start at `x` and are `width` wide,
    cells from `x` to `high` at the place of a name, or a rule to tell the others by. A span shows nothing: the axes
    hold it.
    """

    name: str
    kind: Literal["line", "points", "bars", "cells", "rule", "span"]
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    width: float = 0.0


@dataclass(frozen=True)
class Figure:
    """A picture as its data. `labels` name the places of the y axis, from the top, where its values are names."""

    caption: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    sources: tuple[Source, ...]
    percent: str = ""
    """Which axes are shares: "x", "y", "xy"."""
    square: bool = False
    labels: tuple[str, ...] = ()
    note: str = ""
    dates: bool = False
    """Whether values of the x axis are days, as ordinals."""

    def __post_init__(self) -> None:
        _require(self.caption, self.sources)


Block: TypeAlias = Paragraph | Facts | Table | Figure


@dataclass(frozen=True)
class Section:
    """One numbered part: its key, title, what it is for, and its blocks."""

    key: str
    title: str
    blocks: tuple[Block, ...]


def sources_of(block: Block) -> tuple[Source, ...]:
    """The sources that a block names, in its order, each once."""
    named = tuple(item.source for item in block.items) if isinstance(block, Facts) else block.sources
    return tuple(dict.fromkeys(named))


def block_record(block: Block, numbers: Mapping[Source, int]) -> dict[str, Any]:
    """A block as JSON types; sources as their `numbers`."""
    named = [numbers[source] for source in sources_of(block)]
    if isinstance(block, Paragraph):
        return {"kind": block.kind, "text": block.text, "sources": named}
    if isinstance(block, Facts):
        items = [
            {"label": one.label, "value": one.cell.value, "text": one.cell.text, "source": numbers[one.source]}
            for one in block.items
        ]
        return {"kind": "facts", "caption": block.caption, "items": items}
    if isinstance(block, Table):
        return {
            "kind": "table",
            "caption": block.caption,
            "columns": list(block.columns),
            "rows": [[asdict(cell) for cell in row] for row in block.rows],
            "note": block.note,
            "sources": named,
        }
    return {
        "kind": "figure",
        "caption": block.caption,
        "x_label": block.x_label,
        "y_label": block.y_label,
        "labels": list(block.labels),
        "series": [
            {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(one).items()}
            for one in block.series
        ],
        "note": block.note,
        "sources": named,
    }


# Single values


def text(value: object) -> Cell:
    """A word or a sentence; None is a dash."""
    return Cell(None, NONE) if value is None or value == "" else Cell(str(value), str(value))


def count(value: float | None) -> Cell:
    """A whole number."""
    return Cell(None, NONE) if value is None else Cell(int(value), f"{int(value):,}")


def number(value: float | None, digits: int = 4) -> Cell:
    """A number with so many digits behind the point."""
    return Cell(None, NONE) if _is_none(value) else Cell(value, f"{value:,.{digits}f}")


def signed(value: float | None, digits: int = 4) -> Cell:
    """A difference."""
    return Cell(None, NONE) if _is_none(value) else Cell(value, f"{value:+.{digits}f}")


def share(value: float | None, digits: int = 1) -> Cell:
    """A share, as percent."""
    return Cell(None, NONE) if _is_none(value) else Cell(value, f"{value:.{digits}%}")


def interval(low: float | None, high: float | None, digits: int = 4) -> Cell:
    """Two ends."""
    if _is_none(low) or _is_none(high):
        return Cell(None, NONE)
    return Cell(f"{low:.{digits}f} .. {high:.{digits}f}", f"{low:.{digits}f} .. {high:.{digits}f}")


def plain(value: float) -> str:
    """A number without an exponent, with as many digits as its size asks for.

    >>> plain(193797.6754), plain(5.0), plain(0.027554911), plain(0.0), plain(-12.345)
    ('193,798', '5', '0.0276', '0', '-12.35')
    """
    size = abs(value)
    digits = 0 if size >= 1_000 else 2 if size >= 1 else 4
    written = f"{value:,.{digits}f}"
    return written.rstrip("0").rstrip(".") if digits else written


def yes(value: bool | None) -> Cell:
    """Whether something is so."""
    return Cell(None, NONE) if value is None else Cell(value, "yes" if value else "no")


def short(content: str | None) -> Cell:
    """A hash: whole as a value, its beginning as text."""
    return Cell(None, NONE) if not content else Cell(content, content[:12])


def shown(value: Any) -> Cell:
    """Any value of a record, as it is best read."""
    if isinstance(value, bool):
        return yes(value)
    if isinstance(value, int):
        return Cell(value, f"{value:,}" if abs(value) >= 10_000 else str(value))
    if isinstance(value, float):
        return Cell(value, _written(value)) if math.isfinite(value) else Cell(None, NONE)
    if isinstance(value, Mapping):
        return text(", ".join(f"{key} {shown(one).text}" for key, one in value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return text(", ".join(shown(one).text for one in value))
    return text(value)


def _written(value: float) -> str:
    return plain(value) if 1e-2 <= abs(value) < 1e15 or not value else f"{value:.3g}"


def _is_none(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def _require(caption: str, sources: Sequence[Source]) -> None:
    if not sources:
        raise ValueError(f"{caption!r} names no source")
