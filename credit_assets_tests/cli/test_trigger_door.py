"""The door for other programs: who is let in, and that what they ask for is what the sensor answers."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from starlette.testclient import TestClient

from credit_assets.assets.conventions import asset_key
from credit_assets.automation.external_trigger import EXTERNAL_ASSET
from credit_assets.cli.trigger import report_trigger
from credit_assets.cli.trigger_door import door, tokens_of
from credit_assets.failures import PermanentError, TransientError
from credit_assets.settings import load_settings

TOKEN, OTHER = "of-the-monitoring-0123456789", "of-the-scheduler-0123456789"
TOKENS = {"monitoring": TOKEN, "scheduler": OTHER}
ASKS = {"kind": "drift", "reason": "PSI of income 0.4", "as_of": "2024-06-30"}


def nobody(*_: Any, **__: Any) -> dict[str, Any]:
    raise AssertionError("nothing is reported for whoever is not let in")


def test_a_caller_is_recorded_by_the_name_of_its_token(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        client = TestClient(door(TOKENS, partial(report_trigger, settings, instance)))
        answer = client.post("/trigger/credit-assets", json=ASKS, headers={"Authorization": f"Bearer {OTHER}"})
        assert answer.status_code == 202, answer.text
        assert answer.json()["by"] == "scheduler"
        (event,) = instance.fetch_materializations(asset_key(settings, EXTERNAL_ASSET), limit=5).records
        made = event.asset_materialization
        assert made is not None
        assert (made.description, made.partition) == ("drift: PSI of income 0.4", "2024-06-30")
        assert made.metadata["by"].value == "scheduler"
        # What nobody may ask for is refused in words, and reported as nothing.
        for wrong, said in (
            ({"kind": "moon"}, "unknown kind"),
            ({"reason": " "}, "who and why"),
            ({"by": "me"}, "as_of"),
        ):
            refused = client.post(
                "/trigger/credit-assets", json={**ASKS, **wrong}, headers={"Authorization": f"Bearer {TOKEN}"}
            )
            assert (refused.status_code, said in refused.json()["error"]) == (400, True)
        assert len(instance.fetch_materializations(asset_key(settings, EXTERNAL_ASSET), limit=5).records) == 1


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", TOKEN, f"Bearer {TOKEN} x"],
)
def test_without_a_token_nothing_is_asked(authorization: str) -> None:
    client = TestClient(door(TOKENS, nobody))
    headers = {"Authorization": authorization} if authorization else {}
    assert client.post("/trigger/credit-assets", json=ASKS, headers=headers).status_code == 401


def test_nothing_else_is_there() -> None:
    client = TestClient(door(TOKENS, nobody))
    let_in = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/health").status_code == 200
    assert client.get("/trigger/credit-assets", headers=let_in).status_code == 405
    assert client.post("/graphql", json={}, headers=let_in).status_code == 404
    assert client.post("/trigger/x", content=b"x" * 5000, headers=let_in).status_code == 413
    for body in (b"", b"[]", b"{", b'{"kind": 1}', b'{"as_of": "June"}', b"[" * 4000):
        assert client.post("/trigger/x", content=body, headers=let_in).status_code == 400


def test_a_store_that_is_away_is_asked_again_later() -> None:
    def away(_kind: str, *, reason: str, by: str, as_of: date | None) -> dict[str, Any]:
        raise TransientError(f"{reason} {by} {as_of}: the store does not answer")

    answer = TestClient(door(TOKENS, away)).post("/trigger/x", json=ASKS, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 503


@pytest.mark.parametrize(
    "text", ["", "monitoring", f"={TOKEN}", "monitoring=short", f"a={TOKEN} a={OTHER}", f"a/b={TOKEN}"]
)
def test_tokens_that_are_unfit_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(PermanentError) as refused:
        tokens_of(text)
    assert TOKEN not in str(refused.value)
    assert tokens_of(f"monitoring={TOKEN}\nscheduler={OTHER}") == TOKENS
