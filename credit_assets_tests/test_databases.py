"""A real PostgreSQL that is suspended, as the warehouse's, as MLflow's and as Dagster's: a line in bounded time that
names the place, a failure that is retried, and the same call goes well once the server is back.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa

from credit_assets import databases
from credit_assets.failures import TransientError, explained, is_transient
from credit_assets.instance.home import instance_of
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.settings import load_settings
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.postgres import suspended
from credit_assets_tests.support.warehouses import DAY, applications, execute

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked every moment, by a thread of this test's own; what it waits for an answer is what it is in earnest,
    shortened where a server is silent only.
    """
    monkeypatch.setattr(databases, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(databases, "SILENT_SECONDS", 3.0)
    # The shortest that libpq knows.
    monkeypatch.setattr(databases, "CONNECT_SECONDS", 2)
    monkeypatch.setattr(databases, "_looking", 0)
    monkeypatch.setattr(databases, "_servers", {})


def answered(server: str) -> None:
    """Wait until the server of this process's connections is known to answer."""
    while not any(databases._servers.values()):
        threading.Event().wait(0.05)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="open files are found by /dev/fd")
def test_a_look_at_what_is_no_connection_keeps_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is another file's as soon as what it was of is closed, between being asked for and being copied, too."""
    server = databases._Server("127.0.0.1", 5432)
    with (tmp_path / "file").open("w"):
        monkeypatch.setattr(databases, "stat", SimpleNamespace(S_ISSOCK=lambda _: True))
        before = len(os.listdir("/dev/fd"))
        assert list(databases._connections(server)) == []
        assert len(os.listdir("/dev/fd")) == before


def test_a_warehouse_that_is_suspended_between_two_calls(
    postgres_url: str, postgres_database: str, portfolio: Portfolio
) -> None:
    warehouse = open_warehouse(postgres_database)
    warehouse.create_tables(portfolio)
    with suspended(postgres_url), pytest.raises(TransientError) as told:
        warehouse.date_range(portfolio)
    line = explained(told.value)
    assert "is unreachable" in line
    assert "CREDIT_WAREHOUSE_URL" in line
    assert "\n" not in line
    assert is_transient(told.value)
    assert warehouse.date_range(portfolio) is None


@pytest.mark.slow
def test_a_warehouse_that_is_suspended_in_the_midst_of_a_query(
    postgres_url: str, postgres_database: str, portfolio: Portfolio
) -> None:
    """By both drivers: the one that waits in Python, and the one that waits in C and shows its socket to nobody."""
    warehouse = open_warehouse(postgres_database)
    warehouse.create_tables(portfolio)
    warehouse.write(portfolio, applications(portfolio, 30), None)

    def by_psycopg() -> None:
        with warehouse._session() as session:
            # Far more than ten looks: a query that takes long is not one that nobody works at.
            session.rows(sa.text("SELECT pg_sleep(3)"))
            with suspended(postgres_url):
                session.rows(sa.text("SELECT 1"))

    with pytest.raises(TransientError, match="CREDIT_WAREHOUSE_URL") as told:
        by_psycopg()
    assert "\n" not in explained(told.value)
    execute(
        warehouse, "CREATE VIEW slow AS SELECT loans.* FROM loan_applications loans, (SELECT pg_sleep(600)) AS asleep"
    )
    slow = portfolio.model_copy(update={"applications_table": "slow"})
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: warehouse.read_applications(slow, DAY, DAY).read_all())
        wait_for(postgres_database, "COPY", reading)
        with suspended(postgres_url):
            error = reading.exception()
    assert isinstance(error, TransientError)
    assert warehouse.read_applications(portfolio, DAY, DAY).read_all().num_rows == 10


def wait_for(database: str, query: str, reading: Future[Any]) -> None:
    """Until a query that begins so is under way."""
    with psycopg.connect(database, autocommit=True) as connection:
        under_way = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
        while not connection.execute(under_way, (f"{query}%",)).fetchall()[0][0]:
            assert not reading.done(), reading.exception()
            time.sleep(0.05)


@pytest.mark.slow
def test_mlflow_whose_database_is_suspended(postgres_url: str, postgres_database: str, tmp_path: Path) -> None:
    server = Tracking(postgres_database, "suspended", Claims(str(tmp_path))).server
    server.prepare()
    answered(postgres_database)
    find, name = server.client.get_experiment_by_name, server.experiment
    with suspended(postgres_url), pytest.raises(TransientError) as told:
        server.call("cannot find the experiment", find, name)
    line = explained(told.value)
    assert line.startswith("MLflow at postgresql://")
    assert line.endswith("is what MLFLOW_TRACKING_URI names running?")
    assert "SELECT" not in line
    assert "\n" not in line
    # And of one that was not open yet.
    with suspended(postgres_url), pytest.raises(TransientError, match="MLFLOW_TRACKING_URI"):
        Tracking(postgres_database, "other", Claims(str(tmp_path))).server.prepare()
    assert server.call("cannot find the experiment", find, name).name == "suspended"


@pytest.mark.slow
def test_dagster_whose_database_is_suspended(
    postgres_url: str, postgres_database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("dagster_postgres", reason="the cluster extra is not installed")
    settings = load_settings(home=tmp_path)
    settings.dagster_dir.mkdir(parents=True)
    url = sa.make_url(postgres_database).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    (settings.dagster_dir / "dagster.yaml").write_text(f'storage:\n  postgres:\n    postgres_url: "{url}"\n')
    with instance_of(settings) as instance:
        assert instance.get_runs() == []
    with suspended(postgres_url), pytest.raises(TransientError) as told, instance_of(settings):
        pass
    line = explained(told.value)
    assert line.startswith(f"the Dagster instance in {settings.dagster_dir} (DAGSTER_HOME)")
    assert "its PostgreSQL does not answer; see that it runs, and `storage` in the dagster.yaml there" in line

    def at_work() -> None:
        with instance_of(settings) as found, suspended(postgres_url):
            found.get_runs()

    with pytest.raises(TransientError, match="its PostgreSQL does not answer"):
        at_work()
    assert "Retrying failed database" not in caplog.text
    with instance_of(settings) as instance:
        assert isinstance(instance, dg.DagsterInstance)
