"""What the store says: scores, rejected days, drift, performance, and the models in force.

Belongs here: a few listings and small records, whatever the size of the book. Does not belong here: Dagster's instance
(`of_instance`), and the warehouse, whose password the exporter does not have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

from credit_assets.cli.exporter.families import MetricSample
from credit_assets.instance.ownership import refuse_foreign
from credit_assets.ledger import recorded
from credit_assets.ledger.deployment import SHADOW
from credit_assets.ledger.registry import CHAMPION
from credit_assets.ml.evidence.drift_reference import SCORE
from credit_assets.ml.rules.periods import Period, holder_now
from credit_assets.ml.rules.trials import TrialDecision
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import RowCount, Store
from credit_assets.storage.tables import is_local

LOOKED_AT = 30
"""So many days are looked at one by one."""
_REMEMBERED = timedelta(minutes=10)
_SHIFTED_SHOWN = 50
DRIFT_VERDICTS = ("stable", "watch", "shifted", "unknown")


class StoreFigures:
    """Reads the store. Raises PermanentError or TransientError where it cannot be read."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._store = settings, Store(settings.store)
        # By asset when its days were read, and what they hold.
        self._known: dict[str, tuple[datetime, dict[str, RowCount]]] = {}

    def __call__(self, now: datetime) -> Iterator[MetricSample]:
        look_anew(self._store)
        refuse_foreign(self._settings, None)
        closed = now.astimezone(ZoneInfo(self._settings.timezone)).date() - timedelta(1)
        yield from self._rejected(now)
        yield from self._scores(now, closed)
        if report := self._newest("drift_report"):
            yield from drift_samples(report, closed)
        if report := self._newest("performance_report"):
            yield from performance_samples(report)

    def _newest(self, asset: str) -> dict[str, Any] | None:
        days = self._store.days(asset)
        return self._store.read_record(self._store.path(asset, f"{days[-1]}.json")) if days else None

    def _rejected(self, now: datetime) -> Iterator[MetricSample]:
        for asset in self._settings.graph.gated:
            found = self._counts(asset, self._store.days(asset), now)
            yield MetricSample("partitions_rejected", sum(one.rejected for one in found.values()), {"asset": asset})

    def _counts(self, asset: str, days: Sequence[str], now: datetime) -> dict[str, RowCount]:
        """Rows of the newest days. Those that were read are read again after a while, and the newest each time: on an
        object store each is a request.
        """
        days = days[-LOOKED_AT:]
        read_at, known = self._known.get(asset, (now, {}))
        if now - read_at > _REMEMBERED:
            read_at, known = now, {}
        new = [day for day in days if day not in known or day == days[-1]]
        known = {day: known[day] for day in days if day in known} | self._store.row_counts(asset, new)
        self._known[asset] = read_at, known
        return known

    def _scores(self, now: datetime, closed: date) -> Iterator[MetricSample]:
        days = self._store.days("loan_scores")
        yield MetricSample("scores_late", is_late(self._settings, now, closed.isoformat() in days))
        counted = self._counts("loan_scores", days, now)
        if scored := [day for day, found in counted.items() if found.rows > found.without_pd]:
            newest = date.fromisoformat(max(scored))
            yield MetricSample("scored_day_timestamp_seconds", datetime.combine(newest, time(), UTC).timestamp())
            yield MetricSample("scored_day_age_days", (closed - newest).days)


def look_anew(store: Store) -> None:
    """Forget what a file system of objects keeps of its listings, for as long as a process lives. Raises
    FileNotFoundError where a local folder is away, such as a mount: to a listing it is as good as empty.
    """
    root = store.root
    if not is_local(root):
        root.fs.invalidate_cache()
    elif not os.path.isdir(str(root)):
        raise FileNotFoundError(f"the store {root} is not there")


def is_late(settings: Settings, now: datetime, there: bool) -> bool:
    """Whether scores of the day before are wanted by now and are not there."""
    if there or settings.scores_by == "none":
        return False
    return now.astimezone(ZoneInfo(settings.timezone)).time() >= time.fromisoformat(settings.scores_by)


def drift_samples(report: Mapping[str, Any], closed: date) -> Iterator[MetricSample]:
    for verdict in DRIFT_VERDICTS:
        yield MetricSample("drift", verdict == report["verdict"], {"verdict": verdict})
    yield MetricSample("drift_age_days", (closed - date.fromisoformat(report["day"])).days)
    findings = report["features"]
    for verdict in DRIFT_VERDICTS:
        count = sum(one["verdict"] == verdict for one in findings)
        yield MetricSample("drift_features", count, {"verdict": verdict})
    shifted = [one["name"] for one in findings if one["verdict"] == "shifted"]
    for name in shifted[:_SHIFTED_SHOWN]:
        yield MetricSample("drift_shifted", 1, {"feature": name})
    for of, wanted in (("features", False), ("score", True)):
        some = [one["psi"] for one in findings if (one["name"] == SCORE) is wanted and one["psi"] is not None]
        if some:
            yield MetricSample("drift_psi_max", max(some), {"of": of})


def performance_samples(report: Mapping[str, Any]) -> Iterator[MetricSample]:
    for measured in ("realised", "since_training", "estimated"):
        part = report.get(measured) or {}
        # Realised figures are an evaluation with its intervals, estimated ones stand by themselves.
        found = part.get("evaluation") or part
        for name, keys in (("auc", ("auc",)), ("auc_low", _ends("low")), ("auc_high", _ends("high"))):
            value = next((found[key] for key in keys if found.get(key) is not None), None)
            if value is not None:
                yield MetricSample(name, value, {"measured": measured})
        if level := part.get("observed_over_expected"):
            yield MetricSample("observed_over_expected", level["value"], {"measured": measured})


def _ends(end: str) -> tuple[str, str]:
    return f"auc_ci_{end}", f"auc_{end}"


class ModelFigures:
    """Reads who is in force and on trial from the ledger in the store, which decides. Raises as `StoreFigures`."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._store = settings, Store(settings.store)

    def __call__(self, now: datetime) -> Iterable[MetricSample]:
        look_anew(self._store)
        today = now.astimezone(ZoneInfo(self._settings.timezone)).date()
        held = recorded.histories(Claims(self._settings.store), self._settings.naming.registered_model)
        if champion := holder_now(held.get(CHAMPION, [])):
            yield from self._champion(champion, held, today)
        if trial := holder_now(held.get(SHADOW, [])):
            yield MetricSample("trial_version", float(trial.version))
            yield from self._trial(trial)

    def _champion(self, champion: Period, held: dict[str, list[Period]], today: date) -> Iterator[MetricSample]:
        yield MetricSample("champion_version", float(champion.version))
        yield MetricSample("champion_in_force_days", max(0, (today - champion.first).days))
        # None where the records of its training have been replaced: only MLflow knows its day then.
        if found := recorded.version_record(self._store, champion.version, held):
            yield MetricSample("champion_age_days", (today - date.fromisoformat(found["as_of"])).days)
            yield MetricSample("champion_auc", found["metrics"]["auc"])

    def _trial(self, trial: Period) -> Iterator[MetricSample]:
        days = self._store.days("shadow_report")
        report = self._store.read_record(self._store.path("shadow_report", f"{days[-1]}.json")) if days else {}
        # The newest report may still be of the trial before.
        if report.get("shadow") == trial.version:
            yield MetricSample("trial_days", report["days"])
            for decision in get_args(TrialDecision):
                yield MetricSample("trial", decision == report["decision"], {"decision": decision})
