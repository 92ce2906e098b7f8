"""What Dagster's instance says: runs, steps, queue, schedules and sensors, partitions, and check results.

Belongs here: queries that are bounded whatever the instance holds. Does not belong here: the store (`of_store`).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from credit_assets.assets.conventions import asset_key
from credit_assets.build import assets as built_assets
from credit_assets.cli.exporter.families import MetricSample
from credit_assets.cli.exporter.of_store import LOOKED_AT
from credit_assets.cli.state import ticking
from credit_assets.instance.home import ensure_instance, opened
from credit_assets.instance.own_runs import is_own
from credit_assets.instance.statuses import UNDER_WAY
from credit_assets.partitions import daily_partitions
from credit_assets.settings import Settings
from credit_assets.stages import DAILY, JOBS, RETRAIN
from credit_assets.tags import DAGSTER_PARTITION_TAG, RANGE_END_TAG, WILL_RETRY_TAG

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
# Most runs that one reading looks at: of those that changed within a week, and of those whose steps are counted.
_MOST_RUNS, _MOST_STEPPED = 500, 50
OTHER = "other"
RETRIED = "failure_retried"
"""The status of a failed run that Dagster starts again."""


class InstanceFigures:
    """Reads the instance, which stays open from one reading to the next. Raises whatever its storage raises."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stack = settings, ExitStack()
        self._instance: dg.DagsterInstance | None = None
        # By run that has ended, its steps: they change no more.
        self._ended: OrderedDict[str, list[tuple[str, str, float | None, float]]] = OrderedDict()

    def __call__(self, now: datetime) -> Iterable[MetricSample]:
        try:
            instance = self._opened()
            records = self._records(instance, now)
            yield from self._runs(records, now)
            yield from self._steps(instance, records, now)
            yield from self._ticking(instance)
            yield from self._partitions(instance, now)
            yield from self._checks(instance)
        except Exception:
            # Whatever it was, the next reading begins anew.
            self.close()
            raise

    def close(self) -> None:
        self._instance = None
        self._stack.close()

    def _opened(self) -> dg.DagsterInstance:
        if self._instance is None:
            self._instance = self._stack.enter_context(opened(ensure_instance(self._settings)))
        return self._instance

    # Runs and steps

    def _records(self, instance: dg.DagsterInstance, now: datetime) -> list[Any]:
        """The portfolio's runs that are under way or changed within a week, newest first."""
        wanted = (dg.RunsFilter(statuses=list(UNDER_WAY)), dg.RunsFilter(updated_after=now - _WEEK))
        found = {
            record.dagster_run.run_id: record
            for one in wanted
            for record in instance.get_run_records(one, limit=_MOST_RUNS)
            if is_own(self._settings.naming, record.dagster_run)
        }
        return sorted(found.values(), key=lambda record: record.storage_id, reverse=True)

    def _runs(self, records: Sequence[Any], now: datetime) -> Iterator[MetricSample]:
        counts = Counter(
            (self._job(one.dagster_run), status_of(one.dagster_run)) for one in records if is_recent(one, now)
        )
        for (job, status), count in sorted(counts.items()):
            yield MetricSample("runs", count, {"job": job, "status": status})
        unmended = Counter(dict.fromkeys((*JOBS, OTHER), 0))
        seen: set[tuple[str, str]] = set()
        for record in records:
            run = record.dagster_run
            place = self._job(run), run.tags.get(DAGSTER_PARTITION_TAG) or run.tags.get(RANGE_END_TAG) or ""
            if run.is_finished and status_of(run) != RETRIED and place not in seen:
                seen.add(place)
                unmended[place[0]] += run.status is dg.DagsterRunStatus.FAILURE
        for job, count in unmended.items():
            yield MetricSample("runs_unmended", count, {"job": job})
        queued = [one for one in records if one.dagster_run.status is dg.DagsterRunStatus.QUEUED]
        waits = [(now - _aware(one.create_timestamp)).total_seconds() for one in queued]
        yield MetricSample("queue_length", len(queued))
        yield MetricSample("queue_oldest_seconds", max(0.0, *waits) if waits else 0.0)

    def _job(self, run: dg.DagsterRun) -> str:
        """The plain name of one of the package's jobs; all others have one name, whatever somebody called them."""
        plain = self._settings.naming.plain(run.job_name)
        return plain if plain in JOBS else OTHER

    def _steps(self, instance: dg.DagsterInstance, records: Sequence[Any], now: datetime) -> Iterator[MetricSample]:
        known = {row.name for row in self._settings.graph.assets}
        counts: Counter[tuple[str, str]] = Counter()
        took: dict[str, tuple[float, float]] = {}
        for record in [one for one in records if is_recent(one, now)][:_MOST_STEPPED]:
            for step, status, seconds, ended in self._steps_of(instance, record.dagster_run):
                name = self._settings.naming.asset_of_step(step)
                asset = name if name in known else OTHER
                counts[asset, status] += 1
                if status == "success" and seconds is not None:
                    took[asset] = max(took.get(asset, (0.0, 0.0)), (ended, seconds))
        for (asset, status), count in sorted(counts.items()):
            yield MetricSample("steps", count, {"asset": asset, "status": status})
        for asset, (_, seconds) in sorted(took.items()):
            yield MetricSample("step_seconds", seconds, {"asset": asset})

    def _steps_of(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[tuple[str, str, float | None, float]]:
        """Of each step of the run: its key, status, seconds, and when it ended."""
        if run.run_id in self._ended:
            return self._ended[run.run_id]
        found = [
            (
                one.step_key,
                one.status.value.lower() if one.status else "in_progress",
                one.end_time - one.start_time if one.start_time and one.end_time else None,
                one.end_time or 0.0,
            )
            for one in instance.get_run_step_stats(run.run_id)
        ]
        if run.is_finished:
            self._ended[run.run_id] = found
            while len(self._ended) > _MOST_STEPPED:
                self._ended.popitem(last=False)
        return found

    # What ticks

    def _ticking(self, instance: dg.DagsterInstance) -> Iterator[MetricSample]:
        found = ticking(self._settings, instance)
        yield MetricSample("daemon_up", found["daemon"]["running"])
        yield MetricSample("daily_schedule_on", found["schedule"]["on"])
        yield MetricSample("sensors_on", found["sensors"]["on"])
        yield MetricSample("sensors_failing", len(found["sensors"]["failing"]))

    # Partitions and checks

    def _partitions(self, instance: dg.DagsterInstance, now: datetime) -> Iterator[MetricSample]:
        closed = now.astimezone(ZoneInfo(self._settings.timezone)).date() - _DAY
        wanted = set(each_day(self._settings))
        for row in self._settings.graph.assets:
            made = instance.get_materialized_partitions(asset_key(self._settings, row.name))
            yield MetricSample("partitions", len(made), {"asset": row.name})
            if row.name in wanted:
                behind, missing = lag(made, self._settings.start_date, closed)
                yield MetricSample("partitions_behind", behind, {"asset": row.name})
                yield MetricSample("partitions_missing", missing, {"asset": row.name})

    def _checks(self, instance: dg.DagsterInstance) -> Iterator[MetricSample]:
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(self._check_keys))
        counts: Counter[tuple[str, str]] = Counter()
        for key, record in found.items():
            asset, verdict = self._check_keys[key], verdict_of(record)
            counts[asset, verdict] += 1
            if verdict in ("warn", "error"):
                yield MetricSample("check_failed", 1, {"asset": asset, "check": key.name, "verdict": verdict})
        for (asset, verdict), count in sorted(counts.items()):
            yield MetricSample("checks", count, {"asset": asset, "verdict": verdict})

    @cached_property
    def _check_keys(self) -> Mapping[dg.AssetCheckKey, str]:
        """The checks that the code defines, with the plain name of their asset."""
        import warnings

        names = {asset_key(self._settings, row.name): row.name for row in self._settings.graph.assets}
        with warnings.catch_warnings():
            # As in build.py.
            warnings.simplefilter("ignore", dg.BetaWarning)
            warnings.simplefilter("ignore", dg.PreviewWarning)
            defined = built_assets(self._settings, daily_partitions(self._settings))
        return {key: names.get(key.asset_key, OTHER) for one in defined for key in one.check_keys}


def status_of(run: dg.DagsterRun) -> str:
    """Status of a run in lower case; one that failed and is started again is told apart from one that is not."""
    if run.status is dg.DagsterRunStatus.FAILURE and run.tags.get(WILL_RETRY_TAG) == "true":
        return RETRIED
    return run.status.value.lower()


def is_recent(record: Any, now: datetime) -> bool:
    """Whether a run is under way, or ended within a day."""
    if not record.dagster_run.is_finished:
        return True
    ended = record.end_time or _aware(record.update_timestamp).timestamp()
    return bool(now.timestamp() - ended <= _DAY.total_seconds())


def each_day(settings: Settings) -> tuple[str, ...]:
    """The assets of which each day has a partition: of what trainings make, no date is late."""
    return tuple(name for name in settings.graph.made_by(DAILY) if name not in settings.graph.made_by(RETRAIN))


def lag(made: Iterable[str], start: date, closed: date) -> tuple[int, int]:
    """How many days the newest partition lies behind the last closed day, and how many of the last days are missing."""
    days = {date.fromisoformat(day) for day in made}
    newest = max(days, default=start - _DAY)
    recent = (closed - n * _DAY for n in range(LOOKED_AT))
    return max(0, (closed - newest).days), sum(day >= start and day not in days for day in recent)


def verdict_of(record: Any) -> str:
    """What the newest execution of a check came to."""
    event = record.event.dagster_event if record.event else None
    evaluation: Any = event.event_specific_data if event else None
    if not hasattr(evaluation, "severity"):
        return "planned"
    if evaluation.passed:
        return "passed"
    return "warn" if evaluation.severity is dg.AssetCheckSeverity.WARN else "error"


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
