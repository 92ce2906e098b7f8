"""As of which days models were trained: each version is read once, and what was deleted counts no more."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from credit_assets.ledger.registry import RECALIBRATES, Registry
from credit_assets.ledger.trained import TrainedDays
from credit_assets.tracking import Tracking
from credit_assets_tests.support.registry import MODEL, Q1, Q2, Q3, register

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]


@pytest.fixture
def registry(tracking: Tracking) -> Registry:
    return Registry(tracking, MODEL, tracking.claims)


def test_the_newest_training_whatever_came_last(registry: Registry) -> None:
    seen = TrainedDays()
    assert seen.newest(registry) is None
    for name, as_of in (("a", Q1), ("b", Q3), ("c", Q2)):
        register(registry, name, as_of)
    register(registry, "d", date(2024, 12, 1), **{RECALIBRATES: "2"})
    assert seen.newest(registry) == Q3
    assert seen.newest(registry, but=Q3) == Q2
    register(registry, "e", date(2024, 10, 1))
    assert seen.newest(registry) == date(2024, 10, 1)


def test_each_version_is_read_once_and_the_model_with_all_of_them_never(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        register(registry, f"v{number}", date(2024, 1, 1 + number))
    client, read, models = registry.tracking.server.client, list[int](), list[str]()
    search, find = client.search_model_versions, client.get_registered_model

    def searched(*args: Any, **more: Any) -> Any:
        page = search(*args, **more)
        read.append(len(page))
        return page

    monkeypatch.setattr(client, "search_model_versions", searched)
    monkeypatch.setattr(client, "get_registered_model", lambda name: models.append(name) or find(name))
    seen = TrainedDays()
    assert [seen.newest(registry) for _ in range(3)] == [date(2024, 1, 4)] * 3
    assert (read, models) == ([4, 0, 0], [])


def test_a_version_that_was_deleted_and_a_model_that_was_made_anew_count_no_more(registry: Registry) -> None:
    seen, client = TrainedDays(), registry.tracking.server.client
    register(registry, "a", Q1)
    last = register(registry, "b", Q2)
    assert seen.newest(registry) == Q2
    client.delete_model_version(MODEL, last.version)
    assert seen.newest(registry) == Q1
    client.delete_registered_model(MODEL)
    assert seen.newest(registry) is None
    register(registry, "c", Q3)
    assert seen.newest(registry) == Q3
