"""Ctrl-C, SIGTERM and a terminal that closes: a command ends soon, with one line and the usual exit code.

Belongs here: hearing signals whoever has installed a handler. Does not belong here: who stops work in progress
(`credit_assets.stopping` is asked for that), and what is printed of other failures (`edge`).

Dagster and other libraries put handlers of their own in place of ours, and some of theirs only note the signal or drop
it. Python writes each signal into a pipe first (`signal.set_wakeup_fd`), whatever its handler does: that is read here.
"""

from __future__ import annotations

import os
import selectors
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from credit_assets import stopping

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STAYS = "what was finished stays; run the same command to go on"
# What ends work in good order: the run and its MLflow runs are closed. Then the process ends whatever it is doing.
GRACE_SECONDS = 15.0


def exit_code(number: int) -> int:
    """As a shell has it: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + number


def stop_line(number: int, note: str = "") -> str:
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    return f"stopped ({name}); {note or STAYS}"


def end_while_importing() -> None:
    """Until `heard` is entered a signal ends the process at once: nothing has been begun."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        _end_now(number)

    for one in STOPS:
        if signal.getsignal(one) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(one, end)


class _Heard:
    """The signals that came in, read from the pipe that Python writes them into."""

    def __init__(self, ignored: frozenset[int]) -> None:
        self._ignored = ignored
        self._lock = threading.Lock()
        self._numbers: list[int] = []
        self._read_end, self._write_end = os.pipe()
        # Wakes the thread below where another one has read a signal, and where there is nothing more to hear.
        self._poked, self._poke = os.pipe()
        for end in (self._read_end, self._write_end, self._poked):
            os.set_blocking(end, False)
        self._closed = False
        self._before = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()

    def look(self) -> int | None:
        with self._lock:
            known = len(self._numbers)
            with suppress(BlockingIOError):
                came = os.read(self._read_end, 512)
                self._numbers += [one for one in came if one in STOPS and one not in self._ignored]
            if len(self._numbers) > known:
                os.write(self._poke, b".")
            return self._numbers[0] if self._numbers else None

    def handle(self, number: int, _: FrameType | None) -> None:
        # Dagster makes the handler of SIGINT that of SIGTERM too, so one function serves all.
        if number not in self._ignored:
            raise KeyboardInterrupt

    def close(self) -> None:
        signal.set_wakeup_fd(self._before)
        self._closed = True
        os.write(self._poke, b".")
        self._thread.join()
        for end in (self._read_end, self._write_end, self._poked, self._poke):
            os.close(end)

    def _watch(self) -> None:
        """End the process at the second signal, or some time after the first."""
        deadline = None
        # `select` takes no descriptor above 1,023, and a process with many connections is given such a pipe.
        with selectors.PollSelector() as ends:
            ends.register(self._poked, selectors.EVENT_READ)
            ends.register(self._read_end, selectors.EVENT_READ)
            while True:
                ends.select(None if deadline is None else max(0.0, deadline - time.monotonic()))
                with suppress(BlockingIOError):
                    os.read(self._poked, 512)
                if self._closed:
                    return
                if (number := self.look()) is None:
                    continue
                deadline = deadline or time.monotonic() + GRACE_SECONDS
                if len(self._numbers) > 1 or time.monotonic() >= deadline:
                    _end_now(number)


@contextmanager
def heard() -> Iterator[None]:
    """Signals stop the command inside; a command that was asked to stop says so by `stopping.requested`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {one: signal.getsignal(one) for one in STOPS}
    # As nohup and a shell's background job want it.
    heard = _Heard(frozenset(one for one, handler in before.items() if handler is signal.SIG_IGN))
    for number in STOPS:
        signal.signal(number, heard.handle)
    stopping.hear(heard.look)
    try:
        yield
    finally:
        stopping.hear(None)
        heard.close()
        for past, handler in before.items():
            signal.signal(past, handler if handler is not None else signal.SIG_DFL)


def _forget_in_child() -> None:
    # A forked process would write its signals into the pipe of this one.
    stopping.hear(None)
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_in_child)


def _end_now(number: int) -> NoReturn:
    with suppress(OSError):
        os.write(2, f"credit-assets: {stop_line(number)}\n".encode())
    os._exit(exit_code(number))
