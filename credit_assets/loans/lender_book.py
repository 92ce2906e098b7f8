"""A lender's real book with known truth: everyone who applied, who of them was lent to, and what became of it.

Belongs here: who applies, how the lender decides, what becomes of a loan, and the truth of all of it. Does not belong
here: the traits of applicants (`generator`), their histories (`lender_histories`), writing to a warehouse. No row
describes a person.

Applicants are those of `generator`, with more spread in their risk; one in seven is by somebody who applied before. The
lender declines about 60% by a score of its own: mostly by what the columns show of the person (income, debt, inquiries,
arrears, employment), little by the loan that is asked for, in part by what no column shows (a bureau score, `hidden`),
and by chance. 15% do not take the loan up, the better ones rather than the worse, and about 25% are booked. About 11%
of all would default within 365 days of application: 16% of the declined, 3.5% of the booked.

What makes it a real book:

- a decision is known days after the application; before, and for a few for ever, an application is `open`. One in
  eight has a row `open` of the day of application in `loan_decisions`; one in a hundred was declined first and booked
  later, and one in ten of the bookings is known on the day after it
- `loan_performance` has several rows a loan, each with the day of the event and the moment at which it was recorded: up
  to three days later, of one in thirty up to ten weeks later. One bad in fifty was recorded as 30 days past due first
  and restated. One bad in twelve is cured. Some loans are 30 days past due and stay so (indeterminate), 0.8% end by
  fraud or death (excluded), one row in two hundred stands twice
- nothing that became known after `known_until` is in any table but the truth; a later one only adds rows

The truth has one row an application, the declined included: `status`, its final one; `pd`, the probability of
`outcome` bad given all that the generator knew before drawing it; `outcome`, what the latest status known by the
365th day after the application says, if booked as those that were not might have been; `bad_known_on` and
`reversed_known_on`. It is no table of the warehouse: who wants it asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from credit_assets.loans.draws import Draws, calendar_of, dates_of, ids_of, instants_of, refuse_impossible
from credit_assets.loans.generator import HIDDEN, MONTHS_TO_PAID, Shift, draw_applicants
from credit_assets.loans.lender_histories import Person, account_months_of, bureau_of

WINDOW_DAYS = 365
BOOKED, WITHDRAWN, EXPIRED, DECLINED, OPEN = "booked", "withdrawn", "offer_expired", "declined", "open"
STATUSES = (BOOKED, WITHDRAWN, EXPIRED, DECLINED, OPEN)
CURRENT, PAID, LATE, BAD, LOSS, CURED, FRAUD, DECEASED = (
    "current", "paid", "30_dpd", "90_dpd", "charged_off", "cured", "fraud", "deceased",
)  # fmt: skip
CLASSES = {
    CURRENT: "good", PAID: "good", CURED: "good", LATE: "indeterminate", BAD: "bad", LOSS: "bad",
    FRAUD: "excluded", DECEASED: "excluded",
}  # fmt: skip
_CODES = tuple(CLASSES)
# The two parts of the log-odds that the columns show, of the person and of the loan: mean and standard deviation.
_PERSON, _LOAN = (-0.01, 0.375), (-1.98, 0.50)
# Log-odds of a default within a year of booking, if booked: level, and effects of person, loan, and what is hidden.
_RISK = (-2.75, 0.85, 0.8, 0.65)
# The lender's own score: effects of the same three and of chance; and the score from which on it declines.
_LENDER, _CUT = (1.0, 0.15, 0.35, 0.25), -0.33
_NOT_TAKEN_UP = (-0.75, -0.35)
_CURED = 0.08
_NEVER = 1 << 40
# Days from booking to default: uniform within each span; how much more of those left default in the second.
_FIRST, _YEAR, _LAST, _LATER = 95, 365, 1100, 0.8


@dataclass(frozen=True)
class LenderBook:
    """The tables of a lender, and the truth apart from them."""

    applications: pa.Table
    decisions: pa.Table
    performance: pa.Table
    outcomes: pa.Table
    account_months: pa.Table
    bureau: pa.Table
    truth: pa.Table

    def tables(self) -> dict[str, tuple[str, pa.Table]]:
        """The lender's tables: by name, the column by which rows are found again, and the rows."""
        return {
            "loan_applications": ("application_id", self.applications),
            "loan_decisions": ("application_id", self.decisions),
            "loan_performance": ("loan_no", self.performance),
            "loan_outcomes": ("application_id", self.outcomes),
            "account_months": ("customer_id", self.account_months),
            "bureau": ("customer_id", self.bureau),
        }


def generate_lender_book(
    rows: int,
    start: date,
    end: date,
    seed: int,
    shift: Shift | None = None,
    *,
    known_until: date | None = None,
) -> LenderBook:
    """Exactly `rows` applications from `start` to `end`, and what the lender knew of them by the end of `known_until`
    (default: `end`).

    `loan_applications` has the columns of the packaged portfolio, `customer_id` and `status`, as it is known then;
    `interest_rate` is the list price of the term on the day, since an applicant has no rate of their own yet.
    `loan_outcomes` is what a lender without statuses has: one row for each booked loan that defaulted for good or was
    paid back. The same arguments give the same bytes.

    Raises ValueError for less than one row, an end before the start or after `known_until`, or a seed out of range.
    """

    refuse_impossible(rows, start, end, seed)
    if known_until is not None and known_until < end:
        raise ValueError(f"known_until {known_until} lies before end {end}: the book would lack its last days")
    day, number = calendar_of(rows, start, end, seed)
    draw = Draws.of_loans(seed, day, number)
    person = _person(day, draw)
    ids = ids_of(day, number, seed)
    shifts = [shift] if shift else []
    drawn = draw_applicants(day, ids, start, (Draws.of_loans(seed, day[person], number[person]), draw), shifts)
    shown = drawn.log_odds - HIDDEN * drawn.hidden
    parts = np.stack([_scaled(drawn.by_person, _PERSON), _scaled(shown - drawn.by_person, _LOAN), drawn.hidden])
    risk = _RISK[0] + np.array(_RISK[1:]) @ parts
    until = number_of(known_until or end)
    decided = _decide(day, parts, draw)
    life = _live(day, decided.booked, expit(risk), drawn.long, draw)
    customers = pc.take(_customer_ids(ids), pa.array(person))
    columns = drawn.columns.set_column(
        drawn.columns.schema.get_field_index("interest_rate"), "interest_rate", _list_price(day, drawn.long, start)
    )
    known_status = np.where(decided.known <= until, decided.status, STATUSES.index(OPEN))
    applications = columns.append_column("customer_id", customers).append_column(
        "status", _named(STATUSES, known_status)
    )
    lent = decided.status == STATUSES.index(BOOKED)
    is_new = np.zeros(rows, dtype=bool)
    is_new[np.unique(person)] = True
    people = Person(
        rows=np.flatnonzero(is_new), ids=_customer_ids(ids), first=day, risk=risk, hidden=drawn.hidden,
        lent_on=_first(person, np.where(lent, decided.booked, _NEVER)),
        bad_on=_first(person, np.where(lent, life.bad_on, _NEVER)),
    )  # fmt: skip
    pulls = pa.table({"customer_id": customers, "day": dates_of(day)})
    return LenderBook(
        applications=applications,
        decisions=_decisions(ids, day, decided, draw, until),
        performance=_performance(ids, life, lent, draw, until),
        outcomes=_outcomes(ids, life, lent, until),
        account_months=account_months_of(people, Draws.of_loans(seed, day, number), until),
        bureau=bureau_of(people, pulls, Draws.of_loans(seed, day, number), until),
        truth=_truth(applications, day, decided, life),
    )


def _scaled(values: np.ndarray, by: tuple[float, float]) -> np.ndarray:
    return np.asarray((values - by[0]) / by[1])


def _person(day: np.ndarray, draw: Draws) -> np.ndarray:
    """The row of the first application by the same person; of most, their own."""

    rows = np.arange(len(day))
    earlier = day - 10 - np.floor(240 * draw.uniform("gap")).astype("int64")
    first, after = np.searchsorted(day, earlier), np.searchsorted(day, earlier + 1)
    again = (draw.uniform("again") < 0.15) & (after > first)
    before = first + np.floor(draw.uniform("which") * np.maximum(after - first, 1)).astype("int64")
    person = np.where(again, before, rows)
    while (following := person[person] != person).any():
        person = np.where(following, person[person], person)
    return person


@dataclass(frozen=True)
class _Decided:
    """The final decision on everyone: its status, the day on which it became known, and the day of booking; of those
    that were not booked, the day on which they might have been.
    """

    status: np.ndarray
    known: np.ndarray
    booked: np.ndarray
    overturned: np.ndarray
    declined_on: np.ndarray


def _decide(day: np.ndarray, parts: np.ndarray, draw: Draws) -> _Decided:

    score = np.array(_LENDER) @ np.stack([*parts, draw.normal("lender")])
    undecided = draw.uniform("undecided") < 0.003
    overturned = (score > _CUT) & (score < _CUT + 0.1) & (draw.uniform("overturned") < 0.2) & ~undecided
    declined = (score > _CUT) & ~overturned
    level, slope = _NOT_TAKEN_UP
    not_taken = ~declined & ~overturned & (draw.uniform("take_up") < expit(level + slope * (score - _CUT)))
    expired = not_taken & (draw.uniform("offer") < 0.4)
    status = np.select(
        [declined, expired, not_taken],
        [STATUSES.index(s) for s in (DECLINED, EXPIRED, WITHDRAWN)],
        STATUSES.index(BOOKED),
    )
    first_answer = day + np.floor(5 * draw.uniform("decided") ** 2).astype("int64")
    answer = first_answer + overturned * (5 + np.floor(20 * draw.uniform("reconsidered")).astype("int64"))
    taken = answer + 1 + np.floor(14 * draw.uniform("booked") ** 1.5).astype("int64")
    known = np.select([declined, expired], [answer, answer + 30], taken + (draw.uniform("late") < 0.1))
    known = np.where(undecided, _NEVER, known)
    return _Decided(np.where(undecided, STATUSES.index(OPEN), status), known, taken, overturned, first_answer)


@dataclass(frozen=True)
class _Life:
    """What becomes of each loan, if booked. `events`: row, day, day of recording and status of each thing that
    happens, by day of recording. Days that never come are _NEVER.
    """

    pd: np.ndarray
    outcome: np.ndarray
    bad_on: np.ndarray
    bad_known: np.ndarray
    reversed_known: np.ndarray
    paid_known: np.ndarray
    events: np.ndarray


def _live(day: np.ndarray, booked: np.ndarray, within: np.ndarray, long: np.ndarray, draw: Draws) -> _Life:
    """`within`: the probability of a default within a year of booking."""

    rows = np.arange(len(day))
    ever = 1 - (1 - within) ** (1 + _LATER)
    u = draw.uniform("default")
    span = np.where(u < within, (_YEAR - _FIRST) * (u / within), 0)
    later = (_LAST - _YEAR) * (u - within) / np.maximum(ever - within, 1e-12)
    days = np.where(u < within, _FIRST + np.floor(span), _YEAR + np.floor(later)).astype("int64")
    kind = draw.uniform("class")
    excluded = kind < 0.008
    bad = (u < ever) & ~excluded
    cured = bad & (draw.uniform("cured") < _CURED)
    unclear = ~bad & ~excluded & (draw.uniform("unclear") < 0.03 + 0.25 * within)
    restated = bad & (draw.uniform("restated") < 0.02)
    bad_on = np.where(bad, booked + days, _NEVER)
    recorded = _Recorded(draw)
    lag, cure_lag = recorded.lag(rows, 0) + restated * 14, recorded.lag(rows, 1)
    bad_known = bad_on + lag
    cure_on = bad_on + 15 + np.floor(46 * draw.uniform("cure")).astype("int64")
    paid_on = booked + np.floor(_months_to_paid(long, draw.uniform("paid")) * 365.25 / 12).astype("int64")
    trouble = booked + 40 + np.floor(300 * draw.uniform("when")).astype("int64")
    back = trouble + 30 + np.floor(60 * draw.uniform("cure")).astype("int64")
    end = booked + 20 + np.floor(280 * draw.uniform("when")).astype("int64")
    paid = ~bad & ~excluded
    close = day + WINDOW_DAYS

    add = recorded.add
    add(rows, booked + 31, CURRENT, 2)
    later_on = ~excluded & ~unclear & (bad_on > booked + 260)
    add(rows[later_on], booked[later_on] + 190, CURRENT, 3)
    sign = bad & (draw.uniform("status") < 0.5)
    add(rows[sign], bad_on[sign] - 60, LATE, 4)
    recorded.add_known(rows[restated], bad_on[restated], (bad_on + lag - 14)[restated], LATE)
    recorded.add_known(rows[bad], bad_on[bad], bad_known[bad], BAD)
    cure_known = np.maximum(cure_on + cure_lag, bad_known + 1)
    recorded.add_known(rows[cured], cure_on[cured], cure_known[cured], CURED)
    lost = bad & ~cured
    add(rows[lost], (bad_on + 60 + np.floor(60 * draw.uniform("cure")).astype("int64"))[lost], LOSS, 5)
    add(rows[unclear], trouble[unclear], LATE, 6)
    resumed = unclear & (draw.uniform("status") < 0.5)
    add(rows[resumed], back[resumed], CURRENT, 7)
    fraud = kind < 0.005
    add(rows[fraud], end[fraud], FRAUD, 8)
    dead = excluded & ~fraud
    add(rows[dead], end[dead], DECEASED, 8)
    # Whoever was in arrears is paid back after that.
    paid_on = np.where(unclear, np.maximum(paid_on, back + 200), paid_on)
    paid_lag = recorded.lag(rows, 9)
    recorded.add_known(rows[paid], paid_on[paid], (paid_on + paid_lag)[paid], PAID)

    events = recorded.events()
    return _Life(
        pd=_pd(within, ever, close - booked, lag, cure_lag),
        outcome=_latest(events, close),
        bad_on=bad_on,
        bad_known=np.where(bad, bad_known, _NEVER),
        reversed_known=np.where(cured, cure_known, _NEVER),
        paid_known=np.where(paid, paid_on + paid_lag, _NEVER),
        events=events,
    )


def _pd(within: np.ndarray, ever: np.ndarray, days: np.ndarray, lag: np.ndarray, cure_lag: np.ndarray) -> np.ndarray:
    """Probability of a bad that is known, and not known to be cured, so many days after booking; of no exclusion."""

    def known(days: np.ndarray) -> np.ndarray:
        first = np.clip((days - _FIRST) / (_YEAR - _FIRST), 0, 1)
        return np.asarray(within * first + (ever - within) * np.clip((days - _YEAR) / (_LAST - _YEAR), 0, 1))

    # Cures take 15 to 60 days: their mean, where the share is linear in days.
    return np.asarray(known(days - lag) - _CURED * known(days - lag - cure_lag - 37.5))


class _Recorded:
    """Events as they are recorded: most within three days, one in thirty up to ten weeks later."""

    def __init__(self, draw: Draws) -> None:

        self._draw = draw
        self._parts: list[np.ndarray] = []

    def lag(self, rows: np.ndarray, kind: int) -> np.ndarray:

        draw = self._draw.of(rows, np.full(len(rows), kind))
        late = (draw.uniform("late") < 1 / 30) * np.floor(10 + 60 * draw.uniform("twice"))
        return np.asarray((np.floor(4 * draw.uniform("recorded")) + late).astype("int64"))

    def add(self, rows: np.ndarray, on: np.ndarray, status: str, kind: int) -> None:
        self.add_known(rows, on, on + self.lag(rows, kind), status)

    def add_known(self, rows: np.ndarray, on: np.ndarray, known: np.ndarray, status: str) -> None:
        self._parts.append(np.stack([rows, on, known, np.full(len(rows), _CODES.index(status))]))

    def events(self) -> np.ndarray:
        """By day of recording, of one day in the order in which they happened."""
        events = np.concatenate(self._parts, axis=1)
        return events[:, np.lexsort((events[1], events[0], events[2]))]


def _latest(events: np.ndarray, close: np.ndarray) -> np.ndarray:
    """The class of the latest status that was recorded by the end of `close`, of each row; good where there is none."""

    rows, _, _, status = events[:, events[2] <= close[events[0]]]
    latest = np.full(len(close), _CODES.index(CURRENT))
    latest[rows] = status  # The last one of a row stays.
    return latest


def _months_to_paid(long: np.ndarray, u: np.ndarray) -> np.ndarray:

    places = np.linspace(0, 1, 11)
    return np.asarray(np.where(long, *(np.interp(u, places, MONTHS_TO_PAID[term]) for term in (60, 36))))


def _first(person: np.ndarray, days: np.ndarray) -> np.ndarray:
    """The first of the days of each person, at the row of their first application."""

    first = np.full(len(person), _NEVER)
    np.minimum.at(first, person, days)
    return first


def _list_price(day: np.ndarray, long: np.ndarray, start: date) -> pa.Array:
    """By term, moved each quarter."""

    quarter = (day - number_of(start)) // 91
    return pa.array(np.round(np.where(long, 15.9, 12.4) + 0.4 * np.sin(quarter), 2))


# Tables


def _decisions(ids: pa.Array, day: np.ndarray, decided: _Decided, draw: Draws, until: int) -> pa.Table:

    rows = np.arange(len(day))
    opened = rows[draw.uniform("twice") < 0.125]
    lent = np.where(decided.status == STATUSES.index(BOOKED), decided.booked, _NEVER)
    declined = rows[decided.overturned]
    final = rows[decided.known < _NEVER]
    of = np.concatenate([opened, declined, final])
    known = np.concatenate([day[opened], decided.declined_on[declined], decided.known[final]])
    nothing = np.full(len(opened) + len(declined), _NEVER)
    status = np.concatenate(
        [
            np.full(len(opened), STATUSES.index(OPEN)),
            np.full(len(declined), STATUSES.index(DECLINED)),
            decided.status[final],
        ]
    )
    table = pa.table(
        {
            "application_id": pc.take(ids, pa.array(of)),
            "decided_on": dates_of(known),
            "status": _named(STATUSES, status),
            "booked_on": _dates_or_none(np.concatenate([nothing, lent[final]])),
        }
    ).filter(pa.array(known <= until))
    # Of one day: open, then what was decided.
    order = np.lexsort((np.arange(len(of)), of, known))
    return table.take(pa.array(_of_kept(order, known <= until)))


def _of_kept(order: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The order of all rows as that of the rows that were kept, counted among these."""

    place = np.cumsum(kept) - 1
    return np.asarray(place[order[kept[order]]])


def _performance(ids: pa.Array, life: _Life, lent: np.ndarray, draw: Draws, until: int) -> pa.Table:

    rows, on, known, status = life.events[:, lent[life.events[0]] & (life.events[2] <= until)]
    own = draw.of(rows, on * len(_CODES) + status)
    # Within a day in the order of the events; between 6:00 and 20:00.
    at = np.floor(6 * 3600 + 14 * 3600 * own.uniform("recorded"))
    twice = np.repeat(np.arange(len(rows)), 1 + (own.uniform("twice") < 0.005))
    return pa.table(
        {
            "loan_no": pc.take(ids, pa.array(rows[twice])),
            "effective_on": dates_of(on[twice]),
            "recorded_at": instants_of(known[twice], at[twice]),
            "status": _named(_CODES, status[twice]),
        }
    ).sort_by([("recorded_at", "ascending"), ("loan_no", "ascending"), ("effective_on", "ascending")])


def _outcomes(ids: pa.Array, life: _Life, lent: np.ndarray, until: int) -> pa.Table:

    bad = (life.bad_known < _NEVER) & (life.reversed_known == _NEVER)
    known = np.where(bad, life.bad_known, life.paid_known)
    kept = lent & (known <= until)
    table = pa.table(
        {
            "application_id": ids.filter(pa.array(kept)),
            "outcome_date": dates_of(known[kept]),
            "defaulted": pa.array(bad[kept].astype("int8")),
        }
    )
    return table.sort_by([("outcome_date", "ascending"), ("application_id", "ascending")])


def _truth(applications: pa.Table, day: np.ndarray, decided: _Decided, life: _Life) -> pa.Table:

    return pa.table(
        {
            "application_id": applications["application_id"],
            "application_date": dates_of(day),
            "customer_id": applications["customer_id"],
            "status": _named(STATUSES, decided.status),
            "decided_on": _dates_or_none(decided.known),
            "booked_on": dates_of(decided.booked),
            "pd": pa.array(life.pd),
            "outcome": _named(tuple(CLASSES.values()), life.outcome),
            "bad_on": _dates_or_none(life.bad_on),
            "bad_known_on": _dates_or_none(life.bad_known),
            "reversed_known_on": _dates_or_none(life.reversed_known),
        }
    )


def _named(names: tuple[str, ...], codes: np.ndarray) -> pa.Array:
    return pc.take(pa.array(list(names)), pa.array(codes))


def _dates_or_none(days: np.ndarray) -> pa.Array:
    return pa.array(np.where(days < _NEVER, days, 0).astype("datetime64[D]"), mask=days >= _NEVER)


def _customer_ids(ids: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise("C", pc.utf8_slice_codeunits(ids, 1), "")


def number_of(day: date) -> int:
    return (day - date(1970, 1, 1)).days
