"""What is said of an instance that does not load, and of one with the slow event log."""

from __future__ import annotations

import pytest

from credit_assets.instance.health import health
from credit_assets.instance.home import CONFIG_FILE
from credit_assets.settings import load_settings


@pytest.fixture(autouse=True)
def _environment_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # The instance sets these for good; setting them here first makes pytest put back what was there.
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")


def test_an_instance_that_does_not_load_and_one_with_the_slow_event_log() -> None:
    folder = load_settings().dagster_dir
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text("no_such_key: 1\n")
    broken = health(load_settings())
    assert broken.status == "fail"
    assert str(folder / CONFIG_FILE) in broken.advice
    (folder / CONFIG_FILE).write_text("telemetry: {enabled: false}\n")
    slow = health(load_settings())
    assert slow.status == "warn"
    assert "event_log_storage" in slow.advice
