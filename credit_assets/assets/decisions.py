"""Who was lent to: the decisions that became known on a day, from a table of their own or a column of applications.

Belongs here: the asset. Does not belong here: which rows of a column are news (`credit_assets.ml.data.recorded`), and
what decisions mean for training (`credit_assets.ml.data.decisions`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.accounts import DECISIONS
from credit_assets.assets.columns import column_schema
from credit_assets.assets.conventions import daily_asset, days_of
from credit_assets.assets.ingestion import ingest, reading
from credit_assets.assets.recording import Recording
from credit_assets.checks import OUTCOME_GATES, RECORDED_GATES, STATUSES, account_spec, gate_specs
from credit_assets.instance.ownership import own_store
from credit_assets.ml.data.population import DecisionsTable
from credit_assets.ml.data.schemas import decisions_fields
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    from credit_assets.ml.data.day_findings import DayFindings
    from credit_assets.ml.data.portfolio import Portfolio

TABLE_GATES = {**OUTCOME_GATES, **STATUSES}


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    apart = isinstance(settings.portfolio_contract.decisions, DecisionsTable)
    return [_from_table(settings, partitions) if apart else _from_column(settings, partitions)]


def _from_table(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    portfolio = settings.portfolio_contract
    stated = portfolio.decisions
    assert isinstance(stated, DecisionsTable)

    @daily_asset(
        DECISIONS,
        settings,
        partitions,
        "parquet",
        check_specs=[*gate_specs(DECISIONS, TABLE_GATES, partitions), account_spec(DECISIONS)],
        description=f"Decisions that became known on the day, from `{stated.table}`: who was lent to, who was not.",
        metadata=column_schema(portfolio, decisions_fields(portfolio)),
    )
    def loan_decisions(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        claims: dg.ResourceParam[Claims],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.rules.day_gates import DayGates, outcome_gates
        from credit_assets.ml.rules.population_gates import StatusGates
        from credit_assets.ml.rules.volume_gates import history_days

        own_store(settings, claims)
        days = days_of(context)
        recent = warehouse.daily_decisions(portfolio, days[0] - timedelta(days=history_days(portfolio.gates)), days[-1])
        contract, rows = reading(DECISIONS, portfolio, warehouse, days)
        statuses = StatusGates("population", (stated.date, stated.status), stated.classes, days)

        def judged(found: DayFindings) -> DayGates:
            return outcome_gates(found, portfolio, recent)

        return ingest(context, store, contract, rows, judged, statuses).result(context, settings, warehouse, store)

    return loan_decisions


def _from_column(settings: Settings, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    portfolio = settings.portfolio_contract
    stated = portfolio.decisions
    assert stated is not None

    @daily_asset(
        DECISIONS,
        settings,
        partitions,
        "parquet",
        check_specs=gate_specs(DECISIONS, RECORDED_GATES, partitions),
        description=f"What became of applications, recorded on the day on which column `{stated.status}` of "
        f"`{portfolio.applications_table}` first said so. It is read again for {stated.decided_within_days} days after "
        "each application (population: decided_within_days). What is recorded stays.",
        metadata=column_schema(portfolio, decisions_fields(portfolio)),
    )
    def loan_decisions(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        claims: dg.ResourceParam[Claims],
    ) -> dg.MaterializeResult[Any]:
        own_store(settings, claims)
        return _recording(portfolio, warehouse).make(context, settings, store)

    return loan_decisions


def _recording(portfolio: Portfolio, warehouse: Warehouse) -> Recording:
    from credit_assets.ml.data.recorded import news, one_a_loan
    from credit_assets.ml.data.schemas import decisions_schema

    stated = portfolio.decisions
    assert stated is not None
    within = stated.decided_within_days
    return Recording(
        DECISIONS,
        "population",
        stated.status,
        tuple(stated.classes),
        within,
        decisions_schema(portfolio),
        lambda first, last: one_a_loan(warehouse.read_decisions(portfolio, first, last).read_all(), portfolio),
        lambda now, before, days, later: news(now, before, days, within, later),
    )
