"""What a replay came to: the records of its runs and trainings, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any

from rich.console import Console
from rich.table import Table

from credit_assets.assets.runs import rejected_of
from credit_assets.assets.stored_days import DayScores
from credit_assets.failures import PermanentError
from credit_assets.ml.rules.due import NOT_DUE
from credit_assets.storage.store import Store

BLOCKED = "blocked"
"""The status of a training that a gate of its data stopped."""


@dataclass(frozen=True)
class TrainingOutcome:
    """What one as-of date came to."""

    as_of: date
    status: str  # registered, rejected, blocked, not due
    version: str | None = None
    variant: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    promoted: bool = False
    on_trial: bool = False
    reason: str = ""

    @property
    def moved(self) -> bool:
        """Whether the days after it are scored otherwise than before."""
        return self.promoted or self.on_trial


@dataclass
class ReplayReport:
    """What was done of how many days, and the trainings in as-of order.

    `scored` are days whose applications all have a score (an empty day has), `unscored` those that the scoring passed
    by, since no champion was in force; the others count applications. Those refused have no PD for a value that is
    missing, and count as neither.
    """

    days: int = 0
    ingested: int = 0
    scored: int = 0
    restated: list[str] = field(default_factory=list)
    """Days made again since the warehouse had changed them, and the versions that were trained on them, in words."""
    unscored: int = 0
    scored_applications: int = 0
    unscored_applications: int = 0
    refused_applications: int = 0
    runs: int = 0
    trainings: list[TrainingOutcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _of_day: dict[date, DayScores] = field(default_factory=dict, repr=False)
    rejected: dict[str, str] = field(default_factory=dict)
    """What gates said of the days that they rejected, by `asset day`."""

    def note_scored(self, found: Mapping[date, DayScores]) -> None:
        """Count days that were just scored. One that is scored again, by a new champion, counts once."""
        self._of_day.update(found)
        every = self._of_day.values()
        self.unscored = sum(day.unscored > 0 for day in every)
        self.scored = len(every) - self.unscored
        self.scored_applications = sum(day.scored for day in every)
        self.unscored_applications = sum(day.unscored for day in every)
        self.refused_applications = sum(day.refused for day in every)

    @property
    def not_due(self) -> list[TrainingOutcome]:
        return [outcome for outcome in self.trainings if outcome.status == NOT_DUE]

    def note_rejected(self, store: Store, assets: Sequence[str], days: Sequence[date]) -> int:
        """Note which of these days gates have rejected, of any of the assets; how many they are."""
        found: dict[str, str] = {}
        for asset in assets:
            rejected = rejected_of(store, asset, [day.isoformat() for day in days])
            found |= {f"{asset} {day}": reason for day, reason in rejected.items()}
        self.rejected |= found
        return len({name.split()[-1] for name in found})

    def raise_rejected(self) -> None:
        """Raise PermanentError naming every day that a gate rejected, if any: the others are made."""
        if not self.rejected:
            return
        days = sorted({name.split()[-1] for name in self.rejected})
        again = f"credit-assets replay --start {days[0]} --end {days[-1]}"
        lines = "".join(f"\n  {name}: {reason}" for name, reason in sorted(self.rejected.items(), key=_by_day))
        raise PermanentError(
            f"{len(days)} of {self.days:,} days were rejected by their gates, the others are done: correct the source, "
            f"then `{again}`, which does the rejected days alone.{lines}"
        )

    def raise_blocked(self) -> None:
        """Raise PermanentError naming every training that a gate stopped, if any. One that was rejected is a result."""
        blocked = [one for one in self.trainings if one.status == BLOCKED]
        if not blocked:
            return
        lines = "".join(f"\n  {one.as_of}: {one.reason}" for one in blocked)
        raise PermanentError(
            f"{len(blocked)} of {len(self.trainings):,} trainings were stopped by their gates, the rest is done: "
            f"correct what they name, then run the same command again, which trains as of these dates alone.{lines}"
        )

    def to_record(self) -> dict[str, Any]:
        """As JSON types; `not_due` has the as-of dates that were skipped."""
        shown = {one.name: getattr(self, one.name) for one in fields(self) if one.name[0] != "_"}
        trainings = [asdict(outcome) for outcome in self.trainings]
        return {**shown, "trainings": trainings, "not_due": [str(one.as_of) for one in self.not_due]}


def _by_day(named: tuple[str, str]) -> tuple[str, str]:
    asset, day = named[0].split()
    return day, asset


def print_trainings(report: ReplayReport, console: Console) -> None:
    done = f"{report.ingested:,} ingested, {_scored(report)}"
    console.print(f"{report.days:,} days; in this replay, with {report.runs} Dagster runs: {done}")
    if report.restated:
        console.print("changed in the warehouse since they were ingested, and made again:")
        for line in report.restated:
            console.print(f"  {line}")
    trained = [outcome for outcome in report.trainings if outcome.status != NOT_DUE]
    if trained:
        table = Table("as of", "decision", "version", "variant", "AUC", "Gini", "KS", "Brier", "bads", "why")
        for t in trained:
            metrics = [f"{t.metrics[n]:.4f}" if n in t.metrics else "-" for n in ("auc", "gini", "ks", "brier")]
            decision = f"{t.status}, {'promoted' if t.promoted else 'on trial'}" if t.moved else t.status
            bads = f"{t.metrics['bads']:.0f}" if t.metrics else "-"
            table.add_row(str(t.as_of), decision, t.version or "-", t.variant or "-", *metrics, bads, t.reason)
        console.print(table)
    if skipped := report.not_due:
        first, last = skipped[0].as_of, skipped[-1]
        which = f"{first}" if len(skipped) == 1 else f"{len(skipped)} as-of dates, {first} .. {last.as_of},"
        console.print(f"Skipped: {which} {'is' if len(skipped) == 1 else 'are'} {last.reason}", markup=False)


def print_backfill(report: ReplayReport, assets: Sequence[str], console: Console) -> None:
    scored = f": {_scored(report)}" if report.scored or report.unscored else ""
    console.print(f"{', '.join(assets)}: {report.days:,} days in {report.runs} runs{scored}", markup=False)


def _scored(report: ReplayReport) -> str:
    scored = f"{report.scored:,} scored ({report.scored_applications:,} applications)"
    if not report.unscored:
        return scored
    passed = f"{report.unscored:,} unscored ({report.unscored_applications:,} applications)"
    return f"{scored}, {passed}: no champion was in force"
