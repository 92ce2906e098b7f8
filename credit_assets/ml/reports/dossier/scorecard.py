"""The interpretable benchmark: the day's scorecard, its points, and how the chosen model stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.reports.dossier.blocks import (
    NONE,
    Block,
    Cell,
    Paragraph,
    Table,
    count,
    interval,
    number,
    plain,
    share,
    signed,
    text,
)
from credit_assets.ml.reports.dossier.material import Recorded, joined, lacking

_MOST_LEVELS = 6


def blocks(found: Recorded | None) -> list[Block]:
    """What is recorded under `scorecard`."""
    what = "the interpretable benchmark scorecard"
    if found is None or "features" not in found.record:
        return [lacking(what, found.get("why", "") if found else "")]
    auc, beside = found["auc"], found.get("beside") or {}
    chosen = "It was chosen itself." if found["chosen"] else "It was not chosen."
    parts: list[Block] = [
        Paragraph(
            f"The benchmark is a scorecard of weights of evidence: AUC {auc['value']:.4f} ({auc['low']:.4f} .. "
            f"{auc['high']:.4f}) on {found['rows']:,} loans of the out-of-time test. {chosen} Base points: "
            f"{plain(found['base_points'])}.",
            (found.source,),
        )
    ]
    if difference := beside.get("difference"):
        parts.append(
            Table(
                "The best of the other models beside the scorecard, out-of-time test",
                ("model", "AUC", "difference from the scorecard", "95% interval", "p"),
                (
                    (
                        text(beside["variant"]),
                        number(beside["auc"]),
                        signed(difference["difference"]),
                        interval(difference["ci_low"], difference["ci_high"]),
                        number(difference["p_value"], 3),
                    ),
                ),
                (found.source,),
            )
        )
    rows = tuple(row for feature in found["features"] for row in _bins(feature))
    columns = ("feature", "information value", "bin", "goods", "bads", "bad rate", "weight", "points")
    left_out = [one["feature"] for one in found.get("left_out") or ()]
    note = f"Left out: {joined(left_out)}." if left_out else ""
    parts.append(Table("Points table of the scorecard", columns, rows, (found.source,), note))
    return parts


def _bins(feature: Mapping[str, Any]) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for one in feature["bins"]:
        if not one["goods"] + one["bads"]:
            continue
        rows.append(
            (
                # Said once, at the first bin.
                _once(text(feature["feature"]), first=not rows),
                _once(number(feature["information_value"], 3), first=not rows),
                text(_name(one)),
                count(one["goods"]),
                count(one["bads"]),
                share(one["bad_rate"]),
                signed(one["weight"], 3),
                signed(one["points"], 1),
            )
        )
    return rows


def _once(cell: Cell, *, first: bool) -> Cell:
    return cell if first else Cell(cell.value, "")


def _name(one: Mapping[str, Any]) -> str:
    if one.get("missing"):
        return "missing"
    if "levels" in one:
        return joined(one["levels"], _MOST_LEVELS) or NONE
    begin, end = one.get("from"), one.get("to")
    if begin is None and end is None:
        return "any"
    if begin is None or end is None:
        return f"below {plain(end)}" if begin is None and end is not None else f"{plain(float(begin or 0))} and more"
    return f"{plain(begin)} .. {plain(end)}"
