"""The sets of statuses by which anything is decided, against Dagster's own."""

from __future__ import annotations

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from credit_assets.automation.housekeeping import ENDS
from credit_assets.instance import statuses
from credit_assets.tracking.runs import RUN_STATUS


def test_a_run_has_ended_or_not_and_all_ends_are_dealt_with() -> None:
    assert set(statuses.ENDED) == set(FINISHED_STATUSES)
    assert {*statuses.ENDED} | {*statuses.UNFINISHED} == {*dg.DagsterRunStatus}
    assert {*statuses.ENDED}.isdisjoint(statuses.UNFINISHED)
    assert {*statuses.UNDER_WAY} | {*statuses.WITH_PROCESS} <= {*statuses.UNFINISHED}
    # Each end has its event, and its word in MLflow.
    assert {status.value for status in statuses.ENDED} == set(ENDS) == set(RUN_STATUS)
    assert ENDS["CANCELED"] is dg.DagsterEventType.RUN_CANCELED


def test_a_tick_is_through_unless_it_has_only_begun() -> None:
    assert {*TickStatus} - {*statuses.ended_ticks()} == {TickStatus.STARTED}
