"""Scores of a day: the champion decides, a model on trial scores beside it, and a share of applications is its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.assets import scoring, shadow
from credit_assets.assets.scoring import Scored, decided
from credit_assets.instance.home import instance_of
from credit_assets.ml.data.schemas import scores_schema
from credit_assets.ml.evidence.arms import assign
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.partitions import daily_partitions
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, load_settings
from credit_assets_tests.assets.test_pipeline import SMALL, build_house, fast_forward, write_book
from credit_assets_tests.support.modelling import PORTFOLIO
from credit_assets_tests.support.synthetic import canonical_book

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

START, END = date(2024, 1, 1), date(2024, 5, 25)
AS_OF, TRIAL = date(2024, 3, 31), date(2024, 4, 3)
SETTINGS: dict[str, Any] = {
    **SMALL,
    "variants": "xgboost,lightgbm",
    "promotion": "shadow",
    "challenger_share": 0.3,
    "shadow_days": 20,
    "shadow_min_loans": 300,
    "performance_min_bads": 10,
    "performance_cohort_days": 20,
}


@dataclass
class TrialHouse:
    """Ingested loans; version 1, champion of 31 March; version 2, the other candidate of that day, on trial."""

    settings: Settings
    instance: dg.DagsterInstance
    resources: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.resources = build_resources(self.settings)

    def run(self, asset: str, first: date, last: date | None = None, **overrides: Any) -> dg.ExecuteInProcessResult:
        """Materialize `loan_scores` or `shadow_report` of a day, or of a range in one step."""
        settings = self.settings.model_copy(update=overrides)
        partitions = daily_partitions(settings)
        assets = [*scoring.assets(settings, partitions), *shadow.assets(settings, partitions)]
        outside = dg.AssetSpec("processed_features", partitions_def=partitions).with_io_manager_key("parquet")
        # A range as a backfill hands it over; of a single day too, so that both go the same way.
        tags = {
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": (last or first).isoformat(),
        }
        return dg.materialize(
            [outside, *assets],
            selection=[asset],
            resources=self.resources,
            instance=self.instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    def scores(self, first: date, last: date | None = None) -> pd.DataFrame:
        return self.read("loan_scores", first, last)

    def read(self, asset: str, first: date, last: date | None = None) -> pd.DataFrame:
        days = [str(day.date()) for day in pd.date_range(first, last or first)]
        return self.resources["store"].read_partitions(asset, days).to_pandas(date_as_object=False)

    def bytes_of(self, asset: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(Path(self.settings.store, asset).iterdir())}

    def metadata(self, asset: str, day: date) -> dict[str, Any]:
        (event,) = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[day.isoformat()]), limit=1
        ).records
        assert event.asset_materialization is not None
        return {key: value.value for key, value in event.asset_materialization.metadata.items()}


def trial_house(home: Path) -> Iterator[TrialHouse]:
    settings = load_settings(home=home, **SETTINGS)
    write_book(settings, *fast_forward(canonical_book(7_000, START, END, seed=7)))
    before = os.environ.get("DAGSTER_HOME")
    with instance_of(settings) as instance:
        built = build_house(settings, instance)
        built.replay.run(START, END, "none")
        outcome = built.train(AS_OF)
        assert outcome.promoted, outcome.reason
        house = TrialHouse(settings, instance)
        registry, store = house.resources["registry"], house.resources["store"]
        (other,) = {"xgboost", "lightgbm"} - {outcome.variant}
        candidate = store.read_record(store.path(f"{other}_candidate", f"{AS_OF}.json"))
        registry.register(
            candidate["model_uri"],
            run_id=candidate["run_id"],
            fingerprint=candidate["fingerprint"],
            as_of=date(2024, 4, 2),
            tags={"variant": other},
        )
        registry.move_alias("shadow", "2", effective_from=TRIAL, reason="on trial", by="a test")
        house.run("loan_scores", START, END)
        yield house
    os.environ.pop("DAGSTER_HOME", None)
    if before:
        os.environ["DAGSTER_HOME"] = before


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialHouse]:
    yield from trial_house(tmp_path_factory.mktemp("scoring"))


# Without a house


def scored(rows: int) -> tuple[pa.Table, Scored, Scored]:
    keys = pa.table(
        {"loan_id": [f"L{n}" for n in range(rows)], "applied_on": pa.array([date(2024, 1, 1)] * rows, pa.date32())},
        schema=pa.schema([("loan_id", pa.string()), ("applied_on", pa.date32())]),
    )
    return (
        keys,
        Scored("1", np.full(rows, 0.1), np.full(rows, 600.0)),
        Scored("2", np.full(rows, 0.2), np.full(rows, 580.0)),
    )


@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_who_decides_stands_first_and_the_other_beside(share: float) -> None:
    keys, champion, shadow = scored(400)
    found = decided(keys, champion, shadow, share=share, key="k").cast(scores_schema(PORTFOLIO)).to_pandas()
    challenged = assign(keys["loan_id"].to_pylist(), share, "k", "2")
    assert (found["arm"] == "challenger").tolist() == challenged.tolist()
    for arm, own, other in (("champion", champion, shadow), ("challenger", shadow, champion)):
        rows = found[found["arm"] == arm]
        for name in ("pd", "score", "version"):
            assert (rows["model_version" if name == "version" else name] == np.unique(getattr(own, name))[0]).all()
            assert (rows[f"other_{name}"] == np.unique(getattr(other, name))[0]).all()
    assert found["loan_id"].tolist() == keys["loan_id"].to_pylist()


@pytest.mark.parametrize("rows", [0, 3])
def test_without_a_shadow_the_champion_decides_alone(rows: int) -> None:
    keys, champion, _ = scored(rows)
    found = decided(keys, champion, None, share=0.5, key="k")
    assert found.schema == scores_schema(PORTFOLIO)
    assert found.num_rows == rows
    assert found["arm"].to_pylist() == ["champion"] * rows
    assert all(found[name].null_count == rows for name in ("other_pd", "other_score", "other_version"))


def test_an_empty_day_has_no_arms() -> None:
    keys, champion, shadow = scored(0)
    assert decided(keys, champion, shadow, share=0.5, key="k").cast(scores_schema(PORTFOLIO)).num_rows == 0


# In the house


@pytest.mark.slow
def test_both_models_score_the_same_applications_from_the_first_day_of_the_trial_on(house: TrialHouse) -> None:
    before, after = house.scores(date(2024, 4, 1), date(2024, 4, 2)), house.scores(TRIAL, END)
    assert house.scores(AS_OF).empty
    assert set(before["model_version"]) == {"1"}
    assert before["other_version"].isna().all()
    features = house.read("processed_features", TRIAL, END)
    assert after["application_id"].tolist() == features["application_id"].tolist()
    registry = house.resources["registry"]
    by = {v: CreditScorer.load(registry.download(registry.version(v))).score(features) for v in ("1", "2")}
    challenged = assign(features["application_id"], 0.3, "credit-scorer", "2")
    assert 0.25 < challenged.mean() < 0.35
    for name, column in (("pd", "pd"), ("score", "score")):
        own, other = (
            np.where(challenged, by["2"][column], by["1"][column]),
            np.where(challenged, by["1"][column], by["2"][column]),
        )
        np.testing.assert_array_equal(after[name], own)
        np.testing.assert_array_equal(after[f"other_{name}"], other)
    assert after["model_version"].tolist() == np.where(challenged, "2", "1").tolist()
    assert after["other_version"].tolist() == np.where(challenged, "1", "2").tolist()
    assert after["arm"].tolist() == np.where(challenged, "challenger", "champion").tolist()


@pytest.mark.slow
def test_running_again_day_by_day_gives_the_same_bytes_and_a_larger_share_keeps_its_arm(house: TrialHouse) -> None:
    day = date(2024, 4, 20)
    files = house.bytes_of("loan_scores")
    house.run("loan_scores", day)
    assert house.bytes_of("loan_scores") == files
    arms: Sequence[set[str]] = []
    for share in (0.1, 0.3, 0.6):
        house.run("loan_scores", day, challenger_share=share)
        scores = house.scores(day)
        arms = [*arms, set(scores.loc[scores["arm"] == "challenger", "application_id"])]
    assert arms[0] < arms[1] < arms[2]
    house.run("loan_scores", day)
    assert house.bytes_of("loan_scores") == files


@pytest.mark.slow
def test_the_share_is_recorded_and_the_key_is_not(house: TrialHouse) -> None:
    day = date(2024, 4, 20)
    house.run("loan_scores", day)
    metadata = house.metadata("loan_scores", day)
    assert (metadata["champion"], metadata["shadow"], metadata["challenger_share"]) == ("1", "2", 0.3)
    scores = house.scores(day)
    assert metadata["decided_by_challenger"] == (scores["arm"] == "challenger").sum() > 0
    assert metadata["mean_pd"] == pytest.approx(scores["pd"].mean())
    assert house.settings.assignment_key.get_secret_value() not in str(metadata)


@pytest.mark.slow
def test_a_model_on_trial_that_cannot_score_does_not_stop_the_champion(house: TrialHouse) -> None:
    registry, day = house.resources["registry"], date(2024, 5, 25)
    champion = registry.version("1")
    empty = registry.tracking.client.create_logged_model(
        registry.tracking.experiment_id, name="model", source_run_id=champion.run_id
    )
    broken = registry.register(
        f"models:/{empty.model_id}", run_id=champion.run_id, fingerprint="broken", as_of=date(2024, 5, 1)
    )
    registry.move_alias("shadow", broken.version, effective_from=day, reason="on trial", by="a test")
    before = house.scores(day)
    house.run("loan_scores", day)
    after = house.scores(day)
    assert set(after["model_version"]) == {"1"}
    assert after["other_version"].isna().all()
    assert set(after["arm"]) == {"champion"}
    by_champion = before["pd"].where(before["arm"] == "champion", before["other_pd"])
    assert after["pd"].tolist() == by_champion.tolist()
    assert house.metadata("loan_scores", day)["shadow"] == f"{broken.version}, which could not score"
