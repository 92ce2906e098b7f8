"""Transient failures are retried, permanent ones fail at once and say what to do."""

from __future__ import annotations

import sqlite3
from typing import Any

import dagster as dg
import pytest

from credit_assets.assets.conventions import retry_policy, retry_transient_only
from credit_assets.failures import PermanentError, TransientError, is_transient
from credit_assets.settings import load_settings


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (TransientError("x"), True),
        (PermanentError("x"), False),
        (ConnectionRefusedError("x"), True),
        (TimeoutError("x"), True),
        (ValueError("x"), False),
        (RuntimeError("(sqlite3.OperationalError) database is locked"), True),
        (KeyError("annual_income"), False),
    ],
)
def test_which_failures_a_retry_can_help(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


def test_the_cause_decides_unless_the_error_is_permanent_itself() -> None:
    def raised(outer: Exception, cause: Exception) -> Exception:
        try:
            raise outer from cause
        except Exception as error:
            return error

    assert is_transient(raised(RuntimeError("read failed"), ConnectionResetError("x")))
    assert not is_transient(raised(PermanentError("no table"), ConnectionResetError("x")))


def run(fails: list[Exception]) -> tuple[dg.ExecuteInProcessResult, int]:
    calls = []

    @dg.asset(retry_policy=retry_policy(load_settings(retry_delay_seconds=0.01)))
    @retry_transient_only
    def flaky(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        calls.append(context.retry_number)
        if len(calls) <= len(fails):
            raise fails[len(calls) - 1]
        return dg.MaterializeResult(value=1)

    return dg.materialize([flaky], raise_on_error=False), len(calls)


def test_a_transient_failure_is_retried_twice_and_then_given_up() -> None:
    result, calls = run([TransientError("server away")])
    assert (result.success, calls) == (True, 2)
    result, calls = run([TransientError("server away")] * 3)
    assert (result.success, calls) == (False, 3)


def test_a_permanent_failure_is_not_retried_and_says_what_to_do() -> None:
    result, calls = run([PermanentError("no table loans: run `credit-assets load`")])
    assert (result.success, calls) == (False, 1)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None
    assert event.step_failure_data.user_failure_data.description == "no table loans: run `credit-assets load`"


def test_a_surprise_is_named_by_its_type() -> None:
    result, calls = run([KeyError("annual_income")])
    assert calls == 1
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None
    assert (event.step_failure_data.user_failure_data.description or "").startswith("KeyError: ")


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device", "/data/x"), sqlite3.OperationalError("database or disk is full")],
)
def test_a_full_disk_in_a_step_is_not_retried_and_says_what_to_do(error: Exception) -> None:
    result, calls = run([error])
    assert calls == 1
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None
    description = event.step_failure_data.user_failure_data.description or ""
    assert "no space left" in description
    assert "set CREDIT_HOME" in description
