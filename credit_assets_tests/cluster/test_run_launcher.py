"""Runs under way as the daemon's monitoring sees them while the API server is away, and once it is back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance import InstanceRef
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from credit_assets.cluster import job_sender, refusals, run_launcher
from credit_assets_tests.support import two_steps
from credit_assets_tests.support.step_runs import Run, run_of_two_steps

JOBS = "/apis/batch/v1/namespaces/credit/jobs"


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with run_of_two_steps(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def run(two: Run) -> dg.DagsterRun:
    """One under way, with its Job."""
    job = dg.reconstructable(two_steps.make_job)
    made: dg.DagsterRun = two.instance.create_run_for_job(
        job.get_definition(), job_code_origin=job.get_python_origin(), status=dg.DagsterRunStatus.STARTED
    )
    two.cluster.no_pods[""] = "as in many clusters: who looks at Jobs sees no pods"
    name = f"dagster-run-{made.run_id}"
    two.cluster.create({"metadata": {"name": name, "labels": {}}, "spec": {"template": {}}})
    return made


def looked_at(two: Run, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    """What a look of the daemon makes of the run."""
    record = two.instance.get_run_record_by_id(run.run_id)
    assert record is not None
    monitor_started_run(two.instance, None, record, logging.getLogger("daemon"))  # type: ignore[arg-type]
    after = two.instance.get_run_by_id(run.run_id)
    assert after is not None
    return after.status


def test_a_run_is_under_way_while_the_api_is_away_and_lost_once_it_says_so(
    two: Run, run: dg.DagsterRun, caplog: pytest.LogCaptureFixture
) -> None:
    assert looked_at(two, run) is dg.DagsterRunStatus.STARTED
    two.cluster.away = True
    assert [looked_at(two, run) for _ in range(2)] == [dg.DagsterRunStatus.STARTED] * 2
    assert f"run {run.run_id[:8]} is taken to be under way" in caplog.text
    assert "the Kubernetes API does not answer" in caplog.text
    two.cluster.away = False
    assert looked_at(two, run) is dg.DagsterRunStatus.STARTED
    two.cluster.delete(f"dagster-run-{run.run_id}")
    assert looked_at(two, run) is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize(
    ("code", "words"), [(503, "etcdserver: request timed out"), (403, "is forbidden: User cannot get")]
)
def test_an_api_that_refuses_to_say_ends_no_run(two: Run, run: dg.DagsterRun, code: int, words: str) -> None:
    asked = f"GET {JOBS}/dagster-run-{run.run_id}/status"
    two.cluster.denied[asked] = {"kind": "Status", "status": "Failure", "message": words, "code": code}
    assert looked_at(two, run) is dg.DagsterRunStatus.STARTED
    del two.cluster.denied[asked]
    two.cluster.delete(f"dagster-run-{run.run_id}")
    assert looked_at(two, run) is dg.DagsterRunStatus.FAILURE


@pytest.mark.timeout(60)
def test_an_api_that_takes_a_question_and_says_nothing_stops_no_daemon(
    two: Run, run: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "TIMEOUT", (0.2, 0.2))
    launcher: Any = two.instance.run_launcher
    two.cluster.speaks.clear()
    assert looked_at(two, run) is dg.DagsterRunStatus.STARTED
    assert not launcher.terminate(run.run_id)
    two.cluster.speaks.set()
    while two.cluster.alive:
        threading.Event().wait(0.01)


def test_an_api_that_is_back_between_two_questions_is_believed(
    two: Run, run: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher: Any = two.instance.run_launcher
    ask = launcher._api_client.get_job_status
    two.cluster.alive[f"dagster-run-{run.run_id}"]["spec"]["podReplacementPolicy"] = "Failed"
    answers = iter([ConnectionResetError("away for a moment")])

    def once_away(**about: Any) -> Any:
        if (error := next(answers, None)) is not None:
            raise error
        return ask(**about)

    monkeypatch.setattr(launcher._api_client, "get_job_status", once_away)
    assert launcher.check_run_worker_health(run).status.name == "RUNNING"
    assert next(answers, None) is None


def test_a_run_that_is_ended_while_the_api_is_away_has_its_job_deleted_once_it_is_back(
    two: Run, run: dg.DagsterRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would work on beside the run in its place, and nobody would ask for its end again."""
    monkeypatch.setattr(job_sender, "PAUSE", timedelta(0))
    launcher: Any = two.instance.run_launcher
    two.cluster.away = True
    assert not launcher.terminate(run.run_id)
    said = [one.dagster_event.message for one in two.instance.all_logs(run.run_id) if one.dagster_event]
    assert said[-1].startswith(f"Job dagster-run-{run.run_id} is deleted as soon as the Kubernetes API takes it")
    two.cluster.away = False
    while two.cluster.alive:
        threading.Event().wait(0.01)


def test_a_job_that_may_not_be_deleted_is_named_with_who_can(two: Run, run: dg.DagsterRun) -> None:
    launcher: Any = two.instance.run_launcher
    words = {"code": 403, "message": "cannot delete resource jobs"}
    two.cluster.denied[f"DELETE {JOBS}/dagster-run-{run.run_id}"] = words
    assert not launcher.terminate(run.run_id)
    said = [one.dagster_event.message for one in two.instance.all_logs(run.run_id) if one.dagster_event]
    assert said[-1] == (
        f"Job dagster-run-{run.run_id} works on: it may not be deleted from here. kubectl -n credit delete job "
        f"dagster-run-{run.run_id}"
    )


@pytest.mark.parametrize(("given", "found"), [({}, "lending"), ({"job_namespace": "elsewhere"}, "elsewhere")])
def test_runs_are_where_their_launcher_is_unless_it_is_told(
    two: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], found: str
) -> None:
    (tmp_path / "namespace").write_text("lending\n")
    monkeypatch.setattr(run_launcher, "NAMESPACE", tmp_path / "namespace")
    config = two.cluster.instance_config(tmp_path)
    del config["config"]["job_namespace"]
    config["config"] |= given
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"run_launcher": config}))
    launcher: Any = InstanceRef.from_dir(str(tmp_path)).run_launcher
    assert launcher.job_namespace == found
