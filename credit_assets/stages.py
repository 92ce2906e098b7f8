"""The one table of assets: what each is called, where it stands, what its step needs, and which job makes it.

Belongs here: one row for each asset that a run makes, as plain data. Does not belong here: what an asset does (its
module in `credit_assets.assets`), and how a window becomes partitions (`credit_assets.partitions`). Settings read this
module, so it knows no settings and imports no Dagster.

Adding an asset is one row here and one function in the module that the row names. Which rows there are depends on the
variants and on the parts that a portfolio has: a `Graph`, of settings `settings.graph`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_args

from credit_assets.ml.data.portfolio import Part
from credit_assets.ml.learners import VARIANTS
from credit_assets.profiles import PROFILES, WAREHOUSE_POOL

Stage = Literal["recheck", "ingestion", "training", "deployment", "scoring", "monitoring"]
Window = Literal["same_day", "mature_cohorts", "known_outcomes", "drift", "performance"]
"""Which days of another asset a day is made of."""

CREDIT_SCORING, MONITORING, GOVERNANCE = "credit_scoring", "monitoring", "governance"
"""Groups: raw data to deployed model and scores; reports; what is asked for and decided, by people or sensors."""
PARQUET, RECORD = "parquet", "record"
"""I/O managers: an Arrow table as Parquet, a record as JSON."""

DAILY, INGEST, RETRAIN, SCORE = "credit_scoring_daily", "ingest_loans", "retrain_model", "score_loans"
RECHECK = "recheck_loans"
DOSSIER = "model_dossier"
JOBS: Mapping[str, tuple[Stage, ...]] = {
    DAILY: ("recheck", "ingestion", "training", "deployment", "scoring", "monitoring"),
    RECHECK: ("recheck",),
    INGEST: ("ingestion",),
    RETRAIN: ("training", "deployment"),
    SCORE: ("scoring", "monitoring"),
}
"""The stages that each job makes."""


@dataclass(frozen=True)
class Asset:
    """A row: an asset that runs make, one partition a day."""

    name: str
    stage: Stage
    module: str
    """The module of `credit_assets.assets` that defines it."""
    reads: Mapping[str, Window] = field(default_factory=dict)
    group: str = CREDIT_SCORING
    io: str = PARQUET
    profile: str = "data"
    """What its step may ask of a machine, unless CREDIT_STEP_PROFILES names another."""
    pool: str | None = None
    """The pool whose slots its steps share with those of all runs; a step on a GPU takes one of the GPU's pool."""
    by_range: bool = False
    """Whether one run may make many days of it."""
    variant: str | None = None
    after: tuple[str, ...] = ()
    """What a run that makes both makes first, of the same day, though nothing of it is read."""
    gated: bool = False
    """Whether gates judge its days by themselves; what only reads a rejected day is not made."""


_RECHECKED = ("restated_days",)


def candidate(variant: str) -> Asset:
    """The row of a variant's model."""
    profile = "train-gpu" if VARIANTS[variant].grows_on_gpu else "train-cpu"
    return Asset(
        f"{variant}_candidate",
        "training",
        "training",
        {"training_set": "same_day"},
        io=RECORD,
        profile=profile,
        variant=variant,
    )


_OF_PARTS: Mapping[Part, Asset] = {
    "decisions": Asset("loan_decisions", "ingestion", "decisions", pool=WAREHOUSE_POOL, by_range=True, gated=True),
    "histories": Asset(
        "history_features",
        "ingestion",
        "histories",
        pool=WAREHOUSE_POOL,
        by_range=True,
        # So that an application that comes in between has features, and is not one without.
        after=("raw_loan_data",),
        gated=True,
    ),
}
"""Rows that only a portfolio with that part has."""


@dataclass(frozen=True)
class Graph:
    """The table of one deployment: with a candidate for each of its variants, and what the parts of its portfolio ask
    for.
    """

    variants: tuple[str, ...] = ()
    parts: frozenset[Part] = frozenset()

    @property
    def assets(self) -> tuple[Asset, ...]:
        """All rows, in the order in which a day is made."""
        return _table(self)

    def asset(self, name: str) -> Asset:
        """The row of that name. Raises KeyError where there is none."""
        return {row.name: row for row in self.assets}[name]

    def names(self, *stages: Stage) -> tuple[str, ...]:
        """The assets of these stages."""
        return tuple(row.name for row in self.assets if row.stage in stages)

    def made_by(self, job: str) -> tuple[str, ...]:
        """The assets of a job."""
        return self.names(*JOBS[job])

    @property
    def gated(self) -> tuple[str, ...]:
        """The assets whose days gates judge: a day of theirs may be there and rejected."""
        return tuple(row.name for row in self.assets if row.gated)


EVERYTHING = Graph(tuple(VARIANTS.packaged), frozenset(get_args(Part)))
"""The table with every row that the package's own variants and all parts of portfolios give."""


@cache
def _table(graph: Graph) -> tuple[Asset, ...]:
    candidates = [candidate(variant) for variant in graph.variants]
    # Whoever reads outcomes needs to know whose they are.
    outcomes = ["loan_outcomes", *(["loan_decisions"] if "decisions" in graph.parts else [])]
    return (
        # Its runs within the step take the warehouse's slots, so that it holds none itself.
        Asset("restated_days", "recheck", "recheck", io=RECORD),
        Asset("raw_loan_data", "ingestion", "ingestion", pool=WAREHOUSE_POOL, by_range=True, gated=True),
        Asset("loan_outcomes", "ingestion", "ingestion", pool=WAREHOUSE_POOL, by_range=True, gated=True),
        *(row for part, row in _OF_PARTS.items() if part in graph.parts),
        Asset(
            "processed_features",
            "ingestion",
            "features",
            dict.fromkeys(["raw_loan_data", *(["history_features"] if "histories" in graph.parts else [])], "same_day"),
            by_range=True,
        ),
        Asset(
            "training_set",
            "training",
            "training",
            {"processed_features": "mature_cohorts", **dict.fromkeys(outcomes, "known_outcomes")},
            after=_RECHECKED,
        ),
        *candidates,
        Asset(
            "trained_model",
            "training",
            "selection",
            dict.fromkeys(["training_set", *(one.name for one in candidates)], "same_day"),
            io=RECORD,
        ),
        Asset(
            "registered_model", "deployment", "deployment", {"trained_model": "same_day"}, io=RECORD, profile="small"
        ),
        Asset(
            "deployed_model", "deployment", "deployment", {"registered_model": "same_day"}, io=RECORD, profile="small"
        ),
        Asset(
            DOSSIER,
            "deployment",
            "dossier",
            dict.fromkeys(["trained_model", "registered_model", "deployed_model"], "same_day"),
            group=GOVERNANCE,
            io=RECORD,
            profile="small",
        ),
        Asset("loan_scores", "scoring", "scoring", {"processed_features": "same_day"}, by_range=True),
        Asset(
            "drift_report",
            "monitoring",
            "drift",
            {"processed_features": "drift", "loan_scores": "drift"},
            group=MONITORING,
            io=RECORD,
            by_range=True,
            after=_RECHECKED,
        ),
        Asset(
            "performance_report",
            "monitoring",
            "performance",
            dict.fromkeys(["loan_scores", *outcomes, "processed_features"], "performance"),
            group=MONITORING,
            io=RECORD,
            by_range=True,
            after=_RECHECKED,
        ),
        Asset(
            "shadow_report",
            "monitoring",
            "shadow",
            dict.fromkeys(["loan_scores", *outcomes], "same_day"),
            group=MONITORING,
            io=RECORD,
            by_range=True,
            after=_RECHECKED,
        ),
    )


def check_step_profiles(steps: Mapping[str, str]) -> None:
    """Raises ValueError where an asset or a profile does not exist."""
    everything = Graph(tuple(VARIANTS), EVERYTHING.parts)
    for what, chosen, known in (
        ("assets", set(steps), sorted(row.name for row in everything.assets)),
        ("profiles", set(steps.values()), PROFILES),
    ):
        if unknown := sorted(chosen.difference(known)):
            raise ValueError(f"names unknown {what} {', '.join(unknown)}; known: {', '.join(known)}")
