"""Reasons: what an applicant who is declined is told, and by which contract."""

from __future__ import annotations

from typing import Any

from credit_assets.ml.reports.dossier.anything import blocks_of
from credit_assets.ml.reports.dossier.blocks import Block, Paragraph, Section
from credit_assets.ml.reports.dossier.material import Material, lacking


def section(material: Material) -> Section:
    stated: Any = getattr(material.portfolio, "reasons", None)
    record = stated.model_dump(mode="json", exclude_defaults=False) if hasattr(stated, "model_dump") else None
    if not record:
        told = lacking("the reasons of a decline", "the portfolio has no `reasons`, so that nobody can be told why")
        return Section("reasons", "Reasons of a decline", (told,))
    blocks: list[Block] = [
        Paragraph(
            "Reasons are the contributions of the model that decided (TreeSHAP, exact), on the scale of points, summed "
            "by the groups below before they are ranked; none is given that does not count against the applicant. "
            "`credit-assets explain`, the daily scores and the served model give the same reasons."
        ),
        *blocks_of("Reasons", record, material.portfolio_source),
    ]
    return Section("reasons", "Reasons of a decline", tuple(blocks))
