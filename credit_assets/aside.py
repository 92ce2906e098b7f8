"""What is written aside until it is whole, and what a process that was killed leaves of it.

Belongs here: names of files and folders that are to be renamed or taken away again, each with the process that writes
it, and telling those that nobody writes any more. Does not belong here: in which places they are looked for
(`credit_assets.instance.rubbish`).

A process that is killed takes nothing away. Its name in the file's tells, to whoever looks, that it is gone; where that
cannot be seen (another machine on the same disk, a file of an earlier version) age does.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from credit_assets.processes import own_mark, parse, token_is_gone

PREFIX = "credit-assets-"
"""Of every folder in the machine's temporary one."""
DEV_PREFIX = "credit-dev-"
"""Of the one of `credit-assets dev`, shorter: it goes into the names of sockets, which have 107 characters at most."""
OWNER_FILE = "owner"
"""In a folder whose name has no room for its process."""

_TOKEN = r"(?P<token>[0-9a-f]{10}-\d+-\d*)"
_OURS = (
    # Files beside what they are to become; without the process those of earlier versions.
    re.compile(rf"\..+\.{_TOKEN}\.[0-9a-z_]{{8}}\.tmp"),
    re.compile(r"\..+[.-][0-9a-f]{32}\.tmp"),
    re.compile(rf"{PREFIX}[a-z]+-{_TOKEN}-.+"),
    re.compile(rf"({PREFIX}|{DEV_PREFIX}).+"),
)


@dataclass(frozen=True)
class LeftOver:
    """A file or folder that nobody writes any more: why, and how many bytes it holds."""

    path: Path
    bytes: int
    why: str


def aside(target: Path) -> Path:
    """A name beside `target` for what is to become it: of this process, and of this call alone."""
    return target.with_name(f".{target.name}.{own_mark().token}.{uuid.uuid4().hex[:8]}.tmp")


@contextmanager
def temporary_folder(kind: str) -> Iterator[Path]:
    """A folder in the machine's temporary one, of the user alone; taken away at the end."""
    prefix = f"{PREFIX}{kind}-{own_mark().token}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def own(folder: Path) -> None:
    """Say in a folder that it is this process's."""
    (folder / OWNER_FILE).write_text(own_mark().to_json(), "utf-8")


def left_over(path: Path, older_than: float, now: float | None = None) -> LeftOver | None:
    """What is left here by a process that is gone, or that cannot be looked at and wrote last `older_than` seconds ago;
    None where it is none of ours, or still written, or not there any more.
    """
    found = next((match for one in _OURS if (match := one.fullmatch(path.name))), None)
    if found is None:
        return None
    gone = _owner_is_gone(path, found.groupdict().get("token"))
    try:
        held, last = _extent(path)
    except OSError:
        # Taken away meanwhile, or not to be read.
        return None
    age = (time.time() if now is None else now) - last
    if gone:
        return LeftOver(path, held, "its process is gone")
    if gone is None and age > older_than:
        return LeftOver(path, held, f"nobody has written it for {age / 3600:,.0f} hours")
    return None


def take_away(one: LeftOver) -> bool:
    """Remove it; whether that was possible. Another that does so at the same time is no failure."""
    if one.path.is_dir() and not one.path.is_symlink():
        shutil.rmtree(one.path, ignore_errors=True)
        return not one.path.exists()
    with suppress(OSError):
        one.path.unlink(missing_ok=True)
        return True
    return False


def _owner_is_gone(path: Path, token: str | None) -> bool | None:
    if token is not None:
        return token_is_gone(token)
    with suppress(OSError):
        mark = parse((path / OWNER_FILE).read_text("utf-8"))
        return None if mark is None else mark.gone
    return None


def _extent(path: Path) -> tuple[int, float]:
    """Bytes that it holds, and when it was written last. Raises OSError where it is not there."""
    found = path.lstat()
    held, last = found.st_size, found.st_mtime
    if path.is_dir() and not path.is_symlink():
        held = 0
        for folder, _, names in os.walk(path):
            for name in names:
                with suppress(OSError):
                    inner = os.lstat(os.path.join(folder, name))
                    held, last = held + inner.st_size, max(last, inner.st_mtime)
    return held, last
