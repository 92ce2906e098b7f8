"""The warehouse of a process that is given none: whatever is asked of it is refused, and by whom it is withheld.

Belongs here: the refusal. Does not belong here: which steps are given one (`credit_assets.cluster.step_rights`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from credit_assets.failures import PermanentError
from credit_assets.warehouse.base import Warehouse
from credit_assets.warehouse.session import Session


class WithheldWarehouse(Warehouse):
    def _session(self, *, write: bool = False) -> AbstractContextManager[Session]:  # noqa: ARG002
        raise PermanentError(
            "this pod is not given the warehouse, since its step was not known to read it: a step that does has to "
            "ask for the resource `warehouse`, and CREDIT_STEP_GRANTS has to name its secret"
        )
