"""Alerts of runs that really fail, through sensors that really tick, to a real SMTP server at the end of the line."""

from __future__ import annotations

import email
import email.policy
import threading
from collections.abc import Iterator
from datetime import date
from email.message import EmailMessage
from typing import Any

import dagster as dg
import pytest
from aiosmtpd.controller import Controller

from credit_assets.checks import check_results
from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.notify.follow import notice_sensors
from credit_assets.notify.messages import StepProblem, failure_message, step_problem, tracking_close_sensors
from credit_assets.notify.notifier import Notifier
from credit_assets.settings import load_settings
from credit_assets_tests.support.ports import free_port

DAYS = dg.DailyPartitionsDefinition("2024-01-01")
APPLICANT = "applicant-4711 Jane Doe"


class Inbox:
    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


class Closed:
    """Stands in for the tracking resource and remembers what was closed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def close_run(self, dagster_run_id: str, status: str) -> None:
        self.calls.append((dagster_run_id, status))


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, str]]:
    handler = Inbox()
    server = Controller(handler, hostname="127.0.0.1", port=free_port())
    server.start()
    yield handler, f"mailto://127.0.0.1:{server.port}?from=credit@example.org&to=risk@example.org"
    server.stop()


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
    gate = GateResult("volume", False, "error", 3, "at least 10 applications", "Too few applications; see the source.")
    return dg.MaterializeResult(check_results=check_results(context, {date(2024, 3, 5): [gate]}))


@dg.asset(partitions_def=DAYS)
def fine() -> None: ...


def house(notifier: Notifier, tracking: Any) -> dg.Definitions:
    assets = [bad_setting, foreign_error, wrapped_foreign_error, wrapped_own_error, gated, fine]
    return dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job(f"{a.key.to_user_string()}_job", selection=[a]) for a in assets]
        + [dg.define_asset_job("everything", selection=assets)],
        sensors=[
            *notice_sensors(load_settings(dagster_url="http://dagster.example.org/")),
            *tracking_close_sensors(),
        ],
        resources={"notifier": notifier, "tracking": tracking},
    )


class Ticker:
    """Ticks one sensor as the daemon does, cursor and all."""

    def __init__(self, defs: dg.Definitions, name: str, instance: dg.DagsterInstance) -> None:
        self.defs, self.instance = defs, instance
        self.sensor = defs.get_sensor_def(name)
        self.cursor: str | None = None
        self.tick()

    def tick(self) -> Any:
        repository = self.defs.get_repository_def()
        resources = repository.get_top_level_resources()
        with dg.build_sensor_context(
            self.instance, self.cursor, repository_def=repository, resources=resources
        ) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data


def fail(defs: dg.Definitions, job: str, instance: dg.DagsterInstance, **tags: str) -> dg.ExecuteInProcessResult:
    result = defs.get_job_def(job).execute_in_process(
        instance=instance,
        partition_key="2024-03-05",
        raise_on_error=False,
        tags={k.replace("__", "/"): v for k, v in tags.items()},
    )
    assert not result.success
    return result


def body(message: EmailMessage) -> str:
    part = message.get_body(("plain", "html"))
    assert part is not None
    return part.get_content()


def test_a_failed_run_sends_one_mail_that_says_where_why_and_what_to_do(inbox: tuple[Inbox, str]) -> None:
    received, url = inbox
    with dg.DagsterInstance.ephemeral() as instance:
        defs = house(Notifier((url,)), Closed())
        ticker = Ticker(defs, "failure_alerts", instance)
        result = fail(defs, "bad_setting_job", instance)
        data = ticker.tick()
        assert data.skip_message == "told: credit_assets: bad_setting_job failed for 2024-03-05"
        ticker.tick()
        ticker.tick()
    (message,) = received.messages
    assert message["Subject"].endswith("bad_setting_job failed for 2024-03-05")
    text = body(message)
    for part in (
        "bad_setting: CREDIT_WAREHOUSE_URL names no table loan_applications; load loans first",
        f"http://dagster.example.org/runs/{result.run_id}",
        "http://dagster.example.org/assets/bad_setting?view=partitions&partition=2024-03-05",
        "2024-03-05",
        "Re-execute",
    ):
        assert part in text


def test_no_word_of_a_foreign_error_leaves_but_every_failed_step_is_named(inbox: tuple[Inbox, str]) -> None:
    received, url = inbox
    with dg.DagsterInstance.ephemeral() as instance:
        defs = house(Notifier((url,)), Closed())
        ticker = Ticker(defs, "failure_alerts", instance)
        fail(defs, "everything", instance)
        ticker.tick()
    (message,) = received.messages
    text = body(message)
    assert "4711" not in text
    assert "Jane" not in text
    assert "foreign_error: ValueError" in text
    assert "wrapped_foreign_error: ValueError" in text
    assert "wrapped_own_error: portfolio has no column income" in text
    assert "gated" in text
    assert "- fine" not in text


def test_a_failed_gate_names_check_value_and_threshold_with_their_page(inbox: tuple[Inbox, str]) -> None:
    received, url = inbox
    with dg.DagsterInstance.ephemeral() as instance:
        defs = house(Notifier((url,)), Closed())
        ticker = Ticker(defs, "failure_alerts", instance)
        fail(defs, "gated_job", instance)
        ticker.tick()
    (message,) = received.messages
    text = body(message)
    assert "- gated, volume: error: value 3, threshold at least 10 applications: Too few" in text
    assert "http://dagster.example.org/assets/gated?view=checks&checkDetail=volume" in text
    assert "see the checks" in text


def test_a_run_that_will_be_retried_stays_silent_and_its_last_attempt_speaks(inbox: tuple[Inbox, str]) -> None:
    received, url = inbox
    settings = {"run_retries": {"enabled": True, "max_retries": 0}}
    with dg.DagsterInstance.ephemeral(settings=settings) as instance:
        defs = house(Notifier((url,)), Closed())
        ticker = Ticker(defs, "failure_alerts", instance)
        retried = fail(defs, "bad_setting_job", instance, dagster__max_retries="1")
        run = instance.get_run_by_id(retried.run_id)
        assert run is not None
        assert run.tags["dagster/will_retry"] == "true"
        data = ticker.tick()
        assert data.skip_message == "nothing new"
        assert received.messages == []
        fail(defs, "bad_setting_job", instance, dagster__max_retries="0")
        ticker.tick()
    assert len(received.messages) == 1


def test_a_tag_that_comes_a_moment_later_is_waited_for(inbox: tuple[Inbox, str]) -> None:
    received, url = inbox
    with dg.DagsterInstance.ephemeral() as plain:
        defs = house(Notifier((url,)), Closed())
        ticker = Ticker(defs, "failure_alerts", plain)
        # Fails while retries are off, so that Dagster itself writes no tag ...
        result = fail(defs, "bad_setting_job", plain)
        # ... and is looked at by a sensor that expects one.
        plain._settings["run_retries"] = {"enabled": True}
        late = threading.Timer(0.5, plain.add_run_tags, (result.run_id, {"dagster/will_retry": "true"}))
        late.start()
        data = ticker.tick()
        late.join()
    assert data.skip_message == "nothing new"
    assert received.messages == []


def test_without_urls_the_sensor_says_that_nobody_is_told() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        defs = house(Notifier(), Closed())
        ticker = Ticker(defs, "failure_alerts", instance)
        fail(defs, "bad_setting_job", instance)
        data = ticker.tick()
    assert "nobody is told" in (data.skip_message or "")


def test_each_final_status_closes_the_tracking_of_its_runs() -> None:
    tracking = Closed()
    with dg.DagsterInstance.ephemeral() as instance:
        defs = house(Notifier(), tracking)
        tickers = [Ticker(defs, f"close_tracking_{name}", instance) for name in ("success", "failure", "canceled")]
        good = defs.get_job_def("fine_job").execute_in_process(instance=instance, partition_key="2024-03-05")
        bad = fail(defs, "bad_setting_job", instance)
        lost = instance.create_run_for_job(defs.get_job_def("fine_job"))
        instance.report_run_canceled(lost)
        for ticker in tickers:
            ticker.tick()
            ticker.tick()
    assert tracking.calls == [(good.run_id, "SUCCESS"), (bad.run_id, "FAILURE"), (lost.run_id, "CANCELED")]


def test_the_sensors_run_by_default() -> None:
    for sensor in (*notice_sensors(load_settings()), *tracking_close_sensors()):
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_a_run_without_a_failed_step_says_so() -> None:
    message = failure_message("run1", "job", {}, [], "http://localhost:3000")
    assert message.title == "credit_assets: job failed"
    assert "No step failed" in message.body
    assert "http://localhost:3000/runs/run1" in message.body


def test_a_range_of_partitions_and_very_many_steps_stay_short() -> None:
    tags = {
        "dagster/asset_partition_range_start": "2024-01-01",
        "dagster/asset_partition_range_end": "2024-01-31",
    }
    problems = [StepProblem(f"step{i}", "TransientError", "no answer") for i in range(40)]
    message = failure_message("run1", "job", tags, problems, "http://localhost:3000")
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
