"""How often the rules of section `leaks` ask a person about a sound model, and whether they find a planted leak.

    python -m benchmarks.skill_alarms [concentration] [jump]

Belongs here: books whose columns are known at the application, or are not, and the tables of docs/data-problems.md.
Does not belong here: any rule. Models are logistic regressions, which are quick and near the truth here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks.drift_errors import table
from benchmarks.refreshes import Model, first_model, tested
from credit_assets.ml.data.policies import LeaksPolicy
from credit_assets.ml.data.rows import Rows
from credit_assets.ml.data.values import numbers
from credit_assets.ml.evidence.evaluation import compare
from credit_assets.ml.evidence.leaks import measure_concentration
from credit_assets.ml.rules.leak_rules import judge_leaks

RATE, BADS, BOOKS = 0.1, (50, 150, 400), 200
_TRAIN = 4


def sound(rng: np.random.Generator, rows: int, columns: int, strongest: float, ratio: float) -> tuple[Any, Any]:
    """Columns of a normal book: the strongest has this AUC alone, each next one is weaker by `ratio`; correlated a bit,
    as those of one applicant are.
    """
    apart = np.sqrt(2) * NormalDist().inv_cdf(strongest) * ratio ** np.arange(columns)
    y = (rng.random(rows) < RATE).astype(np.int8)
    common = rng.standard_normal((rows, 1))
    return y, np.sqrt(0.9) * rng.standard_normal((rows, columns)) + np.sqrt(0.1) * common + y[:, None] * apart


def logistic(x: Any, y: Any) -> Any:
    """Coefficients, the intercept last, by Newton's method with a small ridge."""
    design, at = np.column_stack([x, np.ones(len(x))]), np.zeros(x.shape[1] + 1)
    for _ in range(12):
        p = 1 / (1 + np.exp(-np.clip(design @ at, -30, 30)))
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(len(at))
        at = at + np.linalg.solve(hessian, design.T @ (y - p))
    return at


def concentrated(y: Any, x: Any) -> tuple[bool, bool]:
    """Whether the rule on single features asks a person, of a model on the first rows, tested on the others: of a
    feature however weak it is alone, and as the rule is.
    """
    import pyarrow as pa

    names, cut = [f"x{n}" for n in range(x.shape[1])], len(y) * _TRAIN // (_TRAIN + 1)
    at = logistic(x[:cut], y[:cut])

    def pd(data: Any) -> Any:
        rows = Rows.of(data)
        given = np.column_stack([numbers(rows.column(name)) for name in names])
        return 1 / (1 + np.exp(-np.clip(given @ at[:-1] + at[-1], -30, 30)))

    test = pa.table({name: x[cut:, n] for n, name in enumerate(names)} | {"default": y[cut:]})
    found = measure_concentration(pd, test, names)
    evidence = {"auc": 0.7, "auc_ci_low": 0.6, "champion": None, "gains": [], "concentration": found}
    whatever, as_is = (
        judge_leaks(evidence, policy)[1] for policy in (LeaksPolicy(max_feature_alone=0.5), LeaksPolicy())
    )
    return not whatever.passed, not as_is.passed


def rows_of(bads: int) -> int:
    return round((_TRAIN + 1) * bads / RATE)


def paid_and_owed(rng: np.random.Generator, rows: int) -> tuple[Any, Any]:
    """What was paid back beside what was lent: neither says much, both together know the outcome."""
    y, x = sound(rng, rows, 4, 0.62, 0.9)
    lent = rng.standard_normal(rows)
    return y, np.column_stack([x, lent, lent - 0.9 * y + 0.5 * rng.standard_normal(rows)])


BOOKS_OF: Mapping[str, Callable[[np.random.Generator, int], tuple[Any, Any]]] = {
    "sound, 10 columns, strongest .65": lambda rng, rows: sound(rng, rows, 10, 0.65, 0.85),
    "sound, 5 columns, two of .65": lambda rng, rows: sound(rng, rows, 5, 0.65, 0.97),
    "sound, 2 columns of .65": lambda rng, rows: sound(rng, rows, 2, 0.65, 1.0),
    "sound, 1 column of .65 and noise": lambda rng, rows: sound(rng, rows, 5, 0.65, 0.1),
    "sound, strongest .68": lambda rng, rows: sound(rng, rows, 5, 0.68, 0.6),
    "strong, a score of .72": lambda rng, rows: sound(rng, rows, 5, 0.72, 0.6),
    "leak of .75": lambda rng, rows: _with_leak(rng, rows, 0.75),
    "leak of .80": lambda rng, rows: _with_leak(rng, rows, 0.80),
    "leak of .85": lambda rng, rows: _with_leak(rng, rows, 0.85),
    "paid beside owed": paid_and_owed,
}


def _with_leak(rng: np.random.Generator, rows: int, alone: float) -> tuple[Any, Any]:
    y, x = sound(rng, rows, 8, 0.65, 0.85)
    return y, np.column_stack([x, rng.standard_normal(rows) + np.sqrt(2) * NormalDist().inv_cdf(alone) * y])


def concentration(books: int = BOOKS) -> str:
    """Share of models that wait for a person: by what one feature brings alone, and by the rule as it is."""
    lines = []
    for name, made in BOOKS_OF.items():
        line = [name]
        for bads in BADS:
            rng = np.random.default_rng([bads, len(name)])
            shares = np.mean([concentrated(*made(rng, rows_of(bads))) for _ in range(books)], axis=0)
            line.append(f"{shares[0]:.0%} -> {shares[1]:.1%}")
        lines.append(_said(line))
    return table(["book", *(f"{bads} bads in the test" for bads in BADS)], lines)


def jump(books: int = 2_000) -> str:
    """Share of comparisons with a champion of AUC .70 that ask a person, by how much better the model truly is."""
    lines = []
    for truly in (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15):
        line = [f"{truly:.2f}"]
        for bads in BADS:
            rng, asked = np.random.default_rng([bads, round(1_000 * truly)]), np.zeros(2)
            of = max(100, books * 50 // bads)
            for _ in range(of):
                champion = first_model(rng)
                candidate: Model = champion.refreshed(-truly, rng)
                y, (ours, theirs) = tested(bads, (candidate, champion), rng)
                found = compare(y, ours, theirs)
                held = {"version": "1", "difference": found.difference, "ci_low": found.ci_low, "rows": len(y)}
                # No history, and five versions that gained .005 at most: the limit is the least that it can be.
                for at, gains in enumerate(([], [0.005] * 5)):
                    evidence = {"champion": held, "gains": gains, "concentration": []}
                    asked[at] += not judge_leaks(evidence, LeaksPolicy())[0].passed
            line.append(" / ".join(f"{share:.1%}" for share in asked / of))
        lines.append(_said(line))
    return table(["truly better by", *(f"{bads} bads: no history / gains of .005" for bads in BADS)], lines)


def _said(line: list[str]) -> tuple[str, ...]:
    print(" | ".join(line), file=sys.stderr, flush=True)
    return tuple(line)


TABLES: Mapping[str, Callable[[], str]] = {"concentration": concentration, "jump": jump}


def main(names: Sequence[str]) -> None:
    for name in names or TABLES:
        print(f"\n{TABLES[name].__doc__}\n\n{TABLES[name]()}")


if __name__ == "__main__":
    main(sys.argv[1:])
