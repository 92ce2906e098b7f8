"""Connections of this process to PostgreSQL: none waits for ever for a server that has stopped answering.

Belongs here: bounds that hold whoever connects, the warehouse, MLflow or Dagster. Does not belong here: what is said of
a server that does not answer (`credit_assets.warehouse`, `credit_assets.tracking`, `credit_assets.instance`).

A server that is suspended, or whose disk hangs, keeps its connections: the system of its machine answers for it, so
that neither keepalives nor a timeout of TCP ends a wait, and a timeout for statements is kept by the server itself. A
thread asks every server to which a connection is open, by the first bytes of the protocol and without a login, whether
there is still anybody. One that answered before and is silent three times has its connections ended on this side, and
whoever waits on them, a driver in C among them, fails with a lost connection. A query that merely takes long is left
alone.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

CONNECT_SECONDS = 10
LOOK_SECONDS = 30.0
SILENT_SECONDS = 10.0
_TIMES = 3
# SSLRequest: the length of the message, and a number that is no version of the protocol. The answer is one letter.
_ANYBODY = bytes.fromhex("00000008 04d2162f")


class _Server(NamedTuple):
    host: str
    port: int

    @property
    def path(self) -> str:
        """Its socket in the file system; empty where it has an address."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else ""


_lock = threading.Lock()
_listening = False
# By server whether it has ever answered; and the process whose thread looks: none crosses a fork.
_servers: dict[_Server, bool] = {}
_looking = 0


def bound_connections() -> None:
    """From now on in this process. To be called before an engine is used; a later call costs nothing."""
    global _listening
    with _lock:
        if _listening:
            return
        from sqlalchemy import Engine, event

        event.listen(Engine, "do_connect", _noted)
        _listening = True


def _noted(dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
    if dialect.name != "postgresql":
        return
    options.setdefault("connect_timeout", CONNECT_SECONDS)
    host, port = str(options.get("host") or ""), str(options.get("port") or 5432)
    # Of several hosts it is not known which one it will be.
    if host and port.isdecimal():
        _watch(_Server(host, int(port)))


def _watch(server: _Server) -> None:
    global _looking
    with _lock:
        _servers.setdefault(server, False)
        if _looking == os.getpid():
            return
        _looking = os.getpid()
    threading.Thread(target=_look, name="databases", daemon=True).start()


def _look() -> None:
    pause = threading.Event()
    while not pause.wait(LOOK_SECONDS):
        for server in list(_servers):
            if not any(True for _ in _connections(server)):
                continue
            silent = not _answers(server)
            if not silent:
                _servers[server] = True
            elif _servers[server] and not any(_answers(server) for _ in range(_TIMES - 1)):
                for connection in _connections(server):
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)


def _answers(server: _Server) -> bool:
    try:
        with _opened(server) as probe:
            probe.sendall(_ANYBODY)
            return probe.recv(1) != b""
    except OSError:
        return False


def _opened(server: _Server) -> socket.socket:
    if not server.path:
        return socket.create_connection(server, SILENT_SECONDS)
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(SILENT_SECONDS)
    probe.connect(server.path)
    return probe


def _connections(server: _Server) -> Iterator[socket.socket]:
    """The connections of this process to a server, whoever holds them; each is lent, and open as long as it is looked
    at.
    """
    wanted: set[Any] = {server.path} if server.path else set()
    if not server.path:
        with suppress(OSError):
            wanted = {found[4][:2] for found in socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)}
    for number in _open_files():
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with _lent(number) as lent:
                peer = lent.getpeername()
                if (peer[:2] if isinstance(peer, tuple) else peer) in wanted:
                    yield lent


def _lent(number: int) -> socket.socket:
    """A copy of a connection. Raises OSError where the number is of something else meanwhile, or of nothing."""
    # As `ml.learners.dask_internals` has it, whose code is part of every model's identity and stays as it is.
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _open_files() -> list[int]:
    with suppress(OSError):
        return [int(name) for name in os.listdir("/dev/fd") if name.isdecimal()]
    return []
