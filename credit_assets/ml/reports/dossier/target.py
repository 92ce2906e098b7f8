"""The target: what counts as bad, within which window, and how often it occurs."""

from __future__ import annotations

from credit_assets.ml.reports.dossier.blocks import Block, Fact, Facts, Paragraph, Section, count, share, text
from credit_assets.ml.reports.dossier.material import Material, lacking

_GATES = ("target_rate", "target_over_time", "outcomes_arrive", "matured_without_outcome", "orphans")


def section(material: Material) -> Section:
    trained, rows = material.evidence("trained_on"), material.training_set
    if trained is None:
        return Section("target", "Target", (lacking("the target"),))
    outcomes = trained["outcomes"]
    blocks: list[Block] = [
        Paragraph(outcomes["definition"], (trained.source,)),
        Paragraph(
            "Only loans whose whole performance window has closed are trained on, and only what was known by the "
            "as-of date: defaults become known sooner than good ends, and labelling whatever is known so far would "
            "overstate the risk."
        ),
    ]
    facts = [Fact(f"booked loans, {name}", count(n), trained.source) for name, n in outcomes["counts"].items()]
    if rows is not None and rows.rows:
        bads = sum(one.bads for one in rows.splits)
        facts.append(Fact("bad rate of the training set", share(bads / rows.rows, 2), rows.source))
        facts += [
            Fact(f"gate {gate.name}", text(f"{gate.verdict}: {gate.description}"), rows.source)
            for gate in rows.gates
            if gate.name in _GATES
        ]
    blocks.append(Facts(tuple(facts), "What became of the loans"))
    return Section("target", "Target", tuple(blocks))
