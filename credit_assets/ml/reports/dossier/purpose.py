"""Purpose and use: what the model says of whom, for which decision, and what it is not made for."""

from __future__ import annotations

from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Paragraph,
    Section,
    shown,
    text,
)
from credit_assets.ml.reports.dossier.material import Material


def section(material: Material) -> Section:
    version, portfolio = material.version, material.portfolio
    begins = "the application" if portfolio.performance_window_from == "application" else "the booking of the loan"
    source, of_portfolio = version.source, material.portfolio_source
    periods = ", ".join(f"{first} .. {last or 'now'}" for first, last in version.in_force)
    blocks: list[Block] = [
        Paragraph(
            "The model estimates, for one application for credit, the probability that the loan would default within "
            f"{material.window_days} days of {begins} (PD), and puts it on a scale of points. It ranks applicants and "
            "prices their risk within one portfolio; the decision on an application rests on a cut-off and on people "
            "and rules outside of the model.",
            (of_portfolio,),
        ),
        Facts(
            (
                Fact("Portfolio", text(portfolio.name), of_portfolio),
                Fact("What it is", text(portfolio.description), of_portfolio),
                Fact("Applications", text(f"table {portfolio.applications_table}"), of_portfolio),
                Fact("Performance window", text(f"{material.window_days} days from {begins}"), of_portfolio),
                Fact("Learner", text(version.variant), source),
                Fact("Aliases held", text(", ".join(version.aliases)), source),
                Fact("In force as champion", text(periods or "never"), source),
                Fact("Scale", _scale(material), material.candidate.source if material.candidate else source),
            ),
            "The model and its use",
        ),
        Paragraph(
            "It is made for applications of this portfolio that keep its column contract; a request that breaks the "
            "contract is refused or warned about, and a model of another portfolio is refused. It is not made for the "
            "lifetime of a loan (provisions under IFRS 9 or CECL), for loss given default, for limits of existing "
            "customers, for collections or for fraud, and nothing here says how it would do there.",
        ),
    ]
    return Section("purpose", "Purpose and use", tuple(blocks))


def _scale(material: Material) -> Cell:
    scale = material.candidate["identity"].get("scale") if material.candidate else None
    if not scale:
        return shown(None)
    base, odds, pdo = scale
    return text(f"{base:g} points at odds of {odds:g}:1, {pdo:g} points double the odds; more points mean less risk")
