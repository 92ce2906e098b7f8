"""The Dask cluster that an installation already has: who is there, whose turn it is, and what its failures mean.

Belongs here: connecting, comparing the workers with this process, trainings taking turns, watching the workers, and
sending work to one of them. Does not belong here: what is trained (`dask_fits`), and undocumented names of Dask
(`dask_internals`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from credit_assets.failures import PermanentError, TransientError, error_text
from credit_assets.ml.learners import Variant
from credit_assets.ml.learners.dask_internals import cancel_all, is_running, lost_each_other

_T = TypeVar("_T")

_LOCK = "credit-assets-training"
# Seconds that a scheduler may take to answer the simplest question, and that are spent on one that may be gone.
_ANSWER, _BRIEFLY = 20.0, 5.0


@dataclass(frozen=True)
class Cluster:
    """An existing cluster: the scheduler's address, as Dask prints it ("tcp://scheduler:8786").

    `connect_seconds`: how long to wait for the scheduler, and then for a first worker. `watch_seconds`: how often to
    look whether the workers are still there. `turn_seconds`: how long to wait for another training to end, and then for
    workers that do something else; trainings on one cluster take turns, since two that wait for each other's workers
    never end. `silent_seconds`: after how long a worker gives up on one that says nothing, and is free again; longer
    than a worker takes to make bins of its rows.
    """

    scheduler: str
    connect_seconds: float = 10.0
    watch_seconds: float = 1.0
    silent_seconds: int = 300
    turn_seconds: float = 4 * 3600.0

    def lost(self, what: str) -> TransientError:
        return TransientError(f"CREDIT_DASK_SCHEDULER {self.scheduler}: {what}")


@dataclass(frozen=True)
class Worker:
    name: str
    address: str
    threads: int


@dataclass(frozen=True)
class Workers:
    """The workers of one training, each with its place in line; see `workers_of`."""

    client: Any
    members: tuple[Worker, ...]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def addresses(self) -> list[str]:
        return [worker.address for worker in self.members]

    def on(self, place: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """A future of `function` on one worker and no other."""
        address = self.members[place].address
        return self.client.submit(function, *arguments, workers=[address], allow_other_workers=False, pure=False)

    def each(self, function: Callable[..., Any], arguments: Callable[[int], tuple[Any, ...]]) -> list[Any]:
        """A future of `function` on each worker, with the arguments for its place."""
        return [self.on(place, function, *arguments(place)) for place in range(len(self))]


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """A client of the cluster. Raises PermanentError without Dask, TransientError where no scheduler answers."""
    try:
        from distributed import Client
    except ImportError as error:
        raise PermanentError(
            "CREDIT_DASK_SCHEDULER is set, but Dask is not installed: pip install 'credit-assets[dask]'"
        ) from error
    try:
        client = Client(cluster.scheduler, timeout=cluster.connect_seconds, set_as_default=True)
    except (OSError, ValueError) as error:
        raise cluster.lost(
            f"no Dask scheduler answers within {cluster.connect_seconds:g} s ({type(error).__name__}: {error}); see "
            "that it runs and that this step can reach the address, or unset it to train in the step itself"
        ) from error
    try:
        yield client
    finally:
        _briefly(client.close)


def workers_of(client: Any, cluster: Cluster) -> Workers:
    """The workers that are there, in an order that does not depend on their ports. TransientError where none come."""
    until = time.monotonic() + cluster.connect_seconds
    while True:
        known = client.scheduler_info(n_workers=-1)["workers"]
        if known:
            workers = [Worker(str(one["name"]), address, int(one["nthreads"])) for address, one in known.items()]
            return Workers(client, tuple(sorted(workers, key=lambda worker: (worker.name, worker.address))))
        if time.monotonic() > until:
            raise cluster.lost("the cluster has no workers; start some, or unset it")
        time.sleep(0.2)


def check_versions(workers: Workers, cluster: Cluster, learner: Variant) -> None:
    """Raises PermanentError where a worker would train another model, or none: other libraries or other code."""
    from credit_assets.ml.data.fingerprints import code_version

    packages = ["credit-assets", learner.distribution, "pyarrow", "numpy", "pandas", "dask", "distributed"]
    versions = workers.client.get_versions(packages=packages)
    ours, differences = versions["client"]["packages"], []
    for worker in workers.members:
        theirs = (versions["workers"].get(worker.address) or {}).get("packages")
        if theirs is None:
            raise TransientError(f"Dask worker {worker.address} was lost before training began")
        for package in packages:
            if theirs.get(package) != ours.get(package):
                there = theirs.get(package) or "not installed"
                differences.append(f"{package} {there} on worker {worker.name}, {ours.get(package)} here")
        # Tasks travel as byte code, which another minor version of Python cannot run.
        if theirs["python"].split(".")[:2] != ours["python"].split(".")[:2]:
            differences.append(f"Python {theirs['python']} on worker {worker.name}, {ours['python']} here")
    if not differences:
        code, here = workers.client.run(code_version), code_version()
        differences = [
            f"other code of credit_assets on worker {worker.name}"
            for worker in workers.members
            if code.get(worker.address) not in (None, here)
        ]
    if differences:
        shown = "; ".join(differences[:6]) + (f"; and {len(differences) - 6} more" if len(differences) > 6 else "")
        raise PermanentError(
            f"CREDIT_DASK_SCHEDULER {cluster.scheduler}: the workers differ from this step ({shown}); run scheduler, "
            "workers and steps from one image"
        )


def watched(workers: Workers, cluster: Cluster, learner: Variant, work: Callable[[], _T]) -> _T:
    """The result of `work`, which runs on these workers in turn with other trainings; they are watched meanwhile.

    Neither library notices in every case that a worker is gone: a task that is bound to a lost worker waits for ever.
    So somebody looks, and gives up for all. Raises TransientError where a worker or the scheduler is lost, ValueError
    where the library refuses the data or parameters, and else whatever `work` raises.
    """
    from distributed import Lock

    client, lock = workers.client, Lock(_LOCK)

    def in_turn() -> _T:
        with _turn(lock, cluster):
            return work()

    task = _Background(in_turn)
    while not task.ended_within(cluster.watch_seconds):
        missing = _missing(workers)
        if missing and not task.ended_within(0):
            # Left held by a client that is gone, it would keep the next attempt waiting.
            if is_running(client):
                _briefly(lock.release)
            # Ends the thread, whatever it waits for, while the client is still there: on its way out XGBoost gives back
            # the locks of the workers, which nobody else can.
            _briefly(lambda: cancel_all(client))
            task.ended_within(_BRIEFLY)
            _briefly(client.close)
            raise cluster.lost(f"{missing} while {learner.name} was trained")
    try:
        return task.result()
    except (PermanentError, TransientError):
        raise
    except Exception as error:
        missing = _missing(workers)
        if missing or lost_each_other(error):
            words = f"{error_text(error)}"
            raise cluster.lost(
                f"{missing or 'the workers lost each other'} while {learner.name} was trained ({words[:300]})"
            ) from error
        if type(error).__name__ in ("XGBoostError", "LightGBMError"):
            raise learner.refused(error) from error
        raise


@contextmanager
def _turn(lock: Any, cluster: Cluster) -> Iterator[None]:
    if not lock.acquire(timeout=cluster.turn_seconds):
        raise cluster.lost(f"another training has had the cluster for {cluster.turn_seconds / 3600:g} hours")
    try:
        yield
    finally:
        lock.release()


def _missing(workers: Workers) -> str:
    """Who is no longer there, in words; empty while all are."""
    if not is_running(workers.client):
        return "the scheduler was lost"
    question = _Background(workers.client.nthreads)
    if not question.ended_within(_ANSWER):
        return f"the scheduler was lost (it gives no answer within {_ANSWER:g} s)"
    try:
        there = set(question.result())
    except Exception as error:
        return f"the scheduler was lost ({type(error).__name__})"
    lost = sorted(set(workers.addresses) - there)
    return f"lost Dask worker {', '.join(lost)}" if lost else ""


def _briefly(act: Callable[[], object]) -> None:
    """Do something with a cluster that may be gone: errors do not count, and after some seconds nor does it."""
    attempt = _Background(act)
    if attempt.ended_within(_BRIEFLY):
        with suppress(Exception):
            attempt.result()


class _Background(Generic[_T]):
    """A call in a thread of its own, which nobody has to wait for. An executor's threads hold up the exit."""

    def __init__(self, act: Callable[[], _T]) -> None:
        self._act = act
        self._value: _T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="dask-training", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._act()
        except BaseException as error:
            self._error = error

    def ended_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> _T:
        """Once it has ended."""
        if self._error is not None:
            raise self._error
        return self._value
