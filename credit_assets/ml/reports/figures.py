"""Pictures of a model: ROC, calibration, scores by outcome, gain and lift on a set of rows; its performance over time.

Belongs here: drawing what `evaluation` computes. Does not belong here: computing a measure that is not on a picture.

Each function returns a matplotlib Figure of its own with the Agg canvas: no pyplot, no global state, nothing to close,
safe in threads. Colours are Okabe and Ito's, told apart by people with any kind of colour vision and in grey, and lines
differ in style too. No picture shows a single applicant: curves are drawn at 200 points, scores in bins.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from credit_assets.ml.evidence.curves import gain_curve
from credit_assets.ml.evidence.evaluation import Evaluation, evaluate, roc_curve
from credit_assets.ml.evidence.intervals import proportion

if TYPE_CHECKING:
    from datetime import date

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from credit_assets.ml.learners.candidates import Candidate

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
_INK, _RULE = "#222222", "#DDDDDD"
_POINTS = 200
_BINS = (6, 40)
_VINTAGES = 8
_SMALL, _MEDIUM, _LARGE = 9, 10, 13


def candidate_figures(candidate: Candidate) -> dict[str, Figure]:
    """All pictures of a candidate on its out-of-time test, by name: roc, calibration, score_distribution, gain."""
    from credit_assets.ml.learners import VARIANTS

    test = candidate.predictions["test"]
    label = f"{VARIANTS[candidate.variant].label}, out-of-time test"
    return {
        "roc": roc(test.target, test.pd, label),
        "calibration": calibration(test.target, test.pd, label),
        "score_distribution": score_distribution(test.target, test.score, label),
        "gain": gain(test.target, test.pd, label),
    }


def roc(y: ArrayLike, pd: ArrayLike, label: str = "") -> Figure:
    """ROC curve with its AUC and 95% interval. Raises ValueError as `evaluation.evaluate`."""
    evaluation = evaluate(y, pd)
    figure, (axes,) = _figure("ROC curve", _subtitle(label, evaluation), width=5.6, height=5.6)
    false_alarms, hits = roc_curve(y, pd)
    grid = np.linspace(0.0, 1.0, _POINTS)
    curve = np.r_[0.0, np.interp(grid, false_alarms, hits)]
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="chance, AUC 0.5")
    axes.plot(
        np.r_[0.0, grid],
        curve,
        color=BLUE,
        linewidth=2.2,
        label=f"model, AUC {evaluation.auc:.3f} ({evaluation.auc_ci_low:.3f} .. {evaluation.auc_ci_high:.3f})",
    )
    axes.fill_between(np.r_[0.0, grid], curve, np.r_[0.0, grid], color=BLUE, alpha=0.08, linewidth=0)
    axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel="share of goods flagged", ylabel="share of bads flagged")
    axes.set_aspect("equal")
    _percent(axes, "xy")
    _legend(axes, "lower right")
    return figure


def calibration(y: ArrayLike, pd: ArrayLike, label: str = "") -> Figure:
    """Bad rate against mean PD by decile, with 95% intervals of the rate (Wilson 1927). Raises as `evaluate`."""
    evaluation = evaluate(y, pd)
    figure, (axes,) = _figure("Calibration by decile of PD", _subtitle(label, evaluation), width=5.6, height=5.6)
    expected = np.array([decile.mean_pd for decile in evaluation.lift])
    observed = np.array([decile.bad_rate for decile in evaluation.lift])
    rates = [rate for decile in evaluation.lift if (rate := proportion(decile.bads, decile.rows))]
    low, high = np.array([(rate.low, rate.high) for rate in rates]).T
    top = float(max(expected.max(), high.max())) * 1.05
    axes.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1.2, label="PD equals bad rate")
    axes.errorbar(
        expected,
        observed,
        yerr=np.clip(np.vstack([observed - low, high - observed]), 0, None),
        color=BLUE,
        marker="o",
        markersize=6,
        linewidth=1.6,
        elinewidth=1.2,
        capsize=3,
        label=f"deciles, calibration error {evaluation.ece:.4f}",
    )
    axes.set(xlim=(0, top), ylim=(0, top), xlabel="mean PD of the decile", ylabel="bad rate of the decile")
    axes.set_aspect("equal")
    _percent(axes, "xy")
    # Below the diagonal: intervals of small rates reach far up and hardly down.
    _legend(axes, "lower right")
    return figure


def score_distribution(y: ArrayLike, score: ArrayLike, label: str = "") -> Figure:
    """Distribution of points of goods and of bads, each with an area of 1. Scores are points: more means less risk.

    Raises ValueError where a class has no row.
    """
    target, points = np.asarray(y), np.asarray(score, dtype=np.float64)
    goods, bads = points[target == 0], points[target == 1]
    if not len(goods) or not len(bads):
        raise ValueError("the distribution of scores needs both goods and bads")
    figure, (axes,) = _figure(
        "Scores by outcome", f"{label + ': ' if label else ''}{len(goods):,} goods, {len(bads):,} bads"
    )
    low, high = float(points.min()), float(points.max())
    # Rice's rule on the smaller class: with finer bins, single bads would stand out as bars of their own.
    bins = int(np.clip(round(2 * min(len(goods), len(bads)) ** (1 / 3)), *_BINS))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    for values, colour, hatch, name in ((goods, BLUE, None, "goods"), (bads, ORANGE, "////", "bads")):
        axes.hist(
            values,
            bins=edges.tolist(),
            density=True,
            histtype="stepfilled",
            facecolor=_faded(colour),
            edgecolor=colour,
            linewidth=1.6,
            hatch=hatch,
            label=name,
        )
        axes.axvline(float(np.median(values)), color=colour, linewidth=1.4, linestyle="-" if hatch is None else "--")
    axes.set(xlabel="points (vertical lines: medians)", ylabel="share of loans a point")
    _legend(axes, "upper left")
    return figure


def gain(y: ArrayLike, pd: ArrayLike, label: str = "") -> Figure:
    """Share of bads evaluation by share of loans rejected, riskiest first, and lift by decile. Raises as `evaluate`."""
    evaluation = evaluate(y, pd)
    figure, (left, right) = _figure("Gain and lift", _subtitle(label, evaluation), width=9.6, height=4.8, panels=2)
    loans, bads = gain_curve(np.asarray(y, dtype=np.float64), np.asarray(pd, dtype=np.float64))
    grid = np.linspace(0.0, 1.0, _POINTS)
    perfect = evaluation.observed_rate
    left.plot([0, perfect, 1], [0, 1, 1], color=GREEN, linestyle=":", linewidth=1.6, label="perfect")
    left.plot(grid, np.interp(grid, loans, bads), color=BLUE, linewidth=2.2, label="model")
    left.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="chance")
    left.set(xlim=(0, 1), ylim=(0, 1.005), xlabel="share of loans, riskiest first", ylabel="share of bads among them")
    _percent(left, "xy")
    _legend(left, "lower right")
    positions = [decile.decile for decile in evaluation.lift]
    bars = right.bar(positions, [decile.lift for decile in evaluation.lift], color=BLUE, width=0.75)
    right.axhline(1.0, color=GREY, linestyle="--", linewidth=1.2)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    right.bar_label(bars, fmt="%.1f", fontsize=_SMALL, color=_INK, padding=3, bbox=paper)
    right.grid(visible=False, axis="x")
    right.set(xlabel="decile of PD, riskiest first", ylabel="bad rate over that of all loans")
    right.set_xticks(range(1, 11))
    right.margins(y=0.12)
    return figure


class Point(NamedTuple):
    """A value with its 95% interval, of the applications of a window that ends on `day`."""

    day: date
    value: float
    low: float
    high: float


def performance_over_time(
    realised: Sequence[Point], estimated: Sequence[Point], observed_over_expected: Sequence[Point], label: str = ""
) -> Figure:
    """AUC as estimated and as realised, and bads over the bads expected, by last application date, with intervals.

    Points rise by day. Any series may be empty, for instance before a cohort has matured. Raises ValueError where all
    are.
    """
    if not (realised or estimated or observed_over_expected):
        raise ValueError("there is nothing to draw: no performance was realised or estimated")
    series = ((estimated, ORANGE, "--", "estimated from PDs"), (realised, BLUE, "-", "realised"))
    figure, (left, right) = _figure("Performance over time", label, width=9.6, height=4.8, panels=2)
    for points, colour, line, name in series:
        _band(left, points, colour, line, name)
    left.axhline(0.5, color=GREY, linestyle=":", linewidth=1.2)
    left.set(xlabel="last application date", ylabel="AUC (0.5: chance)")
    _band(right, observed_over_expected, BLUE, "-", "realised")
    right.axhline(1.0, color=GREY, linestyle="--", linewidth=1.2)
    right.set(xlabel="last application date", ylabel="bads over the bads expected")
    right.set_title("above 1: risk understated", loc="left", fontsize=_SMALL, color=GREY)
    _in_sight(left, [*realised, *estimated], 0.5)
    _in_sight(right, observed_over_expected, 1.0)
    _dates((left, right), [point.day for points in (realised, estimated, observed_over_expected) for point in points])
    _legend(left, "best")
    _legend(right, "best")
    return figure


def backtest(
    promised: Sequence[Point],
    realised: Sequence[Point],
    observed_over_expected: Sequence[Point],
    vintages: Mapping[str, Sequence[float]],
    label: str = "",
) -> Figure:
    """Models of past as-of dates in use beside what their tests promised, and the vintage curves of the book.

    Points rise by as-of date; `vintages` has by name the share that was bad after one month, two months, and so on.
    Any may be empty. Raises ValueError where no model could be judged.
    """
    if not realised:
        raise ValueError("there is nothing to draw: no model could be judged")
    figure, (left, middle, right) = _figure("Backtest", label, width=14.4, height=4.8, panels=3)
    _band(left, promised, ORANGE, "--", "promised by its test")
    _band(left, realised, BLUE, "-", "in use")
    left.axhline(0.5, color=GREY, linestyle=":", linewidth=1.2)
    left.set(xlabel="as-of date of the model", ylabel="AUC (0.5: chance)")
    _band(middle, observed_over_expected, BLUE, "-", "in use")
    middle.axhline(1.0, color=GREY, linestyle="--", linewidth=1.2)
    middle.set(xlabel="as-of date of the model", ylabel="bads over the bads expected")
    middle.set_title("above 1: risk understated", loc="left", fontsize=_SMALL, color=GREY)
    _in_sight(left, [*promised, *realised], 0.5)
    _in_sight(middle, observed_over_expected, 1.0)
    _dates((left, middle), [point.day for points in (promised, realised) for point in points])
    _vintages(right, vintages)
    for axes in (left, middle):
        _legend(axes, "best")
    return figure


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The picture as PNG. Equal figures give equal bytes: no time and no program version is written into it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def _figure(
    title: str, subtitle: str, *, width: float = 7.2, height: float = 4.8, panels: int = 1
) -> tuple[Figure, tuple[Axes, ...]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.02, ha="left", fontsize=_LARGE, fontweight="bold", color=_INK)
    axes = tuple(figure.subplots(1, panels, squeeze=False)[0])
    axes[0].set_title(subtitle, loc="left", fontsize=_SMALL, color=GREY)
    for each in axes:
        each.set_axisbelow(True)
        each.grid(color=_RULE, linewidth=0.8)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(GREY)
        each.tick_params(colors=_INK, labelsize=_SMALL)
        each.xaxis.label.set(fontsize=_MEDIUM, color=_INK)
        each.yaxis.label.set(fontsize=_MEDIUM, color=_INK)
    return figure, axes


def _subtitle(label: str, evaluation: Evaluation) -> str:
    before = f"{label}: " if label else ""
    return f"{before}{evaluation.rows:,} loans, {evaluation.bads:,} bads ({evaluation.observed_rate:.1%})"


def _percent(axes: Axes, which: str) -> None:
    from matplotlib.ticker import PercentFormatter

    for name in which:
        axis: Any = getattr(axes, f"{name}axis")
        axis.set_major_formatter(PercentFormatter(xmax=1.0))


def _legend(axes: Axes, place: str) -> None:
    axes.legend(loc=place, fontsize=_SMALL, frameon=True, framealpha=0.9, edgecolor=_RULE, labelcolor=_INK)


def _band(axes: Axes, points: Sequence[Point], colour: str, line: str, name: str) -> None:
    days: Any = [point.day for point in points]
    values = [point.value for point in points]
    low, high = [point.low for point in points], [point.high for point in points]
    axes.plot(days, values, color=colour, linestyle=line, linewidth=2.2, label=name if points else f"{name}: none yet")
    axes.fill_between(days, low, high, color=colour, alpha=0.15, linewidth=0)
    if len(points) == 1:
        axes.vlines(days, low, high, color=colour, linewidth=1.2)
        axes.plot(days, values, color=colour, marker="o", markersize=6)


def _in_sight(axes: Axes, points: Sequence[Point], rule: float) -> None:
    """Limits that hold all values, the rule and most intervals: those of the first days would flatten the rest."""
    if points:
        values = [rule, *(point.value for point in points)]
        low = min(*values, float(np.quantile([point.low for point in points], 0.1)))
        high = max(*values, float(np.quantile([point.high for point in points], 0.9)))
        margin = (high - low) / 20
        axes.set_ylim(low - margin, high + margin)


def _dates(panels: Sequence[Axes], days: Sequence[date]) -> None:
    """The same axis of days on all panels, a week at least: matplotlib would go on to hours."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    low, high = date2num(min(days)), date2num(max(days))
    margin = max(0.0, (7 - (high - low)) / 2)
    for axes in panels:
        locator = AutoDateLocator(minticks=3, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_xlim(low - margin, high + margin)


def _vintages(axes: Axes, vintages: Mapping[str, Sequence[float]]) -> None:
    """The newest vintages that have a curve, the older the paler, each named at its end."""
    axes.set(xlabel="months since the window began", ylabel="share that was bad by then")
    axes.set_title("vintages", loc="left", fontsize=_SMALL, color=GREY)
    _percent(axes, "y")
    drawn = [(name, shares) for name, shares in vintages.items() if len(shares) > 1][-_VINTAGES:]
    if not drawn:
        return
    for n, (_, shares) in enumerate(drawn):
        months = range(len(shares) + 1)
        axes.plot(months, [0.0, *shares], color=BLUE, alpha=0.2 + 0.8 * (n + 1) / len(drawn), linewidth=1.6)
    longest, highest = max(len(shares) for _, shares in drawn), max(max(shares) for _, shares in drawn)
    axes.set_xlim(0, 1.25 * longest)
    axes.set_ylim(0, 1.1 * highest or 1.0)
    # Names would lie upon one another where curves end together: each a line of text above the one before.
    line, at = 0.05 * highest, -1.0
    for name, shares in sorted(drawn, key=lambda one: one[1][-1]):
        at = max(shares[-1], at + line)
        axes.annotate(
            name,
            (len(shares), shares[-1]),
            xytext=(1.02 * longest, at),
            fontsize=_SMALL - 1,
            color=_INK,
            va="center",
            arrowprops={"arrowstyle": "-", "color": _RULE},
        )


def _faded(colour: str) -> tuple[float, float, float, float]:
    from matplotlib.colors import to_rgba

    red, green, blue, _ = to_rgba(colour)
    return red, green, blue, 0.25
