"""What a warehouse must be able to do within one connection.

Belongs here: the interface that each kind of warehouse fills in (`duckdb_file`, `sql`). Does not belong here: what is
done with it (`base`, `writing`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from credit_assets.warehouse.source import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

# How a column that should hold days is stored: "timestamp" without a zone, "instant" with one. "text" holds ISO days,
# which sort as days do, with a time and its distance from UTC or without.
Numbers = Literal["whole", "number", "single", "boolean", "each by itself"]
"""What a column of numbers holds: "single" are floats of 32 bits; "each by itself", any value may be text instead."""
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
    def stream(self, query: sa.Select[Any], order: Sequence[Any], source: SourceTable) -> ResultStream:
        """The rows of a query on the table of `source`, whose columns it selects; `order`: what orders them."""

    @abstractmethod
    def computed(
        self, query: sa.Select[Any], order: Sequence[Any], types: Sequence[pa.DataType]
    ) -> Iterator[Sequence[Any]]:
        """The rows of any query in that order, in batches: each one Arrow array or sequence a column. `types`: what its
        columns are like, by which batches are sized.
        """

    @abstractmethod
    def numbers_in(self, table: str, name: str) -> Numbers | None:
        """What numbers a column holds, of a table that `stored_as` has looked at; None where it holds none."""

    def day_of_text(
        self,
        column: sa.ColumnElement[Any],  # noqa: ARG002
        zone: str,  # noqa: ARG002
        naive: str | None,  # noqa: ARG002
    ) -> sa.ColumnElement[Any] | None:
        """The day of ISO text as SQL, null where it cannot be told; None where this warehouse cannot say that."""
        return None

    def days_between(self, later: sa.ColumnElement[Any], earlier: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Days from one day to another."""
        import sqlalchemy as sa

        return sa.type_coerce(later - earlier, sa.Integer)

    def floor(self, number: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """The largest whole number that is not above, as a float; null of null."""
        import sqlalchemy as sa

        return sa.func.floor(number)

    def last(
        self,
        value: sa.ColumnElement[Any],  # noqa: ARG002
        order: Sequence[Any],  # noqa: ARG002
        met: sa.ColumnElement[bool],  # noqa: ARG002
    ) -> sa.ColumnElement[Any] | None:
        """The value that stands last by `order`, then by itself, of the rows that are `met`, as an aggregate; None
        where this warehouse has none.
        """
        return None

    def sum_in_limbs(
        self,
        whole: sa.ColumnElement[Any],  # noqa: ARG002
        met: sa.ColumnElement[bool],  # noqa: ARG002
        limb: int,  # noqa: ARG002
    ) -> list[sa.ColumnElement[Any]] | None:
        """The sum of floats that are whole numbers, of the rows that are `met`, by `limb` and what is left over; None
        where this warehouse adds no whole numbers beyond 64 bits.
        """
        return None

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
