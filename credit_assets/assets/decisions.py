"""Who was lent to: the decisions that became known on a day, from a table of their own or a column of applications.

Belongs here: the asset. Does not belong here: which rows of a column are news (`credit_assets.ml.data.recorded`), and
what decisions mean for training (`credit_assets.ml.data.decisions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.accounts import DECISIONS
from credit_assets.assets.columns import column_schema
from credit_assets.assets.conventions import daily_asset, daily_result, days_of
from credit_assets.assets.ingestion import ingest, reading
from credit_assets.checks import OUTCOME_GATES, account_spec, gate_specs
from credit_assets.instance.ownership import own_store
from credit_assets.ml.data.population import DecisionsTable
from credit_assets.ml.data.schemas import decisions_fields
from credit_assets.partitions import today
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.partition_files import Staged, split_by_day, stage
from credit_assets.storage.store import Store
from credit_assets.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.day_findings import DayFindings
    from credit_assets.ml.data.gate_results import GateResult
    from credit_assets.ml.data.portfolio import Portfolio

STATUSES = {"statuses": "Every status is in one of the lists of the portfolio."}
RECORDED_GATES = {**STATUSES, "recorded": "Whether the statuses of the day were read once it had closed, or later."}
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
        metadata=column_schema(decisions_fields(portfolio)),
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
        metadata=column_schema(decisions_fields(portfolio)),
    )
    def loan_decisions(
        context: dg.AssetExecutionContext,
        warehouse: dg.ResourceParam[Warehouse],
        store: dg.ResourceParam[Store],
        claims: dg.ResourceParam[Claims],
    ) -> dg.MaterializeResult[Any]:
        own_store(settings, claims)
        days = days_of(context)
        stands = {day: found for day in days if (found := _recorded(store, day)) is not None}
        made = [day for day in days if day not in stands]
        lag = (today(settings) - made[-1]).days - 1 if made else 0
        found = _news(portfolio, warehouse, store, made) if made else {}
        if lag > 0:
            context.log.warning(
                f"{DECISIONS} {made[0]} .. {made[-1]}: read {lag} days and more after they closed, so that statuses "
                "are those of now: what became of an application counts as known from the day on which it was made"
            )
        staged: dict[date, Staged] = {}
        gates: dict[date, tuple[GateResult, ...]] = {}
        for day in days:
            table = stands[day] if day in stands else found[day]
            gates[day] = _judged(portfolio, table, day, store if day in stands else None, today(settings))
            staged[day] = stage(store, store.path(DECISIONS, f"{day}.parquet"), table, gates[day])
        return daily_result(context, staged, gates, {day: {"recorded": gates[day][-1].value} for day in days})

    return loan_decisions


def _recorded(store: Store, day: date) -> pa.Table | None:
    """What is recorded of a day; None where nothing is, and where a gate rejected it."""
    path = store.path(DECISIONS, f"{day}.parquet")
    if not path.exists() or any(gate.blocks for gate in store.gates(DECISIONS, day.isoformat())):
        return None
    return store.open_table(path).read().replace_schema_metadata(None)


def _news(portfolio: Portfolio, warehouse: Warehouse, store: Store, days: Sequence[date]) -> Mapping[date, pa.Table]:
    """What the column says that was not recorded yet, by the day that it goes to."""
    import pyarrow as pa

    from credit_assets.ml.data.recorded import news, one_a_loan
    from credit_assets.ml.data.schemas import decisions_schema

    stated = portfolio.decisions
    assert stated is not None
    within = timedelta(stated.decided_within_days)
    now = one_a_loan(warehouse.read_decisions(portfolio, days[0] - within, days[-1]).read_all(), portfolio)
    there = [
        recorded
        for name in store.days(DECISIONS)
        if days[0] - within <= (day := date.fromisoformat(name)) <= days[-1] + within and day not in days
        if (recorded := _recorded(store, day)) is not None
    ]
    schema = decisions_schema(portfolio)
    before = pa.concat_tables([schema.empty_table(), *there])
    by_day = split_by_day(news(now, before, days, stated.decided_within_days), schema.names[1], days)
    return {day: by_day.get(day, schema.empty_table()) for day in days}


def _judged(
    portfolio: Portfolio, table: pa.Table, day: date, stood_in: Store | None, now: date
) -> tuple[GateResult, ...]:
    from credit_assets.ml.rules.population_gates import StatusGates, recorded_gate

    stated = portfolio.decisions
    assert stated is not None
    statuses = StatusGates("population", (table.column_names[1], stated.status), stated.classes, [day])
    statuses.add(table)
    if stood_in is not None:
        recorded = next(gate for gate in stood_in.gates(DECISIONS, day.isoformat()) if gate.name == "recorded")
    else:
        recorded = recorded_gate((now - day).days - 1)
    return *statuses.close()[day], recorded
