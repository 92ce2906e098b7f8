"""Runs of other jobs within a step, over a range of days, and what came of a run.

Belongs here: starting one and reading its failures. Does not belong here: which days (`recheck`, `credit_assets.cli`).

A job that one step starts is a run of its own, with its own events, checks and partitions; it ends before the step
does. That is what lets a recheck ingest days again before the training that follows it in the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from credit_assets.checks import GATE_FAILED
from credit_assets.failures import PermanentError, TransientError
from credit_assets.instance.lost_runs import in_this_process
from credit_assets.ml.data.gate_results import why_rejected
from credit_assets.naming import PLAIN, Names
from credit_assets.storage.store import RejectedPartitionError, Store
from credit_assets.tags import range_tags

_OURS = "credit_assets."
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class BuiltJobs:
    """The jobs of the code location, once it is built, by their plain names."""

    def __init__(self, naming: Names = PLAIN) -> None:
        self.naming = naming
        self.definitions: dg.Definitions | None = None

    def over_days(
        self, instance: dg.DagsterInstance, job: str, days: tuple[date, date], assets: Sequence[str] = ()
    ) -> None:
        """Run a job for the days from the first to the last of `days`, in this process; of its assets only some, where
        they are named. Raises PermanentError with what failed.
        """
        first, last = days
        assert self.definitions is not None
        result = self.definitions.resolve_job_def(self.naming.dagster(job)).execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config=QUIET,
            asset_selection=[dg.AssetKey(self.naming.asset(asset)) for asset in assets] or None,
            **in_this_process(range_tags(first.isoformat(), last.isoformat())),
        )
        must(result, f"{job} {first} .. {last}")


def must(result: dg.ExecuteInProcessResult, what: str, *, gates_may_stop: bool = False) -> None:
    """Raise PermanentError where the run failed, with every reason and the run's id, TransientError where services were
    away for all of its steps that failed; of a run that `gates_may_stop` only where something else did.
    """
    found = [] if result.success else failures(result)
    if found and not (gates_may_stop and all(gate for gate, _ in found)):
        kind = TransientError if _may_pass(result) else PermanentError
        raise kind(f"{what}: {'; '.join(reason for _, reason in found)} (Dagster run {result.run_id})")


def rejected_of(store: Store, asset: str, days: Sequence[str]) -> dict[str, str]:
    """Of these days the partitions that gates rejected, with what the gates say; from the footers of their files."""

    found = store.footers(asset, days)
    return {day: why for day, footer in found.items() if (why := why_rejected(footer.gates))}


def failures(result: dg.ExecuteInProcessResult) -> list[tuple[bool, str]]:
    """Per failed step: whether a gate stopped it, its own or that of what it reads, and one line that says why."""
    events = [event for event in result.all_events if event.is_step_failure]
    return [_failure(event, result) for event in events] or [(False, "the run failed before any step")]


def _failure(event: dg.DagsterEvent, result: dg.ExecuteInProcessResult) -> tuple[bool, str]:
    data = event.step_failure_data
    error = data.error
    if error is not None and error.cls_name == GATE_FAILED:
        gates = [
            f"{check.asset_key.path[-1]}.{check.check_name}: {check.description}"
            for check in result.get_asset_check_evaluations()
            if not check.passed
            and check.severity == dg.AssetCheckSeverity.ERROR
            and check.asset_key.to_python_identifier() == event.step_key
        ]
        return True, "; ".join(gates)
    described = data.user_failure_data and data.user_failure_data.description
    text = described or _error_in_words(error)
    return _is_rejected(error), f"{event.step_key}: {' '.join(text.split())[:400]}"


def _error_in_words(error: Any) -> str:
    """What this package says of a failure. After its retries a step says only that they are used up; what a library
    says stands below ours.
    """
    chain = list(_chain(error))
    ours = next((one for one in chain if one.message.startswith(_OURS)), None)
    if ours is not None:
        return str(ours.message.partition(": ")[2])
    return str(chain[min(1, len(chain) - 1)].message) if chain else "unknown failure"


def _may_pass(result: dg.ExecuteInProcessResult) -> bool:
    """Whether each failed step failed of what a later attempt may not meet."""
    events = [event for event in result.all_events if event.is_step_failure]
    return bool(events) and all(
        any(one.cls_name == TransientError.__name__ for one in _chain(event.step_failure_data.error))
        for event in events
    )


def _chain(error: Any) -> Iterator[Any]:
    while error is not None:
        yield error
        error = error.cause


def _is_rejected(error: Any) -> bool:
    """Whether a step failed since a gate had rejected what it reads."""
    return any(one.cls_name == RejectedPartitionError.__name__ for one in _chain(error))
