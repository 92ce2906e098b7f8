"""Pictures of a report that are small enough to stand within it: what a record shows, as SVG of a few kilobytes.

Belongs here: which pictures there are of a record, and a figure as a document of its own. Does not belong here: axes
and marks (`dossier.charts`, which draws them for the dossier too), and the pictures of a candidate in MLflow
(`figures`), which are drawn from predictions.

Drawn from what is recorded, without matplotlib: some milliseconds each. The paper is left transparent and the inks are
of middling lightness, so that a picture reads on a light page and on a dark one: it cannot know on which it stands.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from credit_assets.ml.evidence.drift_reference import SCORE
from credit_assets.ml.reports.dossier.blocks import Figure, Series, Source
from credit_assets.ml.reports.dossier.calibration import deciles
from credit_assets.ml.reports.dossier.charts import PictureSize, svg
from credit_assets.ml.reports.dossier.features import importance_figure
from credit_assets.ml.reports.dossier.material import Recorded
from credit_assets.ml.reports.dossier.results import curve_figures

if TYPE_CHECKING:
    from credit_assets.ml.reports.figures import Point
    from credit_assets.ml.rules.periods import Period

HEAT_MAP_DAYS = 28
_FEATURES = 15
_CHAMPIONS = 12
_PSI_LEVELS = ((0.05, 0.1), (0.1, 0.25), (0.25, float("inf")))
"""Below 0.05 nothing is drawn; from 0.1 on a feature is usually watched, from 0.25 on it has shifted."""
_SIZE = PictureSize(500.0, 270.0, 350.0)
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#80868f}text.label{font-size:12px}"
    ".grid{stroke:#80868f;stroke-opacity:.25;stroke-width:.7}.axis{stroke:#80868f}"
    ".rule{stroke:#80868f;stroke-width:1.2;stroke-dasharray:5 4;fill:none}.line{fill:none;stroke-width:2.2}"
    ".error{stroke-width:1.6}.bars{stroke-width:1.6;fill-opacity:.25}"
    ".s1{stroke:#2f8fd0}.s2{stroke:#e0762f;stroke-dasharray:4 2}.s3{stroke:#2ba37c;stroke-dasharray:1 3}"
    ".bars.s1,.point.s1{fill:#2f8fd0}.bars.s2,.point.s2{fill:#e0762f}.bars.s3,.point.s3{fill:#2ba37c}"
    ".error{stroke-dasharray:none}.point{stroke:none}"
    ".cells{stroke:none}.cells.s1{fill:#7fb2d6;fill-opacity:.55}.cells.s2{fill:#e5a13a}.cells.s3{fill:#d1495b}"
)


def document(figure: Figure) -> str:
    """The figure as an SVG document. Equal figures give equal text."""
    drawn = svg(figure, _SIZE)
    _, _, width, height = drawn.split('viewBox="', 1)[1].split('"', 1)[0].split()
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    opened, rest = drawn.removeprefix("<svg ").split(">", 1)
    return f"{head}{opened}><style>{_STYLE}</style>{rest}"


def markdown(figure: Figure) -> str:
    """The figure within a line of markdown, its caption above it."""
    content = base64.b64encode(document(figure).encode()).decode()
    note = f"\n\n{figure.note}" if figure.note else ""
    return f"**{figure.caption}**\n\n![{figure.caption}](data:image/svg+xml;base64,{content}){note}"


def of_model(record: Mapping[str, Any]) -> dict[str, Figure]:
    """Of the model of an as-of date, from the record of its evidence: beside the champion, ROC, calibration, scores by
    outcome, gain and lift, importance of features. Those of which the record has nothing are left out.
    """
    source = Source("trained_model", str(record["as_of"]), "", "")
    found = {"champion_against_candidate": beside_champion(record, source)}
    curves, importance = record.get("curves"), record.get("importance")
    if curves:
        names = ("roc_curve", "gain_curve", "score_distribution")
        found |= dict(zip(names, curve_figures(Recorded(curves, source)), strict=True))
    if lift := record["evaluation"].get("lift"):
        found |= {
            "calibration_curve": deciles(Recorded(record["evaluation"], source)),
            "lift": lift_by_tenth(lift, source),
        }
    if importance and importance.get("features"):
        found["feature_importance"] = importance_figure(Recorded(importance, source))
    order = ("roc_curve", "calibration_curve", "champion_against_candidate", "feature_importance")
    known = {name: figure for name, figure in found.items() if figure is not None}
    return {name: known[name] for name in (*order, *known) if name in known}


def beside_champion(record: Mapping[str, Any], source: Source) -> Figure | None:
    """AUC of candidate and champion on the same rows; None where they were not compared."""
    champion = record["champion"]
    if not champion or not champion.get("comparable") or "candidate_evaluation" not in champion:
        return None
    sides = {"candidate": champion["candidate_evaluation"], f"champion ({champion['version']})": champion["evaluation"]}
    difference = champion["difference"]
    return _intervals(
        f"Champion against candidate: AUC on the same {difference['rows']:,} rows, which neither has seen",
        {name: (of["auc"], of["auc_ci_low"], of["auc_ci_high"]) for name, of in sides.items()},
        source,
        f"Difference {difference['difference']:+.4f} ({difference['ci_low']:+.4f} .. {difference['ci_high']:+.4f}, "
        "95%, paired DeLong). Intervals of the two overlap more than that of the difference says.",
    )


def lift_by_tenth(lift: Sequence[Mapping[str, Any]], source: Source) -> Figure:
    """Bad rate of each tenth of PD over that of all."""
    tenths = [one for one in lift if one["rows"]]
    bars = Series(
        "lift", "bars", tuple(one["decile"] - 0.4 for one in tenths), tuple(one["lift"] for one in tenths), width=0.8
    )
    rule = Series("all loans", "rule", (0.5, len(tenths) + 0.5), (1.0, 1.0))
    caption = "Lift: bad rate of each tenth over that of all loans"
    return Figure(caption, "tenth of PD, riskiest first", "lift", (bars, rule), (source,))


def of_drift(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Figure]:
    """Of the drift reports of some days, by ISO day: PSI of each feature on the newest, and over the days."""
    newest = max(records)
    measured = {one["name"]: one["psi"] for one in records[newest]["features"] if one["psi"] is not None}
    if not measured:
        return {}
    source = Source("drift_report", newest, "", "")
    names = sorted(measured, key=lambda name: (name != SCORE, -measured[name]))[:_FEATURES]
    places = tuple(float(n) for n in range(len(names)))
    values = tuple(measured[name] for name in names)
    bars = Series("PSI", "points", values, places, (0.0,) * len(names), values)
    rules = [Series(f"{at:g}", "rule", (at, at), (-0.5, len(names) - 0.5)) for at in (0.1, 0.25)]
    per_feature = Figure(
        f"PSI by feature on {newest} (rules: 0.1 and 0.25)", "PSI", "", (bars, *rules), (source,), labels=tuple(names)
    )
    return {"psi_over_days": _heat_map(records, names, source), "psi_by_feature": per_feature}


def _heat_map(records: Mapping[str, Mapping[str, Any]], names: Sequence[str], source: Source) -> Figure:
    found = {
        (one["name"], date.fromisoformat(day).toordinal()): one["psi"]
        for day, record in records.items()
        for one in record["features"]
        if one["psi"] is not None
    }
    series = []
    for low, high in _PSI_LEVELS:
        spans = []
        for place, name in enumerate(names):
            inside = sorted(day for (of, day), psi in found.items() if of == name and low <= psi < high)
            spans += [(float(first), float(place), float(last + 1)) for first, last in _stretches(inside)]
        xs, ys, ends = zip(*spans, strict=True) if spans else ((), (), ())
        series.append(Series(f"{low:g} and more", "cells", xs, ys, high=ends))
    days = [date.fromisoformat(day).toordinal() for day in records]
    # Without a mark of its own: so that days on which all is stable have their place.
    series.append(Series("", "span", (float(min(days)), float(max(days) + 1)), (0.0, 0.0)))
    least = f"below {_PSI_LEVELS[0][0]:g}"
    caption = f"PSI of each feature over the days to {max(records)} (empty: {least})"
    note = "" if any(one.x for one in series if one.kind == "cells") else f"{least} everywhere"
    return Figure(caption, "day", "", tuple(series), (source,), labels=tuple(names), note=note, dates=True)


def _stretches(days: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive days.

    >>> _stretches([1, 2, 3, 5])
    [(1, 3), (5, 5)]
    """
    found: list[tuple[int, int]] = []
    for day in days:
        if found and found[-1][1] == day - 1:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def of_performance(
    realised: Sequence[Point], estimated: Sequence[Point], ratios: Sequence[Point], day: str
) -> dict[str, Figure]:
    """AUC as estimated and as realised, and bads over the bads expected, by last application date."""
    source, drawn = Source("performance_report", day, "", ""), {}
    if realised or estimated:
        series = [_points("realised", realised), _points("estimated from PDs", estimated)]
        drawn["auc_over_time"] = Figure(
            "AUC by last application date, realised and estimated (95% intervals)",
            "last application date", "AUC", tuple(series), (source,), dates=True,
        )  # fmt: skip
    if ratios:
        days = [point.day.toordinal() for point in ratios]
        one = Series("as expected", "rule", (float(min(days)), float(max(days))), (1.0, 1.0))
        drawn["calibration_over_time"] = Figure(
            "Bads over the bads expected (above 1: risk understated)",
            "last application date", "times", (_points("realised", ratios), one), (source,), dates=True,
        )  # fmt: skip
    return drawn


def of_trial(record: Mapping[str, Any]) -> dict[str, Figure]:
    """The model on trial beside the champion: AUC once loans have matured, and mean PD from the first day on."""
    if record["shadow"] is None:
        return {}
    source, matured = Source("shadow_report", str(record["day"]), "", ""), record["matured"] or {}
    named = {"champion": f"champion ({record['champion']})", "shadow": f"shadow ({record['shadow']})"}
    drawn = {}
    sides = {side: matured.get(side) or {} for side in named}
    if matured.get("difference") and all("auc_ci_low" in of for of in sides.values()):
        values = {named[side]: (of["auc"], of["auc_ci_low"], of["auc_ci_high"]) for side, of in sides.items()}
        caption = f"Shadow against champion: AUC on {matured['rows']:,} loans that have matured"
        drawn["auc_against_champion"] = _intervals(caption, values, source)
    means = {named[side]: record["mean_pd"][side] for side in named if record["mean_pd"][side] is not None}
    if means:
        drawn["mean_pd_against_champion"] = _intervals(
            f"Shadow against champion: mean PD of the same {record['rows']:,} applications",
            {name: (value, 0.0, value) for name, value in means.items()},
            source,
            percent="x",
        )
    return drawn


def of_champions(periods: Sequence[Period], until: date) -> dict[str, Figure]:
    """Which version was champion when, up to a day; nothing before the first."""
    shown = [period for period in periods if period.first <= until][-_CHAMPIONS:]
    if not shown:
        return {}
    names = tuple(f"version {period.version}" for period in shown)
    starts = tuple(float(period.first.toordinal()) for period in shown)
    ends = tuple(float((min(period.last, until) if period.last else until).toordinal() + 1) for period in shown)
    series = Series("in force", "points", starts, tuple(float(n) for n in range(len(shown))), starts, ends)
    caption = f"Champions up to {until}"
    figure = Figure(
        caption, "day", "", (series,), (Source("deployed_model", str(until), "", ""),), labels=names, dates=True
    )
    return {"champions_over_time": figure}


def heat_map_days(last: date) -> list[date]:
    """The days of a heat map, oldest first."""
    return [last - timedelta(n) for n in reversed(range(HEAT_MAP_DAYS))]


def _points(name: str, points: Sequence[Point]) -> Series:
    return Series(
        name,
        "points",
        tuple(float(point.day.toordinal()) for point in points),
        tuple(point.value for point in points),
        tuple(point.low for point in points),
        tuple(point.high for point in points),
    )


def _intervals(
    caption: str, values: Mapping[str, tuple[float, float, float]], source: Source, note: str = "", percent: str = ""
) -> Figure:
    places = tuple(float(n) for n in range(len(values)))
    middle, low, high = zip(*values.values(), strict=True)
    series = Series("", "points", middle, places, low, high)
    label = "" if percent else "AUC (95% interval)"
    return Figure(caption, label, "", (series,), (source,), percent=percent, labels=tuple(values), note=note)
