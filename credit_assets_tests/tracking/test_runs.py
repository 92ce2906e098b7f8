"""MLflow runs: reused, superseded and closed; in parallel, killed, retried and at once."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from credit_assets.failures import PermanentError
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets.tracking.fluent import import_mlflow
from credit_assets.tracking.server import Pages
from credit_assets_tests.support.mlflow_server import EXPERIMENT
from credit_assets_tests.support.tracking import candidate, find, runs, status, tags

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]
SPAWN = multiprocessing.get_context("spawn")


def test_a_candidate_is_a_finished_child_of_the_dagster_runs_parent(tracking: Tracking) -> None:
    with candidate(tracking, tags={"as_of": "2024-03-31", "code_version": "c1"}) as run:
        assert status(tracking, run.run_id) == "RUNNING"
        # The values of a batch are limited by MLflow to 100 and 1,000.
        run.log_params({f"p{n}": n for n in range(230)})
        run.log_metrics({"test_auc": 0.7})
        run.log_metrics_history({"train-logloss": [1 / (n + 1) for n in range(3001)], "short": [1.0, 0.5]})
        run.set_tags({"note": "x"})
        run.log_dict({"a": [1, 2]}, "candidate.json")
    found = tracking.server.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "xgboost_candidate 2024-03-31"
    parent = tracking.server.client.get_run(found.data.tags["mlflow.parentRunId"])
    assert (parent.info.status, parent.data.tags["dagster_run_id"]) == ("RUNNING", "dagster-1")
    assert parent.info.run_name.startswith("2024-03-31 ")
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
    curve = sorted(tracking.server.client.get_metric_history(run.run_id, "train-logloss"), key=lambda m: m.step)
    assert (curve[0].step, curve[0].value) == (1, 1.0)
    assert (curve[-1].step, curve[-1].value) == (3001, 1 / 3001)
    assert 300 < len(curve) <= 402
    assert [m.value for m in tracking.server.client.get_metric_history(run.run_id, "short")] == [1.0, 0.5]
    tracking.runs.close("dagster-1", "SUCCESS")
    assert status(tracking, parent.info.run_id) == "FINISHED"


def test_a_run_leads_back_to_the_run_and_the_asset_of_dagster(tracking: Tracking) -> None:
    tracking.server.pages = Pages(dagster="https://dagster.lender.example/")
    with candidate(tracking) as run:
        pass
    noted = tags(tracking, run.run_id)
    page = "https://dagster.lender.example"
    assert noted["mlflow.note.content"] == (
        f"Dagster: [xgboost_candidate 2024-03-31]({page}/assets/xgboost_candidate?view=partitions&partition=2024-03-31)"
        f", [run dagster-]({page}/runs/dagster-1)"
    )
    above = tags(tracking, noted["mlflow.parentRunId"])
    assert above["mlflow.note.content"] == f"Dagster: [run dagster-]({page}/runs/dagster-1)"


def test_nothing_is_noted_where_nobody_says_where_dagster_is(tracking: Tracking) -> None:
    with candidate(tracking) as run:
        pass
    assert "mlflow.note.content" not in tags(tracking, run.run_id)


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
    with tracking.server.fluent() as mlflow, mlflow.start_run(experiment_id=tracking.server.experiment_id) as other:
        with pytest.raises(PermanentError, match=f"MLflow run {other.info.run_id} is active"), candidate(tracking):
            pass
        assert mlflow.active_run().info.run_id == other.info.run_id
    assert [run.info.run_id for run in runs(tracking)] == [other.info.run_id]


def test_a_finished_run_is_reused_and_the_one_that_counts_is_marked_so(tracking: Tracking) -> None:
    def finish(fingerprint: str, run: str) -> str:
        with candidate(tracking, run, fingerprint=fingerprint) as made:
            made.log_dict({"fingerprint": fingerprint}, "candidate.json")
        return str(made.run_id)

    def counting() -> list[str]:
        found = runs(tracking, "tags.role = 'candidate'")
        return [r.data.tags["fingerprint"] for r in found if "superseded_by" not in r.data.tags]

    assert find(tracking, "f1") is None
    first = finish("f1", "dagster-1")
    found = find(tracking, "f1")
    assert found is not None
    assert (found.run_id, found.load_record("candidate.json")) == (first, {"fingerprint": "f1"})
    assert find(tracking, "f2") is None
    assert find(tracking, partition="2024-04-01") is None
    assert find(tracking, asset="lightgbm_candidate") is None

    second = finish("f2", "dagster-2")
    assert counting() == ["f2"]
    assert tags(tracking, first)["superseded_by"] == second
    # Back to the data of before: its run counts again.
    assert find(tracking, "f1").run_id == first
    assert counting() == ["f1"]
    assert tags(tracking, second)["superseded_by"] == first
    # Another partition of the asset is not concerned.
    with candidate(tracking, partition="2024-04-30", fingerprint="f9"):
        pass
    assert sorted(counting()) == ["f1", "f9"]


def test_a_run_that_ended_too_long_ago_is_made_anew_and_then_does_not_count(tracking: Tracking) -> None:
    with candidate(tracking, "dagster-1") as old:
        pass
    time.sleep(0.01)
    now = datetime.now(UTC)
    assert find(tracking, ended_after=now - timedelta(1)).run_id == old.run_id
    assert find(tracking, ended_after=now) is None
    with candidate(tracking, "dagster-2", ended_after=now) as new:
        pass
    assert tags(tracking, old.run_id)["superseded_by"] == new.run_id
    assert find(tracking, ended_after=now).run_id == new.run_id


def test_a_failed_run_is_not_reused(tracking: Tracking) -> None:
    with pytest.raises(ValueError, match="boom"), candidate(tracking):
        raise ValueError("boom")
    assert find(tracking) is None


def test_two_dagster_runs_with_the_same_fingerprint_leave_one_that_counts(tracking: Tracking) -> None:
    made = []
    for dagster_run in ("dagster-1", "dagster-2"):
        with candidate(tracking, dagster_run) as run:
            made.append(run.run_id)
    parents = {tags(tracking, run_id)["mlflow.parentRunId"] for run_id in made}
    assert len(parents) == 2
    assert [("superseded_by" in tags(tracking, run_id)) for run_id in made] == [False, True]
    assert find(tracking).run_id == made[0]


def test_closing_ends_the_parent_by_dagsters_status_and_is_repeatable(tracking: Tracking) -> None:
    for number, (dagster, mlflow) in enumerate(
        {"SUCCESS": "FINISHED", "FAILURE": "FAILED", "CANCELED": "KILLED"}.items()
    ):
        parent = tracking.runs.parent(f"dagster-{number}", "job")
        tracking.runs.close(f"dagster-{number}", dagster)
        assert status(tracking, parent) == mlflow
        ended = tracking.server.client.get_run(parent).info.end_time
        tracking.runs.close(f"dagster-{number}", "SUCCESS")
        assert (status(tracking, parent), tracking.server.client.get_run(parent).info.end_time) == (mlflow, ended)
    with pytest.raises(ValueError, match="STARTED"):
        tracking.runs.close("dagster-0", "STARTED")


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
    other = Tracking(tracking.server.uri, EXPERIMENT, Claims(tracking.claims.store_uri))

    def create_theirs() -> str:
        made = other.server.client.create_run(
            other.server.experiment_id, tags={"role": "parent", "dagster_run_id": "dagster-1"}
        )
        return str(made.info.run_id)

    ours = Tracking(tracking.server.uri, EXPERIMENT, ClaimedInBetween(tracking.claims.store_uri, create_theirs))
    winner = ours.runs.parent("dagster-1", "job")
    assert [run.info.run_id for run in runs(tracking)] == [winner]
    assert other.runs.parent("dagster-1", "job") == winner


def test_a_parent_left_by_a_process_killed_before_its_claim_is_cleared_away(tracking: Tracking) -> None:
    dying = Tracking(tracking.server.uri, EXPERIMENT, ClaimedInBetween(tracking.claims.store_uri, str, dies=True))
    with pytest.raises(MemoryError):
        dying.runs.parent("dagster-1", "job")
    parent = tracking.runs.parent("dagster-1", "job")
    assert len(runs(tracking)) == 2
    tracking.runs.close("dagster-1", "SUCCESS")
    assert [(run.info.run_id, run.info.status) for run in runs(tracking)] == [(parent, "FINISHED")]


def test_a_parent_deleted_by_hand_is_made_again(tracking: Tracking) -> None:
    first = tracking.runs.parent("dagster-1", "job")
    tracking.server.client.delete_run(first)
    second = tracking.runs.parent("dagster-1", "job")
    assert second != first
    assert tracking.runs.parent("dagster-1", "job") == second


def test_on_a_server_runs_are_found_again_and_closed(served: Tracking) -> None:
    with candidate(served) as run:
        run.log_dict({"a": 1}, "candidate.json")
    found = find(served)
    assert found is not None
    assert (found.run_id, found.load_record("candidate.json")) == (run.run_id, {"a": 1})
    served.runs.close("dagster-1", "CANCELED")
    assert status(served, tags(served, run.run_id)["mlflow.parentRunId"]) == "KILLED"


def _step(where: tuple[str, str], run: str, asset: str, barrier: Any, answers: Any) -> None:
    import_mlflow()
    tracking = Tracking(where[0], EXPERIMENT, Claims(where[1]))
    barrier.wait()
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
        process.join()
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
        assert len(tracking.server.client.get_metric_history(child.info.run_id, "m3")) == 300
    twice = [child for child in children if child.data.tags["asset"] == "xgboost_candidate"]
    assert sorted("superseded_by" in child.data.tags for child in twice) == [False, True]
    tracking.runs.close("dagster-1", "SUCCESS")
    tracking.runs.close("dagster-2", "FAILURE")
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
    where = (tracking.server.uri, tracking.claims.store_uri)
    tracking.server.prepare()
    answers = SPAWN.Queue()
    steps = {
        name: SPAWN.Process(target=_step_that_does_not_end, args=(where, name, name == "leaves", answers))
        for name in ("retried", "not_retried", "leaves")
    }
    for process in steps.values():
        process.start()
    made = dict(answers.get() for _ in steps)
    steps["leaves"].join()
    for name in ("retried", "not_retried"):
        os.kill(steps[name].pid or 0, signal.SIGKILL)
        steps[name].join()
    # One that leaves by itself has ended its run; MLflow's own end of a process would have called it FINISHED.
    ended = {name: status(tracking, run_id) for name, run_id in made.items()}
    assert ended == {"retried": "RUNNING", "not_retried": "RUNNING", "leaves": "KILLED"}

    with candidate(tracking, "dagster-1", "retried") as again:
        pass
    assert status(tracking, made["retried"]) == "KILLED"
    assert tags(tracking, made["retried"])["superseded_by"] == again.run_id
    assert status(tracking, made["not_retried"]) == "RUNNING"

    tracking.runs.close("dagster-1", "FAILURE")
    assert {name: status(tracking, run_id) for name, run_id in made.items()} == dict.fromkeys(made, "KILLED")
    assert status(tracking, again.run_id) == "FINISHED"
    parents = runs(tracking, "tags.role = 'parent'")
    assert [parent.info.status for parent in parents] == ["FAILED"]
