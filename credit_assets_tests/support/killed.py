"""Commands that are killed outright on their way, and what they leave."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg

from credit_assets.instance.home import instance_of
from credit_assets.resources import build_resources
from credit_assets.settings import load_settings

PROGRAM = [sys.executable, "-m", "credit_assets.cli.main"]


def start(arguments: list[str], home: Path, more: Mapping[str, str]) -> subprocess.Popen[str]:
    """The command in a session of its own."""
    environment = {**os.environ, "CREDIT_HOME": str(home), **more}
    environment.pop("DAGSTER_HOME", None)
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(arguments: list[str], home: Path, more: Mapping[str, str]) -> Any:
    """What the command says with --json; it has to end well."""
    process = start([*arguments, "--json"], home, more)
    out, error = process.communicate()
    assert process.returncode == 0, f"{out}\n{error}"
    return json.loads(out)


def kill_when(process: subprocess.Popen[str], now: Callable[[], object]) -> None:
    """Kill the process and whatever it started, once it is time; it must not have ended by then."""
    while not now():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def is_training(home: Path) -> bool:
    """Whether a candidate is being logged."""
    query = "SELECT count(*) FROM runs JOIN tags USING (run_uuid) WHERE key = 'role' AND value = 'candidate'"
    try:
        with closing(sqlite3.connect(f"file:{home}/mlflow/mlflow.db?mode=ro", uri=True)) as connection:
            return bool(connection.execute(f"{query} AND status = 'RUNNING'").fetchone()[0])
    except sqlite3.OperationalError:
        # Not there yet, or held for a moment.
        return False


def under_way(home: Path) -> tuple[list[str], list[str]]:
    """Dagster runs that have not ended, and MLflow runs that are RUNNING, by name."""
    settings = load_settings(home=home)
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    with instance_of(settings) as instance:
        runs = [run.run_id for run in instance.get_runs() if run.status not in ended]
    server = build_resources(settings)["tracking"].server
    running = server.client.search_runs([server.experiment_id], "attributes.status = 'RUNNING'")
    return runs, [run.info.run_name for run in running]
