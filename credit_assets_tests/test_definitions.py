"""The code location as Dagster loads it: the graph, its gates, and what loading it must not import."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, TickStatus

from credit_assets.assets import presented
from credit_assets.assets.recheck import LEDGER_WHOLE, TRAINED_ON_RESTATED
from credit_assets.automation.jobs import daily_schedule
from credit_assets.build import build_definitions
from credit_assets.checks import ACCOUNTED_FOR, CHAMPION_SCORES, CURRENT_DAYS
from credit_assets.cli.replay import backfilled
from credit_assets.cli.state import ticking
from credit_assets.links import address_of
from credit_assets.loading import load
from credit_assets.ml.data import schemas
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.rules.fairness_rules import FAIRNESS
from credit_assets.ml.rules.first_days import FIRST_DAYS
from credit_assets.ml.rules.leak_rules import LEAKS
from credit_assets.settings import Settings, SettingsError, load_settings
from credit_assets.stages import DAILY, EVERYTHING, JOBS
from credit_assets_tests.support.sensors import repository_origin

GRAPH = {
    "restated_days": set(),
    "raw_loan_data": {"warehouse_tables/loan_applications"},
    "loan_outcomes": {"warehouse_tables/loan_outcomes"},
    "processed_features": {"raw_loan_data"},
    "training_set": {"processed_features", "loan_outcomes", "restated_days"},
    "xgboost_candidate": {"training_set"},
    "lightgbm_candidate": {"training_set"},
    "catboost_candidate": {"training_set"},
    "scorecard_candidate": {"training_set"},
    "trained_model": {
        "training_set",
        "xgboost_candidate",
        "lightgbm_candidate",
        "catboost_candidate",
        "scorecard_candidate",
    },
    "registered_model": {"trained_model"},
    "deployed_model": {"registered_model"},
    "model_dossier": {"trained_model", "registered_model", "deployed_model"},
    # The champion is an edge that does not wait: nothing makes it in a run.
    "loan_scores": {"processed_features", "model_aliases/champion"},
    "drift_report": {"processed_features", "loan_scores", "restated_days"},
    "performance_report": {"loan_scores", "loan_outcomes", "processed_features", "restated_days"},
    "shadow_report": {"loan_scores", "loan_outcomes", "restated_days"},
}
EXTERNAL = {
    "warehouse_tables/loan_applications": set(),
    "warehouse_tables/loan_outcomes": set(),
    "model_registry/credit-scorer": {"registered_model"},
    "model_aliases/champion": {"deployed_model", "model_registry/credit-scorer"},
    "model_aliases/challenger": {"deployed_model", "model_registry/credit-scorer"},
    "model_aliases/shadow": {"deployed_model", "model_registry/credit-scorer"},
    "external_trigger": set(),
}
ENDS = ("start", "end")
MONITORED = {"loan_scores", "drift_report", "performance_report", "shadow_report"}
INGESTED = {"raw_loan_data", "loan_outcomes", "processed_features"}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(load_settings())


def test_the_graph_is_the_one_of_the_design(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    found = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert found == GRAPH | EXTERNAL


def test_every_asset_is_described_owned_partitioned_and_retried(definitions: dg.Definitions) -> None:
    for asset in definitions.resolve_asset_graph().assets_defs:
        spec = next(iter(asset.specs))
        if spec.key.to_user_string() in EXTERNAL:
            assert spec.description
            continue
        assert spec.description
        assert spec.owners == ["team:credit-risk"]
        assert spec.kinds
        assert isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
        policy = asset.op.retry_policy
        assert policy is not None
        assert (policy.max_retries, policy.backoff, policy.jitter) == (
            2,
            dg.Backoff.EXPONENTIAL,
            dg.Jitter.PLUS_MINUS,
        )


def test_owners_tags_and_the_place_of_the_code_come_from_settings() -> None:
    settings = load_settings(
        owners="team:risk, ada@example.org",
        asset_tags='{"domain": "cards"}',
        source_url="https://example.org/tree/main",
    )
    for asset in build_definitions(settings).resolve_asset_graph().assets_defs:
        for spec in asset.specs:
            assert list(spec.owners) == ["team:risk", "ada@example.org"]
            assert spec.tags["domain"] == "cards"
            if spec.key.to_user_string() in GRAPH:
                (reference,) = spec.metadata["dagster/code_references"].code_references
                assert re.fullmatch(r"https://example\.org/tree/main/credit_assets/assets/\w+\.py#L\d+", reference.url)


@pytest.mark.parametrize(
    ("retraining", "refresh", "wanted"),
    [
        ("daily", "monthly", "each day, from 2023-01-03 on"),
        ("triggered", "monthly", "the last day of each month, and each day for which a trigger or a person asks, from"),
        ("triggered", "none", "each day for which a trigger or a person asks, from 2023-01-03 on"),
    ],
)
def test_what_trainings_make_says_which_of_its_dates_are_due(retraining: str, refresh: str, wanted: str) -> None:
    settings = load_settings(retraining=retraining, refresh=refresh, start_date="2022-01-01")
    graph = build_definitions(settings).resolve_asset_graph()
    for row in settings.graph.assets:
        node = graph.get(dg.AssetKey(row.name))
        metadata = node.metadata
        if row.stage in ("training", "deployment"):
            assert metadata["due"].startswith(wanted)
            assert metadata["first_due"] == "2023-01-03"
            assert f" Due: {metadata['due']}." in (node.description or "")
        else:
            assert "due" not in metadata


@pytest.mark.parametrize("source", ["", "https://example.org/tree/main/"])
def test_every_asset_leads_to_its_page_of_the_docs_and_to_the_model_in_mlflow(source: str) -> None:
    graph = build_definitions(load_settings(source_url=source)).resolve_asset_graph()
    for name in GRAPH:
        metadata = graph.get(dg.AssetKey(name)).metadata
        assert metadata["mlflow_model"].value == "[credit-scorer](http://localhost:5000/#/models/credit-scorer)"
        page = address_of(str(metadata["docs"].value))
        if source:
            assert page.startswith("https://example.org/tree/main/docs/")
        file = Path(__file__).parents[1] / "docs" / page.rsplit("/", 1)[-1]
        assert file.is_file(), page


def test_pages_of_the_docs_are_of_assets_that_there_are() -> None:
    assert set(presented._PAGES) <= {row.name for row in EVERYTHING.assets}


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ({"mlflow_tracking_uri": "https://u:p@mlflow.lender.example"}, "https://mlflow.lender.example/#"),
        ({"mlflow_url": "https://ui.lender.example/mlflow"}, "https://ui.lender.example/mlflow/#"),
        ({"dev_mlflow_port": 5055}, "http://localhost:5055/#"),
        ({"mlflow_tracking_uri": "postgresql://u:p@db/mlflow"}, ""),
    ],
)
def test_the_model_in_mlflow_is_where_people_reach_it(more: dict[str, Any], at: str) -> None:
    found = presented.read_on(load_settings(**more), "loan_scores")
    assert ("mlflow_model" in found) is bool(at)
    if at:
        assert found["mlflow_model"].value == f"[credit-scorer]({at}/models/credit-scorer)"


def test_the_code_of_an_asset_is_in_the_file_and_line_that_it_says(definitions: dg.Definitions) -> None:
    scores = definitions.resolve_asset_graph().get(dg.AssetKey("loan_scores"))
    (reference,) = scores.metadata["dagster/code_references"].code_references
    lines = Path(reference.file_path).read_text("utf-8").splitlines()
    assert "def loan_scores(" in "".join(lines[reference.line_number - 1 : reference.line_number + 20])


@pytest.mark.parametrize(
    ("by", "cron", "since"),
    [("09:00", "0 9 * * *", 9 * 60), ("06:45", "45 6 * * *", 405), ("00:00", "0 0 * * *", 1440)],
)
def test_scores_of_yesterday_are_due_by_the_time_that_is_set(by: str, cron: str, since: int) -> None:
    graph = build_definitions(load_settings(scores_by=by, timezone="Europe/Berlin")).resolve_asset_graph()
    policy = graph.get(dg.AssetKey("loan_scores")).freshness_policy_or_from_metadata
    assert (policy.deadline_cron, policy.timezone) == (cron, "Europe/Berlin")
    assert policy.lower_bound_delta == timedelta(minutes=since)
    # And all that each day has; of what trainings make no date is late.
    assert graph.get(dg.AssetKey("drift_report")).freshness_policy_or_from_metadata == policy
    assert graph.get(dg.AssetKey("trained_model")).freshness_policy_or_from_metadata is None


@pytest.mark.parametrize("state", ["on", "off"])
def test_the_daily_schedule_is_on_where_the_settings_say_so(state: Any) -> None:
    schedule = daily_schedule(load_settings(daily_schedule=state))
    assert (schedule.default_status is dg.DefaultScheduleStatus.RUNNING) is (state == "on")
    # Nobody has touched it, and the daemon has not seen it yet.
    untouched: Any = SimpleNamespace(get_daemon_heartbeats=dict, all_instigator_state=list)
    assert ticking(load_settings(daily_schedule=state), untouched)["schedule"]["on"] is (state == "on")


def test_a_sensor_is_on_by_hand_or_else_by_its_declaration(tmp_path: Path) -> None:
    def counted(*states: tuple[str, InstigatorStatus]) -> dict[str, Any]:
        there = [
            InstigatorState(RemoteInstigatorOrigin(repository_origin(), name), InstigatorType.SENSOR, status)
            for name, status in states
        ]
        failed: Any = SimpleNamespace(status=TickStatus.FAILURE)
        instance: Any = SimpleNamespace(
            get_daemon_heartbeats=dict, all_instigator_state=lambda: there, get_ticks=lambda *_, **__: [failed]
        )
        return dict(ticking(load_settings(home=tmp_path), instance)["sensors"])

    by_code, hand_on, hand_off = map(InstigatorStatus, ("DECLARED_IN_CODE", "RUNNING", "STOPPED"))
    # Nobody is to be told, so that whoever tells is declared as stopped; requests are looked at in every house.
    assert counted(("deployment_requests", by_code)) == {"on": 1, "failing": ["deployment_requests"]}
    assert counted(("failure_alerts", by_code)) == {"on": 0, "failing": []}
    assert counted(("failure_alerts", hand_on)) == {"on": 1, "failing": ["failure_alerts"]}
    assert counted(("deployment_requests", hand_off)) == {"on": 0, "failing": []}
    # What an earlier release had, or another portfolio has in the same instance.
    assert counted(("removed_sensor", hand_on), ("other__housekeeping", by_code)) == {"on": 0, "failing": []}


def test_no_time_is_set_where_none_is_wanted() -> None:
    graph = build_definitions(load_settings(scores_by="none")).resolve_asset_graph()
    assert graph.get(dg.AssetKey("loan_scores")).freshness_policy_or_from_metadata is None
    with pytest.raises(SettingsError, match="CREDIT_SCORES_BY"):
        load_settings(scores_by="9am")
    with pytest.raises(SettingsError, match="CREDIT_OWNERS: 'risk' is no owner"):
        load_settings(owners="risk")
    with pytest.raises(SettingsError, match="CREDIT_ASSET_TAGS: a b: x is no tag"):
        load_settings(asset_tags='{"a b": "x"}')


def test_scores_do_not_wait_for_the_training_of_their_day(definitions: dg.Definitions) -> None:
    plan = create_execution_plan(definitions.resolve_job_def(DAILY))
    waits = {key: {source for one in step.step_inputs for source in one.dependency_keys} for key, step in _steps(plan)}
    assert waits["loan_scores"] == {"processed_features"}
    assert waits["raw_loan_data"] == set()


def _steps(plan: Any) -> list[tuple[str, Any]]:
    return [(step.key, step) for step in plan.get_all_steps_in_topo_order()]


def test_every_gate_blocks(definitions: dg.Definitions) -> None:
    specs = [spec for asset in definitions.resolve_asset_graph().assets_defs for spec in asset.check_specs]
    # What was trained on is told, and stops nothing; nor does a version that does not take over. The account of a whole
    # table stops training, by the gate of the training set, and no day's ingestion.
    told = (TRAINED_ON_RESTATED, LEDGER_WHOLE, CURRENT_DAYS, FIRST_DAYS, LEAKS, CHAMPION_SCORES)
    asked = ("deployed_model", FAIRNESS)
    specs = [spec for spec in specs if spec.name not in told and (spec.asset_key.path[-1], spec.name) != asked]
    judged = {"raw_loan_data", "loan_outcomes", "training_set", "trained_model"}
    assert {spec.asset_key.to_user_string() for spec in specs} == judged
    accounts = {spec.key for spec in specs if spec.name == ACCOUNTED_FOR and spec.asset_key.path[-1] != "training_set"}
    assert {key.asset_key.to_user_string() for key in accounts} == {"raw_loan_data", "loan_outcomes"}
    assert {spec.key for spec in specs if not spec.blocking} == accounts


def test_the_gates_add_no_step(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def(DAILY)
    assert {node.name for node in job.graph.nodes} == set(GRAPH)


def test_the_jobs_cover_the_graph_once(definitions: dg.Definitions) -> None:
    parts = [{node.name for node in definitions.resolve_job_def(name).graph.nodes} for name in JOBS if name != DAILY]
    assert set.union(*parts) == set(GRAPH)
    assert sum(map(len, parts)) == len(GRAPH)


def test_the_daily_job_leaves_training_to_the_triggers_where_they_start_it() -> None:
    job = build_definitions(load_settings(retraining="triggered")).resolve_job_def(DAILY)
    assert {node.name for node in job.graph.nodes} == {"restated_days"} | INGESTED | MONITORED


@pytest.mark.parametrize(("zone", "expected"), [("UTC", "2024-03-09"), ("America/New_York", "2024-03-09")])
def test_the_schedule_runs_the_day_that_has_just_closed(zone: str, expected: str) -> None:
    settings = load_settings(timezone=zone)
    definitions = build_definitions(settings)
    schedule = definitions.resolve_schedule_def(f"{DAILY}_schedule")
    assert schedule.cron_schedule == "0 6 * * *"
    assert schedule.execution_timezone == zone
    at = datetime(2024, 3, 10, 11, tzinfo=UTC)
    context = dg.build_schedule_context(scheduled_execution_time=at, repository_def=definitions.get_repository_def())
    (request,) = schedule.evaluate_tick(context).run_requests
    assert (request.run_key, request.partition_key) == (expected, expected)


def test_the_schedule_says_when_no_day_has_closed() -> None:
    definitions = build_definitions(load_settings(start_date="2024-03-10"))
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2024, 3, 10, 6, tzinfo=UTC), repository_def=definitions.get_repository_def()
    )
    result = definitions.resolve_schedule_def(f"{DAILY}_schedule").evaluate_tick(context)
    assert not result.run_requests
    assert "no day has closed since 2024-03-10" in (result.skip_message or "")


def test_variants_choose_the_candidates() -> None:
    graph = build_definitions(load_settings(variants="lightgbm")).resolve_asset_graph()
    assert {k.to_user_string() for k in graph.get_all_asset_keys() if k.path[-1].endswith("_candidate")} == {
        "lightgbm_candidate"
    }


@pytest.mark.parametrize("executor", ["in_process", "multiprocess", "k8s"])
def test_definitions_load_with_every_executor(executor: str) -> None:
    dg.Definitions.validate_loadable(build_definitions(load_settings(executor=executor)))


def test_an_unknown_override_is_refused(definitions: dg.Definitions) -> None:
    with pytest.raises(ValueError, match="no resource wharehouse; known: warehouse"):
        build_definitions(load_settings(), wharehouse=object())


def test_the_portfolio_is_the_named_one_or_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_PORTFOLIO", "nowhere")
    with pytest.raises(SettingsError, match="nowhere"):
        load()
    with pytest.raises(SettingsError, match="elsewhere"):
        load("elsewhere")


def test_what_is_loaded_is_looked_through_for_garbage_neither_meanwhile_nor_later() -> None:
    code = (
        "import gc, dagster; met = []; gc.callbacks.append(lambda phase, info: met.append(info['generation']));"
        "import credit_assets.definitions; print(len(met), gc.isenabled(), gc.get_freeze_count() > 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True", "True"]


def test_loading_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import json, sys; import credit_assets.definitions; "
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    heavy = {
        "mlflow", "dagster_mlflow", "xgboost", "lightgbm", "catboost", "matplotlib", "kubernetes", "dagster_k8s",
        "pandas", "numpy", "pyarrow", "sklearn", "scipy", "duckdb", "apprise", "sqlalchemy",
    }  # fmt: skip
    assert not heavy & set(loaded)


@pytest.mark.parametrize(
    ("asset", "described", "written"),
    [
        ("raw_loan_data", schemas.applications_fields, schemas.applications_schema),
        ("loan_outcomes", schemas.outcomes_fields, schemas.outcomes_schema),
        ("processed_features", schemas.features_fields, schemas.features_schema),
        ("training_set", schemas.training_fields, schemas.training_schema),
        ("loan_scores", schemas.scores_fields, schemas.scores_schema),
    ],
)
def test_the_columns_shown_are_those_that_are_written(asset: str, described: Any, written: Any) -> None:
    portfolio = load_portfolio()
    fields = [(field.name, str(field.type)) for field in written(portfolio)]
    assert [(name, schemas.STORAGE[kind].arrow) for name, kind in described(portfolio)] == fields
    (node,) = [a for a in build_definitions(load_settings()).assets or () if a.key == dg.AssetKey(asset)]
    shown = node.metadata_by_key[node.key]["dagster/column_schema"]
    assert [(column.name, column.type) for column in shown.columns] == fields


def test_ml_imports_neither_orchestrator_nor_tracking() -> None:
    code = (
        "import importlib, json, pkgutil, sys; import credit_assets.ml as ml; "
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(ml.__path__, 'credit_assets.ml.')]; "
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert not {"dagster", "mlflow", "kubernetes"} & set(loaded)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["dagster", "definitions", "validate", "-m", "credit_assets.definitions"], ["dg", "check", "defs"]],
    ids=["dagster", "dg"],
)
def test_dagsters_own_checks_pass(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    root = Path(__file__).resolve().parents[1]
    program = str(Path(sys.executable).parent / command[0])
    done = subprocess.run([program, *command[1:]], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings_reach_the_graph() -> None:
    settings: Settings = load_settings(retries=0, lookback_days=30, performance_window_days=100)
    graph = build_definitions(settings).resolve_asset_graph()
    training = graph.get(dg.AssetKey("training_set"))
    mapping = training.partition_mappings[dg.AssetKey("processed_features")]
    assert isinstance(mapping, dg.TimeWindowPartitionMapping)
    assert (mapping.start_offset, mapping.end_offset) == (-129, -100)


@pytest.mark.slow
def test_a_backfill_from_the_ui_takes_as_many_days_a_run_as_the_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster._core.execution.backfill import PartitionBackfill
    from dagster._core.test_utils import create_test_daemon_workspace_context
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster._daemon.backfill import execute_backfill_iteration

    from credit_assets.instance.home import instance_of

    monkeypatch.setenv("CREDIT_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("CREDIT_DAYS_PER_RUN", "4")
    target = ModuleTarget("credit_assets.definitions", None, None, None)
    days = [f"2024-01-{day:02d}" for day in range(1, 11)]
    with (
        instance_of(load_settings()) as instance,
        create_test_daemon_workspace_context(target, instance=instance) as context,
    ):
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id="of_ten_days",
            asset_graph=context.create_request_context().asset_graph,
            partition_names=days,
            asset_selection=[dg.AssetKey(name) for name in backfilled(load_settings().graph)],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(backfill)
        list(execute_backfill_iteration(context, logging.getLogger(__name__)))
        asked = [
            (len(run.asset_selection or ()), *(run.tags[f"dagster/asset_partition_range_{end}"] for end in ENDS))
            for run in instance.get_runs()
        ]
    assert sorted(asked) == [
        (4, "2024-01-01", "2024-01-04"),
        (4, "2024-01-05", "2024-01-08"),
        (4, "2024-01-09", "2024-01-10"),
    ]
