"""The loan book of the demo: a quiet time, two changes of what makes a loan default, and a drift near its end.

Belongs here: how large the book is, when what changes in it, and that it is the same loans whatever day it ends on.
Does not belong here: the distributions (`generator`), and which models are made of it (`credit_assets.cli.demo`).

How it can end on any day. The loans are drawn for fixed days, and then moved by whole weeks, so that a weekend stays a
weekend; what lies after the last day is cut off. So the first loans are the same in every book of a seed, and models
as of the same day of the book have the same figures whenever the demo is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from credit_assets.loans.draws import Draws, calendar_of, ids_of
from credit_assets.loans.generator import Shift, known_by, loans_of

ROWS, WEEKS = 170_000, 123
# A Monday. Of the days that loans are drawn for nothing is seen: only how far they lie apart.
_DRAWN_FROM = date(2001, 1, 1)
# The drifts of the generator fade with the age of a book: after so many years nothing moves but what is planted here.
_OLD = timedelta(days=6 * 365)
_LEVEL = 0.75
"""Log-odds of a default above those of the generator: 8% within a year, so that a book of this size can tell models
apart."""


@dataclass(frozen=True)
class Planted:
    """What changes in the book, and from which day of it on."""

    day: int
    what: str
    by: dict[str, float]


PLANTED = (
    Planted(
        92,
        "high utilisation of credit lines begins to matter more",
        {"utilisation_effect": 0.6, "default_log_odds": -0.25},
    ),
    Planted(
        374,
        "large loans for the income begin to matter more",
        {"loan_to_income_effect": 1.0, "default_log_odds": -0.35},
    ),
    Planted(832, "applicants with higher incomes ask for more", {"income": 1.5, "amount": 1.5}),
)


def first_day(end: date) -> date:
    """The first day of the book that ends on this day, a Monday."""
    return end - timedelta(days=end.weekday(), weeks=WEEKS - 1)


def demo_book(end: date, seed: int, planted: tuple[Planted, ...] = PLANTED) -> tuple[pa.Table, pa.Table]:
    """The applications up to `end`, and the outcomes known by then, as of `generate_book`."""
    drawn, number = calendar_of(ROWS, _DRAWN_FROM, _DRAWN_FROM + timedelta(weeks=WEEKS, days=-1), seed)
    start = first_day(end)
    day = drawn + (start - _DRAWN_FROM).days
    shifts = [Shift(start, default_log_odds=_LEVEL)]
    shifts += [Shift(start + timedelta(days=one.day), **one.by) for one in planted]
    draw = Draws.of_loans(seed, drawn, number)
    applications, outcomes = loans_of(day, ids_of(day, number, seed), start - _OLD, draw, shifts)
    last = (end - date(1970, 1, 1)).days
    return applications.filter(pa.array(np.asarray(day <= last))).combine_chunks(), known_by(
        outcomes.filter(pc.is_in(outcomes["application_id"], applications["application_id"])), end
    )
