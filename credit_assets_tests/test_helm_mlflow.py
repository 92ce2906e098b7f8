"""The chart's MLflow server, started here with the arguments of its pod: who is answered, and who may write."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from credit_assets_tests.support.chart import INGRESS, one, rendered, values
from credit_assets_tests.support.mlflow_server import QUIET
from credit_assets_tests.support.ports import free_port

pytest_plugins = ["credit_assets_tests.support.chart", "credit_assets_tests.support.mlflow_server"]

PAGE = "mlflow.example.org"
SEARCH = "/ajax-api/2.0/mlflow/experiments/search"


def container(own: Path, port: int, **more: Any) -> dict[str, Any]:
    given = values("production", mlflow={"port": port, "workers": 1, **more}, **INGRESS)
    spec = one(rendered(own, given), "Deployment", "credit-assets-mlflow")["spec"]["template"]["spec"]
    (found,) = spec["containers"]
    return dict(found)


@pytest.fixture(scope="module")
def port(own: Path, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the server, which runs what the pod would run."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    (folder / "mlflow.db").write_bytes(migrated_database.read_bytes())
    given = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db"}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, **QUIET, **given, "PATH": programs}
    log = folder / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            container(own, port, allowedOrigins=["https://pages.example.net"])["args"],
            env=env, cwd=folder, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        while True:
            assert server.poll() is None, log.read_text()[-4000:]
            try:
                if asked(port, "GET", "/health", Host=f"localhost:{port}") == 200:
                    break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(20)


def asked(port: int, method: str, path: str, body: str = "", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body or None, {"Content-Type": "application/json", **headers})
        return connection.getresponse().status
    finally:
        connection.close()


def test_pages_of_the_ingress_are_answered_and_strangers_are_not(port: int) -> None:
    """MLflow's pages search by POST: without the origin of the ingress they showed nothing but refusals."""
    search = '{"max_results": 1}'
    assert asked(port, "POST", SEARCH, search, Host=PAGE, Origin=f"https://{PAGE}") == 200
    assert asked(port, "POST", SEARCH, search, Host=PAGE, Origin="https://pages.example.net") == 200
    assert asked(port, "POST", SEARCH, search, Host=PAGE, Origin="https://stranger.example.net") == 403
    assert asked(port, "POST", SEARCH, search, Host="stranger.example.net", Origin=f"https://{PAGE}") == 403
    # The pipeline, which is no page.
    assert asked(port, "POST", SEARCH, search, Host=f"credit-assets-mlflow:{port}") == 200
