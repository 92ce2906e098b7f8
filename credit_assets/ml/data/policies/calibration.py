"""Section `calibration`: how far PDs may be off."""

from __future__ import annotations

from credit_assets.ml.data.policies.keys import Section, key


class CalibrationPolicy(Section):
    """`max_ece`: how far PDs may truly be off on average; what a test of its size shows by chance is added."""

    max_ece: float = key(
        0.05, "Largest expected calibration error (deciles).", unit="share", setting="max_ece", gt=0, le=1
    )
