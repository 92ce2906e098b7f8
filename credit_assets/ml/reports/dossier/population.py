"""Population and exclusions: who is in the training set, who is not, and counts that add up from one to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from credit_assets.ml.data.population import BOOKED
from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Paragraph,
    Section,
    Source,
    Table,
    count,
    share,
    text,
)
from credit_assets.ml.reports.dossier.material import Material, lacking

_KEPT = ("good", "bad")


@dataclass(frozen=True)
class AccountStep:
    """Rows at one step of the account: a total, or what is taken off the total before it, with why."""

    label: str
    rows: int
    kind: Literal["total", "less"]
    source: Source


def section(material: Material) -> Section:
    trained = material.evidence("trained_on")
    if trained is None or material.training_set is None:
        return Section("population", "Population and exclusions", (lacking("the population"),))
    steps = account(material)
    blocks: list[Block] = [
        Paragraph(trained["population"]["definition"], (trained.source,)),
        Table(
            "From the rows received to the rows trained on",
            ("step", "rows", "of the total before"),
            tuple(_rows(steps)),
            tuple(dict.fromkeys(step.source for step in steps)),
            "Every total is the one before less what stands between. What is told by difference has no count of its "
            "own: an id that came again, a loan whose performance window starts on another day, and rows that are left "
            "out for a missing value or since their customer stands in an earlier split.",
        ),
    ]
    if not adds_up(steps):
        blocks.append(Paragraph("The counts do not add up: see limits and known weaknesses.", kind="finding"))
    if material.portfolio.decisions is not None:
        blocks.append(
            Paragraph(
                "Outcomes exist for booked loans alone. Whoever was declined or withdrew is in no training and in no "
                "measure below: what is said here is about applicants like those who were lent to. `credit-assets "
                "sensitivity` shows the figures on everyone under stated assumptions."
            )
        )
    return Section("population", "Population and exclusions", tuple(blocks))


def account(material: Material) -> tuple[AccountStep, ...]:
    """The steps from what was received to the training set. Empty where nothing is recorded."""
    trained, rows = material.evidence("trained_on"), material.training_set
    if trained is None or rows is None:
        return ()
    source = trained.source
    decided: Mapping[str, int] = trained["population"]["counts"]
    became: Mapping[str, int] = trained["outcomes"]["counts"]
    booked = sum(became.values())
    applied = sum(decided.values()) or booked
    steps: list[AccountStep] = []
    raw = next((one for one in material.ingested if one.asset == "raw_loan_data"), None)
    # Where windows start with the booking, days of applications are not days of cohorts.
    if raw is not None and material.portfolio.performance_window_from == "application":
        steps += [
            AccountStep("received on the days of the cohorts", raw.rows + raw.quarantined, "total", raw.source),
            AccountStep("quarantined: breaks the column contract", raw.quarantined, "less", raw.source),
            AccountStep("an id that came again (by difference)", raw.rows - applied, "less", raw.source),
        ]
    steps.append(AccountStep("applications of the cohorts", applied, "total", source))
    if decided:
        steps += [
            AccountStep(f"{name}: not lent to, no outcome", n, "less", source)
            for name, n in decided.items()
            if name != BOOKED
        ]
        steps.append(AccountStep("booked loans", booked, "total", source))
    steps += [
        AccountStep(f"{name}: neither good nor bad", n, "less", source)
        for name, n in became.items()
        if name not in _KEPT
    ]
    known = sum(became.get(name, 0) for name in _KEPT)
    steps += [
        AccountStep("good or bad within the performance window", known, "total", source),
        AccountStep(
            "left out: missing value or known customer (by difference)", known - rows.rows, "less", rows.source
        ),
        AccountStep("training set: train, validation and test", rows.rows, "total", rows.source),
    ]
    return tuple(steps)


def adds_up(steps: Sequence[AccountStep]) -> bool:
    """Whether every total is the one before less what stands between, and nothing taken off is negative."""
    before: int | None = None
    off = 0
    for step in steps:
        if step.kind == "less":
            if step.rows < 0:
                return False
            off += step.rows
            continue
        if before is not None and before - off != step.rows:
            return False
        before, off = step.rows, 0
    return True


def _rows(steps: Sequence[AccountStep]) -> list[tuple[Cell, Cell, Cell]]:
    rows: list[tuple[Cell, Cell, Cell]] = []
    before = 0
    for step in steps:
        of = share(step.rows / before, 2) if before else text(None)
        if step.kind == "total":
            rows.append((text(step.label), count(step.rows), of))
            before = step.rows
        else:
            rows.append((text(f"less {step.label}"), count(-step.rows or 0), of))
    return rows
