"""The report of a portfolio: pages of how things stand, its models, its monitoring and its decisions.

Belongs here: what stands on which page, made of the blocks of a dossier from plain records. Does not belong here: the
records (whoever calls finds them), the dossiers of versions, and HTML (`dossier.page`, which shows these pages too).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Figure,
    Paragraph,
    Section,
    Series,
    Source,
    Table,
    count,
    interval,
    number,
    sources_of,
    text,
)
from credit_assets.ml.reports.dossier.whole import Dossier

_METRICS = {"gini": "Gini", "ks": "KS", "brier": "Brier", "ece": "ECE"}
_VERDICTS = ("stable", "watch", "shifted", "unknown")


@dataclass(frozen=True)
class AliasMove:
    """A move of an alias, as the ledger has it."""

    day: str
    alias: str
    version: str
    kind: str
    by: str
    reason: str


@dataclass(frozen=True)
class StoredRecord:
    """A record of the store and where it is from."""

    record: Mapping[str, Any]
    source: Source


@dataclass(frozen=True)
class SiteMaterial:
    """What the pages are made of.

    `status` and `models` are what `credit-assets status --json` and `models --json` print; the reports are of the days
    that are shown, oldest first; `decisions` are those of all as-of dates, oldest first, each with its summary.
    """

    status: StoredRecord
    models: StoredRecord
    drift: Sequence[StoredRecord]
    performance: Sequence[StoredRecord]
    decisions: Sequence[tuple[StoredRecord, str]]
    moves: Sequence[AliasMove]
    moves_source: Source


def pages(material: SiteMaterial) -> dict[str, Dossier]:
    """The pages by their short names, in the order in which they are read."""
    return {
        "Portfolio": _page(material, "how things stand", _front(material), _overview(material)),
        "Models": _page(material, "models and their history", _model_front(material), _models(material)),
        "Monitoring": _page(material, "drift and performance", _monitoring_front(material), _monitoring(material)),
        "Decisions": _page(material, "decisions and who made them", _decision_front(material), _decisions(material)),
    }


def _page(material: SiteMaterial, subtitle: str, front: Facts, made: Iterable[Section]) -> Dossier:
    sections = tuple(made)
    named = [*sources_of(front), *(s for one in sections for block in one.blocks for s in sources_of(block))]
    title = f"Portfolio {material.status.record['portfolio']}"
    return Dossier(title, subtitle.capitalize(), front, sections, tuple(dict.fromkeys(named)))


# How things stand


def _front(material: SiteMaterial) -> Facts:
    status, source = material.status.record, material.status.source
    champion, shadow = status["champion"], status["shadow"]
    facts = {
        "champion": _named(champion) or "none yet",
        "on trial": _named(shadow) or "nobody",
        "newest day ingested": status["assets"]["raw_loan_data"]["last"] or "none",
        "alarms": len(status["alarms"]) or "none",
    }
    return Facts(tuple(Fact(label, text(value), source) for label, value in facts.items()))


def _named(model: Mapping[str, Any] | None) -> str:
    return f"version {model['version']}, {model['variant']}, as of {model['as_of']}" if model else ""


def _overview(material: SiteMaterial) -> Iterator[Section]:
    status, source = material.status.record, material.status.source
    alarms = [Paragraph(one, (source,), "finding") for one in status["alarms"]]
    yield Section("alarms", "What somebody has to look at", (*alarms,) or (Paragraph("Nothing.", (source,)),))
    gates = [
        (
            text(one["asset"]),
            text(one["day"]),
            count(one["gates"]),
            count(len(one["failed"])),
            text("; ".join(one["failed"])),
        )
        for one in status["gates"]
    ]
    blocks: list[Block] = []
    if gates:
        columns = ("asset", "newest day", "gates", "failed", "what failed")
        blocks.append(Table("Gates of the newest days", columns, tuple(gates), (source,)))
    accounts = [
        (text(one["table"]), count(one["rows"]), count(one["ingested"]), text(one["verdict"]), text(one["description"]))
        for one in status["accounts"].values()
        if isinstance(one, Mapping)
    ]
    if accounts:
        columns = ("table", "rows", "ingested", "verdict", "in words")
        blocks.append(Table("Rows of the warehouse, and what became of them", columns, tuple(accounts), (source,)))
    if blocks:
        yield Section("data", "Data", tuple(blocks))
    rows = tuple(
        (text(name), count(one["partitions"]), text(one["first"]), text(one["last"]))
        for name, one in status["assets"].items()
    )
    table = Table("Days that are there, by asset", ("asset", "days", "first", "last"), rows, (source,))
    scores = status["assets"]["loan_scores"]
    sentence = (
        f"{scores['scored_applications']:,} applications are scored on {scores['scored']:,} days; "
        f"{scores['unscored_applications']:,} on {scores['unscored']:,} days are not, since no champion was in force; "
        f"{scores['refused_applications']:,} were refused for a value that is missing."
    )
    yield Section("partitions", "Partitions", (Paragraph(sentence, (source,)), table))


# Models


def _model_front(material: SiteMaterial) -> Facts:
    models, source = material.models.record, material.models.source
    facts = {
        "registered model": text(models["model"]),
        "versions": count(len(models["versions"])),
        "rejected": count(len(models["rejected"])),
    }
    return Facts(tuple(Fact(label, cell, source) for label, cell in facts.items()))


def _models(material: SiteMaterial) -> Iterator[Section]:
    models, source = material.models.record, material.models.source
    every = sorted([*models["versions"], *models["rejected"]], key=lambda one: (one["as_of"], one.get("version") or ""))
    if not every:
        yield Section("models", "Models", (Paragraph("No model was made yet.", (source,)),))
        return
    rows = tuple(
        (
            text(one["as_of"]),
            text(one.get("version", "rejected")),
            text(one["variant"]),
            number(one["metrics"].get("auc"), 3),
            _ends(one["interval"]),
            *(number(one["metrics"].get(name), 3) for name in _METRICS),
            text("; ".join(f"{first} .. {last or 'now'}" for first, last in one.get("in_force", ()))),
        )
        for one in every
    )
    columns = ("as of", "version", "variant", "AUC", "95%", *_METRICS.values(), "champion")
    note = "On the out-of-time test of each model: tests of different dates are different loans."
    blocks: list[Block] = [Table("Every model, by as-of date", columns, rows, (source,), note)]
    known = [one for one in every if one["interval"]]
    if known:
        labels = tuple(f"{one['as_of']} {one['variant']}" for one in known)
        low, high = zip(*(one["interval"] for one in known), strict=True)
        series = Series(
            "AUC with its 95% interval",
            "points",
            tuple(one["metrics"]["auc"] for one in known),
            tuple(float(place) for place in range(len(known))),
            low,
            high,
        )
        blocks.append(Figure("AUC of each model's own test", "AUC", "", (series,), (source,), labels=labels))
    yield Section("models", "Models", tuple(blocks))
    reasons = tuple((text(one["as_of"]), text(one["variant"]), text(one["reason"])) for one in models["rejected"])
    if reasons:
        table = Table("Why models were rejected", ("as of", "variant", "reasons"), reasons, (source,))
        yield Section("rejected", "Models that were rejected", (table,))


# Monitoring


def _monitoring_front(material: SiteMaterial) -> Facts:
    items = []
    if material.drift:
        newest = material.drift[-1]
        judged = [one.record["verdict"] for one in material.drift if one.record["verdict"] != "unknown"]
        shifted = f"{judged.count('shifted')} of {len(judged)} judged"
        items += [
            Fact("newest drift report", text(f"{newest.record['day']}: {newest.record['verdict']}"), newest.source),
            Fact("days that had shifted", text(shifted), newest.source),
        ]
    if material.performance:
        newest = material.performance[-1]
        items.append(Fact("newest performance report", text(newest.record["day"]), newest.source))
    return Facts(tuple(items))


def _monitoring(material: SiteMaterial) -> Iterator[Section]:
    if not material.drift and not material.performance:
        source = material.status.source
        yield Section(
            "monitoring", "Monitoring", (Paragraph("Nothing was scored yet, so nothing is watched.", (source,)),)
        )
    if material.drift:
        yield Section("drift", "Drift", tuple(_drift(material.drift)))
    if material.performance:
        yield Section("performance", "Performance", tuple(_performance(material.performance)))


def _line(name: str, points: Sequence[tuple[float, float]]) -> Series:
    return Series(name, "line", tuple(x for x, _ in points), tuple(y for _, y in points))


def _ends(of: Sequence[float] | None) -> Cell:
    return interval(of[0], of[1], 3) if of else text(None)


def _span(reports: Sequence[StoredRecord]) -> tuple[Source, ...]:
    """Of a series of reports its ends: each of them names its own."""
    return tuple(dict.fromkeys((reports[0].source, reports[-1].source)))


def _drift(reports: Sequence[StoredRecord]) -> Iterator[Block]:
    days = [one.record for one in reports]
    measured = [one for one in days if one.get("features")]
    counts = tuple((text(verdict), count(sum(one["verdict"] == verdict for one in days))) for verdict in _VERDICTS)
    yield Table("Verdicts of the days", ("verdict", "days"), counts, _span(reports))
    if measured:
        last = date.fromisoformat(days[-1]["day"])
        points = [
            (float((date.fromisoformat(one["day"]) - last).days), max(f["psi"] or 0.0 for f in one["features"]))
            for one in measured
        ]
        series = _line("largest PSI of any feature", points)
        label = f"days before {last}" if len(points) > 1 else f"{last}"
        yield Figure("The largest PSI of each day", label, "PSI", (series,), _span(reports))
        newest = next(one for one in reversed(reports) if one.record.get("features"))
        features = sorted(newest.record["features"], key=lambda one: -(one["psi"] or 0.0))
        rows = tuple(
            (
                text(one["name"]),
                text(one["verdict"]),
                number(one["psi"], 3),
                number(one["psi_by_chance"], 3),
                number(one["p_value"], 4),
                number(one["missing_share"], 4),
                number(one["missing_reference"], 4),
            )
            for one in features
        )
        columns = ("feature", "verdict", "PSI", "PSI by chance", "p", "missing", "missing in training")
        caption = f"Features on {newest.record['day']}, the farthest first"
        note = f"{newest.record['rows']:,} applications from {newest.record['from']} to {newest.record['to']}."
        yield Table(caption, columns, rows, (newest.source,), note)


_MEASURED = {"realised": "in use, matured", "since_training": "matured since training", "estimated": "estimated"}


def _performance(reports: Sequence[StoredRecord]) -> Iterator[Block]:
    newest = reports[-1]
    rows = []
    for name, words in _MEASURED.items():
        part = newest.record.get(name) or {}
        auc, low, high = _auc(part)
        level = part.get("observed_over_expected") or {}
        if auc is not None:
            cells = (
                *map(text, (words, part.get("from"), part.get("to"))),
                count((part.get("evaluation") or {}).get("bads")),
                *(number(auc, 3), interval(low, high, 3)),
                *(number(level.get("value"), 2), interval(level.get("low"), level.get("high"), 2)),
            )
            rows.append(cells)
    if rows:
        columns = ("what", "from", "to", "bads", "AUC", "95%", "observed/expected", "95%")
        yield Table(f"As it stood on {newest.record['day']}", columns, tuple(rows), (newest.source,))
    else:
        why = (newest.record.get("realised") or {}).get("why") or "nothing is measured yet"
        yield Paragraph(f"{newest.record['day']}: {why}.", (newest.source,))
    last = date.fromisoformat(newest.record["day"])
    series = []
    for name, words in _MEASURED.items():
        points = [
            (float((date.fromisoformat(one.record["day"]) - last).days), auc)
            for one in reports
            if (auc := _auc(one.record.get(name) or {})[0]) is not None
        ]
        if len(points) > 1:
            series.append(_line(words, points))
    if series:
        note = "An estimate supposes that the PDs are right; what is realised comes a performance window later."
        yield Figure("AUC by day", f"days before {last}", "AUC", tuple(series), _span(reports), note=note)


def _auc(part: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    if found := part.get("evaluation"):
        return found["auc"], found["auc_ci_low"], found["auc_ci_high"]
    return part.get("auc"), part.get("auc_low"), part.get("auc_high")


# Decisions


def _decision_front(material: SiteMaterial) -> Facts:
    source = material.status.source
    facts = {"decisions about models": len(material.decisions), "moves of aliases": len(material.moves)}
    return Facts(tuple(Fact(label, count(value), source) for label, value in facts.items()))


def _decisions(material: SiteMaterial) -> Iterator[Section]:
    rows = tuple(
        (text(one.record["as_of"]), text(one.record["decision"]), text(one.record.get("version")), text(summary))
        for one, summary in material.decisions
    )
    moves = tuple(
        tuple(map(text, (one.day, one.alias, one.version or "nobody", one.kind, one.by, one.reason)))
        for one in material.moves
    )
    none: tuple[Block, ...] = (Paragraph("None yet.", (material.status.source,)),)
    of_models = _span([one for one, _ in material.decisions]) if rows else ()
    decided = (Table("By as-of date", ("as of", "decision", "version", "why"), rows, of_models),) if rows else none
    yield Section("registration", "Registered or rejected", decided)
    columns = ("from", "alias", "version", "how", "by whom", "why")
    cells: tuple[tuple[Cell, ...], ...] = moves
    moved = (Table("In the order of the ledger", columns, cells, (material.moves_source,)),) if moves else none
    yield Section("moves", "Moves of aliases", moved)
