"""The page of a dossier: one HTML file that asks for nothing, reads in light and dark, and prints.

Belongs here: filling the template. Does not belong here: what is said (`whole`), and the looks (`page.html`).

Descriptions of a portfolio are a lender's text: the template escapes whatever it is given, and the pictures escape
their own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import zip_longest
from typing import TYPE_CHECKING

from credit_assets.ml.reports.dossier.blocks import Cell, Facts, Figure, Paragraph, Source, Table, sources_of
from credit_assets.ml.reports.dossier.charts import svg
from credit_assets.ml.reports.dossier.whole import Dossier

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

_TEMPLATE = "page.html"
_SHORT = 12
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_INTERVAL = re.compile(r"[-+]?[\d.,]+ \.\. [-+]?[\d.,]+")
_BREAKS = re.compile(r"(?<=\w)([_.])(?=[A-Za-z])")


def html(
    dossier: Dossier, about: str = "model dossier", links: Mapping[str, str] | None = None, current: str = ""
) -> str:
    """The page. Equal dossiers give equal text.

    `links` are the pages of a site by their names, relative to this one, which is `current`; `about` is what the title
    of the window says after that of the dossier.
    """
    return _template().render(
        dossier=dossier,
        about=about,
        links=dict(links or {}),
        current=current,
        numbers=dossier.numbers,
        kind=_kind,
        sources_of=sources_of,
        picture=_picture,
        shown=_shown,
        numeric=_numeric,
        soft=_soft,
        # Within a style sheet nothing is escaped.
        footer=re.sub(r"[^\w ,.-]", "", dossier.title),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    # Autoescape for every template, whatever it is called.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = resources.files("credit_assets.ml.reports.dossier").joinpath(_TEMPLATE).read_text("utf-8")
    return environment.from_string(text)


def _kind(block: object) -> str:
    if isinstance(block, Paragraph):
        return block.kind
    for name, cls in (("facts", Facts), ("table", Table), ("figure", Figure)):
        if isinstance(block, cls):
            return name
    raise TypeError(f"{type(block).__name__} is no block")


def _picture(figure: Figure) -> Markup:
    from markupsafe import Markup

    return Markup(svg(figure))


def _soft(words: str) -> Markup:
    """Text that may break behind an underscore or a point within a name, and not within a date."""
    from markupsafe import Markup, escape

    parts = _DATE.split(words)
    shown = [_BREAKS.sub("\\1<wbr>", str(escape(part))) for part in parts]
    dates = [f'<span class="d">{date}</span>' for date in _DATE.findall(words)]
    return Markup("".join(text + date for text, date in zip_longest(shown, dates, fillvalue="")))


def _numeric(table: Table) -> list[bool]:
    """Of each column whether all that it has are numbers."""
    of_column = [[row[n] for row in table.rows] for n in range(len(table.columns))]
    return [
        any(cell.value is not None for cell in cells) and all(cell.value is None or _is_number(cell) for cell in cells)
        for cells in of_column
    ]


def _is_number(cell: Cell) -> bool:
    return cell.is_number or _INTERVAL.fullmatch(cell.text) is not None


def _shown(source: Source) -> str:
    """A source in a line: asset and partition, the beginnings of the content's hash and the code's."""
    parts = [f"{source.asset} {source.partition}"]
    if source.content:
        parts.append(f"content {source.content[:_SHORT]}")
    if source.code:
        parts.append(f"code {source.code[:_SHORT]}")
    return ", ".join(parts)
