"""Refreshes with known truth: how often one that is truly worse is taken, and where a chain of them ends.

    python -m benchmarks.refreshes [--quick]

Belongs here: models whose true AUC is stated, on tests drawn for each month, judged by the rules of the package. Does
not belong here: promotions by chance, power, and any rule.

The scores of two models have a part in common, and each one of its own: directions in a space of what tells nothing,
of which a refresh keeps half. Goods are nine times as many as bads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.special import ndtr

from credit_assets.ml.data.policies import ComparisonPolicy
from credit_assets.ml.evidence.evaluation import auc, compare
from credit_assets.ml.rules.comparison_rules import judge_comparison

CHAMPION_AUC, OWN = 0.70, 0.11
"""Of the champion; variance of a model's own part, of which two models of a quarter apart have a correlation of 0.9."""
_DIRECTIONS = 15


@dataclass(frozen=True)
class Model:
    auc: float
    own: np.ndarray

    def refreshed(self, worse: float, rng: np.random.Generator) -> Model:
        return Model(self.auc - worse, _unit(self.own + _unit(rng.normal(size=_DIRECTIONS))))


def first_model(rng: np.random.Generator) -> Model:
    return Model(CHAMPION_AUC, _unit(rng.normal(size=_DIRECTIONS)))


def tested(bads: int, models: Sequence[Model], rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outcomes of one test, and the PDs of each model."""
    y = np.r_[np.ones(bads), np.zeros(9 * bads)]
    common, directions = rng.normal(size=len(y)), rng.normal(size=(len(y), _DIRECTIONS))
    apart = [NormalDist().inv_cdf(model.auc) * np.sqrt(2 * (1 + OWN)) for model in models]
    scores = [common + d * y + np.sqrt(OWN) * directions @ m.own for d, m in zip(apart, models, strict=True)]
    return y, [ndtr(score / 3) for score in scores]


def taken(bads: int, models: Sequence[Model], policy: ComparisonPolicy, rng: np.random.Generator) -> bool:
    """Whether the rules take the refresh: candidate, champion, and the first of the chain where it is another."""
    y, (ours, *others) = tested(bads, models, rng)
    beside = [
        {
            "version": "1",
            "comparable": True,
            "evaluation": {"auc": auc(y, pd)},
            "difference": compare(y, ours, pd).to_record(),
        }
        for pd in others
    ]
    found: dict[str, Any] = {"previous": None, "days": 30, "first": beside[1] if beside[1:] else None}
    reasons = judge_comparison({"champion": beside[0], "mode": "non_inferiority", "comparison": found}, policy)
    return all(reason.passed for reason in reasons)


def share_taken(bads: int, worse: float, tests: int, policy: ComparisonPolicy, rng: np.random.Generator) -> float:
    champions = [first_model(rng) for _ in range(tests)]
    return float(np.mean([taken(bads, [one.refreshed(worse, rng), one], policy, rng) for one in champions]))


def lost(bads: int, months: int, policy: ComparisonPolicy, rng: np.random.Generator, each: float = 0.004) -> float:
    """True AUC that a chain has lost after so many months in which each refresh is truly worse than the champion."""
    first = champion = first_model(rng)
    for _ in range(months):
        refresh = champion.refreshed(each, rng)
        if taken(bads, [refresh, champion, *([] if champion is first else [first])], policy, rng):
            champion = refresh
    return CHAMPION_AUC - champion.auc


def main(quick: bool) -> None:
    rng, tests, chains = np.random.default_rng(5), 40 if quick else 1_000, 3 if quick else 40
    policies = {margin: ComparisonPolicy(non_inferiority_margin=margin) for margin in (0.03, 0.01)}
    print("share of refreshes taken: truly worse by | bads | margin 0.03 | margin 0.01")
    for worse in (-0.005, 0.0, 0.005, 0.01, 0.014, 0.02):
        for bads in (110, 440):
            print(worse, bads, *(f"{share_taken(bads, worse, tests, each, rng):.3f}" for each in policies.values()))
    print("AUC lost in 24 months of refreshes that are each truly worse by 0.004, mean and most, 440 bads")
    for against_first in (False, True):
        policy = ComparisonPolicy(against_first=against_first)
        losses = [lost(440, 24, policy, rng) for _ in range(chains)]
        print(
            "with the first of the chain" if against_first else "champion alone",
            f"{np.mean(losses):.4f}, {max(losses):.4f}",
        )


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
