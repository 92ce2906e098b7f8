"""Where on this machine a process that was killed may have left something, and taking it away.

Belongs here: the places. Does not belong here: how what is left is told from what is still written (`credit_assets.
aside`), object stores, which show a file when it is whole, and records, runs and models, which are nobody's rubbish.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from credit_assets.aside import LeftOver, left_over, take_away
from credit_assets.settings import Settings
from credit_assets.storage.store import open_root
from credit_assets.storage.tables import is_local
from credit_assets.tracking.models import cache_folder

HOUR = 3600.0
OLD_SECONDS = 24 * HOUR
"""After so long what nobody can be asked about is left over: longer than any run takes (`max_runtime_seconds`)."""


def find(settings: Settings, older_than: float = OLD_SECONDS) -> list[LeftOver]:
    """What is left of processes that are gone: in the store, the home, the Dagster folder, the models that were fetched
    and the machine's temporary folder.
    """
    places = (place for folder, deep in _places(settings) for place in _entries(folder, deep))
    return [found for path in dict.fromkeys(places) if (found := left_over(path, older_than))]


def sweep(settings: Settings, older_than: float = OLD_SECONDS) -> list[LeftOver]:
    """Take it away; what was taken away. What may not be is left."""
    return [one for one in find(settings, older_than) if take_away(one)]


def _places(settings: Settings) -> Iterator[tuple[Path, bool]]:
    """Folders, and whether those within them are looked into."""
    root = open_root(settings.store_root, {})
    if is_local(root):
        yield Path(str(root)), True
    yield settings.home_dir, False
    yield settings.own_dir, False
    yield settings.own_dir / "rejected", False
    yield settings.dagster_dir, False
    with suppress(RuntimeError):
        yield cache_folder(), False
    yield Path(tempfile.gettempdir()), False


def _entries(folder: Path, deep: bool) -> Iterator[Path]:
    """Everything in a folder that is this user's; of one that is not there or may not be read nothing."""
    user = os.getuid() if hasattr(os, "getuid") else None
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not deep:
                with suppress(OSError):
                    if user is None or entry.stat(follow_symlinks=False).st_uid == user:
                        yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), deep)
