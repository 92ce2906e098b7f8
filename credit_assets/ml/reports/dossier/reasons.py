"""Reasons: what an applicant who is declined is told, and by which contract."""

from __future__ import annotations

from credit_assets.ml.data.reasons import ReasonContract
from credit_assets.ml.reports.dossier.blocks import Block, Paragraph, Section, Table, text
from credit_assets.ml.reports.dossier.material import Material


def section(material: Material) -> Section:
    portfolio, source = material.portfolio, material.portfolio_source
    contract = ReasonContract.of(portfolio)
    blocks: list[Block] = [
        Paragraph(
            "A reason is what the features of a group add to the score, by the model that decided and exactly "
            "(TreeSHAP; of a scorecard its points). Features are summed by group before the groups are ranked; none is "
            f"given that does not count against the applicant, and at most {contract.most} are. Where a group does so "
            "by values that are missing at least as much as by those that are there, the applicant is told just that, "
            "by a code of its own. The contract is saved with the model, so that batch and service give the same "
            "reasons.",
            (source,),
        ),
        Table(
            "Groups of features, and what the applicant reads",
            ("code", "text", "where values are missing", "features"),
            tuple(
                (text(one.code), text(one.text), text(one.missing_text), text(", ".join(one.features)))
                for one in contract.groups
            ),
            (source,),
            f"No reason, since the lender decides them: {', '.join(contract.none)}." if contract.none else "",
        ),
    ]
    return Section("reasons", "Reasons of a decline", tuple(blocks))
