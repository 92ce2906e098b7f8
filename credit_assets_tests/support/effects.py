"""Killing a piece of work before each of its durable effects, which are found where the system is asked for them.

An effect is a name given to a file (link, rename), a file written in place, or a committed change of an SQLite
database, be it MLflow's or Dagster's. They are counted by an audit hook of the interpreter and by SQLAlchemy's events,
not by a list of functions: an effect that is added later is met by itself. What is there after one effect is what is
there before the next, so killing before each of them, and after the last, leaves every state that a kill can leave.

`Killed` ends the work in this process as SIGKILL does in another, as far as anything durable can tell: it is no
`Exception`, and whatever runs after it has no effect any more. With `by_signal` it is SIGKILL itself.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

_CHANGES = ("INSERT", "UPDATE", "DELETE", "REPLACE")
_WRITTEN = "written since its last commit"


class Killed(BaseException):
    """The process ended here."""


class Effects:
    """The effects of what runs while it is the one that counts."""

    def __init__(self, kill_before: int | None = None, *, by_signal: bool = False) -> None:
        self.seen: list[str] = []
        self.kill_before, self.by_signal = kill_before, by_signal
        self.killed_before: str | None = None

    def met(self, what: str) -> None:
        if self.killed_before or len(self.seen) == self.kill_before:
            if self.by_signal:
                os.kill(os.getpid(), signal.SIGKILL)
            self.killed_before = self.killed_before or what
            raise Killed(what)
        self.seen.append(what)


_counting: Effects | None = None


@contextmanager
def counted(effects: Effects) -> Iterator[Effects]:
    """Count effects; a kill ends what is inside."""
    global _counting
    _listen()
    _counting = effects
    try:
        yield effects
    except Killed:
        assert effects.killed_before
    finally:
        _counting = None


_listening = False


def _listen() -> None:
    global _listening
    if not _listening:
        _listening = True
        sys.addaudithook(_asked)
        event.listen(Engine, "before_cursor_execute", _executed)
        event.listen(Engine, "commit", _committed)


def _asked(name: str, arguments: tuple[Any, ...]) -> None:
    if _counting is None:
        return
    if name in ("os.link", "os.rename"):
        _counting.met(f"{name} {_short(arguments[1])}")
    elif name == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        # What is written aside is named by a link or a rename; locks and bytecode say nothing.
        aside = os.path.basename(arguments[0]).startswith(".") or arguments[0].endswith((".lock", ".pyc", "/null"))
        if not aside and "__pycache__" not in arguments[0]:
            _counting.met(f"open {_short(arguments[0])}")


def _short(path: Any) -> str:
    return "/".join(str(path).split("/")[-5:])


def _executed(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    if statement.lstrip().upper().startswith(_CHANGES):
        connection.info.setdefault(_WRITTEN, []).append(" ".join(statement.split()[:3]))


def _committed(connection: Connection) -> None:
    written = connection.info.pop(_WRITTEN, None)
    if _counting is not None and written:
        _counting.met(f"commit {written[-1]}")
