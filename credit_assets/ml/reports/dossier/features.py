"""Features: what each is, its unit, contract and treatment of missing values, what it tells and what the model makes of
it; and which columns are no features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.data.missing import missing_policies
from credit_assets.ml.data.portfolio import Column
from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Figure,
    Paragraph,
    Section,
    Series,
    Table,
    count,
    interval,
    number,
    plain,
    share,
    signed,
    text,
)
from credit_assets.ml.reports.dossier.material import Material, Recorded, joined, lacking

_DIRECTIONS = {1: "rises", -1: "falls", 0: "free", None: "–"}
_SEEN = {1: "rises", -1: "falls", 0: "not shown", None: "–"}
_MISSING = {"reject": "not scored", "worst_case": "counts as the worst", "allowed": "learned", None: "learned"}
_PICTURED = 20


def section(material: Material) -> Section:
    blocks: list[Block] = [_definitions(material)]
    information, importance = material.information, material.evidence("importance")
    if information is None:
        blocks.append(lacking("the information value of the features"))
    else:
        blocks.append(_information(material, information))
    if importance is None:
        blocks.append(lacking("the importance of the features"))
    else:
        blocks += _importance(importance)
    blocks += _left_out(material)
    return Section("features", "Features", tuple(blocks))


def _definitions(material: Material) -> Table:
    portfolio, policies = material.portfolio, missing_policies(material.portfolio)
    rows = [
        (
            text(one.name),
            text(one.description),
            text(one.unit or one.type),
            text(_allowed(one)),
            text(_DIRECTIONS[one.monotone] if one.type != "category" else None),
            text(_MISSING[policies[one.name]]),
        )
        for one in portfolio.input_columns
    ]
    rows += [
        (
            text(one.name),
            text(material.functions.get(one.name, "derived")),
            text("derived"),
            text(None),
            text(_DIRECTIONS[one.monotone]),
            text(_MISSING[policies[one.name]]),
        )
        for one in portfolio.derived
    ]
    return Table(
        "What the model reads",
        ("feature", "definition", "unit", "allowed", "PD by it", "a missing value"),
        tuple(rows),
        (material.portfolio_source,),
        "By the portfolio that the version was made with, or, where none is kept, as it is now. PD by it: the "
        "direction that the portfolio prescribes, which each model has to keep.",
    )


def _allowed(column: Column) -> str:
    if column.allowed is not None:
        return joined(column.allowed)
    ends = (column.minimum, column.maximum)
    if ends == (None, None):
        return ""
    return " .. ".join("" if end is None else plain(end) for end in ends)


def _information(material: Material, information: Recorded) -> Table:
    stated = material.portfolio.monotone
    rows: list[tuple[Cell, ...]] = []
    for one in sorted(information["features"], key=lambda one: (-one["value"], one["name"])):
        ends = one.get("range")
        name = one["name"]
        rows.append(
            (
                text(name),
                number(one["value"], 3),
                number(one["by_chance"], 3),
                count(one["bins"]),
                text(_DIRECTIONS[stated.get(name, 0)] if one["direction"] is not None else None),
                text(_SEEN[one["direction"]]),
                share(one["missing_share"]),
                text(" | ".join(plain(end) for end in ends) if ends else _levels(one)),
            )
        )
    return Table(
        "What each feature tells by itself, on the train rows",
        ("feature", "information value", "by chance", "bins", "prescribed", "observed", "missing", "1% | 50% | 99%"),
        tuple(rows),
        (information.source,),
        "Information value: sum over the bins of (share of the bads - share of the goods) ln(share of the bads / share "
        "of the goods), in tenths of a number or levels of a category; by chance is what a feature without any "
        "relation has on average. Observed: whether the feature rises or falls with risk by more than two standard "
        "errors.",
    )


def _levels(one: Mapping[str, Any]) -> str:
    return f"{one['levels']} levels" if "levels" in one else ""


def _importance(importance: Recorded) -> list[Block]:
    found = importance["features"]
    table = Table(
        "What the model makes of each feature, on the out-of-time test",
        ("feature", "AUC lost without it", "95% interval", "share of the skill", "AUC of the feature alone"),
        tuple(
            (
                text(one["name"]),
                signed(one["gain"]),
                interval(one["gain_low"], one["gain_high"]),
                share(one["share"]),
                number(one["alone"], 3),
            )
            for one in found
        ),
        (importance.source,),
        f"{importance['meaning']}: permutation importance on {importance['rows']:,} rows, of the "
        f"{len(found)} of {importance['of']} features that rank the test best by themselves. Columns that stand in for "
        "one another share what they bring, so that each alone looks small.",
    )
    figure = importance_figure(importance)
    return [figure, table] if figure else [table]


def importance_figure(importance: Recorded) -> Figure | None:
    """What is lost without each feature; None where none brings anything."""
    shown = [one for one in importance["features"] if one["gain"] > 0][:_PICTURED]
    if not shown:
        return None
    places = tuple(float(n) for n in range(len(shown)))
    return Figure(
        "AUC of the out-of-time test that is lost without a feature",
        "AUC lost (95% interval)",
        "",
        (
            Series("AUC lost", "points", tuple(one["gain"] for one in shown), places,
                   tuple(one["gain_low"] for one in shown), tuple(one["gain_high"] for one in shown)),
            Series("nothing", "rule", (0.0, 0.0), (0.0, float(len(shown) - 1))),
        ),
        (importance.source,),
        labels=tuple(one["name"] for one in shown),
    )  # fmt: skip


def _left_out(material: Material) -> list[Block]:
    columns = [one for one in material.portfolio.columns if one.role in ("protected", "ignored", "customer")]
    if not columns:
        return [Paragraph("Every column of the portfolio but id and date is a feature.")]
    return [
        Table(
            "Columns that no model reads",
            ("column", "role", "why it is there"),
            tuple((text(one.name), text(one.role), text(one.description)) for one in columns),
            (material.portfolio_source,),
            "A protected column reaches no learner; it is used to measure fairness alone.",
        )
    ]
