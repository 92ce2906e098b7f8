"""A deterministic loan book of any size, calibrated on the published LendingClub statistics of 2007 to 2011.

Belongs here: the distributions, their drifts and the default model of made-up loans. Does not belong here: writing to
a warehouse. No row describes a person.

How it is made. Every draw is a hash of (seed, application day, number of the loan in its day, variable), not the next
value of a stream. So the n-th loan of a day is the same loan whatever the size of the book, its last day, or the order
of the work; only the number of loans a day has follows from `rows` and the length of the book. Its drifts, and so its
loans, follow from the time since `start` (t, in years), not from the calendar. `end` cuts off outcomes only.

What drifts with t, as in the real book: inquiries fall (mean 2.8 to 0.9), amounts rise (median 6,000 to 10,000),
60-month terms appear after a quarter and reach 35 %, rates of the two terms part, delinquencies fall, debt service
rises a little, utilisation jumps by about .06 at t = 4.25. What holds: default by rate, utilisation, purpose and term.

Calibration: 15 to 16 % of loans default in their life and 4 to 5 % within 365 days (the real book: 15.1 % and
2.9 %; more early bads so that a short book can be modelled); median time to outcome 21 months for bads and 35 for
goods. A gradient boosting model reaches an out-of-time AUC of .67 to .69, as on the real loans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtr

from credit_assets.loans.draws import Draws, calendar_of, dates_of, ids_of, pick, refuse_impossible

_CHUNK_ROWS = 1 << 18
_DAYS_PER_MONTH = 365.25 / 12
_PURPOSES = {  # share of loans, default log-odds against the mean
    "debt_consolidation": (0.465, 0.03), "credit_card": (0.129, -0.25), "other": (0.104, 0.15),
    "home_improvement": (0.075, -0.05), "major_purchase": (0.054, -0.30), "small_business": (0.047, 0.75),
    "car": (0.038, -0.30), "wedding": (0.024, -0.30), "medical": (0.018, 0.15), "moving": (0.015, 0.15),
    "house": (0.010, 0.10), "educational": (0.010, 0.30), "vacation": (0.009, 0.05), "renewable_energy": (0.002, 0.25),
}  # fmt: skip
_EMPLOYMENT = (0.119, 0.0845, 0.1115, 0.1026, 0.0858, 0.0813, 0.0558, 0.0441, 0.0374, 0.0315, 0.2203)  # 0 to 10 years
_STATES = {
    "CA": 175, "NY": 96, "FL": 73, "TX": 69, "NJ": 47, "IL": 39, "PA": 39, "GA": 35, "VA": 35, "MA": 34, "OH": 31,
    "MD": 26, "AZ": 22, "WA": 21, "CO": 20, "NC": 20, "CT": 19, "MI": 19, "MO": 18, "MN": 15, "NV": 12, "SC": 11,
    "WI": 11, "AL": 11, "LA": 11, "OR": 11, "KY": 8, "OK": 7, "KS": 7, "UT": 6, "AR": 6, "DC": 5, "RI": 5, "NM": 5,
    "NH": 4, "WV": 4, "HI": 4, "DE": 3, "WY": 2, "MT": 2, "AK": 2, "SD": 2, "VT": 2,
}  # fmt: skip
# Months from application to outcome at the quantiles 0, .1, ... 1, by term.
_MONTHS_TO_DEFAULT = {
    36: (5.2, 8.0, 9.8, 11.9, 15.5, 20.0, 23.8, 27.5, 31.0, 35.5, 41.0),
    60: (5.2, 9.3, 12.0, 16.0, 21.0, 26.0, 30.5, 36.0, 42.0, 50.0, 65.0),
}
MONTHS_TO_PAID = {
    36: (1.0, 11.0, 17.5, 24.0, 30.0, 34.5, 36.0, 36.3, 36.8, 37.0, 40.0),
    60: (1.0, 11.0, 20.0, 29.0, 37.0, 44.0, 51.0, 58.0, 60.0, 61.0, 66.0),
}
_STEP = 0.37  # rates come in steps, as of 35 sub-grades


@dataclass(frozen=True)
class Shift:
    """A break on top of the drifts, for applications from `since` on. The defaults change nothing."""

    since: date
    income: float = 1.0  # factor
    amount: float = 1.0  # factor
    inquiries: float = 1.0  # factor on the mean
    utilisation: float = 0.0  # standard deviations of its latent variable
    rate: float = 0.0  # percentage points
    default_log_odds: float = 0.0
    utilisation_effect: float = 0.0  # log-odds of a default, more for each standard deviation of utilisation
    loan_to_income_effect: float = 0.0  # log-odds of a default, more for each unit of log(amount / income)


@dataclass(frozen=True)
class _Shifts:
    """What shifts come to for each application."""

    shifts: Sequence[Shift]
    day: np.ndarray

    def factor(self, name: str) -> np.ndarray:
        return self._of(name, 1.0, np.multiply)

    def added(self, name: str) -> np.ndarray:
        return self._of(name, 0.0, np.add)

    def _of(self, name: str, nothing: float, join: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        value = np.full(len(self.day), nothing)
        for shift in self.shifts:
            since = (shift.since - date(1970, 1, 1)).days
            value = join(value, np.where(self.day >= since, getattr(shift, name), nothing))
        return value


def generate_book(
    rows: int,
    start: date,
    end: date,
    seed: int,
    shift: Shift | None = None,
    *,
    outcomes_until: date | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Exactly `rows` applications from `start` to `end`, and the outcomes known by `outcomes_until` (default: `end`).

    Applications carry the columns of the packaged portfolio, sorted by (day, id); outcomes the three columns of
    `loan_outcomes`, sorted likewise. The same arguments give the same bytes. Ids carry the seed, so books of different
    seeds do not overwrite each other in a warehouse.

    Raises ValueError for less than one row, an end before the start, or a seed out of range.
    """

    refuse_impossible(rows, start, end, seed)
    day, number = calendar_of(rows, start, end, seed)
    parts = [
        loans_of(one, ids_of(one, of_day, seed), start, Draws.of_loans(seed, one, of_day), [shift] if shift else [])
        for i in range(0, rows, _CHUNK_ROWS)
        for one, of_day in [(day[i : i + _CHUNK_ROWS], number[i : i + _CHUNK_ROWS])]
    ]
    applications = pa.concat_tables(part for part, _ in parts).combine_chunks()
    return applications, known_by(pa.concat_tables(part for _, part in parts), outcomes_until or end)


def known_by(outcomes: pa.Table, until: date) -> pa.Table:
    """Those of the outcomes that are known by the end of that day, sorted by (day, id)."""
    known = outcomes.filter(pc.less_equal(outcomes["outcome_date"], pa.scalar(until)))
    return known.sort_by([("outcome_date", "ascending"), ("application_id", "ascending")]).combine_chunks()


@dataclass(frozen=True)
class Applicants:
    """Some applications as drawn: the columns that a lender stores, and what the generator knows besides.

    `log_odds`: of a default in the life of the loan; `by_person`: the part of them that is income, debt, inquiries,
    arrears and employment, against other applicants of the time; `hidden`: what the lender saw and the columns do not
    show, with its share of the log-odds, HIDDEN.
    """

    columns: pa.Table
    log_odds: np.ndarray
    by_person: np.ndarray
    hidden: np.ndarray
    long: np.ndarray


HIDDEN = 0.42


def loans_of(
    day: np.ndarray, ids: pa.Array, start: date, draw: Draws, shifts: Sequence[Shift]
) -> tuple[pa.Table, pa.Table]:
    """The applications of these days and their outcomes, whenever they become known. Drifts count from `start`."""

    drawn = draw_applicants(day, ids, start, (draw, draw), shifts)
    log_odds, long = drawn.log_odds, drawn.long
    defaulted = draw.uniform("default") < 1 / (1 + np.exp(-log_odds))
    # The riskier of the bads go bad sooner.
    when = np.where(defaulted, draw.uniform("when") ** np.exp(0.13 * (log_odds + 1.9)), draw.uniform("paid"))
    months = np.empty(len(day))
    for is_long, term in ((False, 36), (True, 60)):
        for bad, table in ((True, _MONTHS_TO_DEFAULT), (False, MONTHS_TO_PAID)):
            here = (long == is_long) & (defaulted == bad)
            months[here] = np.interp(when[here], np.linspace(0, 1, 11), table[term])
    known = day + np.floor(months * _DAYS_PER_MONTH).astype("int64")

    applications = drawn.columns
    outcomes = pa.table(
        {
            "application_id": applications["application_id"],
            "outcome_date": dates_of(known),
            "defaulted": pa.array(defaulted.astype("int8")),
        }
    )
    return applications, outcomes


def draw_applicants(
    day: np.ndarray, ids: pa.Array, start: date, draws: tuple[Draws, Draws], shifts: Sequence[Shift] = ()
) -> Applicants:
    """The applications of these days. `draws`: of the person, and of the application."""

    person, draw = draws
    t = (day - (start - date(1970, 1, 1)).days) / 365.25
    by = _Shifts(shifts, day)

    # Applicant
    z_income, z_debt = person.normal("income"), person.normal("debt")
    income = np.round(59_000 * np.exp(0.55 * z_income) * by.factor("income"), -2).clip(1_900)
    debt_service = (11.2 + 2.6 * (1 - np.exp(-t / 1.5)) + 6.9 * (0.995 * z_debt - 0.09 * z_income)).clip(0, 29.99)
    z_util = 0.27 * z_debt + 0.963 * person.normal("utilisation") + by.added("utilisation") + 0.22 * (t >= 4.25)
    no_balance = person.uniform("no_balance") < 0.022
    utilisation = np.where(no_balance, 0.0, np.round(ndtr(z_util) ** 1.03, 3))
    z_open = 0.31 * z_debt + 0.31 * z_income + 0.9 * person.normal("open")
    open_accounts = np.round(8.4 * np.exp(0.46 * z_open)).clip(1, 47)
    z_balance = 0.42 * z_income + 0.28 * z_debt + 0.15 * z_open + 0.8 * person.normal("balance")
    balance = np.round(11_500 * np.exp(0.85 * z_balance) * (utilisation / 0.5) ** 0.7)
    # As computed from the published files: no limit where utilisation is under 1 %.
    limit = np.where(utilisation >= 0.01, np.round(balance / np.maximum(utilisation, 0.01), 2), np.nan)
    mean_inquiries = (0.75 + 2.1 * np.exp(-t / 1.6)) * by.factor("inquiries")
    inquiries = np.floor(np.log(person.uniform("inquiries")) / np.log(mean_inquiries / (1 + mean_inquiries))).clip(
        0, 33
    )
    some_late = person.uniform("delinquencies") / (0.108 + 0.08 * np.exp(-t))
    delinquencies = np.where(some_late < 1, 1 + np.floor(np.log(some_late.clip(1e-12, 1)) / np.log(0.21)), 0).clip(
        0, 13
    )
    no_employment = person.uniform("missing") < 0.026
    employment = np.where(no_employment, np.nan, pick(person.uniform("employment"), _EMPLOYMENT))
    purpose = pick(draw.uniform("purpose"), [share for share, _ in _PURPOSES.values()])
    # Owners of a house earn more: the shares of renters and of mortgages meet at the mean.
    home = pick(ndtr(person.normal("home") * 0.92 + z_income * 0.39), (0.477, 0.0765, 0.0005, 0.003, 0.443))
    state = pick(person.uniform("state"), list(_STATES.values()))

    # Loan
    long = draw.uniform("term") < np.where(t < 0.25, 0.0, 0.35 * (1 - np.exp(-(t - 0.25) / 0.5)))
    typical = np.where(long, 15_800 - 4_300 * np.exp(-t), 8_700 - 2_500 * np.exp(-t)) * by.factor("amount")
    amount = typical * np.exp(0.43 * 0.7 * z_income + 0.63 * draw.normal("amount"))
    amount = (np.round(amount / 25) * 25).clip(500, 35_000)
    # What the lender saw and these columns do not show (a bureau score); the rate gives it away in part.
    hidden = person.normal("hidden")
    grade = 0.45 * z_util + 0.10 * z_debt + 0.13 * (inquiries - 1.1) + 0.22 * (delinquencies - 0.15) + 0.72 * hidden
    middle = np.where(long, 13.4 + 1.6 * (1 - np.exp(-t / 2)), 12.1 - 1.3 * (1 - np.exp(-t / 3)))
    rate = middle + (2.7 + 0.5 * np.minimum(t, 2)) * (grade + 0.3 * draw.normal("rate")) + by.added("rate")
    rate = (5.42 + _STEP * np.round((rate - 5.42) / _STEP)).clip(5.42, 24.7)

    # Default: log-odds of ever, then when
    log_odds = (
        -2.10
        + HIDDEN * hidden
        + (0.25 + by.added("utilisation_effect")) * z_util
        + 0.07 * z_debt
        + 0.14 * (inquiries.clip(0, 8) - 1.1)
        + 0.15 * (delinquencies.clip(0, 4) - 0.15)
        - 0.22 * z_income
        + (0.24 + by.added("loan_to_income_effect")) * (np.log(amount / income) + 1.75)
        + 0.62 * long
        + 0.40 * no_employment
        + np.array([effect for _, effect in _PURPOSES.values()])[purpose]
        + by.added("default_log_odds")
    )

    # A few files come without a bureau record, as in the real book.
    no_bureau = person.uniform("missing") > 0.9993

    def counted(values: np.ndarray) -> pa.Array:
        return pa.array(np.where(no_bureau, np.nan, values), from_pandas=True).cast(pa.int64())

    def levels(index: np.ndarray, names: Any) -> pa.Array:
        return pc.take(pa.array(list(names)), pa.array(index))

    columns = pa.table(
        {
            "application_id": ids,
            "application_date": dates_of(day),
            "annual_income": pa.array(income),
            "total_debt": pa.array(np.round(np.round(debt_service, 2) / 100 * income, 2)),
            "credit_used": pa.array(balance),
            "credit_limit": pa.array(limit, from_pandas=True),
            "loan_amount": pa.array(amount),
            "interest_rate": pa.array(np.round(rate, 2)),
            "term_months": pa.array(np.where(long, 60, 36)),
            "purpose": levels(purpose, _PURPOSES),
            "home_ownership": levels(home, ("RENT", "OWN", "NONE", "OTHER", "MORTGAGE")),
            "employment_years": pa.array(employment, from_pandas=True),
            "state": levels(state, _STATES),
            "inquiries_6m": counted(inquiries),
            "delinquencies_2y": counted(delinquencies),
            "open_accounts": counted(open_accounts),
        }
    )
    by_person = (
        0.07 * z_debt
        + 0.14 * (inquiries.clip(0, 8) - mean_inquiries)
        + 0.15 * (delinquencies.clip(0, 4) - 0.15)
        - 0.22 * z_income
        + 0.40 * no_employment
    )
    return Applicants(columns, log_odds, by_person, hidden, long)
