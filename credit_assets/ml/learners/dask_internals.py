"""What training on a cluster needs of Dask, xgboost.dask and lightgbm.dask that their public interfaces lack.

Belongs here: every undocumented name of these libraries, and the reading of their errors' words, each with what public
interface lacks it. Does not belong here: anything that their documentation promises. distributed, xgboost and lightgbm
have upper bounds in pyproject.toml because of this module.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

from credit_assets.failures import is_transient

# Seconds after which workers without work, whose locks are held, count as left behind.
_LEFT = 3.0
# Seconds between two looks whether a training is still wanted.
_LOOK = 1.0
# A state of TCP in Linux: neither open nor opening.
_TCP_CLOSE = 7
_LOST = ("KilledWorker", "CancelledError", "FutureCancelledError")
_LEARNERS = ("XGBoostError", "LightGBMError", "ValueError", "RuntimeError")
_NETWORK = (
    "socket", "connection", "rabit", "collective", "tracker", "invalid worker address", "missing required workers",
    "network", "broken pipe",
)  # fmt: skip


def is_running(client: Any) -> bool:
    """Whether the client still has its scheduler.

    `Client.status` is in no reference. A call that fails would tell as well, but only after its time-out.
    """
    return bool(client.status == "running")


def cancel_all(client: Any) -> None:
    """Cancel all that this client waits for, so that whoever waits in another thread ends.

    `Client.cancel` takes futures, and those that the learners made are theirs; `Client.futures`, by which they are
    found, is in no reference. `Client.close` would do it too, but XGBoost gives back the workers' locks by the client.
    """
    from distributed import Future

    client.cancel([Future(key, client=client) for key in list(client.futures)], force=True)


def still_wanted() -> bool:
    """On a worker, in a task: whether anybody waits for it; not after the client has gone, or given up.

    Dask leaves a task that was cancelled running (dask/distributed issue 2617) and has no call by which a task could
    ask: the worker's own state knows. Asking the scheduler by an Event or a Variable would cost a message a round, and
    a client that was killed sets neither.
    """
    from distributed import get_worker
    from distributed.worker import thread_state

    return _is_wanted(get_worker(), thread_state.key)


def _is_wanted(worker: Any, key: str) -> bool:
    task = worker.state.tasks.get(key)
    return task is not None and task.state not in ("cancelled", "resumed")


def free_left_locks(client: Any, addresses: Sequence[str]) -> None:
    """Give back the workers' locks that a training left behind whose process was killed.

    XGBoost takes them as a MultiLock and waits for them for ever. Unlike a Lock's, its holder cannot be released from
    outside: only the scheduler's own extension has the names. A lock counts as left when its workers have nothing to
    do, and still have not after some seconds.
    """
    left = client.run_on_scheduler(_idle_locks, list(addresses))
    if left:
        time.sleep(_LEFT)
        left = sorted(set(left) & set(client.run_on_scheduler(_idle_locks, list(addresses))))
        client.run_on_scheduler(_give_back, left)


def _idle_locks(addresses: list[str], dask_scheduler: Any) -> list[str]:
    locks = dask_scheduler.extensions["multi_locks"]
    return sorted(
        holder
        for holder in {users[0] for name, users in locks.locks.items() if name in addresses and users}
        if not any(
            dask_scheduler.workers[name].processing for name in locks.requests[holder] if name in dask_scheduler.workers
        )
    )


def _give_back(holders: list[str], dask_scheduler: Any) -> None:
    for holder in holders:
        dask_scheduler.extensions["multi_locks"].release(id=holder)


class LightGBMClient:
    """The Dask client with the repairs that `lightgbm.dask` needs, by the calls that it makes.

    It ranks machines as `who_has` names them, which is by chance, and the rank decides which machine finds the bins of
    which features: the same training would give another model each time; no parameter sets the rank. And where training
    fails on a worker, the library keeps its connections in that thread, and every later training there meets a broken
    pipe (LightGBM frees the network only after a training that succeeded, pull request 5510). And where one machine
    left, the others' threads never end: see `_cut_when_unwanted`.
    """

    def __init__(self, client: Any, addresses: Sequence[str]) -> None:
        self._client = client
        self._place = {address: place for place, address in enumerate(addresses)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def submit(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        if getattr(function, "__name__", "") == "_train_part":
            return self._client.submit(_with_fresh_network, function, *arguments, **more)
        return self._client.submit(function, *arguments, **more)

    def who_has(self, futures: Any) -> dict[Any, Any]:
        holders = self._client.who_has(futures)
        return dict(sorted(holders.items(), key=lambda held: min(self._place.get(one, 1 << 30) for one in held[1])))


def _with_fresh_network(train: Callable[..., Any], **arguments: Any) -> Any:
    import lightgbm as lgb

    def free() -> None:
        # A method of a model, though what it frees belongs to the thread; a failed training has no model.
        lgb.Booster.free_network(SimpleNamespace())

    free()
    with _cut_when_unwanted(arguments["machines"]):
        try:
            return train(**arguments)
        finally:
            free()


@contextmanager
def _cut_when_unwanted(machines: str) -> Iterator[None]:
    """While a training runs on this worker: breaks its connections once nobody waits for it any more.

    LightGBM takes a connection that the other side closed for a message of no bytes and reads again, for ever and at
    full load: `time_out` counts only while nothing comes. So one machine that left, or was killed, kept the threads of
    all others, and no later task on them began. No call ends a training from outside; an error of its socket does.
    """
    from distributed import get_worker
    from distributed.worker import thread_state

    worker, key, ended = get_worker(), thread_state.key, threading.Event()
    apart = [machine.rpartition(":") for machine in machines.split(",")]
    places = {(socket.gethostbyname(host), int(port)) for host, _, port in apart}

    def watch() -> None:
        while not ended.wait(_LOOK):
            if not _is_wanted(worker, key):
                break_connections(places)

    watching = threading.Thread(target=watch, name="unwanted-training", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


def break_connections(places: set[tuple[str, int]]) -> None:
    """Break this process' connections from or to these places, so that whoever reads there gets an error.

    What is closed elsewhere meanwhile is another file by the same number: each is looked at, and broken, by a copy.
    """
    if not sys.platform.startswith("linux"):
        return
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError), _copied_socket(int(number)) as connection:
            # Without the one that listens LightGBM would end the whole process.
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) or not _touches(connection, places):
                continue
            # Wakes a thread that waits there, and then dissolves the connection (connect(2) with AF_UNSPEC).
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            ctypes.CDLL(None).connect(connection.fileno(), bytes(16), 16)


def _touches(connection: socket.socket, places: set[tuple[str, int]]) -> bool:
    """Whether a connection is from or to one of these places, or may have been: one that the other side has reset has
    no peer any more, and whoever reads it is told of its end again and again. Nobody else misses what is reset.
    """
    own = connection.getsockname()
    try:
        return not places.isdisjoint((own, connection.getpeername()))
    except OSError:
        # The state of TCP is the first byte. A new socket has no port, and one that connects another state.
        return bool(own[1]) and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE


def _copied_socket(number: int) -> socket.socket:
    """Raises OSError where the number is of something else, or of nothing any more."""
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        raise OSError("no socket")
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def lost_each_other(error: BaseException) -> bool:
    """Whether an error of Dask or of a learner means that machines lost one another.

    Both learners raise one class for everything, and their network layers have no codes: their words decide.
    """
    if is_transient(error) or type(error).__name__ in _LOST:
        return True
    words = str(error).lower()
    return type(error).__name__ in _LEARNERS and any(word in words for word in _NETWORK)
