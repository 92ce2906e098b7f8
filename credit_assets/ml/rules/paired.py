"""Differences of two AUCs on the same rows: that of one test, and those of several tests that share no row, together.

Belongs here: arithmetic on recorded differences. Does not belong here: which comparisons there were
(`credit_assets.assets.earlier_tests`) and what follows from them (`comparison_rules`).

A champion that stays is compared once a training with the newest model, each time on the newest test. Those tests whose
rows do not overlap are independent evidence on one question: what a model of this book gains over the champion for
being newer. Together they are taken to gain in proportion to how much newer they are, so that the newest counts most;
where nothing changes all gain nothing, whatever the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from credit_assets.ml.rules.levels import errors_of
from credit_assets.ml.rules.recorded_measures import measure


@dataclass(frozen=True)
class Paired:
    """The difference of two AUCs, its standard error, on how many independent bads and goods, and these in words."""

    difference: float
    error: float
    bads: int
    goods: int
    rows: str

    def low(self, level: float) -> float:
        """The lower end of its one-sided interval."""
        return max(-1.0, self.difference - self._half(level))

    def high(self, level: float) -> float:
        return min(1.0, self.difference + self._half(level))

    def _half(self, level: float) -> float:
        # Models that order alike have no error, however many standard errors are asked for.
        return errors_of(level, self.bads, self.goods) * self.error if self.error else 0.0


def paired_of(compared: Mapping[str, Any], what: str) -> Paired:
    """The recorded difference `compared`; `what` names it in the message of what it lacks (`recorded_measures`)."""
    difference, error = (measure(compared, name, what) for name in ("difference", "standard_error"))
    rows, bads = (int(measure(compared, name, what)) for name in ("rows", "bads"))
    alone = int(compared.get("independent_bads", bads)), int(compared.get("independent_goods", rows - bads))
    return Paired(difference, error, *alone, f" on the same {rows:,} rows ({bads:,} bads)")


def together(newest: Paired, newer_by: float, earlier: Sequence[Mapping[str, Any]]) -> Paired:
    """What the newest model gains over the champion, by its own test and by `earlier` ones, none of which has a row of
    another: differences of models that are newer than the champion by so many days (`newer_by` of each).

    Of differences d with standard errors s, by models that are newer by g days, the gain a day is sum(g d / s^2) over
    sum(g^2 / s^2): least squares of a line through zero. One without an error, of models that order alike, tells
    nothing of the others and stays alone.

    Examples
    --------
    >>> newest = Paired(0.02, 0.01, 60, 900, "")
    >>> before = {"newer_by": 100, "difference": 0.0, "standard_error": 0.01, "rows": 900, "bads": 50}
    >>> found = together(newest, 200, [before])
    >>> round(found.difference, 4), round(found.error, 4), found.bads
    (0.016, 0.0089, 110)
    """
    others = [(paired_of(one, "earlier test"), max(1.0, float(one["newer_by"]))) for one in earlier]
    tests = [(newest, max(1.0, newer_by)), *((one, days) for one, days in others if one.error)]
    if not newest.error or len(tests) == 1:
        return newest
    weight = sum((days / one.error) ** 2 for one, days in tests)
    a_day = sum(days * one.difference / one.error**2 for one, days in tests) / weight
    bads, goods = sum(one.bads for one, _ in tests), sum(one.goods for one, _ in tests)
    more = len(tests) - 1
    rows = f"{newest.rows} and {more:,} earlier {'test' if more == 1 else 'tests'} ({bads - newest.bads:,} bads)"
    own = tests[0][1]
    return replace(newest, difference=own * a_day, error=own / math.sqrt(weight), bads=bads, goods=goods, rows=rows)
