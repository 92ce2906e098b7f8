"""Decisions and approvals: what was decided about the version, by which reasons, and who moved it when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Paragraph,
    Section,
    Table,
    short,
    shown,
    text,
)
from credit_assets.ml.reports.dossier.material import Material, Recorded, lacking

_REASONS = ("rule", "passed", "value", "held against", "what it says")


def section(material: Material) -> Section:
    blocks: list[Block] = []
    registered, deployed = material.made.registered, material.made.deployed
    blocks += [lacking("its registration")] if registered is None else _registration(registered)
    blocks += [lacking("what followed from its registration")] if deployed is None else _deployment(deployed)
    if material.moves:
        blocks.append(
            Table(
                "Moves of aliases",
                ("alias", "entry", "what", "effective from", "by", "recorded at", "reason"),
                tuple(
                    (
                        text(one.alias),
                        shown(one.number),
                        text(one.kind if one.version else f"{one.kind}, taken away"),
                        text(one.effective_from),
                        text(one.by),
                        text(one.at),
                        text(one.reason),
                    )
                    for one in material.moves
                ),
                tuple(one.source for one in material.moves),
                "By the log of each alias in the store, which decides; MLflow shows it.",
            )
        )
    else:
        blocks.append(Paragraph("No alias has been moved to or from this version."))
    return Section("decisions", "Decisions and approvals", tuple(blocks))


def _registration(registered: Recorded) -> list[Block]:
    policy: Mapping[str, Any] = registered.get("policy") or {}
    facts = (
        Fact("decision", text(registered["decision"]), registered.source),
        Fact("trained for", text(registered.get("mode")), registered.source),
        Fact("asked for by", text(", ".join(registered.get("triggers") or ()) or "the schedule, or a replay"),
             registered.source),
        Fact("policy", short(policy.get("version")), registered.source),
    )  # fmt: skip
    return [Facts(facts, "Registration"), _reasons("Registration: every reason", registered)]


def _deployment(deployed: Recorded) -> list[Block]:
    facts = tuple(
        Fact(name.replace("_", " "), shown(deployed.get(name)), deployed.source)
        for name in ("decision", "promotion", "champion_before", "champion_after", "shadow_after")
    )
    return [Facts(facts, "Taking over"), _reasons("Taking over: every reason", deployed)]


def _reasons(caption: str, record: Recorded) -> Table:
    def row(reason: Mapping[str, Any]) -> tuple[Cell, ...]:
        return (
            text(reason["rule"]),
            shown(bool(reason["passed"])),
            shown(reason["value"]),
            shown(reason["threshold"]),
            text(reason["text"]),
        )

    return Table(caption, _REASONS, tuple(row(one) for one in record["reasons"]), (record.source,))
