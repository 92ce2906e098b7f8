"""That no step outlives its run, where each has a process of its own.

Belongs here: noticing in a step's process that the one that makes the run has ended. Does not belong here: what is done
about the run then (`credit_assets.instance.lost_runs`).

A run's process that is killed tells its steps nothing. They would train on for an hour, in a run that somebody has
ended meanwhile and begun again. What ends with a process, however it ends, is a pipe that it holds open: Python gives
each child one (`parent_process`), also where another process, the fork server, has made it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

GRACE_SECONDS = 15.0
"""As long as after Ctrl-C: what ends in good order ends its MLflow run too."""
_NAMED_SECONDS = 60.0


def end_with_their_run() -> None:
    """Have each process that is forked from this one, the fork server, end soon after the run's process has."""
    os.register_at_fork(after_in_child=_begin)


def _begin() -> None:
    threading.Thread(target=_wait, name="run", daemon=True).start()


def _wait() -> None:
    deadline = time.monotonic() + _NAMED_SECONDS
    # Known a moment after the fork.
    while (run := multiprocessing.parent_process()) is None:
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
    run.join()
    # As Dagster itself ends a step: it raises in the main thread.
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
