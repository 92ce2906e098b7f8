"""The table of assets is what the definitions are made of, and nothing else knows better."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import dagster as dg
import pytest

from credit_assets import stages
from credit_assets.assets.outside import TABLES, read_outside
from credit_assets.build import build_definitions
from credit_assets.cli.replay import backfilled
from credit_assets.cluster.op_tags import profile_name
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.partitions import partition_mapping
from credit_assets.profiles import PROFILES
from credit_assets.settings import Settings, load_settings

# As a machine and a cluster have it; one variant and all of them.
SETTINGS = [load_settings(executor="k8s"), load_settings(variants="lightgbm")]


@pytest.mark.parametrize("settings", SETTINGS, ids=["cluster", "one variant"])
def test_the_definitions_are_those_of_the_table(settings: Settings) -> None:
    definitions, table = build_definitions(settings), settings.graph.assets
    made = {
        asset.key.to_user_string(): asset
        for asset in definitions.assets or ()
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable
    }
    assert list(made) == sorted(made, key=[row.name for row in table].index)
    assert set(made) == {row.name for row in table}
    for row in table:
        asset = made[row.name]
        spec = next(iter(asset.specs))
        assert spec.group_name == row.group
        assert asset.get_io_manager_key_for_asset_key(asset.key) == row.io
        assert (asset.backfill_policy is not None) == row.by_range
        outside = {dep.asset_key.to_user_string() for dep in read_outside(settings, row.name)}
        assert {key.to_user_string() for key in asset.dependency_keys} == {*row.reads, *row.after, *outside}
        for upstream, window in row.reads.items():
            mapping = asset.get_partition_mapping(dg.AssetKey(upstream))
            assert mapping == partition_mapping(settings, window)
        on_gpu = settings.executor == "k8s" and profile_name(settings, row.name) == "train-gpu"
        assert asset.op.pool == ("gpu" if on_gpu else row.pool if settings.executor == "k8s" else None)
    for job, of in stages.JOBS.items():
        nodes = {node.name for node in definitions.resolve_job_def(job).graph.nodes}
        assert nodes == {row.name for row in table if row.stage in of} == set(settings.graph.made_by(job))


def test_what_runs_do_not_make_is_governance_or_a_table_of_the_warehouse() -> None:
    definitions, table = build_definitions(load_settings()), {row.name for row in stages.EVERYTHING.assets}
    graph = definitions.resolve_asset_graph()
    others = [key for key in graph.get_all_asset_keys() if key.to_user_string() not in table]
    groups = {graph.get(key).group_name for key in others if key.path[0] != TABLES}
    assert groups == {stages.GOVERNANCE}
    assert {graph.get(key).group_name for key in others if key.path[0] == TABLES} == {stages.CREDIT_SCORING}


@pytest.mark.parametrize("graph", [stages.Graph(), stages.EVERYTHING])
def test_rows_are_read_in_the_order_in_which_they_are_made_and_have_profiles_that_exist(graph: stages.Graph) -> None:
    before: set[str] = set()
    for row in graph.assets:
        assert {*row.reads, *row.after} <= before
        before.add(row.name)
        assert row.profile in PROFILES


def test_an_asset_that_is_none_is_refused() -> None:
    with pytest.raises(KeyError, match="loan_score'"):
        stages.EVERYTHING.asset("loan_score")


def test_the_table_costs_nothing_to_read() -> None:
    code = "import sys, credit_assets.stages; assert not {'dagster', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("part", "asset", "readers"),
    [
        ("histories", "history_features", {"processed_features"}),
        ("decisions", "loan_decisions", {"training_set", "performance_report", "shadow_report"}),
    ],
)
def test_a_part_of_the_portfolio_brings_its_asset_and_no_other(
    part: stages.Part, asset: str, readers: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without = load_settings().graph
    monkeypatch.setattr(Portfolio, "parts", frozenset({part}))
    graph = load_settings().graph
    assert [row.name for row in graph.assets if row.name not in without.names(*get_args(stages.Stage))] == [asset]
    row = graph.asset(asset)
    assert (row.stage, row.pool, row.by_range, row.io) == ("ingestion", "warehouse", True, "parquet")
    assert asset in graph.gated
    assert {one.name for one in graph.assets if asset in one.reads} == readers
    for job in (stages.INGEST, stages.DAILY):
        assert {*graph.made_by(job)} - {*without.made_by(job)} == {asset}
    assert asset in backfilled(graph)
    with pytest.raises(KeyError):
        without.asset(asset)


def test_a_deployment_may_name_the_profile_of_a_part_that_its_portfolio_lacks() -> None:
    assert load_settings(step_profiles={"history_features": "small"}).graph.gated == ("raw_loan_data", "loan_outcomes")
