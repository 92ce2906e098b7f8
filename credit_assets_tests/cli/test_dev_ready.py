"""When `dev` says that it is ready: once every code location is loaded, and not before."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from credit_assets.cli.dev_ready import Locations, listens
from credit_assets_tests.support.ports import free_port

HOST = "127.0.0.1"


class Dagster:
    """A web server that answers as Dagster's does: `answer` to a query, and remembers what was to be loaded again."""

    def __init__(self) -> None:
        self.answer: Any = {"data": None}
        self.again: list[str] = []
        this = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if name := asked["variables"].get("name"):
                    this.again.append(name)
                body = this.answer if isinstance(this.answer, bytes) else json.dumps(this.answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def has(self, *entries: dict[str, Any]) -> None:
        self.answer = {"data": {"workspaceOrError": {"locationEntries": list(entries)}}}


@pytest.fixture
def dagster() -> Iterator[Dagster]:
    made = Dagster()
    yield made
    made.server.shutdown()
    made.server.server_close()


def entry(name: str, status: str = "LOADED", **found: str) -> dict[str, Any]:
    return {"name": name, "loadStatus": status, "locationOrLoadError": found or None}


LOADED = {"__typename": "RepositoryLocation"}
FAILED = {"__typename": "PythonError", "message": "Timed out waiting for gRPC server\n  Stack Trace: ..."}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_it_is_ready_once_all_locations_are_loaded(dagster: Dagster) -> None:
    told: list[str] = []
    ready = Locations(told.append, Clock())
    for answer in (b"half an answ", b"[]", {"data": None}, {"errors": []}, {"data": {"workspaceOrError": {}}}):
        dagster.answer = answer
        assert not ready(HOST, dagster.port)
    dagster.has()
    assert not ready(HOST, dagster.port)
    dagster.has(entry("a", **LOADED), entry("b", "LOADING"))
    assert not ready(HOST, dagster.port)
    dagster.has(entry("a", **LOADED), entry("b", **LOADED))
    assert ready(HOST, dagster.port)
    assert (told, dagster.again) == ([], [])


def test_one_that_could_not_be_loaded_is_told_of_once_and_loaded_again_ever_less_often(dagster: Dagster) -> None:
    told: list[str] = []
    clock = Clock()
    ready = Locations(told.append, clock)
    dagster.has(entry("a", **FAILED), entry("b", **LOADED))
    while clock.now < 600:
        assert not ready(HOST, dagster.port)
    (line,) = told
    assert "a could not be loaded (Timed out waiting for gRPC server)" in line
    assert set(dagster.again) == {"a"}
    assert 3 <= len(dagster.again) <= 6
    dagster.has(entry("a", **LOADED), entry("b", **LOADED))
    assert ready(HOST, dagster.port)


def test_where_nobody_listens_nothing_is_ready() -> None:
    port = free_port()
    assert not listens(HOST, port)
    assert not Locations(lambda _: None)(HOST, port)


def test_a_server_that_is_starved_is_asked_again_later(dagster: Dagster) -> None:
    clock = iter([0.0, 0.1, 0.2, 9.0, 9.1])
    ready = Locations(lambda _: None, lambda: next(clock))
    assert not ready(HOST, dagster.port)
    dagster.has(entry("a", **LOADED))
    assert not ready(HOST, dagster.port)  # 0.2: it was asked a moment ago
    assert ready(HOST, dagster.port)
