"""Draws by hash, days and ids of made-up books: the same for the same seed, in whatever order they are made.

Belongs here: what every generated book is drawn from. Does not belong here: any distribution of loans (`generator`,
`lender_book`).

A draw is a hash of (seed, day, number in its day, variable), not the next value of a stream.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtri

# Monday to Sunday.
_WEEKDAY_VOLUME = (1.10, 1.15, 1.15, 1.12, 1.05, 0.72, 0.71)


def calendar_of(rows: int, start: date, end: date, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Day (days since 1970) and number within its day, of each loan."""

    first = (start - date(1970, 1, 1)).days
    days = np.arange(first, first + (end - start).days + 1)
    volume = np.array(_WEEKDAY_VOLUME)[(days + 3) % 7]  # 1970-01-01 was a Thursday
    expected = np.maximum(rows * volume / volume.sum(), 1.0)
    # Counts vary as those of independent applicants do, and by 5 % more.
    noise = Draws.of_loans(seed, days, np.zeros(len(days), dtype="int64")).normal("volume")
    volume = volume * np.clip(1 + noise * np.sqrt(1 / expected + 0.05**2), 0.1, None)
    until = np.round(np.cumsum(volume) / volume.sum() * rows).astype("int64")
    counts = np.diff(until, prepend=0)
    return np.repeat(days, counts), np.arange(rows) - np.repeat(until - counts, counts)


class Draws:
    """Uniform and normal draws by hash: splitmix64's finaliser over (seed, day, number, variable)."""

    # The place of a name is part of its hash: add at the end.
    _VARIABLES = (
        "volume", "income", "amount", "term", "debt", "utilisation", "open", "balance", "inquiries", "delinquencies",
        "employment", "purpose", "home", "state", "hidden", "rate", "default", "when", "missing", "paid", "no_balance",
        "again", "gap", "which", "lender", "take_up", "decided", "offer", "booked", "undecided", "status", "cured",
        "cure", "class", "unclear", "recorded", "late", "restated", "twice", "tenure", "dpd", "size", "pulls", "score",
        "overturned", "reconsidered",
    )  # fmt: skip

    def __init__(self, key: np.ndarray) -> None:

        self._key = key

    @classmethod
    def of_loans(cls, seed: int, day: np.ndarray, number: np.ndarray) -> Draws:

        where = (day.astype("uint64") << np.uint64(32)) | number.astype("uint64")
        return cls(_mixed(_mixed(where) ^ _mixed(np.array([seed], dtype="uint64"))))

    def of(self, rows: np.ndarray, number: np.ndarray) -> Draws:
        """Draws of further things: of the `number`-th of each of these rows."""

        further = _mixed(number.astype("uint64") ^ np.uint64(0xD1B54A32D192ED03))
        return Draws(_mixed(self._key[rows] ^ further))

    def uniform(self, variable: str) -> np.ndarray:
        """In (0, 1), both ends excluded."""

        salt = np.array([self._VARIABLES.index(variable) + 1], dtype="uint64") * np.uint64(0x9E3779B97F4A7C15)
        return ((_mixed(self._key + salt) >> np.uint64(11)).astype("float64") + 0.5) / 2.0**53

    def normal(self, variable: str) -> np.ndarray:

        values: np.ndarray = ndtri(self.uniform(variable))
        return values


def _mixed(x: np.ndarray) -> np.ndarray:

    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def pick(uniform: np.ndarray, shares: Any) -> np.ndarray:
    """Index of the level that each draw falls in."""

    edges = np.cumsum(np.asarray(shares, dtype="float64"))
    return np.searchsorted(edges / edges[-1], uniform, side="right")


def dates_of(days: np.ndarray) -> pa.Array:

    return pa.array(days.astype("datetime64[D]"))


def instants_of(days: np.ndarray, seconds: np.ndarray) -> pa.Array:
    """Timestamps without a zone, so many seconds into each day."""

    return pa.array((days * 86_400 + seconds.astype("int64")).astype("datetime64[s]")).cast(pa.timestamp("us"))


def refuse_impossible(rows: int, start: date, end: date, seed: int) -> None:
    """Raise ValueError for less than one row, an end before the start, or a seed out of range."""

    if rows < 1:
        raise ValueError(f"rows must be at least 1, not {rows}")
    if end < start:
        raise ValueError(f"end {end} lies before start {start}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must lie between 0 and 2^63 - 1, not {seed}")


def ids_of(day: np.ndarray, number: np.ndarray, seed: int) -> pa.Array:
    """`G<seed>-<yyyymmdd>-<number>`; sorts as (day, number) within a seed."""

    days = pc.strftime(dates_of(day).cast(pa.timestamp("s")).dictionary_encode().dictionary, format="%Y%m%d")
    named = pc.take(days, dates_of(day).dictionary_encode().indices)
    padded = pc.utf8_lpad(pa.array(number).cast(pa.string()), 7, "0")
    return pc.binary_join_element_wise(pa.scalar(f"G{seed}"), named, padded, pa.scalar("-"))
