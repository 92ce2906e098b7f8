"""Who may change what MLflow holds: every route of the MLflow that is installed, asked without a login and with it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from credit_assets.cli.mlflow_login import PASSWORD, USER, PipelineWrites, pipeline_writes
from credit_assets.failures import PermanentError

LOGIN = b"Basic " + base64.b64encode(b"pipeline:of-the-pipeline")
CHANGES = ("POST", "PUT", "PATCH", "DELETE")
SEARCHES = {
    "/graphql",
    "/mlflow/artifacts/presigned-download-url",
    "/mlflow/datasets/search",
    "/mlflow/experiments/search",
    "/mlflow/experiments/search-datasets",
    "/mlflow/issues/search",
    "/mlflow/logged-models/search",
    "/mlflow/registered-models/get-latest-versions",
    "/mlflow/runs/search",
    "/mlflow/traces/batchGetInfos",
    "/mlflow/traces/calculate-filter-correlation",
    "/mlflow/traces/metrics",
    "/mlflow/traces/search",
}
"""What changes nothing, though it is asked by POST: without the part of the address before `/mlflow`."""


def let_through(method: str, path: str, *logins: bytes, kind: str = "http") -> bool:
    reached = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    async def send(message: Any) -> None:
        assert message.get("status", 403) == 403

    scope = {"type": kind, "method": method, "path": path, "headers": [(b"authorization", one) for one in logins]}
    asyncio.run(PipelineWrites(app, "pipeline", "of-the-pipeline")(scope, send, send))  # type: ignore[arg-type]
    return bool(reached)


def routes() -> set[tuple[str, str]]:
    from mlflow.server import app

    return {(method, str(rule)) for rule in app.url_map.iter_rules() for method in rule.methods or ()}


def test_of_all_that_mlflow_answers_only_searches_and_reads_need_no_login() -> None:
    asked = [(method, path) for method, path in sorted(routes()) if method in CHANGES]
    assert len(asked) > 100
    passed = {path for method, path in asked if let_through(method, path)}
    assert {path if path == "/graphql" else "/mlflow" + path.split("/mlflow", 1)[1] for path in passed} == SEARCHES
    assert all(method == "POST" for method, path in asked if path in passed)
    assert all(let_through(method, path, LOGIN) for method, path in asked)
    assert all(let_through("GET", path) for method, path in routes() if method == "GET")


@pytest.mark.parametrize(
    "logins",
    [(b"",), (b"Bearer x",), (LOGIN[:-1],), (LOGIN + b"=",), (LOGIN, b"Basic eDp5"), (LOGIN, LOGIN), (LOGIN.lower(),)],
)
def test_a_login_that_is_another_or_twice_is_none(logins: tuple[bytes, ...]) -> None:
    assert not let_through("POST", "/api/2.0/mlflow/runs/create", *logins)


@pytest.mark.parametrize(
    "path",
    ["/api/2.0/mlflow/runs/search/../delete", "/api/2.0/mlflow/runs/delete?x=/graphql", "/graphql/", "//graphql", ""],
)
def test_an_address_that_only_looks_like_a_search_is_a_change(path: str) -> None:
    assert not let_through("POST", path)
    assert not let_through("DELETE", "/graphql")
    assert not let_through("GET", "/graphql", kind="websocket")


def test_a_server_without_a_login_does_not_start() -> None:
    for given in ({}, {USER: "pipeline"}, {USER: "pipeline", PASSWORD: "short"}, {USER: "a:b", PASSWORD: "x" * 8}):
        with pytest.raises(PermanentError, match=f"set {USER}"):
            pipeline_writes(lambda *_: None, given)  # type: ignore[arg-type,return-value]
