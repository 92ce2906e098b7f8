"""Material of dossiers without a pipeline: records as the measures make them, of rows whose truth is known.

Belongs here: records for tests of sections. Does not belong here: the records of a real training (`houses`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.portfolio import Column, Portfolio
from credit_assets.ml.evidence.calibration_evidence import measure_calibration
from credit_assets.ml.evidence.curves import measure_curves
from credit_assets.ml.evidence.drift import DriftPolicy
from credit_assets.ml.evidence.evaluation import compare, evaluate
from credit_assets.ml.evidence.information import measure_information
from credit_assets.ml.evidence.leaks import measure_concentration
from credit_assets.ml.evidence.stability import measure_stability
from credit_assets.ml.reports.dossier.blocks import Source
from credit_assets.ml.reports.dossier.material import (
    IngestedAsset,
    KeptTrainingSet,
    Made,
    Material,
    Recorded,
    Setting,
    Settled,
    Split,
    VersionFacts,
    VersionMove,
)

CODE, AS_OF = "c0de" * 16, "2024-03-31"
FEATURES = ("income", "inquiries", "purpose")
SPLITS = {"train": 3_000, "validation": 1_000, "test": 1_500}


def source(asset: str, partition: str = AS_OF) -> Source:
    return Source(asset, partition, "ab" * 32, CODE)


def portfolio(**changes: Any) -> Portfolio:
    columns = (
        Column(name="loan_id", type="string", role="id", nullable=False),
        Column(name="applied_on", type="date", role="date", nullable=False),
        Column(name="income", type="float", unit="a year", monotone=-1, description="Income as stated."),
        Column(name="inquiries", type="integer", unit="count", minimum=0, monotone=1),
        Column(name="purpose", type="category", allowed=("car", "house")),
        Column(name="sex", type="category", role="protected"),
    )
    return Portfolio.model_validate({"name": "small", "columns": columns, "population": "all", **changes})


@cache
def rows(split: str) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Features, outcomes and PDs of a split."""
    rng, n = np.random.default_rng(len(split)), SPLITS[split]
    frame = pd.DataFrame(
        {
            "income": rng.lognormal(10, 0.5, n),
            "inquiries": rng.poisson(1.0, n).astype(float),
            "purpose": rng.choice(["car", "house"], n),
        }
    )
    pd_ = _pd(frame)
    return frame, (rng.random(n) < pd_).astype(np.int8), pd_


def _pd(data: Any) -> np.ndarray:
    from credit_assets.ml.data.rows import Rows
    from credit_assets.ml.data.values import numbers

    of = Rows.of(data)
    margin = 1.2 * (numbers(of.column("inquiries")) - 1) - 1.5 * (np.log(numbers(of.column("income"))) - 10) - 2.2
    return 1 / (1 + np.exp(-margin))


def _points(pd_: np.ndarray) -> np.ndarray:
    return 600 - 20 / np.log(2) * (np.log(pd_ / (1 - pd_)) + np.log(50))


@cache
def _trained() -> dict[str, Any]:
    frame, bad, pd_ = rows("test")
    train, of_train, _ = rows("train")
    tested = frame.assign(default=bad)
    rng = np.random.default_rng(3)
    worse = 1 / (1 + np.exp(-(np.log(pd_ / (1 - pd_)) + rng.normal(0, 1, len(pd_)))))
    policy = DriftPolicy(watch=0.1, shifted=0.25, alpha=0.01, min_rows=500)
    splits, points = {name: rows(name)[0] for name in SPLITS}, {name: _points(rows(name)[2]) for name in SPLITS}
    goods, bads = ((sum(int((rows(name)[1] == of).sum()) for name in SPLITS)) for of in (0, 1))
    metrics = {name: evaluate(rows(name)[1], rows(name)[2]).to_record() for name in SPLITS}
    return {
        "as_of": AS_OF,
        "variant": "lightgbm",
        "fingerprint": "f" * 64,
        "data": "ab" * 32,
        "candidates": {"lightgbm": 0.81, "xgboost": 0.80},
        "failed_variants": [],
        "evaluation": metrics["test"],
        "champion": {
            "version": "1",
            "as_of": "2024-02-29",
            "rows": 1_500,
            "comparable": True,
            "evaluation": evaluate(bad, worse).to_record(),
            "candidate_evaluation": evaluate(bad, pd_).to_record(),
            "difference": compare(bad, pd_, worse).to_record(),
        },
        "comparison": {"previous": None, "days": 31, "judged": True, "scorecard": None, "first": None},
        "calibration": measure_calibration(bad, pd_).to_record(),
        "age": {"test": ["2024-02-15", "2024-03-01"], "in_use_from": "2024-04-01", "days": 31},
        "trained_on": {
            "population": {"definition": "population: all.", "counts": {}},
            "outcomes": {
                "definition": "bad: defaulted = 1 within 30 days.",
                "counts": {"good": goods, "indeterminate": 7, "bad": bads, "excluded": 0},
            },
        },
        "importance": {
            "meaning": "AUC lost",
            "rows": len(frame),
            "of": 3,
            "features": measure_concentration(_pd, tested, FEATURES),
        },
        "information_value": {
            "rows": len(train),
            "bads": int(of_train.sum()),
            "features": measure_information(train, of_train, FEATURES, ["purpose"]),
        },
        "stability": measure_stability(splits, points, FEATURES, ["purpose"], policy),
        "curves": measure_curves(bad, pd_, _points(pd_)),
        "policy": {"version": "p" * 64, "comparison": {"min_auc": 0.55}},
        "made": {
            "identity": {
                "code": CODE,
                "seed": 1,
                "scale": [600.0, 50.0, 20.0],
                "params": {"library": "lightgbm 4", "num_leaves": 7, "max_rounds": 60},
                "monotone": {"income": -1, "inquiries": 1},
            },
            "rounds": 31,
            "threads": 2,
            "metrics": metrics,
        },
    }


def version(number: str = "2", **changes: Any) -> VersionFacts:
    named: dict[str, Any] = {
        "version": number,
        "model": "credit-scorer",
        "as_of": AS_OF,
        "fingerprint": "f" * 64,
        "variant": "lightgbm",
        "run_id": "run",
        "test_from": "2024-02-15",
        "source": source("version of credit-scorer", number),
        "measures": {"auc": 0.81},
    }
    return VersionFacts(**(named | changes))


def made(number: str = "2", trained: dict[str, Any] | None = None, **changes: Any) -> Made:
    record = _trained() | (trained or {})
    gates = (
        GateResult("leakage", True, "error", 0.6, "at most 0.75", "No feature knows the outcome."),
        GateResult("copies", False, "warn", 0.02, "at most 0.01", "Some rows repeat others.", setting="gates"),
    )
    splits = tuple(Split(name, n, int(rows(name)[1].sum()), "2024-01-01", "2024-02-01") for name, n in SPLITS.items())
    decided = [
        {"rule": "min_auc", "passed": True, "value": 0.56, "threshold": 0.55, "text": "just above the floor"},
        {"rule": "max_auc", "passed": True, "value": 0.80, "threshold": 0.95, "text": "plausible"},
    ]
    parts: dict[str, Any] = {
        "version": version(number),
        "trained": Recorded(record, source("trained_model")),
        "candidate": Recorded(record["made"], source("lightgbm_candidate")),
        "training_set": KeptTrainingSet(source("training_set"), splits, gates, ("loan_id", "income"), {}),
        "registered": Recorded(
            {"decision": "registered", "mode": "improvement", "triggers": [], "policy": record["policy"],
             "reasons": decided}, source("registered_model")),
        "deployed": Recorded(
            {"decision": "promoted", "promotion": "immediate", "champion_before": "1", "champion_after": number,
             "shadow_after": None, "reasons": decided[:1]}, source("deployed_model")),
    }  # fmt: skip
    return Made(**(parts | changes))


def material(**changes: Any) -> Material:
    """A dossier's material, with everything that the measures make."""
    received = sum(SPLITS.values()) + 7
    stated: dict[str, Any] = {
        "made": made(),
        "portfolio": portfolio(),
        "portfolio_source": source("portfolio", "small"),
        "window_days": 30,
        "settings": Settled((Setting("drift_watch", 0.1, "PSI from which a feature is watched."),), source("settings")),
        "policy": Settled((Setting("performance.floor", 0.55, "Floor.", "AUC"),), source("policy")),
        "ingested": (
            IngestedAsset("raw_loan_data", 60, "2024-01-01", "2024-03-01", received, 12, None, source("raw_loan_data")),
            IngestedAsset("processed_features", 60, "2024-01-01", "2024-03-01", received, 0, 0, source("features")),
        ),
        "moves": (
            VersionMove("champion", 2, "2", "promote", "2024-04-01", "A. Person", "2024-04-01T09:00:00+00:00",
                  "it is better",
                  source("model_aliases/champion", "entry 2")),
        ),
        "former": made("1", {"policy": {"version": "q" * 64, "comparison": {"min_auc": 0.6}}}),
        "package": "0.1.0",
    }  # fmt: skip
    return Material(**(stated | changes))


def bare() -> Material:
    """The material of a version of which nothing but its registration is known."""
    nothing = Made(version(), None, None)
    return material(made=nothing, former=None, ingested=(), moves=())
