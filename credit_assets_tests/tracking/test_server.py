"""A server or database: opened late, prepared once, and what its failures turn into."""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets_tests.support.mlflow_server import EXPERIMENT

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]


def test_nothing_heavy_is_imported_and_nobody_asked_before_use(tmp_path: Path) -> None:
    code = f"""
import sys
from credit_assets.storage.claims import Claims
from credit_assets.ledger.registry import Registry
from credit_assets.tracking import Tracking
claims = Claims({str(tmp_path)!r})
tracking = Tracking("http://user:secret@localhost:1/x", "credit_scoring", claims)
Registry(tracking, "credit-scorer", claims)
tracking.runs.close("a-run-that-logged-nothing", "SUCCESS")
assert "secret" not in repr(tracking) + repr(tracking.server), repr(tracking.server)
heavy = {{"mlflow", "dagster_mlflow", "pandas", "sqlalchemy", "dagster"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_open_does_not_travel_to_another_process(tracking: Tracking) -> None:
    here = tracking.server
    there = pickle.loads(pickle.dumps(here))
    assert there.client is not here.client
    assert (there.uri, there.experiment_id) == (here.uri, here.experiment_id)


def test_an_unreachable_server_is_transient_quickly_and_keeps_the_password(tmp_path: Path) -> None:
    away = Tracking("http://user:s3cret-word@127.0.0.1:9/mlflow", EXPERIMENT, Claims(str(tmp_path)))
    with pytest.raises(TransientError, match=r"MLflow at http://user:\*\*\*@127.0.0.1:9/mlflow") as caught:
        away.server.prepare()
    assert "s3cret-word" not in str(caught.value)
    # Dagster records what is shown of the chain.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_database_of_another_mlflow_says_how_to_upgrade(tracking: Tracking) -> None:
    with sqlite3.connect(tracking.server.uri.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(PermanentError, match=r"run `mlflow db upgrade sqlite:///.*` after a backup"):
        tracking.server.prepare()


def test_a_deleted_experiment_says_how_to_restore_it(tracking: Tracking) -> None:
    tracking.server.client.delete_experiment(tracking.server.experiment_id)
    with pytest.raises(PermanentError, match="is deleted: restore it with `mlflow experiments restore -x 2`"):
        Tracking(tracking.server.uri, EXPERIMENT, tracking.claims).server.prepare()


def test_a_call_is_tried_again_where_sqlite_did_not_wait_for_the_lock(tracking: Tracking) -> None:
    tracking.server.prepare()
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    tries = []

    def locked(times: int) -> str:
        tries.append(times)
        if len(tries) <= times:
            raise MlflowException("(sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE)
        return "done"

    assert tracking.server.call("cannot log", locked, 2) == "done"
    tries.clear()
    with pytest.raises(TransientError, match=r"cannot log: .*database is locked"):
        tracking.server.call("cannot log", locked, 99)
    assert len(tries) == 5


def test_a_programming_error_is_not_dressed_up(tracking: Tracking) -> None:
    with pytest.raises(TypeError):
        tracking.server.call("cannot log", len, 1)  # type: ignore[arg-type]
