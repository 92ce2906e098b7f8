"""The gate `accounted_for`: whether rows of the warehouse's tables are missing from what was ingested.

Belongs here: what is held against what, and the result in words. Does not belong here: the counts (`ml.data.accounts`).

Rows without a usable date lie in no partition: what they say (a default, say) is nowhere. Rows that arrived after their
day was ingested are as missing, until the day is ingested again. Both are held against shares of the table that the
portfolio allows; up to them they are shown as a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from credit_assets.ml.data.accounts import ARRIVED, GONE, Account
from credit_assets.ml.data.gate_results import GateResult, detail
from credit_assets.ml.data.portfolio import Gates

ACCOUNTED_FOR = "accounted_for"
_UNDATED = {
    "missing": "no date",
    "unreadable": "a date that is not of the form 2024-03-01",
    "implausible": "an infinite date, or one that no loan book has",
    "future": "a date to come",
}
_NOTHING_MISSING = "Every row is accounted for."


@dataclass(frozen=True)
class _Finding:
    """One thing found in a table: its rows, of how many, and the share of them that is allowed."""

    account: Account
    rows: int
    of: int
    limit: float
    setting: str

    @property
    def above(self) -> bool:
        return self.rows > self.limit * self.of

    def __str__(self) -> str:
        return (
            f"{self.rows:,} of {self.of:,} rows of {self.account.table} ({self.rows / max(self.of, 1):.3g}), at most "
            f"{self.limit:.3g} allowed (gates: {self.setting})"
        )


def account_gate(accounts: Sequence[Account], limits: Gates) -> GateResult:
    """The gate on these accounts.

    Fails with the severity of `gates.unaccounted` where the rows without a usable date are more than
    `gates.max_undated_share` of the table, or those by which warehouse and store differ on ingested days more than
    `gates.max_late_share`; as a warning where there are such rows, or rows of days to come.

    Examples
    --------
    >>> gate = account_gate([Account("outs", "known_on", 100, ingested=90, missing=10)], Gates())
    >>> gate.verdict, gate.value, gate.details
    ('error', 10, ({'column': 'outs.known_on', 'problem': 'no date', 'count': 10},))
    """
    undated = [_Finding(a, a.undated, a.rows, limits.max_undated_share, "max_undated_share") for a in accounts]
    late = [_Finding(a, _differing(a), a.rows, limits.max_late_share, "max_late_share") for a in accounts]
    above = [finding for finding in (*undated, *late) if finding.above]
    details = tuple(row for one in accounts for row in _details(one))
    return GateResult(
        name=ACCOUNTED_FOR,
        passed=not details,
        severity=limits.unaccounted if above else "warn" if details else "error",
        value=sum(finding.rows for finding in (*undated, *late)),
        threshold=f"without a usable date at most {limits.max_undated_share:g} of a table's rows (gates: "
        f"max_undated_share), arrived or gone since their day was ingested at most {limits.max_late_share:g} "
        "(gates: max_late_share)",
        description=_words(accounts, above, details),
        details=details,
        setting="gates: unaccounted, max_undated_share, max_late_share",
    )


def account_of_training(
    accounts: Mapping[str, Account], windows: Mapping[str, tuple[date, date]], limits: Gates
) -> GateResult:
    """The gate on the days that a training set is made of: of each account those of its window, first and last day.

    Rows that no day finds count whatever the window: nobody knows which they would lie in. Nothing found says nothing
    of the tables' sizes: the gate lies in the file of the training set, and an as-of date that is replayed years later
    leaves the same bytes.
    """
    gate = account_gate([_within(accounts[name], *window) for name, window in windows.items()], limits)
    return replace(gate, description=_NOTHING_MISSING) if gate.passed else gate


def _within(whole: Account, first: date, last: date) -> Account:
    arrived, gone = (
        {day: count for day, count in of_days.items() if first <= day <= last}
        for of_days in (whole.arrived, whole.gone)
    )
    # What lies on other days is no matter here, and leaves the sum whole as rows that were ingested.
    others = sum(whole.arrived.values()) - sum(arrived.values()) - sum(whole.gone.values()) + sum(gone.values())
    return replace(whole, arrived=arrived, gone=gone, ingested=whole.ingested + others)


def _differing(one: Account) -> int:
    return sum(one.arrived.values()) + sum(one.gone.values())


def _details(one: Account) -> list[dict[str, Any]]:
    column = f"{one.table}.{one.day_column}"
    found = [(words, getattr(one, name)) for name, words in _UNDATED.items()]
    found += [(ARRIVED, sum(one.arrived.values())), (GONE, sum(one.gone.values()))]
    return [detail(column, words, count) for words, count in found if count]


def _words(accounts: Sequence[Account], above: Sequence[_Finding], details: Sequence[Mapping[str, Any]]) -> str:
    sums = "; ".join(one.line() for one in accounts)
    if not details:
        return f"{_NOTHING_MISSING} {sums}."
    todo = []
    if any(one.undated or one.future for one in accounts):
        todo.append(
            "correct the dates in the warehouse (a row without one lies on no day, and is read by nobody), then run "
            "`credit-assets recheck`"
        )
    if any(one.arrived or one.gone for one in accounts):
        first = min(day for one in accounts for day in (*one.arrived, *one.gone))
        todo.append(f"run `credit-assets recheck --since {first}`, which ingests those days again")
    allowed = f" Too many: {'; '.join(map(str, above))}." if above else " Within what the portfolio allows."
    return f"Rows are not accounted for. {sums}.{allowed} To do: {'; '.join(todo)}."
