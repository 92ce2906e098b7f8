"""A full disk, and one that may not be written, below the store, MLflow's folder and Dagster's, met by commands.
Each says in a line which folder it is and what to do, ends with 1, and does its work once the disk is well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from credit_assets.cli.main import main
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import LAST, SMALL, TRAINED, copied_home
from credit_assets_tests.support.killed import PROGRAM

FULL, READ_ONLY = "full", "read-only"
FILLER = "filler"
ADVICE = {FULL: ("free some space",), READ_ONLY: ("give this user the right", "see that its folder can be written")}


class Disk:
    """A small disk of its own, mounted over a folder with all that is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        beside = folder.with_name(f"{folder.name}.before")
        folder.rename(beside)
        folder.mkdir()
        held = sum(file.stat().st_size + 8192 for file in beside.rglob("*"))
        self._mount("-t", "tmpfs", "-o", f"size={held + 2**26}", "tmpfs", str(folder))
        shutil.copytree(beside, folder, dirs_exist_ok=True)

    def _mount(self, *how: str) -> None:
        if os.geteuid() or subprocess.run(["mount", *how], check=False, capture_output=True).returncode:
            pytest.skip("a small disk can be mounted by root alone, and not in every container")

    def breaks(self, fault: str) -> None:
        if fault == READ_ONLY:
            self._mount("-o", "remount,ro", str(self.folder))
            return
        with (self.folder / FILLER).open("wb", buffering=0) as file:
            block = bytes(2**16)
            try:
                while True:
                    block = block[: file.write(block)]
            except OSError:
                pass

    def heals(self, fault: str) -> None:
        if fault == READ_ONLY:
            self._mount("-o", "remount,rw", str(self.folder))
        else:
            (self.folder / FILLER).unlink()

    def ends(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False)


@pytest.fixture
def home(ingested_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = copied_home(ingested_home, tmp_path / "home")
    values = {**SMALL, "home": found, "variants": "lightgbm", "variant_params": {"lightgbm": {"num_leaves": 7}}}
    for name, value in environment(values).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return found


@pytest.fixture
def disk(home: Path) -> Iterator[Callable[[str], Disk]]:
    made: list[Disk] = []

    def of(place: str) -> Disk:
        made.append(Disk(home / place))
        return made[-1]

    yield of
    for one in made:
        one.ends()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [FULL, READ_ONLY])
@pytest.mark.parametrize("place", ["store", "mlflow", "dagster"])
def test_a_place_that_fails_is_named_and_the_command_goes_on_once_it_is_well(
    place: str,
    fault: str,
    home: Path,
    disk: Callable[[str], Disk],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["credit-assets", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        shown = capfd.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    # Only a training writes into MLflow.
    train = "last" if place == "mlflow" else "none"
    commands = {
        "replay": ["replay", "--start", str(TRAINED), "--end", str(TRAINED), "--train", train, "--again"],
        "backfill": ["backfill", "--start", str(LAST), "--end", str(LAST), "--again"],
        "status": ["status"],
    }
    broken = disk(place)
    broken.breaks(fault)
    told: dict[str, str] = {}
    for name, arguments in commands.items():
        code, out, error = run(*arguments)
        lines = [line for line in error.splitlines() if line.startswith("credit-assets:")]
        told[name] = f"{code}: {lines}"
        assert "Traceback" not in out + error, error
        assert "INSERT" not in out + error
        assert "sqlalche.me" not in out + error
        if name == "replay" or (name == "backfill" and place != "mlflow"):
            assert code == 1, (name, error)
            assert len(lines) == 1, error
            assert str(broken.folder) in lines[0], lines
            assert any(one in lines[0] for one in ADVICE[fault]), lines
    broken.heals(fault)
    # As a person runs them again: in a process that has no connection of before.
    for name, arguments in commands.items():
        done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, (name, done.stderr, told[name])
