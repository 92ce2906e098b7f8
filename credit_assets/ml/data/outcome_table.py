"""What is bad: the block `outcomes` of a portfolio file.

Belongs here: the keys and their validation. Does not belong here: what the rows of an application say together
(`outcomes`).
"""

from __future__ import annotations

from pydantic import Field, model_validator

from credit_assets.ml.data.keys import KNOWN_ON, Identifier, Statuses, Strict, check_distinct

OUTCOME_LISTS = ("good", "indeterminate", "bad", "excluded", "reversed")


class OutcomeTable(Strict):
    """Names in the outcomes table, and what its rows say: a flag, or a status in one of the lists.

    `date` is the day to which an outcome is booked and `known` the day on which it became known. Without `known` a flag
    became known on its date; of a status nobody knows it, and the day counts on which the row was first seen.
    """

    table: Identifier = "loan_outcomes"
    id: Identifier = "application_id"
    date: Identifier = "outcome_date"
    known: Identifier | None = None
    defaulted: Identifier = "defaulted"
    status: Identifier | None = None
    good: Statuses = ()
    indeterminate: Statuses = ()
    bad: Statuses = ()
    excluded: Statuses = ()
    reversed: Statuses = ()
    recorded_within_days: int = Field(default=100, ge=1, le=1100)

    @model_validator(mode="after")
    def _distinct(self) -> OutcomeTable:
        says = "defaulted" if self.status is None else "status"
        if len({self.id, self.date, self.says}) < 3:
            raise ValueError(f"outcomes: id, date and {says} must name three different columns")
        if self.known in (self.id, self.says):
            raise ValueError(f"outcomes: known must name another column than id and {says}")
        return self

    @model_validator(mode="after")
    def _flag_or_status(self) -> OutcomeTable:
        lists = {name: getattr(self, name) for name in OUTCOME_LISTS}
        given = [name for name, statuses in lists.items() if statuses]
        if self.status is None and given:
            raise ValueError(f"outcomes: {', '.join(given)} are lists of statuses: name their column (status)")
        if self.status is not None:
            if "defaulted" in self.model_fields_set:
                raise ValueError("outcomes: give defaulted, a flag, or status with its lists, not both")
            if not self.bad:
                raise ValueError("outcomes: status needs the list `bad`: which statuses are a default")
        check_distinct("outcomes", lists)
        return self

    @property
    def says(self) -> Identifier:
        """The column that says what became of a loan."""
        return self.defaulted if self.status is None else self.status

    @property
    def recorded(self) -> bool:
        """Whether the day on which a row became known is the one on which it was first seen."""
        return self.status is not None and self.known is None

    @property
    def day(self) -> Identifier:
        """The column of the day on which a row became known."""
        return self.known or (KNOWN_ON if self.recorded else self.date)

    @property
    def classes(self) -> dict[str, str]:
        """The list that each status stands in."""
        return {status: name for name in OUTCOME_LISTS for status in getattr(self, name)}
