"""What is said of an MLflow store that is there, and of a server that is not."""

from __future__ import annotations

import pytest

from credit_assets.settings import load_settings
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets.tracking.health import health
from credit_assets_tests.support.ports import free_port


@pytest.mark.slow
def test_an_mlflow_store_that_is_there_and_one_that_is_not_one(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    Tracking(settings.tracking_uri, settings.experiment, Claims(settings.store)).server.prepare()
    assert health(settings, 60).value == "answers, experiment credit_scoring"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    down = health(load_settings(), 60)
    assert down.status == "fail"
    assert "refused" in down.value
    assert "MLFLOW_TRACKING_URI" in down.advice
