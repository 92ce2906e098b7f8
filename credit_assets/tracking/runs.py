"""MLflow runs: one parent for each Dagster run, one child for each variant and partition.

Belongs here: which runs there are, which of them counts, and when each ends. Does not belong here: what is logged to
them (`run`, `evidence`), and how a child is opened (`dagster_mlflow`, with the reasons for all that is done here).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from credit_assets.storage.claims import Claims
from credit_assets.tracking.dagster_mlflow import DagsterStep, opened_by_dagster_mlflow, refuse_active_run
from credit_assets.tracking.fluent import GLOBALS
from credit_assets.tracking.run import CandidateRun, FinishedRun
from credit_assets.tracking.server import Server

if TYPE_CHECKING:
    from mlflow.entities import Run

# Dagster's run status to MLflow's.
RUN_STATUS = {"SUCCESS": "FINISHED", "FAILURE": "FAILED", "CANCELED": "KILLED"}


@dataclass(frozen=True)
class CandidateKey:
    """What is trained: by this its finished run is found again."""

    asset: str
    partition: str
    variant: str
    fingerprint: str
    ended_after: datetime | None = None
    """Runs that ended before are as if they were not there."""


class Runs:
    """The runs of one experiment."""

    def __init__(self, server: Server, claims: Claims) -> None:
        self.server = server
        self.claims = claims

    def parent(self, dagster_run_id: str, job_name: str, partition: str = "") -> str:
        """The MLflow run of a Dagster run, the same for all its steps; made by the first of them.

        `partition` goes into its name: lists of runs show the children folded, and whoever looks for a day sees it.
        """
        tags = {
            "role": "parent",
            "dagster_run_id": dagster_run_id,
            "dagster_job": job_name,
            "mlflow.source.name": job_name,
            "mlflow.source.type": "JOB",
            **self._note(dagster_run_id),
        }

        def create() -> str:
            # Written first: it tells `close` that there may be something to close, whatever happens next.
            self.claims.claim(_opened(dagster_run_id), "yes")
            return self._create(f"{partition} {job_name} {dagster_run_id[:8]}".lstrip(), tags)

        def discard(run_id: str) -> None:
            self.server.call("cannot delete a run", self.server.client.delete_run, run_id)

        return self.claims.single(_parent(dagster_run_id), create=create, alive=self._exists, discard=discard)

    def find_finished(self, key: CandidateKey) -> FinishedRun | None:
        """The finished run of this candidate, made the one that counts; None where none is.

        Parameters of a run cannot be changed and metrics only added, so that a run is never resumed: it is used as it
        is, or another is made. Of several with the same fingerprint (two Dagster runs at once) the first counts. Its
        mark is taken away in case another fingerprint had superseded it; the others get one.
        """
        runs = self._finished(key)
        same = _same(runs, key)
        if not same:
            return None
        chosen = min(same, key=_order)
        self._settle(runs, chosen)
        return FinishedRun(self.server, chosen.info.run_id)

    @contextlib.contextmanager
    def candidate(
        self, key: CandidateKey, step: DagsterStep, tags: Mapping[str, str] | None = None
    ) -> Iterator[CandidateRun]:
        """A new child run of the Dagster run's parent, open for the body and ended after it.

        FINISHED when the body is done, FAILED when it raises, KILLED when it is interrupted. Finished, it supersedes
        the runs of the same asset and partition with other fingerprints, and those with its own that ended too long
        ago. Runs that an earlier attempt of the same step left RUNNING are ended as KILLED and superseded.
        """
        client = self.server.client
        with GLOBALS:
            refuse_active_run()
            parent = self.parent(step.dagster_run_id, step.job_name, key.partition)
            left_over = self._search(
                f"tags.dagster_run_id = '{_quoted(step.dagster_run_id)}' and tags.asset = '{_quoted(key.asset)}' "
                f"and tags.partition = '{_quoted(key.partition)}' and attributes.status = 'RUNNING'"
            )
            name = f"{key.asset} {key.partition}"
            everything = {
                **{key: str(value) for key, value in (tags or {}).items()},
                "role": "candidate",
                "dagster_run_id": step.dagster_run_id,
                "dagster_job": step.job_name,
                "asset": key.asset,
                "partition": key.partition,
                "variant": key.variant,
                "fingerprint": key.fingerprint,
                "mlflow.parentRunId": parent,
                "mlflow.source.name": step.job_name,
                "mlflow.source.type": "JOB",
                **self._note(step.dagster_run_id, key.asset, key.partition),
            }
            run_id = self._create(name, everything)
            for run in left_over:
                self._mark(run, run_id)
                self.server.call("cannot end a run", client.set_terminated, run.info.run_id, "KILLED")
            with opened_by_dagster_mlflow(self.server, run_id, name, step):
                yield CandidateRun(self.server, run_id)
            runs = self._finished(key)
            self._settle(runs, min(_same(runs, key), key=_order))

    def close(self, dagster_run_id: str, status: str) -> None:
        """End what a Dagster run has left open. `status` is Dagster's: SUCCESS, FAILURE or CANCELED.

        The parent ends FINISHED, FAILED or KILLED. A child that is still RUNNING ends KILLED whatever the status is: a
        step ends its own, so this one's process was killed. Where no MLflow run was made this is one look into
        the store; calling it again changes nothing.
        """
        if status not in RUN_STATUS:
            raise ValueError(f"{status!r} is no final status of a Dagster run: {', '.join(RUN_STATUS)}")
        if self.claims.get(_opened(dagster_run_id)) is None:
            return
        call, client = self.server.call, self.server.client
        parents = self.claims.holders(_parent(dagster_run_id))
        running = self._search(f"tags.dagster_run_id = '{_quoted(dagster_run_id)}' and attributes.status = 'RUNNING'")
        # Children first: whoever sees the parent ended sees its children ended.
        for run in sorted(running, key=lambda run: run.data.tags.get("role") == "parent"):
            run_id = run.info.run_id
            if run.data.tags.get("role") != "parent":
                call("cannot end a run", client.set_terminated, run_id, "KILLED")
            elif run_id in parents or not parents:
                call("cannot end a run", client.set_terminated, run_id, RUN_STATUS[status])
            else:
                # Made by a step that lost the claim and was killed before it could delete it.
                call("cannot delete a run", client.delete_run, run_id)

    def _note(self, *made_in: str) -> dict[str, str]:
        """The description of a run, as MLflow's UI shows it."""
        note = self.server.made_in(*made_in)
        return {"mlflow.note.content": note} if note else {}

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        create, where = self.server.client.create_run, self.server.experiment_id
        made = self.server.call("cannot create a run", create, where, tags=dict(tags), run_name=name)
        return str(made.info.run_id)

    def _finished(self, key: CandidateKey) -> list[Run]:
        # The partition first: SQLite looks for the first tag among all runs, for the others among those it found.
        return self._search(
            f"tags.partition = '{_quoted(key.partition)}' and tags.asset = '{_quoted(key.asset)}' "
            "and tags.role = 'candidate' and attributes.status = 'FINISHED'"
        )

    def _settle(self, runs: Sequence[Run], chosen: Run) -> None:
        """One run counts, all others are marked. In this order: stopped halfway, too many count, never none."""
        if "superseded_by" in chosen.data.tags:
            client = self.server.client
            self.server.call("cannot change a tag", client.delete_tag, chosen.info.run_id, "superseded_by")
        for run in runs:
            if run.info.run_id != chosen.info.run_id and "superseded_by" not in run.data.tags:
                self._mark(run, chosen.info.run_id)

    def _mark(self, run: Run, by: str) -> None:
        self.server.call("cannot set a tag", self.server.client.set_tag, run.info.run_id, "superseded_by", by)

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        def look() -> bool:
            try:
                return bool(self.server.client.get_run(run_id).info.lifecycle_stage == "active")
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise

        return self.server.call("cannot read a run", look)

    def _search(self, where: str) -> list[Run]:
        search, experiments = self.server.client.search_runs, [self.server.experiment_id]
        runs: list[Run] = []
        token = None
        while True:
            page = self.server.call("cannot search runs", search, experiments, where, page_token=token)
            runs.extend(page)
            token = page.token
            if not token:
                return runs


def _opened(dagster_run_id: str) -> str:
    return f"mlflow-runs/{dagster_run_id}/opened"


def _parent(dagster_run_id: str) -> str:
    return f"mlflow-runs/{dagster_run_id}/parent"


def _same(runs: Sequence[Run], key: CandidateKey) -> list[Run]:
    """The runs that can stand for this key."""
    earliest = key.ended_after.timestamp() * 1000 if key.ended_after else 0
    return [
        run
        for run in runs
        if run.data.tags.get("fingerprint") == key.fingerprint and (run.info.end_time or 0) >= earliest
    ]


def _order(run: Run) -> tuple[int, str]:
    return (run.info.end_time or 0, run.info.run_id)


def _quoted(value: str) -> str:
    if "'" in value:
        raise ValueError(f"{value!r} cannot be searched in MLflow: it contains a quote")
    return value
