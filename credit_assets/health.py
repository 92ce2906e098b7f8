"""What a look at one part of the house is, and what it found: `doctor` runs the one and prints the other.

Belongs here: the records. Does not belong here: any looking, which stands beside what is looked at (`health.py` of each
wing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Health:
    """What was found, whether it will do, and in one line what to do where it will not."""

    value: str
    status: Status = "ok"
    advice: str = ""


class Check(NamedTuple):
    """One look: what at, which setting decides, and by what the time that it may take is multiplied."""

    name: str
    setting: str
    look: Callable[[], Health]
    patience: float = 1


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, else its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
