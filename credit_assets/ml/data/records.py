"""Records: dataclasses as JSON types and back.

Belongs here: what every `from_record` needs. Does not belong here: any particular record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def require_keys(what: str, record: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise ValueError, beginning with `what`, where a record lacks one of the names or has another key."""
    wanted = set(names)
    if set(record) != wanted:
        missing, unknown = sorted(wanted - set(record)), sorted(set(record) - wanted)
        raise ValueError(f"{what}: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}")
