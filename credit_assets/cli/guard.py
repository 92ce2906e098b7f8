"""Who may ask the servers of `credit-assets dev`: programs of this machine, and the pages that those servers serve.

Belongs here: the rules, as ASGI middleware around the application of a server. Does not belong here: how the servers
are started with it (`servers_internals`), and logins, which a proxy in front of a deployment asks for.

A server that listens on this machine alone is reached by every web page that its user opens: the page's own name may
lead to 127.0.0.1 by the second look-up (DNS rebinding), forms and pictures of any page are sent with no question asked,
and no browser keeps a page from opening a websocket elsewhere. So the name that was asked for is looked at, and the
page that asks. Programs send no page's name: they are of this machine, and may do what its user may.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from credit_assets.places import HOST

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ASKS_ONLY = {"GET", "HEAD", "OPTIONS"}
_SHOWN = 80
_FRAMES = b"SAMEORIGIN"


@dataclass(frozen=True)
class HostNames:
    """The names under which a server may be asked: of this machine's loopback, the address that it was told to listen
    on (any address where that is all of them), and those that its user gave, `name` or `name:port`.
    """

    listens: str = "127.0.0.1"
    given: Collection[str] = ()

    def answers_to(self, host: str) -> bool:
        """Whether it may be asked under this Host header. The port of a loopback name may be a forwarded one."""
        read = HOST.fullmatch(host)
        if read is None:
            return False
        name = read["name"].strip("[]").lower()
        if name == "localhost" or name == self.listens.strip("[]").lower() or self.names(host):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address cannot be made to lead elsewhere; which of them this machine has, only the machine knows.
        return address.is_loopback or everywhere(self.listens)

    def names(self, host: str) -> bool:
        """Whether the user gave this name, for this port or for all."""
        read = HOST.fullmatch(host)
        given = {one.lower() for one in self.given}
        return read is not None and bool({read["name"].lower(), f"{read['name']}:{read['port']}".lower()} & given)


def everywhere(address: str) -> bool:
    """Whether a server that listens on this address listens on all of the machine's."""
    try:
        return ipaddress.ip_address(address.strip("[]")).is_unspecified
    except ValueError:
        return False


class Guard:
    """ASGI middleware that refuses whoever is not let in, with one line, before the application hears of it."""

    def __init__(self, app: ASGIApp, names: HostNames) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif why := refusal(scope, self._names):
            from starlette.responses import PlainTextResponse

            logging.getLogger(__name__).warning("refused: %s", why)
            await PlainTextResponse(f"credit-assets dev: {why}\n", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, _unframed(send))


def refusal(scope: Scope, names: HostNames) -> str:
    """Why a request, or the opening of a websocket, is not let through; empty where it is."""
    hosts = _headers(scope, b"host")
    if len(hosts) != 1 or not names.answers_to(hosts[0]):
        named = f"the name {_shown(hosts[0])}" if len(hosts) == 1 else f"{len(hosts)} names (Host headers)"
        return f"asked under {named}, which is not of this machine; where you forward a port, CREDIT_DEV_HOSTS names it"
    if why := _foreign_page(scope, hosts[0], names):
        return f"{why}; pages of other sites may not drive this server; a page of yours is named in CREDIT_DEV_HOSTS"
    if _executes_by_get(scope):
        return "GraphQL is asked by POST here: what is asked by GET can be asked by any picture or link"
    return ""


def _foreign_page(scope: Scope, host: str, names: HostNames) -> str:
    """What says that the page of another site asks; empty where nothing does."""
    reads = scope["type"] == "http" and scope["method"] in _ASKS_ONLY
    asking = _headers(scope, b"origin")
    if not asking and not reads:
        # Left out by some privacy settings, while the page is named still.
        asking = _headers(scope, b"referer")[:1]
    for origin in asking:
        if not _same(origin, host, names):
            return f"asked by the page of another site ({_shown(origin)})"
    # What browsers say themselves, on requests without an origin too. A link that is followed is let through.
    follows = reads and _headers(scope, b"sec-fetch-mode") == ["navigate"]
    follows = follows and _headers(scope, b"sec-fetch-dest") in (["document"], [])
    if not follows and set(_headers(scope, b"sec-fetch-site")) - {"same-origin", "none"} and not asking:
        return "asked from within the page of another site"
    return ""


def _same(origin: str, host: str, names: HostNames) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    # Browsers leave out the port of a scheme in both.
    return parts.netloc.lower() == host.lower() or names.names(parts.netloc)


def _executes_by_get(scope: Scope) -> bool:
    """Dagster executes what the query string of /graphql says; a browser that wants a page gets its console."""
    if scope["type"] != "http" or scope["method"] == "POST" or not scope["path"].rstrip("/").endswith("/graphql"):
        return False
    # As Dagster looks at it: the first such header, in small letters.
    return scope["method"] != "OPTIONS" and "text/html" not in "".join(_headers(scope, b"accept")[:1])


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key.lower() == name]


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _unframed(send: Send) -> Send:
    """No page of another site has these pages in a frame, where clicks meant for it would land."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: Sequence[tuple[bytes, bytes]] = message.get("headers", ())
            if not any(name.lower() == b"x-frame-options" for name, _ in headers):
                message = {**message, "headers": [*headers, (b"x-frame-options", _FRAMES)]}
        await send(message)

    return sent
