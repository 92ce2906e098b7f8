"""Pictures of a candidate on its out-of-time test: ROC, calibration, scores, gain, and learning curves.

Belongs here: drawing. Returns matplotlib figures without global state; aggregates only, never an applicant's point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credit_assets.ml.evaluation import decile_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from credit_assets.ml.training import Candidate

# Okabe and Ito's colours: told apart with colour-blind eyes and in grey.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


def candidate_figures(candidate: Candidate) -> dict[str, Figure]:
    """Figures by file name (without extension)."""
    y, p = candidate.test_target, candidate.test_pd
    points = candidate.scorer.scale.points(p)
    return {
        "roc": roc_figure(y, p),
        "calibration": calibration_figure(y, p),
        "score_distribution": score_figure(y, points),
        "gain": gain_figure(y, p),
        "learning_curve": learning_figure(candidate.history, candidate.best_rounds),
    }


def roc_figure(target: npt.NDArray[np.int8], pd: npt.NDArray[np.float64]) -> Figure:
    """Share of bads caught over share of goods lost at every cut-off."""
    import numpy as np

    order = np.argsort(-pd, kind="stable")
    y = target[order].astype(float)
    last = np.append(np.flatnonzero(np.diff(pd[order])), len(y) - 1)
    bads = np.concatenate([[0], (np.cumsum(y) / y.sum())[last]])
    goods = np.concatenate([[0], (np.cumsum(1 - y) / (1 - y).sum())[last]])
    figure, axes = _figure("ROC, out of time", "share of goods above the cut-off", "share of bads above the cut-off")
    area = float(((goods[1:] - goods[:-1]) * (bads[1:] + bads[:-1]) / 2).sum())
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    axes.plot(goods, bads, color=_BLUE, linewidth=2, label=f"AUC {area:.3f}")
    axes.legend(loc="lower right", frameon=False)
    return figure


def calibration_figure(target: npt.NDArray[np.int8], pd: npt.NDArray[np.float64]) -> Figure:
    """Default rate over mean PD by decile, with 95% Wilson intervals."""
    import numpy as np

    table = decile_table(target.astype(float), pd)
    x = np.array([d["expected"] for d in table])
    rate = np.array([d["observed"] for d in table])
    n = np.array([d["rows"] for d in table])
    z = 1.96
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    figure, axes = _figure("Calibration by decile, out of time", "mean PD", "default rate")
    top = float(max(x.max(), (centre + half).max())) * 1.05
    axes.plot([0, top], [0, top], color=_GREY, linewidth=1, linestyle="--")
    axes.vlines(x, np.maximum(centre - half, 0), centre + half, color=_BLUE, linewidth=1)
    axes.plot(x, rate, "o", color=_BLUE, markersize=5)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    return figure


def score_figure(target: npt.NDArray[np.int8], points: npt.NDArray[np.float64]) -> Figure:
    """Distribution of points among goods and bads."""
    import numpy as np

    figure, axes = _figure("Scores, out of time", "points", "share of the group")
    edges = np.histogram_bin_edges(points, bins=30)
    for outcome, colour, label in ((0, _GREEN, "goods"), (1, _ORANGE, "bads")):
        part = points[target == outcome]
        axes.hist(part, bins=edges, weights=np.full(len(part), 1 / len(part)), color=colour, alpha=0.55, label=label)
    axes.legend(frameon=False)
    return figure


def gain_figure(target: npt.NDArray[np.int8], pd: npt.NDArray[np.float64]) -> Figure:
    """Share of all bads among the riskiest applications, by decile, with the lift of each decile."""
    import numpy as np

    table = decile_table(target.astype(float), pd)
    rows = np.cumsum([d["rows"] for d in table])
    bads = np.cumsum([d["rows"] * d["observed"] for d in table])
    x, y = np.concatenate([[0], rows / rows[-1]]), np.concatenate([[0], bads / bads[-1]])
    figure, axes = _figure("Gain, out of time", "share of applications, riskiest first", "share of bads")
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    axes.plot(x, y, "o-", color=_BLUE, linewidth=2, markersize=4)
    base = float(target.mean())
    for decile, (at, height) in enumerate(zip(x[1:], y[1:], strict=True)):
        lift = table[decile]["observed"] / base
        axes.annotate(
            f"{lift:.1f}x", (at, height), xytext=(4, -12), textcoords="offset points", fontsize=7, color=_GREY
        )
    return figure


def learning_figure(history: dict[str, list[float]], best_rounds: int) -> Figure:
    """Log loss of each split by boosting round, and the round that was chosen."""
    figure, axes = _figure("Log loss by round", "boosting round", "log loss")
    for (name, values), colour in zip(history.items(), (_BLUE, _ORANGE), strict=False):
        axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=2, label=name.split("-")[0])
    axes.axvline(best_rounds, color=_GREY, linewidth=1, linestyle="--", label=f"chosen: {best_rounds}")
    axes.legend(frameon=False)
    return figure


def _figure(title: str, x: str, y: str) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes
