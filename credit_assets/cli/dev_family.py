"""That no process of `credit-assets dev` outlives it, however it ends.

Belongs here: the process that watches it, the note of what it has started, and what is left of one whose watcher was
killed too. Does not belong here: what is started, and how it is ended in order (`dev`).

A process that is killed outright ends nothing. So another one waits for the end of a pipe that only `dev` holds open,
ends the process groups that it was told of, and takes away their folder. Run as a module it is that other one; it
imports next to nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

STOP_SECONDS = 2.0
"""Together less than the three seconds in which people expect their prompt back."""
_DONE = "done"
_NOTES = ".dev.{}.json"


class ProcessGroups:
    """The process groups that `dev` has started, each led by a program."""

    def __init__(self, notes: Path) -> None:
        from credit_assets.processes import own_mark

        self._note = notes / _NOTES.format(own_mark().token)
        self._of = own_mark().to_json()
        self._groups: dict[int, str] = {}
        read, self._pipe = os.pipe()
        try:
            # In a session of its own: Ctrl-C, and the end of the terminal, are not for it.
            self._watcher = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(read)

    def joins(self, name: str, group: int) -> None:
        """From now on this group ends with this process."""
        self._groups[group] = name
        with suppress(BrokenPipeError):
            os.write(self._pipe, f"{group}\n".encode())
        # For the case that the watcher is killed too; a home that cannot be written to is told of elsewhere.
        with suppress(OSError):
            self._note.write_text(json.dumps({"of": self._of, "groups": self._groups}), "utf-8")

    def keeps(self, folder: str) -> None:
        """This folder goes with this process."""
        with suppress(BrokenPipeError):
            os.write(self._pipe, f"{folder}\n".encode())

    def has_ended(self) -> None:
        """All groups are ended: there is nothing left to watch."""
        with suppress(BrokenPipeError):
            os.write(self._pipe, f"{_DONE}\n".encode())
        os.close(self._pipe)
        self._watcher.wait()
        with suppress(OSError):
            self._note.unlink(missing_ok=True)


@contextmanager
def family(notes: Path) -> Iterator[ProcessGroups]:
    """One for the body, which ends all groups that join."""
    made = ProcessGroups(notes)
    try:
        yield made
    finally:
        made.has_ended()


def outlived(notes: Path) -> list[str]:
    """What is left of earlier ones that were killed together with their watchers, a line for each group, which says
    how to end it. Notes of those of which nothing is left are taken away.
    """
    from credit_assets.processes import parse

    found = []
    for note in sorted(notes.glob(_NOTES.format("*"))):
        try:
            record = json.loads(note.read_text("utf-8"))
            mark, groups = parse(record["of"]), {int(one): str(name) for one, name in record["groups"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if mark is None or mark.gone is not True:
            # Of one that lives, or that is not of this machine.
            continue
        members = {group: _members(group) for group in groups}
        left = [
            f"{groups[group]} (processes {', '.join(map(str, pids))}; end them with `kill -KILL -- -{group}`)"
            for group, pids in members.items()
            if pids
        ]
        found += left
        if not left:
            with suppress(OSError):
                note.unlink(missing_ok=True)
    return found


def _members(group: int) -> list[int]:
    import psutil

    def is_member(pid: int) -> bool:
        with suppress(OSError):
            return os.getpgid(pid) == group
        return False

    return [
        process.pid
        for process in psutil.process_iter(["status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and is_member(process.pid)
    ]


def end_groups(groups: Sequence[int], some_live: Callable[[], bool] | None = None) -> None:
    """Ask all of them to stop, and kill within `STOP_SECONDS` what does not. `some_live` is asked by whoever started
    them: a process that has ended counts as one of its group until its parent has asked how.
    """
    live = some_live or (lambda: any(_is_there(group) for group in groups))
    _signal(groups, signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    while live() and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(groups, signal.SIGKILL)


def _signal(groups: Sequence[int], number: int) -> None:
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _watch() -> None:
    """Wait for the end of standard input, and end the groups and take away the folders that it named, unless it says
    that they are.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lines = sys.stdin.read().splitlines()
    if _DONE not in lines:
        end_groups([int(one) for one in lines if one.isdecimal()])
        for folder in lines:
            if os.path.isabs(folder):
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _watch()
