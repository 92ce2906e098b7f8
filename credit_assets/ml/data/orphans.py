"""Outcomes whose id was never an application: counted over all applications there are, not those of a window.

Belongs here: finding and counting them. Does not belong here: the gate (`ml.rules.training_gates`) and how ids are
spelled (`ids`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from credit_assets.ml.data.ids import form_of, normal_ids

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Orphans:
    """Outcomes, those of them that are orphans, and what the ids of these and of applications look like."""

    outcomes: int
    orphans: int
    outcome_form: str = ""
    application_form: str = ""


def find_orphans(outcomes: pa.ChunkedArray, applications: Iterable[pa.ChunkedArray]) -> Orphans:
    """Count the ids of `outcomes` that are in none of the batches of ids of `applications`.

    Never holds more than the ids that no batch has had so far, and a batch.
    """
    import pyarrow.compute as pc

    left = normal_ids(outcomes)
    seen: pa.ChunkedArray | None = None
    for batch in applications if len(left) else ():
        if not len(batch):
            continue
        ids = normal_ids(batch)
        seen = ids if seen is None else seen
        left = left.filter(pc.invert(pc.is_in(left, value_set=ids.combine_chunks())))
        # Before the next one is asked for, which may be the table of ten years.
        if not len(left):
            break
    if not len(left):
        return Orphans(len(outcomes), 0)
    return Orphans(len(outcomes), len(left), form_of(left), "none" if seen is None else form_of(seen))
