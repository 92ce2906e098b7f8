"""Calibration: whether PDs are as large as what came of them, and lie as far apart; the chosen calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from credit_assets.ml.evidence.intervals import proportion
from credit_assets.ml.reports.dossier.anything import blocks_of
from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Figure,
    Paragraph,
    Section,
    Series,
    count,
    number,
    text,
)
from credit_assets.ml.reports.dossier.material import Material, Recorded, lacking
from credit_assets.ml.reports.dossier.reliability import blocks_of_reliability


def section(material: Material) -> Section:
    found, test = material.evidence("calibration"), material.evidence("evaluation")
    blocks: list[Block] = [
        Paragraph(
            "Level: observed over expected defaults, 1 is right, above 1 risk is understated. Spread: the slope of the "
            "logistic recalibration of Cox (1958), 1 is right, below 1 PDs lie too far apart. Both on the out-of-time "
            "test, by score tests."
        )
    ]
    if found is None:
        blocks.append(lacking("the calibration"))
    else:
        blocks.append(_measures(found, test))
    if test is not None and test.get("lift"):
        blocks.append(deciles(test))
    choice, reliability = material.evidence("calibration_choice"), material.evidence("reliability")
    if choice is None:
        blocks.append(lacking("the choice of the calibration"))
    else:
        blocks += blocks_of("Choice of the calibration", choice.record, choice.source)
    blocks += [lacking("the reliability")] if reliability is None else blocks_of_reliability(reliability)
    return Section("calibration", "Calibration", tuple(blocks))


def _measures(found: Recorded, test: Recorded | None) -> Facts:
    source = found.source
    facts = [
        Fact("loans", count(found["rows"]), source),
        Fact("defaults, observed", count(found["bads"]), source),
        Fact("defaults, expected", number(found["expected"], 1), source),
        Fact("observed over expected", _with_interval(found["observed_over_expected"], 3), source),
        Fact("p of the level", number(found["level_p"], 4), source),
        Fact("intercept (calibration in the large)", _with_interval(found["intercept"], 3), source),
        Fact("slope", _with_interval(found["slope"], 3), source),
        Fact("p of the slope", number(found["slope_p"], 4), source),
    ]
    if test is not None:
        facts += [
            Fact("calibration error (ECE), tenths", number(test["ece"]), test.source),
            Fact("Brier score", number(test["brier"]), test.source),
        ]
    if found["why"]:
        facts.append(Fact("not measured", text(found["why"]), source))
    return Facts(tuple(facts), "Level and spread on the out-of-time test, 95% intervals")


def _with_interval(found: Mapping[str, Any] | None, digits: int) -> Cell:
    if found is None:
        return text(None)
    shown = f"{found['value']:.{digits}f} ({found['low']:.{digits}f} .. {found['high']:.{digits}f})"
    return Cell(found["value"], shown)


def deciles(test: Recorded) -> Figure:
    """Bad rate against mean PD."""
    tenths = [one for one in test["lift"] if one["rows"]]
    rates = [rate for one in tenths if (rate := proportion(one["bads"], one["rows"]))]
    top = max(max(rate.high for rate in rates), max(one["mean_pd"] for one in tenths))
    return Figure(
        "Bad rate against mean PD by tenth of PD, out-of-time test",
        "mean PD of the tenth",
        "bad rate of the tenth (95% interval)",
        (
            Series("PD equals bad rate", "rule", (0.0, top), (0.0, top)),
            Series(
                "tenths",
                "points",
                tuple(one["mean_pd"] for one in tenths),
                tuple(rate.value for rate in rates),
                tuple(rate.low for rate in rates),
                tuple(rate.high for rate in rates),
            ),
        ),
        (test.source,),
        percent="xy",
        square=True,
    )
