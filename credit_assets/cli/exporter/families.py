"""The one table of metrics: what each is called, what it says, and by what it is told apart.

Belongs here: names, words and labels. Does not belong here: where a figure comes from (`of_instance`, `of_store`), and
what is alarming about one (the chart's alert rules). docs/observability.md is held against this table by a test.

Labels take few values, which the code or the settings name: assets, checks, jobs, places. Never a run, a day or
anything of an applicant. Whatever is not known is left out, so that a rule on it is silent, and `up` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

PREFIX = "credit_assets_"
PORTFOLIO = "portfolio"
"""The label that every series has."""


@dataclass(frozen=True)
class MetricFamily:
    """A metric: its name without the prefix, what it says with its unit, and its labels beside the portfolio."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


class MetricSample(NamedTuple):
    """One figure of a family."""

    name: str
    value: float
    labels: Mapping[str, str] = MappingProxyType({})


_FAMILIES = (
    # Whether the figures can be trusted
    MetricFamily("up", "1 where the place could be read, 0 where not: its figures are left out then", ("place",)),
    MetricFamily("exporter_seconds", "how long the last reading of the place took", ("place",)),
    MetricFamily("exporter_errors", "readings of the place that failed since the exporter started", ("place",)),
    MetricFamily("exporter_read_timestamp_seconds", "when the figures were read (seconds of the epoch)", ("place",)),
    # Runs, steps, queue
    MetricFamily("runs", "runs under way, and those that ended within a day, by job and status", ("job", "status")),
    MetricFamily(
        "runs_unmended",
        "partitions of a job whose newest run of the last 7 days failed and is not repeated by Dagster",
        ("job",),
    ),
    MetricFamily("steps", "steps of the newest 50 runs that are under way or ended within a day", ("asset", "status")),
    MetricFamily("step_seconds", "how long the newest successful step of the asset took", ("asset",)),
    MetricFamily("queue_length", "runs that wait in the queue"),
    MetricFamily("queue_oldest_seconds", "for how long the first of them has waited; 0 where none waits"),
    # Schedules and sensors
    MetricFamily("daemon_up", "1 where the Dagster daemon was heard of within 5 minutes"),
    MetricFamily("daily_schedule_on", "1 where the daily schedule is switched on"),
    MetricFamily("sensors_on", "sensors and schedules that are switched on"),
    MetricFamily("sensors_failing", "of those, how many failed at their last tick"),
    # Partitions and checks
    MetricFamily("partitions", "days of the asset that are made", ("asset",)),
    MetricFamily(
        "partitions_behind",
        "days from the newest that is made to the last that has closed; since CREDIT_START_DATE where none is",
        ("asset",),
    ),
    MetricFamily("partitions_missing", "of the last 30 closed days those that are not made", ("asset",)),
    MetricFamily("partitions_rejected", "of the last 30 days those that gates have rejected", ("asset",)),
    MetricFamily(
        "checks", "checks of the asset by their newest result: passed, warn, error, planned", ("asset", "verdict")
    ),
    MetricFamily("check_failed", "1 for each check whose newest result is no pass", ("asset", "check", "verdict")),
    # Scores
    MetricFamily(
        "scored_day_timestamp_seconds", "midnight (UTC) of the newest day that has scores (seconds of the epoch)"
    ),
    MetricFamily("scored_day_age_days", "days from it to the last day that has closed; 0: up to date"),
    MetricFamily(
        "scores_late",
        "1 where CREDIT_SCORES_BY has passed (CREDIT_TIMEZONE) and the last closed day has no file of scores; 0 before",
    ),
    # Drift
    MetricFamily("drift", "1 for the verdict of the newest drift report", ("verdict",)),
    MetricFamily("drift_age_days", "days from the day of that report to the last that has closed"),
    MetricFamily(
        "drift_psi_max", "largest PSI in it less what chance makes: of the features, and of the score", ("of",)
    ),
    MetricFamily("drift_features", "features and the score in it by verdict", ("verdict",)),
    MetricFamily("drift_shifted", "1 for each feature, or the score, that has shifted; at most 50", ("feature",)),
    # Performance
    MetricFamily(
        "auc", "AUC by the newest performance report: realised (in use), since_training, or estimated", ("measured",)
    ),
    MetricFamily("auc_low", "lower end of its interval", ("measured",)),
    MetricFamily("auc_high", "upper end of its interval", ("measured",)),
    MetricFamily("observed_over_expected", "observed over expected defaults, measured alike", ("measured",)),
    # Models
    MetricFamily("champion_version", "version in force; left out where there is none"),
    MetricFamily("champion_age_days", "days since the as-of date of the champion"),
    MetricFamily("champion_in_force_days", "days since the champion came into force"),
    MetricFamily("champion_auc", "AUC of the champion on its own test"),
    MetricFamily("trial_version", "version on trial; left out where there is none"),
    MetricFamily("trial_days", "days that its newest report looks at"),
    MetricFamily("trial", "1 for what that report decides: continue, promote, wait, end", ("decision",)),
)
FAMILIES: Mapping[str, MetricFamily] = {family.name: family for family in _FAMILIES}
