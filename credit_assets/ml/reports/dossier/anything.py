"""Blocks of any record: scalars as facts, lists of records as tables, records of records as tables with their keys.

Belongs here: nothing that knows a particular record. A section uses it for what it has no table of its own for, so that
evidence of a later release is shown and not passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from credit_assets.ml.reports.dossier.blocks import Block, Cell, Fact, Facts, Source, Table, shown, text

MOST_ROWS = 60
# What a row is of stands first: the keys of stored records are in the order of the alphabet.
_NAMING = frozenset({"", "part", "name", "variant", "column", "feature", "group"})
_DEEPEST = 3


def blocks_of(name: str, record: Mapping[str, Any], source: Source, depth: int = 0) -> list[Block]:
    """The blocks of a record, its own facts first. Of a long list the first rows, with a word on how many there are."""
    facts: list[Fact] = []
    parts: list[Block] = []
    for key, value in record.items():
        label = words(key)
        caption = f"{name}: {label}"
        if _is_table(value):
            parts.append(_table(caption, value, source))
        elif isinstance(value, Mapping) and value and not _is_flat(value):
            if all(isinstance(one, Mapping) and not _is_interval(one) and _is_flat(one) for one in value.values()):
                rows = [{"": key_of, **one} for key_of, one in value.items()]
                parts.append(_table(caption, rows, source))
            elif depth < _DEEPEST:
                parts += blocks_of(caption, value, source, depth + 1)
        else:
            facts.append(Fact(label, _cell(value), source))
    return [*([Facts(tuple(facts), name)] if facts else []), *parts]


def words(key: str) -> str:
    """The name of a key as people read it."""
    return key.replace("_", " ")


def _is_table(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(one, Mapping) for one in value)
    )


def _is_flat(value: Mapping[str, Any]) -> bool:
    nested = (one for one in value.values() if isinstance(one, Mapping) and not _is_interval(one))
    return _is_interval(value) or not (any(map(_is_table, value.values())) or any(nested))


def _is_interval(value: Any) -> bool:
    return isinstance(value, Mapping) and {"value", "low", "high"} <= set(value)


def _table(caption: str, rows: Sequence[Mapping[str, Any]], source: Source) -> Table:
    columns = sorted(dict.fromkeys(key for row in rows for key in row), key=lambda key: key not in _NAMING)
    cells = [tuple(_cell(row.get(column)) for column in columns) for row in rows[:MOST_ROWS]]
    note = f"The first {MOST_ROWS} of {len(rows)} rows." if len(rows) > MOST_ROWS else ""
    return Table(caption, tuple(words(column) for column in columns), tuple(cells), (source,), note)


def _cell(value: Any) -> Cell:
    if not _is_interval(value):
        return shown(value)
    if value["value"] is None:
        return text(None)
    written, low, high = (shown(value[end]).text for end in ("value", "low", "high"))
    return Cell(value["value"], f"{written} ({low} .. {high})")
