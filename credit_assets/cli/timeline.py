"""What simulated lives came to, for people: the events as lines, the comparison as a table, both as one picture.

Belongs here: showing lives. Does not belong here: living them (`credit_assets.cli.life`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from credit_assets.cli.life import NEVER, TRIGGERED, Life
from credit_assets.cli.trainings import BLOCKED
from credit_assets.ml.reports.figures import BLUE, GREEN, GREY, ORANGE, png
from credit_assets.ml.rules.due import NOT_DUE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VERDICTS = {"stable": "#DDEBF4", "watch": "#F5C98A", "shifted": ORANGE, "unknown": "#EEEEEE"}
_TRIGGERS = {"drift": "d", "performance": "p", "calibration": "c", "volume": "v", "refresh": "r", "first model": "1"}
_OUTCOMES = {"registered": GREEN, "rejected": ORANGE, BLOCKED: GREY, NOT_DUE: "#D9D9D9"}
_SHORT = 150


def print_lives(lives: Mapping[str, Life], console: Console) -> None:
    """The timeline of each life that trained more than once, then the comparison by quarter and over all."""
    for way, life in lives.items():
        if way == NEVER and len(lives) > 1:
            continue
        console.print(f"\n[bold]{way}[/]: {life.start} .. {life.end}")
        for event in life.events:
            text = event.text if len(event.text) <= _SHORT else f"{event.text[: _SHORT - 1]}…"
            console.print(f"{event.day}  {event.kind:<10} {text}", markup=False)
    if any(life.first_model is None for life in lives.values()):
        console.print("\nNo month end had a model that passed its gates, so there is nothing to compare.")
        return
    console.print(comparison(lives))


def comparison(lives: Mapping[str, Life]) -> Table:
    """Quarter by quarter, the AUC and observed over expected of the decisions, one column a life."""
    table = Table(
        "quarter", "loans", "bads", title="What the decisions were worth, known with hindsight", title_justify="left"
    )
    for way in lives:
        table.add_column(f"{way}\nAUC", justify="right")
        table.add_column("95%", style="dim")
        table.add_column("observed /\nexpected", justify="right")
    names = list(dict.fromkeys(row["quarter"] for life in lives.values() for row in life.quarters))
    for name in names:
        rows = {way: next((r for r in life.quarters if r["quarter"] == name), None) for way, life in lives.items()}
        first = next(row for row in rows.values() if row)
        cells = [name, f"{first['rows']:,}", f"{first['bads']:,}"]
        for row in rows.values():
            measured, ratio = (row or {}).get("evaluation"), (row or {}).get("observed_over_expected")
            cells += (
                [f"{measured['auc']:.4f}", f"{measured['auc_ci_low']:.3f} .. {measured['auc_ci_high']:.3f}"]
                if measured
                else ["-", "-"]
            )
            cells.append(f"{ratio['value']:.2f}" if ratio else "-")
        table.add_row(*cells, end_section=name == names[-2] if len(names) > 1 else False)
    counts = []
    for life in lives.values():
        trained = [outcome for outcome in life.trainings if outcome.status not in (BLOCKED, NOT_DUE)]
        champions = len({version for version, _, _ in life.periods.get("champion", [])})
        counts += [f"{len(trained)} trained", f"{champions} in force", ""]
    table.add_row("models", "", "", *counts)
    return table


def draw_lives(lives: Mapping[str, Life]) -> bytes:
    """The timeline and the comparison as one PNG."""
    return png(figure_of(lives), dpi=110)


def figure_of(lives: Mapping[str, Life]) -> Figure:
    """Three panels over one time axis: what happened in the life that triggers retrained (or the last one), then AUC
    and observed over expected of every life by quarter.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    shown = lives.get(TRIGGERED) or list(lives.values())[-1]
    figure = Figure(figsize=(11, 8.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    events, auc, ratio = figure.subplots(3, 1, sharex=True, height_ratios=[5, 2.4, 2.4])
    figure.suptitle(
        f"Monitoring and retraining lived through day by day, {shown.start} .. {shown.end}",
        x=0.01, ha="left", fontsize=13, fontweight="bold",
    )  # fmt: skip
    _events(events, shown)
    _measures(auc, ratio, lives)
    for axes in (events, auc, ratio):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#E4E4E4", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9)
    ratio.set_xlim(shown.start - timedelta(7), shown.end + timedelta(7))
    locator = AutoDateLocator(maxticks=14)
    ratio.xaxis.set_major_locator(locator)
    ratio.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure


# Axes are Any below: matplotlib draws dates, and its types know floats only.


def _events(axes: Any, life: Life) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    features = sorted({name for _, _, shifted in life.drift for name in shifted})
    rows = ["champion", "on trial", "retraining", "drift verdict", *features]
    height = {name: len(rows) - 1 - n for n, name in enumerate(rows)}
    for alias, row, colours in (("champion", "champion", (BLUE, "#56B4E9")), ("shadow", "on trial", (GREY, "#A9A9A9"))):
        for n, (version, first, last) in enumerate(life.periods.get(alias, [])):
            end = min(last or life.end, life.end) + timedelta(1)
            axes.barh(height[row], end - first, left=first, height=0.62, color=colours[n % 2], linewidth=0)
            axes.text(first, height[row], f" v{version}", va="center", fontsize=8, color="white", clip_on=True)
    for _, outcome, trigger in _trainings(life):
        axes.plot(outcome.as_of, height["retraining"], "o", color=_OUTCOMES[outcome.status], markersize=11)
        axes.text(
            outcome.as_of, height["retraining"], _TRIGGERS.get(trigger, "?"),
            ha="center", va="center", fontsize=8, color="white",
        )  # fmt: skip
    for verdict, colour in _VERDICTS.items():
        _strip(axes, height["drift verdict"], [day for day, of_day, _ in life.drift if of_day == verdict], colour)
    for name in features:
        _strip(axes, height[name], [day for day, _, shifted in life.drift if name in shifted], ORANGE)
    axes.set_yticks(list(height.values()), list(height))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    triggers = ", ".join(f"{letter} {name}" for name, letter in _TRIGGERS.items())
    axes.set_title(f"{life.way}: a circle is a training, requested by {triggers}", loc="left", fontsize=9, color=GREY)
    axes.legend(
        handles=[
            *(Line2D([], [], marker="o", linestyle="", color=c, label=name) for name, c in _OUTCOMES.items()),
            *(Patch(color=c, label=f"drift: {name}") for name, c in _VERDICTS.items()),
        ],
        loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False,
    )  # fmt: skip


def _strip(axes: Any, y: int, days: list[date], colour: str) -> None:
    """One bar for each stretch of consecutive days."""
    start = None
    for day, following in zip_longest(days, days[1:]):
        start = start or day
        if following is None or (following - day).days > 1:
            axes.barh(y, day - start + timedelta(1), left=start, height=0.62, color=colour, linewidth=0)
            start = None


def _trainings(life: Life) -> list[tuple[date, Any, str]]:
    """As-of date, outcome and trigger of each training."""
    triggers = {event.day: event.data["trigger"] for event in life.events if event.kind == "trigger"}
    return [(t.as_of, t, triggers.get(t.as_of, "first model")) for t in life.trainings]


def _measures(auc: Any, ratio: Any, lives: Mapping[str, Life]) -> None:
    def draw(axes: Any, days: list[date], points: list[tuple[float, float, float]], **how: Any) -> None:
        values, lows, highs = zip(*points, strict=True)
        ends = [
            [v - low for v, low in zip(values, lows, strict=True)],
            [h - v for v, h in zip(values, highs, strict=True)],
        ]
        axes.errorbar(days, values, yerr=ends, capsize=2, linewidth=1.4, markersize=5, **how)

    styles = zip(lives.items(), (GREY, BLUE, ORANGE), ("--s", "-.^", "-o"), (-8, 0, 8), strict=False)
    for (way, life), colour, style, shift in styles:
        quarters = [q for q in life.quarters if q["quarter"] != "all" and q["evaluation"]]
        if not quarters:
            continue
        middle = [q["from"] + (q["to"] - q["from"]) / 2 + timedelta(shift) for q in quarters]
        measures, ratios = [q["evaluation"] for q in quarters], [q["observed_over_expected"] for q in quarters]
        how = {"fmt": style, "color": colour, "label": way}
        draw(auc, middle, [(e["auc"], e["auc_ci_low"], e["auc_ci_high"]) for e in measures], **how)
        draw(ratio, middle, [(r["value"], r["low"], r["high"]) for r in ratios], **how)
    auc.set_ylabel("AUC", fontsize=9)
    ratio.set_ylabel("observed /\nexpected rate", fontsize=9)
    ratio.axhline(1, color=GREY, linewidth=1)
    auc.set_title(
        "What the decisions of each quarter were worth, known with hindsight (95% intervals)",
        loc="left",
        fontsize=9,
        color=GREY,
    )
    auc.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)
