"""The result of a validation gate: one record, from the check that made it to the user interface that shows it.

Belongs here: the record, its JSON form, and how records of several days become one verdict. Does not belong here: any
check (`ml.rules`) and any orchestrator's own result type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from credit_assets.ml.data.html_tables import HtmlTable, ShownAsTable

Severity = Literal["error", "warn"]
Verdict = Literal["passed", "warn", "error"]

_DETAIL_KEYS = frozenset({"column", "problem", "count"})
_COLUMNS_SHOWN = 5
_UNNAMED = "a setting that was not recorded"
_RANK: dict[Verdict, int] = {"passed": 0, "warn": 1, "error": 2}


@dataclass(frozen=True)
class GateResult(ShownAsTable):
    """The result of one gate.

    `value` is what was measured and `threshold` has in words what it is held against. `severity` is what a failure
    means: "error" stops what is downstream, "warn" is shown and stops nothing. `details` names columns, problems and
    counts, and can hold nothing else: applicant rows, values and ids must never reach a log or the UI. `setting` names
    what rules the gate: keys of the portfolio file, as `gates: max_quarantined_share`, or a setting, as
    `CREDIT_LOOKBACK_DAYS`.

    Raises ValueError on a detail with keys other than column, problem and count, and on a failed gate without the
    setting that rules it: who reads that it failed has to know what to change.
    """

    name: str
    passed: bool
    severity: Severity
    value: float | int | str | None
    threshold: str
    description: str
    details: tuple[dict[str, Any], ...] = ()
    setting: str = ""

    def __post_init__(self) -> None:
        if not self.passed and not self.setting:
            raise ValueError(f"gate {self.name!r} failed without the setting that rules it")
        if self.severity not in ("error", "warn"):
            raise ValueError(f"gate {self.name!r}: severity is 'error' or 'warn', not {self.severity!r}")
        for detail in self.details:
            if set(detail) != _DETAIL_KEYS:
                raise ValueError(
                    f"gate {self.name!r}: a detail has the keys column, problem and count, not {sorted(detail)}"
                )
        # Not-a-number has no JSON form, and measured nothing.
        if isinstance(self.value, float) and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)

    @property
    def verdict(self) -> Verdict:
        """ "passed", or the severity of the failure."""
        return "passed" if self.passed else self.severity

    @property
    def blocks(self) -> bool:
        """Whether what is downstream must not run."""
        return self.verdict == "error"

    def to_record(self) -> dict[str, Any]:
        """The result as JSON types; `from_record` restores an equal one."""
        return {**asdict(self), "details": [dict(detail) for detail in self.details]}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> GateResult:
        """Restore what `to_record` gave. Raises ValueError naming keys that are missing or unknown."""
        fields = set(cls.__dataclass_fields__)
        missing, unknown = sorted(fields - {"details", "setting"} - set(record)), sorted(set(record) - fields)
        if missing or unknown:
            raise ValueError(
                f"not the record of a gate: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}"
            )
        # Results that were recorded before named none.
        setting = record.get("setting", _UNNAMED)
        details = tuple(dict(detail) for detail in record.get("details", ()))
        return cls(**{**record, "details": details, "setting": setting})

    def message(self) -> str:
        """What people read: the description; of a failed gate also what was found, what is allowed, where, by what."""
        if self.passed:
            return self.description
        columns = f" Columns: {self._columns()}." if self.details else ""
        return (
            f"{self.description} Found {_number(self.value)}, allowed {self.threshold}.{columns} "
            f"Ruled by {self.setting}."
        )

    def line(self) -> str:
        """One line for a log or an error message: name, verdict, value, threshold, columns concerned and setting."""
        text = f"{self.name}: {self.verdict}, {_number(self.value)} ({self.threshold})"
        if self.details:
            text += f"; {self._columns()}"
        return text if self.passed else f"{text}; ruled by {self.setting}"

    def html_tables(self) -> Iterable[HtmlTable]:
        yield gate_table([self])

    def _columns(self) -> str:
        shown = [f"{d['column']} {d['problem']} ({d['count']})" for d in self.details[:_COLUMNS_SHOWN]]
        more = len(self.details) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")


def gate_table(gates: Iterable[GateResult], caption: str = "") -> HtmlTable:
    """Gates as a table for notebooks."""
    rows = [(one.name, one.verdict, one.value, one.threshold, one.message()) for one in gates]
    return HtmlTable(caption, ("gate", "verdict", "value", "allowed", "what it says"), rows)


def detail(column: str, problem: str, count: int) -> dict[str, Any]:
    """One row of `GateResult.details`, with the count as a plain int (numpy integers have no JSON form)."""
    return {"column": column, "problem": problem, "count": int(count)}


def why_rejected(gates: Iterable[GateResult]) -> str:
    """What the gates of a rejected day say: first those that reject it, then the other ones that did not pass, since
    these name the columns of what was quarantined. Empty where no gate rejects it.
    """
    failed = sorted((gate for gate in gates if not gate.passed), key=lambda gate: not gate.blocks)
    return "; ".join(gate.line() for gate in failed) if failed and failed[0].blocks else ""


def upstream_gate(reason: str) -> GateResult:
    """The verdict on a day that was made of nothing, since what it is made of was refused."""
    return GateResult(
        "upstream",
        passed=False,
        severity="error",
        value=f"refused: {reason}",
        threshold="kept",
        description=reason,
        setting="the gate that rejected it",
    )


def results_hash(gates: Iterable[GateResult]) -> str:
    """A hash of gate results, the same of those that were written into a file and read again."""
    from credit_assets.ml.data.fingerprints import fingerprint

    return fingerprint(gates=[gate.to_record() for gate in gates])


def worst(gates: Iterable[GateResult]) -> Verdict:
    """The gravest verdict among the gates; "passed" where there are none."""
    return max((gate.verdict for gate in gates), key=_RANK.__getitem__, default="passed")


def blocking(gates: Iterable[GateResult]) -> tuple[GateResult, ...]:
    """The gates that failed with severity error, in the given order."""
    return tuple(gate for gate in gates if gate.blocks)


def merge(results: Iterable[Iterable[GateResult]]) -> tuple[GateResult, ...]:
    """The gates of several days as one set, one record a name, in order of first appearance.

    A merged gate passes when it passed on every day; value, threshold and description are those of its gravest day
    (the first of equals), and details are summed by column and problem.
    """
    by_name: dict[str, list[GateResult]] = {}
    for gates in results:
        for gate in gates:
            by_name.setdefault(gate.name, []).append(gate)
    merged = []
    for name, of_days in by_name.items():
        gravest = max(of_days, key=lambda gate: _RANK[gate.verdict])
        counts: dict[tuple[str, str], int] = {}
        for gate in of_days:
            for row in gate.details:
                key = (row["column"], row["problem"])
                counts[key] = counts.get(key, 0) + row["count"]
        failed = sum(not gate.passed for gate in of_days)
        note = f" (failed on {failed} of {len(of_days)} days)" if failed and len(of_days) > 1 else ""
        merged.append(
            GateResult(
                name=name,
                passed=failed == 0,
                severity=gravest.severity,
                value=gravest.value,
                threshold=gravest.threshold,
                description=gravest.description + note,
                details=tuple(detail(column, problem, count) for (column, problem), count in counts.items()),
                setting=gravest.setting,
            )
        )
    return tuple(merged)


def _number(value: float | int | str | None) -> str:
    return "no value" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
