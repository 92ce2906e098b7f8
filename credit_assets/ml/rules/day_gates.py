"""The gates of a day of applications or outcomes: the verdict on what the data contract found.

Belongs here: what is held against what, and the results in words. Does not belong here: finding what is wrong with a
row (`ml.data.contracts`), and any gate that needs the target (`training_gates`).

Gates of applications: `schema` (columns there, readable as their type), `values` (nulls, ranges, allowed values),
`unique_ids`, `partition_date`, `volume` (`volume_gates`), `missing_share`, `quarantined_share`; of outcomes the first
five. Gates of a lender's own extensions follow. A day with a gate that blocks must not be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from credit_assets.ml.data.contracts import Contract, applications_rules, outcomes_rules
from credit_assets.ml.data.day_findings import DayFindings
from credit_assets.ml.data.gate_results import GateResult, detail, gate_table
from credit_assets.ml.data.html_tables import HtmlTable, ShownAsTable, fields
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.rules.extension_gates import OwnDayGates
from credit_assets.ml.rules.volume_gates import APPLICATION_SPANS, OUTCOME_SPANS, volume_gate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.chunks import Mask

# A share above its limit fails only when a day that keeps the limit would show as many less often than this. Without
# it 2 missing of 25 rows would block a day under a limit of 5%, though every third such day has 2 or more.
# Missing values occur in sound data at rates near the limit, so a gate over many days and columns must be slow to
# fire; rows that break the contract hardly occur at all.
MISSING_CHANCE = 0.01
QUARANTINED_CHANCE = 0.05

# Keys of a column in the portfolio file that rule a gate of its rows.
_RULED_BY = {
    "values": "type, nullable, minimum, maximum, allowed, on_violation",
    "unique_ids": "role (id)",
    "partition_date": "role (date)",
}

DayGates: TypeAlias = dict[date, tuple[GateResult, ...]]


@dataclass(frozen=True)
class ContractResult(ShownAsTable):
    """Rows and verdicts of the days checked: `kept` and `quarantined` as of `Checked`, and the gates of every day."""

    kept: pa.Table
    quarantined: pa.Table
    gates: DayGates

    def html_tables(self) -> Iterable[HtmlTable]:
        yield fields({"rows kept": self.kept.num_rows, "rows in quarantine": self.quarantined.num_rows})
        for day, gates in self.gates.items():
            yield gate_table(gates, day.isoformat())


def check_applications(
    rows: pa.Table | pd.DataFrame, portfolio: Portfolio, days: Sequence[date], recent_volume: Mapping[date, int]
) -> ContractResult:
    """Hold all applications of `days` against the portfolio at once.

    Parameters
    ----------
    rows
        A table or a frame with the portfolio's columns, in any order; others do not matter.
    portfolio
        The rules and the thresholds of the gates.
    days
        The days that the rows are of.
    recent_volume
        As `application_gates` takes it.

    Raises
    ------
    ValueError
        Where `days` is empty.

    Examples
    --------
    >>> from credit_assets.loans.generator import generate_book
    >>> from credit_assets.ml.data.portfolio import load_portfolio
    >>> day = date(2024, 1, 2)
    >>> applications, _ = generate_book(50, day, day, 1)
    >>> result = check_applications(applications, load_portfolio(), [day], {})
    >>> result.kept.num_rows, [gate.name for gate in result.gates[day] if gate.blocks]
    (50, [])
    """
    contract = Contract(applications_rules(portfolio), days)
    checked = contract.check(rows, last=True)
    gates = application_gates(contract.findings, portfolio, recent_volume)
    own = OwnDayGates(portfolio, "applications", days, portfolio.date_column)
    own.add(checked.kept)
    return ContractResult(checked.kept, checked.quarantined, with_own(gates, own))


def check_outcomes(
    rows: pa.Table | pd.DataFrame, portfolio: Portfolio, days: Sequence[date], recent_volume: Mapping[date, int]
) -> ContractResult:
    """Hold all outcomes of `days` against their contract at once, as `check_applications` does applications."""
    contract = Contract(outcomes_rules(portfolio), days)
    checked = contract.check(rows, last=True)
    gates = outcome_gates(contract.findings, portfolio, recent_volume)
    own = OwnDayGates(portfolio, "outcomes", days, portfolio.outcomes.day)
    own.add(checked.kept)
    return ContractResult(checked.kept, checked.quarantined, with_own(gates, own))


def application_gates(findings: DayFindings, portfolio: Portfolio, recent_volume: Mapping[date, int]) -> DayGates:
    """The gates of every day of applications, by what their contract found.

    `recent_volume` gives the number of applications of earlier days, as far back as
    `volume_gates.history_days`; days left out had none.
    """
    recent = {day.toordinal(): count for day, count in recent_volume.items() if count}
    days = zip(findings.days.dates, findings.rows.tolist(), strict=True)
    return _by_day(
        findings,
        *shared_gates(findings),
        [volume_gate(day, rows, portfolio.gates, recent, APPLICATION_SPANS, empty_is_news=True) for day, rows in days],
        _missing_share_gate(findings),
        _quarantined_share_gate(findings, portfolio.gates.max_quarantined_share),
    )


def outcome_gates(findings: DayFindings, portfolio: Portfolio, recent_volume: Mapping[date, int]) -> DayGates:
    """The gates of every day of outcomes, by what their contract found; `recent_volume` as of `application_gates`."""
    recent = {day.toordinal(): count for day, count in recent_volume.items() if count}
    days = zip(findings.days.dates, findings.rows.tolist(), strict=True)
    volume = [volume_gate(day, rows, portfolio.gates, recent, OUTCOME_SPANS, empty_is_news=False) for day, rows in days]
    return _by_day(findings, *shared_gates(findings), volume)


class ByDayGates(Protocol):
    """Gates of days whose kept rows come in pieces."""

    def add(self, kept: pa.Table) -> None:
        """See these rows."""

    def close(self) -> Mapping[date, tuple[GateResult, ...]]:
        """The verdicts on every day, all of whose rows have been added."""
        ...


def with_own(gates: DayGates, *own: ByDayGates) -> DayGates:
    """The gates of every day, and after them further ones, all of whose rows have been added."""
    found = [one.close() for one in own]
    return {day: (*of_day, *(gate for one in found for gate in one[day])) for day, of_day in gates.items()}


def _by_day(findings: DayFindings, *gates: Sequence[GateResult]) -> DayGates:
    return dict(zip(findings.days.dates, zip(*gates, strict=True), strict=True))


# One result for every day, in order of days


def shared_gates(findings: DayFindings) -> tuple[list[GateResult], ...]:
    """`schema`, `values`, `unique_ids` and `partition_date`, each for every day in order."""
    return (
        _schema_gate(findings),
        _row_gate(
            findings,
            "values",
            passed="All values keep the column contract.",
            warns="Rows break the column contract and are quarantined.",
            fails="Rows break the contract of columns that reject the partition; correct the source.",
        ),
        _row_gate(
            findings,
            "unique_ids",
            passed="Every id stands once in the day.",
            warns="Equal copies of rows are quarantined; the first of each is kept.",
            fails="Rows that differ share an id, and nothing says which of them is right; correct the source.",
        ),
        _row_gate(
            findings,
            "partition_date",
            passed="Every row bears the date of its partition.",
            warns="",
            fails="Rows bear the date of another day; correct the query or the source.",
        ),
    )


def _schema_gate(findings: DayFindings) -> list[GateResult]:
    whole = findings.whole_columns()
    faults: list[tuple[str, str, Mask | None]] = [(name, "missing column", None) for name in findings.absent]
    faults += [(c.name, f"unreadable as {c.type}", whole[c.name]) for c in findings.columns if c.name in whole]

    def gate(details: tuple[dict[str, Any], ...]) -> GateResult:
        return GateResult(
            name="schema",
            passed=not details,
            severity="error",
            value=len(details),
            threshold="0 columns missing or unreadable",
            description="Every column of the contract is there and readable as its type."
            if not details
            else "Columns are missing or cannot be read as their type; correct the source or the portfolio file.",
            details=details,
            setting=_keys_of(details, "name and type"),
        )

    if not faults:
        return [gate(())] * len(findings.days)
    return [
        gate(tuple(detail(name, text, rows) for name, text, where in faults if where is None or where[index]))
        for index, rows in enumerate(findings.rows.tolist())
    ]


def _row_gate(findings: DayFindings, gate: str, *, passed: str, warns: str, fails: str) -> list[GateResult]:
    import numpy as np

    def result(rows: int, rejected: bool, details: tuple[dict[str, Any], ...]) -> GateResult:
        return GateResult(
            name=gate,
            passed=not rows,
            severity="error" if rejected or not rows else "warn",
            value=rows,
            threshold="0 rows",
            description=fails if rejected else warns if rows else passed,
            details=details,
            setting=_keys_of(details, _RULED_BY[gate]),
        )

    results = [result(0, False, ())] * len(findings.days)
    broken, at_fault = findings.broken(gate), findings.rows_at_fault(gate)
    for index in np.flatnonzero(at_fault):
        here = [(rule, int(counts[index])) for rule, counts in broken.items() if counts[index]]
        results[index] = result(
            int(at_fault[index]),
            any(rule.rejects for rule, _ in here),
            tuple(detail(rule.column, rule.text, count) for rule, count in here),
        )
    return results


def _missing_share_gate(findings: DayFindings) -> list[GateResult]:
    import numpy as np

    limits = {
        c.name: c.max_missing_share
        for c in findings.columns
        if c.max_missing_share < 1 and c.name not in findings.absent
    }
    counts = np.zeros((len(findings.days), len(limits)), dtype=np.int64)
    for number, name in enumerate(limits):
        counts[:, number] = findings.missing.get(name, 0)
    return missing_share_gates(limits, counts, findings.rows)


def _quarantined_share_gate(findings: DayFindings, limit: float) -> list[GateResult]:
    rows = findings.rows_at_fault()
    failed = exceeds(rows, findings.rows, limit, QUARANTINED_CHANCE)

    def gate(share: float, failed: bool) -> GateResult:
        return GateResult(
            name="quarantined_share",
            passed=not failed,
            severity="error",
            value=share,
            threshold=f"at most {limit:.4g} of the rows, beyond chance",
            description="Few enough rows were set aside."
            if not failed
            else "Too many rows break the contract; correct the source, or the contract where it is wrong (the gate "
            "values has the columns).",
            setting="gates: max_quarantined_share",
        )

    sound = gate(0.0, False)
    return [
        gate(int(rows[index]) / total, bool(failed[index])) if rows[index] else sound
        for index, total in enumerate(findings.rows.tolist())
    ]


# Shares


def missing_share_gates(
    limits: Mapping[str, float], counts: NDArray[np.int64], rows: NDArray[np.int64]
) -> list[GateResult]:
    """The gate `missing_share` for each of n sets of rows.

    `limits` gives the largest share for each of k columns, `counts` (n x k) the missing values found, `rows` (n) the
    rows. A share fails where it is above its limit and chance does not explain it (`exceeds`). The value is the share
    of the column that is furthest above its limit, or nearest to it.
    """
    import numpy as np

    names, allowed = list(limits), np.array(list(limits.values()), dtype="float64")
    shares = counts / np.maximum(rows, 1)[:, None]
    failed = exceeds(counts, rows[:, None], allowed[None, :], MISSING_CHANCE)
    blocked = np.any(failed, axis=1)
    # Of the columns at fault where there are any, else of all of them: the one furthest above its limit.
    above = np.where(failed | ~blocked[:, None], shares - allowed, -np.inf)
    worst = above.argmax(axis=1).tolist() if names else [0] * len(rows)
    thresholds = [f"at most {limit:.4g} of {name}, beyond chance" for name, limit in limits.items()]
    gates = []
    for index, (column, block) in enumerate(zip(worst, list(blocked), strict=True)):
        gates.append(
            GateResult(
                name="missing_share",
                passed=not block,
                severity="error",
                value=float(shares[index, column]) if names else None,
                threshold=thresholds[column] if names else "no column with a limit",
                description="Columns miss more values than their contract allows; correct the source."
                if block
                else "No column misses more values than its contract allows.",
                details=tuple(
                    detail(names[i], f"missing, at most {allowed[i]:.4g} of the rows", counts[index, i])
                    for i in np.flatnonzero(failed[index])
                )
                if block
                else (),
                setting=f"columns: {', '.join(names[i] for i in np.flatnonzero(failed[index]))}: max_missing_share",
            )
        )
    return gates


def _keys_of(details: Sequence[Mapping[str, Any]], keys: str) -> str:
    """Where the portfolio file rules these columns."""
    return f"columns: {', '.join(dict.fromkeys(one['column'] for one in details))}: {keys}"


def exceeds(counts: Any, rows: Any, limit: Any, chance: float) -> Mask:
    """Whether counts / rows lies above `limit` by more than chance explains; works elementwise on arrays.

    Chance: the binomial probability of `counts` or more among `rows` at a rate of exactly `limit`, which must be below
    `chance`. P(X >= k) = I_limit(k, n - k + 1), the regularized incomplete beta function (Abramowitz and Stegun
    26.5.24). At 5%: 4 of 25 have probability 0.034, 5 of 25 have 0.0072.
    """
    import numpy as np

    k, n, p = np.broadcast_arrays(
        np.asarray(counts, dtype="float64"), np.asarray(rows, dtype="float64"), np.asarray(limit, dtype="float64")
    )
    above = k > n * p
    if not above.any():
        return np.asarray(above)
    from scipy.special import betainc

    probability = np.ones(k.shape)
    probability[above] = betainc(k[above], n[above] - k[above] + 1, p[above])
    return np.asarray(above & (probability < chance))
