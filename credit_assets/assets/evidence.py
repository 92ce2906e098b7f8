"""What the warehouse says about who was lent to, whatever the portfolio states: old loans that never had an outcome.

Belongs here: asking the warehouse. Does not belong here: which loans are old (`credit_assets.ml.data.matured`) and the
verdict (`credit_assets.ml.rules.population_gates`).
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from credit_assets.ml.data.population import DecisionsTable, StatusColumn
from credit_assets.settings import Settings
from credit_assets.warehouse import Warehouse
from credit_assets.warehouse.source import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.matured import Matured

# Loans made longer ago than this say nothing of the lender of today.
LOOKED_BACK = timedelta(3653)


def matured_without_outcome(settings: Settings, warehouse: Warehouse, as_of: date) -> Matured:
    """Loans that are old enough on a day, and those of them without an outcome by it. Raises as the warehouse does."""
    from credit_assets.ml.data.matured import OldLoans, outcome_batches

    portfolio = settings.portfolio_contract
    first, last = as_of - LOOKED_BACK, as_of - timedelta(settings.window_days)
    old = OldLoans(portfolio, settings.window_days, as_of)
    applications = SourceTable.applications(portfolio)
    if old.term is not None:
        # A year's book of loans of three years has no old one, and of an older book the newest three years need not be
        # read: the warehouse says of each term since when there are loans of it.
        by_term = warehouse.first_days_of(applications, old.term, first, last)
        last = last if by_term is None else old.last_of(by_term, first, last)
    for batch in warehouse.columns_of(applications, old.columns, first, last) if first <= last else ():
        old.add(batch)
    loans = old.table()
    if loans.num_rows and portfolio.decisions is not None:
        loans = loans.filter(_booked(settings, warehouse, loans, first, as_of))
    names, source = portfolio.outcomes, SourceTable.outcomes(portfolio)
    # By the day on which it became known, where the table says it.
    columns = (names.id, source.day, names.says)
    bad = ("1",) if names.status is None else names.bad
    found = warehouse.columns_of(source, columns, first, as_of) if loans.num_rows else ()
    return old.without_outcome(loans, outcome_batches(found, columns, bad))


def _booked(settings: Settings, warehouse: Warehouse, loans: pa.Table, first: date, as_of: date) -> pa.Array:
    """Whether each of the loans was booked, as known on a day; by a column, as it says now."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.data.decisions import Decisions
    from credit_assets.ml.data.ids import normal_ids
    from credit_assets.ml.data.schemas import decisions_schema

    portfolio = settings.portfolio_contract
    stated, source = portfolio.decisions, SourceTable.decisions(portfolio)
    of_loans = loans["id"].combine_chunks()
    if isinstance(stated, StatusColumn):
        booked = [
            normal_ids(batch[source.id].filter(pc.is_in(batch[stated.column], value_set=pa.array(stated.booked))))
            for batch in warehouse.columns_of(source, (source.id, source.day, stated.column), first, as_of)
        ]
        ids = pa.chunked_array([chunk for one in booked for chunk in one.chunks], of_loans.type)
        return pc.is_in(of_loans, value_set=ids.combine_chunks())
    assert isinstance(stated, DecisionsTable)
    parts = []
    for batch in warehouse.columns_of(source, source.schema.names, first, as_of):
        ids = normal_ids(batch[source.id])
        batch = batch.set_column(0, batch.schema.field(0), ids)
        parts.append(batch.filter(pc.is_in(ids, value_set=of_loans)))
    rows = pa.concat_tables([decisions_schema(portfolio).empty_table(), *parts])
    return pa.array(Decisions(rows, portfolio).as_of(as_of).booked(pa.chunked_array([of_loans])))
