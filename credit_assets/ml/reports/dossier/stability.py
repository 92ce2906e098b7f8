"""Stability: how alike train, validation, test and the newest days are, in the features and in the points."""

from __future__ import annotations

from typing import Any

from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Paragraph,
    Section,
    Table,
    count,
    number,
    share,
    text,
)
from credit_assets.ml.reports.dossier.material import Material, Recorded, lacking


def section(material: Material) -> Section:
    found = material.evidence("stability")
    blocks: list[Block] = [
        Paragraph(
            "The population stability index (PSI) compares shares in tenths of a number or levels of a category; of a "
            "feature it is also called the characteristic stability index (CSI). What chance alone brings at these "
            "numbers of rows is taken off. A verdict needs a significant test as well."
        )
    ]
    if found is None:
        blocks.append(lacking("the stability between the splits"))
    else:
        blocks += _splits(found)
    blocks += _first_days(material)
    return Section("stability", "Stability", tuple(blocks))


def _splits(found: Recorded) -> list[Block]:
    comparisons = found["comparisons"]
    if not comparisons:
        return [lacking("the stability between the splits", "no two splits have rows")]
    policy = found["policy"]
    limits = (
        f"Watched from {policy['watch']:g}, shifted from {policy['shifted']:g}, at a level of {policy['alpha']:g} over "
        f"all tests; unknown below {policy['min_rows']:,} rows."
    )
    score = Table(
        "Points between the splits",
        ("from", "to", "rows", "rows then", "PSI", "PSI by chance", "verdict"),
        tuple(
            (
                text(one["before"]),
                text(one["after"]),
                count(one["rows"][0]),
                count(one["rows"][1]),
                number(one["score"]["psi"], 3),
                number(one["score"]["psi_by_chance"], 3),
                text(one["score"]["verdict"]),
            )
            for one in comparisons
        ),
        (found.source,),
        f"{limits} A model ranks its own train rows better than any others: validation to test says what time has "
        "done.",
    )
    names = [one["name"] for one in comparisons[0]["features"]]
    by_name = [{one["name"]: one for one in pair["features"]} for pair in comparisons]
    rows = [
        (text(name), *(cell for of in by_name for cell in _cells(of[name])))
        for name in sorted(names, key=lambda name: (-_largest(by_name, name), name))
    ]
    pairs = [f"{one['before']} to {one['after']}" for one in comparisons]
    columns = ("feature", *(column for pair in pairs for column in (f"PSI, {pair}", "verdict")))
    return [score, Table("Features between the splits", columns, tuple(rows), (found.source,), limits)]


def _cells(one: dict[str, Any]) -> tuple[Cell, Cell]:
    return number(one["psi"], 3), text(one["verdict"])


def _largest(by_name: list[dict[str, Any]], name: str) -> float:
    return max((of[name]["psi"] or 0.0) for of in by_name)


def _first_days(material: Material) -> list[Block]:
    found = material.evidence("first_days")
    if found is None or "together" not in found.record:
        why = found.get("why", "") if found else ""
        return [lacking("how the newest days look to the model", why)]
    days, odds = found["days"], found["pd_odds_ratio"]
    source = found.source
    facts = (
        Fact("days of the test", text(" .. ".join(days["then"])), source),
        Fact("newest days", text(" .. ".join(days["now"])), source),
        Fact("applications of the newest days", count(found["rows"]["now"]), source),
        Fact("mean PD, newest days", share(found["mean_pd"]["now"], 2), source),
        Fact("mean PD, days of the test", share(found["mean_pd"]["then"], 2), source),
        Fact("odds of the mean PD, newest over test", number(odds["value"] if odds else None, 3), source),
        Fact("PSI of the points", number(found["score"]["psi"], 3), source),
        Fact("AUC of the test, features as on the newest days", number(found["together"]["auc_as_now"]), source),
        Fact("AUC lost", number(found["together"]["auc_loss"]), source),
    )
    return [Facts(facts, "The newest days beside the days of the test, both scored by the model")]
