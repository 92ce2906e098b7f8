"""Who was lent to: the block `population` of a portfolio file, and which class a status is of.

Belongs here: the keys, their validation, and the mapping of statuses to classes. Does not belong here: what was decided
about which application by which day (`decisions`), and the gates (`credit_assets.ml.rules.population_gates`).

A loan that was never made cannot default. Whoever was declined, or did not take the loan up, has no outcome, and among
the goods would teach a model that the worst applicants are the best. So training, calibration and realised
performance are of booked loans alone; scores, drift and volumes of everyone who applied.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from credit_assets.ml.data.keys import Identifier, Statuses, Strict, check_distinct

UNDECIDED, DECLINED, WITHDRAWN, BOOKED = "undecided", "declined", "withdrawn", "booked"
CLASSES = (UNDECIDED, DECLINED, WITHDRAWN, BOOKED)
"""What can become of an application. Of two decisions at the same moment the later one in this order holds."""
EVERYONE = "all"


class _Decisions(Strict):
    """The statuses of each class, and for how long a decision may change."""

    booked: Statuses = Field(min_length=1)
    withdrawn: Statuses = ()
    declined: Statuses = ()
    undecided: Statuses = ()
    booked_on: Identifier | None = None
    decided_within_days: int = Field(default=90, ge=1, le=1100)

    @model_validator(mode="after")
    def _distinct(self) -> _Decisions:
        check_distinct("population", {name: getattr(self, name) for name in CLASSES})
        return self

    @property
    def classes(self) -> dict[str, str]:
        """The class of each status."""
        return {status: name for name in CLASSES for status in getattr(self, name)}


class StatusColumn(_Decisions):
    """The status of an application stands in a column of its table, as it is now: nobody knows since when."""

    column: Identifier

    @property
    def status(self) -> Identifier:
        return self.column

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the applications table that it reads."""
        return (self.column,) if self.booked_on is None else (self.column, self.booked_on)


class DecisionsTable(_Decisions):
    """Decisions stand in a table of their own: one row or several an application, each with the day it became known."""

    table: Identifier
    id: Identifier
    date: Identifier
    status: Identifier

    @model_validator(mode="after")
    def _columns_differ(self) -> DecisionsTable:
        named = [self.id, self.date, self.status]
        if len(set(named)) < len(named) or self.booked_on in (self.id, self.status):
            raise ValueError("population: id, date, status and booked_on must name different columns")
        return self


def _kind(given: Any) -> str | None:
    """Which of its forms a population is given in."""
    if isinstance(given, StatusColumn | DecisionsTable):
        return "table" if isinstance(given, DecisionsTable) else "column"
    if isinstance(given, dict):
        return next((kind for kind in ("table", "column") if kind in given), None)
    return EVERYONE if given == EVERYONE else None


STATED = (
    "population: all` where everyone in the table was lent to, `population: {column: .., booked: [..], declined: [..], "
    "withdrawn: [..], undecided: [..]}` where a column of it has the status, or `population: {table: .., id: .., "
    "date: .., status: .., booked: [..], ..}"
)
"""The three forms, for messages."""

StatedPopulation = Annotated[
    Annotated[Literal["all"], Tag(EVERYONE)]
    | Annotated[StatusColumn, Tag("column")]
    | Annotated[DecisionsTable, Tag("table")],
    Discriminator(
        _kind,
        custom_error_type="population",
        custom_error_message=f"is none of its forms: write `{STATED}` where decisions stand apart",
    ),
]

Population = StatusColumn | DecisionsTable
"""A population of which some were lent to."""
