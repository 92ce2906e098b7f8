"""The first portfolio file of a lender, from a table that nobody has described: commented, and valid as it stands.

Belongs here: the text of the file. Does not belong here: what is guessed (`guesses`) and from what (`first_look`).

No value of an applicant stands in it but the levels of columns that have few: ranges are rounded quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from credit_assets.loans.first_look import ColumnLook, FirstLook
from credit_assets.loans.guesses import Guess, Guesses, Outcome

# Levels are listed up to here; more of them are a matter of the lender's own lists.
_LISTED_LEVELS = 20
_WIDE = 10.0
"""A range is the 99.9% quantile times this, rounded up: typing errors and other units are outside, news is not."""
_MISSING_BEYOND = 0.05
_CLASSES = {"population": ("booked", "withdrawn", "declined", "undecided"),
            "outcomes": ("bad", "good", "indeterminate", "excluded", "reversed")}  # fmt: skip


_POLICY = (
    "",
    "# What decides about models: nothing is stated, so the defaults (docs/policy.md). `credit-assets policy show` has",
    "# every key; `credit-assets policy simulate --policy FILE` tells what others would have decided.",
    "# policy:",
    "#   comparison: {min_improvement: 0.005}",
)


@dataclass(frozen=True)
class Written:
    """Where the table came from, and what its tables are to be called."""

    source: str
    name: str
    applications: str
    outcomes: str = "loan_outcomes"


def portfolio_text(table: FirstLook, guesses: Guesses, written: Written) -> str:
    """The YAML file."""
    head = [
        f"# First portfolio file, made from {written.source}: {table.rows:,} rows, {len(table.columns)} columns.",
        "# Everything below is a GUESS from names and values. Confirm each line marked TODO before a model decides",
        "# anything; docs/portfolio.md explains every key.",
        *(f"# read as: {what}: {how}" for what, how in table.read_as.items() if what not in ("lines", "blank lines")),
        *_renamed(table),
        f"name: {written.name}",
        f"applications_table: {written.applications}",
        "",
    ]
    parts = [head, _statuses(guesses), _outcomes(guesses, written), _population(guesses), ["columns:"]]
    parts += [_column(guess) for guess in guesses.columns]
    parts += [_gates(guesses), list(_POLICY)]
    return "\n".join(line for part in parts for line in part) + "\n"


def _flow(value: object) -> str:
    return (
        str(yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False))
        .strip()
        .removesuffix("\n...")
    )


def _item(keys: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in keys.items()) + "}"


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _renamed(table: FirstLook) -> list[str]:
    renamed = [look for look in table.columns if look.given != look.name]
    if not renamed:
        return []
    shown = [f"#   {_comment(look.given)} -> {look.name}" for look in renamed]
    return ["# Names that a portfolio cannot have were changed; `credit-assets load csv` knows them again:", *shown]


def _statuses(guesses: Guesses) -> list[str]:
    lines = []
    for look in guesses.statuses:
        counted = ", ".join(f"{_comment(level)}: {count:,}" for level, count in look.levels.items())
        lines.append(f"# Statuses found in {look.name}: {counted}; missing: {look.missing:,}")
    return lines


def _outcomes(guesses: Guesses, written: Written) -> list[str]:
    key, outcome = guesses.outcomes_id or guesses.named("id").look.name, guesses.outcome
    names: dict[str, object] = {"table": written.outcomes, "id": key}
    if outcome is None:
        return [
            "# TODO no column says what became of loans: give their table with --outcomes, or name its columns here.",
            f"outcomes: {_item({**names, 'date': 'outcome_date', 'defaulted': 'defaulted'})}",
            "",
        ]
    heading = f"# TODO what is bad: {outcome.column}, {outcome.bads:,} bad of {outcome.known:,} known."
    lines = [heading]
    if outcome.date is None:
        lines.append(
            "# TODO no column has the day on which an outcome became known: add it to the table; it decides what"
        )
        lines.append("# a training may use.")
    names["date"] = outcome.date or "outcome_date"
    if outcome.flag:
        names["defaulted"] = outcome.column
    else:
        names["status"] = outcome.column
        names |= {name: list(outcome.classes[name]) for name in _CLASSES["outcomes"] if name in outcome.classes}
    return [*lines, f"outcomes: {_item(names)}", ""]


def _population(guesses: Guesses) -> list[str]:
    if guesses.population is None:
        return [
            "# TODO who was lent to. No column shows applicants who were declined or did not take the loan up. State",
            "#   population: all",
            "# where everyone in the table was lent to; without `population` nothing is trained.",
            "",
        ]
    column, classes = guesses.population
    look = next(one for one in guesses.statuses if one.name == column)
    unknown = [level for level in look.levels if not any(level in levels for levels in classes.values())]
    keys = {"column": column, **{name: list(classes[name]) for name in _CLASSES["population"] if classes.get(name)}}
    lines = ["# TODO who was lent to: a status in none of these lists stops its day."]
    if unknown:
        lines.append(f"# TODO in none of the lists yet: {_comment(', '.join(unknown))}")
    written = f"population: {_item(keys)}"
    return [
        *lines,
        written if classes.get("booked") else f"# TODO no status of booked loans was found\n# {written}",
        "",
    ]


def _column(guess: Guess) -> list[str]:
    look = guess.look
    keys: dict[str, object] = {"name": look.name, "type": _type(guess)}
    if look.kind == "empty":
        return [f"  # {look.name}: nothing stands in it; left out"]
    if guess.read_apart:
        return [f"  # {look.name}: {guess.why}; read above, and no column of an application"]
    if guess.role != "feature":
        keys["role"] = guess.role
    if guess.role in ("id", "date"):
        keys |= {"nullable": False, "on_violation": "reject"}
    comments = [guess.why] if guess.why else []
    if guess.role in ("feature", "protected"):
        keys |= _rules(look, comments)
    if guess.role == "feature" and not look.missing:
        # A gap that comes later is none that the lender has lived with.
        keys["missing"] = "worst_case"
    if guess.monotone:
        keys["monotone"] = guess.monotone
        comments.append(f"monotone: {guess.evidence}")
    if look.odd:
        comments.append(f"{look.odd:,} values are no {look.kind}")
    if look.given != look.name:
        keys["description"] = look.given
    todo = "TODO " if guess.why and guess.role in ("protected", "ignored") and look.kind != "date" else ""
    return [*([f"  # {todo}{_comment('; '.join(comments))}"] if comments else []), f"  - {_item(keys)}"]


def _type(guess: Guess) -> str:
    kind = guess.look.kind
    if guess.role in ("id", "customer"):
        return "integer" if kind == "integer" else "string"
    return "string" if kind == "empty" else kind


def _rules(look: ColumnLook, comments: list[str]) -> dict[str, object]:
    rules: dict[str, object] = {}
    if look.percent:
        rules["unit"] = "percent"
    if look.kind in ("integer", "float"):
        low, high = _range(look)
        rules |= {"minimum": low, "maximum": high}
        assert look.values is not None
        outside = int(((look.values < low) | (look.values > high)).sum())
        if outside:
            comments.append(f"{outside:,} values lie outside the range")
    elif look.kind == "category":
        if look.distinct <= _LISTED_LEVELS:
            rules["allowed"] = list(look.levels)
        else:
            comments.append(f"{look.distinct:,} levels")
    rules["max_missing_share"] = _most_missing(look.missing_share)
    return rules


def _range(look: ColumnLook) -> tuple[float, float]:
    low, high = look.quantile(0.001), look.quantile(0.999)
    size = max(abs(low), abs(high), 0.1)
    top, bottom = _rounded_up(max(high, size / _WIDE) * _WIDE), 0.0 if low >= 0 else -_rounded_up(size * _WIDE)
    return (int(bottom), int(top)) if look.kind == "integer" else (bottom, top)


def _rounded_up(value: float) -> float:
    """One digit, up.

    >>> [_rounded_up(value) for value in (0.3, 7, 81.2, 123_456)]
    [0.3, 7.0, 90.0, 200000.0]
    """
    scale = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(round(value / scale, 9)) * scale:.6g}")


def _most_missing(share: float) -> float:
    """In steps of a twentieth, half as much again as there is and a twentieth more."""
    return min(1.0, round(math.ceil((share * 1.5 + _MISSING_BEYOND) * 20 - 1e-9) / 20, 2))


def _gates(guesses: Guesses) -> list[str]:
    later = [guess.look.name for guess in guesses.columns if guess.suspect]
    outcome: Outcome | None = guesses.outcome
    known = {outcome.column, outcome.date} if outcome else set()
    suspects = [name for name in later if name not in known]
    if not suspects:
        return []
    lines = [
        "",
        "gates:",
        "  # Known only after the application: no feature may have one of these names.",
        "  leakage_columns:",
    ]
    return [*lines, *(f"    - {_flow(name)}" for name in suspects)]
