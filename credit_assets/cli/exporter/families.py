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
class Family:
    """A metric: its name without the prefix, what it says with its unit, and its labels beside the portfolio."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """One figure of a family."""

    name: str
    value: float
    labels: Mapping[str, str] = MappingProxyType({})


_FAMILIES = (
    # Whether the figures can be trusted
    Family("up", "1 where the place could be read, 0 where not: its figures are left out then", ("place",)),
    Family("exporter_seconds", "how long the last reading of the place took", ("place",)),
    Family("exporter_errors", "readings of the place that failed since the exporter started", ("place",)),
    Family("exporter_read_timestamp_seconds", "when the figures were read (seconds of the epoch)", ("place",)),
    # Runs, steps, queue
    Family("runs", "runs under way, and those that ended within a day, by job and status", ("job", "status")),
    Family(
        "runs_unmended",
        "partitions of a job whose newest run of the last 7 days failed and is not repeated by Dagster",
        ("job",),
    ),
    Family("steps", "steps of the newest 50 runs that are under way or ended within a day", ("asset", "status")),
    Family("step_seconds", "how long the newest successful step of the asset took", ("asset",)),
    Family("queue_length", "runs that wait in the queue"),
    Family("queue_oldest_seconds", "for how long the first of them has waited; 0 where none waits"),
    # Schedules and sensors
    Family("daemon_up", "1 where the Dagster daemon was heard of within 5 minutes"),
    Family("daily_schedule_on", "1 where the daily schedule is switched on"),
    Family("sensors_on", "sensors and schedules that are switched on"),
    Family("sensors_failing", "of those, how many failed at their last tick"),
    # Partitions and checks
    Family("partitions", "days of the asset that are made", ("asset",)),
    Family(
        "partitions_behind",
        "days from the newest that is made to the last that has closed; since CREDIT_START_DATE where none is",
        ("asset",),
    ),
    Family("partitions_missing", "of the last 30 closed days those that are not made", ("asset",)),
    Family("partitions_rejected", "of the last 30 days those that gates have rejected", ("asset",)),
    Family("checks", "checks of the asset by their newest result: passed, warn, error, planned", ("asset", "verdict")),
    Family("check_failed", "1 for each check whose newest result is no pass", ("asset", "check", "verdict")),
    # Scores
    Family("scored_day_timestamp_seconds", "midnight (UTC) of the newest day that has scores (seconds of the epoch)"),
    Family("scored_day_age_days", "days from it to the last day that has closed; 0: up to date"),
    Family(
        "scores_late",
        "1 where CREDIT_SCORES_BY has passed (CREDIT_TIMEZONE) and the last closed day has no file of scores; 0 before",
    ),
    # Drift
    Family("drift", "1 for the verdict of the newest drift report", ("verdict",)),
    Family("drift_age_days", "days from the day of that report to the last that has closed"),
    Family("drift_psi_max", "largest PSI in it less what chance makes: of the features, and of the score", ("of",)),
    Family("drift_features", "features and the score in it by verdict", ("verdict",)),
    Family("drift_shifted", "1 for each feature, or the score, that has shifted; at most 50", ("feature",)),
    # Performance
    Family(
        "auc", "AUC by the newest performance report: realised (in use), since_training, or estimated", ("measured",)
    ),
    Family("auc_low", "lower end of its interval", ("measured",)),
    Family("auc_high", "upper end of its interval", ("measured",)),
    Family("observed_over_expected", "observed over expected defaults, measured alike", ("measured",)),
    # Models
    Family("champion_version", "version in force; left out where there is none"),
    Family("champion_age_days", "days since the as-of date of the champion"),
    Family("champion_in_force_days", "days since the champion came into force"),
    Family("champion_auc", "AUC of the champion on its own test"),
    Family("trial_version", "version on trial; left out where there is none"),
    Family("trial_days", "days that its newest report looks at"),
    Family("trial", "1 for what that report decides: continue, promote, wait, end", ("decision",)),
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in _FAMILIES}
