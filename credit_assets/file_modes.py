"""Who else of the machine may read the files that our processes make, and which files are open to more than those.

Belongs here: the modes of each kind of access. Does not belong here: which kind is wanted (`settings.access`), and
which files are looked at (`cli.doctor`).

What is restricted is the process and not each file: databases, models and logs are written by libraries, each in ways
of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

UMASKS = {"private": 0o077, "group": 0o027}
"""By kind of access: what new files and folders are without."""
ADVICE = {"private": "chmod -R go-rwx", "group": "chmod -R g-w,o-rwx"}
"""By kind of access: what takes from files that are there already what new ones are without."""


def restrict(access: str) -> None:
    """From now on this process, and those that it starts, make files that nobody reads but those of `access`. An access
    that is none is refused where settings are read; until then it is the strictest.
    """
    os.umask(UMASKS.get(access, UMASKS["private"]))


def wider(paths: Iterable[Path], access: str) -> list[Path]:
    """Those of the paths which others can reach and whose modes give them more than `access` does."""
    return [path for path in paths if _given(path) & UMASKS[access] & _let_through(path)]


def _given(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    # The modes of a link mean nothing.
    return 0 if stat.S_ISLNK(found.st_mode) else stat.S_IMODE(found.st_mode) & 0o077


def _let_through(path: Path) -> int:
    """The bits of those who can pass through all folders above: whoever is no owner of one may be of its group."""
    passed = 0o077
    for folder in path.absolute().parents:
        given = _given(folder)
        if not given & stat.S_IXOTH:
            passed &= ~0o007
            if not given & stat.S_IXGRP:
                return 0
    return passed
