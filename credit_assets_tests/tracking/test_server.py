"""A server or database: opened late, prepared once, and what its failures turn into."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ledger.registry import Registry
from credit_assets.links import address_of
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets.tracking.server import Pages
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
    with pytest.raises(TransientError, match=r"MLflow at http://127.0.0.1:9/mlflow") as caught:
        away.server.prepare()
    assert "s3cret-word" not in str(caught.value)
    # Dagster records what is shown of the chain.
    assert "s3cret-word" not in "".join(traceback.format_exception(caught.value))


def test_a_database_of_another_mlflow_says_how_to_upgrade(migrated_database: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(migrated_database, tmp_path))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(PermanentError, match=r"run `mlflow db upgrade sqlite:///.*` after a backup"):
        Tracking(f"sqlite:///{file}", EXPERIMENT, Claims(str(tmp_path / "store"))).server.prepare()


@pytest.mark.parametrize("which", ["tracking", "served"])
def test_an_experiment_opens_as_one_of_models_whoever_made_it(which: str, request: pytest.FixtureRequest) -> None:
    found: Tracking = request.getfixturevalue(which)
    client = found.server.client
    kind = "mlflow.experimentKind"
    assert client.get_experiment(found.server.experiment_id).tags[kind] == "custom_model_development"
    made = client.create_experiment(f"{found.server.experiment} by hand")
    other = Tracking(found.server.uri, f"{found.server.experiment} by hand", found.claims)
    assert other.server.experiment_id == made
    assert client.get_experiment(made).tags[kind] == "custom_model_development"
    # Who chose another kind keeps it.
    client.set_experiment_tag(made, kind, "genai_development")
    again = Tracking(found.server.uri, other.server.experiment, found.claims)
    assert client.get_experiment(again.server.experiment_id).tags[kind] == "genai_development"


@pytest.mark.parametrize(
    ("pages", "uri", "at"),
    [
        (Pages(), "https://me:secret@mlflow.lender.example/x/", "https://mlflow.lender.example/x/#"),
        (Pages("https://ui.lender.example"), "http://mlflow.svc:5000", "https://ui.lender.example/#"),
        (Pages("http://localhost:5000"), "sqlite:///{folder}/mlflow.db", "http://localhost:5000/#"),
        (Pages(), "sqlite:///{folder}/mlflow.db", ""),
    ],
)
def test_a_link_leads_to_where_people_reach_mlflow(pages: Pages, uri: str, at: str, tmp_path: Path) -> None:
    found = Tracking(uri.format(folder=tmp_path), EXPERIMENT, Claims(str(tmp_path)), pages=pages)
    shown = Registry(found, "credit-scorer", found.claims).version_link("3")
    assert address_of(shown.value) == (f"{at}/models/credit-scorer/versions/3" if at else "credit-scorer version 3")


def test_links_to_the_run_and_the_experiment(tracking: Tracking) -> None:
    tracking.server.pages = Pages("http://localhost:5000")
    experiment = f"http://localhost:5000/#/experiments/{tracking.server.experiment_id}"
    assert address_of(tracking.server.experiment_link().value) == f"{experiment}/runs?workflowType=machine_learning"
    assert tracking.server.run_link("0123456789").value == f"[run 01234567]({experiment}/runs/0123456789)"


def test_a_deleted_experiment_says_how_to_restore_it(tracking: Tracking) -> None:
    tracking.server.client.delete_experiment(tracking.server.experiment_id)
    with pytest.raises(PermanentError, match="is deleted: restore it with `mlflow experiments restore -x 1`"):
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
