"""Results: how well the model orders applicants, with intervals, on the rows that it has not seen and on the others."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

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
    share,
    text,
)
from credit_assets.ml.reports.dossier.material import SPLITS, Material, Recorded, lacking

_DIAGONAL = Series("chance", "rule", (0.0, 1.0), (0.0, 1.0))


def section(material: Material) -> Section:
    test = material.evidence("evaluation")
    if test is None:
        found = tuple(_registered(material))
        return Section("results", "Results", (*found, lacking("the results in detail")))
    blocks: list[Block] = [
        Paragraph(
            f"On the out-of-time test the AUC is {test['auc']:.4f} (95% interval {test['auc_ci_low']:.4f} .. "
            f"{test['auc_ci_high']:.4f}) on {test['rows']:,} loans with {test['bads']:,} bads.",
            (test.source,),
        )
    ]
    if material.candidate is not None:
        blocks.append(_by_split(material.candidate))
    curves = material.evidence("curves")
    blocks += curve_figures(curves) if curves else [lacking("the curves of the test")]
    blocks.append(
        Table(
            "The test by tenths of PD, riskiest first",
            ("tenth", "loans", "bads", "mean PD", "bad rate", "lift", "bads captured"),
            tuple(
                (
                    count(one["decile"]),
                    count(one["rows"]),
                    count(one["bads"]),
                    share(one["mean_pd"], 2),
                    share(one["bad_rate"], 2),
                    number(one["lift"], 2),
                    share(one["bads_captured"]),
                )
                for one in test["lift"]
            ),
            (test.source,),
            "Lift: bad rate of the tenth over that of all. Bads captured: share of all bads in this and the riskier.",
        )
    )
    return Section("results", "Results", tuple(blocks))


def _registered(material: Material) -> list[Block]:
    """What the registry remembers of a version whose records are gone."""
    measures = material.version.measures
    if not measures:
        return []
    rows = tuple((text(name), number(value, 6)) for name, value in measures.items())
    caption = "Measures on the out-of-time test, as registered"
    return [Table(caption, ("measure", "value"), rows, (material.version.source,))]


def _by_split(candidate: Recorded) -> Table:
    metrics: Mapping[str, Any] = candidate["metrics"]
    names = [name for name in SPLITS if name in metrics]

    def row(label: str, cell: Any) -> tuple[Cell, ...]:
        return (text(label), *(cell(metrics[name]) for name in names))

    return Table(
        "Measures by split",
        ("measure", *names),
        (
            row("rows", lambda of: count(of["rows"])),
            row("bads", lambda of: count(of["bads"])),
            row("AUC", lambda of: number(of["auc"])),
            row("AUC, 95% interval", lambda of: interval(of["auc_ci_low"], of["auc_ci_high"])),
            row("Gini", lambda of: number(of["gini"])),
            row("KS", lambda of: number(of["ks"])),
            row("Brier score", lambda of: number(of["brier"])),
            row("log loss", lambda of: number(of["log_loss"])),
            row("calibration error (ECE)", lambda of: number(of["ece"])),
            row("bad rate", lambda of: share(of["observed_rate"], 2)),
            row("mean PD", lambda of: share(of["expected_rate"], 2)),
        ),
        (candidate.source,),
        "AUC with DeLong's standard error on the logit scale. The model was fitted on train, and stopped, calibrated "
        "and chosen on validation: test alone says what it is worth.",
    )


def curve_figures(curves: Recorded) -> list[Figure]:
    """ROC, gain, and points by outcome."""
    roc, gain, scores = curves["roc"], curves["gain"], curves["scores"]
    edges = scores["edges"]
    widths = [b - a for a, b in pairwise(edges)]
    width = widths[0] if widths else 1.0

    def bars(name: str) -> Series:
        counted = scores[name]
        rows = max(1, sum(counted))
        return Series(name, "bars", tuple(edges[:-1]), tuple(n / rows for n in counted), width=width)

    return [
        Figure(
            "ROC curve of the out-of-time test",
            "share of goods flagged",
            "share of bads flagged",
            (_DIAGONAL, _line("model", roc)),
            (curves.source,),
            percent="xy",
            square=True,
        ),
        Figure(
            "Gain: share of the bads among the riskiest loans",
            "share of loans, riskiest first",
            "share of bads among them",
            (_DIAGONAL, _line("model", gain)),
            (curves.source,),
            percent="xy",
            square=True,
        ),
        Figure(
            "Points by outcome on the out-of-time test",
            "points",
            "share of the loans of an outcome",
            (bars("goods"), bars("bads")),
            (curves.source,),
            percent="y",
            note="More points mean less risk. Bars are at whole fives, so that none is the score of one applicant.",
        ),
    ]


def _line(name: str, curve: Mapping[str, Any]) -> Series:
    # A ROC begins in the corner, whatever is flagged before the first good.
    return Series(name, "line", (0.0, *curve["x"]), (0.0, *curve["y"]))
