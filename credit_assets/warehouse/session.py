"""What a warehouse must be able to do within one connection.

Belongs here: the interface that each kind of warehouse fills in (`duckdb_file`, `sql`). Does not belong here: what is
done with it (`base`, `writing`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from credit_assets.warehouse.source import Source

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

# How a column that should hold days is stored: "timestamp" without a zone, "instant" with one. "text" holds ISO days,
# which sort as days do, with a time and its distance from UTC or without.
Stored = Literal["date", "timestamp", "instant", "text", "other"]


@dataclass(frozen=True)
class ResultStream:
    """What a query streams: batches, each as one Arrow array or sequence per column; and whether they are ordered,
    or come in any order."""

    batches: Iterator[Sequence[Any]]
    ordered: bool = True


class Session(ABC):
    """An open connection in a transaction. Errors of the driver leave it as TransientError or PermanentError.

    `knows_zones`: whether its own zone is that in which days are cut, and it has PostgreSQL's function `timezone`.
    """

    knows_zones: bool = True

    @abstractmethod
    def stored_as(self, table: str) -> Mapping[str, Stored] | None:
        """Columns of a table or view and how they are stored; None where there is no such table."""

    @abstractmethod
    def identifier(self, name: str) -> str:
        """The name, marked for quoting as this warehouse needs it."""

    @abstractmethod
    def rows(self, query: sa.Executable) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def stream(self, query: sa.Select[Any], order: Sequence[Any], source: Source) -> ResultStream:
        """The rows of a query on the table of `source`, whose columns it selects; `order`: what orders them."""

    @abstractmethod
    def change(self, statement: sa.Executable) -> int:
        """Run a statement that changes rows; how many it changed."""

    @abstractmethod
    def create(self, table: sa.Table) -> None:
        """Create the table unless it exists."""

    @abstractmethod
    def stage(self, name: str, rows: pa.Table) -> None:
        """Make the rows a temporary table."""

    def lock(self, table: str) -> None:  # noqa: B027 - nothing to do where a writer is alone anyway
        """Keep other writers out of the table until the transaction ends; readers go on."""

    def sorted_text(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """The text, sorting by its bytes whatever the warehouse's locale."""
        return column
