"""The crosswalk: which section speaks to which part of the guidance for banks and of the European law.

Belongs here: the map and its words. No claim that anything is complied with: whether it is, people decide.
"""

from __future__ import annotations

from credit_assets.ml.reports.dossier.blocks import Block, Paragraph, Section, Source, Table, text

_DEVELOPMENT = "Model development and model use"
_VALIDATION = "Model validation and monitoring"
_GOVERNANCE = "Governance and controls"

CLAUSES: dict[str, tuple[str, str]] = {
    "purpose": (_DEVELOPMENT, "Annex IV 1(a), (c), (h)"),
    "population": (_DEVELOPMENT, "Annex IV 2(d)"),
    "target": (_DEVELOPMENT, "Annex IV 2(b), (d)"),
    "data": (_DEVELOPMENT, "Annex IV 2(d)"),
    "cohorts": (_DEVELOPMENT, "Annex IV 2(d), (g)"),
    "features": (_DEVELOPMENT, "Annex IV 2(b), (d); 3 (input data)"),
    "method": (_DEVELOPMENT, "Annex IV 2(a), (b), (c)"),
    "results": (f"{_VALIDATION} (outcomes analysis)", "Annex IV 2(g); 3; 4"),
    "comparison": (f"{_VALIDATION} (benchmarking)", "Annex IV 2(b), (g)"),
    "calibration": (f"{_VALIDATION} (outcomes analysis)", "Annex IV 2(g); 3; 4"),
    "stability": (_VALIDATION, "Annex IV 2(g); 3"),
    "fairness": (_VALIDATION, "Annex IV 2(g); 3 (persons or groups)"),
    "reasons": (_DEVELOPMENT, "Annex IV 2(e); 3 (human oversight)"),
    "cutoffs": (_DEVELOPMENT, "Annex IV 2(b)"),
    "limits": (f"{_VALIDATION} (limitations)", "Annex IV 3; 5"),
    "monitoring": (f"{_VALIDATION} (ongoing monitoring)", "Annex IV 9"),
    "decisions": (_GOVERNANCE, "Annex IV 2(e), (g)"),
    "changes": (f"{_GOVERNANCE} (change)", "Annex IV 2(f); 6"),
}
NOT_COVERED = (
    "Not in this document: the provider's name and address, hardware and user interface (Annex IV 1), cybersecurity "
    "(2(h)), the risk management system as a whole (5), standards applied (7) and the declaration of conformity (8); "
    "and of the guidance, the lender's own inventory, materiality, independence of validation, and vendor products."
)


def section(sections: tuple[Section, ...], source: Source) -> Section:
    """The table of all sections that have a clause."""
    rows = tuple(
        (text(f"{number}. {one.title}"), *(text(clause) for clause in CLAUSES[one.key]))
        for number, one in enumerate(sections, 1)
        if one.key in CLAUSES
    )
    columns = ("section", "SR 26-2 (formerly SR 11-7)", "EU AI Act")
    blocks: tuple[Block, ...] = (
        Paragraph(
            "Where a reader finds what two texts ask a document of this kind for. SR 26-2 of the Federal Reserve (OCC "
            "Bulletin 2026-13), the interagency guidance on model risk management of 17 April 2026, replaced SR 11-7; "
            "it sets no enforceable standard. Regulation (EU) 2024/1689 (the AI Act) counts systems that evaluate the "
            "creditworthiness of natural persons among the high-risk ones (Annex III, 5(b)), whose technical "
            "documentation (Article 11) has the contents of Annex IV; by the amendment adopted in June 2026 these "
            "duties apply from 2 December 2027. The table is an aid to reading and no statement that anything is "
            "complied with.",
            (source,),
        ),
        Table("Sections and clauses", columns, rows, (source,), NOT_COVERED),
    )
    return Section("crosswalk", "Crosswalk", blocks)
