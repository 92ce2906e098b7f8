"""What a whole process costs, with all its descendants, and how two of them are compared.

Belongs here: starting, timing, counting. Does not belong here: what is measured, nor how results are shown.

A process is started by a small launcher of its own, for two reasons. The launcher adopts what the process leaves
behind (Linux), so that fork servers and their steps, which nobody waits for, are counted too. And Linux counts the
memory of whoever starts a process as the peak of that process, so it must be started by somebody small.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_TAIL = 4000  # characters of a failed process's output that are shown
_GRACE = 30  # seconds that what a process leaves behind may take to end

# argv: file for the result, grace, then the command. Imports as little as it can.
_LAUNCHER = """
import json, os, resource, signal, sys, time
try:
    import ctypes
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
except (ImportError, OSError, AttributeError):
    pass
begun = time.perf_counter()
main = os.posix_spawnp(sys.argv[3], sys.argv[3:], os.environ)
code, wall, left = None, 0.0, None
signal.signal(signal.SIGALRM, lambda *_: os._exit(98))
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    if pid == main:
        wall, code = time.perf_counter() - begun, os.waitstatus_to_exitcode(status)
        signal.alarm(int(sys.argv[2]))
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
with open(sys.argv[1], "w") as file:
    json.dump({"code": code, "wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": peak}, file)
"""


@dataclass(frozen=True)
class Cost:
    """`wall`: seconds until the process ended. `cpu`: seconds of it and all its descendants. `peak`: bytes of resident
    memory, of the largest of these processes."""

    wall: float
    cpu: float
    peak: int


class ProcessError(RuntimeError):
    """A measured process ended with an error; the message has the end of its output."""


def run(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout: float = 3600,
    output: str | Path | None = None,
) -> Cost:
    """Run a command to its end and say what it cost.

    `env`: the whole environment, by default this process's. `output`: a file that keeps stdout and stderr.
    Raises ProcessError where it ends with another code than 0, takes longer than `timeout` seconds, or leaves
    processes behind that do not end.
    """
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "result.json", Path(output) if output else Path(folder) / "output"
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(result), str(_GRACE), *map(str, argv)]
        with log.open("wb") as sink:
            launcher = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
            try:
                launcher.wait(timeout)
                ended = f"left processes behind that did not end within {_GRACE} seconds"
            except subprocess.TimeoutExpired:
                ended = f"took longer than {timeout:g} seconds"
            except BaseException:
                _kill(launcher)
                raise
            if launcher.returncode != 0:
                _kill(launcher)
        if result.is_file():
            found = json.loads(result.read_text("utf-8"))
            if found["code"] == 0:
                return Cost(found["wall"], found["cpu"], found["peak"])
            ended = f"ended with code {found['code']}"
        elif launcher.returncode not in (0, 98, None) and launcher.returncode > 0:
            ended = "could not be started"
        tail = log.read_text("utf-8", errors="replace")[-_TAIL:].strip()
        raise ProcessError(f"{' '.join(map(str, argv))[:300]} {ended}; its output ends with:\n{tail}")


def _kill(launcher: subprocess.Popen[bytes]) -> None:
    # Its own session holds the launcher and whatever it started.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(launcher.pid, signal.SIGKILL)
    launcher.wait()


def paired(ours: Callable[[], Cost], peer: Callable[[], Cost], repeats: int) -> tuple[list[Cost], list[Cost]]:
    """Both sides `repeats` times. They take turns, and who begins changes, so that what else the machine does hits
    both alike; the n-th of both belong together."""
    sides: tuple[list[Cost], list[Cost]] = ([], [])
    for number in range(repeats):
        turns = ((ours, sides[0]), (peer, sides[1]))
        for side, costs in turns if number % 2 == 0 else reversed(turns):
            costs.append(side())
    return sides


def medians(costs: Sequence[Cost]) -> Cost:
    """The median of each figure on its own."""
    return Cost(
        median(cost.wall for cost in costs), median(cost.cpu for cost in costs), int(median(c.peak for c in costs))
    )


def child_environment(**changes: str | None) -> dict[str, str]:
    """This process's environment without settings of this project, so that a measured process has those it is given.

    Byte code may be written, as it may everywhere but in a container that forbids it. None takes a variable out.
    """
    foreign = ("MLFLOW_TRACKING_URI", "PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("CREDIT_", "DAGSTER_")) and n not in foreign}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    return {name: value for name, value in {**kept, **quiet, **changes}.items() if value is not None}
