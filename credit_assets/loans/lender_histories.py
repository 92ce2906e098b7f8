"""What a lender knows of its customers over time: a row a month of each account, and what bureaus answered.

Belongs here: `account_months` and `bureau` of a generated book. Does not belong here: applications and what became of
them (`lender_book`).

Both tell something of what the applications do not show, before the application; and after a default they tell that it
happened, so a feature that reads a row too late knows the outcome. Nearly half of the customers have had an account
before their first application; the others get one with a loan, or none. Months are loaded three to ten days after their
end, one in fifty up to 45 days after; one in a hundred is loaded again, corrected, weeks later, one in five hundred
stands twice. Bureaus answer up to three days after they are asked, one in twenty-five up to six weeks after; each
application is the reason of a pull on its own day, and half of them of another some days before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from credit_assets.loans.draws import Draws, dates_of, instants_of

_MONTHS_BEFORE = 24


@dataclass(frozen=True)
class Person:
    """Customers. `rows`: those of their first applications, at which the other arrays have what is theirs: id, day of
    the first application, log-odds, what the columns do not show, and the days of their first loan and first default,
    far away where there is none.
    """

    rows: np.ndarray
    ids: pa.Array
    first: np.ndarray
    risk: np.ndarray
    hidden: np.ndarray
    lent_on: np.ndarray
    bad_on: np.ndarray


def account_months_of(people: Person, draw: Draws, until: int) -> pa.Table:
    """One row a customer and month, as loaded by the end of day `until`."""

    rows = people.rows
    own = draw.of(rows, np.zeros(len(rows)))
    before = 3 + np.floor((_MONTHS_BEFORE - 2) * own.uniform("which")).astype("int64")
    since = np.where(
        own.uniform("tenure") < 0.45, _month(people.first[rows]) - before, _month(people.lent_on[rows]) + 1
    )
    last = int(_month(np.array([until]))[0])
    count = np.maximum(last - since + 1, 0)
    of = np.repeat(np.arange(len(rows)), count)
    month = np.repeat(since, count) + _within(count)
    customer = rows[of]
    end = _month_end(month)
    draw = draw.of(customer, month)
    past_due = _days_past_due(people, customer, end, draw)
    limit = 1_000 * np.round(np.exp(1.4 + 0.6 * own.normal("size"))).clip(1)[of]
    used = expit(-0.6 + 0.5 * people.hidden[customer] + 0.25 * (past_due > 0) + 0.5 * draw.normal("balance"))
    lag = (
        3 + np.floor(8 * draw.uniform("recorded")) + (draw.uniform("late") < 0.02) * np.floor(35 * draw.uniform("gap"))
    )
    loaded = end + lag.astype("int64")
    # Loaded again: what was said at first was wrong.
    again = draw.uniform("restated") < 0.01
    at_first = np.where(again, np.where(past_due >= 30, 0, 30), past_due)
    twice = draw.uniform("twice") < 0.002
    order = np.concatenate([np.arange(len(of)), np.flatnonzero(again), np.flatnonzero(twice)])
    corrected = np.zeros(len(order), dtype=bool)
    corrected[len(of) : len(of) + int(again.sum())] = True
    when = loaded[order] + np.where(corrected, 14 + np.floor(30 * draw.uniform("which"))[order].astype("int64"), 0)
    kept = when <= until
    order, corrected, when = order[kept], corrected[kept], when[kept]
    at = np.floor(3600 * (1 + 4 * draw.uniform("status")))[order]
    table = pa.table(
        {
            "customer_id": pc.take(people.ids, pa.array(customer[order])),
            "month_end": dates_of(end[order]),
            "loaded_at": instants_of(when, at),
            "days_past_due": pa.array(np.where(corrected, past_due[order], at_first[order]).astype("int64")),
            "balance": pa.array(np.round(limit * used, 2)[order]),
            "credit_limit": pa.array(limit[order]),
            "payments": pa.array(np.where(draw.uniform("paid") < 0.03, 0, 1 + (draw.uniform("which") < 0.2))[order]),
        }
    )
    return table.sort_by([("loaded_at", "ascending"), ("customer_id", "ascending"), ("month_end", "ascending")])


def _days_past_due(people: Person, customer: np.ndarray, end: np.ndarray, draw: Draws) -> np.ndarray:
    """At the end of the month: 0 for most, more for those of more risk, and more and more after a default."""

    u, risk = draw.uniform("dpd"), people.hidden[customer] + 0.4 * (people.risk[customer] + 2.7)
    some, much = expit(-2.6 + 0.7 * risk), expit(-4.6 + 0.8 * risk)
    usual = np.select([u < 0.2 * much, u < much, u < some], [60, 30, 1 + np.floor(29 * draw.uniform("size"))], 0)
    since = end - people.bad_on[customer]
    return np.asarray(np.where(since > -90, 90 + 30 * (since // 30).clip(-3, 30), usual))


def bureau_of(people: Person, applied: pa.Table, draw: Draws, until: int) -> pa.Table:
    """One row a pull, as received by the end of day `until`. `applied`: customer and day of every application."""

    rows = people.rows
    own = draw.of(rows, np.ones(len(rows)))
    # Reviews of those with an account: every 40 to 80 days, from 400 days before the first application on.
    reviewed = own.uniform("tenure") < 0.8
    every = 40 + np.floor(41 * own.uniform("gap")).astype("int64")
    begin = people.first[rows] - 400 + np.floor(every * own.uniform("when")).astype("int64")
    count = np.where(reviewed & (begin <= until), (until - begin) // every + 1, 0)
    of = np.repeat(np.arange(len(rows)), count)
    reviews = begin[of] + every[of] * _within(count)
    # And each application's own, which is asked for on its day.
    places = pc.index_in(applied["customer_id"], value_set=pc.take(people.ids, pa.array(rows))).to_numpy()
    days = applied["day"].to_numpy().astype("datetime64[D]").astype("int64")
    here = draw.of(np.arange(len(days)), np.full(len(days), 2))
    before = here.uniform("pulls") < 0.5
    requested = np.concatenate([reviews, days, (days - 1 - np.floor(12 * here.uniform("gap")).astype("int64"))[before]])
    customer = rows[np.concatenate([of, places, places[before]])]
    draw = draw.of(customer, requested + (1 << 33))
    lag = np.floor(4 * draw.uniform("recorded")) + (draw.uniform("late") < 0.04) * np.floor(40 * draw.uniform("which"))
    received = requested + lag.astype("int64")
    bad = requested > people.bad_on[customer] - 60
    risk = 45 * people.hidden[customer] + 12 * (people.risk[customer] + 2.7)
    score = np.round(680 - risk - 120 * bad + 18 * draw.normal("score")).clip(300, 850)
    table = pa.table(
        {
            "customer_id": pc.take(people.ids, pa.array(customer)),
            "pulled_on": dates_of(requested),
            "received_at": instants_of(received, np.floor(3600 * (8 + 10 * draw.uniform("status")))),
            "score": pa.array(score.astype("int64")),
            "inquiries_12m": pa.array(np.floor(-1.8 * np.log(draw.uniform("inquiries"))).astype("int64")),
            "open_lines": pa.array(np.round(6 * np.exp(0.4 * draw.normal("open"))).astype("int64")),
        }
    ).filter(pa.array(received <= until))
    return table.sort_by([("received_at", "ascending"), ("customer_id", "ascending"), ("pulled_on", "ascending")])


def _within(count: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each run of so many."""
    return np.asarray(np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count))


def _month(day: np.ndarray) -> np.ndarray:
    """The month of a day, counted from 1970."""
    return np.asarray(day.astype("datetime64[D]").astype("datetime64[M]").astype("int64"))


def _month_end(month: np.ndarray) -> np.ndarray:
    return np.asarray((month + 1).astype("datetime64[M]").astype("datetime64[D]").astype("int64") - 1)
