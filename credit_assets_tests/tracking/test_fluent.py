"""A login stands in variables while its server is asked, and nowhere else."""

from __future__ import annotations

import os
import pickle
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from credit_assets.failures import PermanentError
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets.tracking.fluent import Login, log_in
from credit_assets_tests.support.mlflow_server import Server

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
CANARY = "c4/na:R@y?#%"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # What a test sets by way of the product is taken back too.
    for name in (USER, PASSWORD):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    yield
    log_in(Login())


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


@pytest.mark.parametrize("written", [CANARY, quote(CANARY, safe="")], ids=["as it is", "percent form"])
def test_a_login_in_the_uri_opens_the_server_and_is_written_nowhere(
    written: str, behind_a_login: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracking = Tracking(f"http://risk:{written}@{behind_a_login}", f"login {tmp_path.name}", Claims(str(tmp_path)))
    server = tracking.server
    assert server.uri == f"http://{behind_a_login}"
    with server.fluent() as mlflow:
        with mlflow.start_run(experiment_id=server.experiment_id) as run:
            mlflow.log_text("x", "note.txt")
        assert mlflow.get_tracking_uri() == server.uri
        assert "c4" not in os.environ.get("MLFLOW_TRACKING_URI", "")
    kept = server.client.get_run(run.info.run_id).to_dictionary()
    printed = capfd.readouterr()
    shown = f"{kept}{printed}{server!r}{server.run_link('1')}{vars(server)}"
    assert not [form for form in (CANARY, quote(CANARY, safe=""), "na:R@y") if form in shown]


def test_a_wrong_login_says_which_variables_to_set(behind_a_login: str, tmp_path: Path) -> None:
    wrong = Tracking(f"http://risk:no-{CANARY}@{behind_a_login}", "x", Claims(str(tmp_path)))
    with pytest.raises(PermanentError, match="MLFLOW_TRACKING_USERNAME") as caught:
        wrong.server.prepare()
    assert "na:R" not in str(caught.value)


def test_the_variables_open_the_server_too(
    behind_a_login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER, "risk")
    monkeypatch.setenv(PASSWORD, CANARY)
    Tracking(f"http://{behind_a_login}", f"variables {tmp_path.name}", Claims(str(tmp_path))).server.prepare()
    user_alone = Tracking(f"http://risk@{behind_a_login}", f"alone {tmp_path.name}", Claims(str(tmp_path)))
    user_alone.server.prepare()
    assert os.environ[PASSWORD] == CANARY


def test_one_servers_login_never_goes_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER, "environment")
    log_in(Login("first", "one"))
    assert (os.environ[USER], os.environ[PASSWORD]) == ("first", "one")
    log_in(Login("second", "two"))
    assert (os.environ[USER], os.environ[PASSWORD]) == ("second", "two")
    log_in(Login())
    assert os.environ[USER] == "environment"
    assert PASSWORD not in os.environ


def test_a_login_travels_to_another_process_and_is_not_shown() -> None:
    login = Login("risk", CANARY)
    assert pickle.loads(pickle.dumps(login)) == login
    assert CANARY not in repr(login)
