"""A run that is under way in a process of its own, to be killed: its only step holds the one slot of a pool and waits.

Run as a module with the way in which it is started (`command`, or the name of an executor) and a file that says that
the step has begun; DAGSTER_HOME names the instance.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg

from credit_assets.executors import EXECUTORS
from credit_assets.instance.lost_runs import in_this_process
from credit_assets.settings import load_settings

COMMAND, POOL = "command", "one_at_a_time"
_BEGUN = "TEST_STEP_HAS_BEGUN"


@dg.op(pool=POOL)
def waits() -> None:
    Path(os.environ[_BEGUN]).touch()
    time.sleep(3600)


def _job(executor: dg.ExecutorDefinition | None = None) -> dg.JobDefinition:
    @dg.job(name="waiting", executor_def=executor)
    def waiting() -> None:
        waits()

    return waiting


def in_process() -> dg.JobDefinition:
    return _job(EXECUTORS["in_process"](load_settings()))


def multiprocess() -> dg.JobDefinition:
    return _job(EXECUTORS["multiprocess"](load_settings()))


def run_under_way(way: str, home: Path) -> subprocess.Popen[bytes]:
    """The process of such a run, in a session of its own, once its step has begun."""
    begun = home / "begun"
    environment = {**os.environ, _BEGUN: str(begun), "DAGSTER_HOME": str(home / "dagster"), "CREDIT_HOME": str(home)}
    process = subprocess.Popen([sys.executable, "-m", __name__, way], env=environment, start_new_session=True)
    while not begun.exists():
        assert process.poll() is None, "the run ended before its step began"
        time.sleep(0.1)
    begun.unlink()
    return process


def _main(way: str) -> None:
    with dg.DagsterInstance.get() as instance:
        if way == COMMAND:
            _job().execute_in_process(instance=instance, **in_this_process())
        else:
            job = dg.reconstructable(in_process if way == "in_process" else multiprocess)
            dg.execute_job(job, instance=instance)


if __name__ == "__main__":
    _main(sys.argv[1])
