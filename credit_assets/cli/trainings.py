"""What a replay came to: the records of its runs and trainings, and their table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class TrainingOutcome:
    """What one as-of date came to."""

    as_of: date
    status: str  # registered, rejected, blocked
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
    """Counts of runs and days done and found done, and the trainings in as-of order."""

    days: int = 0
    ingested: int = 0
    scored: int = 0
    restated: list[str] = field(default_factory=list)
    """Days made again since the warehouse had changed them, and the versions that were trained on them, in words."""
    runs: int = 0
    trainings: list[TrainingOutcome] = field(default_factory=list)

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def print_trainings(report: ReplayReport, console: Console) -> None:
    console.print(
        f"{report.days:,} days: {report.ingested:,} ingested, {report.scored:,} scored in this replay, "
        f"{report.runs} Dagster runs"
    )
    if report.restated:
        console.print("changed in the warehouse since they were ingested, and made again:")
        for line in report.restated:
            console.print(f"  {line}")
    if not report.trainings:
        return
    table = Table("as of", "decision", "version", "variant", "AUC", "Gini", "KS", "Brier", "bads", "why")
    for t in report.trainings:
        metrics = [f"{t.metrics[n]:.4f}" if n in t.metrics else "-" for n in ("auc", "gini", "ks", "brier")]
        decision = f"{t.status}, {'promoted' if t.promoted else 'on trial'}" if t.moved else t.status
        bads = f"{t.metrics['bads']:.0f}" if t.metrics else "-"
        table.add_row(str(t.as_of), decision, t.version or "-", t.variant or "-", *metrics, bads, t.reason)
    console.print(table)
