"""What people read of a record on a page of Dagster: one order, numbers as numbers, pictures of bounded size.

Belongs here: how metadata of any asset or check looks, whoever makes it. Does not belong here: what is told of a
particular asset (its report in `credit_assets.ml.reports`), and what its pictures show (`ml.reports.pictures`).

Dagster draws whatever is a number over the partitions (Plots, beside the table) and shows entries in the order given:
so states and numbers come first, then links, pictures and tables; hashes and paths, which nobody looks for, come last.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.links import address_of

if TYPE_CHECKING:
    from upath import UPath

    from credit_assets.ml.reports.dossier.blocks import Figure
    from credit_assets.storage.store import Store

EVENT_BYTES = 48_000
"""Pictures in one event at most, as it holds them; those beyond are files of the store, with their place."""
ROWS = 100
"""Rows of a table at most; how many more there are is said in a last one."""
IN_FULL = "pictures_in_full"
REASON = "reason"
_DIGITS = 4
_PICTURE = "!["
_TECHNICAL = re.compile(r"(^|_)(hash|fingerprint|log|ledger|identity)$")
_HASH = re.compile(r"\b([0-9a-f]{32})([0-9a-f]{32})\b")
_HALVES = re.compile(r"\b([0-9a-f]{32}) ([0-9a-f]{32})\b")
_NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
_BETWEEN = re.compile(rf"({_NUMBER}) \.\. ({_NUMBER})")
_COUNTED = re.compile(r"(\d[\d,]*) ((?!of\b)[a-z][\w -]*)")
_BOUND = re.compile(rf"(?:^|at most |at least |within a factor of )({_NUMBER})\b")


def entries(record: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of a record, in the order in which people look for it. What is None or no finite number is left out."""
    shown = {name: entry for name, value in record.items() if (entry := _entry(value)) is not None}
    return dict(sorted(shown.items(), key=lambda item: _place(*item)))


def whole_hashes(shown: str) -> str:
    """A text of `entries` as it was given: there each SHA-256 stands in two halves, since a table is as wide as its
    longest word, and Dagster's page cuts off the sentences of one that is wider than itself.
    """
    return _HALVES.sub(r"\1\2", shown)


def result(made: Any) -> Any:
    """What an asset returns, with its metadata as `entries`."""
    if isinstance(made, dg.MaterializeResult) and made.metadata:
        return made._replace(metadata=entries(made.metadata))
    return made


def judged(value: Any, threshold: Any, **more: Any) -> dict[str, Any]:
    """Metadata of a check: what was measured and what it is held against, as numbers where they are; of a threshold in
    words beside a number its limit too, or both of its ends.
    """
    found = {"value": "no value" if value is None else value}
    found["threshold"] = "no limit" if threshold is None else threshold
    if isinstance(threshold, str):
        if _is_number(value):
            found |= _limits(threshold)
        elif isinstance(value, str):
            measured = counts(value)
            found |= measured
            found |= {f"{name}_limit": least for name, least in counts(threshold).items() if name in measured}
    return entries({**found, **more})


def counts(text: str) -> dict[str, int]:
    """What is counted in words, by name; nothing of a text that is no list of counts.

    >>> counts("at least 200 goods, 1,040 test bads"), counts("7 of 9 rows"), counts("due")
    ({'goods': 200, 'test_bads': 1040}, {}, {})
    """
    found = [_COUNTED.fullmatch(part) for part in text.removeprefix("at least ").split(", ")]
    if not all(found):
        return {}
    return {re.sub(r"\W+", "_", one[2]): int(one[1].replace(",", "")) for one in found if one}


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> dg.TableMetadataValue:
    """A table for the UI; what a row lacks is left empty."""
    rows = [*rows[:ROWS], *([{columns[0]: _more(len(rows))}] if len(rows) > ROWS else [])]
    cells = [{column: _cell(row.get(column, "")) for column in columns} for row in rows]
    return dg.TableMetadataValue(
        records=[dg.TableRecord(row) for row in cells],
        schema=dg.TableSchema(columns=[dg.TableColumn(column) for column in columns]),
    )


def reasons(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """The reasons of a decision; each says in its text what was measured and what it is held against.

    Shown as one column: beside others the names of settings in a text would not fit into their place on Dagster's page.
    Each record has its parts too, for who reads them (`notify.messages`).
    """
    parts = table(rows, ("rule", "passed", "text"))
    return dg.TableMetadataValue(
        records=[dg.TableRecord({**one.data, REASON: _reason(one.data)}) for one in parts.records],
        schema=dg.TableSchema(columns=[dg.TableColumn(REASON)]),
    )


def _reason(parts: Mapping[str, Any]) -> str:
    verdict = {"True": "passed", "False": "against"}.get(parts["passed"], "")
    return ": ".join(part for part in (verdict, parts["rule"], parts["text"]) if part)


def pictures(figures: Mapping[str, Figure], store: Store, asset: str, day: str) -> dict[str, Any]:
    """Figures by name, each as small as Dagster shows without a click, and all in full in an entry of their own; one in
    full that goes beyond `EVENT_BYTES` is a file of the store.
    """
    from credit_assets.ml.reports.pictures import document, markdown
    from credit_assets.ml.reports.previews import preview

    small = {name: text for name, figure in figures.items() if (text := preview(figure)) is not None}
    shown: dict[str, Any] = {name: dg.MetadataValue.md(text) for name, text in small.items()}
    left, in_full = EVENT_BYTES - sum(map(len, small.values())), []
    for name, figure in figures.items():
        text = markdown(figure)
        size = len(text.encode())
        if size <= left:
            left -= size
            in_full.append(text)
        else:
            path: UPath = store.path("figures", asset, f"{day}-{name}.svg")
            store.write_bytes(path, document(figure).encode())
            shown[f"{name}_file"] = dg.MetadataValue.path(str(path))
    if in_full:
        shown[IN_FULL] = dg.MetadataValue.md("\n\n".join(in_full))
    return shown


def number(value: float) -> int | float:
    """Few significant digits: whole from a thousand on.

    >>> number(0.67996559), number(12345.678), number(7), number(-0.0428951)
    (0.68, 12346, 7, -0.0429)
    """
    if isinstance(value, int):
        return value
    return round(value) if abs(value) >= 10 ** (_DIGITS - 1) else float(f"{value:.{_DIGITS}g}")


def _entry(value: Any) -> Any:
    if isinstance(value, dg.MarkdownMetadataValue):
        return dg.MetadataValue.md(_bounded(value.md_str or ""))
    if isinstance(value, dg.MetadataValue):
        return value
    if hasattr(value, "item"):
        # A scalar of numpy.
        value = value.item()
    if isinstance(value, float):
        return number(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return _rounded(value)
    if isinstance(value, str):
        return _HASH.sub(r"\1 \2", value)
    # By type: records of Dagster's are tuples too.
    if type(value) in (list, tuple):
        rows = [row for row in value if isinstance(row, Mapping)]
        if rows and len(rows) == len(value):
            return dg.MetadataValue.md(_bounded(_markdown_table(rows)))
        return _rounded(list(value))
    return value


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return [_rounded(one) for one in value]
    return number(value) if isinstance(value, float) and math.isfinite(value) else value


def _place(name: str, value: Any) -> int:
    if isinstance(value, dg.UrlMetadataValue):
        return 1
    if isinstance(value, dg.MarkdownMetadataValue):
        if address_of(value.md_str or "") != value.md_str:
            return 1
        return 2 if _PICTURE in (value.md_str or "") else 3
    if isinstance(value, dg.TableMetadataValue | dg.JsonMetadataValue | dict | list):
        return 3
    return 4 if isinstance(value, dg.PathMetadataValue) or _TECHNICAL.search(name) else 0


def _markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(column.replace('_', ' ') for column in columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows]
    return "\n".join(lines)


def _bounded(text: str) -> str:
    """Markdown whose table, if it is one, has `ROWS` rows at most."""
    lines = text.split("\n")
    rows = sum(line.startswith("|") for line in lines[2:])
    if rows <= ROWS or not text.startswith("|"):
        return text
    return "\n".join([*lines[: ROWS + 2], "", _more(rows), *(line for line in lines[2:] if not line.startswith("|"))])


def _more(rows: int) -> str:
    return f"and {rows - ROWS:,} more, in the record of the day"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = str(number(value) if isinstance(value, float) and math.isfinite(value) else value)
    return text.replace("|", "\\|") if "|" in text else text


def _limits(threshold: str) -> dict[str, float]:
    if between := _BETWEEN.search(threshold):
        low, high = (_parsed(text) for text in between.groups())
        return {"limit_low": low, "limit_high": high}
    bound = _BOUND.search(threshold)
    return {"limit": _parsed(bound[1])} if bound else {}


def _parsed(text: str) -> float:
    return float(text.replace(",", ""))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
