"""The whole dossier: its sections in order, the front page, the list of sources, and its JSON form.

Belongs here: the order of the sections and what stands around them. Does not belong here: a section, and HTML (`page`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from credit_assets.ml.reports.dossier import (
    calibration,
    changes,
    cohorts,
    comparison,
    crosswalk,
    cutoffs,
    data,
    decisions,
    fairness,
    features,
    limits,
    method,
    monitoring,
    population,
    purpose,
    reasons,
    results,
    stability,
    target,
)
from credit_assets.ml.reports.dossier.blocks import (
    Fact,
    Facts,
    Paragraph,
    Section,
    Source,
    block_record,
    count,
    number,
    short,
    sources_of,
    text,
)
from credit_assets.ml.reports.dossier.material import Material
from credit_assets.ml.reports.dossier.weaknesses import judge

FORMAT = 1
_SECTIONS: tuple[Callable[[Material], Section], ...] = (
    purpose.section,
    population.section,
    target.section,
    data.section,
    cohorts.section,
    features.section,
    method.section,
    results.section,
    comparison.section,
    calibration.section,
    stability.section,
    fairness.section,
    reasons.section,
    cutoffs.section,
    limits.section,
    monitoring.section,
    decisions.section,
    changes.section,
)


@dataclass(frozen=True)
class Dossier:
    """A dossier: title, the facts of its front page, and its sections."""

    title: str
    subtitle: str
    front: Facts
    sections: tuple[Section, ...]
    sources: tuple[Source, ...]

    @property
    def numbers(self) -> dict[Source, int]:
        """The number of each source, from 1 on in the order in which they are first named."""
        return {source: number for number, source in enumerate(self.sources, 1)}

    @property
    def findings(self) -> tuple[str, ...]:
        """What its limits say."""
        return self._texts_of("limits", "finding")

    @property
    def missing(self) -> tuple[str, ...]:
        """What it says is not recorded."""
        return tuple(
            block.text
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Paragraph) and block.kind == "missing"
        )

    def _texts_of(self, key: str, kind: str) -> tuple[str, ...]:
        blocks = next((one.blocks for one in self.sections if one.key == key), ())
        return tuple(block.text for block in blocks if isinstance(block, Paragraph) and block.kind == kind)

    def to_record(self) -> dict[str, Any]:
        """The dossier as JSON types: the same content as the page."""
        numbers = self.numbers
        return {
            "format": FORMAT,
            "title": self.title,
            "subtitle": self.subtitle,
            "front": block_record(self.front, numbers),
            "sections": [
                {
                    "number": number,
                    "key": section.key,
                    "title": section.title,
                    "blocks": [block_record(block, numbers) for block in section.blocks],
                }
                for number, section in enumerate(self.sections, 1)
            ],
            "sources": [{"number": number, **vars(source)} for source, number in numbers.items()],
        }


def dossier(material: Material) -> Dossier:
    """The dossier of a version."""
    sections = tuple(make(material) for make in _SECTIONS)
    package = Source("credit-assets", material.package or "unknown release", "", "")
    sections = (*sections, crosswalk.section(sections, package))
    front = _front(material)
    named = [*sources_of(front), *(s for one in sections for block in one.blocks for s in sources_of(block))]
    version = material.version
    return Dossier(
        title=f"{version.model}, version {version.version}",
        subtitle="Model dossier: development, evidence, limits and decisions",
        front=front,
        sections=sections,
        sources=tuple(dict.fromkeys(named)),
    )


def _front(material: Material) -> Facts:
    version, test = material.version, material.evidence("evaluation")
    source = version.source
    rows = material.training_set
    items = [
        Fact("Model", text(version.model), source),
        Fact("Version", text(version.version), source),
        Fact("Portfolio", text(material.portfolio.name), material.portfolio_source),
        Fact("As-of date", text(version.as_of), source),
        Fact("Learner", text(version.variant), source),
        Fact("Status", text(", ".join(version.aliases) or "holds no alias"), source),
    ]
    if rows is not None:
        items.append(Fact("Trained on", text(f"{rows.rows:,} loans, {rows.splits[0].first} .. {rows.splits[-1].last}"),
                          rows.source))  # fmt: skip
    if test is not None:
        shown = f"{test['auc']:.4f} ({test['auc_ci_low']:.4f} .. {test['auc_ci_high']:.4f})"
        items += [
            Fact("AUC, out of time (95%)", text(shown), test.source),
            Fact("Loans and bads of the test", text(f"{test['rows']:,} and {test['bads']:,}"), test.source),
            Fact("Observed over expected", number(test["observed_over_expected"], 3), test.source),
        ]
    items.append(Fact("Fingerprint", short(version.fingerprint), source))
    spoken = [found for _, found in judge(material) if found.speaks]
    items.append(Fact("Known weaknesses", count(len(spoken)), material.any_source))
    return Facts(tuple(items))
