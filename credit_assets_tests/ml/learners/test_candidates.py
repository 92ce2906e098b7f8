"""Candidates: the form of their evidence is counted."""

from __future__ import annotations

import numpy as np
import pandas as pd

from credit_assets.ml.data.fingerprints import fingerprint, rounded
from credit_assets.ml.evidence.drift import DriftReference
from credit_assets.ml.evidence.evaluation import evaluate
from credit_assets.ml.learners.candidates import EVIDENCE


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
        2,
        "aa734920678887c391b02bc0213cc6d105669595e830cf967b12584352381e49",
    )
