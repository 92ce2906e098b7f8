"""What the daily schedule asks for: everything, or what is left where no model can be made yet."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from credit_assets.build import build_definitions
from credit_assets.settings import Settings, load_settings
from credit_assets.stages import DAILY


def settings(**more: Any) -> Settings:
    return load_settings(start_date=date(2024, 1, 1), performance_window_days=30, variants="lightgbm", **more)


def asked(settings: Settings, day: date) -> dg.RunRequest:
    """What the schedule asks for on the morning after this day."""
    morning = datetime(day.year, day.month, day.day, 6, tzinfo=ZoneInfo("UTC"))
    repository = build_definitions(settings).get_repository_def()
    with dg.build_schedule_context(scheduled_execution_time=morning, repository_def=repository) as context:
        found = repository.get_schedule_def(f"{DAILY}_schedule").evaluate_tick(context)
    (request,) = found.run_requests or []
    return request


def test_a_morning_before_anything_is_mature_starts_no_training_step() -> None:
    request = asked(settings(), date(2024, 1, 20))
    assert request.partition_key == "2024-01-19"
    made = {key.path[-1] for key in request.asset_selection or ()}
    assert {"raw_loan_data", "training_set", "loan_scores", "performance_report"} <= made
    assert made.isdisjoint({"lightgbm_candidate", "trained_model", "registered_model", "deployed_model"})


@pytest.mark.parametrize(
    ("day", "retraining"),
    [(date(2024, 2, 3), "daily"), (date(2024, 1, 20), "triggered"), (date(2024, 2, 3), "triggered")],
)
def test_any_other_morning_starts_the_whole_job(day: date, retraining: str) -> None:
    assert asked(settings(retraining=retraining), day).asset_selection is None
