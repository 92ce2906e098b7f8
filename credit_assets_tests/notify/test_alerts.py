"""Alerts of runs that really fail, through a sensor that really ticks, to a real SMTP server at the end of the line."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest

from credit_assets.checks import check_results
from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.notify import alerts
from credit_assets.notify.alerts import StepProblem, failure_message, step_problem
from credit_assets.notify.follow import event_sensors
from credit_assets.notify.notifier import Notifier
from credit_assets.settings import load_settings
from credit_assets_tests.support.mail import Relay
from credit_assets_tests.support.sensors import APPLICANT, DAGSTER_URL, DAYS, Ticker, run


@dg.asset(partitions_def=DAYS)
def bad_setting() -> None:
    raise PermanentError("CREDIT_WAREHOUSE_URL names no table loan_applications; load loans first")


@dg.asset(partitions_def=DAYS)
def foreign_error() -> None:
    raise ValueError(f"could not convert string to float: {APPLICANT!r}")


@dg.asset(partitions_def=DAYS)
def wrapped_foreign_error() -> None:
    try:
        float(APPLICANT)
    except ValueError as error:
        raise dg.Failure(description=f"ValueError: {error}", allow_retries=False) from error


@dg.asset(partitions_def=DAYS)
def wrapped_own_error() -> None:
    try:
        raise PermanentError("portfolio has no column income")
    except PermanentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


@dg.asset(partitions_def=DAYS, check_specs=[dg.AssetCheckSpec("volume", asset="gated", blocking=True)])
def gated(context) -> dg.MaterializeResult:
    gate = GateResult(
        "volume",
        False,
        "error",
        3,
        "at least 10 applications",
        "Too few applications; see the source.",
        setting="gates: x",
    )
    return dg.MaterializeResult(check_results=check_results(context, {date(2024, 3, 5): [gate]}))


@dg.asset(partitions_def=DAYS)
def fine() -> None: ...


def house(*urls: str) -> dg.Definitions:
    assets = [bad_setting, foreign_error, wrapped_foreign_error, wrapped_own_error, gated, fine]
    return dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job(f"{a.key.to_user_string()}_job", selection=[a]) for a in assets]
        + [dg.define_asset_job("everything", selection=assets)],
        sensors=event_sensors(load_settings(dagster_url=f"{DAGSTER_URL}/")),
        resources={"notifier": Notifier(urls)},
    )


def test_a_failed_run_sends_one_mail_that_says_where_why_and_what_to_do(
    relay: Relay, instance: dg.DagsterInstance
) -> None:
    defs = house(relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    run_id = run(defs, "bad_setting_job", instance)
    data = ticker.tick()
    assert data.skip_message == "told: credit_assets: bad_setting_job failed for 2024-03-05"
    ticker.tick()
    ticker.tick()
    assert relay.subjects == ["bad_setting_job failed for 2024-03-05"]
    (text,) = relay.texts
    for part in (
        "bad_setting: CREDIT_WAREHOUSE_URL names no table loan_applications; load loans first",
        f"{DAGSTER_URL}/runs/{run_id}",
        f"{DAGSTER_URL}/assets/bad_setting?view=partitions&partition=2024-03-05",
        "2024-03-05",
        "Re-execute",
    ):
        assert part in text


def test_no_word_of_a_foreign_error_leaves_but_every_failed_step_is_named(
    relay: Relay, instance: dg.DagsterInstance
) -> None:
    defs = house(relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    run(defs, "everything", instance)
    ticker.tick()
    (text,) = relay.texts
    assert "4711" not in text
    assert "Jane" not in text
    assert "foreign_error: ValueError" in text
    assert "wrapped_foreign_error: ValueError" in text
    assert "wrapped_own_error: portfolio has no column income" in text
    assert "gated" in text
    assert "- fine" not in text


def test_a_failed_gate_names_check_value_and_threshold_with_their_page(
    relay: Relay, instance: dg.DagsterInstance
) -> None:
    defs = house(relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    run(defs, "gated_job", instance)
    ticker.tick()
    (text,) = relay.texts
    assert "- gated, volume: error: value 3, threshold at least 10 applications: Too few" in text
    assert f"{DAGSTER_URL}/assets/gated?view=checks&checkDetail=volume" in text
    assert "see the checks" in text


def test_a_run_that_will_be_retried_stays_silent_and_its_last_attempt_speaks(relay: Relay) -> None:
    settings = {"run_retries": {"enabled": True, "max_retries": 0}}
    with dg.DagsterInstance.ephemeral(settings=settings) as instance:
        defs = house(relay.url())
        ticker = Ticker(defs, "failure_alerts", instance)
        retried = instance.get_run_by_id(run(defs, "bad_setting_job", instance, **{"dagster/max_retries": "1"}))
        assert retried is not None
        assert retried.tags["dagster/will_retry"] == "true"
        assert ticker.tick().skip_message == "nothing new"
        assert relay.texts == []
        run(defs, "bad_setting_job", instance, **{"dagster/max_retries": "0"})
        ticker.tick()
    assert len(relay.texts) == 1


def test_a_tag_that_comes_a_moment_later_is_waited_for(
    relay: Relay, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    defs = house(relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    # Fails while retries are off, so that Dagster itself writes no tag ...
    run_id = run(defs, "bad_setting_job", instance)
    # ... is looked at by a sensor that expects one, and gets it while the sensor waits.
    instance._settings["run_retries"] = {"enabled": True}
    monkeypatch.setattr(
        alerts.time, "sleep", lambda seconds: instance.add_run_tags(run_id, {"dagster/will_retry": "true"})
    )
    assert ticker.tick().skip_message == "nothing new"
    assert relay.texts == []


def test_a_run_without_a_failed_step_says_so() -> None:
    message = failure_message(dg.DagsterRun("job", run_id="run1"), [], "http://localhost:3000")
    assert message.title == "credit_assets: job failed"
    assert "No step failed" in message.body
    assert "http://localhost:3000/runs/run1" in message.body


def test_a_range_of_partitions_and_very_many_steps_stay_short() -> None:
    tags = {
        "dagster/asset_partition_range_start": "2024-01-01",
        "dagster/asset_partition_range_end": "2024-01-31",
    }
    problems = [StepProblem(f"step{i}", "TransientError", "no answer") for i in range(40)]
    message = failure_message(dg.DagsterRun("job", run_id="run1", tags=tags), problems, "http://localhost:3000")
    assert "2024-01-01 .. 2024-01-31" in message.title
    assert "and 30 more" in message.body
    assert "credit-assets doctor" in message.body


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransientError("server\nsecond line"), "server"),
        (PermanentError("x" * 1000), "x" * 399 + "…"),
        (PermanentError("column: income is missing"), "column: income is missing"),
    ],
)
def test_the_first_line_of_an_own_error_is_told(error: Exception, expected: str) -> None:
    from dagster._utils.error import SerializableErrorInfo

    info = SerializableErrorInfo(
        message=f"credit_assets.failures.{type(error).__name__}: {error}\n", stack=[], cls_name=type(error).__name__
    )
    assert step_problem("step", info).line == expected


def test_a_failure_written_for_people_is_told_where_nothing_foreign_stands_behind_it() -> None:
    assert str(step_problem("step", None, "disk is full\nmore")) == "step: disk is full"
