"""LightGBM's ways of keeping directions: whether they are kept, and what they cost in AUC.

    python -m benchmarks.monotone_methods [SETS]

Belongs here: books with directions, missing values and levels, trained by each method, and the table of
docs/data-problems.md. Does not belong here: the learner (`credit_assets.ml.learners.lightgbm`), and the gate.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from benchmarks.drift_errors import table
from credit_assets.ml.evidence.evaluation import auc
from credit_assets.ml.learners.lightgbm import REPEATABLE, LightGBMVariant

METHODS = ("basic", "intermediate", "advanced")
_FEATURES, _DIRECTED, _LEVELS, _TOLERANCE = 10, 6, 6, 1e-6
_STEPS = np.linspace(-3.5, 3.5, 40)


def book(rng: np.random.Generator, rows: int) -> tuple[Any, Any, Any]:
    """Ten numbers, of which six have a direction, and one column of levels; correlated, with gaps and interactions."""
    common = rng.standard_normal((rows, 1))
    x = np.sqrt(0.7) * rng.standard_normal((rows, _FEATURES)) + np.sqrt(0.3) * common
    level = rng.integers(0, _LEVELS, rows)
    odds = -2.2 + 0.35 * x[:, :_DIRECTED] @ np.array([1, -1, 1, -1, 1, -1]) + 0.3 * np.abs(x[:, 7]) * np.sign(x[:, 8])
    odds += 0.2 * (level - 2.5) * (x[:, 0] > 0)
    x[rng.random(x.shape) < 0.05] = np.nan
    return np.column_stack([x, level]), (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(int), odds


def directions() -> list[int]:
    return [1, -1] * (_DIRECTED // 2) + [0] * (_FEATURES - _DIRECTED + 1)


def trained(method: str, seed: int, rows: int) -> tuple[float, float, float]:
    """The share of applicants for whom a move goes the wrong way, by how much at most in log-odds, and AUC."""
    import lightgbm as lgb

    rng = np.random.default_rng([seed, rows])
    (x, y, _), (held_x, held_y, _), (test_x, test_y, _) = (book(rng, of) for of in (rows, rows // 3, 6_000))
    params = {
        **LightGBMVariant.defaults,
        **REPEATABLE,
        "monotone_constraints_method": method,
        "monotone_constraints": directions(),
        "objective": "binary",
        "metric": "binary_logloss",
        "num_threads": 1,
        "seed": seed,
    }
    data = lgb.Dataset(x, y, categorical_feature=[_FEATURES], params=params)
    valid = lgb.Dataset(held_x, held_y, reference=data, categorical_feature=[_FEATURES], params=params)
    stop = [lgb.early_stopping(30, verbose=False)]
    model = lgb.train(params, data, num_boost_round=300, valid_sets=[valid], callbacks=stop)
    asked, wrong, most = test_x[:150], np.zeros(150, dtype=bool), 0.0
    for feature, way in enumerate(directions()[:_DIRECTED]):
        moved = np.repeat(asked, len(_STEPS), axis=0)
        moved[:, feature] = np.tile(_STEPS, len(asked))
        margin = model.predict(moved, raw_score=True, num_threads=1).reshape(len(asked), len(_STEPS))
        falls = -(np.diff(margin, axis=1) * way).min(axis=1)
        wrong |= falls > _TOLERANCE
        most = max(most, float(falls.max()))
    return float(wrong.mean()), most, auc(test_y, model.predict(test_x, num_threads=1))


def main(sets: int = 100) -> str:
    lines = []
    for rows in (900, 3_000):
        found = {m: np.array([trained(m, seed, rows) for seed in range(sets)]) for m in METHODS}
        for method in METHODS:
            share, most, area = found[method].T
            lost = area - found["basic"][:, 2]
            error = lost.std() / np.sqrt(sets)
            lines.append(
                (
                    f"{rows:,}, {method}",
                    f"{int((share > 0).sum())} of {sets}",
                    f"{share.max():.1%}",
                    f"{most.max():.3f}",
                    f"{area.mean():.4f}",
                    f"{lost.mean():+.4f} ({error:.4f})",
                )
            )
            print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    heads = ["train rows, method", "sets that break one", "applicants at most", "log-odds at most", "AUC", "over basic"]
    return table(heads, lines)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
