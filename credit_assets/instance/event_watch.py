"""Who watches a run is given its events as they come, whichever process stores them.

Belongs here: looking for new events and passing them on. Does not belong here: how they are stored and read
(`credit_assets.instance.event_log`).

Dagster's class for one SQLite file waits for the file to change, but a write-ahead log is another file. Its class for
PostgreSQL looks less and less often while a run is quiet, up to 16 seconds late, and a callback that fails ends it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from credit_assets.instance.dagster_internals import EventLogCursor

SECONDS = 0.2
Callback = Callable[[dg.EventLogEntry, str], Any]
Read = Callable[[str, str | None], Sequence[Any]]
"""Records (`storage_id`, `event_log_entry`) of a run after a cursor."""


@dataclass(eq=False)
class _Watcher:
    run_id: str
    callback: Callback
    cursor: str | None


class RunWatchers:
    """The watchers of one process. One thread serves them all, and ends when there is none."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._watchers: list[_Watcher] = []
        self.thread: threading.Thread | None = None

    def add(self, run_id: str, cursor: str | None, callback: Callback) -> None:
        with self._lock:
            self._watchers.append(_Watcher(run_id, callback, cursor))
            if self.thread is None:
                self.thread = threading.Thread(target=self._serve, name="event-log-watch", daemon=True)
                self.thread.start()

    def remove(self, run_id: str, callback: Callback) -> None:
        with self._lock:
            self._watchers = [one for one in self._watchers if (one.run_id, one.callback) != (run_id, callback)]

    def close(self) -> None:
        """Without watchers, and when no callback is at work any more."""
        with self._lock:
            self._watchers, thread = [], self.thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _serve(self) -> None:
        while True:
            with self._lock:
                watchers = list(self._watchers)
                if not watchers:
                    self.thread = None
                    return
            for watcher in watchers:
                try:
                    self._pass_on(watcher)
                except Exception:
                    # A callback that fails, or a file that is locked for a moment: the cursor says where to go on.
                    logging.getLogger(__name__).exception("Passing on events of run %s failed.", watcher.run_id)
            time.sleep(SECONDS)

    def _pass_on(self, watcher: _Watcher) -> None:
        for record in self._read(watcher.run_id, watcher.cursor):
            if watcher not in self._watchers:
                return
            watcher.cursor = str(EventLogCursor.from_storage_id(record.storage_id))
            watcher.callback(record.event_log_entry, watcher.cursor)
