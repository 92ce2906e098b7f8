"""The gates of a day of history features: whether the histories are there, and readable.

Belongs here: the verdict. Does not belong here: what an aggregate is (`ml.data.history_features`), counting
(`credit_assets.warehouse.histories`), and the gates that every day has (`day_gates`).

A history that was not loaded, or whose key is spelt otherwise now, looks like applicants without one: every feature has
its default, and the model scores strangers. So the share of applications without a row is held against that of the days
before. Rows without a day cannot count for anybody, and are counted instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

from credit_assets.ml.data.contracts import TableRules
from credit_assets.ml.data.day_findings import DayFindings
from credit_assets.ml.data.gate_results import GateResult, detail
from credit_assets.ml.data.portfolio import Column, Portfolio
from credit_assets.ml.rules.day_gates import MISSING_CHANCE, QUARANTINED_CHANCE, DayGates, exceeds, shared_gates

HISTORY_ROWS, HISTORY_VALUES = "history_rows", "history_values"
# Of a day with fewer applications it is no news that none of them has a row.
_FEW = 20


@dataclass(frozen=True)
class Without:
    """Applications of a day, and by history those without a row."""

    applications: int
    without: Mapping[str, int]


@dataclass(frozen=True)
class Unread:
    """Of a day and a history: rows that count, rows without a day, rows with a number that is none; each once for every
    application that it could count for.
    """

    rows: int = 0
    undated: int = 0
    unreadable: int = 0


def history_rules(portfolio: Portfolio) -> TableRules:
    """What the table of history features must keep: its id and its day."""
    from credit_assets.ml.data.schemas import history_fields, history_schema

    key, day = portfolio.column(portfolio.id_column), portfolio.column(portfolio.date_column)
    # `history_fields` has integers and floats alone, after id and day.
    made = [
        Column(name=name, type="integer" if kind == "integer" else "float", role="ignored")
        for name, kind in history_fields(portfolio)[2:]
    ]
    return TableRules((key, day, *made), history_schema(portfolio), key.name, day.name)


def history_gates(
    findings: DayFindings,
    portfolio: Portfolio,
    unread: Mapping[tuple[date, str], Unread],
    before: Mapping[date, Without],
) -> DayGates:
    """The gates of every day of history features, by what their contract found.

    Parameters
    ----------
    findings
        Of the contract of `history_rules`, once all rows are checked.
    portfolio
        With the histories and the thresholds.
    unread
        By day and history, what reading has met.
    before
        Earlier days that no gate rejected; of those checked here the earlier ones are known.
    """
    names = [history.name for history in portfolio.histories]
    known = dict(before)
    shared = shared_gates(findings)
    gates: DayGates = {}
    for place, (day, total) in enumerate(zip(findings.days.dates, findings.rows.tolist(), strict=True)):
        missing = {one.name: findings.missing.get(one.rows_column) for one in portfolio.histories}
        here = Without(total, {name: int(counts[place]) for name, counts in missing.items() if counts is not None})
        lost = _rows_gate(day, here, names, portfolio, known)
        gates[day] = (
            *(gate[place] for gate in shared),
            lost,
            _values_gate({name: unread.get((day, name), Unread()) for name in names}, portfolio),
        )
        if not lost.blocks:
            known[day] = here
    return gates


def _rows_gate(
    day: date, here: Without, names: Sequence[str], portfolio: Portfolio, before: Mapping[date, Without]
) -> GateResult:
    limits, total = portfolio.gates, here.applications
    first = day - timedelta(days=limits.volume_history_days)
    compared = [one for when, one in before.items() if first <= when < day and one.applications]
    worst, threshold, lost, strangers = 0.0, "nothing to compare with", [], []
    for name in names:
        without = here.without.get(name, 0)
        share = without / total if total else 0.0
        if compared:
            usual = median(one.without.get(name, 0) / one.applications for one in compared)
            allowed = min(1.0, usual + limits.max_history_loss)
            if exceeds(without, total, allowed, MISSING_CHANCE).any():
                lost.append(detail(name, f"without a row, {usual:.4g} of the days before", without))
            if share >= worst:
                worst, threshold = share, f"at most {allowed:.4g} of {name}, beyond chance"
        elif total >= _FEW and without == total:
            strangers.append(detail(name, "without a row, all of them", without))
            worst = share
    failed = lost or strangers
    text = "As many applications have rows in the histories as on the days before."
    if lost:
        text = "Applications have no row in a history that as good as all had before: see whether it was loaded, "
        text += "and whether its key is spelt as that of the applications."
    elif strangers:
        text = "No application of the day has a row in a history, and no day before it to compare with: see whether it "
        text += "reaches back that far, and whether its key is spelt as that of the applications."
    return GateResult(
        name=HISTORY_ROWS,
        passed=not failed,
        severity="error" if lost or not failed else "warn",
        value=worst,
        threshold=threshold,
        description=text,
        details=tuple(failed),
        setting="gates: max_history_loss",
    )


def _values_gate(found: Mapping[str, Unread], portfolio: Portfolio) -> GateResult:
    limit = portfolio.gates.max_unread_history_share
    worst, details, blocks = 0.0, [], False
    for name, one in found.items():
        total, bad = one.rows + one.undated, one.undated + one.unreadable
        if not bad:
            continue
        worst = max(worst, bad / total)
        blocks = blocks or bool(exceeds(min(bad, total), total, limit, QUARANTINED_CHANCE).any())
        details += [detail(name, "rows without a day", one.undated)] if one.undated else []
        details += [detail(name, "rows with an unreadable number", one.unreadable)] if one.unreadable else []
    return GateResult(
        name=HISTORY_VALUES,
        passed=not details,
        severity="error" if blocks or not details else "warn",
        value=worst,
        threshold=f"0 rows, and no more than {limit:.4g} of them",
        description="Every row of the histories has its day, and numbers where numbers are wanted."
        if not details
        else "Rows of a history have no day, or none on which they became known, and count for nobody; or a number "
        "that is infinite or beyond 10^15, which counts as missing. Correct the source.",
        details=tuple(details),
        setting="gates: max_unread_history_share",
    )
