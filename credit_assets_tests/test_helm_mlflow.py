"""The chart's MLflow server, started here with the arguments of its pod: who is answered, and who may write."""

from __future__ import annotations

import base64
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
from mlflow import MlflowClient

from credit_assets_tests.support.chart import INGRESS, one, rendered, values
from credit_assets_tests.support.mlflow_server import QUIET
from credit_assets_tests.support.ports import free_port

pytest_plugins = ["credit_assets_tests.support.chart", "credit_assets_tests.support.mlflow_server"]

PAGE, PASSWORD = "mlflow.example.org", "of-the-pipeline"
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
    given |= {"MLFLOW_TRACKING_USERNAME": "pipeline", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
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
    """The status of an answer."""
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


def test_people_read_and_the_pipeline_alone_writes(port: int) -> None:
    page = {"Host": PAGE, "Origin": f"https://{PAGE}"}
    create, named = "/ajax-api/2.0/mlflow/experiments/create", '{"name": "of a person"}'
    assert asked(port, "GET", "/", Host=PAGE) == 200
    assert asked(port, "GET", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0", Host=PAGE) == 200
    assert asked(port, "POST", create, named, **page) == 403
    assert asked(port, "POST", create.replace("ajax-", ""), named, Host=f"credit-assets-mlflow:{port}") == 403
    wrong = base64.b64encode(b"pipeline:guessed-it").decode()
    assert asked(port, "POST", create, named, **page, Authorization=f"Basic {wrong}") == 403
    # By MLflow's own client, which has the login from the environment, as steps have.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "pipeline")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        client = MlflowClient(f"http://localhost:{port}")
        made = client.create_experiment("of the pipeline")
        client.log_param(client.create_run(made).info.run_id, "rounds", 3)
    found = [one.name for one in MlflowClient(f"http://localhost:{port}").search_experiments()]
    assert "of the pipeline" in found
    assert "of a person" not in found
