"""Which process something belongs to, whether that one still lives, and how many cores this one may use.

Belongs here: a mark of a process that no other one has, written and read back, and looking whether its process is gone.
Does not belong here: what is done about it: runs (`credit_assets.instance.lost_runs`), files (`credit_assets.aside`).

A number alone does not tell: numbers are given again, to another process of the same machine, of the same machine after
a restart, or of another container. So a mark has host, start of the machine, space of numbers (a container has its own)
and the moment at which the process began, as the kernel counts it: a clock that is set does not change that.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

_LINUX = sys.platform.startswith("linux")
_ENDED = "ZXx"
"""States of /proc in which nothing of a process runs any more: it waits to be asked how it ended."""


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has where it is pinned to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class ProcessMark:
    """One process for ever. `boot` and `space` are empty where the system does not tell."""

    host: str
    boot: str
    space: str
    pid: int
    began: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.partition('/')[0]}"

    def to_json(self) -> str:
        """One line; `parse` restores an equal mark."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def token(self) -> str:
        """The mark as a part of a file's name: where, number, begin. `token_is_gone` reads it."""
        return f"{_place(self)}-{self.pid}-{self.began}"

    @property
    def gone(self) -> bool | None:
        """Whether the process has ended; None where it cannot be seen from here: another host, another container."""
        here = own_mark()
        if self.host != here.host:
            return None
        if self.boot != here.boot:
            # Without a name of its own for each start a machine that was restarted looks like one that was not.
            return True if self.boot and here.boot else None
        return None if self.space != here.space else began(self.pid) != self.began


def parse(text: str) -> ProcessMark | None:
    """The mark that this is, None where it is none."""
    with suppress(ValueError, KeyError, TypeError):
        record = json.loads(text)
        names = ("host", "boot", "space", "began")
        return ProcessMark(pid=int(record["pid"]), **{name: str(record[name]) for name in names})
    return None


def own_mark() -> ProcessMark:
    """The mark of this process."""
    return _mark_of(os.getpid())


@cache
def _mark_of(pid: int) -> ProcessMark:
    # By number: a process that was forked from this one has another.
    return ProcessMark(_host(), _boot(), _space(), pid, began(pid) or "")


def token_is_gone(token: str) -> bool | None:
    """Whether the process of `ProcessMark.token` has ended; None where it cannot be seen from here."""
    place, _, rest = token.partition("-")
    number, _, moment = rest.partition("-")
    if place != _place(own_mark()) or not number.isdecimal():
        return None
    return began(int(number)) != moment


def began(pid: int) -> str | None:
    """When the process of this number began, in the words of the system; None where there is none."""
    if not _LINUX:
        return _began_elsewhere(pid)
    try:
        # After the name, which may hold anything: state, then 18 more fields, then ticks since the machine started.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0].decode() in _ENDED else fields[19].decode()


def _began_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.NoSuchProcess:
        return None


@cache
def _host() -> str:
    """The name of the host; beside it what tells machines of one name apart, where they have that."""
    machine = _read("/etc/machine-id")
    return f"{socket.gethostname()}{'/' + machine[:12] if machine else ''}"


@cache
def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


def _space() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


@cache
def _place(mark: ProcessMark) -> str:
    return sha256(f"{mark.host} {mark.boot} {mark.space}".encode()).hexdigest()[:10]


def _read(file: str) -> str:
    with suppress(OSError):
        return Path(file).read_text("utf-8").strip()
    return ""
