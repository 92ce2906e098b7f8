"""The queue of runs, in which also those wait whose Job the Kubernetes API does not take for now.

Dagster's daemon takes a run from the queue and launches it; where that fails, the run has failed. Here the launcher
puts it back, and it is not taken again before it is time to. What it waits for is said in its log. The queue stands in
Dagster's database and since when a run waits in its log, so that a daemon that is restarted goes on with both.

Belongs here: who is in the queue, and what is said of it. Does not belong here: the run's Job
(`credit_assets.cluster.run_launcher`). Every pod of a run loads this module with the instance: nothing here asks the
Kubernetes API or loads its client.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

# Of a run that was put back, with its id: the queue knows runs by their tags.
PUT_BACK = "credit-assets/put-back"
_EVERY = timedelta(minutes=1)


@dataclass
class _Held:
    until: datetime
    logged_at: datetime | None = None


class PatientRunCoordinator(dg.QueuedRunCoordinator):
    """`QueuedRunCoordinator` whose runs may be put back.

    Limits by tag stand in its own config: those of `concurrency: runs` would replace what holds a run back, which is
    then taken every few seconds.
    """

    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        self._held: dict[str, _Held] = {}

    def waits_since(self, run_id: str) -> datetime | None:
        """When a run was first put back; None where it was not."""
        queued = self._instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_ENQUEUED)
        return datetime.fromtimestamp(queued[1].timestamp, UTC) if len(queued) > 1 else None

    def put_back(self, run: dg.DagsterRun, until: datetime, message: str) -> None:
        """Into the queue, to be taken when it is time to; said once a minute."""
        instance, now = self._instance, datetime.now(UTC)
        held = self._held.setdefault(run.run_id, _Held(until))
        held.until = until
        if held.logged_at is None or now - held.logged_at >= _EVERY:
            held.logged_at = now
            instance.report_engine_event(message, run)
        instance.add_run_tags(run.run_id, {PUT_BACK: run.run_id})
        instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run.run_id)
        # By whom it was canceled between the look and the event, which says that it is queued.
        self.was_canceled(run)

    def was_canceled(self, run: dg.DagsterRun) -> bool:
        """Whether somebody does not want a run any more whose Job was not made; it ends here."""
        kinds = {dg.DagsterEventType.RUN_CANCELING, dg.DagsterEventType.RUN_CANCELED}
        if not self._instance.all_logs(run.run_id, of_type=kinds):
            return False
        self._held.pop(run.run_id, None)
        now = self._instance.get_run_by_id(run.run_id)
        if now is not None and not now.is_finished:
            self._instance.report_run_canceled(now, "Canceled while its Job waited to be made.")
        return True

    def get_run_queue_config(self) -> Any:
        """With a limit of none for each run that is held back."""
        config, now = super().get_run_queue_config(), datetime.now(UTC)
        if not self._held:
            return config
        # One that was canceled holds nobody back: a run that is started in its place has its tags.
        runs_filter = dg.RunsFilter(run_ids=list(self._held), statuses=[dg.DagsterRunStatus.QUEUED])
        queued = {run.run_id for run in self._instance.get_runs(runs_filter)}
        self._held = {run_id: held for run_id, held in self._held.items() if run_id in queued}
        limits = [
            {"key": PUT_BACK, "value": run_id, "limit": 0} for run_id, held in self._held.items() if held.until > now
        ]
        return config._replace(tag_concurrency_limits=[*(config.tag_concurrency_limits or []), *limits])
