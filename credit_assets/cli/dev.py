"""Dagster UI, daemon and MLflow on one machine, for looking and trying. A deployment runs them apart."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from credit_assets.failures import PermanentError
from credit_assets.instance.home import ensure_instance
from credit_assets.settings import Settings


def serve(settings: Settings, host: str, port: int, mlflow_port: int) -> int:
    """Start the processes and wait; when one ends, or on Ctrl-C, end the others. Returns an exit code."""
    ensure_instance(settings)
    env = {
        **os.environ,
        "CREDIT_HOME": str(settings.home_dir),
        "DAGSTER_HOME": str(settings.dagster_dir),
        # Else MLflow starts ten workers for jobs that nobody here submits, and leaves them behind when it is stopped.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    commands = [
        [_program("dagster"), "dev", "-m", "credit_assets.definitions", "-h", host, "-p", str(port)],
    ]
    out = Console()
    out.print(f"Dagster  http://{host}:{port}")
    if settings.tracking_uri.startswith("sqlite:"):
        artifacts = Path(settings.tracking_uri.removeprefix("sqlite:///")).parent / "artifacts"
        server = [_program("mlflow"), "server", "--backend-store-uri", settings.tracking_uri]
        options = ["--host", host, "--port", str(mlflow_port), "--workers", "1"]
        commands.append([*server, "--default-artifact-root", str(artifacts), *options])
        out.print(f"MLflow   http://{host}:{mlflow_port}")
    else:
        out.print("MLflow   the server of MLFLOW_TRACKING_URI")
    out.print("Ctrl-C stops both.")
    processes = [subprocess.Popen(command, env=env, start_new_session=True) for command in commands]
    # A terminal closing or a supervisor stopping this must not leave servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while True:
            for process in processes:
                try:
                    return process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    continue
    except KeyboardInterrupt:
        return 0
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        for process in processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _program(name: str) -> str:
    """The program of this environment, whether or not it is activated."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise PermanentError(f"`{name}` is not installed beside {sys.executable}; install credit-assets again")
    return found
