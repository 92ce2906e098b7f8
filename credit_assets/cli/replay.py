"""Runs the daily pipeline over a range of days, in this process, on the same Dagster instance as the UI.

Belongs here: which days are still to do, in which order, and what came of them. The work itself is the jobs' own.

Days are ingested and scored a range at a time, in one run each; trainings follow one another in as-of order, because
each is compared with the champion that the one before it left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import dagster as dg

from credit_assets.assets.conventions import asset_key
from credit_assets.assets.due import calendar_of, still_to_train, without_training
from credit_assets.assets.policies import policy_of
from credit_assets.assets.recheck import RESTATED, lines, rechecked_days, restated_days
from credit_assets.assets.requested import RetrainingRequest
from credit_assets.assets.runs import QUIET, failures, must, rejected_of
from credit_assets.assets.stored_days import ScoredDays
from credit_assets.build import build_definitions
from credit_assets.cli.days import days_between, training_days
from credit_assets.cli.left_over import cut_short, tidy
from credit_assets.cli.trainings import BLOCKED, ReplayReport, TrainingOutcome
from credit_assets.failures import PermanentError
from credit_assets.instance.lost_runs import in_this_process
from credit_assets.instance.ownership import changed_since
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import SHADOW, Deployment
from credit_assets.ledger.registry import Registry
from credit_assets.ledger.reported import recover, report_moves
from credit_assets.ledger.retraining import CALIBRATION, claim_retraining
from credit_assets.ml.rules.decisions import summary_of
from credit_assets.ml.rules.due import NOT_DUE, why_not_due
from credit_assets.ml.rules.periods import first_day_in_force
from credit_assets.partitions import daily_partitions, ranges
from credit_assets.resources import objects_of
from credit_assets.settings import Settings
from credit_assets.stages import DOSSIER, INGEST, RECHECK, RETRAIN, SCORE, Graph
from credit_assets.storage.store import Store
from credit_assets.tags import PORTFOLIO_TAG, range_tags
from credit_assets.tracking import Tracking

OnProgress = Callable[[str, int, int], None]
"""Hears what is being done, how many are done, and of how many."""


def backfilled(graph: Graph) -> tuple[str, ...]:
    """What a backfill makes where nothing is named."""
    return graph.names("ingestion", "scoring")


def no_progress(*_: object) -> None:
    """For whoever does not want to know."""


def recorded_outcome(store: Store, day: date) -> TrainingOutcome:
    """What the records in the store say came of the training as of this day."""

    def read(asset: str) -> Any:
        return store.read_record(store.path(asset, f"{day}.json"))

    if why := why_not_due(store.gates("training_set", day.isoformat())):
        return TrainingOutcome(day, NOT_DUE, reason=why)
    trained, registered, deployed = read("trained_model"), read("registered_model"), read("deployed_model")
    promoted = deployed["decision"] == "promoted"
    return TrainingOutcome(
        day,
        registered["decision"],
        registered["version"],
        trained["variant"],
        {name: trained["evaluation"][name] for name in ("auc", "gini", "ks", "brier", "ece", "rows", "bads")},
        promoted,
        registered["version"] is not None and deployed["shadow_after"] == registered["version"],
        summary_of(registered["reasons"]) if registered["decision"] == "rejected" else summary_of(deployed["reasons"]),
    )


class Replay:
    """One replay on one instance. Stopping it at any point loses no finished day; the next one goes on from there."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, **overrides: Any) -> None:
        # One step at a time in this process, whatever a deployment does: each then has all cores to train on.
        self.settings, self.instance = settings.model_copy(update={"executor": "in_process"}), instance
        self.definitions = build_definitions(self.settings, **overrides)
        self.graph = self.settings.graph
        self.store: Store = (resources := objects_of(self.definitions))["store"]
        self.tracking: Tracking = resources["tracking"]
        self.registry: Registry = resources["registry"]
        self.aliases, self.scored_days = Aliases(self.registry), ScoredDays(self.store)
        self.deployment: Deployment = resources["deployment"]
        tidy(settings, instance, self.tracking)

    def run(
        self,
        start: date,
        end: date,
        train: str = "last",
        *,
        train_from: date | None = None,
        again: bool = False,
        on_progress: OnProgress = no_progress,
    ) -> ReplayReport:
        """Ingest, train and score start .. end, skipping what is there unless `again`.

        Trains on the as-of dates of `training_days` from `train_from` on. One that is not due is recorded as such, and
        the replay goes on.

        Raises PermanentError where a run fails for another reason than a gate of the training set.
        """
        days = self._days(start, end)
        recover(self.instance, self.deployment)
        report = ReplayReport(days=len(days), warnings=changed_since(self.settings))
        self._ingest(days, report, again, on_progress)
        as_ofs = training_days(max(start, train_from or start), end, train)
        to_train = self._to_train(as_ofs, again)
        trial = self.settings.promotion == "shadow"
        todo = set(self._missing(days, self.graph.made_by(SCORE), again))
        for n, day in enumerate(as_ofs):
            if trial:
                # A trial is decided by the days between two trainings; without one they can wait for the last training.
                self._score(sorted(one for one in todo if one <= day), report, len(days), on_progress)
                todo = {one for one in todo if one > day}
            on_progress(f"train as of {day}", n, len(as_ofs))
            if day in to_train:
                outcome = self.train(day, report)
                if outcome.moved:
                    todo |= {one for one in days if one > day}
            else:
                outcome = recorded_outcome(self.store, day)
            report.trainings.append(outcome)
        self._score(sorted(todo | self._never_scored(days)), report, len(days), on_progress)
        report_moves(self.instance, self.registry)
        on_progress("done", 1, 1)
        return report

    def backfill(
        self,
        start: date,
        end: date,
        assets: Sequence[str] | None = None,
        *,
        again: bool = False,
        on_progress: OnProgress = no_progress,
    ) -> ReplayReport:
        """These assets for start .. end, a range of days in one run, skipping days that are there unless `again`; from
        the applications to their scores, where none are given.

        What is neither among them nor there already is not made. Raises PermanentError where a run fails, and for an
        asset that is unknown or made one day at a time.
        """
        assets = backfilled(self.graph) if assets is None else assets
        keys = [asset_key(self.settings, asset) for asset in assets]
        known = {row.name for row in self.graph.assets if row.by_range}
        unknown = sorted(set(assets) - known)
        if unknown or not assets:
            raise PermanentError(
                f"{', '.join(unknown) or 'no asset'} cannot be made for a range of days in one run; of those that can, "
                f"name some: {', '.join(sorted(known))} (credit-assets replay trains)"
            )
        job = self.definitions.get_repository_def().get_implicit_job_def_for_assets(keys)
        assert job is not None
        days, own = self._days(start, end), {PORTFOLIO_TAG: self.settings.naming.portfolio}
        recover(self.instance, self.deployment)
        report = ReplayReport(days=len(days), warnings=changed_since(self.settings))
        done = 0
        for first, last in ranges(self._missing(days, assets, again), self.settings.days_per_run):
            on_progress(f"backfill {first} .. {last}", done, len(days))
            report.runs += 1
            result = job.execute_in_process(
                instance=self.instance,
                raise_on_error=False,
                run_config=QUIET,
                asset_selection=keys,
                **in_this_process(own | range_tags(first.isoformat(), last.isoformat())),
            )
            must(result, f"backfill {first} .. {last}", gates_may_stop=True)
            report.note_rejected(self.store, self.graph.gated, days_between(first, last))
            if "loan_scores" in assets:
                report.note_scored(self.scored_days.of(days_between(first, last)))
            done += (last - first).days + 1
        report.ingested = done if "raw_loan_data" in assets else 0
        on_progress("done", 1, 1)
        return report

    def ingest(self, first: date, last: date, report: ReplayReport) -> None:
        """Applications, outcomes and features of these days in one run. Days that a gate rejects are reported.

        Raises PermanentError where the run fails for another reason.
        """
        days = days_between(first, last)
        must(self._range(INGEST, first, last, report), f"ingest {first} .. {last}", gates_may_stop=True)
        report.ingested += len(days) - report.note_rejected(self.store, self.graph.gated, days)

    def score(self, first: date, last: date, report: ReplayReport) -> None:
        """Scores and reports of these days in one run, but for those that read a rejected day.

        Raises PermanentError where the run fails for another reason.
        """
        must(self._range(SCORE, first, last, report), f"score {first} .. {last}", gates_may_stop=True)
        report.note_scored(self.scored_days.of(days_between(first, last)))

    def train(
        self,
        day: date,
        report: ReplayReport,
        tags: Mapping[str, str] | None = None,
        request: RetrainingRequest | None = None,
    ) -> TrainingOutcome:
        """The model as of this day, from training set to deployment; `tags` say what asked for it, `request` what is
        to be another than the settings say.

        Raises PermanentError where the run fails for another reason than a gate.
        """
        made = without_training(self.settings, RETRAIN, calendar_of(self.settings, self.store).why_not(day))
        config = request.run_config() if request else {}
        how = {"tags": dict(tags or {}), "asset_selection": made, "run_config": QUIET | config}
        result = self._execute(RETRAIN, report, partition_key=day.isoformat(), **how)
        if result.success:
            return recorded_outcome(self.store, day)
        found = failures(result)
        if all(gate for gate, _ in found):
            return TrainingOutcome(day, BLOCKED, reason="; ".join(reason for _, reason in found))
        must(result, f"train as of {day}")
        raise AssertionError("unreachable")

    def recheck(self, day: date, report: ReplayReport) -> dict[str, Any]:
        """Hold the days up to this one against the warehouse, and make again what has changed; the record of it.

        Raises PermanentError where a run fails.
        """
        must(self._execute(RECHECK, report, partition_key=day.isoformat()), f"recheck {day}")
        return dict(self.store.read_record(self.store.path(RESTATED, f"{day}.json")))

    def newest_ingested(self) -> date | None:
        """The newest day of which applications or outcomes are in the store."""
        days = [day for asset in self.graph.made_by(INGEST) for day in self.store.days(asset)]
        return date.fromisoformat(max(days)) if days else None

    def _ingest(self, days: Sequence[date], report: ReplayReport, again: bool, on_progress: OnProgress) -> None:
        """The days that are still to be ingested, and those that have changed in the warehouse since they were."""
        todo = self._missing(days, self.graph.made_by(INGEST), again)
        for first, last in ranges(todo, self.settings.days_per_run):
            on_progress(f"ingest {first} .. {last}", report.ingested, len(days))
            self.ingest(first, last, report)
        self._recheck(days[-1], set(todo), report)

    def _to_train(self, as_ofs: Sequence[date], again: bool = False) -> set[date]:
        """Of these as-of dates those on which something is still to be made."""
        recorded = set() if again else self._done("training_set", as_ofs)
        # Without candidates and dossier: other variants, and a release that writes one, make no training unfinished.
        trained = tuple(name for name in replace(self.graph, variants=()).made_by(RETRAIN) if name != DOSSIER)
        missing = self._missing(as_ofs, trained, again)
        missing += cut_short(self.instance, self.settings, self._missing(as_ofs, (DOSSIER,), again))
        return still_to_train(self.settings, self.store, as_ofs, recorded, missing)

    def _recheck(self, end: date, fresh: set[date], report: ReplayReport) -> None:
        """What the daily run does before it trains: a run only where a day that was there before has changed."""
        newest = self.newest_ingested()
        if newest is None:
            return
        last = min(end, newest)
        warehouse = objects_of(self.definitions)["warehouse"]
        if any(
            restated_days(asset, self.settings, warehouse, self.store, [day for day in days if day not in fresh])
            for asset, days in rechecked_days(self.settings, self.store, last).items()
        ):
            report.restated += lines(self.recheck(last, report))

    def _score(self, days: Sequence[date], report: ReplayReport, of: int, on_progress: OnProgress) -> None:
        """Score these days in as few runs as a trial allows: what it decides about a day holds from the next, and it
        decides nothing before it has lasted as long as the policy says.
        """
        least = timedelta(policy_of(self.settings).trials.days - 1)
        for first, last in ranges(days, self.settings.days_per_run):
            while first <= last:
                on_trial = self.settings.promotion == "shadow" and self.aliases.period_of(SHADOW, first)
                until = min(last, max(first, on_trial.first + least)) if on_trial else last
                on_progress(f"score {first} .. {until}", report.scored + report.unscored, of)
                self.score(first, until, report)
                self.deployment.apply_pending()
                first = until + timedelta(1)

    def _days(self, start: date, end: date) -> list[date]:
        if start > end:
            raise PermanentError(f"--start {start} lies after --end {end}")
        partitions = daily_partitions(self.settings)
        known = {date.fromisoformat(key) for key in partitions.get_partition_keys()}
        days = days_between(start, end)
        outside = [day for day in days if day not in known]
        if outside:
            raise PermanentError(
                f"{outside[0]} .. {outside[-1]} are no partitions: the first is {min(known, default=None)} "
                f"(CREDIT_START_DATE), the last closed day {max(known, default=None)}"
            )
        return days

    def _done(self, asset: str, days: Sequence[date]) -> set[str]:
        # Both must know a partition: the file may have been lost or damaged, or the Dagster home may be new.
        done = self.instance.get_materialized_partitions(asset_key(self.settings, asset)) & set(self.store.days(asset))
        done &= {day.isoformat() for day in days}
        return done - self.store.damaged(asset, sorted(done)).keys()

    def _missing(self, days: Sequence[date], assets: Sequence[str], again: bool) -> list[date]:
        """Days on which one of the assets is still to be made, was rejected or is damaged; all of them `again`."""
        done = set() if again else set.intersection(*(self._done(asset, days) for asset in assets))
        for asset in set(assets).intersection(self.graph.gated):
            done -= rejected_of(self.store, asset, sorted(done)).keys()
        return [day for day in days if day.isoformat() not in done]

    def _never_scored(self, days: Sequence[date]) -> set[date]:
        """Days scored before their champion was trained: empty, though a champion covers them now."""
        begin = first_day_in_force(self.registry.versions())
        done = self._done("loan_scores", days) & self._done("processed_features", days)
        covered = [day for day in days if begin is not None and day >= begin and day.isoformat() in done]
        return {day for day, found in self.scored_days.of(covered).items() if found.unscored}

    def _range(self, job: str, first: date, last: date, report: ReplayReport) -> dg.ExecuteInProcessResult:
        return self._execute(job, report, tags=range_tags(first.isoformat(), last.isoformat()))

    def _execute(self, job: str, report: ReplayReport, **how: Any) -> dg.ExecuteInProcessResult:
        report.runs += 1
        how = {"run_config": QUIET, **how, **in_this_process(how.get("tags"))}
        result = self.definitions.resolve_job_def(self.settings.naming.dagster(job)).execute_in_process(
            instance=self.instance, raise_on_error=False, **how
        )
        self.tracking.runs.close(result.run_id, "SUCCESS" if result.success else "FAILURE")
        return result


class RecalibratingReplay(Replay):
    """A replay that asks for a new calibration of the champion where others train: a model is trained only as of a day
    on which none is in force, or somebody asks for more.
    """

    def train(
        self,
        day: date,
        report: ReplayReport,
        tags: Mapping[str, str] | None = None,
        request: RetrainingRequest | None = None,
    ) -> TrainingOutcome:
        claim_retraining(self.registry.claims, day, CALIBRATION, f"replay:{day}", "replay --recalibrate")
        return super().train(day, report, tags, request)
