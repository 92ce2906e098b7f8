"""Candidates: the form of their evidence is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data.fingerprints import fingerprint, rounded
from credit_assets.ml.data.reasons import ReasonContract, ReasonGroup, Reasons
from credit_assets.ml.evidence.drift import DriftReference
from credit_assets.ml.evidence.evaluation import evaluate
from credit_assets.ml.learners.candidates import EVIDENCE, candidate_identity, rounds_at_the_cap, train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets_tests.support.modelling import PORTFOLIO, quick_config, training_set


def test_other_evidence_is_counted_as_another_form() -> None:
    """Where the hash has changed on purpose, raise EVIDENCE: candidates with evidence of the old form are then trained
    again, instead of being read as if they had the new one."""
    rng = np.random.default_rng(1)
    pd_ = 0.4 * rng.random(500)
    rows = pd.DataFrame({"x": rng.normal(size=500), "c": rng.choice(["a", "b", None], 500)})
    evidence = {
        "evaluation": evaluate((rng.random(500) < pd_).astype(float), pd_).to_record(),
        "reference": DriftReference.of(rows, ("x", "c"), ("c",), 600 + 20 * rng.normal(size=500)).to_record(),
    }
    assert (EVIDENCE, fingerprint(**rounded(evidence))) == (
        4,
        "d8320a2064aa7c2b41a4b51b33ec011041de70c8ac4651ea86e3e3d449170485",
    )


def test_other_words_of_reasons_are_the_same_candidate() -> None:
    means = ReasonGroup(code="MEANS", text="Means", features=("income",), missing_text="Income is not stated")
    other = PORTFOLIO.model_copy(update={"reasons": Reasons(most=2, groups=(means,), none=("debt",))})
    assert ReasonContract.of(other) != ReasonContract.of(PORTFOLIO)
    both = [candidate_identity("lightgbm", "2024-01-01", "d", TrainingConfig(), one) for one in (PORTFOLIO, other)]
    assert both[0] == both[1]


@pytest.mark.parametrize(("rounds", "capped"), [(1, False), (50, False), (51, True), (60, True)])
def test_a_model_that_ended_at_the_cap_says_so(rounds: int, capped: bool) -> None:
    said = rounds_at_the_cap(rounds, {"max_rounds": 60, "early_stopping_rounds": 10})
    assert (said is not None) == capped
    assert said is None or f"cap of 60 rounds (CREDIT_MAX_ROUNDS) with its best round at {rounds}" in said


def test_what_it_says_is_what_the_training_did() -> None:
    """Losses over rounds: those of a training that was stopped early end before the cap."""
    for rounds in (3, 400):
        config = replace(quick_config("lightgbm"), max_rounds=rounds, early_stopping_rounds=5)
        candidate = train_candidate(training_set(1200), "lightgbm", PORTFOLIO, config)
        said = rounds_at_the_cap(candidate.best_rounds, candidate.params)
        assert (said is not None) == (len(candidate.history["validation-logloss"]) == rounds)
        assert (said is not None) == (rounds == 3)
