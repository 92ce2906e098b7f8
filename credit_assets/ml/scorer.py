"""The door by which MLflow loads a registered model: every version carries this module's name, so that it stays.

Belongs here: what MLflow calls. Does not belong here: the scorer itself (`credit_assets.ml.learners.scorer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from credit_assets.ml.learners.scorer import CreditScorer

if TYPE_CHECKING:
    from pandas import DataFrame


class ScoringModel:
    """The scorer as MLflow serves it: a request's rows in, PD and points out."""

    def __init__(self, scorer: CreditScorer) -> None:
        self.scorer = scorer

    def predict(
        self,
        model_input: Any,
        params: Mapping[str, Any] | None = None,  # noqa: ARG002 - MLflow gives it by name
    ) -> DataFrame:
        """`CreditScorer.score` of a frame, of an Arrow table, or of what a frame can be made from (a list of records).
        No parameters."""
        from pandas import DataFrame
        from pyarrow import Table

        data = model_input if isinstance(model_input, DataFrame | Table) else DataFrame(model_input)
        return self.scorer.score(data)


def _load_pyfunc(path: str) -> ScoringModel:
    """MLflow's hook: the model flavor `python_function` with this module as its loader calls it with the folder."""
    return ScoringModel(CreditScorer.load(path))
