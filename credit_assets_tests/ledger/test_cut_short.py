"""Moves of an alias, killed before each of their effects: whoever comes next does the rest, whatever it was."""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from credit_assets.ledger.reported import recover
from credit_assets_tests.support.effects import Effects, counted
from credit_assets_tests.support.moving import WORKS, in_force, picture, prepared, tick
from credit_assets_tests.support.moving import house as opened_house

QUICK = "rollback from the past"


class Trial:
    """One kind of move: its state before, and what it leads to where nobody is killed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.work, self.folder = WORKS[name], folder
        self.base = prepared(folder / "before", name)
        self.copies = 0
        with opened_house(self.copied(), self.work.promotion) as house:
            self.before, self.days_before = picture(house), in_force(house)
            with counted(Effects()) as effects:
                self.work.act(house)
            self.effects, self.after, self.days_after = effects.seen, picture(house), in_force(house)

    def copied(self) -> Path:
        self.copies += 1
        return Path(shutil.copytree(self.base, self.folder / str(self.copies)))

    def ends_right(self, folder: Path, what: str) -> None:
        """What a killed process left is completed: by the next tick of the sensor, and by the work done again."""
        other = Path(shutil.copytree(folder, f"{folder}-other"))
        with opened_house(folder, self.work.promotion) as house:
            # Scores are right at once, before anybody has completed anything.
            assert in_force(house) in (self.days_before, self.days_after), what
            self.work.act(house)
            assert picture(house) == self.after, what
            assert recover(house.instance, house.deployment) == [], what
            self.work.act(house)
            assert picture(house) == self.after, f"{what}, and once more"
        with opened_house(other, self.work.promotion) as house:
            tick(house)
            self.settled(house, what)
        shutil.rmtree(folder)
        shutil.rmtree(other)

    def settled(self, house: Any, what: str) -> None:
        """Nobody asks again: what was begun is through, and MLflow and Dagster show what the log says."""
        found = picture(house)
        assert [v[:3] for v in found["shown"]] == found["decided"], what
        assert {alias: len(log) for alias, log in found["logs"].items()} == {
            alias: len(records) for alias, records in found["reported"].items()
        }, what
        assert len(found["requests"]) == len(found["outcomes"]), what
        assert recover(house.instance, house.deployment) == [], what


def test_a_rollback_killed_between_its_entry_and_what_mlflow_shows_is_completed(tmp_path: Path) -> None:
    """The one state of all that left two champions; the others are tried below."""
    trial = Trial(tmp_path, QUICK)
    number = next(n for n, one in enumerate(trial.effects) if "/champion/" in one and one.startswith("os.link")) + 1
    folder = trial.copied()
    with opened_house(folder, trial.work.promotion) as house, counted(Effects(number)) as effects:
        trial.work.act(house)
    assert effects.killed_before
    trial.ends_right(folder, f"before effect {number}: {trial.effects[number]}")


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_a_move_killed_before_any_of_its_effects_is_completed(name: str, tmp_path: Path) -> None:
    trial = Trial(tmp_path, name)
    assert trial.before != trial.after
    wrong: list[str] = []
    # A tag that has its value already, such as the second of a move, is not written again: effects are not equally many
    # each time, so the last one is the one that nobody killed.
    for number in itertools.count():
        folder = trial.copied()
        with opened_house(folder, trial.work.promotion) as house, counted(Effects(number)) as effects:
            trial.work.act(house)
        what = f"{name}, before effect {number}: {effects.killed_before or 'none'}"
        try:
            trial.ends_right(folder, what)
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__} {error}")
        if effects.killed_before is None:
            break
    assert number > 5
    print(f"{name}: {number + 1} kills, {len(wrong)} ended wrong")
    assert wrong == []


@pytest.mark.slow
def test_ten_that_were_ended_by_sigkill(tmp_path: Path) -> None:
    draws = random.Random(17)
    trials: dict[str, Trial] = {}
    for name in [QUICK, *draws.choices(sorted(WORKS), k=9)]:
        if name not in trials:
            trials[name] = Trial(tmp_path / name.replace(" ", "-"), name)
        trial, folder = trials[name], trials[name].copied()
        number = draws.randrange(len(trial.effects))
        command = [sys.executable, "-m", "credit_assets_tests.support.moving", str(folder), name, str(number)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        trial.ends_right(folder, f"{name}, SIGKILL before effect {number}: {trial.effects[number]}")
