"""Model inputs of the day's applications."""

from __future__ import annotations

from functools import partial
from typing import Any

import dagster as dg

from credit_assets.assets.columns import column_schema, made_of
from credit_assets.assets.conventions import asset_key, daily_asset, daily_result, days_of, inputs, refused_gates
from credit_assets.assets.histories import HistoryDays
from credit_assets.ml.data.extensions import sources
from credit_assets.ml.data.fingerprints import fingerprint
from credit_assets.ml.data.schemas import features_fields
from credit_assets.settings import Settings
from credit_assets.storage.footers import with_makers
from credit_assets.storage.io_managers import IN_PIECES
from credit_assets.storage.partition_files import Partitions, PartitionWriter
from credit_assets.storage.store import Store


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract
    makers = portfolio.made_by()

    @daily_asset(
        "processed_features",
        settings,
        partitions,
        "parquet",
        ins=inputs("processed_features", settings, IN_PIECES),
        description="Model inputs: the feature columns of the portfolio and what is derived from them. "
        "Protected and ignored columns end here.",
        metadata=column_schema(
            portfolio,
            features_fields(portfolio),
            made_of(portfolio, "processed_features", partial(asset_key, settings)),
        ),
        # Days that another source of an extension made are stale to Dagster; whoever reads them refuses them.
        code_version=fingerprint(extensions=sources(makers))[:16] if makers else None,
    )
    def processed_features(
        context: dg.AssetExecutionContext,
        raw_loan_data: Partitions,
        store: dg.ResourceParam[Store],
        **_history: Partitions,  # `history_features` where the portfolio has histories: read day by day
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.features import feature_table
        from credit_assets.ml.data.schemas import features_schema

        schema, days = with_makers(features_schema(portfolio), makers), days_of(context)
        histories = HistoryDays(store, portfolio)
        with PartitionWriter(store, "processed_features", days, schema, portfolio.date_column) as files:
            for piece in raw_loan_data.pieces():
                whole = histories.beside(piece) if portfolio.histories else piece
                files.write(feature_table(whole, portfolio))
            refused = histories.refusals(raw_loan_data.refused, len(days))
            inputs_of = {"raw_loan_data": raw_loan_data.contents, **histories.contents}
            staged = files.close(refused_gates(refused), inputs_of)
            return daily_result(context, staged, refused=refused)

    return [processed_features]
