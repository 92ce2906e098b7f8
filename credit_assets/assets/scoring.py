"""Scores of the day's applications: by the champion in force on that day, and by the model on trial beside it."""

from __future__ import annotations

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
from credit_assets.assets.ingestion import DAYS_PER_RUN
from credit_assets.failures import is_transient
from credit_assets.resources.deployment import SHADOW
from credit_assets.resources.registry import Registry, Version
from credit_assets.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame


def scoring_assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    portfolio = settings.portfolio_contract

    @dg.asset(
        ins={"processed_features": dg.AssetIn()},
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_PER_RUN),
        description="PD and points of the day's applications by the champion in force on that day, which is the one "
        "promoted before it, and by the shadow in force beside it. Does not wait for the day's own training, and does "
        "not fail with it.",
        **asset_options(settings, partitions, "parquet", io=PARQUET),
    )
    @retry_transient_only
    def loan_scores(
        context: dg.AssetExecutionContext, processed_features: Table, registry: dg.ResourceParam[Registry]
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.schemas import scores_schema, to_table
        from credit_assets.ml.scorer import CreditScorer

        schema = scores_schema(portfolio)
        versions = registry.versions()
        trials = registry.history(SHADOW)
        scorers: dict[str, CreditScorer] = {}

        def scored(frame: DataFrame, version: Version) -> DataFrame:
            if version.version not in scorers:
                scorers[version.version] = CreditScorer.load(registry.download(version))
            return scorers[version.version].score(frame).assign(model_version=version.version)

        def scored_beside(frame: DataFrame, version: str) -> DataFrame | None:
            # Whatever is wrong with a model on trial, the champion's decisions do not wait for it.
            try:
                return scored(frame, registry.version(version))
            except Exception as error:
                if is_transient(error):
                    raise
                context.log.warning(f"version {version}, on trial, did not score {day}: {error}")
                return None

        tables, metadata, unscored = {}, {}, []
        for day, features in split_by_day(processed_features, portfolio.date_column, days_of(context)).items():
            champion = registry.champion_at(day, versions)
            if champion is None:
                unscored.append(day)
                metadata[day] = {"champion": "none in force: no application was scored"}
                tables[day] = schema.empty_table()
                continue
            frame = features.to_pandas(date_as_object=False)
            on_trial = next((p.version for p in reversed(trials) if p.covers(day)), champion.version)
            shadow = scored_beside(frame, on_trial) if on_trial != champion.version else None
            scores = decided(
                frame[[portfolio.id_column, portfolio.date_column]],
                scored(frame, champion),
                shadow,
                share=settings.challenger_share,
                key=settings.assignment_key.get_secret_value(),
            )
            tables[day] = to_table(scores, schema)
            metadata[day] = {"champion": champion.version}
            if on_trial != champion.version:
                metadata[day]["shadow"] = on_trial if shadow is not None else f"{on_trial}, which could not score"
            if shadow is not None and settings.challenger_share:
                metadata[day]["challenger_share"] = settings.challenger_share
                metadata[day]["decided_by_challenger"] = int((scores["arm"] == "challenger").sum())
            if len(scores):
                metadata[day]["mean_pd"] = float(scores["pd"].mean())
        if unscored:
            context.log.warning(
                f"{len(unscored)} days ({unscored[0]} .. {unscored[-1]}) have no champion in force and so no scores; "
                "a model scores from the day after its as-of date"
            )
        return daily_result(context, tables, None, metadata)

    return [loan_scores]


def decided(keys: DataFrame, champion: DataFrame, shadow: DataFrame | None, *, share: float, key: str) -> DataFrame:
    """The columns of `scores_schema` after those of `keys` (id and date, in this order), row by row.

    `champion` and `shadow` have `pd`, `score` and `model_version` of the same rows. The shadow decides about `share` of
    them, chosen by `arms.assign`; the champion about all where there is no shadow.
    """
    from credit_assets.ml.arms import CHALLENGER, CHAMPION, assign

    frame = keys.assign(**champion, arm=CHAMPION, other_pd=None, other_score=None, other_version=None)
    if shadow is None or frame.empty:
        return frame
    challenged = assign(keys.iloc[:, 0], share, key, salt=shadow["model_version"].iloc[0])
    for name in ("pd", "score", "model_version"):
        frame[name] = champion[name].where(~challenged, shadow[name])
        frame[f"other_{name.removeprefix('model_')}"] = shadow[name].where(~challenged, champion[name])
    frame.loc[challenged, "arm"] = CHALLENGER
    return frame
