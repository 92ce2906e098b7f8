"""What `status` asks of the Dagster instance of one machine, read from its files without opening it.

Belongs here: the few readings of a `DagsterInstance` that tell how things stand, from the SQLite files of an embedded
one. Does not belong here: writing, and any instance but that of the dagster.yaml which this package writes.

Opening an instance imports SQLAlchemy, Alembic and the daemon: a third of what a look at the state of things costs. The
tables are Dagster's own and no public interface, so that whatever does not fit (another version's tables, a file that
is locked or damaged) has the instance opened as before; a test holds both answers against one another.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from credit_assets.instance.home import CONFIG, CONFIG_FILE, instance_of
from credit_assets.instance.ownership import mark_file, refuse_foreign
from credit_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from credit_assets.instance.dagster_internals import InstigatorState, InstigatorTick, TickStatus

_FILES = {"runs": "history/runs.db", "schedules": "schedules/schedules.db", "events": "event_log.db"}
_UNREADABLE = (sqlite3.Error, OSError, ValueError, KeyError, TypeError)


class Readable(Protocol):
    """The part of a `DagsterInstance` that tells how things stand."""

    def get_materialized_partitions(self, asset_key: dg.AssetKey) -> set[str]: ...
    def get_runs(
        self, filters: dg.RunsFilter | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Sequence[dg.DagsterRun]: ...
    def get_daemon_heartbeats(self) -> Mapping[str, Any]: ...
    def all_instigator_state(self) -> Sequence[InstigatorState]: ...
    def get_ticks(
        self,
        origin_id: str,
        selector_id: str,
        *,
        limit: int | None = None,
        statuses: Sequence[TickStatus] | None = None,
    ) -> Sequence[InstigatorTick]: ...


class Heartbeat(NamedTuple):
    """When a daemon was heard of, in seconds of the epoch."""

    timestamp: float


@contextmanager
def readable_instance(settings: Settings) -> Iterator[Readable]:
    """What can be read of the instance of these settings: its files where they are as this package has them made, else
    the instance, opened. Raises as `instance_of`.
    """
    with ExitStack() as stack:
        try:
            read = _EmbeddedReads.of(settings, stack)
        except _UNREADABLE:
            read = None
        yield read or stack.enter_context(instance_of(settings))


class _EmbeddedReads:
    """The SQLite files of an embedded instance, as a `Readable`."""

    def __init__(self, files: Mapping[str, sqlite3.Connection]) -> None:
        self._files = files

    @classmethod
    def of(cls, settings: Settings, stack: ExitStack) -> _EmbeddedReads | None:
        """None where nothing says that the folder is embedded and this book's: the opened instance is asked then."""
        folder = settings.dagster_dir
        if (folder / CONFIG_FILE).read_text("utf-8") != CONFIG or not mark_file(settings).exists():
            return None
        files = {name: stack.enter_context(closing(_opened(folder / place))) for name, place in _FILES.items()}
        read = cls(files)
        read._try()
        refuse_foreign(settings, None)
        return read

    def _try(self) -> None:
        """Read each kind once: what does not fit is found before anything was answered."""
        self.get_runs(limit=1)
        self.get_daemon_heartbeats()
        self.all_instigator_state()
        self._rows("schedules", "SELECT id, selector_id, status, timestamp, tick_body FROM job_ticks LIMIT 1")
        self._rows("events", "SELECT partition, dagster_event_type, timestamp FROM event_logs LIMIT 1")
        self._rows("events", "SELECT asset_key, wipe_timestamp FROM asset_keys LIMIT 1")

    def _rows(self, file: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._files[file].execute(query, values).fetchall()

    def get_materialized_partitions(self, asset_key: dg.AssetKey) -> set[str]:
        rows = self._rows(
            "events",
            "SELECT DISTINCT partition FROM event_logs WHERE asset_key = ?1 AND partition IS NOT NULL AND "
            "dagster_event_type = 'ASSET_MATERIALIZATION' AND timestamp > "
            "coalesce((SELECT wipe_timestamp FROM asset_keys WHERE asset_key = ?1), '')",
            asset_key.to_string(),
        )
        return {partition for (partition,) in rows}

    def get_runs(
        self, filters: dg.RunsFilter | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Sequence[dg.DagsterRun]:
        import dagster as dg

        from credit_assets.instance.dagster_internals import deserialize_value

        if filters is not None:
            raise NotImplementedError("runs are read without a filter here")
        rows = self._rows(
            "runs",
            "SELECT run_body, status FROM runs WHERE id < coalesce((SELECT id FROM runs WHERE run_id = ?), id + 1) "
            "ORDER BY id DESC LIMIT ?",
            cursor,
            -1 if limit is None else limit,
        )
        return [
            deserialize_value(body, dg.DagsterRun).with_status(dg.DagsterRunStatus(status)) for body, status in rows
        ]

    def get_daemon_heartbeats(self) -> Mapping[str, Heartbeat]:
        rows = self._rows("runs", "SELECT daemon_type, body FROM daemon_heartbeats")
        return {name: Heartbeat(float(json.loads(body)["timestamp"])) for name, body in rows}

    def all_instigator_state(self) -> Sequence[InstigatorState]:
        if not (rows := self._rows("schedules", "SELECT instigator_body FROM instigators")):
            return []
        from credit_assets.instance.dagster_internals import InstigatorState, deserialize_value

        return [deserialize_value(body, InstigatorState) for (body,) in rows]

    def get_ticks(
        self,
        origin_id: str,  # noqa: ARG002 - selectors have replaced it
        selector_id: str,
        *,
        limit: int | None = None,
        statuses: Sequence[TickStatus] | None = None,
    ) -> Sequence[InstigatorTick]:
        from credit_assets.instance.dagster_internals import InstigatorTick, TickData, deserialize_value

        wanted = [one.value for one in statuses or ()]
        rows = self._rows(
            "schedules",
            f"SELECT id, tick_body FROM job_ticks WHERE selector_id = ? AND status IN ({', '.join('?' * len(wanted))}) "
            "ORDER BY timestamp DESC, id DESC LIMIT ?",
            selector_id,
            *wanted,
            -1 if limit is None else limit,
        )
        return [InstigatorTick(number, deserialize_value(body, TickData)) for number, body in rows]


def _opened(file: Path) -> sqlite3.Connection:
    # A file of another process, which may be writing: read only, and waited for as Dagster does.
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=15)
