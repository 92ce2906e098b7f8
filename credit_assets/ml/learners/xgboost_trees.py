"""The trees of an XGBoost model as it saves them, for the contributions of features.

Belongs here: reading the library's JSON. Does not belong here: what the contributions are (`tree_contributions`).

The library's own `pred_contribs` is the same to the precision of its sums in float32, and of a model with the default
parameters takes 7 milliseconds of CPU a row: two and a half minutes for the 20,000 declined of a large day.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from credit_assets.ml.learners.tree_contributions import CHUNK, Leaves, Step, add_trees, leaves_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Where a model in memory keeps them.
_READ = "trees_for_contributions"


class _Test(NamedTuple):
    """What a split asks of a feature; the row goes right where it holds, and to `missing_right` where it has none."""

    feature: int
    least: float
    """Numbers: at least this much."""
    among: tuple[int, ...] | None
    """Categories: one of these."""
    missing_right: bool

    def of(self, column: NDArray[np.float32], gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
        holds = column >= np.float32(self.least) if self.among is None else np.isin(column, self.among)
        return np.where(gone, self.missing_right, holds)


@dataclass(frozen=True)
class XGBoostForest:
    """All trees of a model, the tests of their splits, each once, and the mean of its margins."""

    trees: tuple[Leaves, ...]
    tests: tuple[_Test, ...]
    base: float

    def contributions(self, matrix: NDArray[np.float32], threads: int = 1) -> NDArray[np.float64]:
        """Rows by features, of rows as the library is given them."""
        result = np.zeros(matrix.shape)

        def work(begin: int) -> None:
            rows = np.ascontiguousarray(matrix[begin : begin + CHUNK].T)
            gone = np.isnan(rows)
            # The last test is of the rest of paths that are shorter than others.
            answers = np.ones((len(self.tests) + 1, rows.shape[1]), np.uint8)
            for place, test in enumerate(self.tests):
                answers[place] = test.of(rows[test.feature], gone[test.feature])
            into = np.zeros(rows.shape)
            add_trees(self.trees, answers, into)
            result[begin : begin + CHUNK] = into.T

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(0, len(matrix), CHUNK)))
        return result


def forest_of(booster: Any) -> XGBoostForest:
    """The trees of a booster of binary outcomes, read once."""
    found = getattr(booster, _READ, None)
    if not isinstance(found, XGBoostForest):
        found = _read(booster)
        setattr(booster, _READ, found)
    return found


def _read(booster: Any) -> XGBoostForest:
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    saved = learner["gradient_booster"]["model"]["trees"]
    tests: dict[_Test, int] = {}
    found = [_tests_of(tree, tests) for tree in saved]
    trees = tuple(leaves_of(_paths(tree, places), len(tests)) for tree, places in zip(saved, found, strict=True))
    # "[9.5E-2]" since 3.1, "9.5E-2" before.
    rate = float(learner["learner_model_param"]["base_score"].strip("[]"))
    return XGBoostForest(trees, tuple(tests), math.log(rate / (1 - rate)) + sum(tree.mean for tree in trees))


def _tests_of(tree: Mapping[str, Any], tests: dict[_Test, int]) -> list[int]:
    """The place of the test of each node, -1 of a leaf; new tests are added."""
    kinds, places = tree["split_type"], []
    among = {
        node: tuple(tree["categories"][begin : begin + size])
        for node, begin, size in zip(
            tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
        )
    }
    for node, left in enumerate(tree["left_children"]):
        if left < 0:
            places.append(-1)
            continue
        missing_right = not tree["default_left"][node]
        feature = tree["split_indices"][node]
        if kinds[node]:
            test = _Test(feature, 0.0, among[node], missing_right)
        else:
            test = _Test(feature, tree["split_conditions"][node], None, missing_right)
        places.append(tests.setdefault(test, len(tests)))
    return places


def _paths(tree: Mapping[str, Any], places: Sequence[int]) -> list[tuple[float, tuple[Step, ...]]]:
    lefts, rights, covers = tree["left_children"], tree["right_children"], tree["sum_hessian"]
    paths: list[tuple[float, tuple[Step, ...]]] = []
    waiting: list[tuple[int, tuple[Step, ...]]] = [(0, ())]
    while waiting:
        node, path = waiting.pop()
        if places[node] < 0:
            paths.append((float(np.float32(tree["split_conditions"][node])), path))
            continue
        children = lefts[node], rights[node]
        # Their own sum, not the node's: rounded apart, the shares of the two would not come to 1.
        whole = sum(covers[child] for child in children)
        for side, child in enumerate(children):
            share = covers[child] / whole if whole else 0.5
            step = Step(tree["split_indices"][node], places[node], side, share)
            waiting.append((child, (*path, step)))
    return paths
