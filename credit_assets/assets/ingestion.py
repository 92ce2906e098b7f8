"""From the warehouse into the store: the day's applications and the outcomes that became known that day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from credit_assets.assets.conventions import (
    PARQUET,
    Table,
    asset_options,
    daily_result,
    days_of,
    retry_transient_only,
    split_by_day,
)
from credit_assets.checks.gates import APPLICATION_GATES, OUTCOME_GATES, gate_specs
from credit_assets.resources.store import Store
from credit_assets.resources.warehouse import Warehouse
from credit_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.contracts import ContractResult

# Days that one run of a backfill takes. Bounds the memory of a step and what a failure makes run again.
DAYS_PER_RUN = 366


def ingestion_assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract

    @dg.asset(
        check_specs=gate_specs("raw_loan_data", APPLICATION_GATES),
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_PER_RUN),
        description=f"Applications of the day from `{portfolio.applications_table}`, as the contract of portfolio "
        f"`{portfolio.name}` wants them. Rows that break it are quarantined, or reject the partition.",
        **asset_options(settings, partitions, "parquet", io=PARQUET),
    )
    @retry_transient_only
    def raw_loan_data(
        context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse], store: dg.ResourceParam[Store]
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.contracts import check_applications
        from credit_assets.ml.schemas import applications_schema

        days = days_of(context)
        history = timedelta(days=portfolio.gates.volume_history_days)
        recent = warehouse.daily_counts(portfolio, days[0] - history, days[-1])
        frame = warehouse.read_applications(portfolio, days[0], days[-1]).read_pandas(date_as_object=False)
        checked = check_applications(frame, portfolio, days, recent)
        keys = (portfolio.date_column, portfolio.id_column)
        kept, set_aside = separate(checked, applications_schema(portfolio), keys, days)
        metadata = {}
        for day in days:
            path = store.quarantine("raw_loan_data", day.isoformat(), set_aside[day])
            metadata[day] = {"quarantined_rows": set_aside[day].num_rows}
            if path is not None:
                metadata[day]["quarantine"] = dg.MetadataValue.path(str(path))
            if kept[day].num_rows == 0:
                context.log.warning(f"{day}: the warehouse has no application; the partition is valid and empty")
        return daily_result(context, kept, checked.gates, metadata)

    @dg.asset(
        check_specs=gate_specs("loan_outcomes", OUTCOME_GATES),
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_PER_RUN),
        description=f"Outcomes that became known on the day, from `{portfolio.outcomes.table}`.",
        **asset_options(settings, partitions, "parquet", io=PARQUET),
    )
    @retry_transient_only
    def loan_outcomes(
        context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse], store: dg.ResourceParam[Store]
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.contracts import check_outcomes
        from credit_assets.ml.schemas import outcomes_schema

        days = days_of(context)
        frame = warehouse.read_outcomes(portfolio, days[0], days[-1]).read_pandas(date_as_object=False)
        checked = check_outcomes(frame, portfolio, days)
        keys = (portfolio.outcomes.date, portfolio.outcomes.id)
        kept, set_aside = separate(checked, outcomes_schema(portfolio), keys, days)
        for day in days:
            store.quarantine("loan_outcomes", day.isoformat(), set_aside[day])
        metadata = {day: {"quarantined_rows": set_aside[day].num_rows} for day in days}
        return daily_result(context, kept, checked.gates, metadata)

    return [raw_loan_data, loan_outcomes]


def separate(
    checked: ContractResult, schema: pa.Schema, keys: tuple[str, str], days: Sequence[date]
) -> tuple[dict[date, Table], dict[date, Table]]:
    """Kept and quarantined rows by day. Quarantined rows are text: their values may not fit."""
    import pyarrow as pa

    from credit_assets.ml.schemas import REASON, to_table

    kept = split_by_day(to_table(checked.kept, schema, sort_by=keys), keys[0], days)
    as_text = pa.schema([pa.field(f.name, f.type if f.name == keys[0] else pa.string()) for f in schema])
    rows = checked.quarantined
    text = rows.astype({f.name: "string" for f in schema if f.name != keys[0]})
    aside = to_table(text, as_text.append(pa.field(REASON, pa.string())), sort_by=keys)
    return kept, split_by_day(aside, keys[0], days)
