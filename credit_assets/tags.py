"""Every tag and label by which runs, jobs and pods are found again: those of this package and Dagster's that it reads.

Belongs here: their names, and reading the partition out of a run's tags. Does not belong here: what a tag's value means
to whoever sets it, and the tags of MLflow runs and versions, which have no prefix (`credit_assets.tracking`).

Names are for good: runs, pods and dashboards carry them.
"""

from __future__ import annotations

from collections.abc import Mapping

# Of every run: the portfolio whose days it makes.
PORTFOLIO_TAG = "credit/portfolio"
# Of a run that a trigger, a schedule or a person's request started.
TRIGGER_TAG, EVENT_TAG, REASON_TAG = "credit/trigger", "credit/event", "credit/reason"
# Of a run inside a simulation: the sensor or schedule that requested it.
REQUESTED_BY_TAG = "credit/asked_by"

_PREFIX = "credit-assets/"
# Of a run that takes the place of a lost one: which, and how many were lost before it.
LOST_RUN_TAG, LOST_BEFORE_TAG = f"{_PREFIX}lost-run", f"{_PREFIX}lost-before"
# Of every run of a process that can be looked for: which process makes it. Dagster's pages leave out tags that begin
# like this one: nobody reads it, and it would stand first at each run.
PROCESS_TAG = ".dagster/credit-assets-process"

# Labels of a step's job and pod.
PORTFOLIO_LABEL = f"{_PREFIX}portfolio"
ASSET_LABEL, PROFILE_LABEL, VARIANT_LABEL = f"{_PREFIX}asset", f"{_PREFIX}profile", f"{_PREFIX}variant"
COST_CENTRE_LABEL, PARTITION_LABEL = f"{_PREFIX}cost-centre", f"{_PREFIX}partition"
ATTEMPT_LABEL, RETRY_REASON_LABEL = f"{_PREFIX}attempt", f"{_PREFIX}retry-reason"

# Of a run: who started it, where Dagster (Dagster+) or the login proxy before it says so.
USER_TAG = "user"

# Dagster's.
DAGSTER_PREFIX = "dagster/"
DAGSTER_PARTITION_TAG = f"{DAGSTER_PREFIX}partition"
RANGE_START_TAG = f"{DAGSTER_PREFIX}asset_partition_range_start"
RANGE_END_TAG = f"{DAGSTER_PREFIX}asset_partition_range_end"
PARENT_RUN_TAG, RUN_KEY_TAG = f"{DAGSTER_PREFIX}parent_run_id", f"{DAGSTER_PREFIX}run_key"
# Says of a failed run whether Dagster itself starts it again.
WILL_RETRY_TAG = f"{DAGSTER_PREFIX}will_retry"
RETRY_NUMBER_TAG, MAX_RETRIES_TAG = f"{DAGSTER_PREFIX}retry_number", f"{DAGSTER_PREFIX}max_retries"
RETRY_ON_STEP_FAILURE_TAG = f"{DAGSTER_PREFIX}retry_on_asset_or_op_failure"
# Of a step: what its pod is made of.
POD_CONFIG_TAG = "dagster-k8s/config"


def retry_tag(step: str) -> str:
    """The tag in which a run says why and with what a step was tried again."""
    return f"{_PREFIX}retry/{step}"


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags of one run over all partitions from `first` to `last`."""
    return {RANGE_START_TAG: first, RANGE_END_TAG: last}


def partition_of(tags: Mapping[str, str], between: str = " .. ") -> str:
    """The partition of a run, or its range as `first .. last`; empty where it has none.

    >>> partition_of(range_tags("2024-01-01", "2024-01-31"))
    '2024-01-01 .. 2024-01-31'
    """
    if key := tags.get(DAGSTER_PARTITION_TAG):
        return key
    first, last = tags.get(RANGE_START_TAG), tags.get(RANGE_END_TAG)
    return f"{first}{between}{last}" if first and last else ""
