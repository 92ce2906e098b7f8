"""Comparison: the model beside the champion, the first of its chain and a plain scorecard, on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.reports.dossier import scorecard
from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Paragraph,
    Section,
    Source,
    Table,
    count,
    interval,
    number,
    signed,
    text,
)
from credit_assets.ml.reports.dossier.material import Material, lacking

_COLUMNS = ("held against", "rows", "bads", "AUC of the model", "AUC of the other", "difference", "95% interval", "p")


def section(material: Material) -> Section:
    trained = material.trained
    if trained is None:
        return Section("comparison", "Comparison with champion and scorecard", (lacking("the comparisons"),))
    blocks: list[Block] = [
        Paragraph(
            "Two models are compared on the same out-of-time rows, which neither has used, by the paired test of "
            "DeLong (1988). The smallest difference is what these rows would show in 80 of 100 samples of their size."
        )
    ]
    champion, beside = trained.get("champion"), trained.get("comparison") or {}
    rows: list[tuple[Cell, ...]] = []
    if champion is None:
        blocks.append(
            Paragraph("No champion was in force: this is the first model, held against chance.", (trained.source,))
        )
    else:
        rows += _compared(f"champion, version {champion['version']}", champion)
        blocks += _why_not(f"champion, version {champion['version']}", champion, trained.source)
    if first := beside.get("first"):
        rows += _compared(f"first of its chain, version {first['version']}", first)
        blocks += _why_not(f"first of its chain, version {first['version']}", first, trained.source)
    if plain := beside.get("scorecard"):
        found = plain["difference"]
        own = plain["auc"] + found["difference"]
        rows.append(_row("plain scorecard", (own, plain["auc"]), found))
    if rows:
        smallest = [one for one in (champion, beside.get("first"), plain) if one and "difference" in one]
        shown = ", ".join(f"{one['difference']['smallest_detectable_difference']:.4f}" for one in smallest)
        note = f"The smallest difference that these rows could show: {shown}."
        blocks.append(Table("Models on the same rows", _COLUMNS, tuple(rows), (trained.source,), note))
    blocks += scorecard.blocks(material.evidence("scorecard"))
    return Section("comparison", "Comparison with champion and scorecard", tuple(blocks))


def _compared(name: str, other: Mapping[str, Any]) -> list[tuple[Cell, ...]]:
    if not other.get("comparable", True) or "difference" not in other:
        return []
    theirs, ours = other["evaluation"]["auc"], (other.get("candidate_evaluation") or {}).get("auc")
    return [_row(name, (ours, theirs), other["difference"])]


def _row(name: str, aucs: tuple[float | None, float], found: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        text(name),
        count(found["rows"]),
        count(found["bads"]),
        number(aucs[0]),
        number(aucs[1]),
        signed(found["difference"]),
        interval(found["ci_low"], found["ci_high"]),
        number(found["p_value"], 3),
    )


def _why_not(name: str, other: Mapping[str, Any], source: Source) -> list[Block]:
    if other.get("comparable", True):
        return []
    return [Paragraph(f"It cannot be compared with the {name}: {other['why']}.", (source,))]
