"""Jobs on their way to the Kubernetes API: sent once, and again while it does not take them for now.

A quota that is used up, an API server that is restarted or that asks for patience: such a step or run waits, and the
others go on. Nothing here sleeps; whoever looks after the step or run calls `again`.

Belongs here: the sending and its patience. Does not belong here: what a Job says (`credit_assets.cluster.step_jobs`),
and where a run waits (`credit_assets.cluster.run_queue`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from credit_assets.cluster.losses import Loss, LossKind
from credit_assets.cluster.refusals import Refusal, is_there, refusal_of

# Pauses between two tries of one Job: the shortest, and the longest. Between them it waits as long as it has waited.
PAUSE = timedelta(seconds=10)
_MOST = timedelta(minutes=1)


@dataclass
class _Unsent:
    job: Any
    namespace: str
    since: datetime
    # Why it may not be sent yet, in words, or empty: the pod of the attempt before is still at work.
    held_by: Callable[[datetime], str]
    refusal: Refusal | None = None
    words: str = ""
    next_try: datetime | None = None


class JobSender:
    """Sends Jobs, and keeps those that are not taken for now."""

    def __init__(self, batch_api: Any, complete: Callable[[Any], None], pause: timedelta) -> None:
        """`complete` puts into a Job what the API has to be asked for first."""
        self._api, self._complete, self._pause = batch_api, complete, pause
        self._unsent: dict[str, _Unsent] = {}
        # While the API does not answer, or asks to be left alone, one Job finds out for all.
        self._quiet_until: datetime | None = None

    def send(
        self, job: Any, namespace: str, now: datetime, held_by: Callable[[datetime], str], since: datetime | None = None
    ) -> None:
        """Send a Job that waits since now, or since an earlier time that somebody else remembers."""
        self._unsent[job.metadata.name] = _Unsent(job, namespace, since or now, held_by)
        self.again(job.metadata.name, now)

    def again(self, name: str, now: datetime) -> None:
        """Try to send a Job that waits, if it is time to."""
        one = self._unsent[name]
        if one.refusal is not None and one.refusal.permanent:
            return
        if (one.next_try and now < one.next_try) or (self._quiet_until and now < self._quiet_until):
            return
        try:
            if held := one.held_by(now):
                one.words = held
                return
            self._complete(one.job)
            self._api.create_namespaced_job(body=one.job, namespace=one.namespace)
        except Exception as error:
            if not is_there(error):
                self._note(one, error, now)
                return
        del self._unsent[name]

    def _note(self, one: _Unsent, error: Exception, now: datetime) -> None:
        refusal = refusal_of(error)
        if refusal is None:
            raise error
        pause = max(self._pause, min(now - one.since, _MOST), timedelta(seconds=refusal.wait))
        one.refusal, one.words, one.next_try = refusal, refusal.words, now + pause
        if refusal.for_all:
            self._quiet_until = now + max(self._pause, timedelta(seconds=refusal.wait))

    def waits(self, name: str) -> str | None:
        """Why a Job is not on the cluster yet; None where it is, or was never to be."""
        one = self._unsent.get(name)
        return None if one is None else one.words or "the Kubernetes API is not asked again yet"

    def next_try(self, name: str, now: datetime) -> datetime:
        """When a Job that waits may be sent again."""
        return max(self._unsent[name].next_try or now, self._quiet_until or now)

    def loss_of(self, name: str, now: datetime, patience: timedelta) -> Loss | None:
        """Whether a Job that waits is given up."""
        one = self._unsent[name]
        if one.refusal is not None and one.refusal.permanent:
            return Loss(LossKind.REFUSED, f"its Job was refused: {one.words}", permanent=True)
        if now - one.since > patience:
            minutes = int(patience.total_seconds() / 60)
            return Loss(LossKind.REFUSED, f"its Job could not be made for {minutes} minutes: {self.waits(name)}")
        return None

    def forget(self, name: str) -> None:
        self._unsent.pop(name, None)
