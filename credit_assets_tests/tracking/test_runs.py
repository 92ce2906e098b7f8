"""MLflow runs, on SQLite and on a real server: in parallel, killed, retried, at once, and with the server away."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.storage.claims import Claims
from credit_assets.tracking import run as run_module
from credit_assets.tracking import runs as tracking_module
from credit_assets.tracking.run import application_signature, example_application, pinned
from credit_assets.tracking.runs import Tracking
from credit_assets_tests.support.mlflow_server import EXPERIMENT, Server, constant_scorer

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.postgres"]
SPAWN = multiprocessing.get_context("spawn")


def candidate(tracking: Tracking, run: str = "dagster-1", asset: str = "xgboost_candidate", **more: Any) -> Any:
    how = {"partition": "2024-03-31", "variant": "xgboost", "fingerprint": "f1", **more}
    return tracking.candidate_run(dagster_run_id=run, job_name="credit_scoring_daily", asset=asset, **how)


def runs(tracking: Tracking, where: str = "") -> list[Any]:
    return tracking._search(where)


def status(tracking: Tracking, run_id: str) -> str:
    return str(tracking.client.get_run(run_id).info.status)


def tags(tracking: Tracking, run_id: str) -> dict[str, str]:
    return dict(tracking.client.get_run(run_id).data.tags)


# One process


def test_nothing_heavy_is_imported_and_nobody_asked_before_use(tmp_path: Path) -> None:
    code = f"""
import sys
from credit_assets.storage.claims import Claims
from credit_assets.ledger.registry import Registry
from credit_assets.tracking.runs import Tracking
claims = Claims({str(tmp_path)!r})
tracking = Tracking("http://user:secret@localhost:1/x", "credit_scoring", claims)
Registry(tracking, "credit-scorer", claims)
tracking.close_run("a-run-that-logged-nothing", "SUCCESS")
assert "secret" not in repr(tracking) + tracking.describe(), tracking.describe()
heavy = {{"mlflow", "dagster_mlflow", "pandas", "sqlalchemy", "dagster"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_candidate_is_a_finished_child_of_the_dagster_runs_parent(tracking: Tracking) -> None:
    with candidate(tracking, tags={"as_of": "2024-03-31", "code_version": "c1"}) as run:
        assert status(tracking, run.run_id) == "RUNNING"
        # The values of a batch are limited by MLflow to 100 and 1,000.
        run.log_params({f"p{n}": n for n in range(230)})
        run.log_metrics({"test_auc": 0.7})
        run.log_metrics_history({"train-logloss": [1 / (n + 1) for n in range(3001)], "short": [1.0, 0.5]})
        run.set_tags({"note": "x"})
        run.log_dict({"a": [1, 2]}, "candidate.json")
    found = tracking.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "xgboost_candidate 2024-03-31"
    parent = tracking.client.get_run(found.data.tags["mlflow.parentRunId"])
    assert (parent.info.status, parent.data.tags["dagster_run_id"]) == ("RUNNING", "dagster-1")
    wanted = {
        "dagster_run_id": "dagster-1",
        "asset": "xgboost_candidate",
        "partition": "2024-03-31",
        "variant": "xgboost",
        "fingerprint": "f1",
        "code_version": "c1",
        "as_of": "2024-03-31",
        "note": "x",
    }
    assert wanted.items() <= found.data.tags.items()
    assert len(found.data.params) == 230
    assert found.data.params["p229"] == "229"
    curve = sorted(tracking.client.get_metric_history(run.run_id, "train-logloss"), key=lambda m: m.step)
    assert (curve[0].step, curve[0].value) == (1, 1.0)
    assert (curve[-1].step, curve[-1].value) == (3001, 1 / 3001)
    assert 300 < len(curve) <= 402
    assert [m.value for m in tracking.client.get_metric_history(run.run_id, "short")] == [1.0, 0.5]
    tracking.close_run("dagster-1", "SUCCESS")
    assert status(tracking, parent.info.run_id) == "FINISHED"


@pytest.mark.parametrize(
    ("error", "ended"), [(ValueError("bad data"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")]
)
def test_a_child_ends_as_its_body_does_and_the_parent_goes_on(
    tracking: Tracking, error: BaseException, ended: str
) -> None:
    with pytest.raises(type(error)), candidate(tracking) as run:
        raise error
    assert status(tracking, run.run_id) == ended
    assert status(tracking, tags(tracking, run.run_id)["mlflow.parentRunId"]) == "RUNNING"


def test_nothing_of_mlflows_globals_stays_behind(tracking: Tracking, tmp_path: Path) -> None:
    import mlflow

    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    mlflow.set_tracking_uri(elsewhere)
    try:
        with pytest.raises(ValueError, match="boom"), candidate(tracking) as run:  # noqa: PT012
            inner = mlflow.start_run(nested=True).info.run_id
            raise ValueError("boom")
        assert mlflow.active_run() is None
        assert mlflow.get_tracking_uri() == elsewhere
        assert os.environ["MLFLOW_TRACKING_URI"] == elsewhere
        assert "MLFLOW_EXPERIMENT_ID" not in os.environ
        assert "MLFLOW_RUN_ID" not in os.environ
        assert (status(tracking, run.run_id), status(tracking, inner)) == ("FAILED", "KILLED")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    with candidate(tracking):
        pass
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_run_that_is_active_already_is_not_logged_into(tracking: Tracking) -> None:
    with tracking.fluent() as mlflow, mlflow.start_run(experiment_id=tracking.experiment_id) as other:
        with pytest.raises(PermanentError, match=f"MLflow run {other.info.run_id} is active"), candidate(tracking):
            pass
        assert mlflow.active_run().info.run_id == other.info.run_id
    assert [run.info.run_id for run in runs(tracking)] == [other.info.run_id]


def test_what_is_logged_goes_to_this_run_from_any_thread(tracking: Tracking) -> None:
    with candidate(tracking) as run:
        thread = threading.Thread(target=lambda: (run.log_params({"a": 1}), run.log_metrics({"m": 1.0})))
        thread.start()
        thread.join()
    assert {r.data.tags["role"] for r in runs(tracking)} == {"parent", "candidate"}
    assert tracking.client.get_run(run.run_id).data.params == {"a": "1"}


def test_a_finished_run_is_reused_and_the_one_that_counts_is_marked_so(tracking: Tracking) -> None:
    def finish(fingerprint: str, run: str) -> str:
        with candidate(tracking, run, fingerprint=fingerprint) as made:
            made.log_dict({"fingerprint": fingerprint}, "candidate.json")
        return str(made.run_id)

    def counting() -> list[str]:
        found = runs(tracking, "tags.role = 'candidate'")
        return [r.data.tags["fingerprint"] for r in found if "superseded_by" not in r.data.tags]

    key = ("xgboost_candidate", "2024-03-31")
    assert tracking.find_finished(*key, "f1") is None
    first = finish("f1", "dagster-1")
    found = tracking.find_finished(*key, "f1")
    assert found is not None
    assert (found.run_id, found.load_record("candidate.json")) == (first, {"fingerprint": "f1"})
    assert tracking.find_finished(*key, "f2") is None
    assert tracking.find_finished("xgboost_candidate", "2024-04-01", "f1") is None
    assert tracking.find_finished("lightgbm_candidate", "2024-03-31", "f1") is None

    second = finish("f2", "dagster-2")
    assert counting() == ["f2"]
    assert tags(tracking, first)["superseded_by"] == second
    # Back to the data of before: its run counts again.
    assert tracking.find_finished(*key, "f1").run_id == first  # type: ignore[union-attr]
    assert counting() == ["f1"]
    assert tags(tracking, second)["superseded_by"] == first
    # Another partition of the asset is not concerned.
    with candidate(tracking, partition="2024-04-30", fingerprint="f9"):
        pass
    assert sorted(counting()) == ["f1", "f9"]


def test_a_run_that_ended_too_long_ago_is_made_anew_and_then_does_not_count(tracking: Tracking) -> None:
    key = ("xgboost_candidate", "2024-03-31", "f1")
    with candidate(tracking, "dagster-1") as old:
        pass
    time.sleep(0.01)
    now = datetime.now(UTC)
    assert tracking.find_finished(*key, ended_after=now - timedelta(1)).run_id == old.run_id  # type: ignore[union-attr]
    assert tracking.find_finished(*key, ended_after=now) is None
    with candidate(tracking, "dagster-2", ended_after=now) as new:
        pass
    assert tags(tracking, old.run_id)["superseded_by"] == new.run_id
    assert tracking.find_finished(*key, ended_after=now).run_id == new.run_id  # type: ignore[union-attr]


def test_a_failed_run_is_not_reused(tracking: Tracking) -> None:
    with pytest.raises(ValueError, match="boom"), candidate(tracking):
        raise ValueError("boom")
    assert tracking.find_finished("xgboost_candidate", "2024-03-31", "f1") is None


def test_a_finished_run_whose_record_was_deleted_says_what_to_do(tracking: Tracking) -> None:
    with candidate(tracking) as run:
        pass
    found = tracking.find_finished("xgboost_candidate", "2024-03-31", "f1")
    assert found is not None
    with pytest.raises(PermanentError, match=f"MLflow run {run.run_id} is FINISHED .* delete the run in MLflow"):
        found.load_record("candidate.json")


def test_two_dagster_runs_with_the_same_fingerprint_leave_one_that_counts(tracking: Tracking) -> None:
    made = []
    for dagster_run in ("dagster-1", "dagster-2"):
        with candidate(tracking, dagster_run) as run:
            made.append(run.run_id)
    parents = {tags(tracking, run_id)["mlflow.parentRunId"] for run_id in made}
    assert len(parents) == 2
    assert [("superseded_by" in tags(tracking, run_id)) for run_id in made] == [False, True]
    assert tracking.find_finished("xgboost_candidate", "2024-03-31", "f1").run_id == made[0]  # type: ignore[union-attr]


def test_closing_ends_the_parent_by_dagsters_status_and_is_repeatable(tracking: Tracking) -> None:
    for number, (dagster, mlflow) in enumerate(
        {"SUCCESS": "FINISHED", "FAILURE": "FAILED", "CANCELED": "KILLED"}.items()
    ):
        parent = tracking.parent_run(f"dagster-{number}", "job")
        tracking.close_run(f"dagster-{number}", dagster)
        assert status(tracking, parent) == mlflow
        ended = tracking.client.get_run(parent).info.end_time
        tracking.close_run(f"dagster-{number}", "SUCCESS")
        assert (status(tracking, parent), tracking.client.get_run(parent).info.end_time) == (mlflow, ended)
    with pytest.raises(ValueError, match="STARTED"):
        tracking.close_run("dagster-0", "STARTED")


class ClaimedInBetween(Claims):
    """Another process claims each name just before this one does."""

    def __init__(self, store_uri: str, theirs: Callable[[], str], *, dies: bool = False) -> None:
        super().__init__(store_uri)
        self.theirs, self.dies = theirs, dies

    def claim(self, name: str, value: str) -> str:
        if name.endswith("/parent"):
            if self.dies:
                raise MemoryError("killed here")
            Claims(self.store_uri).claim(name, self.theirs())
        return super().claim(name, value)


def test_who_loses_the_claim_deletes_its_own_parent(tracking: Tracking) -> None:
    other = Tracking(tracking.uri, EXPERIMENT, Claims(tracking.claims.store_uri))

    def create_theirs() -> str:
        made = other.client.create_run(other.experiment_id, tags={"role": "parent", "dagster_run_id": "dagster-1"})
        return str(made.info.run_id)

    ours = Tracking(tracking.uri, EXPERIMENT, ClaimedInBetween(tracking.claims.store_uri, create_theirs))
    winner = ours.parent_run("dagster-1", "job")
    assert [run.info.run_id for run in runs(tracking)] == [winner]
    assert other.parent_run("dagster-1", "job") == winner


def test_a_parent_left_by_a_process_killed_before_its_claim_is_cleared_away(tracking: Tracking) -> None:
    dying = Tracking(tracking.uri, EXPERIMENT, ClaimedInBetween(tracking.claims.store_uri, str, dies=True))
    with pytest.raises(MemoryError):
        dying.parent_run("dagster-1", "job")
    parent = tracking.parent_run("dagster-1", "job")
    assert len(runs(tracking)) == 2
    tracking.close_run("dagster-1", "SUCCESS")
    assert [(run.info.run_id, run.info.status) for run in runs(tracking)] == [(parent, "FINISHED")]


def test_a_parent_deleted_by_hand_is_made_again(tracking: Tracking) -> None:
    first = tracking.parent_run("dagster-1", "job")
    tracking.client.delete_run(first)
    second = tracking.parent_run("dagster-1", "job")
    assert second != first
    assert tracking.parent_run("dagster-1", "job") == second


def test_files_lie_beside_the_database_whatever_folder_a_step_stands_in(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with candidate(tracking) as run:
        run.log_dict({}, "candidate.json")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(list((tmp_path / "mlflow" / "artifacts").rglob("candidate.json"))) == 1


def test_on_postgresql_files_go_to_the_store(postgres_database: str, tmp_path: Path) -> None:
    tracking = Tracking(postgres_database, EXPERIMENT, Claims(str(tmp_path / "store")))
    with candidate(tracking) as run:
        run.log_dict({"a": 1}, "candidate.json")
    found = tracking.find_finished("xgboost_candidate", "2024-03-31", "f1")
    assert found is not None
    assert (found.run_id, found.load_record("candidate.json")) == (run.run_id, {"a": 1})
    assert len(list((tmp_path / "store" / "mlflow" / EXPERIMENT).rglob("candidate.json"))) == 1
    tracking.close_run("dagster-1", "SUCCESS")
    assert status(tracking, tags(tracking, run.run_id)["mlflow.parentRunId"]) == "FINISHED"


def test_a_cache_that_cannot_be_written_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tracking = Tracking("http://h", EXPERIMENT, Claims("s"), cache_dir=tmp_path / "file" / "cache")
    assert tracking._writable_cache().is_dir()
    assert tracking._writable_cache() == tracking._cache_folder()


def test_a_relative_database_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Tracking("sqlite:///mlflow.db", "x", Claims("s")).uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert Tracking("sqlite:////var/mlflow.db", "x", Claims("s")).uri == "sqlite:////var/mlflow.db"


# Failures


def test_an_unreachable_server_is_transient_quickly_and_keeps_the_password(tmp_path: Path) -> None:
    away = Tracking("http://user:s3cret-word@127.0.0.1:9/mlflow", EXPERIMENT, Claims(str(tmp_path)))
    with pytest.raises(TransientError, match=r"MLflow at http://user:\*\*\*@127.0.0.1:9/mlflow") as caught:
        away.prepare()
    assert "s3cret-word" not in str(caught.value)
    # Dagster records what is shown of the chain.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_unreachable_database_is_transient_quickly(tmp_path: Path) -> None:
    away = Tracking("postgresql://user:s3cret-word@127.0.0.1:9/mlflow", EXPERIMENT, Claims(str(tmp_path)))
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        away.prepare()
    assert "s3cret-word" not in str(caught.value)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:", "nosuch://x"])
def test_a_uri_that_steps_cannot_share_is_permanent(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PermanentError, match="MLFLOW_TRACKING_URI"):
        Tracking(uri, EXPERIMENT, Claims(str(tmp_path))).prepare()


def test_a_database_in_a_folder_that_is_a_file_is_permanent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="see that its folder can be written"):
        Tracking(f"sqlite:///{tmp_path}/file/mlflow.db", EXPERIMENT, Claims(str(tmp_path))).prepare()


def test_a_database_of_another_mlflow_says_how_to_upgrade(tracking: Tracking) -> None:
    with sqlite3.connect(tracking.uri.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(PermanentError, match=r"run `mlflow db upgrade sqlite:///.*` after a backup"):
        tracking.prepare()


def test_a_deleted_experiment_says_how_to_restore_it(tracking: Tracking) -> None:
    tracking.client.delete_experiment(tracking.experiment_id)
    with pytest.raises(PermanentError, match="is deleted: restore it with `mlflow experiments restore -x 2`"):
        Tracking(tracking.uri, EXPERIMENT, tracking.claims).prepare()


def test_a_call_is_tried_again_where_sqlite_did_not_wait_for_the_lock(tracking: Tracking) -> None:
    tracking.prepare()
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

    tries = []

    def locked(times: int) -> str:
        tries.append(times)
        if len(tries) <= times:
            raise MlflowException("(sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE)
        return "done"

    assert tracking.call("cannot log", locked, 2) == "done"
    tries.clear()
    with pytest.raises(TransientError, match=r"cannot log: .*database is locked"):
        tracking.call("cannot log", locked, 99)
    assert len(tries) == 5


def test_a_programming_error_is_not_dressed_up(tracking: Tracking) -> None:
    with pytest.raises(TypeError):
        tracking.call("cannot log", len, 1)  # type: ignore[arg-type]


# Many processes


def _step(where: tuple[str, str], run: str, asset: str, barrier: Any, answers: Any) -> None:
    tracking_module._import_mlflow()
    tracking = Tracking(where[0], EXPERIMENT, Claims(where[1]))
    barrier.wait(120)
    with candidate(tracking, run, asset) as made:
        made.log_params({"p": 1})
        made.log_metrics_history({f"m{n}": [0.5] * 300 for n in range(4)})
        made.log_dict({"asset": asset}, "candidate.json")
    answers.put((run, asset, made.run_id))


@pytest.mark.slow
def test_first_steps_side_by_side_of_two_dagster_runs(tmp_path: Path) -> None:
    """Nobody has made the database yet; two steps share a Dagster run, two share asset, partition and fingerprint."""
    where = (f"sqlite:///{tmp_path}/mlflow/mlflow.db", str(tmp_path / "store"))
    steps = [
        ("dagster-1", "xgboost_candidate"),
        ("dagster-1", "lightgbm_candidate"),
        ("dagster-2", "xgboost_candidate"),
    ]
    barrier, answers = SPAWN.Barrier(len(steps)), SPAWN.Queue()
    processes = [SPAWN.Process(target=_step, args=(where, *step, barrier, answers)) for step in steps]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    tracking = Tracking(*where[:1], EXPERIMENT, Claims(where[1]))
    found = runs(tracking)
    parents = {run.data.tags["dagster_run_id"]: run for run in found if run.data.tags["role"] == "parent"}
    children = [run for run in found if run.data.tags["role"] == "candidate"]
    assert (len(found), len(parents), len(children)) == (5, 2, 3)
    # The processes are gone, and none has ended the parent that it shared.
    assert {run.info.status for run in parents.values()} == {"RUNNING"}
    for child in children:
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == parents[child.data.tags["dagster_run_id"]].info.run_id
        assert len(tracking.client.get_metric_history(child.info.run_id, "m3")) == 300
    twice = [child for child in children if child.data.tags["asset"] == "xgboost_candidate"]
    assert sorted("superseded_by" in child.data.tags for child in twice) == [False, True]
    tracking.close_run("dagster-1", "SUCCESS")
    tracking.close_run("dagster-2", "FAILURE")
    assert {key: status(tracking, run.info.run_id) for key, run in parents.items()} == {
        "dagster-1": "FINISHED",
        "dagster-2": "FAILED",
    }


def _step_that_does_not_end(where: tuple[str, str], asset: str, leaves: bool, answers: Any) -> None:
    # Registered before MLflow registers anything, so called after it: what a step leaves to atexit is done by then, and
    # nothing of this process's end may tidy up.
    atexit.register(os._exit, 0)
    run = candidate(Tracking(where[0], EXPERIMENT, Claims(where[1])), "dagster-1", asset)
    answers.put((asset, run.__enter__().run_id))
    answers.close()
    answers.join_thread()
    if not leaves:
        time.sleep(600)
    atexit._run_exitfuncs()


@pytest.mark.slow
def test_killed_and_leaving_steps(tracking: Tracking) -> None:
    where = (tracking.uri, tracking.claims.store_uri)
    tracking.prepare()
    answers = SPAWN.Queue()
    steps = {
        name: SPAWN.Process(target=_step_that_does_not_end, args=(where, name, name == "leaves", answers))
        for name in ("retried", "not_retried", "leaves")
    }
    for process in steps.values():
        process.start()
    made = dict(answers.get(timeout=250) for _ in steps)
    steps["leaves"].join(60)
    for name in ("retried", "not_retried"):
        os.kill(steps[name].pid or 0, signal.SIGKILL)
        steps[name].join(60)
    assert {name: status(tracking, run_id) for name, run_id in made.items()} == dict.fromkeys(made, "RUNNING")

    with candidate(tracking, "dagster-1", "retried") as again:
        pass
    assert status(tracking, made["retried"]) == "KILLED"
    assert tags(tracking, made["retried"])["superseded_by"] == again.run_id
    assert status(tracking, made["not_retried"]) == "RUNNING"

    tracking.close_run("dagster-1", "FAILURE")
    assert {name: status(tracking, run_id) for name, run_id in made.items()} == dict.fromkeys(made, "KILLED")
    assert status(tracking, again.run_id) == "FINISHED"
    parents = runs(tracking, "tags.role = 'parent'")
    assert [parent.info.status for parent in parents] == ["FAILED"]


# Models and files, on a server


@pytest.fixture
def served(mlflow_server: Server, tmp_path: Path) -> Tracking:
    # An experiment of the test's own: the server is shared.
    return Tracking(
        mlflow_server.uri, f"exp {tmp_path.name}", Claims(str(tmp_path / "store")), cache_dir=tmp_path / "cache"
    )


def log_constant_model(tracking: Tracking, folder: Path, **more: Any) -> tuple[str, str]:
    portfolio = load_portfolio()
    with candidate(tracking, **more) as run:
        uri = run.log_model(
            constant_scorer(folder),
            input_example=example_application(pa.Table.from_pandas(applications()), portfolio),
            signature=application_signature(portfolio),
            pip_requirements=pinned("mlflow", "pandas"),
        )
    return run.run_id, uri


def applications(rows: int = 5) -> pd.DataFrame:
    columns = load_portfolio().input_columns
    return pd.DataFrame(
        {
            c.name: (["car", "medical", "car", "car", None] if c.type == "category" else [1.0, 2, 3, 4, None])
            for c in columns
        }
    ).head(rows)


@pytest.fixture
def constant_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "LOADER_MODULE", "credit_assets_tests.support.mlflow_server")


def test_a_model_logged_to_a_server_comes_back_and_is_fetched_once(
    served: Tracking, mlflow_server: Server, tmp_path: Path, constant_loader: None
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    run_id, uri = log_constant_model(served, tmp_path / "scorer")
    assert list(mlflow_server.artifacts.rglob("scorer.json")), "the server does not keep the files"
    with ThreadPoolExecutor(6) as pool:
        folders = set(pool.map(served.download, [uri] * 6))
    assert len(folders) == 1
    folder = folders.pop()
    assert (folder / "scorer.json").read_bytes() == (tmp_path / "scorer" / "scorer.json").read_bytes()
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [uri.removeprefix("models:/")]
    # Nothing is asked for again.
    away = Tracking("http://127.0.0.1:9", EXPERIMENT, served.claims, cache_dir=tmp_path / "cache")
    away._client, away._experiment = served.client, served._experiment
    assert away.download(uri) == folder
    link = served.run_link(run_id)
    assert link.value == f"{mlflow_server.uri}/#/experiments/{served.experiment_id}/runs/{run_id}"


def test_the_model_holds_no_code_and_answers_raw_columns_with_missing_integers(
    tracking: Tracking, tmp_path: Path, constant_loader: None
) -> None:
    import yaml

    _, uri = log_constant_model(tracking, tmp_path / "scorer")
    model_dir = tracking.download(uri).parents[1]
    files = {p.relative_to(model_dir).as_posix() for p in model_dir.rglob("*") if p.is_file()}
    assert files == {
        "MLmodel",
        "conda.yaml",
        "data/scorer/scorer.json",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    }
    described = yaml.safe_load((model_dir / "MLmodel").read_text())
    assert described["flavors"]["python_function"]["code"] is None
    pins = (model_dir / "requirements.txt").read_text().split()
    assert all("==" in pin for pin in pins)
    assert {pin.split("==")[0] for pin in pins} == {"mlflow", "pandas"}
    with tracking.fluent() as mlflow:
        model = mlflow.pyfunc.load_model(uri)
    frame = applications()[::-1].iloc[:, ::-1]
    assert "inquiries_6m" in frame.columns[frame.isna().any()]
    assert list(model.predict(frame).columns) == ["pd", "score"]
    with pytest.raises(Exception, match="annual_income"):
        model.predict(frame.drop(columns="annual_income"))


def test_the_example_is_nobodys_application() -> None:
    example = example_application(pa.Table.from_pandas(applications()), load_portfolio())
    assert example.to_dict("records")[0]["annual_income"] == 2.5
    assert example.to_dict("records")[0]["purpose"] == "car"
    empty = example_application(pa.Table.from_pandas(applications().head(0)), load_portfolio())
    assert empty["purpose"].tolist() == [None]


def test_a_data_set_is_recorded_with_its_digest_and_none_of_its_rows(tracking: Tracking) -> None:
    table = pa.Table.from_pandas(applications().assign(default=0, annual_income=123454321.0))
    with candidate(tracking) as run:
        run.log_dataset("training_set", digest="ab" * 32, table=table, source="s3://b/x.parquet", target="default")
    (entry,) = tracking.client.get_run(run.run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("training_set", ("ab" * 32)[:36])
    assert "s3://b/x.parquet" in entry.dataset.source
    assert '"num_rows": 5' in entry.dataset.profile
    assert "123454321" not in str(entry.dataset.to_dictionary())


def test_a_figure_is_logged(tracking: Tracking, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    with candidate(tracking) as run:
        run.log_figure(Figure(), "figures/roc.png")
    (file,) = (tmp_path / "mlflow" / "artifacts").rglob("roc.png")
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_model_that_is_not_there_is_permanent(tracking: Tracking, served: Tracking) -> None:
    for where in (tracking, served):
        with pytest.raises(PermanentError, match="cannot read a model"):
            where.download("models:/m-00000000000000000000000000000000")
        with pytest.raises(PermanentError, match="is not the URI of a logged model"):
            where.download("models:/credit-scorer/1/../../x")


def test_what_a_server_refuses_is_permanent(served: Tracking) -> None:
    with pytest.raises(PermanentError, match="cannot log to a run"), candidate(served) as run:  # noqa: PT012
        run.log_params({"a": 1})
        run.log_params({"a": 2})
    assert status(served, run.run_id) == "FAILED"


def test_on_a_server_runs_are_found_again_and_closed(served: Tracking) -> None:
    with candidate(served) as run:
        run.log_dict({"a": 1}, "candidate.json")
    found = served.find_finished("xgboost_candidate", "2024-03-31", "f1")
    assert found is not None
    assert (found.run_id, found.load_record("candidate.json")) == (run.run_id, {"a": 1})
    served.close_run("dagster-1", "CANCELED")
    assert status(served, tags(served, run.run_id)["mlflow.parentRunId"]) == "KILLED"
