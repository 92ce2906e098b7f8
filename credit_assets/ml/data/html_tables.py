"""Results as tables in a notebook: what Jupyter shows of an object that has `_repr_html_`.

Belongs here: the table, and the base class of results that have one. Does not belong here: which rows a result has (its
own class), and pages that stand by themselves (`ml.reports`).

Without colours of its own, so that it is light or dark as the notebook is. A result has figures, names and verdicts;
rows of applicants are frames, which pandas shows.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

_DIGITS = 6
_NOTHING = "–"


class HtmlTable(NamedTuple):
    """A table by its caption, the heads of its columns (none: no head) and its rows."""

    caption: str
    heads: Sequence[str]
    rows: Iterable[Sequence[Any]]


class ShownAsTable:
    """Base of results that a notebook shows as tables."""

    __slots__ = ()

    @abstractmethod
    def html_tables(self) -> Iterable[HtmlTable]:
        """What is shown, from top to bottom."""

    def _repr_html_(self) -> str:
        return "".join(map(as_html, self.html_tables()))


def as_html(table: HtmlTable) -> str:
    """The table as HTML, every text in it escaped.

    >>> as_html(HtmlTable("", (), [("AUC", 0.6543210987)]))
    '<table><tbody><tr><th scope="row">AUC</th><td>0.654321</td></tr></tbody></table>'
    """
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in table.heads)
    head = f"<thead><tr>{heads}</tr></thead>" if heads else ""
    body = "".join(
        f'<tr><th scope="row">{_cell(first)}</th>{"".join(f"<td>{_cell(one)}</td>" for one in rest)}</tr>'
        for first, *rest in table.rows
    )
    return f"<table>{caption}{head}<tbody>{body}</tbody></table>"


def fields(record: Mapping[str, Any], caption: str = "") -> HtmlTable:
    """A record as a table of two columns; what is nested in it by how much there is of it."""
    return HtmlTable(caption, (), [(name.replace("_", " "), _nested(value)) for name, value in record.items()])


def _nested(value: Any) -> Any:
    if isinstance(value, Mapping):
        return f"{len(value)} entries" if value else None
    if isinstance(value, list | tuple):
        if any(isinstance(one, Mapping | list | tuple) for one in value):
            return f"{len(value)} entries"
        return ", ".join(map(_text, value)) or None
    return value


def _cell(value: Any) -> str:
    return escape(_text(value))


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)
