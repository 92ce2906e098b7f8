"""A loan book lived through day by day under one way to retrain: what monitoring and retraining would have done.

Belongs here: the simulated days, which sensors tick on them, and what came of it. The work is that of the jobs and the
sensors themselves.

The clock. Nothing here asks what day it is today: a sensor sees the reports of the days that have been lived, and a
schedule is told the time. So each day ends as it would have: score and report, tick every sensor, do what they ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from credit_assets.automation.deployment import DEPLOYMENT_SENSOR
from credit_assets.automation.refresh import REFRESH_DAYS, REFRESH_SCHEDULE
from credit_assets.cli.days import days_between, training_days
from credit_assets.cli.replay import Replay
from credit_assets.cli.sensor_ticks import SensorTicks
from credit_assets.cli.trainings import ReplayReport, TrainingOutcome
from credit_assets.failures import PermanentError
from credit_assets.ledger.deployment import ALIASES, SHADOW
from credit_assets.partitions import ranges
from credit_assets.settings import Settings
from credit_assets.tags import REASON_TAG, REQUESTED_BY_TAG, RUN_KEY_TAG, TRIGGER_TAG
from credit_assets.warehouse import open_warehouse

NEVER, MONTHLY, TRIGGERED = "never", "monthly", "triggered"
WAYS = (NEVER, MONTHLY, TRIGGERED)
# The refresh is asked for on the first days of a month, after the daily run of 06:00.
_REFRESH_TIME = time(8)


@dataclass(frozen=True)
class TimelineEvent:
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
    events: list[TimelineEvent] = field(default_factory=list)
    trainings: list[TrainingOutcome] = field(default_factory=list)
    periods: dict[str, list[tuple[str, date, date | None]]] = field(default_factory=dict)
    drift: list[tuple[date, str, list[str]]] = field(default_factory=list)
    quarters: list[dict[str, Any]] = field(default_factory=list)

    def to_record(self) -> dict[str, Any]:
        return asdict(self)


class Simulation:
    """One life on one instance."""

    def __init__(
        self,
        way: str,
        settings: Settings,
        instance: dg.DagsterInstance,
        progress: Any = None,
        every: int = 1,
        **overrides: Any,
    ) -> None:
        self.way, self.settings, self.instance, self.progress = way, settings, instance, progress
        self.every = every
        self.naming = settings.naming
        self.replay = Replay(settings, instance, **overrides)
        self.ticks = SensorTicks(settings, instance, self.replay.definitions)
        self.report = ReplayReport()
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
            if self.progress is not None:
                self.progress.put((self.way, (last - start).days + 1))
        aliases = self.replay.aliases
        life.periods = {alias: [(p.version, p.first, p.last) for p in aliases.history(alias)] for alias in ALIASES}
        life.quarters = self.quarters(life)
        return life

    def _ingest(self, end: date) -> None:
        for a, b in ranges(days_between(self.settings.start_date, end), self.settings.days_per_run):
            self.replay.ingest(a, b, self.report)
        self.report.raise_rejected()

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
        requests: list[tuple[str, dg.RunRequest]] = []
        # The deployment first: a model promoted today is the one that the triggers speak of tomorrow.
        for name in (self.naming.dagster(DEPLOYMENT_SENSOR), *(self.ticks.triggers if self.way == TRIGGERED else ())):
            requests += [(name, request) for request in self.ticks.sensor(name)]
        if self.way == MONTHLY and day + timedelta(1) <= (day + timedelta(1)).replace(day=REFRESH_DAYS):
            name = self.naming.dagster(REFRESH_SCHEDULE)
            now = datetime.combine(day + timedelta(1), _REFRESH_TIME, ZoneInfo(self.settings.timezone))
            requests += [(name, request) for request in self.ticks.schedule(name, now)]
        for name, request in requests:
            key = {RUN_KEY_TAG: request.run_key or "", REQUESTED_BY_TAG: name}
            if not self.instance.get_runs(filters=dg.RunsFilter(tags=key), limit=1):
                yield request.with_replaced_attrs(tags={**request.tags, **key})

    def _train(self, life: Life, request: dg.RunRequest) -> None:
        day = date.fromisoformat(str(request.partition_key))
        trigger, reason = request.tags[TRIGGER_TAG], request.tags[REASON_TAG]
        life.events.append(TimelineEvent(day, "trigger", f"{trigger}: {reason}", {"trigger": trigger}))
        outcome = self.replay.train(day, self.report, tags=request.tags)
        life.trainings.append(outcome)
        life.events.append(_training_event(day, trigger, outcome))

    def _decides_by(self, day: date) -> date:
        """The first day from this one on at whose end anything may be asked for: days up to it are one run.

        Triggers and a trial look at every day, or less often where days are to be lived faster; the calendar at the end
        of a month.
        """
        if self.way == TRIGGERED or self.replay.aliases.period_of(SHADOW, day):
            return day + timedelta(self.every - 1)
        return date.max if self.way == NEVER else (day.replace(day=1) + timedelta(31)).replace(day=1) - timedelta(1)

    def _note_drift(self, life: Life, first: date, last: date, before: str) -> str:
        for day in days_between(first, last):
            record = self.replay.store.read_record(self.replay.store.path("drift_report", f"{day}.json"))
            verdict, shifted = record["verdict"], list(record["shifted"])
            life.drift.append((day, verdict, shifted))
            if verdict != before:
                text = f"{verdict}{': ' + ', '.join(shifted) if shifted else ''} (champion {record['champion']})"
                life.events.append(TimelineEvent(day, "drift", text, {"verdict": verdict, "shifted": shifted}))
            before = verdict
        return before

    def _note_moves(self, life: Life, day: date) -> None:
        for alias in ALIASES:
            for move in self.replay.aliases.moves(alias, self.moves.get(alias, 0)):
                self.moves[alias] = move.number
                start, by, reason = move.change.effective_from, move.change.by, move.change.reason
                text = f"{alias} -> {move.version or 'nobody'} from {start} by {by}: {reason}"
                life.events.append(TimelineEvent(day, alias, text, {"version": move.version}))

    def quarters(self, life: Life) -> list[dict[str, Any]]:
        """What the decisions of each whole quarter were worth, and of all together, with hindsight: by outcomes that
        became known within the performance window, also after the last day lived.
        """
        if life.first_model is None:
            return []
        from credit_assets.assets.accounts import DECISIONS, OUTCOMES
        from credit_assets.ml.data.cohorts import Known, Loans
        from credit_assets.ml.evidence.performance import realised

        portfolio, store, window = self.settings.portfolio_contract, self.replay.store, self.settings.window_days
        first, last = life.first_model + timedelta(1), life.end
        days = [day.isoformat() for day in days_between(first, last)]
        scores = store.read_partitions("loan_scores", days).to_pandas(date_as_object=False)

        def recorded(asset: str) -> Any:
            return store.read_partitions(asset, [day for day in store.days(asset) if day >= days[0]])

        if portfolio.outcomes.recorded:
            outcomes = recorded(OUTCOMES)
        else:
            warehouse = open_warehouse(self.settings.warehouse, self.settings.timezone)
            outcomes = warehouse.read_outcomes(portfolio, first, last + timedelta(window)).read_all()
        # Of those who were lent to, as the store knows it by now.
        known = Known(outcomes, recorded(DECISIONS) if portfolio.decisions else None)
        scores["default"] = Loans(scores, known, window, portfolio).on(last + timedelta(window)).targets
        spans = [(f"{a.year} Q{(a.month + 2) // 3}", a, b) for a, b in quarters(first, last)]
        rows = []
        for name, a, b in [*spans, ("all", first, last)]:
            part = scores[scores[portfolio.date_column].between(str(a), str(b))]
            part = part[part["default"].notna() & part["pd"].notna()]
            found = realised(part["default"], part["pd"]).to_record()
            rows.append({"quarter": name, "from": a, "to": b, **found})
        return rows


def _training_event(day: date, trigger: str, outcome: TrainingOutcome) -> TimelineEvent:
    auc = f", AUC {outcome.metrics['auc']:.4f} on {outcome.metrics['bads']:.0f} bads" if outcome.metrics else ""
    name = f"{outcome.variant} version {outcome.version}" if outcome.version else outcome.variant or "no model"
    text = f"{trigger}: {outcome.status}, {name}{auc}: {outcome.reason}"
    return TimelineEvent(day, "training", text, {"status": outcome.status})


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
