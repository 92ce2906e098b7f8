"""YAML and JSON that people and other programs write: bounded before anything is made of them, each key once, and what
is wrong in words of bounded size.

Belongs here: the text of a file as a mapping. Does not belong here: what its keys mean (`portfolio`, `policies`).

A few lines of aliases stand for millions of nodes, and a million brackets end the process within the C parser's reader.
So the events of a text, which cost no more than its length, are looked through first.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from credit_assets.failures import shortened

MOST_BYTES = 8 * 2**20
"""Of one text: a portfolio of twenty thousand columns has 3 MB."""
MOST_DEPTH = 50
MOST_NODES = 1_000_000
"""With each alias counted as all that it stands for."""
_MOST_PROBLEMS, _PROBLEM = 20, 1_500

# The same loader in C where PyYAML has it, several times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# What YAML's readers of numbers, days and tags raise of a text that is none, besides YAMLError.
_NO_VALUE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class _UniqueKeys(_Loader):  # type: ignore[misc]
    """YAML's last-one-wins on a key given twice would drop a rule without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} given twice", key.start_mark
                    )
                seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def text_of(path: str | Path, source: str) -> str:
    """The text of a file. Raises ValueError naming `source` where it cannot be read, or is no text of such a file."""
    try:
        # A pipe without a writer would be waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{source} cannot be read: it is no file; give the path of one")
            content = file.read(MOST_BYTES + 1)
        _refuse_long(content, source)
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{source} cannot be read: {error}") from error


def mapping_of(text: str, source: str, wanted: str) -> dict[Any, Any]:
    """The mapping that a text is, with at least `wanted`. Raises ValueError naming `source` where it is none."""
    try:
        _refuse_long(text, source)
        _refuse_swollen(text, source)
        content: Any = yaml.load(text, _UniqueKeys)
    except yaml.YAMLError as error:
        raise ValueError(shortened(f"{source} is not valid YAML: {error}")) from error
    except _UnboundedError:
        raise
    except _NO_VALUE as error:
        why = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ValueError(
            shortened(f"{source} is not valid YAML: a number, day or tag cannot be read ({why}); put texts into quotes")
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{source} must be a mapping with {wanted}")
    return content


def json_of(text: str | bytes) -> Any:
    """What a JSON text is. Raises ValueError in words where it is none, or too long or too deep for one."""
    _refuse_long(text, "it")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg}, line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8") from error
    except ValueError as error:  # An integer of thousands of digits.
        raise ValueError("it holds a number that is too long") from error


def problems(error: ValidationError) -> str:
    """What is wrong, each with its place in the file; of many the first ones."""
    found = error.errors(include_url=False, include_input=False)
    shown = [
        _clipped(
            f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg'].removeprefix('Value error, ')}"
        )
        for item in found[:_MOST_PROBLEMS]
    ]
    more = len(found) - len(shown)
    return shortened("; ".join([*shown, *([f"and {more:,} more problems"] if more else [])]))


def _clipped(text: str) -> str:
    return text if len(text) <= _PROBLEM else f"{text[:_PROBLEM]}... ({len(text):,} characters)"


class _UnboundedError(ValueError):
    """More than anybody writes."""


def _refuse_long(text: str | bytes, source: str) -> None:
    if len(text) > MOST_BYTES:
        raise _UnboundedError(
            f"{source} has more than {MOST_BYTES // 2**20} MB: no such text has; look at what it holds"
        )


def _refuse_swollen(text: str, source: str) -> None:
    """Raise ValueError where the nodes that a YAML text stands for are too many or too deep, before one is made."""
    nodes, sizes = 0, dict[str, int]()
    above: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in above}:
                raise _UnboundedError(f"{source}: *{_clipped(str(event.anchor))} stands within what it stands for")
            nodes += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            above.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = above.pop()
            if anchor:
                sizes[anchor] = nodes - before
        _refuse_unbounded(nodes, len(above), source)


def _refuse_unbounded(nodes: int, depth: int, source: str) -> None:
    if depth > MOST_DEPTH:
        raise _UnboundedError(f"{source} is nested more than {MOST_DEPTH} deep: it cannot be read")
    if nodes > MOST_NODES:
        raise _UnboundedError(
            f"{source} stands for more than {MOST_NODES:,} values (aliases and merged keys count as all that they "
            "repeat): it cannot be read"
        )
