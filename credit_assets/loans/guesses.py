"""What a table nobody has described may mean for a portfolio: roles, what was known too late, outcomes, directions.

Belongs here: guesses, each with the evidence that it rests on, for a person to confirm. Does not belong here: facts
(`first_look`), and the file that is written (`first_portfolio`).

Names are taken apart into words, so that `mortgage` is no age and `PaymentDate` is a payment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans import guess_words as words
from credit_assets.loans.dates import month_of
from credit_assets.loans.first_look import ColumnLook, FirstLook, Values

# A feature that ranks outcomes better than this by itself knew them: bureau scores of real books stay below .75.
SUSPECT_AUC = 0.85
# Fewest bads by which a direction is guessed, by how many standard errors it must lie off, and its least AUC.
_LEAST_BADS, _SIGMAS, _LEAST_AUC = 50, 5.0, 0.53
_GROUPS = 5

# Rows a customer, on average, above which a column that is called a customer is a group of them.
_MOST_OF_ONE = 50

Role = Literal["id", "date", "customer", "feature", "protected", "ignored"]


@dataclass(frozen=True)
class Guess:
    """One column's role and direction, and why."""

    look: ColumnLook
    role: Role
    why: str = ""
    monotone: int = 0
    evidence: str = ""
    suspect: bool = False
    """Known too late, by its name or by how well it ranks."""
    read_apart: bool = False
    """Read by `population` or `outcomes`, and no column of an application."""


@dataclass(frozen=True)
class Outcome:
    """Where the table says what became of loans: a flag, or a status whose levels are sorted into classes."""

    column: str
    flag: bool
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    date: str | None = None
    known: int = 0
    bads: int = 0


@dataclass(frozen=True)
class Guesses:
    columns: tuple[Guess, ...]
    outcome: Outcome | None
    population: tuple[str, Mapping[str, tuple[str, ...]]] | None
    """The column of statuses of applications, and its levels by class."""
    statuses: tuple[ColumnLook, ...]
    outcomes_id: str | None = None
    """The id in the table of outcomes, where they stand apart."""

    def named(self, role: Role) -> Guess:
        return next(guess for guess in self.columns if guess.role == role)


def words_of(name: str) -> tuple[str, ...]:
    """
    >>> words_of("lastPaymentDate"), words_of("LOAN_ID"), words_of("zip-code")
    (('last', 'payment', 'date'), ('loan', 'id'), ('zip', 'code'))
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return tuple(word for word in re.split(r"[^a-z0-9]+", apart.lower()) if word)


def guess(table: FirstLook, where: object, apart: FirstLook | None = None) -> Guesses:
    """The roles of all columns, with outcomes that stand `apart`, row by row of the applications, where they do.

    Raises PermanentError where no column can be the id, or none the day of application.
    """
    key = _id_of(table.columns, where)
    day = _day_of(table.columns, key, where)
    statuses = tuple(look for look in table.columns if _is_status(look))
    source = table if apart is None else apart
    outcome = _outcome_of(source, day, statuses if apart is None else tuple(filter(_is_status, apart.columns)))
    target = None if outcome is None else _target(source.of(outcome.column), outcome)
    population = _population_of(statuses)
    taken: dict[str, tuple[Role, str]] = {key.name: ("id", ""), day.name: ("date", "")}
    in_the_row = (outcome.column, outcome.date) if outcome and apart is None else ()
    if customer := _customer_of(table.columns, key):
        taken[customer.name] = ("customer", "")
    for name in filter(None, (*in_the_row, population and population[0])):
        taken.setdefault(name, ("ignored", "what became of the application: known after it"))
    columns = tuple(
        _taken(look, *taken[look.name]) if look.name in taken else _guess(look, target) for look in table.columns
    )
    return Guesses(columns, outcome, population, statuses, None if apart is None else apart.columns[0].name)


# Id and day


def _id_of(columns: Sequence[ColumnLook], where: object) -> ColumnLook:
    called = [look for look in columns if _called_id(look)]
    wholes = [look for look in columns if look.kind in ("integer", "string", "category") and look.unique]
    # Where a column is called an id and repeats, another one that happens not to is none.
    named = [look for look in wholes if _called_id(look)] if called else wholes
    if not named:
        reasons = "; ".join(
            f"{look.given} has {look.missing:,} missing and {look.distinct:,} different values in {look.rows:,} rows"
            for look in called[:3]
        )
        raise PermanentError(
            f"{where}: no column can be the id of the applications, which is a whole number or text, there in each row "
            f"and different in each{'; ' + reasons if reasons else ''}: add one, or remove the rows that repeat"
        )

    def score(look: ColumnLook) -> tuple[bool, bool, int]:
        of_application = bool(set(words_of(look.name)) & words.OF_APPLICATION)
        return of_application, look.kind != "category", -columns.index(look)

    return max(named, key=score)


def _called_id(look: ColumnLook) -> bool:
    return bool(set(words_of(look.name)) & words.OF_ID) or look.name.lower().endswith(("id", "nr"))


def _customer_of(columns: Sequence[ColumnLook], key: ColumnLook) -> ColumnLook | None:
    """The column of whose application it is: called so, whole numbers or text that repeat, and of many people."""
    called = [
        look
        for look in columns
        if look is not key
        and look.kind in ("integer", "string", "category")
        and set(words_of(look.name)) & words.OF_CUSTOMER
        and (_called_id(look) or "_".join(words_of(look.name)) in words.OF_CUSTOMER)
        and look.distinct > look.rows / _MOST_OF_ONE
    ]
    return max(called, key=lambda look: (look.distinct, -columns.index(look)), default=None)


def _day_of(columns: Sequence[ColumnLook], key: ColumnLook, where: object) -> ColumnLook:
    dates = [look for look in columns if look.kind == "date" and look is not key]
    whole = [look for look in dates if look.missing_share <= 0.01]
    if not whole:
        named = ", ".join(f"{look.given} (missing in {look.missing:,} of {look.rows:,} rows)" for look in dates)
        raise PermanentError(
            f"{where}: no column can be the day of application, which is a date that hardly a row misses"
            f"{'; dates are ' + named if named else '; no column holds days'}{_months(columns)}: add it, or give "
            "--dates where its days are written in an order that is not recognised"
        )

    def score(look: ColumnLook) -> tuple[int, float]:
        named = set(words_of(look.name))
        # What comes first of two days that are told apart by nothing else.
        return len(named & words.OF_DATE) - 2 * len(named & words.NOT_OF_DATE), -look.quantile(0.5)

    return max(whole, key=score)


def _months(columns: Sequence[ColumnLook]) -> str:
    found = [look.given for look in columns if look.levels and all(month_of(one) is not None for one in look.levels)]
    return f" ({', '.join(found)}: months without a day)" if found else ""


# Statuses, outcomes and who was lent to


def _plain(level: str) -> str:
    for letter, plain in {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}.items():
        level = level.lower().replace(letter, plain)
    return re.sub(r"[_-]+", " ", level)


def _sorted_into(classes: Mapping[str, str], levels: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for level in levels:
        of = next((name for name, pattern in classes.items() if re.search(pattern, _plain(level))), None)
        if of:
            found.setdefault(of, []).append(level)
    return {name: tuple(found[name]) for name in classes if name in found}


def _is_status(look: ColumnLook) -> bool:
    if look.kind != "category" or look.distinct > 40:
        return False
    sorted_ = _sorted_into({**words.OUTCOMES, **words.POPULATION}, look.levels)
    named = words.OF_STATUS & set(words_of(look.name))
    sorted_rows = sum(look.levels[level] for levels in sorted_.values() for level in levels)
    return len(sorted_) > 1 and sorted_rows > (0.8 if named else 0.95) * (look.rows - look.missing)


def _outcome_of(table: FirstLook, day: ColumnLook, statuses: Sequence[ColumnLook]) -> Outcome | None:
    for look in table.columns:
        named = set(words_of(look.name))
        flag = look.kind == "boolean" or (look.kind == "integer" and set(np.unique(_known(look))) == {0.0, 1.0})
        if flag and named & words.OF_TARGET and look.distinct == 2:
            known = _known(look)
            return Outcome(look.name, True, {}, _outcome_day(table, day, look), len(known), int(known.sum()))
    for look in statuses:
        classes = _sorted_into(words.OUTCOMES, look.levels)
        if "bad" in classes and "good" in classes:
            counts = {name: sum(look.levels[level] for level in levels) for name, levels in classes.items()}
            known_rows = counts["bad"] + counts["good"]
            return Outcome(look.name, False, classes, _outcome_day(table, day, look), known_rows, counts["bad"])
    return None


def _known(look: ColumnLook) -> Values:
    assert look.values is not None
    return look.values[~np.isnan(look.values)]


def _outcome_day(table: FirstLook, day: ColumnLook, outcome: ColumnLook) -> str | None:
    """The day on which an outcome became known: a date after the application, there with an outcome and not without."""
    assert outcome.values is not None
    best: tuple[float, str] | None = None
    for look in table.columns:
        if look.kind != "date" or look is day or look.values is None or day.values is None:
            continue
        named = set(words_of(look.name))
        there = ~np.isnan(look.values)
        if not there.any() or np.mean(look.values[there] >= day.values[there]) < 0.99:
            continue
        score = len(named & words.OF_OUTCOME_DAY) - len(named & words.NOT_OF_OUTCOME_DAY)
        if score > 0 and (best is None or score > best[0]):
            best = (score, look.name)
    return None if best is None else best[1]


def _population_of(statuses: Sequence[ColumnLook]) -> tuple[str, Mapping[str, tuple[str, ...]]] | None:
    for look in statuses:
        classes = _sorted_into(words.POPULATION, look.levels)
        if "declined" not in classes and "withdrawn" not in classes:
            continue
        # Whoever has an outcome was lent to.
        taken = {level for levels in classes.values() for level in levels}
        rest = [level for level in look.levels if level not in taken]
        lent = [level for levels in _sorted_into(words.OUTCOMES, rest).values() for level in levels]
        return look.name, {**classes, "booked": (*classes.get("booked", ()), *lent)}
    return None


def _target(look: ColumnLook, outcome: Outcome) -> Values:
    """1 for bad, 0 for good, NaN for what is neither or not known."""
    assert look.values is not None
    if outcome.flag:
        return look.values
    target = np.full(look.rows, np.nan)
    for place, level in enumerate(look.levels):
        for name, value in (("bad", 1.0), ("good", 0.0)):
            if level in outcome.classes.get(name, ()):
                target[look.values == place] = value
    return target


def _taken(look: ColumnLook, role: Role, why: str) -> Guess:
    later = role == "ignored"
    return Guess(look, role, why, suspect=later, read_apart=later)


# Features


def _guess(look: ColumnLook, target: Values | None) -> Guess:
    named, lower = set(words_of(look.name)), "_".join(words_of(look.name))
    if look.kind == "empty":
        return Guess(look, "ignored", "nothing stands in it")
    for what, names in words.PROTECTED.items():
        if names & named and not (what == "age" and named & words.NOT_OF_A_PERSON):
            return Guess(look, "protected", f"by its name it may be {what}, or stand in for it: never a feature")
    if any(re.search(pattern, lower) for pattern in words.KNOWN_LATER) and not re.search(words.OF_A_BUREAU, lower):
        return Guess(
            look, "ignored", "by its name it is known only after the application: LEAKAGE SUSPECT", suspect=True
        )
    if look.kind in ("string", "date"):
        return Guess(look, "ignored", "text of many values" if look.kind == "string" else "a date")
    if look.distinct <= 1 and not look.missing:
        return Guess(look, "ignored", "one value in all rows")
    if target is None or look.values is None:
        return Guess(look, "feature")
    ranked = ranks(look, target)
    if ranked is not None and ranked.worst > SUSPECT_AUC:
        return Guess(
            look, "ignored", f"ranks the outcomes by itself, AUC {ranked.worst:.3f}: LEAKAGE SUSPECT", suspect=True
        )
    if ranked is None or look.kind == "category":
        return Guess(look, "feature")
    return Guess(look, "feature", "", ranked.direction, ranked.evidence)


@dataclass(frozen=True)
class Ranks:
    """How a column ranks outcomes: its AUC, that of whether it is there, the direction and what speaks for it."""

    auc: float
    worst: float
    direction: int
    evidence: str


def ranks(look: ColumnLook, target: Values) -> Ranks | None:
    """Against the outcomes that are known; None where they are too few."""
    assert look.values is not None
    known = ~np.isnan(target)
    values, bad = look.values[known], target[known] == 1
    there = ~np.isnan(values)
    bads, goods = int(bad.sum()), int((~bad).sum())
    if min(bads, goods) < _LEAST_BADS:
        return None
    missing = _auc((~there).astype(float), bad)
    if look.kind == "category":
        values = _by_bad_rate(values, bad)
    auc = _auc(values[there], bad[there])
    if auc is None or missing is None:
        worst = max(abs((one or 0.5) - 0.5) for one in (auc, missing)) + 0.5
        return Ranks(auc or 0.5, worst, 0, "")
    worst = max(abs(auc - 0.5), abs(missing - 0.5)) + 0.5
    direction, evidence = (0, "") if look.kind == "category" else _direction(values[there], bad[there], auc)
    return Ranks(auc, worst, direction, evidence)


def _by_bad_rate(values: Values, bad: NDArray[np.bool_]) -> Values:
    """Levels of at least 50 rows by their share of bads: of smaller ones it is chance that ranks."""
    result = np.full(len(values), float(bad.mean()))
    for level in np.unique(values[~np.isnan(values)]):
        inside = values == level
        if inside.sum() >= _LEAST_BADS:
            result[inside] = bad[inside].mean()
    return result


def _auc(values: Values, bad: NDArray[np.bool_]) -> float | None:
    bads, goods = int(bad.sum()), int((~bad).sum())
    if not bads or not goods:
        return None
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    return float((middle[places][bad].sum() - bads * (bads + 1) / 2) / (bads * goods))


def _direction(values: Values, bad: NDArray[np.bool_], auc: float) -> tuple[int, str]:
    """A direction only where the rank correlation is beyond chance, large enough to matter, and the share of bads goes
    the same way from group to group.
    """
    bads, goods = int(bad.sum()), int((~bad).sum())
    error = float(np.sqrt((bads + goods + 1) / (12 * bads * goods)))
    off = auc - 0.5
    if abs(off) < max(_SIGMAS * error, _LEAST_AUC - 0.5):
        return 0, ""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _GROUPS + 1)[1:-1]))
    group = np.searchsorted(edges, values, side="right")
    rates = [(float(bad[group == one].mean()), int((group == one).sum())) for one in np.unique(group)]
    sign = 1 if off > 0 else -1
    for (before, m), (after, n) in pairwise(rates):
        allowed = 2 * np.sqrt(max(before * (1 - before), 1e-9) * (1 / m + 1 / n))
        if sign * (after - before) < -allowed:
            return 0, ""
    correlation = 2 * off * np.sqrt(3 * bads * goods) / (bads + goods)
    shown = (
        f"rank correlation {correlation:+.2f}, AUC {max(auc, 1 - auc):.2f}, bad {rates[0][0]:.1%} to {rates[-1][0]:.1%}"
    )
    return sign, f"{shown} on {bads + goods:,} known"
