"""Scores of the day's applications: by the champion in force on that day, and by the model on trial beside it."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Any

import dagster as dg

from credit_assets.assets.columns import column_schema
from credit_assets.assets.conventions import daily_asset, daily_result, days_of, inputs, refused_gates
from credit_assets.assets.models_in_force import ModelsInForce
from credit_assets.ledger.registry import Registry
from credit_assets.ml.data.schemas import scores_fields
from credit_assets.settings import Settings
from credit_assets.storage.io_managers import IN_PIECES
from credit_assets.storage.partition_files import Partitions, PartitionWriter, split_by_day
from credit_assets.storage.store import Store


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract

    @daily_asset(
        "loan_scores",
        settings,
        partitions,
        "parquet",
        ins=inputs("loan_scores", settings, IN_PIECES),
        description="PD and points of the day's applications by the champion in force on that day, which is the one "
        "promoted before it, and by the shadow in force beside it. Does not wait for the day's own training, and does "
        "not fail with it.",
        metadata=column_schema(scores_fields(portfolio)),
    )
    def loan_scores(
        context: dg.AssetExecutionContext,
        processed_features: Partitions,
        registry: dg.ResourceParam[Registry],
        store: dg.ResourceParam[Store],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.schemas import scores_schema
        from credit_assets.ml.evidence.scores import DayOfScores

        days, schema, day_column = days_of(context), scores_schema(portfolio), portfolio.date_column
        models = ModelsInForce(context, settings, registry, days)
        seen: dict[date, DayOfScores] = defaultdict(DayOfScores)
        unscored: dict[date, int] = defaultdict(int)
        with PartitionWriter(store, "loan_scores", days, schema, day_column) as files:
            for piece in processed_features.pieces():
                for days_of_models in models.runs(split_by_day(piece, day_column, days)):
                    scores = models.score(piece.schema, days_of_models)
                    if scores is None:
                        for day, rows in days_of_models:
                            unscored[day] += rows.num_rows
                        continue
                    files.write(scores.cast(schema))
                    for day, rows in split_by_day(scores, day_column, [day for day, _ in days_of_models]).items():
                        seen[day].add(rows)
            refused = processed_features.refused
            staged = files.close(refused_gates(refused), {"processed_features": processed_features.contents})
        without = [day for day in days if models.champion(day) is None]
        if without:
            context.log.warning(
                f"{len(without)} days ({without[0]} .. {without[-1]}) have no champion in force: "
                f"{sum(unscored.values())} applications stay unscored; a model scores from the day after its as-of date"
            )
        if refused_rows := sum(one.refused for one in seen.values()):
            context.log.warning(
                f"{refused_rows:,} applications are refused and have no PD: the portfolio scores none without "
                f"{models.refused_for()} (missing: reject)"
            )
        metadata = {
            day: models.describe(day)
            | {"scored": seen[day].rows, "unscored": unscored[day]}
            | seen[day].summary(settings.challenger_share)
            for day in days
        }
        return daily_result(context, staged, None, metadata, refused=refused)

    return [loan_scores]
