"""The benchmark of refreshes: its worlds are what it says of them, and its claims hold in small."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.moving import BOOKS, ERROR, SPREAD, WAYS, WORLDS, Lives

NOTHING, SLOWLY, JUMPS, CREEP = WORLDS
ALONE, DEFAULT, MOVED, PLAIN = WAYS
COUNT = 12


def lived(world: object, way: object, bads: int = 75) -> np.ndarray:
    """Means over books: refreshes a year, AUC lost, and share that ends below the first by more than the margin."""
    lives = Lives(COUNT, bads, BOOKS[0], world)  # type: ignore[arg-type]
    return np.mean([lives.lived(one, way) for one in range(COUNT)], axis=0)  # type: ignore[arg-type]


def test_models_differ_by_what_the_world_says_and_by_chance() -> None:
    lives = Lives(400, 75, BOOKS[0], SLOWLY)
    found = [lives.compared(12, 0, one, []) for one in range(400)]
    errors = np.array([one["standard_error"] for one in found])
    assert np.mean(errors) == pytest.approx(ERROR / np.sqrt(75), rel=0.15)
    # A model of a year later is worth .02 more, whatever else its own worth is.
    true = np.array([lives.worth(12, one, (60, 62)) - lives.worth(0, one, (60, 62)) for one in range(400)])
    assert np.mean(true) == pytest.approx(0.02 * 360 / 365, abs=0.001)
    assert np.std(true) == pytest.approx(SPREAD * np.sqrt(2), rel=0.15)
    apart = np.array([one["difference"] for one in found]) - true
    assert np.std(apart / errors) == pytest.approx(1.0, abs=0.1)


def test_where_nothing_changes_tests_together_take_few_and_none_for_the_worse() -> None:
    taken, _, worse = lived(NOTHING, DEFAULT)
    assert taken < 1.0
    assert worse == 0


def test_a_moving_book_gets_its_models_where_drift_says_so() -> None:
    lost = {way.name: lived(SLOWLY, way)[1] for way in (ALONE, DEFAULT, MOVED)}
    assert lost[DEFAULT.name] < lost[ALONE.name]
    assert lost[MOVED.name] < 0.5 * lost[DEFAULT.name]


def test_a_chain_of_models_that_are_each_worse_does_not_come_down_far() -> None:
    assert lived(CREEP, DEFAULT)[2] <= 0.05
    assert lived(CREEP, MOVED)[2] <= 0.2
    assert lived(CREEP, PLAIN)[2] > 0.5
