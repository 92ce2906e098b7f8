"""Cohorts: how the training set is cut by time, with the size of each part, and how old the test is in use."""

from __future__ import annotations

from credit_assets.ml.evidence.intervals import proportion
from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Paragraph,
    Section,
    Table,
    count,
    interval,
    share,
    text,
)
from credit_assets.ml.reports.dossier.material import KeptTrainingSet, Material, Split, of_training_set


def section(material: Material) -> Section:
    return of_training_set(material, "cohorts", "Cohorts and splits", lambda rows: _blocks(material, rows))


def _blocks(material: Material, rows: KeptTrainingSet) -> list[Block]:
    blocks: list[Block] = [
        Paragraph(
            "The newest days are the out-of-time test, which was never used to fit, to stop early, to calibrate or to "
            "choose among candidates; the days before them are validation, the rest train. Days are never divided."
        ),
        Table(
            "Rows by split",
            ("split", "first day", "last day", "rows", "bads", "bad rate", "95% interval"),
            tuple(_row(one) for one in rows.splits),
            (rows.source,),
            "Intervals of Wilson (1927).",
        ),
    ]
    age, trained = material.evidence("age"), material.trained
    if age is not None and trained is not None:
        facts = [
            Fact("out-of-time test", text(f"{age['test'][0]} .. {age['test'][1]}"), age.source),
            Fact("in use from", text(age["in_use_from"]), age.source),
            Fact("days between the end of the test and the first day in use", count(age["days"]), age.source),
        ]
        blocks.append(Facts(tuple(facts), "Age of the evidence"))
    return blocks


def _row(one: Split) -> tuple[Cell, ...]:
    rate = proportion(one.bads, one.rows)
    ends = interval(rate.low, rate.high) if rate else text(None)
    return (
        text(one.name),
        text(one.first),
        text(one.last),
        count(one.rows),
        count(one.bads),
        share(rate.value if rate else None, 2),
        ends,
    )
