"""The tables of the benchmark of decisions, from what is kept of its parts.

Belongs here: keeping the records of a part, and how people read them. Does not belong here: measuring (`decisions`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.decision_faults import Verdict
from benchmarks.decision_rates import KINDS, default, plain
from benchmarks.drift_errors import table
from benchmarks.report import RESULTS, Row, figure, results_folder, write_atomically

Records = list[dict[str, Any]]
TARGET = "decisions"
SCHEDULES = {1: "daily", 7: "weekly", 30: "monthly", 90: "quarterly"}
MOST_CHANCE = 0.2
"""Promotions a year that chance may make."""
PICTURE = "decisions_power"
_SAID, _NAMED = 330, 3
_ALIKE = 0.9


def _file(name: str, folder: Path | None = None) -> Path:
    return (folder or results_folder()) / "decisions" / f"{name}.json"


def keep(name: str, records: Records) -> None:
    write_atomically(_file(name), (json.dumps(records, indent=1, sort_keys=True) + "\n").encode())


def kept(name: str) -> Records:
    """What is kept of a part; nothing where it was never measured."""
    path = _file(name, RESULTS)
    return list(json.loads(path.read_bytes())) if path.exists() else []


def rows(found: Mapping[str, Records]) -> list[Row]:
    """The claims: no fault in force, no sound model stopped, and what chance promotes."""
    verdicts = [Verdict(**record) for record in found["faults"]]
    planted = [one for one in verdicts if not is_sound(one.fault)]
    sound = [one for one in verdicts if is_sound(one.fault)]
    made = [
        Row(TARGET, "planted faults that came into force", sum(v.in_force for v in planted), None, "", "", 0.0,
            note=f"of {len(planted)}"),
        Row(TARGET, "sound models stopped by a rule on faults", sum(v.stopped for v in sound), None, "", "", 0.0,
            note=f"of {len(sound)}"),
    ]  # fmt: skip
    alike = [one for one in found["null"] if one["kind"] == KINDS[0].name]
    before = {(one["loans"], one["every"]): one["promotions"] for one in alike if one["rule"] == plain().name}
    for one in alike:
        if one["rule"] == default().name:
            was = before[one["loans"], one["every"]]
            what = f"promotions a year by chance, {SCHEDULES[one['every']]}, {one['loans']} loans a day"
            note = f"{one['years']} simulated years; the plain rule: {was:.3g}"
            made.append(Row(TARGET, what, one["promotions"], None, "a year", "", MOST_CHANCE, note=note))
    return made


def is_sound(fault: str) -> bool:
    """With the customer stated, whoever applies again is no fault."""
    return fault.startswith("none") or fault.endswith("customer stated")


def markdown(found: Mapping[str, Records]) -> str:
    """The section of the report, of those parts that were measured."""
    parts = [heading.format(shown(found[name])) for name, heading, shown in _SHOWN if found[name]]
    return "\n\n".join(parts)


_FAULT_NOTE = (
    "The champion is a weak model on purpose, so that a model with a fault is better and only a rule can stop it. "
    "*Before*: the best of three on the test, an AUC larger by 0.005, and an ECE of at most 0.05. A fault that only a "
    "rule on improvement stopped says so."
)
_POWER_NOTE = (
    "Share of first comparisons in which a candidate that is truly better by so much is taken, after a year in which "
    f"none was better.\n\n![Power](../benchmarks/results/{PICTURE}.png)"
)


def _fault_table(records: Records) -> str:
    before = {record["fault"]: Verdict(**record) for record in kept("faults_plain")}
    lines = []
    for record in records:
        now = Verdict(**record)
        was = before.get(now.fault)
        rule, said = _told(now)
        lines.append([now.fault, _came_to(was) if was else "-", _came_to(now), rule, said])
    heads = ["planted", "before", "now", "stopped by", "what it said"]
    return table(heads, lines).replace("|---:", "|---")


def _came_to(one: Verdict) -> str:
    if one.in_force:
        shown = [f"AUC {one.auc:.3f}"] if one.auc is not None else []
        shown += [f"{one.gain:+.3f}"] if one.gain is not None else []
        return f"in force ({', '.join(shown)})"
    return one.status if one.status != "registered" else "registered, not in force"


def _told(one: Verdict) -> tuple[str, str]:
    """The rules that told, and what the first of them said; those that say the least come last."""
    said = one.told or one.said
    if not said:
        return "-", "-"
    rules = sorted(said, key=lambda rule: rule in ("enough_outcomes", "registered"))
    names = ", ".join(f"`{rule}`" for rule in rules[:_NAMED])
    names += f" and {len(rules) - _NAMED} more" if len(rules) > _NAMED else ""
    return names, _shortened(" ".join(said[rules[0]].replace("|", "\\|").split()))


def _shortened(text: str) -> str:
    """The beginning of a long message, and the columns that it names at its end."""
    head, named, columns = text.partition(" Columns: ")
    parts = [_cut(head, _SAID // 2), f"Columns: {_cut(columns, _SAID // 2)}"] if named else [_cut(text, _SAID)]
    return " ".join(parts)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most].rsplit(' ', 1)[0]} ..."


def _sound_table(records: Records) -> str:
    by_loans: dict[str, list[Verdict]] = {}
    for record in records:
        by_loans.setdefault(record["fault"], []).append(Verdict(**record))
    lines = []
    for loans, verdicts in by_loans.items():
        rules = Counter(rule for one in verdicts for rule in one.told)
        named = ", ".join(f"`{rule}` {count}" for rule, count in rules.items()) or "-"
        stopped, promoted = sum(one.stopped for one in verdicts), sum(one.in_force for one in verdicts)
        lines.append([loans, str(len(verdicts)), str(stopped), named, str(promoted)])
    heads = ["loans a day", "trainings", "stopped by a rule on faults", "which", "promoted"]
    text = "Weekly trainings through the whole graph on books in which nothing is wrong and nothing changes:"
    return f"{text}\n\n{table(heads, lines)}"


def _copies_table(records: Records) -> str:
    lines = [
        [
            one["planted"],
            "stated" if one["stated"] else "not stated",
            f"{one['rows']:,}",
            f"{one['seen']:.0%}",
            f"{one['auc']:.4f}",
            f"{one['width']:.4f}",
            f"{one['true_auc']:.4f}",
        ]
        for one in records
    ]
    heads = ["copies", "customer", "test rows", "of customers trained on", "AUC", "width of its interval", "true AUC"]
    return table(heads, lines)


def _gaps_table(records: Records) -> str:
    before = {one["variant"]: one["ratio"] for one in kept("gaps_plain")}
    found: dict[str, dict[str, Any]] = {}
    for one in records:
        found.setdefault(one["missing"], {})[one["variant"]] = one["ratio"]
    names = list(dict.fromkeys(one["variant"] for one in records))

    def shown(ratio: float | None) -> str:
        return "not scored" if ratio is None else f"{ratio:.2f}"

    lines = [["before", *(shown(before[name]) if name in before else "-" for name in names)]]
    lines += [[f"`{said}`" if said != "not stated" else said, *(shown(of[name]) for name in names)]
              for said, of in found.items()]  # fmt: skip
    text = (
        "Mean PD of the newest days once no application has a rate, over what it was, by what the portfolio says of it:"
    )
    return f"{text}\n\n{table(['`missing` of the rate', *names], lines)}"


def _null_table(records: Records) -> str:
    alike = [one for one in records if one["kind"] == KINDS[0].name]
    heads = ["loans a day", "trainings", "rule", "years", *_NULL_HEADS]
    lines = [
        [f"{one['loans']} ({one['bads']:.0f} test bads)", SCHEDULES[one["every"]], one["rule"], *_null_cells(one)]
        for one in alike
    ]
    parts = [table(heads, lines), "In simulated years in which all models rank equally well in truth."]
    if others := [one for one in records if one["kind"] != KINDS[0].name]:
        cells = [[one["kind"], str(one["loans"]), SCHEDULES[one["every"]], *_null_cells(one)] for one in others]
        heads = ["years of", "loans a day", "trainings", "years", *_NULL_HEADS]
        parts += ["Years of other kinds, by the default:", table(heads, cells)]
    return "\n\n".join(parts)


_NULL_HEADS = ("promotions a year", "years with any", "of comparisons", "claimed AUC")


def _null_cells(one: Mapping[str, Any]) -> list[str]:
    return [
        str(one["years"]),
        f"{one['promotions']:.2f}",
        f"{one['any_promotion']:.0%}",
        f"{one['single']:.2%}",
        f"{one['claimed']:+.4f}" if one["promotions"] else "-",
    ]


def _lived_text(records: Records) -> str:
    by_rule: dict[str, Records] = {}
    for one in records:
        by_rule.setdefault(one["rule"], []).append(one)
    said = []
    for rule, years in by_rule.items():
        gains = [gain for one in years for gain in one["claimed"]]
        mean = f", which claimed {sum(gains) / len(gains):+.4f} on average" if gains else ""
        said.append(f"{rule} made {len(gains) / len(years):.1f} promotions a year{mean}")
    return (
        f"With the functions of the pipeline on {len(records) // len(by_rule)} books of 100 loans a day in which "
        f"nothing changes, three learners trained weekly: {'; '.join(said)}."
    )


def _power_table(records: Records) -> str:
    return "\n\n".join(
        f"{said}\n\n{_powers([one for one in records if one['correlation'] == correlation])}"
        for correlation, said in (
            (_ALIKE, f"Of two models whose scores correlate at {_ALIKE:g}, as of one learner a quarter apart:"),
            (None, "Of two models whose errors are independent, as of models that have nothing in common:"),
        )
    )


def _powers(records: Records) -> str:
    found = {(one["rule"], one["every"], one["bads"], one["gain"]): one["taken"] for one in records}
    gains = sorted({one["gain"] for one in records})
    lines = []
    for bads in sorted({one["bads"] for one in records}):
        for rule, every in dict.fromkeys((one["rule"], one["every"]) for one in records):
            named = rule if rule == plain().name else f"{rule}, {SCHEDULES[every]}"
            lines.append([f"{bads:,}", named, *(f"{found[rule, every, bads, gain]:.0%}" for gain in gains)])
    return table(["test bads", "rule", *(f"{gain:+g}" for gain in gains)], lines)


def picture(records: Records) -> None:
    """The power curves of models alike, one line for each number of bads: the default rule at a training a month, and
    the plain one.
    """
    records = [one for one in records if one["correlation"] == _ALIKE]
    shown = {(one["rule"], one["every"]): style for one, style in _styles(records)}
    with figure(PICTURE) as axes:
        for colour, bads in enumerate(sorted({one["bads"] for one in records})):
            for (rule, every), style in shown.items():
                of = [one for one in records if (one["rule"], one["every"], one["bads"]) == (rule, every, bads)]
                named = f"{rule}{'' if rule == plain().name else f', {SCHEDULES[every]}'}, {bads:,} test bads"
                axes.plot(
                    [one["gain"] for one in of], [one["taken"] for one in of], style, color=f"C{colour}", label=named
                )
        axes.set(xlabel="true gain of AUC", ylabel="share of comparisons that take it", ylim=(0, 1.02))
        axes.legend(fontsize="x-small")


def _styles(records: Records) -> list[tuple[dict[str, Any], str]]:
    wanted = {(plain().name, 1): ":", (default().name, 30): "-"}
    return [(one, wanted[one["rule"], one["every"]]) for one in records if (one["rule"], one["every"]) in wanted]


def _waits_table(records: Records) -> str:
    spans = sorted(records[0]["within"], key=int)
    lines = [
        [
            str(one["loans"]),
            SCHEDULES[one["every"]],
            f"{one['gain']:+g}",
            *(f"{one['within'][days]:.0%}" for days in spans),
        ]
        for one in records
        if one["rule"] == default().name
    ]
    days = [f"within {days} days" for days in spans]
    text = (
        "A model that stays better is compared again and again. Of years in which all are, after one in which none "
        "was, the default takes one:"
    )
    return f"{text}\n\n{table(['loans a day', 'trainings', 'gain', *days], lines)}"


_SHOWN: tuple[tuple[str, str, Callable[[Records], str]], ...] = (
    ("faults", "### Planted faults\n\n{}\n\n" + _FAULT_NOTE, _fault_table),
    ("sound", "### Nothing planted\n\n{}", _sound_table),
    ("copies", "### Copies\n\n{}", _copies_table),
    ("gaps", "### Values that are missing when scored\n\n{}", _gaps_table),
    ("null", "### Promotions by chance\n\n{}", _null_table),
    ("pipeline", "{}", _lived_text),
    ("power", "### Power\n\n{}\n\n" + _POWER_NOTE, _power_table),
    ("waits", "{}", _waits_table),
)
