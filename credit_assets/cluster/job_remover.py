"""Jobs that are to go: deleted, and again where the Kubernetes API does not do it for now.

Belongs here: the deleting. Does not belong here: why a Job is to go (`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from credit_assets.cluster.losses import at_work
from credit_assets.cluster.pods_of_run import Look
from credit_assets.cluster.refusals import TIMEOUT, is_missing, refusal_of

# How long a pod may work on whose step has ended, by its own word or by that of an attempt that was thought lost.
_LINGERS = timedelta(minutes=2)


class JobRemover:
    """Deletes Jobs with their pods, and remembers those that it has to delete yet."""

    def __init__(self, batch_api: Any) -> None:
        self._api = batch_api
        self._left: dict[str, str] = {}
        self._lingers: dict[str, datetime] = {}

    def delete(self, name: str, namespace: str) -> bool:
        """Whether a Job is gone, or on its way; one that cannot be deleted for now is tried again by `again`."""
        self._left.pop(name, None)
        try:
            self._api.delete_namespaced_job(name, namespace, propagation_policy="Background", _request_timeout=TIMEOUT)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            if is_missing(error):
                return True
            if not refusal.permanent:
                self._left[name] = namespace
            return False
        return True

    def again(self) -> None:
        for name, namespace in list(self._left.items()):
            if not self.delete(name, namespace) and self._left:
                # The API is away, most likely: the others would find out the same.
                return

    def end_of(self, name: str, namespace: str, look: Look, now: datetime) -> None:
        """See that the pod of a step that has ended does not work on for long: a proxy beside it, or the next attempt
        of one that was thought lost and has ended after all."""
        if not any(at_work(pod, now) for pod in look.pods_of(name)):
            self._lingers.pop(name, None)
        elif now - self._lingers.setdefault(name, now) > _LINGERS:
            self.delete(name, namespace)
