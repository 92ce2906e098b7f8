"""Data: what the training set was made of, with hashes, quarantined rows, and what its gates said."""

from __future__ import annotations

from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Paragraph,
    Section,
    Table,
    count,
    short,
    shown,
    text,
)
from credit_assets.ml.reports.dossier.material import KeptTrainingSet, Material, Recorded, of_training_set


def section(material: Material) -> Section:
    return of_training_set(material, "data", "Data", lambda rows: _blocks(material, rows))


def _blocks(material: Material, rows: KeptTrainingSet) -> list[Block]:
    trained = material.trained
    facts = [
        Fact("training set, content", short(rows.source.content), rows.source),
        Fact("rows", count(rows.rows), rows.source),
        Fact("columns", count(len(rows.columns)), rows.source),
    ]
    if trained is not None:
        facts.append(Fact("the record's data hash is that of the set", _same(trained, rows), trained.source))
    blocks: list[Block] = [
        Paragraph(
            "Applications and outcomes come from the lender's warehouse, a day at a time; each day is checked against "
            "the column contract of the portfolio, rows that break it are set aside with the reason, and the content "
            "of every partition has a hash. The rows of this version are kept for as long as it is registered."
        ),
        Facts(tuple(facts), "The training set"),
    ]
    if material.ingested:
        blocks.append(
            Table(
                "What it was made of",
                ("asset", "days", "first", "last", "rows", "quarantined", "days changed since", "content of all days"),
                tuple(
                    (
                        text(one.asset),
                        count(one.days),
                        text(one.first),
                        text(one.last),
                        count(one.rows),
                        count(one.quarantined),
                        count(one.changed),
                        short(one.source.content),
                    )
                    for one in material.ingested
                ),
                tuple(one.source for one in material.ingested),
                "The content of all days is the hash of the hashes of the single days, which are kept with the "
                "version. A day has changed where it was ingested again with other rows since.",
            )
        )
    blocks.append(
        Table(
            "Gates of the training set",
            ("gate", "verdict", "value", "held against", "what it says"),
            tuple(
                (
                    text(gate.name),
                    text(gate.verdict),
                    shown(gate.value),
                    text(gate.threshold),
                    text(gate.description),
                )
                for gate in rows.gates
            ),
            (rows.source,),
        )
    )
    return blocks


def _same(trained: Recorded, rows: KeptTrainingSet) -> Cell:
    return shown(trained.get("data") == rows.source.content)
