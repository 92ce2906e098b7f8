"""Folders that cost much to make: made once for all workers of a session, and copied by each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def prepared_home(tmp_path_factory: pytest.TempPathFactory, name: str, prepare: Callable[[Path], None]) -> Path:
    """A home made by `prepare` once in a session, by whichever worker comes first. Copy it and leave it as it is."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home, ready = root / f"{name}-home", root / f"{name}-home.ready"
    with FileLock(f"{home}.lock"):
        if not ready.exists():
            shutil.rmtree(home, ignore_errors=True)
            prepare(home)
            ready.touch()
    return home
