"""A real MLflow server, a migrated database to copy, and a model that scores everyone alike, for tests.

A test file that needs the fixtures names this module in its `pytest_plugins`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets_tests.support import openings

EXPERIMENT = "credit_scoring"
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
# Workers for jobs that no test submits.
QUIET["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"


@dataclass(frozen=True)
class Server:
    uri: str
    database: Path
    artifacts: Path


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process that a test starts, which would migrate a database of its own, gets a copy of."""
    return openings.migrated_database(tmp_path_factory)


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    """Tracking on an SQLite file of the test's own."""
    return Tracking(f"sqlite:///{tmp_path}/mlflow/mlflow.db", EXPERIMENT, Claims(str(tmp_path / "store")))


@pytest.fixture(scope="session")
def mlflow_server(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`mlflow server` in a process of its own, serving artifacts, as a lender's platform runs it.

    One a worker, so a test brings an experiment of its own, and a name of its own for a registered model.
    """
    folder = tmp_path_factory.mktemp("mlflow-server")
    database, artifacts = folder / "server.db", folder / "artifacts"
    shutil.copy(migrated_database, database)
    command = ["server", "--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(artifacts)]
    with running("mlflow", *command, "--workers", "1", folder=folder) as uri:
        yield Server(uri, database, artifacts)


@pytest.fixture
def served(mlflow_server: Server, tmp_path: Path) -> Tracking:
    """Tracking on the server, in an experiment of the test's own."""
    claims = Claims(str(tmp_path / "store"))
    return Tracking(mlflow_server.uri, f"exp {tmp_path.name}", claims, cache_dir=tmp_path / "cache")


@contextlib.contextmanager
def asked_of_mlflow() -> Iterator[list[str]]:
    """What this process and MLflow servers say to one another meanwhile: addresses, questions, answers, not models."""
    import requests

    said: list[str] = []
    send = requests.Session.send

    def noted(self: Any, request: Any, **how: Any) -> Any:
        said.append(unquote_plus(request.url))
        if isinstance(request.body, str | bytes):
            said.append(request.body if isinstance(request.body, str) else request.body.decode("utf-8", "replace"))
        answer = send(self, request, **how)
        if "json" in answer.headers.get("Content-Type", ""):
            said.append(answer.text)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", noted)
        yield said


class running:  # noqa: N801 - reads as a statement: `with running("mlflow", ...) as uri`
    """A program of this environment that listens on a free port and answers `path`; ended with all its children."""

    def __init__(self, program: str, *arguments: str, folder: Path, path: str = "/health", **env: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.uri, self.path, self.log = f"http://127.0.0.1:{port}", path, folder / f"{program}-{port}.log"
        self.command = [str(Path(sys.executable).parent / program), *arguments]
        self.command += ["--host", "127.0.0.1", "--port", str(port)]
        # MLflow starts further programs by their bare names.
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self.folder, self.env = folder, {**os.environ, **QUIET, "PATH": programs, **env}

    def __enter__(self) -> str:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=self.folder, env=self.env, start_new_session=True
            )
        while self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.uri + self.path, timeout=5):
                    return self.uri
            except OSError:
                time.sleep(0.2)
        self.__exit__()
        raise RuntimeError(f"{' '.join(self.command)} did not start:\n{self.log.read_text()[-4000:]}")

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


# A model: PD 0.1 and 600 points for everyone. Its folder is made here and loaded by MLflow through `_load_pyfunc`.


def constant_scorer(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "scorer.json").write_text(json.dumps({"pd": 0.1, "score": 600.0}))
    return folder


def _load_pyfunc(path: str) -> Any:
    import pandas as pd

    answer = json.loads((Path(path) / "scorer.json").read_text())

    class Constant:
        def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
            return pd.DataFrame({name: [value] * len(model_input) for name, value in answer.items()})

    return Constant()
