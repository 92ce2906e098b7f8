"""Resources as Dagster's pages show them."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._config.pythonic_config.resource import get_resource_type_name

from credit_assets.build import build_definitions
from credit_assets.resources import build_resources, objects_of
from credit_assets.settings import load_settings


def test_each_has_its_class_and_says_what_it_is_for() -> None:
    settings = load_settings()
    repository = build_definitions(settings).get_repository_def()
    shown = repository.get_top_level_resources()
    assert set(shown) == {*build_resources(settings), "runs"}
    for name, resource in shown.items():
        assert resource.description, name
        assert "lambda" not in get_resource_type_name(resource), name
    assert get_resource_type_name(shown["store"]) == "credit_assets.storage.counted.CountedStore"
    assert get_resource_type_name(shown["parquet"]) == "credit_assets.storage.io_managers.ParquetIOManager"
    assert shown["tracking"].description.endswith("experiment credit_scoring.")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("warehouse", {"warehouse_url": "postgresql://risk:secret@db/loans"}),
        ("tracking", {"mlflow_tracking_uri": "https://risk:secret@mlflow.example.org"}),
        ("notifier", {"alert_urls": "mailto://risk:secret@relay.example.org?to=a@example.org"}),
    ],
)
def test_secrets_are_masked(name: str, given: dict[str, str]) -> None:
    settings = load_settings(**given)
    description = build_definitions(settings).get_repository_def().get_top_level_resources()[name].description
    assert "secret" not in (description or "")
    assert "example.org" in (description or "") or "db/loans" in (description or "")


def test_the_objects_behind_them_are_those_that_were_given() -> None:
    given = object()
    definitions = build_definitions(load_settings(), claims=given)
    assert objects_of(definitions)["claims"] is given

    @dg.op(required_resource_keys={"claims"})
    def takes(context) -> None:  # type: ignore[no-untyped-def]
        assert context.resources.claims is given

    @dg.job(resource_defs={"claims": definitions.resources["claims"]})  # type: ignore[index]
    def job() -> None:
        takes()

    assert job.execute_in_process(instance=dg.DagsterInstance.ephemeral()).success
