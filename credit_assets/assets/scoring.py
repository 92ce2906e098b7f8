"""Scores of the day's applications: by the champion in force on that day, and by the model on trial beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any

import dagster as dg

from credit_assets.assets.columns import column_schema, made_of
from credit_assets.assets.conventions import (
    asset_key,
    daily_asset,
    daily_result,
    days_of,
    inputs,
    refused_gates,
    version_links,
)
from credit_assets.assets.models_in_force import ModelsInForce
from credit_assets.checks import scored_result, scored_spec
from credit_assets.ledger.registry import Registry
from credit_assets.ml.data.schemas import scores_fields
from credit_assets.settings import Settings
from credit_assets.storage.io_managers import IN_PIECES
from credit_assets.storage.partition_files import Partitions, PartitionWriter, split_by_day
from credit_assets.storage.store import Store

_AGAIN = "the day is scored by `credit-assets backfill --again --assets loan_scores` once it has what is missing"


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract

    @daily_asset(
        "loan_scores",
        settings,
        partitions,
        "parquet",
        ins=inputs("loan_scores", settings, IN_PIECES),
        description="PD and points of the day's applications by the champion in force on that day, which is the one "
        "promoted before it, and by the shadow in force beside it; with the reasons of those whom the model that "
        "decides declines. Does not wait for the day's own training, and does not fail with it.",
        metadata=column_schema(
            portfolio, scores_fields(portfolio), made_of(portfolio, "loan_scores", partial(asset_key, settings))
        ),
        check_specs=[scored_spec(partitions)],
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
        models = ModelsInForce(context, settings, registry, store, days)
        seen: dict[date, DayOfScores] = defaultdict(DayOfScores)
        unscored: dict[date, int] = defaultdict(int)
        with PartitionWriter(store, "loan_scores", days, schema, day_column) as files:
            for piece in processed_features.pieces():
                for days_of_models in models.runs(split_by_day(piece, day_column, days)):
                    scores = models.score(days_of_models)
                    for day, rows in days_of_models:
                        if scores is None or day in models.unable:
                            unscored[day] += rows.num_rows
                    if scores is None:
                        continue
                    files.write(scores.cast(schema))
                    for day, rows in split_by_day(scores, day_column, [day for day, _ in days_of_models]).items():
                        seen[day].add(rows)
            refused = processed_features.refused
            staged = files.close(refused_gates(refused), {"processed_features": processed_features.contents})
        _tell(context, models, days, sum(unscored.values()), sum(one.refused for one in seen.values()))
        metadata = {
            day: models.describe(day)
            | version_links(registry, one.version if (one := models.champion(day)) else None, models.on_trial(day))
            | {"scored": seen[day].rows, "unscored": unscored[day]}
            | seen[day].summary(settings.challenger_share)
            for day in days
        }
        checks = [scored_result(context, days, models.unable)]
        return daily_result(context, staged, None, metadata, checks, refused=refused)

    return [loan_scores]


def _tell(
    context: dg.AssetExecutionContext, models: ModelsInForce, days: Sequence[date], unscored: int, refused: int
) -> None:
    """Say of which days and applications there are no scores, and why."""
    without = [day for day in days if models.champion(day) is None]
    if without:
        context.log.warning(
            f"{len(without)} days ({without[0]} .. {without[-1]}) have no champion in force: {unscored} applications "
            "stay unscored; a model scores from the day after its as-of date"
        )
    if refused:
        context.log.warning(
            f"{refused:,} applications are refused and have no PD: the portfolio scores none without "
            f"{models.refused_for()} (missing: reject)"
        )
    for why in models.unable.values():
        context.log.error(f"{why}; {_AGAIN}")
