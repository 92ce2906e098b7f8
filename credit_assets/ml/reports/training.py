"""What people read of the training set of an as-of date.

Belongs here: nothing that changes the set (`credit_assets.ml.data.cohorts`) or judges it (`rules.training_gates`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.cohorts import CohortCounts, CohortWindow, JoinFindings


def summary(
    training_set: pa.Table, window: CohortWindow, findings: JoinFindings, counts: CohortCounts, defined: str
) -> dict[str, Any]:
    """The cohorts, who of them is in the set, what their join passed over, what is bad as it is `defined`, and the
    share of bads.
    """
    import pyarrow.compute as pc

    return {
        "cohorts": f"{window.first} .. {window.last}",
        "applications": counts.applications,
        **counts.population,
        "definition": defined,
        **{f"outcome_{name}": count for name, count in counts.outcomes.items()},
        **({"refused_for_missing_values": counts.refused} if counts.refused else {}),
        **({"outcomes_that_say_nothing": counts.without_outcome} if counts.without_outcome else {}),
        **asdict(findings),
        "default_rate": pc.mean(training_set["default"]).as_py(),
    }


def splits_table(training_set: pa.Table) -> str:
    """Markdown: loans and defaults of each split."""
    counts = training_set.group_by("split").aggregate([("default", "count"), ("default", "sum")])
    counted = {row["split"]: (row["default_count"], row["default_sum"]) for row in counts.to_pylist()}
    lines = [
        f"| {split} | {counted[split][0]:,} | {counted[split][1]:,} | {counted[split][1] / counted[split][0]:.2%} |"
        for split in ("train", "validation", "test")
        if split in counted
    ]
    return "\n".join(["| split | loans | bads | default rate |", "|---|---:|---:|---:|", *lines])
