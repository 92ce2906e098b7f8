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
import sqlite3
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote_plus
from urllib.request import Request, urlopen

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

    One a worker, so a test brings an experiment of its own, and a name of its own for a registered model, or takes
    `empty_server`.
    """
    folder = tmp_path_factory.mktemp("mlflow-server")
    database, artifacts = folder / "server.db", folder / "artifacts"
    shutil.copy(migrated_database, database)
    command = ["server", "--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(artifacts)]
    with running("mlflow", *command, "--workers", "1", folder=folder) as uri:
        yield Server(uri, database, artifacts)


@pytest.fixture
def empty_server(mlflow_server: Server, migrated_database: Path) -> Server:
    """The same for a test whose pipeline names experiment and model itself: as nobody has used it."""
    with closing(sqlite3.connect(migrated_database)) as blank, closing(sqlite3.connect(mlflow_server.database)) as used:
        blank.backup(used)
    return mlflow_server


@pytest.fixture
def served(mlflow_server: Server, tmp_path: Path) -> Tracking:
    """Tracking on the server, in an experiment of the test's own."""
    claims = Claims(str(tmp_path / "store"))
    return Tracking(mlflow_server.uri, f"exp {tmp_path.name}", claims, cache_dir=tmp_path / "cache")


CANARY = "c4/na:R@y?#%"
"""A password with all that could be taken for its end."""


@pytest.fixture
def behind_a_login(mlflow_server: Server) -> Iterator[str]:
    """`host:port` of what stands before a real MLflow server and asks for user and password, as a proxy does."""

    class Door(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            given = self.headers.get("Authorization", "")
            if not given.startswith("Basic ") or b64decode(given[6:]).decode() != f"risk:{CANARY}":
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            sent = {name: self.headers[name] for name in ("Content-Type",) if name in self.headers}
            try:
                answer = urlopen(Request(mlflow_server.uri + self.path, body, sent, method=self.command))
            except HTTPError as error:
                answer = error
            with answer:
                text = answer.read()
                self.send_response(answer.status or 500)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


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
                with urlopen(self.uri + self.path, timeout=5):
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
