"""The records in a model's folder: JSON files beside the learner's own, each written whole or not at all.

Belongs here: how such a file is written and read. Does not belong here: what stands in one (the module that names the
file).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

_Restored = TypeVar("_Restored")


def write_record(place: Path, record: object, indent: int | None = 1) -> None:
    """Write a record of JSON types aside, and rename it. Equal records give equal bytes."""
    aside = place.with_name(f".{place.name}.part")
    text = json.dumps(record, indent=indent, ensure_ascii=False, allow_nan=False)
    aside.write_text(text + "\n", encoding="utf-8")
    os.replace(aside, place)


def read_record(place: Path, what: str, restore: Callable[[Any], _Restored]) -> _Restored | None:
    """What `restore` makes of the record; None where there is no such file.

    Raises ValueError naming file and fault where it is unreadable or `restore` refuses it, as `what` it should be.
    """
    try:
        return restore(json.loads(place.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except KeyError as error:
        raise ValueError(f"{place} cannot be read as {what}: it lacks {error}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{place} cannot be read as {what}: {error}") from error
