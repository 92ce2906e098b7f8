"""The monthly refresh: real records, claims, MLflow and run storage."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest

from credit_assets.ledger.registry import Registry
from credit_assets.ledger.retraining import triggers_of
from credit_assets.settings import MODEL_NAME
from credit_assets.tags import EVENT_TAG
from credit_assets.tracking import Tracking
from credit_assets_tests.support.trigger_world import DAY, World, the_run

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.trigger_world"]

MARCH_END = date(2024, 3, 31)


@dg.job
def _anything() -> None: ...


def test_the_refresh_waits_for_its_day_and_is_started_once(world: World) -> None:
    assert world.refresh(4, 1, 7).startswith("loan_outcomes and processed_features of 2024-03-31 must be")
    world.ingest(MARCH_END)
    run = world.refresh(4, 1, 8)
    assert isinstance(run, dg.RunRequest)
    assert (run.run_key, run.partition_key) == ("refresh:2024-03", "2024-03-31")
    assert run.tags["credit/reason"] == "monthly refresh of March 2024"
    assert triggers_of(world.claims, MARCH_END) == ("refresh",)
    # Killed before the run was made: the next hour asks again.
    assert world.refresh(4, 1, 9) == run
    made = world.instance.create_run_for_job(_anything, tags=run.tags)
    assert world.refresh(4, 1, 10) == f"the refresh of 2024-03 was started: run {made.run_id}"


def test_a_missed_refresh_is_told_on_its_last_tick(world: World) -> None:
    assert "missed" not in world.refresh(4, 7, 22)
    said = world.refresh(4, 7, 23)
    assert said.startswith("the refresh of 2024-03 was missed, this was its last attempt: loan_outcomes and processed")
    assert "job retrain_model" in said


def test_the_refresh_skips_where_mlflow_does_not_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    world.ingest(MARCH_END)
    away = Registry(Tracking("http://127.0.0.1:9", "nowhere", world.claims), MODEL_NAME, world.claims)
    assert str(world.refresh(4, 1, 7, registry=away)).startswith("cannot reach MLflow: ")
    assert isinstance(world.refresh(4, 1, 8), dg.RunRequest)


def test_the_refresh_joins_a_retraining_of_its_day(world: World) -> None:
    world.ingest(MARCH_END)
    world.drift(MARCH_END - DAY)
    world.drift(MARCH_END)
    the_run(world.tick("drift_trigger"))
    assert "was started already by drift:2024-03-31:v1" in world.refresh(4, 1, 7)
    assert triggers_of(world.claims, MARCH_END) == ("drift", "refresh")
    path = world.store.path("registered_model", f"{MARCH_END}.json")
    # Judged by the rule of improvement before the refresh was asked for: judged again, by its own rule.
    world.store.write_record(path, {"decision": "rejected", "triggers": ["drift"]})
    again = world.refresh(4, 1, 8)
    assert isinstance(again, dg.RunRequest)
    assert again.tags[EVENT_TAG] == "refresh:2024-03"
    for decided in ({"decision": "rejected", "triggers": ["drift", "refresh"]}, {"decision": "registered"}):
        world.store.write_record(path, {"triggers": [], **decided})
        assert world.refresh(4, 1, 9) == f"the model as of 2024-03-31 is trained: {decided['decision']}"


def test_the_refresh_before_the_first_month_has_ended(world: World) -> None:
    assert world.refresh(1, 1, 7) == "no month has ended since 2024-01-01 (CREDIT_START_DATE)"


def test_the_refresh_before_the_first_cohort_is_mature(world: World) -> None:
    assert world.settings.window_days == 30
    world.settings = world.settings.model_copy(update={"performance_window_days": 31})
    world.settings.__dict__.pop("window_days", None)
    said = world.refresh(2, 1, 7)
    assert said.startswith("not due: the applications of no day are mature by 2024-01-31")
    assert "the start date (CREDIT_START_DATE) is 2024-01-01" in said
    assert said.endswith("the first as-of date with a model can be 2024-02-03")
