"""Stands in for Services on a cluster that has none: one address on which the ports of all services lead to their pods.

Belongs here: forwarding of connections. Pods find the address by `hostAliases` (`e2e.chart`). For clusters without DNS
and kube-proxy, such as one of bare programs; others never come here.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable

_BLOCK = 1 << 16


class Forwarder:
    """Listens on `address` for each port and carries each connection to whatever its target names then."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._listening: dict[int, socket.socket] = {}

    def listen(self, port: int, target: Callable[[], tuple[str, int] | None]) -> int:
        """Listen on one more port, or any free one for 0, and return it; one that is there already stays as it is."""
        if port not in self._listening:
            server = socket.create_server((self._address, port))
            port = server.getsockname()[1]
            self._listening[port] = server
            threading.Thread(target=self._serve, args=(server, target), daemon=True).start()
        return port

    def close(self) -> None:
        for server in self._listening.values():
            # Closing alone does not wake a thread that waits in accept.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()

    def _serve(self, server: socket.socket, target: Callable[[], tuple[str, int] | None]) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client, target), daemon=True).start()

    def _carry(self, client: socket.socket, target: Callable[[], tuple[str, int] | None]) -> None:
        with client:
            where = target()
            if where is None:
                return
            try:
                server = socket.create_connection(where, timeout=10)
            except OSError:
                return
            with server:
                server.settimeout(None)
                with contextlib.suppress(OSError):
                    _both_ways(client, server)


def _both_ways(one: socket.socket, other: socket.socket) -> None:
    """Until both sides have said all: one that has finished sending may still have to hear."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(one, selectors.EVENT_READ, other)
        waiting.register(other, selectors.EVENT_READ, one)
        while waiting.get_map():
            for key, _ in waiting.select():
                source: socket.socket = key.fileobj  # type: ignore[assignment]
                if data := source.recv(_BLOCK):
                    key.data.sendall(data)
                    continue
                waiting.unregister(source)
                with contextlib.suppress(OSError):
                    key.data.shutdown(socket.SHUT_WR)
