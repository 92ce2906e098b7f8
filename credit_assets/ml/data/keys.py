"""What the parts of a portfolio file have in common: keys that are not known are refused, and names are those of SQL.

Belongs here: the base of every block of the file, and the types that several of them use. Does not belong here: any
block (`portfolio`, `population`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

KNOWN_AT = "known_at"
"""Where an application has several rows, the moment of each in microseconds since 1970 (UTC): their order in a day."""
KNOWN_ON = "known_on"
"""Where no column has it, the day on which the pipeline first saw what a row says."""

MissingPolicy = Literal["allowed", "worst_case", "reject"]
"""What a missing value of a feature means to every model of the portfolio (`learners.missing`)."""

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=63)]


class Strict(BaseModel):
    """A block of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _text(value: Any) -> Any:
    """A number as it is written: codes are often numbers. `yes` and `no` are YAML's booleans, and meant as words."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is a boolean in YAML: put the status in quotes")
    return str(value) if isinstance(value, int) else value


Status = Annotated[str, BeforeValidator(_text), StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
"""One of the words, or codes, that a column of statuses holds."""


def _several(given: Any) -> Any:
    return given if isinstance(given, list | tuple) else [given]


Statuses = Annotated[tuple[Status, ...], BeforeValidator(_several)]
"""A list of statuses; a single one need not be a list."""


def check_distinct(block: str, classes: dict[str, tuple[str, ...]]) -> None:
    """Raises ValueError where a status stands in two lists of a block, or twice in one."""
    seen: dict[str, str] = {}
    for name, statuses in classes.items():
        for status in statuses:
            if status in seen:
                raise ValueError(f"{block}: status {status!r} stands in {seen[status]} and in {name}; name it once")
            seen[status] = name
