"""Limits and known weaknesses, drawn from the evidence by the rules of `weaknesses`."""

from __future__ import annotations

from credit_assets.ml.reports.dossier.blocks import Block, Cell, Paragraph, Section, Table, number, text
from credit_assets.ml.reports.dossier.material import Material
from credit_assets.ml.reports.dossier.weaknesses import judge

_WORDS = {True: "found", False: "not found", None: "not looked at"}


def section(material: Material) -> Section:
    judged = judge(material)
    spoken = [found for _, found in judged if found.speaks]
    blocks: list[Block] = [
        Paragraph(
            f"{len(spoken)} of {len(judged)} rules speak. They are read out of the records by fixed thresholds, and "
            "stop nothing: the gates and rules of registration have been passed. What no rule asks is not found.",
            (material.any_source,),
        ),
        *(Paragraph(found.says, (found.source,), "finding") for found in spoken),
        Table(
            "Every rule, with its threshold",
            ("rule", "asks", "threshold", "value", "outcome"),
            tuple(
                (
                    text(rule.name.replace("_", " ")),
                    text(rule.asks),
                    _threshold(rule.threshold),
                    found.value,
                    text(_WORDS[found.speaks]),
                )
                for rule, found in judged
            ),
            tuple(dict.fromkeys(found.source for _, found in judged)),
        ),
    ]
    return Section("limits", "Limits and known weaknesses", tuple(blocks))


def _threshold(value: float | None) -> Cell:
    return number(value, 0 if value is not None and value >= 10 else 3)
