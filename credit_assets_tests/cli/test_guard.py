"""Whom the servers of `credit-assets dev` let in, asked over real sockets: forged names, pages of other sites, forms,
pictures, frames and websockets are refused with one line; the server's own pages and programs are not.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from credit_assets.cli.guard import Guard, HostNames
from credit_assets.cli.servers_internals import _replace, _started, first_page, guarded
from credit_assets.settings import SettingsError, load_settings


class Server:
    """An application that counts who reached it, behind the guard."""

    def __init__(self) -> None:
        self.port, self.reached = 0, 0

    async def page(self, request: Request) -> PlainTextResponse:
        self.reached += 1
        return PlainTextResponse("let in")

    async def subscription(self, websocket: WebSocket) -> None:
        self.reached += 1
        await websocket.accept()
        await websocket.send_text("let in")
        await websocket.close()

    @property
    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "DELETE"]
        return Starlette(
            routes=[
                WebSocketRoute("/graphql", self.subscription),
                Route("/{path:path}", self.page, methods=methods),
            ]
        )

    def ask(self, request: str) -> tuple[int, str]:
        """Send these lines as they are; PORT is the server's. Returns status and text."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            lines = request.replace("PORT", str(self.port)).strip().splitlines()
            connection.sendall("\r\n".join([*map(str.strip, lines), "Connection: close", "", ""]).encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.read().decode()


@contextmanager
def serving(names: HostNames, within: Callable[[ASGIApp], ASGIApp] = lambda app: app) -> Iterator[Server]:
    made = Server()
    server = uvicorn.Server(uvicorn.Config(Guard(within(made.app), names), port=0, log_level="error", lifespan="off"))
    listens = socket.socket()
    listens.bind(("127.0.0.1", 0))
    listens.listen()
    made.port = listens.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listens]})
    thread.start()
    try:
        yield made
    finally:
        server.should_exit = True
        thread.join()
        listens.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(HostNames(given=("ui-3000.codespace.example", "box:3000"))) as made:
        yield made


POST = "POST /graphql HTTP/1.1\nContent-Length: 0\n"
PAGE = "GET /runs HTTP/1.1\n"
HERE = "Host: 127.0.0.1:PORT\n"
LET_IN = {
    "by its address": PAGE + HERE,
    "by localhost": PAGE + "Host: localhost:PORT",
    "in capitals, with the dot of a whole name": PAGE + "Host: LOCALHOST.:PORT",
    "by another address of the loopback": PAGE + "Host: 127.3.2.1:PORT",
    "by IPv6": PAGE + "Host: [::1]:PORT",
    "by a forwarded port": POST + "Host: localhost:8080\nOrigin: http://localhost:8080",
    "by a name that was given": POST + "Host: ui-3000.codespace.example\nOrigin: https://ui-3000.codespace.example",
    "from a page of a name that was given, by a proxy that keeps our name": (
        POST + HERE + "Origin: https://ui-3000.codespace.example"
    ),
    "by a name given for this port": PAGE + "Host: box:3000",
    "its own page": POST + HERE + "Origin: http://127.0.0.1:PORT\nSec-Fetch-Site: same-origin",
    "a program": POST + HERE,
    "an address that was typed": PAGE + HERE + "Sec-Fetch-Site: none\nSec-Fetch-Mode: navigate",
    "a link that was followed": PAGE
    + HERE
    + "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document",
    "a link from an old browser": PAGE + HERE + "Referer: https://mail.example/",
    "the console of GraphQL": "GET /graphql HTTP/1.1\nAccept: text/html,*/*\n" + HERE,
}
REFUSED = {
    "a rebound name": PAGE + "Host: evil.example:PORT",
    "one that looks like an address": PAGE + "Host: 127.0.0.1.evil.example",
    "one that begins like an address of a local network": PAGE + "Host: 10.evil.example",
    "one that begins like ours": PAGE + "Host: localhost.evil.example",
    "one that ends like ours": PAGE + "Host: evil-localhost",
    "an address of elsewhere": PAGE + "Host: 192.168.1.7:PORT",
    "all addresses": PAGE + "Host: 0.0.0.0:PORT",
    "an address written as a number": PAGE + "Host: 2130706433:PORT",
    "a user before the name": PAGE + "Host: localhost@evil.example",
    "two names": PAGE + HERE + "Host: evil.example",
    "no name": "GET /runs HTTP/1.0\n",
    "an empty name": PAGE + "Host:",
    "a given name for another port": PAGE + "Host: box:3001",
    "below a given name": PAGE + "Host: evil.ui-3000.codespace.example",
    "a post of another site": POST + HERE + "Origin: http://evil.example",
    "one that begins like ours, as a page": POST + HERE + "Origin: http://127.0.0.1:PORT.evil.example",
    "another scheme": POST + HERE + "Origin: chrome-extension://127.0.0.1:PORT",
    "another port of this machine": POST + HERE + "Origin: http://127.0.0.1:1",
    "another name of this machine": POST + HERE + "Origin: http://localhost:PORT",
    "a page without an origin (of a file, or in a sandbox)": POST + HERE + "Origin: null",
    "an empty origin": POST + HERE + "Origin:",
    "two origins": POST + HERE + "Origin: http://127.0.0.1:PORT\nOrigin: http://evil.example",
    "a form": POST + HERE + "Origin: http://evil.example\nContent-Type: application/x-www-form-urlencoded",
    "a form that hides its origin": POST + HERE + "Referer: http://evil.example/page",
    "a form that hides both": POST
    + HERE
    + "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document",
    "a put": "PUT /x HTTP/1.1\nContent-Length: 0\n" + HERE + "Origin: http://evil.example",
    "a delete": "DELETE /x HTTP/1.1\n" + HERE + "Origin: http://evil.example",
    "a question before the request": "OPTIONS /graphql HTTP/1.1\n" + HERE + "Origin: http://evil.example",
    "reading by a page of another site": PAGE + HERE + "Origin: http://evil.example",
    "a picture": PAGE + HERE + "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors\nSec-Fetch-Dest: image",
    "a picture of another server of this machine": PAGE + HERE + "Sec-Fetch-Site: same-site\nSec-Fetch-Mode: no-cors",
    "a frame": PAGE + HERE + "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe",
    "GraphQL by GET": "GET /graphql?query=mutation%7Bx%7D HTTP/1.1\nAccept: */*\n" + HERE,
    "GraphQL by a link": (
        "GET /graphql?query=x HTTP/1.1\nAccept: */*\nSec-Fetch-Mode: navigate\nSec-Fetch-Site: cross-site\n" + HERE
    ),
    "GraphQL by GET under a prefix": "GET /prefix/graphql/?query=x HTTP/1.1\n" + HERE,
    "GraphQL by GET with a second header": "GET /graphql?query=x HTTP/1.1\nAccept: */*\nAccept: text/html\n" + HERE,
}


@pytest.mark.parametrize("who", LET_IN)
def test_its_own_pages_and_programs_are_let_in(server: Server, who: str) -> None:
    assert server.ask(LET_IN[who]) == (200, "let in")


@pytest.mark.parametrize("who", REFUSED)
def test_pages_of_others_are_refused_with_one_line(server: Server, who: str, caplog: pytest.LogCaptureFixture) -> None:
    before = server.reached
    status, said = server.ask(REFUSED[who])
    assert (status, server.reached) == (403, before)
    (line,) = said.splitlines()
    assert line.startswith("credit-assets dev: ")
    assert len(line) < 250
    assert "CREDIT_DEV_HOSTS" in line or "by POST" in line
    assert caplog.messages == [f"refused: {line.removeprefix('credit-assets dev: ')}"]


@pytest.mark.parametrize(
    ("origin", "host", "let_in"),
    [
        (None, None, True),
        ("http://127.0.0.1:PORT", None, True),
        ("https://ui-3000.codespace.example", None, True),
        ("http://evil.example", None, False),
        ("null", None, False),
        ("http://127.0.0.1:1", None, False),
        ("http://evil.example", "evil.example", False),
    ],
)
def test_a_websocket_is_opened_for_its_own_pages_alone(
    server: Server, origin: str | None, host: str | None, let_in: bool
) -> None:
    before = server.reached
    headers: dict[str, Any] = {"additional_headers": {"Host": host}} if host else {}
    named = origin and origin.replace("PORT", str(server.port))
    try:
        with connect(f"ws://127.0.0.1:{server.port}/graphql", origin=named, proxy=None, **headers) as opened:  # type: ignore[arg-type]
            said = opened.recv()
    except InvalidStatus as refused:
        said = f"{refused.response.status_code} {bytes(refused.response.body or b'').decode()}"
    assert said == "let in" if let_in else said.startswith("403 credit-assets dev: ")
    assert server.reached - before == let_in


def test_no_other_site_has_its_pages_in_a_frame(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/")
    assert connection.getresponse().headers["X-Frame-Options"] == "SAMEORIGIN"
    connection.close()


@pytest.mark.parametrize(
    ("listens", "host", "answers"),
    [
        ("0.0.0.0", "10.1.2.3:3000", True),
        ("0.0.0.0", "0.0.0.0:3000", True),
        ("::", "[fd00::7]:3000", True),
        ("0.0.0.0", "evil.example", False),
        ("192.168.1.7", "192.168.1.7:3000", True),
        ("192.168.1.7", "192.168.1.8:3000", False),
        ("box.lender.example", "box.lender.example:3000", True),
        ("box.lender.example", "other.lender.example:3000", False),
        ("127.0.0.1", "[::ffff:10.1.2.3]", False),
        ("127.0.0.1", "[not an address]", False),
        ("127.0.0.1", "[:::]", False),
    ],
)
def test_addresses_are_those_that_it_listens_on(listens: str, host: str, answers: bool) -> None:
    assert HostNames(listens).answers_to(host) == answers


def test_names_come_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_DEV_HOSTS", "dev.lender.example:3000, [fd00::7]")
    assert load_settings().dev_hosts == ("dev.lender.example:3000", "[fd00::7]")
    for bad in ("https://dev.lender.example", "*", "*.lender.example", "a/b", "a b", "user@host"):
        monkeypatch.setenv("CREDIT_DEV_HOSTS", bad)
        with pytest.raises(SettingsError, match=r"CREDIT_DEV_HOSTS: .* is no name of a host"):
            load_settings()
    monkeypatch.setenv("GUARD_NAMES", "dev.lender.example")
    assert guarded(Starlette())._names == HostNames("127.0.0.1", ("dev.lender.example",))


def test_what_nothing_is_known_of_is_not_started() -> None:
    started = ["-m", "dagster_webserver", "--port", "1"]
    assert _started(lambda command: command, started)[1:3] == [
        "credit_assets.cli.servers_internals",
        "dagster_webserver",
    ]
    assert _started(lambda command: command, ["-m", "dagster._daemon", "run"]) == ["-m", "dagster._daemon", "run"]
    with pytest.raises(RuntimeError, match="new_webserver"):
        _started(lambda command: command, ["-m", "new_webserver"])
    with pytest.raises(RuntimeError, match="has no gone"):
        _replace(http, "gone", lambda one: one)


@pytest.mark.parametrize(("path", "leads"), [("/", "/asset-groups"), ("/runs", None)])
def test_the_address_alone_opens_the_lineage(path: str, leads: str | None) -> None:
    with serving(HostNames(), first_page) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", path)
        answer = connection.getresponse()
        connection.close()
    assert (answer.status, answer.headers.get("location")) == (307 if leads else 200, leads)
