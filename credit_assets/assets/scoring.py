"""Scores of the day's applications by the champion in force on that day."""

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
from credit_assets.resources.registry import Registry
from credit_assets.settings import Settings


def scoring_assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract

    @dg.asset(
        ins={"processed_features": dg.AssetIn()},
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_PER_RUN),
        description="PD and points of the day's applications by the champion in force on that day, which is the one "
        "promoted before it. Does not wait for the day's own training, and does not fail with it.",
        **asset_options(settings, partitions, "parquet", io=PARQUET),
    )
    @retry_transient_only
    def loan_scores(
        context: dg.AssetExecutionContext, processed_features: Table, registry: dg.ResourceParam[Registry]
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.schemas import scores_schema, to_table
        from credit_assets.ml.scorer import CreditScorer

        schema = scores_schema(portfolio)
        tables, metadata, scorers = {}, {}, {}
        unscored = []
        versions = registry.versions()
        for day, features in split_by_day(processed_features, portfolio.date_column, days_of(context)).items():
            champion = registry.champion_at(day, versions)
            if champion is None:
                unscored.append(day)
                metadata[day] = {"champion": "none in force: no application was scored"}
                tables[day] = schema.empty_table()
                continue
            if champion.version not in scorers:
                scorers[champion.version] = CreditScorer.load(registry.download(champion))
            frame = features.to_pandas(date_as_object=False)
            scores = scorers[champion.version].score(frame)
            frame = frame[[portfolio.id_column, portfolio.date_column]].assign(
                pd=scores["pd"].to_numpy(), score=scores["score"].to_numpy(), model_version=champion.version
            )
            tables[day] = to_table(frame, schema)
            metadata[day] = {"champion": champion.version}
            if len(frame):
                metadata[day]["mean_pd"] = float(frame["pd"].mean())
        if unscored:
            context.log.warning(
                f"{len(unscored)} days ({unscored[0]} .. {unscored[-1]}) have no champion in force and so no scores; "
                "a model scores from the day after its as-of date"
            )
        return daily_result(context, tables, None, metadata)

    return [loan_scores]
