"""How often the drift report errs, column by column: alarms where nothing has shifted, and shifts that it misses.

Belongs here: columns of the shapes that books have, those shapes after a shift, and the two tables. Does not belong
here: any rule. The reference is `ml.evidence.drift_reference`, the verdicts are `ml.evidence.drift`, with the settings
in force. Days, pooling and triggers are those of `detection`.

A report is held against alpha, so each book has a reference of its own: with one reference for all, an odd one would
count a thousand times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from credit_assets.assets.policies import drift_policy
from credit_assets.ml.evidence.drift import DriftFindings, DriftPolicy, measure_drift
from credit_assets.ml.evidence.drift_reference import DriftReference
from credit_assets.ml.evidence.intervals import proportion
from credit_assets.settings import load_settings

Draw = Callable[[np.random.Generator, int], Any]
BOOKS = 1000


@dataclass(frozen=True)
class Shape:
    """A column: how its values are drawn, before a shift and after one (`shifts`, by what they are)."""

    draw: Draw
    category: bool = False
    shifts: tuple[tuple[str, Draw], ...] = ()


def levels(number: int, power: float = 1.0) -> Draw:
    """A category whose levels have shares like 1 / rank^power."""
    names = np.array([f"z{n:06d}" for n in range(number)], dtype=object)
    shares = 1 / np.arange(1, number + 1) ** power
    shares /= shares.sum()
    return lambda rng, rows: rng.choice(names, rows, p=shares)


def some(share: float, value: Any, draw: Draw) -> Draw:
    """`share` of the rows have `value` instead."""

    def drawn(rng: np.random.Generator, rows: int) -> Any:
        values = draw(rng, rows)
        return np.where(rng.random(rows) < share, value, values)

    return drawn


def unique(rng: np.random.Generator, rows: int) -> Any:
    """A level for every row, as an id that is taken for a feature has."""
    return np.array([f"{n:x}" for n in rng.integers(0, 2**62, rows)], dtype=object)


def flag(share: float) -> Draw:
    return lambda rng, rows: (rng.random(rows) < share).astype(float)


def inflated(share: float, mean: float) -> Draw:
    """Zero, but lognormal in `share` of the rows."""
    return lambda rng, rows: np.where(rng.random(rows) < share, rng.lognormal(mean, 1, rows), 0.0)


def terms(*shares: float) -> Draw:
    return lambda rng, rows: rng.choice([24.0, 36.0, 48.0, 60.0], rows, p=shares)


def rounded(rng: np.random.Generator, rows: int) -> Any:
    return np.round(rng.lognormal(10, 1, rows), -3)


ZIPCODE = levels(300)
SHAPES: dict[str, Shape] = {
    "300 levels": Shape(
        ZIPCODE,
        True,
        (
            ("3% in one new level", some(0.03, "new", ZIPCODE)),
            ("10% in one new level", some(0.10, "new", ZIPCODE)),
            (
                "10% in as many new levels",
                lambda rng, rows: np.where(rng.random(rows) < 0.1, unique(rng, rows), ZIPCODE(rng, rows)),
            ),
            ("the rarest level 0.05% to 4%", some(0.04, "z000299", ZIPCODE)),
            ("equal shares", levels(300, 0.0)),
        ),
    ),
    "3,000 levels": Shape(
        levels(3000),
        True,
        (
            ("10% in one new level", some(0.10, "new", levels(3000))),
            ("half missing", some(0.5, None, levels(3000))),
            ("equal shares", levels(3000, 0.0)),
        ),
    ),
    "two levels, 0.1%": Shape(
        some(0.001, "b", levels(1)), True, (("0.1% to 5%", some(0.05, "b", levels(1))),)
    ),
    "0 or 1, 0.1%": Shape(flag(0.001), shifts=(("0.1% to 5%", flag(0.05)), ("0.1% to 20%", flag(0.2)))),
    "0 or 1, 30%": Shape(flag(0.3), shifts=(("30% to 45%", flag(0.45)), ("30% to 60%", flag(0.6)))),
    "counts, mean 0.05": Shape(
        lambda rng, rows: rng.poisson(0.05, rows).astype(float),
        shifts=(("mean 0.05 to 0.2", lambda rng, rows: rng.poisson(0.2, rows).astype(float)),),
    ),
    "zero but for 5%": Shape(
        inflated(0.05, 5), shifts=(("5% to 20%", inflated(0.2, 5)), ("amounts times 1,000", inflated(0.05, 5 + 6.9)))
    ),
    "terms of 36 and 60": Shape(
        terms(0, 0.7, 0, 0.3),
        shifts=(
            ("48 where 60 was", terms(0, 0.7, 0.3, 0)),
            ("10% of 24", terms(0.1, 0.6, 0, 0.3)),
            ("60: 30% to 50%", terms(0, 0.5, 0, 0.5)),
        ),
    ),
    "rounded to thousands": Shape(
        rounded,
        shifts=(
            ("times 1.8", lambda rng, rows: np.round(rng.lognormal(10.59, 1, rows), -3)),
            ("all missing", lambda rng, rows: np.full(rows, np.nan)),
        ),
    ),
    "heavy tail": Shape(
        lambda rng, rows: rng.pareto(1.1, rows),
        shifts=(
            ("times 2", lambda rng, rows: 2 * rng.pareto(1.1, rows)),
            ("5% beyond all", lambda rng, rows: np.where(rng.random(rows) < 0.05, 1e12, rng.pareto(1.1, rows))),
        ),
    ),
    "normal": Shape(
        lambda rng, rows: rng.normal(size=rows),
        shifts=(
            ("+0.25 sd", lambda rng, rows: rng.normal(0.25, size=rows)),
            ("+0.5 sd", lambda rng, rows: rng.normal(0.5, size=rows)),
            ("sd times 2", lambda rng, rows: rng.normal(0, 2, rows)),
            ("missing 0 to 5%", some(0.05, np.nan, lambda rng, rows: rng.normal(size=rows))),
        ),
    ),
    "99% missing": Shape(
        some(0.99, np.nan, lambda rng, rows: rng.normal(size=rows)),
        shifts=(("99% to 90% missing", some(0.90, np.nan, lambda rng, rows: rng.normal(size=rows))),),
    ),
    "constant": Shape(
        lambda rng, rows: np.ones(rows),
        shifts=(
            ("1 to 2", lambda rng, rows: np.full(rows, 2.0)),
            ("5% of 2", some(0.05, 2.0, lambda rng, rows: np.ones(rows))),
        ),
    ),
    "all missing": Shape(
        lambda rng, rows: np.full(rows, np.nan),
        shifts=(("20% there", some(0.8, np.nan, lambda rng, rows: rng.normal(size=rows))),),
    ),
}  # fmt: skip
# Without a shift: what a report looks at (several columns share one report), rows of the reference and of the days.
CALM: tuple[tuple[str, dict[str, Shape], tuple[tuple[int, int], ...]], ...] = (
    ("50 levels", {"c": Shape(levels(50), True)}, ((5_000, 500), (200, 2_000))),
    ("100 levels", {"c": Shape(levels(100), True)}, ((5_000, 500),)),
    ("300 levels", {"c": SHAPES["300 levels"]}, ((5_000, 500), (10_000, 500), (10_000, 1_000), (300, 3_000))),
    ("1,000 levels", {"c": Shape(levels(1000), True)}, ((10_000, 500), (20_000, 1_000), (1_000, 100))),
    ("3,000 levels", {"c": SHAPES["3,000 levels"]}, ((20_000, 500), (1_000, 5_000), (20_000, 20_000))),
    ("10,000 levels", {"c": Shape(levels(10_000), True)}, ((20_000, 500), (5_000, 5_000))),
    ("300 equal levels", {"c": Shape(levels(300, 0.0), True)}, ((5_000, 500), (600, 5_000))),
    ("3,000 equal levels", {"c": Shape(levels(3000, 0.0), True)}, ((20_000, 500), (3_000, 3_000))),
    ("a level a row", {"c": Shape(unique, True)}, ((5_000, 500),)),
    (
        "all columns of the table below",
        SHAPES,
        ((5_000, 500), (5_000, 2_000), (5_000, 20_000), (200, 200), (100, 5_000), (50, 50)),
    ),
)
# A report on one shifted column among all others that are as they were.
SHIFTED = ((5_000, 500), (5_000, 2_000))


@dataclass(frozen=True)
class Alarms:
    """Reports on books without a shift."""

    columns: str
    reference: int
    rows: int
    books: int
    verdicts: dict[str, int]

    @property
    def alarms(self) -> int:
        return self.verdicts.get("watch", 0) + self.verdicts.get("shifted", 0)


@dataclass(frozen=True)
class Found:
    """Reports on books in which one column has shifted: what they said of it, and its PSI in the middle one."""

    column: str
    shift: str
    rows: int
    books: int
    verdicts: dict[str, int]
    psi: float


def calm(columns: str, reference: int, rows: int, books: int) -> Alarms:
    """Reports on as many books without a shift, each with a reference of its own."""
    shapes = next(shapes for name, shapes, _ in CALM if name == columns)
    rng = np.random.default_rng([reference, rows, len(shapes), sum(map(ord, columns))])
    verdicts = Counter[str](_report(rng, shapes, shapes, reference, rows).verdict for _ in range(books))
    return Alarms(columns, reference, rows, books, dict(verdicts))


def shifted(column: str, shift: str, reference: int, rows: int, books: int) -> Found:
    """Reports on as many books in which one column has shifted."""
    shape = SHAPES[column]
    after = {**SHAPES, column: Shape(dict(shape.shifts)[shift], shape.category)}
    rng = np.random.default_rng([reference, rows, sum(map(ord, column + shift))])
    found = [
        next(one for one in _report(rng, SHAPES, after, reference, rows).features if one.name == column)
        for _ in range(books)
    ]
    psi = float(np.median([one.psi or 0.0 for one in found]))
    return Found(column, shift, rows, books, dict(Counter(one.verdict for one in found)), psi)


def policy(rows: int) -> DriftPolicy:
    """That of the settings; days of fewer rows than it asks for are judged as well."""
    given = drift_policy(load_settings())
    return DriftPolicy(given.watch, given.shifted, given.alpha, min(given.min_rows, rows))


def _report(
    rng: np.random.Generator, before: dict[str, Shape], after: dict[str, Shape], reference: int, rows: int
) -> DriftFindings:
    import pandas as pd

    categories = [name for name, shape in before.items() if shape.category]
    trained = pd.DataFrame({name: shape.draw(rng, reference) for name, shape in before.items()})
    newer = pd.DataFrame({name: shape.draw(rng, rows) for name, shape in after.items()})
    kept = DriftReference.of(trained, list(before), categories, rng.normal(600, 30, max(reference // 3, 20)))
    return measure_drift(kept, newer, rng.normal(600, 30, rows), policy(rows))


def main(books: int = BOOKS, *, shifted_books: int = 100, processes: int = 2) -> tuple[list[Alarms], list[Found]]:
    """Both tables' rows."""
    still = [(name, *sizes, books) for name, _, all_sizes in CALM for sizes in all_sizes]
    moved = [
        (column, shift, *sizes, shifted_books)
        for column, shape in SHAPES.items()
        for shift, _ in shape.shifts
        for sizes in SHIFTED
    ]
    with ProcessPoolExecutor(processes) as pool:
        return (
            list(pool.map(calm, *zip(*still, strict=True))),
            list(pool.map(shifted, *zip(*moved, strict=True))),
        )


def markdown(alarms: Sequence[Alarms], found: Sequence[Found]) -> str:
    """Both tables, each under its heading."""
    alpha = load_settings().drift_alpha
    return (
        f"### No shift, column by column\n\n{_alarm_table(alarms)}\n\nAn alarm is a report that says `watch` or "
        f"`shifted`; `CREDIT_DRIFT_ALPHA` promises at most {alpha:.0%} of reports. In brackets the 95% interval.\n\n"
        f"### Shift of one column\n\n{_found_table(found)}\n\nShare of reports that said so of the column, among "
        f"{len(SHAPES)} columns, against a reference of {SHIFTED[0][0]:,} rows. PSI: the median, chance taken off. A "
        "shift whose true PSI lies below the limit is not to be found, however many rows there are."
    )


def _alarm_table(alarms: Iterable[Alarms]) -> str:
    rows = []
    for one in alarms:
        share = proportion(one.alarms, one.books)
        interval = f"{share.value:.1%} ({share.low:.1%} .. {share.high:.1%})" if share else "-"
        rows.append([one.columns, f"{one.reference:,}", f"{one.rows:,}", f"{one.books:,}", str(one.alarms), interval])
    return table(["column", "rows of the reference", "rows of the days", "books", "alarms", "share"], rows)


def _found_table(found: Sequence[Found]) -> str:
    by_shift: dict[tuple[str, str], dict[int, Found]] = {}
    for one in found:
        by_shift.setdefault((one.column, one.shift), {})[one.rows] = one
    rows = []
    for (column, shift), sizes in by_shift.items():
        row = [column, shift]
        for one in sizes.values():
            seen = one.verdicts.get("watch", 0) + one.verdicts.get("shifted", 0)
            row += [f"{one.psi:.2f}", f"{seen / one.books:.0%}", f"{one.verdicts.get('shifted', 0) / one.books:.0%}"]
        rows.append(row)
    head = ["column", "shift"]
    for _, size in SHIFTED:
        head += [f"{size:,} rows: PSI", "`watch` or more", "`shifted`"]
    return table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, the first column to the left and all others to the right."""
    line = "|".join(["---", *["---:"] * (len(head) - 1)])
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"| {' | '.join(head)} |\n|{line}|\n{body}"
