"""`credit-assets dev`: the UI and MLflow answer, and nothing is left when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from credit_assets_tests.support.ports import free_port


def answers(url: str, seconds: float = 250) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status == 200
        except OSError:
            time.sleep(0.5)
    return False


@pytest.mark.slow
def test_dev_serves_both_and_leaves_nothing_behind(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    ui, mlflow = free_port(), free_port()
    program = str(Path(sys.executable).parent / "credit-assets")
    process = subprocess.Popen(
        [program, "dev", "--port", str(ui), "--mlflow-port", str(mlflow)],
        env={**os.environ, "CREDIT_HOME": str(tmp_path / "home")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert answers(f"http://127.0.0.1:{ui}/server_info")
        assert answers(f"http://127.0.0.1:{mlflow}/health")
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 4
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=250)
    _, left = psutil.wait_procs(family, timeout=250)
    assert left == []
