"""The tables of a portfolio, as a warehouse has to hold them.

Belongs here: their names, columns and types, and the refusal of values of other types. Does not belong here: SQL
(`queries`) and rules about values (`credit_assets.ml.data.contracts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from credit_assets.failures import PermanentError
from credit_assets.ml.data.keys import KNOWN_AT
from credit_assets.ml.data.population import DecisionsTable, StatusColumn
from credit_assets.ml.data.portfolio import Portfolio

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.loans.tables import LoadedTable


@dataclass(frozen=True)
class SourceTable:
    """One of the tables as the portfolio describes it."""

    table: str
    id: str
    day: str
    schema: pa.Schema
    required: tuple[str, ...]
    portfolio: str
    timezone: str | None
    """That of timestamps without one; None for that of the days."""
    moments: Mapping[str, str] = field(default_factory=dict)
    """Fields of the schema that are not columns but the moment of one, in microseconds, by the column's name."""
    repeats: bool = False
    """Whether an application may have several rows."""
    copies: bool = False
    """Whether rows that are equal in all columns are several."""

    @classmethod
    def applications(cls, portfolio: Portfolio) -> SourceTable:
        from credit_assets.ml.data.schemas import applications_schema

        if portfolio.columns_matching:
            patterns = ", ".join(pattern.names for pattern in portfolio.columns_matching)
            raise PermanentError(
                f"columns_matching ({patterns}) of portfolio {portfolio.name} is not resolved: table "
                f"{portfolio.applications_table} was not there, or could not be reached, when the settings were read; "
                "load it, then begin again"
            )
        required = tuple(column.name for column in portfolio.columns if not column.nullable)
        schema = applications_schema(portfolio)
        key, day = portfolio.id_column, portfolio.date_column
        return cls(portfolio.applications_table, key, day, schema, required, portfolio.name, portfolio.timezone)

    @classmethod
    def stored_applications(cls, portfolio: Portfolio) -> SourceTable:
        """The applications as they are written: with the columns of their statuses, which are not read with them."""
        import pyarrow as pa

        source, stated = cls.applications(portfolio), portfolio.decisions
        if not isinstance(stated, StatusColumn):
            return source
        fields = [pa.field(stated.column, pa.string())]
        if stated.booked_on is not None:
            fields.append(pa.field(stated.booked_on, pa.date32()))
        return replace(source, schema=pa.schema([*source.schema, *fields]))

    @classmethod
    def outcomes(cls, portfolio: Portfolio) -> SourceTable:
        """By the day on which they became known; where nothing says it, by that to which they are booked."""
        from credit_assets.ml.data.schemas import outcomes_schema

        names, schema = portfolio.outcomes, outcomes_schema(portfolio)
        if names.recorded:
            schema = schema.remove(schema.get_field_index(names.day))
        day = names.date if names.recorded else names.day
        return cls(
            names.table,
            names.id,
            day,
            schema,
            (names.id, day, names.says) if names.status is None else (names.id, day),
            portfolio.name,
            portfolio.timezone,
            moments={} if names.known is None else {KNOWN_AT: names.known},
            repeats=names.known is not None or names.recorded,
        )

    @classmethod
    def decisions(cls, portfolio: Portfolio) -> SourceTable:
        """Where decisions stand: in a table of their own, by the day on which they became known, or in columns of the
        applications, by the day of the application.
        """
        from credit_assets.ml.data.schemas import decisions_schema, statuses_schema

        stated, zone = portfolio.decisions, portfolio.timezone
        if isinstance(stated, DecisionsTable):
            return cls(
                stated.table,
                stated.id,
                stated.date,
                decisions_schema(portfolio),
                (stated.id, stated.date),
                portfolio.name,
                zone,
                moments={KNOWN_AT: stated.date},
                repeats=True,
            )
        assert isinstance(stated, StatusColumn)
        key, day = portfolio.id_column, portfolio.date_column
        schema = statuses_schema(portfolio)
        return cls(portfolio.applications_table, key, day, schema, (key, day), portfolio.name, zone, repeats=True)

    @classmethod
    def loaded(cls, portfolio: Portfolio, loaded: LoadedTable, schema: pa.Schema) -> SourceTable:
        """A table of decisions or of a history with the columns that are loaded into it. Of a history the day is of the
        type that the file has; all that says since when a row is known is a moment.
        """
        timed = loaded.moments - (
            {loaded.day} if loaded.copies and str(schema.field(loaded.day).type) == "date32[day]" else set()
        )
        required = tuple(column.name for column in loaded.columns if not column.nullable)
        key, day, zone = loaded.id, loaded.day, portfolio.timezone
        moments = {f"moment of {name}": name for name in timed}
        return cls(
            loaded.table, key, day, schema, required, portfolio.name, zone, moments, repeats=True, copies=loaded.copies
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that it reads."""
        return tuple(name for name in self.schema.names if name not in self.moments)

    @property
    def written(self) -> SourceTable:
        """The same with the columns of the table alone, as rows are written."""
        import pyarrow as pa

        return replace(self, schema=pa.schema([self.schema.field(name) for name in self.columns]))

    def is_moment(self, name: str) -> bool:
        """Whether the time of day counts of a column of days, where it has one."""
        return name in self.moments.values()

    def refuse_misfits(self, misfits: Mapping[str, int], where: str) -> None:
        """Raise PermanentError where there are values, counted by column, that are not of their column's type."""
        named = [
            f"{name} ({count:,} rows are not {self.schema.field(name).type})"
            for name, count in misfits.items()
            if count
        ]
        if named:
            raise PermanentError(
                f"table {self.table} {where}: values do not fit the type of their column: {', '.join(named)}; correct "
                f"the data, or the column's type in portfolio {self.portfolio}"
            )


def split_name(table: str) -> tuple[str | None, str]:
    """Schema and table of `schema.table`."""
    schema, _, name = table.rpartition(".")
    return schema or None, name
