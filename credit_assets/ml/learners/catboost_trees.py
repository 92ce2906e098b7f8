"""The trees of a CatBoost model as it saves them, for the contributions of features.

Belongs here: reading the library's JSON, and what its symmetric trees spare. Does not belong here: what the
contributions are (`tree_contributions`).

The library's own ShapValues of a row depend on the rows beside it: where the directions of a portfolio have given a
value to a leaf that no train row reached, it adds the rows that it is asked about to those of the train set. The
reasons of an applicant would change with who else applies. Here the weights are those of the train rows alone; where
those say nothing of a branch, both sides count alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.aside import temporary_folder
from credit_assets.ml.learners.tree_contributions import shapley

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Tree:
    """A symmetric tree: one split a level, so that the number of a row's leaf says what the row answers to each.

    `players` are the columns, or combinations of them, that its splits ask about; `masks` the bits of each in the
    number of a leaf; `shares` (leaves, players) as of `Leaves`.
    """

    values: NDArray[np.float64]
    players: tuple[tuple[int, ...], ...]
    masks: NDArray[np.int64]
    shares: NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float((self.values * self.shares.prod(axis=1)).sum())

    def contributions(self, leaves: NDArray[np.int64]) -> NDArray[np.float64]:
        """By player what it adds, for rows that end in these leaves."""
        every = np.arange(len(self.values))
        table = np.empty((len(leaves), len(self.players)))
        for row, leaf in enumerate(leaves):
            ones = ((every ^ leaf)[:, None] & self.masks) == 0
            table[row] = (shapley(self.shares, ones.astype(np.float64)) * self.values[:, None]).sum(axis=0)
        return table


# Where a model in memory keeps them.
_READ = "trees_for_contributions"


@dataclass(frozen=True)
class CatBoostForest:
    """All trees of a model, and the mean of its margins."""

    trees: tuple[Tree, ...]
    base: float

    def contributions(self, leaves: NDArray[Any], columns: int, threads: int = 1) -> NDArray[np.float64]:
        """Rows by `columns`, of rows with these numbers of leaves (rows by trees).

        A combination of categories has its share divided evenly among them.
        """
        into = np.zeros((columns, len(leaves)))

        def table(place: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
            different, of_row = np.unique(leaves[:, place], return_inverse=True)
            return self.trees[place].contributions(different.astype(np.int64)), of_row

        with ThreadPoolExecutor(threads) as pool:
            # Added in the order of the trees, however many threads there are.
            for tree, (values, of_row) in zip(self.trees, pool.map(table, range(len(self.trees))), strict=True):
                for player, members in enumerate(tree.players):
                    added = values[:, player][of_row] / len(members)
                    for member in members:
                        into[member] += added
        return into.T


def forest_of(model: Any) -> CatBoostForest:
    """The trees of a model of binary outcomes, read once."""
    found = getattr(model, _READ, None)
    if not isinstance(found, CatBoostForest):
        found = _read(model)
        setattr(model, _READ, found)
    return found


def _read(model: Any) -> CatBoostForest:
    with temporary_folder("model") as folder:
        place = folder / "model.json"
        model.save_model(str(place), format="json")
        saved = json.loads(place.read_bytes())
    scale, bias = saved["scale_and_bias"]
    split_features = _SplitFeatures(saved["features_info"])
    trees = tuple(_tree(one, split_features, scale) for one in saved["oblivious_trees"])
    return CatBoostForest(trees, sum(tree.mean for tree in trees) + float(np.sum(bias)))


class _SplitFeatures:
    """Which columns a split asks about."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._numbers = [one["flat_feature_index"] for one in info.get("float_features") or ()]
        self._categories = [one["flat_feature_index"] for one in info.get("categorical_features") or ()]
        borders = sum(len(one.get("borders") or ()) for one in info.get("float_features") or ())
        values = sum(len(one.get("values") or ()) for one in info.get("categorical_features") or ())
        # Splits are numbered through all borders of numbers, then values of categories, then borders of statistics.
        self._statistics: dict[int, tuple[int, ...]] = {}
        number = borders + values
        for one in info.get("ctrs") or ():
            members = sorted({self._member(element) for element in one["elements"]})
            for _ in one["borders"]:
                self._statistics[number] = tuple(members)
                number += 1

    def _member(self, element: Mapping[str, Any]) -> int:
        if "cat_feature_index" in element:
            return int(self._categories[element["cat_feature_index"]])
        return int(self._numbers[element["float_feature_index"]])

    def columns(self, split: Mapping[str, Any]) -> tuple[int, ...]:
        kind = split["split_type"]
        if kind == "FloatFeature":
            return (self._numbers[split["float_feature_index"]],)
        if kind == "OneHotFeature":
            return (self._categories[split["cat_feature_index"]],)
        return self._statistics[split["split_index"]]


def _tree(saved: Mapping[str, Any], split_features: _SplitFeatures, scale: float) -> Tree:
    splits: Sequence[Mapping[str, Any]] = saved.get("splits") or ()
    values = np.asarray(saved["leaf_values"], dtype=np.float64) * scale
    weights = np.asarray(saved["leaf_weights"], dtype=np.float64)
    of_level = [split_features.columns(split) for split in splits]
    players = tuple(dict.fromkeys(of_level))
    shares = np.ones((len(values), len(players)))
    leaves = np.arange(len(values))
    # The last split is the root.
    for level in range(len(splits)):
        inside = _sums(weights, level)
        above = _sums(weights, level + 1)
        share = np.divide(inside, above, out=np.full_like(inside, 0.5), where=above > 0)
        shares[:, players.index(of_level[level])] *= share[leaves]
    masks = [sum(1 << level for level, one in enumerate(of_level) if one == player) for player in players]
    return Tree(values, players, np.array(masks, np.int64), shares)


def _sums(weights: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """For each leaf, the weight of all that agree with it in all but the lowest `bits`."""
    return np.repeat(weights.reshape(-1, 1 << bits).sum(axis=1), 1 << bits)
