"""Numbers and levels that may leave the store: those that many rows have, and round ones in the place of all others.

Belongs here: how a number is told without being any applicant's. Does not belong here: what is told (a drift reference,
an input example, the ends of a feature's range).

A quantile, a median or the end of a range is the value of one applicant. A value that at least SHARED rows have says
nothing of any of them and stays. In the place of any other stands the roundest number among its neighbours, so that it
is decided by SHARED rows and not by one: of 45,678 between 45,501 and 45,840 remains 45,600 or 45,700.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARED = 10
"""Rows that stand behind each number or level that is told."""
# Digits of a number that is told between two others, where the numbers themselves lie closer than a float can say.
_DIGITS = 15
_FARTHEST = 0.25


def shown_at(ordered: NDArray[np.float64], place: int) -> float:
    """The value at a place of rising finite values if SHARED rows have it, else the roundest number near to it.

    Examples
    --------
    >>> import numpy as np
    >>> incomes = np.arange(40_013.0, 60_013.0, 37)
    >>> float(incomes[200]), shown_at(incomes, 200)
    (47413.0, 47400.0)
    >>> shown_at(np.repeat([0.0, 36.17, 60.0], 20), 30)
    36.17
    """
    value, last = float(ordered[place]), len(ordered) - 1
    if _rows_at(ordered, value) >= SHARED:
        return value
    low, high = float(ordered[max(0, place - SHARED // 2)]), float(ordered[min(last, place + SHARED // 2)])
    if low == high:
        low, high = sorted((value / 2, value * 3 / 2))
    return roundest(low, high, value)


def shown_ends(ordered: NDArray[np.float64]) -> tuple[float, float]:
    """The smallest and the largest of rising finite values, where SHARED rows have them; else a round number beyond
    them: by no more than half of what lies between the outermost SHARED rows, and a quarter of the value itself.

    Examples
    --------
    >>> import numpy as np
    >>> shown_ends(np.array([4_211.5, *range(5_000, 95_000, 1_000), 131_345.0]))
    (4000.0, 140000.0)
    """
    inner = min(SHARED, len(ordered)) - 1
    least, largest = float(ordered[0]), float(ordered[-1])
    below, above = _beyond(least, float(ordered[inner])), _beyond(largest, float(ordered[-1 - inner]))
    if len(ordered) < SHARED and least == largest:
        below = above = _FARTHEST * abs(least)
    return roundest(least - below, least, least), roundest(largest, largest + above, largest)


def shown_outwards(least: float, largest: float) -> tuple[float, float]:
    """As `shown_ends`, where nothing is known but the ends: round numbers beyond them by up to a hundredth of what lies
    between them.

    Examples
    --------
    >>> shown_outwards(4_211.5, 312_345.0)
    (4000.0, 313000.0)
    """
    beyond = (largest - least) / 100
    return roundest(least - beyond, least, least), roundest(largest, largest + beyond, largest)


def roundest(low: float, high: float, near: float) -> float:
    """Of the numbers from `low` to `high` that are multiples of the largest possible power of ten, the one nearest to
    `near`; `near` itself where there is none but those ends.

    Examples
    --------
    >>> roundest(45_501.0, 45_840.0, 45_678.0), roundest(-0.2, 0.3, 0.1), roundest(12.0, 12.0, 12.0)
    (45700.0, 0.0, 12.0)
    """
    if not low < high or not math.isfinite(high - low):
        return near
    if low <= 0 <= high:
        return 0.0
    # No multiple of a larger power lies below the larger end.
    exponent = math.floor(math.log10(max(abs(low), abs(high))))
    for power in range(exponent, exponent - _DIGITS, -1):
        found = [one for one in _multiples(low, high, near, power) if low <= one <= high]
        if found:
            return min(found, key=lambda one: abs(one - near))
    return near


def _multiples(low: float, high: float, near: float, power: int) -> list[float]:
    """The multiples of a power of ten next to `near` and to both ends, as the shortest decimals say them."""
    unit = 10.0**power
    counts = {math.floor(near / unit), math.ceil(near / unit), math.ceil(low / unit), math.floor(high / unit)}
    return [float(f"{count}e{power}") for count in sorted(counts)]


def _beyond(end: float, inner: float) -> float:
    return min(abs(end - inner) / 2, _FARTHEST * abs(end))


def _rows_at(ordered: NDArray[np.float64], value: float) -> int:
    return int(ordered.searchsorted(value, side="right") - ordered.searchsorted(value, side="left"))
