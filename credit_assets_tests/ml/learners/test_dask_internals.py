"""What training on a cluster needs below the public interfaces, without a cluster."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import ExitStack

import pytest

from credit_assets.ml.learners.dask_internals import break_connections


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="connections are found by /proc")
@pytest.mark.parametrize("closed", [True, False])
def test_a_broken_connection_is_an_error_to_its_reader_and_others_stay(closed: bool) -> None:
    with ExitStack() as opened:

        def pair() -> tuple[socket.socket, socket.socket, socket.socket]:
            listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            near = opened.enter_context(socket.create_connection(listener.getsockname()))
            return listener, near, opened.enter_context(listener.accept()[0])

        listener, near, far = pair()
        _, other, stays = pair()
        if closed:
            near.close()
            assert [far.recv(4) for _ in range(3)] == [b""] * 3
        break_connections({listener.getsockname()})
        for _ in range(2):
            with pytest.raises(OSError, match=r"reset|not connected|Broken pipe"):
                far.recv(4)
        other.sendall(b"told")
        assert stays.recv(4) == b"told"
        # A listener is nobody's connection.
        again = opened.enter_context(socket.create_connection(listener.getsockname()))
        assert again.getpeername() == listener.getsockname()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="connections are found by /proc")
def test_a_connection_that_was_reset_is_broken_though_it_has_no_peer_any_more() -> None:
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        near = opened.enter_context(socket.create_connection(listener.getsockname()))
        far, _ = listener.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        with pytest.raises(ConnectionResetError):
            near.recv(4)
        assert [near.recv(4) for _ in range(3)] == [b""] * 3
        new = opened.enter_context(socket.socket())
        break_connections({listener.getsockname()})
        with pytest.raises(OSError, match="not connected"):
            near.recv(4)
        new.connect(listener.getsockname())
