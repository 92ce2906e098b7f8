"""The accounts of the tables: the warehouse's rows held against those in the store.

Belongs here: asking both sides. Does not belong here: the sums (`ml.data.accounts`) and the verdict
(`ml.rules.account_gates`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from credit_assets.assets.stored_days import StoredDays
from credit_assets.ml.data.accounts import Account, account, plausible_days
from credit_assets.ml.data.population import DecisionsTable
from credit_assets.partitions import today
from credit_assets.settings import Settings
from credit_assets.storage.store import Store
from credit_assets.warehouse import Warehouse

APPLICATIONS, OUTCOMES, DECISIONS = "raw_loan_data", "loan_outcomes", "loan_decisions"


def table_account(
    asset: str,
    settings: Settings,
    warehouse: Warehouse,
    store: Store,
    just_ingested: Mapping[date, tuple[int, int]] | None = None,
    within: tuple[date, date] | None = None,
) -> Account:
    """The account of the table that `asset` ingests. One query of the warehouse, and the footers of the store's files.

    `just_ingested`: rows ingested and quarantined of days whose files are not in the store yet. `within`: the first and
    the last day that are looked at; what was ingested of others is taken for what the warehouse has of them. Raises as
    the warehouse does.
    """
    portfolio, now = settings.portfolio_contract, today(settings)
    bounds = plausible_days(settings.start_date, now)
    if asset == APPLICATIONS:
        table, column = portfolio.applications_table, portfolio.date_column
        counted = warehouse.count_applications(portfolio, *bounds)
    elif asset == DECISIONS and isinstance(portfolio.decisions, DecisionsTable):
        table, column = portfolio.decisions.table, portfolio.decisions.date
        counted = warehouse.count_decisions(portfolio, *bounds)
    else:
        names = portfolio.outcomes
        table, column = names.table, names.known or names.date
        counted = warehouse.count_outcomes(portfolio, *bounds)
    stored = {**StoredDays(store).ingested(asset, within), **(just_ingested or {})}
    if within is not None:
        others = {date.fromisoformat(day) for day in store.days(asset)}.difference(stored)
        stored |= {day: (counted.days.get(day, 0), 0) for day in others}
    return account(table, column, counted, stored, start=settings.start_date, today=now)


def table_accounts(
    settings: Settings,
    warehouse: Warehouse,
    store: Store,
    windows: Mapping[str, tuple[date, date]] | None = None,
) -> dict[str, Account]:
    """The accounts of the tables, by the asset that ingests each; `windows` are the days of each to look at."""
    within = windows or {}
    return {
        asset: table_account(asset, settings, warehouse, store, within=within.get(asset))
        for asset in ingested_tables(settings)
    }


def ingested_tables(settings: Settings) -> tuple[str, ...]:
    """The assets that ingest each row of a table on the day that the row bears; not those that record when they saw
    it, whose days are never read again.
    """
    portfolio = settings.portfolio_contract
    outcomes = () if portfolio.outcomes.recorded else (OUTCOMES,)
    return APPLICATIONS, *outcomes, *([DECISIONS] if isinstance(portfolio.decisions, DecisionsTable) else [])
