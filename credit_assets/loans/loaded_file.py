"""What is kept of a file that was loaded into a book: how it was read, and in which units its columns are.

Belongs here: the record. Does not belong here: how it is made and compared (`scales`), and where it is kept
(`credit_assets.warehouse.loaded_files`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Size:
    """How large a column's values are, by amount, zeros left out."""

    values: int
    low: float
    """The 1% quantile."""
    median: float
    high: float
    """The 99% quantile."""


@dataclass(frozen=True)
class LoadedFile:
    """One file: its content, and what it was taken for."""

    digest: str
    name: str
    kind: str
    rows_read: int
    rows_kept: int
    read_as: Mapping[str, str] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(default_factory=dict)
    """What columns mean, where a file decides: `total_debt`, the currency."""
    sizes: Mapping[str, Size] = field(default_factory=dict)
    made_ids: bool = False
    loaded_at: str = ""

    def to_record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LoadedFile:
        sizes = {name: Size(**size) for name, size in record.get("sizes", {}).items()}
        return cls(**{**record, "sizes": sizes})


@dataclass(frozen=True)
class Load:
    """A file that is to be recorded, and the records that it was compared with."""

    file: LoadedFile
    compared_with: tuple[LoadedFile, ...]
    max_moved: float = 1.0
    """The share of its applications whose ids may be in the book with another day."""
