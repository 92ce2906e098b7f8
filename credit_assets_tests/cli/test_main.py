"""The command line: one clear line on failure, tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from credit_assets.cli.main import app, main

runner = CliRunner()


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


class Run(Protocol):
    def __call__(self, *arguments: str, **environment: str) -> Done: ...


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A home without loans and models, for the commands that only ask: its MLflow store is made once."""
    return str(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command as its program runs it, in this process."""
    # Set for good by the command and by the instance; set here first, they are put back afterwards.
    for name in ("DAGSTER_HOME", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL", "DAGSTER_EVENT_BATCH_SIZE"):
        before = os.environ.get(name)
        monkeypatch.setenv(name, before or "")
        if before is None:
            del os.environ[name]

    def run(*arguments: str, **environment: str) -> Done:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["credit-assets", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return Done(int(ended.value.code or 0), shown.out, shown.err)

    return run


def test_every_command_has_help() -> None:
    listing = runner.invoke(app, ["--help"]).output
    commands = (
        "demo generate load replay backfill status models promote approve reject rollback trigger simulate doctor dev"
    )
    for command in commands.split():
        assert command in listing
        shown = runner.invoke(app, [command, "--help"])
        assert shown.exit_code == 0
        assert "Usage" in shown.output


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["models"], {"CREDIT_SEED": "minus"}, "CREDIT_SEED"),
        (["models"], {"CREDIT_WAREHOUS_URL": "x"}, "did you mean CREDIT_WAREHOUSE_URL?"),
        (["load", "lending-club", "/no/such/file.csv"], {}, "/no/such/file.csv: no such file"),
        (["generate", "--rows", "10", "--start", "2024-02-01", "--end", "2024-01-01"], {}, "lies after --end"),
        (["replay", "--start", "2001-01-01", "--end", "2001-01-02"], {}, "CREDIT_START_DATE"),
        (["promote", "7", "--reason", "because"], {}, "no version 7"),
        (["approve", "--reason", "because"], {}, "no model is on trial"),
        (["rollback", "--reason", "because"], {}, "no former champion"),
        (["trigger", "weather", "--reason", "rain"], {}, "unknown kind of trigger 'weather'"),
        (["simulate", "--start", "2024-01-01", "--end", "2024-02-01"], {}, "run `credit-assets generate`"),
    ],
)
def test_a_failure_is_one_line_and_a_non_zero_exit(
    arguments: list[str], environment: dict[str, str], said: str, run: Run, empty_home: str
) -> None:
    done = run(*arguments, CREDIT_HOME=empty_home, **environment)
    assert done.code == 1
    lines = [line for line in done.err.splitlines() if line.startswith("credit-assets:")]
    assert len(lines) == 1, done.err
    assert said in lines[0]
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_the_program_says_the_same_in_a_process_of_its_own() -> None:
    program = str(Path(sys.executable).parent / "credit-assets")
    failed = subprocess.run([program, "promote", "7", "--reason", "because"], capture_output=True, text=True)
    assert failed.returncode == 1
    assert [line for line in failed.stderr.splitlines() if line.startswith("credit-assets: ")]
    assert "Traceback" not in failed.stderr
    done = subprocess.run([program, "status", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["champion"] is None


def test_generate_fills_the_warehouse_once_and_reports_as_json(run: Run) -> None:
    arguments = ["generate", "--rows", "500", "--start", "2024-01-01", "--end", "2024-01-31", "--json"]
    first, second = (json.loads(run(*arguments).out) for _ in range(2))
    assert first["rows"] == 500
    assert first["warehouse"]["applications_inserted"] == 500
    assert second["warehouse"]["applications_inserted"] == 0
    assert second["warehouse"]["applications_unchanged"] == 500


def test_generate_makes_a_lenders_book_and_keeps_its_truth_apart(run: Run, tmp_path: Path) -> None:
    truth = tmp_path / "of the book" / "truth.parquet"
    arguments = ["generate", "--rows", "300", "--start", "2024-01-01", "--end", "2024-01-31", "--book", "lender"]
    first, second = (
        json.loads(run(*arguments, "--known-until", "2024-12-31", "--truth", str(truth), "--json").out)
        for _ in range(2)
    )
    assert first == second
    assert sum(first["statuses"].values()) == first["tables"]["loan_applications"] == 300
    with duckdb.connect(first["warehouse"]["url"].removeprefix("duckdb:///"), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in tables}
    # Written twice and there once; and no table has the truth.
    assert counts == first["tables"]
    known = pq.read_table(truth)
    assert known.num_rows == 300
    assert list(truth.parent.iterdir()) == [truth]
    assert {"pd", "outcome"} <= set(known.column_names)
    assert "declined" in run(*arguments).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--truth", "truth.parquet"], "--truth: give --book lender too"),
        (["--book", "bank"], "--book is loans or lender, not 'bank'"),
        (["--book", "lender", "--truth", "truth.csv"], "name a file that ends in .parquet"),
        (["--book", "lender", "--known-until", "2024-01-15"], "the book would lack its last days"),
    ],
)
def test_a_lenders_book_that_cannot_be_made_leaves_nothing(
    arguments: list[str], said: str, run: Run, empty_home: str
) -> None:
    days = ["--rows", "30", "--start", "2024-01-01", "--end", "2024-01-31"]
    done = run("generate", *days, *arguments, CREDIT_HOME=empty_home)
    assert done.code == 1
    assert said in done.err
    assert not list(Path(empty_home).rglob("*.duckdb"))


def test_a_lenders_book_is_refused_among_the_loans_of_another(run: Run) -> None:
    days = ["--rows", "30", "--start", "2024-01-01", "--end", "2024-01-31"]
    assert run("generate", *days).code == 0
    done = run("generate", *days, "--book", "lender")
    assert done.code == 1
    assert "table loan_applications is there without column customer_id, status: nothing was written" in done.err


def test_replay_and_backfill_draw_their_progress_and_say_what_they_made(run: Run) -> None:
    run("generate", "--rows", "60", "--start", "2024-01-01", "--end", "2024-01-03")
    days = ["--start", "2024-01-01", "--end", "2024-01-03"]
    made = run("backfill", *days, "--assets", "raw_loan_data,loan_outcomes")
    assert made.code == 0, made.err
    assert made.out.strip() == "raw_loan_data, loan_outcomes: 3 days in 1 runs"
    assert "backfill 2024-01-01 .. 2024-01-03: 0 of 3\n" in made.err
    assert json.loads(run("backfill", *days, "--assets", "raw_loan_data,loan_outcomes", "--json").out)["runs"] == 0
    assert json.loads(run("replay", *days, "--train", "none", "--json").out)["runs"] >= 1
    again = run("replay", *days, "--train", "none")
    assert again.code == 0, again.err


@pytest.mark.slow
def test_a_young_lender_replays_status_and_doctor_say_from_when_on_there_can_be_a_model(run: Run) -> None:
    run("generate", "--rows", "60", "--start", "2024-01-01", "--end", "2024-01-03")
    days = ["--start", "2024-01-01", "--end", "2024-01-03"]
    made = run("replay", *days, "--train", "1")
    assert made.code == 0, made.err
    text = " ".join(made.out.split())
    assert "3 ingested, 0 scored (0 applications), 3 unscored (60 applications): no champion was in force" in text
    assert "Skipped: 3 as-of dates, 2024-01-01 .. 2024-01-03, are not due" in text
    record = json.loads(run("replay", *days, "--train", "1", "--json").out)
    assert record["not_due"] == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert record["runs"] == 0
    status = json.loads(run("status", "--json").out)
    assert status["training"]["state"] == "not due"
    assert status["training"]["first_possible"] == "2025-01-02"
    assert status["assets"]["training_set"]["not_due"] == 3
    assert status["assets"]["loan_scores"]["scored"] == 0
    assert status["assets"]["loan_scores"]["unscored_applications"] == 60
    shown = " ".join(run("status").out.split())
    assert "first model: possible as of 2025-01-02" in shown
    assert "loan_scores: 0 days scored (0 applications), 3 unscored (60): no champion was in force" in shown
    findings = {one["name"]: one for one in json.loads(run("doctor", "--json").out)["findings"]}
    assert "possible as of 2025-01-02" in findings["first model"]["value"]
    asked = run("trigger", "other", "--reason", "an audit")
    assert asked.code == 0
    assert "which is passed by: not due" in " ".join(asked.out.split())


def test_status_and_models_on_an_empty_home_say_what_to_do(run: Run, empty_home: str) -> None:
    status = json.loads(run("status", "--json", CREDIT_HOME=empty_home).out)
    assert status["champion"] is None
    nothing = {"partitions": 0, "first": None, "last": None, "rejected": 0, "last_rejected": None}
    assert status["assets"]["raw_loan_data"] == nothing
    assert json.loads(run("models", "--json").out) == {"model": "credit-scorer", "versions": [], "rejected": []}
    assert "credit-assets replay" in run("models").out
