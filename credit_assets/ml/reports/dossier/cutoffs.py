"""Cut-offs: above which PD the model declines, and what approval, loss and profit are there."""

from __future__ import annotations

from credit_assets.ml.reports.dossier.anything import blocks_of
from credit_assets.ml.reports.dossier.blocks import Block, Paragraph, Section, shown
from credit_assets.ml.reports.dossier.material import Material, lacking


def section(material: Material) -> Section:
    found = material.evidence("cutoffs")
    if found is None:
        return Section("cutoffs", "Cut-offs and money", (lacking("cut-offs"),))
    blocks: list[Block] = []
    pd = found.get("pd")
    if pd is None:
        blocks.append(
            Paragraph(
                "No cut-off is set by the policy: the model declines nobody, and what follows of a PD is decided "
                "outside of it.",
                (found.source,),
            )
        )
    else:
        blocks.append(
            Paragraph(
                f"The model declines applications with a PD above {shown(pd).text}. The cut-off was fixed at the "
                "training and does not move with the days that are scored.",
                (found.source,),
            )
        )
    blocks += blocks_of("Cut-offs", found.record, found.source)
    return Section("cutoffs", "Cut-offs and money", tuple(blocks))
