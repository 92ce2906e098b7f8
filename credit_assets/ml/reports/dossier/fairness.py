"""Fairness: what is measured by protected attribute, or why nothing is."""

from __future__ import annotations

from credit_assets.ml.reports.dossier.anything import blocks_of
from credit_assets.ml.reports.dossier.blocks import Block, Paragraph, Section
from credit_assets.ml.reports.dossier.material import Material, Recorded, joined, lacking


def section(material: Material) -> Section:
    protected = material.portfolio.protected_columns
    source = material.portfolio_source
    blocks: list[Block] = []
    if protected:
        blocks.append(
            Paragraph(
                f"Protected attributes of the portfolio: {joined(protected)}. No learner reads them: a training set "
                "has the features alone.",
                (source,),
            )
        )
    else:
        blocks.append(
            Paragraph(
                "The portfolio names no protected attribute, so that nothing can be measured by one. That a model does "
                "not read an attribute does not show that its decisions do not differ by it: other columns may stand "
                "in for it.",
                (source,),
            )
        )
    found = material.evidence("fairness")
    if found is None or set(found.record) <= {"why", "limits"}:
        why = found.get("why", "") if found else ""
        blocks.append(lacking("fairness by group", why or ("" if protected else "no protected attribute is named")))
    else:
        blocks += _measured(found)
    return Section("fairness", "Fairness", tuple(blocks))


def _measured(found: Recorded) -> list[Block]:
    """What is common to all attributes, then each attribute with its groups, then the rest."""
    attributes = found.get("attributes") or ()
    common = {key: value for key, value in found.record.items() if key not in ("attributes", "alternatives")}
    blocks = blocks_of("Fairness", common, found.source)
    for one in attributes:
        blocks += blocks_of(f"By {one.get('column', 'attribute')}", one, found.source)
    more = found.get("alternatives")
    if more:
        blocks += blocks_of("Less discriminatory alternatives", {"alternatives": more}, found.source)
    return blocks
