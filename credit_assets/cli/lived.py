"""A book replayed as it would have been lived: trained where the sensors that follow its reports ask for it.

Belongs here: in which order days are scored, sensors look and trainings follow, and what is still to be done when it
was stopped half-way. Does not belong here: several ways to retrain beside one another (`life`), and what makes a good
first look (`demo`).

Days are scored some at a time, and then every sensor reads the reports that it has not read: it decides by the reports
of each day and those before it, and the training that it asks for is as of that day. Days after it that were scored
already are scored again where the training changed by whom. Nothing here remembers how far it came: what the sensors
ask for follows from the reports, and what is recorded is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

import dagster as dg

from credit_assets.assets.recheck import RESTATED
from credit_assets.assets.stored_days import StoredDays
from credit_assets.cli.days import days_between
from credit_assets.cli.replay import OnProgress, Replay, recorded_outcome
from credit_assets.cli.sensor_ticks import SensorTicks
from credit_assets.cli.trainings import ReplayReport
from credit_assets.instance.ownership import changed_since
from credit_assets.ledger.deployment import SHADOW
from credit_assets.ledger.reported import report_moves
from credit_assets.ml.rules.periods import champion_history, period_on
from credit_assets.stages import SCORE
from credit_assets.tags import REQUESTED_BY_TAG, RUN_KEY_TAG


class LivedReplay(Replay):
    """A replay whose first model is asked for, and every later one by a sensor."""

    def live(self, start: date, end: date, first_model: date, every: int, on_progress: OnProgress) -> ReplayReport:
        """Ingest start .. end, train as of `first_model`, and live through the days after it, `every` so many of which
        the sensors look.

        Raises PermanentError where a run fails for another reason than a gate of the training set.
        """
        days = self._days(start, end)
        report = ReplayReport(days=len(days), warnings=changed_since(self.settings))
        self._ingest(days, report, False, on_progress)
        self._train(first_model, {}, report, on_progress)
        self._score_missing(days_between(start, min(first_model, end)), report, on_progress)
        ticks = SensorTicks(self.settings, self.instance, self.definitions)
        later = days_between(first_model + timedelta(1), end)
        for some in (later[n : n + every] for n in range(0, len(later), every)):
            self._score_missing(some, report, on_progress)
            for request in _requests(ticks):
                self._train(date.fromisoformat(str(request.partition_key)), request.tags, report, on_progress)
                self._score_missing(some, report, on_progress)
        if end.isoformat() not in self._done(RESTATED, [end]):
            # What the daily run does first, and nothing of a replay reads.
            self.recheck(end, report)
        # What an earlier replay trained no sensor asks for again.
        trained = {one.as_of for one in report.trainings}
        recorded = [
            day for one in self.store.days("registered_model") if (day := date.fromisoformat(one)) not in trained
        ]
        report.trainings += [recorded_outcome(self.store, day) for day in recorded if start <= day <= end]
        report.trainings.sort(key=lambda one: one.as_of)
        report_moves(self.instance, self.registry)
        on_progress("done", 1, 1)
        return report

    def _train(self, day: date, tags: Mapping[str, str], report: ReplayReport, on_progress: OnProgress) -> None:
        if self._to_train([day]):
            on_progress(f"train as of {day}", len(report.trainings), len(report.trainings) + 1)
            report.trainings.append(self.train(day, report, tags))
        else:
            report.trainings.append(recorded_outcome(self.store, day))

    def _score_missing(self, days: Sequence[date], report: ReplayReport, on_progress: OnProgress) -> None:
        todo = {*self._missing(days, self.graph.made_by(SCORE), False), *self._scored_by_others(days)}
        self._score(sorted(todo), report, report.days, on_progress)

    def _scored_by_others(self, days: Sequence[date]) -> Iterator[date]:
        """Days whose reports name another champion, or another model on trial, than the day has by now."""
        from credit_assets.ml.reports.shadow import trial_on

        champions, trials = champion_history(self.registry.versions()), self.aliases.history(SHADOW)
        stored = StoredDays(self.store)
        for day in days:
            drift, shadow = stored.record("drift_report", day), stored.record("shadow_report", day)
            champion, trial = period_on(day, champions), trial_on(day, champions, trials)
            now = champion.version if champion else None, trial.shadow if trial else None
            if drift and shadow and (drift["champion"], shadow["shadow"]) != now:
                yield day


def _requests(ticks: SensorTicks) -> Iterator[dg.RunRequest]:
    """What the sensors ask for on what they have not read, one after another, until none asks any more."""
    while True:
        found_any = False
        for name in ticks.triggers:
            for request in ticks.until_it_asks(name):
                found_any = True
                more = {RUN_KEY_TAG: request.run_key or "", REQUESTED_BY_TAG: name}
                yield request.with_replaced_attrs(tags={**request.tags, **more})
        if not found_any:
            return
