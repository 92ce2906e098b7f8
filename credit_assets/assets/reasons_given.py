"""Who is declined, and why, beside the scores of a day: by the model that decides about each application.

Belongs here: which rows get reasons, of which version, in which words. Does not belong here: who decides
(`credit_assets.ml.evidence.scores`), and the reasons themselves (`credit_assets.ml.learners.reason_codes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.reasons import ReasonContract
    from credit_assets.ml.learners.scorer import CreditScorer


@dataclass(frozen=True)
class Decider:
    """A version that decides: its scorer, and the contract of its reasons, None where it gives none."""

    scorer: CreditScorer
    contract: ReasonContract | None

    @classmethod
    def load(cls, folder: Path) -> Decider:
        """Of a version's files. Raises ValueError as `CreditScorer.load`."""
        from credit_assets.ml.data.reasons import ReasonContract
        from credit_assets.ml.learners.scorer import CreditScorer

        scorer = CreditScorer.load(folder)
        return cls(scorer, ReasonContract.load(folder) if scorer.explains else None)


def with_reasons(
    scores: pa.Table, decider: Callable[[str], Decider], rows: Callable[[str], pa.Table], threads: int
) -> pa.Table:
    """The scores with `declined` and `reasons` filled in.

    Parameters
    ----------
    scores
        What `decided` gives.
    decider, rows
        By version its files, and what it reads of these applications, in their order; asked for those alone that
        decline somebody.
    threads
        To compute with.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.learners.reason_codes import reason_codes

    pds = scores["pd"].to_numpy(zero_copy_only=False)
    declined = np.full(scores.num_rows, None, dtype=object)
    reasons = np.full(scores.num_rows, None, dtype=object)
    for version in pc.unique(scores["model_version"]).to_pylist():
        one = decider(version)
        says = one.scorer.declined(pds)
        if says is None:
            continue
        # One that the model refuses for a missing value has no PD, and no cut-off decides about it.
        ours = pc.equal(scores["model_version"], version).to_numpy(zero_copy_only=False) & ~np.isnan(pds)
        declined[ours] = says[ours]
        at = np.flatnonzero(ours & says)
        if one.contract is not None and len(at):
            contract = one.contract.covering(one.scorer.features)
            codes = reason_codes(one.scorer, contract, rows(version).take(pa.array(at)), threads=threads)
            for place, of_row in zip(at, codes, strict=True):
                reasons[place] = of_row
    found = {"declined": pa.array(declined, pa.bool_()), "reasons": pa.array(reasons, pa.list_(pa.string()))}
    for name, values in found.items():
        scores = scores.set_column(scores.column_names.index(name), name, values)
    return scores
