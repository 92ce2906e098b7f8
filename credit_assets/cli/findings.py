"""What a check of the doctor found: one record, made by the checks and printed by the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass


Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One setting, or one thing that was tried. `source` is where a setting comes from, or which one decides."""

    name: str
    value: str
    source: str
    status: Status = "ok"
    advice: str = ""
    kind: Literal["setting", "check"] = "setting"


@dataclass(frozen=True)
class Seen:
    """What a check saw."""

    value: str
    status: Status = "ok"
    advice: str = ""
