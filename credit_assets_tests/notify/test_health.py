"""Alert URLs are understood and not tried."""

from __future__ import annotations

import socket

import pytest

from credit_assets.notify.health import health


def test_alert_urls_are_parsed_and_nothing_is_sent() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        found = health([f"mailto://127.0.0.1:{port}?from=a@example.org&to=b@example.org,c@example.org"])
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (found.status, found.value) == ("ok", f"understood, not tried: mailto://127.0.0.1:{port}")
