"""A gate of each day's applications, and a trigger on the drift report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from credit_assets.ml.extensions import Condition, Judgement, beyond_chance, detail, gate, trigger

if TYPE_CHECKING:
    import pyarrow as pa


@gate(of="applications", columns=["annual_income"])
def repeated_incomes(applications: pa.Table, *, most: float = 0.2) -> Judgement:
    """No single income fills more of the day than `most`, beyond chance: a form that fills in a default does."""
    incomes = applications["annual_income"].drop_null()
    counts = incomes.value_counts().field("counts").to_pylist() if len(incomes) else []
    often = max(counts, default=0)
    failed = beyond_chance(often, len(incomes), most, chance=0.001)
    return Judgement(
        passed=not failed,
        value=often / len(incomes) if counts else 0.0,
        threshold=f"at most {most:.4g} of the incomes, beyond chance",
        description="One income stands in too many applications: see what the form fills in where none is given."
        if failed
        else "No income stands in too many applications.",
        details=(detail("annual_income", "the same value", often),) if failed else (),
    )


@trigger(of="drift_report")
def score_shift(report: Mapping[str, Any], *, psi: float = 0.25) -> Condition:
    """The champion's scores have moved away from those it was tested on, whatever single features do."""
    found = next((one for one in report["features"] if one["name"] == "score"), None)
    if found is None or found["psi"] is None:
        return Condition(None, "the report has no PSI of the scores")
    return Condition(found["psi"] >= psi, f"PSI of the scores {found['psi']:.3f}, threshold {psi:g}")
