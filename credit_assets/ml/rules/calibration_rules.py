"""Rules of section `calibration`: whether PDs are as large as what came of them.

Belongs here: verdicts on recorded evidence. Does not belong here: the measures (`credit_assets.ml.evidence`), the
limits (`credit_assets.ml.data.policies.calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from credit_assets.ml.data.policies import CalibrationPolicy
from credit_assets.ml.rules.calibration_limit import ece_limit
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.recorded_measures import measure, size_of

# Standard errors from a value to either end of its 95% interval.
_Z = 1.96


def judge_calibration(evidence: Mapping[str, Any], policy: CalibrationPolicy) -> tuple[Reason, ...]:
    """What the record of `trained_model` says of its calibration on the out-of-time test (`evaluation`)."""
    candidate = evidence["evaluation"]
    ece = measure(candidate, "ece", "candidate")
    most = ece_limit(candidate["lift"], policy.max_ece) if candidate.get("lift") else policy.max_ece
    calibrated = ece <= most
    allowed = f"{policy.max_ece:g} (CREDIT_MAX_ECE)"
    if most > policy.max_ece:
        allowed += f", which a test of this size may show as up to {most:.4f}"
    text = f"calibration error (ECE) {ece:.4f}{size_of(candidate)} is {'within' if calibrated else 'above'} {allowed}"
    return (Reason("max_ece", calibrated, ece, most, text), *_level(candidate))


def _level(candidate: Mapping[str, Any]) -> list[Reason]:
    """Said, and no rule: PDs whose sum is clearly not the number of bads.

    At a low rate of default PDs that are half too high err by little in points, which is what the ECE limits. The
    interval is that of a Poisson count on the log scale, O / E exp(+-1.96 / sqrt(O)).
    """
    if not {"rows", "bads", "expected_rate"} <= set(candidate) or not candidate["bads"]:
        return []
    bads, expected = candidate["bads"], candidate["rows"] * candidate["expected_rate"]
    spread = math.exp(_Z / math.sqrt(bads))
    if expected <= 0 or 1 / spread <= bads / expected <= spread:
        return []
    ratio = bads / expected
    text = (
        f"observed over expected defaults is {ratio:.2f} (95% interval {ratio / spread:.2f} .. {ratio * spread:.2f}): "
        f"PDs {'understate' if ratio > 1 else 'overstate'} the risk of the test's rows; a warning, which stops nothing"
    )
    return [Reason("pd_level", True, ratio, 1, text)]
