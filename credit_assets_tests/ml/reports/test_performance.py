"""What people read of a performance report."""

from __future__ import annotations

import pytest

from credit_assets.ml.evidence.performance import estimate
from credit_assets.ml.reports.performance import measures_table, summary


@pytest.mark.parametrize("ratio", [None, {"value": 0.0, "low": 0.0, "high": 0.7}])
def test_what_people_read_of_a_cohort_that_could_not_be_measured(ratio: dict[str, float] | None) -> None:
    nothing = estimate([]).to_record()
    record = {
        "champion": None,
        "registered": None,
        "realised": {
            "from": "2024-01-01",
            "to": "2024-01-02",
            "rows": 3,
            "bads": 0,
            "evaluation": None,
            "observed_over_expected": ratio,
            "why": "all 3 applications are good",
        },
        "estimated": {"from": None, "to": None, **nothing},
        "reconciled": None,
        "newly_matured": None,
    }
    found = summary(record)
    assert found["champion"] == "none in force"
    assert found["not_realised_because"] == "all 3 applications are good"
    assert ("realised" in found) == (ratio is not None)
    assert found["not_estimated_because"] == "no application was scored"
    assert measures_table(record).count("\n") == 7
