"""What training on a cluster needs of Dask, xgboost.dask and lightgbm.dask that their public interfaces lack.

Belongs here: every undocumented name of these libraries, and the reading of their errors' words, each with what public
interface lacks it. Does not belong here: anything that their documentation promises. distributed, xgboost and lightgbm
have upper bounds in pyproject.toml because of this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from credit_assets.failures import is_transient

# Seconds after which workers without work, whose locks are held, count as left behind.
_LEFT = 3.0
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

    task = get_worker().state.tasks.get(thread_state.key)
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
    """The Dask client with two repairs that `lightgbm.dask` needs, by the calls that it makes.

    It ranks machines as `who_has` names them, which is by chance, and the rank decides which machine finds the bins of
    which features: the same training would give another model each time; no parameter sets the rank. And where training
    fails on a worker, the library keeps its connections in that thread, and every later training there meets a broken
    pipe (LightGBM frees the network only after a training that succeeded, pull request 5510).
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
    try:
        return train(**arguments)
    finally:
        free()


def lost_each_other(error: BaseException) -> bool:
    """Whether an error of Dask or of a learner means that machines lost one another.

    Both learners raise one class for everything, and their network layers have no codes: their words decide.
    """
    if is_transient(error) or type(error).__name__ in _LOST:
        return True
    words = str(error).lower()
    return type(error).__name__ in _LEARNERS and any(word in words for word in _NETWORK)
