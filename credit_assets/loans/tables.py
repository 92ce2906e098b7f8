"""The tables of a portfolio that a file may hold: what each is called, and its columns.

Belongs here: which tables there are and how they are named on the command line. Does not belong here: reading a file
(`portfolio_file`) and writing into the warehouse (`credit_assets.warehouse`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from credit_assets.failures import PermanentError
from credit_assets.ml.data.histories import History
from credit_assets.ml.data.population import DecisionsTable, StatusColumn
from credit_assets.ml.data.portfolio import Column, Portfolio

APPLICATIONS, OUTCOMES, DECISIONS = "applications", "outcomes", "decisions"


@dataclass(frozen=True)
class LoadedTable:
    """A table of a portfolio as files hold it."""

    what: str
    """`applications`, `outcomes`, `decisions`, or of a history `history NAME`."""
    table: str
    id: str
    day: str
    columns: tuple[Column, ...]
    names: frozenset[str]
    """What it may be called."""
    moments: frozenset[str] = frozenset()
    """Columns of days whose time of day counts, where they have one."""
    repeats: bool = False
    """Whether an id may have several rows."""
    copies: bool = False
    """Whether rows that are equal in all columns are several: so many facts, and not one said again."""

    @property
    def in_the_book(self) -> bool:
        """Whether it is one of the two tables of every portfolio."""
        return self.what in (APPLICATIONS, OUTCOMES)


def loaded_tables(portfolio: Portfolio) -> tuple[LoadedTable, ...]:
    """The tables of the portfolio, applications first."""
    found = [_applications(portfolio), _outcomes(portfolio)]
    if isinstance(portfolio.decisions, DecisionsTable):
        found.append(_decisions(portfolio, portfolio.decisions))
    return (*found, *(_history(portfolio, history) for history in portfolio.histories))


def table_named(portfolio: Portfolio, given: str) -> LoadedTable:
    """The table that is called so. Raises PermanentError where none is, or more than one."""
    tables = loaded_tables(portfolio)
    found = [table for table in tables if given in table.names]
    if not found:
        words = [_shortest(table) for table in tables]
        raise PermanentError(
            f"the table is {', '.join(words[:-1])} or {words[-1]}, not {given!r}; give --table that word, or "
            f"{', '.join(dict.fromkeys(table.table for table in tables))}, as the portfolio calls them"
        )
    if len(found) > 1:
        raise PermanentError(
            f"{given!r} is what portfolio {portfolio.name} calls {' and '.join(table.what for table in found)}: give "
            f"another of their names ({'; '.join(', '.join(sorted(table.names - {given})) for table in found)})"
        )
    return found[0]


def _shortest(table: LoadedTable) -> str:
    return table.what.removeprefix("history ")


def _column(name: str, kind: str, **keys: Any) -> Column:
    """Not validated: the names of other tables' columns are not those of the applications, of which some are taken."""
    return Column.model_construct(name=name, type=kind, **{"role": "ignored", **keys})


def _applications(portfolio: Portfolio) -> LoadedTable:
    """With those columns that decisions are read from."""
    columns, stated = portfolio.application_columns, portfolio.decisions
    if isinstance(stated, StatusColumn):
        columns = (*columns, _column(stated.column, "string"))
        columns += (_column(stated.booked_on, "date"),) if stated.booked_on else ()
    table = portfolio.applications_table
    return LoadedTable(
        APPLICATIONS, table, portfolio.id_column, portfolio.date_column, columns, frozenset({APPLICATIONS, table})
    )


def _outcomes(portfolio: Portfolio) -> LoadedTable:
    names = portfolio.outcomes
    known = () if names.known in (None, names.date) else (_column(names.known, "date", nullable=False),)
    says = _column(names.says, "boolean", nullable=False) if names.status is None else _column(names.says, "string")
    return LoadedTable(
        OUTCOMES,
        names.table,
        names.id,
        names.date,
        (
            _column(names.id, portfolio.column(portfolio.id_column).type, role="id", nullable=False),
            _column(names.date, "date", role="date", nullable=False),
            *known,
            says,
        ),
        frozenset({OUTCOMES, names.table}),
        frozenset() if names.known is None else frozenset({names.known}),
        repeats=names.known is not None or names.recorded,
    )


def _decisions(portfolio: Portfolio, stated: DecisionsTable) -> LoadedTable:
    booked = () if stated.booked_on in (None, stated.date) else (_column(str(stated.booked_on), "date"),)
    return LoadedTable(
        DECISIONS,
        stated.table,
        stated.id,
        stated.date,
        (
            _column(stated.id, portfolio.column(portfolio.id_column).type, role="id", nullable=False),
            _column(stated.date, "date", role="date", nullable=False),
            _column(stated.status, "string"),
            *booked,
        ),
        frozenset({DECISIONS, stated.table}),
        frozenset({stated.date}),
        repeats=True,
    )


def _history(portfolio: Portfolio, history: History) -> LoadedTable:
    key = portfolio.column(history.key_of_applications).type
    return LoadedTable(
        f"history {history.name}",
        history.table,
        history.key,
        history.date,
        (
            _column(history.key, key, role="id", nullable=False),
            _column(history.date, "date", role="date", nullable=False),
            *([_column(history.known, "date", nullable=False)] if history.known else []),
            *(_column(one.name, one.type, unit=one.unit) for one in history.columns),
        ),
        frozenset({f"history {history.name}", history.name, history.table}),
        frozenset({history.date, *([history.known] if history.known else [])}),
        repeats=True,
        copies=True,
    )
