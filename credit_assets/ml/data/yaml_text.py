"""YAML files that people write: read with each key once, and what is wrong with their content in words.

Belongs here: the text of a file as a mapping. Does not belong here: what its keys mean (`portfolio`, `policies`).
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

# The same loader in C where PyYAML has it, several times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
    """The text of a file. Raises ValueError naming `source` where it cannot be read."""
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{source} cannot be read: {error}") from error


def mapping_of(text: str, source: str, wanted: str) -> dict[Any, Any]:
    """The mapping that a text is, with at least `wanted`. Raises ValueError naming `source` where it is none."""
    try:
        content: Any = yaml.load(text, _UniqueKeys)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{source} must be a mapping with {wanted}")
    return content


def problems(error: ValidationError) -> str:
    """What is wrong, each with its place in the file."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors()
    )
