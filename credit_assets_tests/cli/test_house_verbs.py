"""Version, completion, environment of other programs, and help of every verb."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from credit_assets.cli.main import app

runner = CliRunner()
PASSWORD = "hunter2hunter2"


def commands() -> Iterator[tuple[str, ...]]:
    """Every verb, as the words by which it is called."""

    def below(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        found = getattr(command, "commands", None)
        if not found:
            yield words
            return
        for name, one in found.items():
            yield from below(one, (*words, name))

    return below(typer.main.get_command(app), ())


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_help_has_an_example_of_its_own_verb(words: tuple[str, ...]) -> None:
    shown = " ".join(runner.invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).output.split())
    assert "Example: " in shown
    assert f"credit-assets {' '.join(words)}" in shown.partition("Example: ")[2]


def test_the_exit_codes_stand_in_the_help() -> None:
    shown = " ".join(runner.invoke(app, ["--help"], env={"COLUMNS": "200"}).output.split())
    for code in ("0 done", "1 failed", "2 wrong usage", "130 Ctrl-C", "143 SIGTERM"):
        assert code in shown


def test_the_version_is_that_of_the_package() -> None:
    done = runner.invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"credit-assets {version('credit-assets')}\n")


def test_the_shell_completes_verbs() -> None:
    asked = {"_CREDIT_ASSETS_COMPLETE": "complete_bash", "COMP_WORDS": "credit-assets sta", "COMP_CWORD": "1"}
    program = str(Path(sys.executable).with_name("credit-assets"))
    done = subprocess.run([program], env={**os.environ, **asked}, capture_output=True, text=True)
    assert done.stdout.split() == ["status"]


def test_other_programs_find_the_same_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a home; of two words"
    monkeypatch.setenv("CREDIT_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    done = runner.invoke(app, ["env"])
    assert done.exit_code == 0
    assert (home / "dagster" / "dagster.yaml").is_file()
    names = "CREDIT_HOME", "DAGSTER_HOME", "MLFLOW_TRACKING_URI"
    # As a shell reads it.
    script = f"{done.output}printf '%s\\n' " + " ".join(f'"${name}"' for name in names)
    read = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, check=True).stdout.splitlines()
    assert read == [str(home), str(home / "dagster"), f"sqlite:///{home}/mlflow/mlflow.db"]
    assert dict(zip(names, read, strict=True)) == json.loads(runner.invoke(app, ["env", "--json"]).output)


def test_a_password_is_not_for_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:{PASSWORD}@mlflow.example")
    done = runner.invoke(app, ["env"])
    assert done.exit_code == 0
    assert PASSWORD not in done.output
    assert "MLFLOW_TRACKING_URI" not in done.output
