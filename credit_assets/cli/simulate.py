"""Years of a loan book lived through day by day, to see what monitoring and retraining would have done.

Belongs here: the simulated days, which sensors tick on them, and what came of it, as a timeline and a comparison of
ways to retrain. The work is that of the jobs and the sensors themselves, on a Dagster instance, a store and an MLflow
of their own under `<home>/simulations`; the warehouse is only read.

The clock. Nothing here asks what day it is today: a sensor sees the reports of the days that have been lived, and a
schedule is told the time. So each day ends as it would have: score and report, tick every sensor, do what they ask.

Ways to retrain, all with the same first model (of the first month end whose model passes its gates) and the same
promotion policy:
  never      keeps the first model
  monthly    the monthly refresh, and no trigger
  triggered  drift, performance and volume triggers, and no refresh
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from multiprocessing import Manager, get_context
from queue import Empty
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import SecretStr

from credit_assets.automation.deployment import DEPLOYMENT_SENSOR
from credit_assets.automation.refresh import REFRESH_DAYS, REFRESH_SCHEDULE
from credit_assets.cli.days import ranges, training_days
from credit_assets.cli.replay import Replay
from credit_assets.cli.trainings import ReplayReport, TrainingOutcome
from credit_assets.failures import PermanentError
from credit_assets.instance.home import CONFIG_FILE, ensure_instance, instance_of
from credit_assets.ledger.deployment import ALIASES, SHADOW
from credit_assets.notify.ticks import Unreachable
from credit_assets.settings import Settings, load_settings
from credit_assets.tags import REASON_TAG, REQUESTED_BY_TAG, RUN_KEY_TAG, TRIGGER_TAG
from credit_assets.warehouse import open_warehouse

TRIGGER_SENSORS = ("drift_trigger", "performance_trigger", "volume_trigger")
NEVER, MONTHLY, TRIGGERED = "never", "monthly", "triggered"
WAYS = (NEVER, MONTHLY, TRIGGERED)
FOLDER = "simulations"
# Capturing what steps print starts four processes a run, a third of what a small day costs.
_NO_LOGS = """
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
# The refresh is asked for on the first days of a month, after the daily run of 06:00.
_REFRESH_TIME = time(8)

OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Event:
    """Something that happened on a day: drift, trigger, training, alias or failure."""

    day: date
    kind: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass
class Life:
    """What came of one way to retrain."""

    way: str
    start: date
    end: date
    first_model: date | None = None
    events: list[Event] = field(default_factory=list)
    trainings: list[TrainingOutcome] = field(default_factory=list)
    periods: dict[str, list[tuple[str, date, date | None]]] = field(default_factory=dict)
    drift: list[tuple[date, str, list[str]]] = field(default_factory=list)
    quarters: list[dict[str, Any]] = field(default_factory=list)

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


def simulate(
    start: date, end: date, ways: Sequence[str], on_progress: OnProgress, *, processes: int = 2
) -> dict[str, Life]:
    """Live through start .. end once for each way to retrain; the result by way, in the order asked for.

    Partitions are ingested from CREDIT_START_DATE on. What an earlier simulation left is thrown away.
    Raises PermanentError for an unknown way, days that the warehouse does not have, or a run that fails for another
    reason than a gate.
    """
    unknown = sorted(set(ways) - set(WAYS))
    if unknown or not ways:
        raise PermanentError(f"--ways {', '.join(unknown) or 'is empty'}: use some of {', '.join(WAYS)}")
    settings = load_settings()
    known = open_warehouse(settings.warehouse).date_range(settings.portfolio_contract)
    if known is None:
        raise PermanentError("the warehouse holds no applications: load or generate loans first")
    if not known[0] <= start < end <= known[1] or start < settings.start_date:
        raise PermanentError(
            f"{start} .. {end} is no range of days of the book: applications span {known[0]} .. {known[1]}, partitions "
            f"begin at {settings.start_date} (CREDIT_START_DATE)"
        )
    total = (end - start).days + 1
    lived = dict.fromkeys(ways, 0)
    # Processes, since a process has one Dagster home.
    with Manager() as manager, ProcessPoolExecutor(min(processes, len(ways)), get_context("spawn")) as pool:
        told = manager.Queue()
        jobs = {way: pool.submit(live, way, start, end, told) for way in ways}
        while not all(job.done() for job in jobs.values()):
            if any(job.done() and job.exception() for job in jobs.values()):
                pool.shutdown(cancel_futures=True)
            with suppress(Empty):
                way, days = told.get(timeout=1)
                lived[way] = days
            shown = ", ".join(f"{way} {100 * days // total}%" for way, days in lived.items())
            on_progress(shown, sum(lived.values()), total * len(ways))
        return {way: job.result() for way, job in jobs.items()}


def settings_of(way: str) -> Settings:
    """The settings of a simulation: the user's, with a home, store, MLflow and Dagster instance of its own."""
    settings = load_settings()
    home = settings.home_dir / FOLDER / way
    return load_settings(
        home=home,
        warehouse_url=SecretStr(settings.warehouse),
        store_uri=str(home / "store"),
        mlflow_tracking_uri=SecretStr(f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"),
        dagster_home=home / "dagster",
        alert_urls=SecretStr(""),
        executor="in_process",
        retraining="triggered",
        refresh="monthly",
    )


def live(way: str, start: date, end: date, told: Any = None) -> Life:
    """One way to retrain, from an empty home; `told` is a queue that hears (way, days lived)."""
    # What MLflow says on its way has no place between the lines of a progress bar.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    settings = settings_of(way)
    shutil.rmtree(settings.home_dir, ignore_errors=True)
    config = ensure_instance(settings) / CONFIG_FILE
    config.write_text(config.read_text("utf-8") + _NO_LOGS, "utf-8")
    with instance_of(settings) as instance:
        return Simulation(way, settings, instance, told).run(start, end)


class Simulation:
    """One life on one instance."""

    def __init__(
        self,
        way: str,
        settings: Settings,
        instance: dg.DagsterInstance,
        told: Any = None,
        **overrides: Any,
    ) -> None:
        self.way, self.settings, self.instance, self.told = way, settings, instance, told
        self.replay = Replay(settings, instance, **overrides)
        self.definitions = self.replay.definitions
        self.repository = self.definitions.get_repository_def()
        self.report = ReplayReport()
        self.cursors: dict[str, str | None] = {}
        self.moves: dict[str, int] = {}

    def run(self, start: date, end: date) -> Life:
        life = Life(self.way, start, end)
        self._ingest(end)
        self._first_model(life)
        day = life.first_model + timedelta(1) if life.first_model else end + timedelta(1)
        # Without a champion there is nothing to score, to monitor or to try.
        last_verdict = ""
        while day <= end:
            last = min(end, self._decides_by(day), day + timedelta(self.settings.days_per_run - 1))
            self.replay.score(day, last, self.report)
            last_verdict = self._note_drift(life, day, last, last_verdict)
            for request in self._requests(last):
                self._train(life, request)
            self._note_moves(life, last)
            day = last + timedelta(1)
            if self.told is not None:
                self.told.put((self.way, (last - start).days + 1))
        registry = self.replay.registry
        life.periods = {alias: [(p.version, p.first, p.last) for p in registry.history(alias)] for alias in ALIASES}
        life.quarters = self.quarters(life)
        return life

    def _ingest(self, end: date) -> None:
        first = self.settings.start_date
        days = [first + timedelta(n) for n in range((end - first).days + 1)]
        for a, b in ranges(days, self.settings.days_per_run):
            self.replay.ingest(a, b, self.report)

    def _first_model(self, life: Life) -> None:
        for day in training_days(life.start, life.end, "month-end"):
            outcome = self.replay.train(day, self.report)
            life.trainings.append(outcome)
            life.events.append(_training_event(day, "first model", outcome))
            if outcome.status == "registered":
                if not outcome.promoted:
                    # Under `manual` somebody has to approve the first one.
                    raise PermanentError("a simulation has nobody who approves models: set CREDIT_PROMOTION=shadow")
                life.first_model = day
                self._note_moves(life, day)
                return

    def _requests(self, day: date) -> Iterator[dg.RunRequest]:
        """What the sensors and schedules of this way ask for at the end of the day, none twice."""
        wanted = {NEVER: (), MONTHLY: (), TRIGGERED: TRIGGER_SENSORS}[self.way]
        requests: list[tuple[str, dg.RunRequest]] = []
        # The deployment first: a model promoted today is the one that the triggers speak of tomorrow.
        for name in (DEPLOYMENT_SENSOR, *wanted):
            requests += [(name, request) for request in self._tick(name)]
        if self.way == MONTHLY and day + timedelta(1) <= (day + timedelta(1)).replace(day=REFRESH_DAYS):
            requests += [(REFRESH_SCHEDULE, request) for request in self._refresh(day)]
        for name, request in requests:
            key = {RUN_KEY_TAG: request.run_key or "", REQUESTED_BY_TAG: name}
            if not self.instance.get_runs(filters=dg.RunsFilter(tags=key), limit=1):
                yield request.with_replaced_attrs(tags={**request.tags, **key})

    def _tick(self, name: str) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=self.repository,
            resources=self._resources(self.repository.get_sensor_def(name)),
            sensor_name=name,
        ) as context:
            found = self.repository.get_sensor_def(name).evaluate_tick(context)
        if unreachable := Unreachable.of(found.skip_message):
            raise PermanentError(f"{name}: cannot reach {unreachable.service}: {unreachable.why}")
        if found.cursor is not None:
            self.cursors[name] = found.cursor
        return list(found.run_requests or [])

    def _resources(self, wants: dg.SensorDefinition | dg.ScheduleDefinition) -> dict[str, Any]:
        resources = self.definitions.resources or {}
        return {name: resources[name] for name in wants.required_resource_keys}

    def _refresh(self, day: date) -> list[dg.RunRequest]:
        now = datetime.combine(day + timedelta(1), _REFRESH_TIME, ZoneInfo(self.settings.timezone))
        schedule = self.repository.get_schedule_def(REFRESH_SCHEDULE)
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=now,
            repository_def=self.repository,
            resources=self._resources(schedule),
        ) as context:
            found = schedule.evaluate_tick(context)
        return list(found.run_requests or [])

    def _train(self, life: Life, request: dg.RunRequest) -> None:
        day = date.fromisoformat(str(request.partition_key))
        trigger, reason = request.tags[TRIGGER_TAG], request.tags[REASON_TAG]
        life.events.append(Event(day, "trigger", f"{trigger}: {reason}", {"trigger": trigger}))
        outcome = self.replay.train(day, self.report, tags=request.tags)
        life.trainings.append(outcome)
        life.events.append(_training_event(day, trigger, outcome))

    def _decides_by(self, day: date) -> date:
        """The first day from this one on at whose end anything may be asked for: days up to it are one run.

        Triggers and a trial look at every day, the calendar at the end of a month.
        """
        if self.way == TRIGGERED or self.replay.registry.period_of(SHADOW, day):
            return day
        return date.max if self.way == NEVER else (day.replace(day=1) + timedelta(31)).replace(day=1) - timedelta(1)

    def _note_drift(self, life: Life, first: date, last: date, before: str) -> str:
        for n in range((last - first).days + 1):
            day = first + timedelta(n)
            record = self.replay.store.read_record(self.replay.store.path("drift_report", f"{day}.json"))
            verdict, shifted = record["verdict"], list(record["shifted"])
            life.drift.append((day, verdict, shifted))
            if verdict != before:
                text = f"{verdict}{': ' + ', '.join(shifted) if shifted else ''} (champion {record['champion']})"
                life.events.append(Event(day, "drift", text, {"verdict": verdict, "shifted": shifted}))
            before = verdict
        return before

    def _note_moves(self, life: Life, day: date) -> None:
        for alias in ALIASES:
            for move in self.replay.registry.moves(alias, self.moves.get(alias, 0)):
                self.moves[alias] = move.number
                text = f"{alias} -> {move.version or 'nobody'} from {move.effective_from} by {move.by}: {move.reason}"
                life.events.append(Event(day, alias, text, {"version": move.version}))

    def quarters(self, life: Life) -> list[dict[str, Any]]:
        """What the decisions of each whole quarter were worth, and of all together, with hindsight: by outcomes that
        became known within the performance window, also after the last day lived.
        """
        if life.first_model is None:
            return []
        from credit_assets.ml.data.cohorts import CohortWindow, targets
        from credit_assets.ml.evidence.performance import realised

        portfolio, store, window = self.settings.portfolio_contract, self.replay.store, self.settings.window_days
        first, last = life.first_model + timedelta(1), life.end
        days = [(first + timedelta(n)).isoformat() for n in range((last - first).days + 1)]
        scores = store.read_partitions("loan_scores", days).to_pandas(date_as_object=False)
        known = open_warehouse(self.settings.warehouse).read_outcomes(portfolio, first, last + timedelta(window))
        cohort = CohortWindow(last + timedelta(window), window, len(days))
        scores["default"] = targets(scores, known.read_all().to_pandas(date_as_object=False), cohort, portfolio)
        spans = [(f"{a.year} Q{(a.month + 2) // 3}", a, b) for a, b in quarters(first, last)]
        rows = []
        for name, a, b in [*spans, ("all", first, last)]:
            part = scores[scores[portfolio.date_column].between(str(a), str(b))]
            found = realised(part["default"], part["pd"]).to_record()
            rows.append({"quarter": name, "from": a, "to": b, **found})
        return rows


def _training_event(day: date, trigger: str, outcome: TrainingOutcome) -> Event:
    auc = f", AUC {outcome.metrics['auc']:.4f} on {outcome.metrics['bads']:.0f} bads" if outcome.metrics else ""
    name = f"{outcome.variant} version {outcome.version}" if outcome.version else outcome.variant or "no model"
    text = f"{trigger}: {outcome.status}, {name}{auc}: {outcome.reason}"
    return Event(day, "training", text, {"status": outcome.status})


def quarters(first: date, last: date) -> Iterator[tuple[date, date]]:
    """Whole calendar quarters in first .. last: first and last day of each."""
    start = date(first.year, first.month - (first.month - 1) % 3, 1)
    while True:
        following = (start + timedelta(95)).replace(day=1)
        end = following - timedelta(1)
        if end > last:
            return
        if start >= first:
            yield start, end
        start = following
