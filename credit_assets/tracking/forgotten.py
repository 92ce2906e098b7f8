"""Candidates of old that MLflow lets go of: their runs, files and logged models.

Belongs here: finding and deleting them. Does not belong here: which have to stay (`credit_assets.ledger.retention`).

A run is marked, then deleted as MLflow's pages delete it (it is in no list any more and nothing here finds it), then
its files go, and its rows last. Whoever is killed between leaves a run that is deleted and bears the mark: the next one
goes on with it. Behind a server, which takes nothing out of its database for a client, it stays there as deleted, until
whoever keeps the server runs `mlflow gc`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from credit_assets.tracking.mlflow_internals import erased
from credit_assets.tracking.server import Server

if TYPE_CHECKING:
    from mlflow.entities import Run

_T = TypeVar("_T")

FORGOTTEN = "forgotten"
"""The tag of a run that goes."""
_PAGE = 200


class Forgotten(NamedTuple):
    """A run that went, or is to go."""

    run_id: str
    name: str
    partition: str
    ended: datetime | None
    erased: bool
    """Whether its rows and files are gone, and it is not only deleted behind a server."""


class OldCandidates:
    """The candidates of one portfolio in one experiment that ended long ago."""

    def __init__(self, server: Server, assets: Collection[str]) -> None:
        self._server = server
        self._assets = frozenset(assets)

    def ended(self, after: datetime, before: datetime) -> list[Run]:
        """Runs of candidates that ended between the two and are not deleted, oldest first."""
        first, last = (int(moment.timestamp() * 1000) for moment in (after, before))
        where = f"tags.role = 'candidate' and attributes.end_time > {first} and attributes.end_time < {last}"
        # All of them first: pages move on where runs are deleted.
        return [*self._mine(self._search(where))]

    def forget(self, run: Run) -> Forgotten:
        """Delete a run for good, as far as this process may, and its parent where no other candidate has it."""
        self._delete(run)
        return self._go_on(run)

    def cut_short(self) -> Iterator[Forgotten]:
        """Go on with those that somebody began to delete who was killed."""
        from mlflow.entities import ViewType

        marked = f"tags.{FORGOTTEN} = 'yes'"
        if not self._server.uri.startswith(("http://", "https://")):  # There no more is left to do.
            for run in [*self._search(marked, ViewType.DELETED_ONLY)]:
                yield self._go_on(run)
        for run in [*self._search(marked)]:
            yield self.forget(run)

    def _delete(self, run: Run) -> None:
        self._mark(run)
        self._call("cannot delete a run", self._server.client.delete_run, run.info.run_id)

    def _mark(self, run: Run) -> None:
        self._call("cannot set a tag", self._server.client.set_tag, run.info.run_id, FORGOTTEN, "yes")

    def _go_on(self, run: Run) -> Forgotten:
        """With a run that is deleted. Its parent, the run of the Dagster run, is nothing but the place of its
        candidates: without another it goes too, and is marked while this one can still be found.
        """
        parents = self._left_alone(run.data.tags.get("mlflow.parentRunId", ""))
        for parent in parents:
            self._mark(parent)
        gone = self._call("cannot delete a run's files", erased, self._server.client, run)
        for parent in parents:
            self._delete(parent)
            self._call("cannot delete a run's files", erased, self._server.client, parent)
        return _forgotten(run, erased=gone)

    def _left_alone(self, run_id: str) -> list[Run]:
        if not run_id or [*self._search(f"tags.mlflow.parentRunId = '{run_id}'")]:
            return []
        return [*self._search(f"attributes.run_id = '{run_id}' and tags.role = 'parent'")]

    def _mine(self, runs: Iterator[Run]) -> Iterator[Run]:
        yield from (run for run in runs if run.data.tags.get("asset") in self._assets)

    def _search(self, where: str, view: int | None = None) -> Iterator[Run]:
        from mlflow.entities import ViewType

        search, experiments = self._server.client.search_runs, [self._server.experiment_id]
        token: str | None = None
        while True:
            page = self._call(
                "cannot search runs",
                search,
                experiments,
                where,
                run_view_type=view or ViewType.ACTIVE_ONLY,
                max_results=_PAGE,
                order_by=["attributes.end_time ASC"],
                page_token=token,
            )
            yield from page
            if not (token := page.token):
                return

    def _call(self, doing: str, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        return self._server.call(doing, function, *args, **kwargs)


def would_go(run: Run) -> Forgotten:
    """The run as it is told of before it goes."""
    return _forgotten(run, erased=False)


def _forgotten(run: Run, *, erased: bool) -> Forgotten:
    tags, ended = run.data.tags, run.info.end_time
    at = datetime.fromtimestamp(ended / 1000, UTC) if ended else None
    return Forgotten(run.info.run_id, tags.get("mlflow.runName", ""), tags.get("partition", ""), at, erased)
