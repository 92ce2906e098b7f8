"""Model inputs of the day's applications."""

from __future__ import annotations

from typing import Any

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
from credit_assets.assets.ingestion import DAYS_PER_RUN
from credit_assets.settings import Settings


def feature_assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract

    @dg.asset(
        ins={"raw_loan_data": dg.AssetIn()},
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_PER_RUN),
        description="Model inputs: the feature columns of the portfolio and what is derived from them. "
        "Protected and ignored columns end here.",
        **asset_options(settings, partitions, "pandas", "parquet", io=PARQUET),
    )
    @retry_transient_only
    def processed_features(context: dg.AssetExecutionContext, raw_loan_data: Table) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.features import model_inputs
        from credit_assets.ml.schemas import features_schema, to_table

        inputs = model_inputs(raw_loan_data.to_pandas(date_as_object=False), portfolio)
        table = to_table(inputs, features_schema(portfolio), sort_by=(portfolio.date_column, portfolio.id_column))
        return daily_result(context, split_by_day(table, portfolio.date_column, days_of(context)))

    return [processed_features]
