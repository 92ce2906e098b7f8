"""What every asset and every check leaves on its page: numbers that Dagster plots, pictures, and few bytes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from credit_assets import pages
from credit_assets.build import build_definitions
from credit_assets.cli.recheck import run_recheck
from credit_assets.cli.replay import Replay
from credit_assets.links import address_of
from credit_assets_tests.support.houses import START, TRAINED, TRIAL_END, TRIAL_SETTINGS, copied_home, open_house

pytestmark = pytest.mark.slow

LAST = TRIAL_END
AS_OF = date(2024, 4, 30)
EVENT_BYTES = 80_000
"""Of a whole event: its pictures, its tables and what Dagster writes around them."""

NUMBERS = {
    "restated_days": {"compared_days", "restated"},
    "raw_loan_data": {"dagster/row_count", "quarantined_rows"},
    "loan_outcomes": {"dagster/row_count", "quarantined_rows"},
    "processed_features": {"dagster/row_count"},
    "training_set": {"dagster/row_count", "applications", "default_rate", "outcome_bad", "outcome_good"},
    "xgboost_candidate": {"auc", "ks", "ece", "bad_rate"},
    "lightgbm_candidate": {"auc", "ks", "ece", "bad_rate"},
    "catboost_candidate": {"auc", "ks", "ece", "bad_rate"},
    "trained_model": {"auc", "ks", "ece", "bad_rate", "observed_over_expected", "test_rows", "auc_difference"},
    "registered_model": {"auc", "ks", "ece", "reasons_against"},
    "deployed_model": {"reasons_against"},
    "model_dossier": {"findings", "page_bytes"},
    "loan_scores": {"dagster/row_count", "scored", "unscored", "mean_pd"},
    "drift_report": {"psi_max", "psi_of_score", "features_shifted", "features_to_watch", "applications"},
    "performance_report": {
        "realised_auc", "realised_ks", "realised_ece", "observed_over_expected", "bad_rate", "matured_loans",
        "estimated_auc", "estimated_bad_rate",
    },
    "shadow_report": {"applications", "mean_pd_champion", "mean_pd_shadow", "psi", "rank_correlation"},
}  # fmt: skip
"""What stands as a number on the page of each asset, on the newest of the days looked at."""

_OF_MODEL = {
    "roc_curve", "calibration_curve", "score_distribution", "lift", "feature_importance", "champion_against_candidate",
}  # fmt: skip
PICTURES = {
    "trained_model": _OF_MODEL,
    "registered_model": _OF_MODEL,
    "deployed_model": {"champions_over_time"},
    "drift_report": {"psi_over_days", "psi_by_feature"},
    "performance_report": {"auc_over_time", "calibration_over_time"},
    "shadow_report": {"mean_pd_against_champion"},
}
LINKS = {
    "xgboost_candidate": {"mlflow_run", "mlflow_experiment"},
    "lightgbm_candidate": {"mlflow_run", "mlflow_experiment"},
    "catboost_candidate": {"mlflow_run", "mlflow_experiment"},
    "trained_model": {"mlflow_run", "mlflow_experiment"},
    "registered_model": {"mlflow_run"},
    "deployed_model": {"mlflow_version"},
    "loan_scores": {"mlflow_version", "mlflow_version_on_trial"},
    "drift_report": {"mlflow_version"},
    "performance_report": {"mlflow_version"},
    "shadow_report": {"mlflow_version", "mlflow_version_on_trial"},
}
"""What leads to MLflow, here to the UI that `dev` would start beside SQLite."""
STATES = {"due", "population", "recorded"}
"""Checks that say how something stands, and measure nothing."""
EVALUATED = dg.DagsterEventType.ASSET_CHECK_EVALUATION
NOT_JUDGED = {"fairness", "matured_without_outcome"}
"""Of this book: it has no protected attribute, and no outcome of a good loan."""


@pytest.fixture(scope="module")
def home(trial_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """A champion, a model on trial, another candidate of a later day, and all reports up to the last."""
    with open_house(copied_home(trial_home, tmp_path_factory.mktemp("shown")), **TRIAL_SETTINGS) as house:
        house.replay.run(START, LAST, "none")
        house.train(AS_OF)
        run_recheck(house.settings, house.instance, None, None)
        yield house.replay


@pytest.fixture(scope="module")
def shown(home: Replay) -> dict[str, list[dg.AssetMaterialization]]:
    """The materializations of each asset, oldest first."""
    found = defaultdict(list)
    for row in home.settings.graph.assets:
        for entry in home.instance.fetch_materializations(dg.AssetKey(row.name), limit=1_000, ascending=True).records:
            assert entry.asset_materialization is not None
            found[row.name].append(entry.asset_materialization)
    return dict(found)


@pytest.fixture(scope="module")
def newest(shown: dict[str, list[dg.AssetMaterialization]]) -> dict[str, dict[str, Any]]:
    """The metadata of the newest partition of each asset."""
    return {name: dict(max(found, key=lambda one: str(one.partition)).metadata) for name, found in shown.items()}


def numbers_of(metadata: Mapping[str, Any]) -> set[str]:
    return {key for key, value in metadata.items() if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)}


def test_every_asset_of_the_table_is_held_to_it(home: Replay) -> None:
    assert set(NUMBERS) == {row.name for row in home.settings.graph.assets}


@pytest.mark.parametrize("name", NUMBERS)
def test_an_asset_has_its_numbers_as_numbers(newest: dict[str, dict[str, Any]], name: str) -> None:
    assert NUMBERS[name] <= numbers_of(newest[name])


@pytest.mark.parametrize("name", PICTURES)
def test_an_asset_has_its_pictures(newest: dict[str, dict[str, Any]], name: str) -> None:
    drawn = {key for key, value in newest[name].items() if "](data:image/" in str(getattr(value, "md_str", ""))}
    assert PICTURES[name] <= drawn


@pytest.mark.parametrize("name", LINKS)
def test_an_asset_leads_to_mlflow(newest: dict[str, dict[str, Any]], name: str) -> None:
    links = {key: address_of(str(value.value)) for key, value in newest[name].items() if key.startswith("mlflow_")}
    assert LINKS[name] <= set(links)
    assert all(str(url).startswith("http://localhost:5000/#/") for url in links.values())


def test_a_version_is_described_in_markdown_and_leads_back(home: Replay) -> None:
    said = home.registry.version("1").description
    page = f"http://localhost:3000/assets/registered_model?view=partitions&partition={TRAINED}"
    assert said.startswith("**")
    figure = r"0\.\d{4}"
    measures = rf"AUC {figure}, Gini {figure}, KS {figure}, Brier {figure}, ECE {figure}"
    assert re.search(rf"^Out-of-time test: {measures}, on [\d,]+ loans with [\d,]+ bads\.$", said, re.M), said
    assert said.endswith(f"Dagster: [registered_model {TRAINED}]({page})")


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_shown_is_short_in_order_and_named_for_people(
    shown: dict[str, list[dg.AssetMaterialization]], name: str
) -> None:
    for materialization in shown[name]:
        metadata = materialization.metadata
        places = [pages._place(key, value) for key, value in metadata.items()]
        assert places == sorted(places), list(metadata)
        for key, value in metadata.items():
            assert re.fullmatch(r"(dagster/)?[a-z][a-z0-9_]*", key), key
            if isinstance(value, dg.FloatMetadataValue) and value.value is not None:
                assert pages.number(value.value) == value.value, key
        assert list(metadata)[-1] in ("path", "gate_results_hash"), list(metadata)
        assert numbers_of(metadata), list(metadata)


def test_no_event_is_larger_than_its_bound(home: Replay) -> None:
    sizes = {}
    for row in home.settings.graph.assets:
        for entry in home.instance.fetch_materializations(dg.AssetKey(row.name), limit=1_000).records:
            sizes[row.name, entry.partition_key] = len(dg.serialize_value(entry.event_log_entry).encode())
    assert max(sizes.values()) <= EVENT_BYTES, max(sizes, key=lambda one: sizes[one])
    # A day without pictures costs as much as ever: a backfill records thousands.
    ordinary = [size for (name, day), size in sizes.items() if name == "raw_loan_data"]
    assert max(ordinary) < 4_000


def test_every_check_has_what_it_measured_and_what_it_is_held_against(home: Replay) -> None:
    """As numbers: `value` and `threshold`, or by their names where several are held against limits of their own."""
    graph = build_definitions(home.settings).resolve_asset_graph()
    assert len(graph.asset_check_keys) > 30
    silent = set()
    for key in graph.asset_check_keys:
        history = home.instance.event_log_storage.get_asset_check_execution_history(key, limit=500)
        done = [event for one in history if (event := one.event) and event.dagster_event_type is EVALUATED]
        assert done, key
        numeric = False
        for event in done:
            metadata = dict(event.get_dagster_event().asset_check_evaluation_data.metadata)
            assert {"value", "threshold"} <= set(metadata)
            assert len(dg.serialize_value(event).encode()) < 16_000
            numeric |= bool(numbers_of(metadata))
            for name, value in metadata.items():
                if isinstance(value, dg.FloatMetadataValue) and value.value is not None:
                    assert pages.number(value.value) == value.value, (key, name)
        silent |= set() if numeric else {key.name}
    assert silent <= STATES | NOT_JUDGED
