"""Rows that are not independent: sums over groups of rows, and by how much a variance grows with them.

Belongs here: what every clustered interval needs, once. Does not belong here: the intervals themselves (`evaluation`,
`intervals`), and who makes a group (`credit_assets.ml.data.customers`).

A customer who applied three times is one observation told three times, more or less: the PDs are alike, and so is
what became of them. Intervals that take the three for three are too narrow, by a third where every row stands twice.
Throughout, `groups` has one integer a row, equal for rows of one group, and is None where every row is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def places_of(groups: ArrayLike | None, rows: int) -> NDArray[np.int64] | None:
    """The number of each row's group, from 0 without gaps; None where every row is its own group.

    Raises ValueError where there is not one integer a row.

    Examples
    --------
    >>> places_of([7, 3, 7], 3).tolist(), places_of([7, 3, 1], 3)
    ([1, 0, 1], None)
    """
    if groups is None:
        return None
    given = np.asarray(groups)
    if given.shape != (rows,) or not (np.issubdtype(given.dtype, np.integer) or not rows):
        raise ValueError(f"groups must be one integer for each of the {rows} rows, not {given.dtype} {given.shape}")
    different, places = np.unique(given, return_inverse=True)
    return None if len(different) == rows else np.asarray(places, dtype=np.int64)


def design_effect(residuals: ArrayLike, groups: ArrayLike | None) -> float:
    """How many times as large the variance of a sum is with these groups as with independent rows, at least 1.

    The sum of the squared sums of the groups over the sum of the squares: exact where every group is a row twice or k
    times (2, k). Counts divided by it are those of as many independent rows, which any interval of counts then takes
    (J. N. K. Rao, A. J. Scott, A simple method for the analysis of clustered binary data, Biometrics 48, 1992). Below
    1 it is noise, or rows of one group that balance each other; no interval becomes narrower for it.

    Parameters
    ----------
    residuals
        What each row adds to the sum beyond its expectation: outcome less rate, or outcome less PD.
    groups
        The group of each row; None where every row is its own.

    Examples
    --------
    >>> design_effect([0.9, 0.9, -0.1, -0.1], [1, 1, 2, 2])
    2.0
    >>> design_effect([0.9, 0.9, -0.1, -0.1], None)
    1.0
    """
    values = np.asarray(residuals, dtype=np.float64)
    places = places_of(groups, len(values))
    alone = float(values @ values)
    if places is None or alone <= 0:
        return 1.0
    sums = np.bincount(places, weights=values)
    return max(1.0, float(sums @ sums) / alone)
