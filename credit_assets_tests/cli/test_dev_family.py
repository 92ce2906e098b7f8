"""No process of `dev` outlives it, and where one does the next `dev` says which."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from credit_assets.cli.dev import refuse_others
from credit_assets.cli.dev_family import outlived
from credit_assets.failures import PermanentError

DEV = """
import os, pathlib, sys
from credit_assets.cli.dev import Program, run
stubborn = '''
import signal, subprocess, sys, time
for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(one, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
'''
programs = [Program(name, 1, [sys.executable, "-c", stubborn], "--port") for name in ("One", "Two")]
run(programs, os.environ, pathlib.Path(sys.argv[1]))
"""


class Dev:
    """One under way with two programs, each of which has started another, and none of which ends when it is asked."""

    def __init__(self, logs: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DEV, str(logs)], start_new_session=True, env={**os.environ, "TMPDIR": str(logs)}
        )
        files = [logs / "dev-one.log", logs / "dev-two.log"]
        while not all(file.exists() and file.read_text().endswith("\n") for file in files):
            assert self.process.poll() is None
            time.sleep(0.05)
        while len((self.notes(logs) or {"groups": []})["groups"]) < 2:
            time.sleep(0.05)
        children = psutil.Process(self.process.pid).children(recursive=True)
        (self.watcher,) = [one for one in children if "credit_assets.cli.dev_family" in one.cmdline()]
        self.others = [one for one in children if one != self.watcher]
        assert len(self.others) == 4

    @staticmethod
    def notes(logs: Path) -> dict[str, list[str]] | None:
        for file in logs.glob(".dev.*.json"):
            try:
                found: dict[str, list[str]] = json.loads(file.read_text())
                return found
            except ValueError:
                continue
        return None


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    made = Dev(tmp_path)
    yield made
    for one in (made.watcher, *made.others):
        if one.is_running():
            one.kill()
    made.process.kill()
    made.process.wait()


def gone(processes: list[psutil.Process]) -> bool:
    _, left = psutil.wait_procs(processes, timeout=300)
    return left == []


def test_of_one_that_is_killed_nothing_is_left(dev: Dev, tmp_path: Path) -> None:
    assert outlived(tmp_path) == []  # it lives
    assert len(list(tmp_path.glob("credit-dev-*"))) == 1, "the sockets of its code servers"
    dev.process.send_signal(signal.SIGKILL)
    dev.process.wait()
    assert gone([*dev.others, dev.watcher])
    assert outlived(tmp_path) == []
    assert list(tmp_path.glob(".dev.*")) == list(tmp_path.glob("credit-dev-*")) == []


def test_of_one_that_is_asked_to_stop_nothing_is_left_either(dev: Dev, tmp_path: Path) -> None:
    dev.process.send_signal(signal.SIGINT)
    dev.process.wait()
    assert gone([*dev.others, dev.watcher])
    assert list(tmp_path.glob(".dev.*")) == list(tmp_path.glob("credit-dev-*")) == []


def test_what_outlives_it_all_the_same_is_named_by_the_next(dev: Dev, tmp_path: Path) -> None:
    dev.watcher.kill()
    dev.process.send_signal(signal.SIGKILL)
    dev.process.wait()
    with pytest.raises(PermanentError) as refused:
        refuse_others(tmp_path)
    said = str(refused.value)
    groups = {os.getpgid(one.pid) for one in dev.others}
    assert all(f"kill -KILL -- -{group}" in said for group in groups)
    assert all(str(one.pid) in said for one in dev.others)
    assert "\n" not in said
    for group in groups:
        subprocess.run(["kill", "-KILL", "--", f"-{group}"], check=True)
    assert gone(dev.others)
    refuse_others(tmp_path)
    assert list(tmp_path.glob(".dev.*")) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"of": "x", "groups": {}}', '{"of": 7, "groups": {"a": 1}}', "null"])
def test_a_note_that_is_damaged_stops_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / ".dev.x.json").write_text(textwrap.dedent(text))
    refuse_others(tmp_path)


def test_without_notes_nothing_is_left(tmp_path: Path) -> None:
    assert outlived(tmp_path / "nowhere") == []
