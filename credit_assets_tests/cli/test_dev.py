"""`credit-assets dev`: the UI and MLflow answer, and nothing is left when it is stopped."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from credit_assets.cli.dev import (
    Program,
    _environment,
    _Progress,
    prepare_tracking,
    programs_of,
    refuse_taken_ports,
    run,
)
from credit_assets.failures import PermanentError
from credit_assets.settings import load_settings
from credit_assets_tests.support.ports import free_port


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens already."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def program(name: str, code: str) -> Program:
    return Program(name, 1, [sys.executable, "-c", textwrap.dedent(code)], "")


def answers(url: str, of: subprocess.Popen[str]) -> bool:
    """Whether the address answers before the process that serves it has ended."""
    while of.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status == 200
        except OSError:
            time.sleep(0.5)
    return False


def asked(port: int, path: str, body: object, **headers: str) -> tuple[int, int]:
    """The status of what a server answers, and how many lines of the guard it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
    connection.request(method, path, data, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    said = answer.read().decode().splitlines()
    connection.close()
    return answer.status, len(said) if said[:1] and said[0].startswith("credit-assets dev: ") else 0


def subscribed(port: int, origin: str | None) -> str:
    """What the websocket of the Dagster UI says first to a page of this origin; the status of its refusal."""
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    try:
        with connect(
            f"ws://127.0.0.1:{port}/graphql", origin=origin, subprotocols=["graphql-ws"], proxy=None
        ) as socket:
            socket.send(json.dumps({"type": "connection_init"}))
            return str(json.loads(socket.recv())["type"])
    except InvalidStatus as refused:
        return str(refused.response.status_code)


def test_a_port_in_use_is_named_before_anything_is_started(taken: int, tmp_path: Path) -> None:
    settings = load_settings()
    for ports, option, variable in (
        ((taken, free_port()), "--port", "make dev PORT="),
        ((free_port(), taken), "--mlflow-port", "make dev MLFLOW_PORT="),
    ):
        with pytest.raises(PermanentError, match=rf"port {taken} of \w+ is in use") as refused:
            refuse_taken_ports("127.0.0.1", programs_of(settings, "127.0.0.1", *ports))
        assert option in str(refused.value)
        assert variable in str(refused.value)
        assert "CREDIT_DEV_" in str(refused.value)
    same = free_port()
    with pytest.raises(PermanentError, match=f"port {same} of MLflow is wanted twice"):
        refuse_taken_ports("127.0.0.1", programs_of(settings, "127.0.0.1", same, same))
    with pytest.raises(PermanentError, match="no address of this machine"):
        refuse_taken_ports("192.0.2.1", programs_of(settings, "192.0.2.1", free_port(), free_port()))
    refuse_taken_ports("127.0.0.1", programs_of(settings, "127.0.0.1", free_port(), free_port()))
    assert not settings.home_dir.exists()


def test_the_command_says_so_in_one_line(taken: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for arguments, extra in (([f"--port={taken}"], {}), ([], {"CREDIT_DEV_PORT": str(taken)})):
        refused = subprocess.run(
            [sys.executable, "-m", "credit_assets.cli.main", "dev", *arguments],
            env={**os.environ, **extra},
            capture_output=True,
            text=True,
        )
        assert refused.returncode == 1
        assert refused.stdout == ""
        (line,) = refused.stderr.splitlines()
        assert f"port {taken} of Dagster is in use" in line
    assert not home.exists()


@pytest.mark.parametrize(("code", "expected"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137), ("pass", 1)])
def test_the_failure_of_one_is_that_of_all_with_its_last_words(
    code: str, expected: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lasting = program("Lasting", "import time; time.sleep(600)")
    failing = program("Failing", f"import os, sys\nprint('no such database', flush=True)\n{code}")
    assert run([lasting, failing], os.environ, tmp_path) == expected
    said = capsys.readouterr().err
    assert "no such database" in said
    assert "Failing" in said.splitlines()[-1]


def test_whoever_ignores_the_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    stubborn = program(
        "Stubborn",
        """
        import signal, subprocess, sys, time
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid, flush=True)
        time.sleep(600)
        """,
    )
    ready = program(
        "Ready",
        f"""
        import pathlib, time
        log = pathlib.Path({str(tmp_path)!r}) / "dev-stubborn.log"
        while not log.exists() or not log.read_text().endswith("\\n"):
            time.sleep(0.05)
        """,
    )
    assert run([stubborn, ready], os.environ, tmp_path) == 1
    child = int((tmp_path / "dev-stubborn.log").read_text())
    _, left = psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=500)
    assert left == []


@pytest.mark.parametrize("verbose", [True, False])
def test_it_says_when_all_can_be_opened_and_shows_what_they_print_where_it_is_wanted(
    verbose: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    code = """
        import pathlib, socket, sys, time
        print("made its tables", flush=True)
        with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
            server.accept()[0].close()
            time.sleep(1)
        """
    server = Program("Server", port, [sys.executable, "-c", textwrap.dedent(code), str(port)], "--port")
    told = _Progress([server], "127.0.0.1", tmp_path, verbose)
    assert run([server], os.environ, tmp_path, told) == 1
    said = capsys.readouterr().out
    assert said.count("ready after ") == 1
    assert ("made its tables" in said) == verbose


def test_the_tables_of_mlflow_are_there_before_its_server_is_started(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    for _ in range(2):
        prepare_tracking(settings)
        with closing(sqlite3.connect(tmp_path / "mlflow" / "mlflow.db")) as connection:
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    elsewhere = load_settings(home=tmp_path / "other", mlflow_tracking_uri="http://mlflow.lender.example")
    prepare_tracking(elsewhere)
    assert not (tmp_path / "other" / "mlflow").exists()


def test_what_it_starts_links_to_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urls = ("http://127.0.0.1:3001", "http://127.0.0.1:5001")
    started = _environment(load_settings(home=tmp_path), *urls)
    assert (started["CREDIT_DAGSTER_URL"], started["CREDIT_MLFLOW_URL"]) == urls
    # A server elsewhere is not started, and whoever set an address keeps it.
    assert "CREDIT_MLFLOW_URL" not in _environment(load_settings(home=tmp_path), urls[0])
    monkeypatch.setenv("CREDIT_MLFLOW_URL", "https://mlflow.lender.example")
    assert _environment(load_settings(home=tmp_path), *urls)["CREDIT_MLFLOW_URL"] == "https://mlflow.lender.example"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_dev_serves_both_and_leaves_nothing_behind(number: signal.Signals, code: int, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    ui, mlflow = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "credit_assets.cli.main", "dev", "--port", str(ui), "--mlflow-port", str(mlflow)],
        env={**os.environ, "CREDIT_HOME": str(tmp_path / "a home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        shown = [next(process.stdout) for _ in range(4)]
        assert shown[-1].startswith("ready after ")
        assert answers(f"http://127.0.0.1:{ui}/server_info", process)
        assert answers(f"http://127.0.0.1:{mlflow}/health", process)
        for port, path, body in (
            (ui, "/graphql", {"query": "mutation { setNuxSeen }"}),
            (mlflow, "/ajax-api/2.0/mlflow/experiments/search", {"max_results": 1}),
        ):
            own = f"http://127.0.0.1:{port}"
            assert asked(port, path, body, Origin=own) == (200, 0)
            assert asked(port, path, body, Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == (200, 0)
            assert asked(port, path, body) == (200, 0)
            # A name that leads here by now, the page of another site, and of another server of this machine.
            assert asked(port, path, body, Host="10.evil.example") == (403, 1)
            assert asked(port, path, body, Origin="http://evil.example") == (403, 1)
            assert asked(port, path, body, Origin=f"http://127.0.0.1:{port + 1}") == (403, 1)
            assert asked(port, path, None, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}) == (403, 1)
        assert asked(ui, "/graphql?query=mutation%20%7B%20setNuxSeen%20%7D", None) == (403, 1)
        assert subscribed(ui, None) == subscribed(ui, f"http://127.0.0.1:{ui}") == "connection_ack"
        assert subscribed(ui, "http://evil.example") == "403"
        # No socket of theirs is where another user of the machine could open it.
        family = psutil.Process(process.pid).children(recursive=True)
        sockets = [
            socket
            for one in family
            for socket in one.net_connections(kind="all")
            if socket.status in ("LISTEN", "NONE")
        ]
        assert {one.laddr.port for one in sockets if one.family == socket.AF_INET} == {ui, mlflow}
        private = [Path(one.laddr) for one in sockets if one.family == socket.AF_UNIX and one.laddr]
        assert private
        assert {oct(one.parent.stat().st_mode & 0o077) for one in private} == {"0o0"}
        assert [path for path in (tmp_path / "a home").rglob("*") if path.stat().st_mode & 0o077] == []
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 4
    finally:
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == code
    assert out == ""
    assert len(err.splitlines()) == (number != signal.SIGKILL)
    _, left = psutil.wait_procs(family, timeout=500)
    assert left == []
