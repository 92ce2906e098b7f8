"""What each feature adds to what an ensemble of trees says of a row: exact, path-dependent TreeSHAP for many rows.

Belongs here: the values for trees of any shape, from their leaves. Does not belong here: how a library's trees are read
(its own module), and what becomes of the values (`credit_assets.ml.learners.scorer`).

A tree's value of a coalition of features is its mean over the leaves that these features leave open, each branch with
the share of the train rows that went there; what a feature adds is its Shapley value in that game, and all of them
together are the row's value less the tree's mean. The value of a leaf is a product over the features on its path, so
that the Shapley value of one of them is an integral of a polynomial, which Gauss-Legendre quadrature has exactly:

    value * (one_i - share_i) * integral over t in 0..1 of the product over the others of (share_j (1 - t) + one_j t)

where `one` is 1 if the row meets all that the path asks of the feature, and `share` the share of rows that did. It
follows from the pattern of the features that are met, so that it is worked out once a pattern and not once a row.
Values and the order of their sums depend on the row alone, whoever else is asked about. Source: S. M. Lundberg and
others, Nature Machine Intelligence 2, 2020; the tests hold it against the libraries' own and against brute force.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 8_192
"""Rows at a time."""
_MOST_VALUES = 2**22


@dataclass(frozen=True)
class Leaves:
    """The leaves of one tree, `L` of them, with at most `D` features and `K` tests on a path.

    `features` (L, D) has -1 where a path has fewer; `shares` (L, D) the share of the train rows that met all tests of
    the feature among those that came to them, 1 where there is none. `tests`, `sides` and `slots` (L, K) say which test
    must have which result, and to which feature of the path it belongs.
    """

    values: NDArray[np.float64]
    features: NDArray[np.intp]
    shares: NDArray[np.float64]
    tests: NDArray[np.intp]
    sides: NDArray[np.uint8]
    slots: NDArray[np.uint8]

    @property
    def mean(self) -> float:
        """The tree's value of the coalition of nobody."""
        return float((self.values * self.shares.prod(axis=1)).sum())


@dataclass(frozen=True)
class Step:
    """A test on the way to a leaf: of which feature, whether its result must be 1, and the share of rows with that."""

    feature: int
    test: int
    side: int
    share: float


def leaves_of(paths: Sequence[tuple[float, Sequence[Step]]], always: int) -> Leaves:
    """The leaves from their values and paths; `always` is a test that every row answers with 1."""
    most = max(1, max(len(path) for _, path in paths))
    wide = max(1, max(len({step.feature for step in path}) for _, path in paths))
    count = len(paths)
    features, shares = np.full((count, wide), -1, np.intp), np.ones((count, wide))
    tests, sides = np.full((count, most), always, np.intp), np.ones((count, most), np.uint8)
    slots = np.zeros((count, most), np.uint8)
    for leaf, (_, path) in enumerate(paths):
        places: dict[int, int] = {}
        for at, step in enumerate(path):
            slot = places.setdefault(step.feature, len(places))
            features[leaf, slot] = step.feature
            shares[leaf, slot] *= step.share
            tests[leaf, at], sides[leaf, at], slots[leaf, at] = step.test, step.side, slot
    return Leaves(np.array([value for value, _ in paths]), features, shares, tests, sides, slots)


def shapley(shares: NDArray[np.float64], ones: NDArray[Any]) -> NDArray[np.float64]:
    """The Shapley values of the features (last axis) of a path that ends in 1: `ones` (0 or 1) where a feature is met.

    A feature with share 1 that is met adds nothing, and changes nothing of the others.

    >>> shapley(np.array([0.25, 0.5]), np.array([1, 1])).tolist()
    [0.5625, 0.3125]
    """
    size = shares.shape[-1]
    nodes, weights = np.polynomial.legendre.leggauss((size + 1) // 2)
    total = np.zeros(np.broadcast_shapes(shares.shape, ones.shape))
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        factors = shares * (1 - node) + ones * node
        others = np.full_like(factors, weight)
        # Products of those before and of those after it: no division, which a share of 0 would not bear.
        for place in range(1, size):
            others[..., place] = others[..., place - 1] * factors[..., place - 1]
        after = np.ones(factors.shape[:-1])
        for place in range(size - 2, -1, -1):
            after = after * factors[..., place + 1]
            others[..., place] *= after
        total += others
    return total * (ones - shares)


def add_trees(trees: Iterable[Leaves], results: NDArray[np.uint8], into: NDArray[np.float64]) -> None:
    """Add what each feature (rows of `into`) adds for each row (columns) in these trees, given each test's result for
    each row (tests by rows, 0 or 1).
    """
    rows = results.shape[1]
    for tree in trees:
        wide = tree.features.shape[1]
        patterns = _patterns(tree, results)
        own = np.zeros_like(into)
        if 2**wide <= rows and len(tree.values) * 2**wide * wide <= _MOST_VALUES:
            _by_table(tree, patterns, own)
        else:
            _by_row(tree, patterns, own)
        into += own


def _patterns(tree: Leaves, results: NDArray[np.uint8]) -> NDArray[Any]:
    """By leaf and row, a bit for each feature of the path that the row meets."""
    wide = tree.features.shape[1]
    kind = np.uint8 if wide <= 8 else np.uint16 if wide <= 16 else np.uint64
    missed = np.zeros((len(tree.values), results.shape[1]), kind)
    for at in range(tree.tests.shape[1]):
        differs = (results[tree.tests[:, at]] ^ tree.sides[:, at, None]).astype(kind, copy=False)
        missed |= differs << tree.slots[:, at, None].astype(kind)
    return np.bitwise_xor(missed, kind(2**wide - 1))


def _bits(patterns: NDArray[Any], wide: int) -> NDArray[Any]:
    """The bits of patterns, along a last axis."""
    bits: NDArray[Any] = (patterns[..., None] >> np.arange(wide, dtype=patterns.dtype)) & patterns.dtype.type(1)
    return bits


def _by_table(tree: Leaves, patterns: NDArray[Any], into: NDArray[np.float64]) -> None:
    wide = tree.features.shape[1]
    every = _bits(np.arange(2**wide, dtype=patterns.dtype), wide)
    tables = shapley(tree.shares[:, None, :], every) * tree.values[:, None, None]
    tables = np.ascontiguousarray(tables.transpose(0, 2, 1))
    found = np.empty(patterns.shape[1])
    for leaf, of_leaf in enumerate(patterns):
        places = of_leaf.astype(np.intp)
        for slot in range(wide):
            feature = tree.features[leaf, slot]
            if feature >= 0:
                np.take(tables[leaf, slot], places, out=found, mode="clip")
                into[feature] += found


def _by_row(tree: Leaves, patterns: NDArray[Any], into: NDArray[np.float64]) -> None:
    wide = tree.features.shape[1]
    used = tree.features.ravel() >= 0
    features = tree.features.ravel()[used]
    most = max(1, _MOST_VALUES // (len(tree.values) * wide))
    for begin in range(0, patterns.shape[1], most):
        some = _bits(patterns[:, begin : begin + most], wide)
        values = shapley(tree.shares[:, None, :], some) * tree.values[:, None, None]
        for row in range(some.shape[1]):
            # Adds in the order of leaves and of their features, as with tables.
            into[:, begin + row] += np.bincount(features, values[:, row, :].ravel()[used], minlength=len(into))
