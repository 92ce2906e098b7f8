"""Jobs that are to go: deleted, and again where the Kubernetes API does not do it for now.

Belongs here: the deleting. Does not belong here: why a Job is to go (`credit_assets.cluster.step_jobs`).
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

from credit_assets.cluster.losses import at_work
from credit_assets.cluster.pods_of_run import PodsSeen
from credit_assets.cluster.refusals import is_missing, refusal_of

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
            self._api.delete_namespaced_job(name, namespace, propagation_policy="Background")
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

    @property
    def is_done(self) -> bool:
        return not self._left

    def again(self) -> None:
        for name, namespace in list(self._left.items()):
            if not self.delete(name, namespace) and self._left:
                # The API is away, most likely: the others would find out the same.
                return

    def end_of(self, name: str, namespace: str, look: PodsSeen, now: datetime) -> None:
        """See that the pod of a step that has ended does not work on for long: a proxy beside it, or the next attempt
        of one that was thought lost and has ended after all."""
        if not any(at_work(pod, now) for pod in look.pods_of(name)):
            self._lingers.pop(name, None)
        elif now - self._lingers.setdefault(name, now) > _LINGERS:
            self.delete(name, namespace)


class LaterRemover:
    """Deletes Jobs when nobody will look again: by a thread of this process, until the Kubernetes API takes it."""

    def __init__(self, batch_api: Any, pause: timedelta) -> None:
        self._remover, self._pause = JobRemover(batch_api), pause.total_seconds()
        self._lock = threading.Lock()
        self._works = False

    def delete(self, name: str, namespace: str) -> str:
        """What there is to say of it; empty where the Job is gone, or on its way."""
        with self._lock:
            if self._remover.delete(name, namespace):
                return ""
            if self._remover.is_done:
                return f"Job {name} works on: it may not be deleted from here. kubectl -n {namespace} delete job {name}"
            if not self._works:
                self._works = True
                threading.Thread(target=self._work, name="jobs-to-delete", daemon=True).start()
        return (
            f"Job {name} is deleted as soon as the Kubernetes API takes it, if this process still works then; else: "
            f"kubectl -n {namespace} delete job {name}"
        )

    def _work(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(self._pause)
            with self._lock:
                self._remover.again()
                if self._remover.is_done:
                    self._works = False
                    return
