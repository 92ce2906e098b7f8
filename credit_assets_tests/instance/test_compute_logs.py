"""Captured output: in its file and on the terminal, whatever becomes of either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from credit_assets.instance.compute_logs import EmbeddedComputeLogManager
from credit_assets.instance.home import instance_of
from credit_assets.settings import load_settings

_STEP = """
import os, subprocess, sys
from credit_assets.instance.compute_logs import EmbeddedComputeLogManager
with EmbeddedComputeLogManager({folder!r}).capture_logs(["run", "compute_logs", "step"]):
    print("from Python")
    os.write(1, b"from a library\\n")
    subprocess.run(["echo", "from a program"], check=True)
    print("an error", file=sys.stderr)
    {more}
print("after the step")
"""


def step(folder: Path, more: str = "pass") -> list[str]:
    return [sys.executable, "-c", _STEP.format(folder=str(folder), more=more)]


def captured(folder: Path, kind: str) -> str:
    return (folder / "run" / "compute_logs" / f"step.{kind}").read_text()


def test_output_is_in_the_file_and_on_the_terminal(tmp_path: Path) -> None:
    ended = subprocess.run(step(tmp_path), capture_output=True, text=True, check=True, timeout=250)
    lines = {"from Python", "from a library", "from a program"}
    assert set(captured(tmp_path, "out").splitlines()) == lines
    assert set(ended.stdout.splitlines()) == {*lines, "after the step"}
    assert captured(tmp_path, "err") == ended.stderr == "an error\n"
    manager = EmbeddedComputeLogManager(str(tmp_path))
    assert manager.is_capture_complete(["run", "compute_logs", "step"])
    assert b"from a library" in (manager.get_log_data(["run", "compute_logs", "step"]).stdout or b"")


def test_a_terminal_that_is_gone_does_not_stop_the_step(tmp_path: Path) -> None:
    more = "import time; time.sleep(1); [print('x' * 1000) for _ in range(500)]; open({!r}, 'w').close()"
    running = subprocess.Popen(step(tmp_path, more.format(str(tmp_path / "done"))), stdout=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.close()
    running.wait(60)
    assert (tmp_path / "done").exists()
    assert len(captured(tmp_path, "out")) > 500_000


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_nothing_outlives_a_killed_step(tmp_path: Path) -> None:
    running = subprocess.Popen(step(tmp_path, "import time; time.sleep(60)"), stdout=subprocess.DEVNULL)

    def copiers() -> int:
        found = 0
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += str(tmp_path) in place.read_text() and "tee" in place.read_text().split("\0")[0]
            except OSError:
                continue
        return found

    def wait_for(count: int) -> None:
        while copiers() != count:  # The suite's own limit ends what never comes.
            time.sleep(0.05)

    wait_for(2)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    wait_for(0)


@pytest.mark.parametrize("disposition", [signal.SIG_DFL, signal.SIG_IGN], ids=["foreground", "background"])
def test_a_process_left_behind_does_not_hold_the_step(tmp_path: Path, disposition: signal.Handlers) -> None:
    more = "import credit_assets.instance.compute_logs as c; c._LAST_LINES_SECONDS = 0.2; "
    more += "open('left', 'w').write(str(subprocess.Popen(['sleep', '3000']).pid))"
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # What a shell gives to a program that it starts in the background, and every program to its children.
    started = {"preexec_fn": lambda: signal.signal(signal.SIGTERM, disposition)}
    subprocess.run(step(tmp_path, more), check=True, cwd=tmp_path, **nowhere, **started)
    os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)


def test_the_embedded_instance_has_it_where_dagster_keeps_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with instance_of(load_settings()) as instance:
        manager = instance.compute_log_manager
        assert isinstance(manager, EmbeddedComputeLogManager)
        place = manager.get_captured_local_path(["run", "compute_logs", "step"], "out")
        assert place == str(tmp_path / "dagster" / "storage" / "run" / "compute_logs" / "step.out")
