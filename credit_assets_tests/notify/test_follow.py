"""Notices of real runs, moves and ticks of a real Dagster instance, to real SMTP servers that come and go."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from dagster._core.definitions.sensor_definition import SensorEvaluationContext
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._utils.error import SerializableErrorInfo

from credit_assets.assets.deployment import REASON_COLUMNS
from credit_assets.checks import check_results, gate_specs, table_of_text
from credit_assets.failures import TransientError
from credit_assets.ledger.deployment import alias_key
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.notify.follow import notice_sensors
from credit_assets.notify.notifier import Notifier
from credit_assets.notify.watch import WATCH
from credit_assets.settings import load_settings
from credit_assets.stages import RETRAIN
from credit_assets_tests.notify.test_messages import APPLICANT, DAYS, Inbox, Ticker, body, free_port

DAY = "2024-03-05"
URL = "http://dagster.example.org"
GATES = {"volume": "Enough applications.", "missing_share": "Few enough values are missing."}
DRIFT = {
    "credit/trigger": "drift",
    "credit/reason": "loan_amount, term_months shifted on 3 of 5 days",
    "credit/event": "drift:2024-03-05:v4",
}


class Relay:
    """A mail server on one port that can be switched off and on."""

    def __init__(self) -> None:
        self.inbox, self.port = Inbox(), free_port()
        self._server: Controller | None = None

    def __enter__(self) -> Relay:
        self._server = Controller(self.inbox, hostname="127.0.0.1", port=self.port)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.stop()
        self._server = None

    def url(self, to: str = "risk@example.org") -> str:
        return f"mailto://127.0.0.1:{self.port}?from=credit@example.org&to={to}"

    @property
    def subjects(self) -> list[str]:
        return [str(message["Subject"]).removeprefix("credit_assets: ") for message in self.inbox.messages]

    @property
    def texts(self) -> list[str]:
        return [body(message) for message in self.inbox.messages]


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay() as relay:
        yield relay


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("home"))) as instance:
        yield instance


@pytest.fixture
def home(on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """An instance that keeps ticks, which one in memory does not; nobody has ticked yet."""
    assert on_disk.schedule_storage is not None
    on_disk.schedule_storage.wipe()
    return on_disk


@dg.asset(partitions_def=DAYS)
def broken() -> None:
    raise ValueError(f"could not convert string to float: {APPLICANT!r}")


@dg.asset(partitions_def=DAYS)
def fine() -> None: ...


@dg.asset(partitions_def=DAYS, check_specs=gate_specs("warned", GATES, DAYS))
def warned(context) -> dg.MaterializeResult:
    volume = GateResult("volume", False, "warn", 412, "at least 500 applications", "Fewer applications than usual.")
    other = GateResult("missing_share", True, "error", 0.01, "at most 0.05", "Few enough values are missing.")
    return dg.MaterializeResult(check_results=check_results(context, {date(2024, 3, 5): [volume, other]}))


@dg.asset(partitions_def=DAYS)
def registered_model(context) -> dg.MaterializeResult:
    version = context.run.tags.get("test/version")
    reasons = [
        {"rule": "better", "passed": bool(version), "value": 0.001, "text": "AUC is 0.001 better, 0.005 is needed"},
        {"rule": "floor", "passed": True, "value": 0.7, "text": "AUC 0.7 is above the floor"},
    ]
    return dg.MaterializeResult(
        metadata={
            "decision": "registered" if version else "rejected",
            "version": version or "none",
            "reasons": table_of_text(reasons, REASON_COLUMNS),
            **({"mlflow_version": dg.MetadataValue.url(f"http://mlflow.example.org/#/v/{version}")} if version else {}),
        }
    )


@dg.sensor()
def troubled() -> dg.SkipReason:
    raise TransientError("the service says 503\nsecond line")


@dg.schedule(job_name=RETRAIN, cron_schedule="0 6 * * *")
def nightly() -> dg.SkipReason:
    return dg.SkipReason("not tonight")


def house(*urls: str) -> dg.Definitions:
    assets = [broken, fine, warned, registered_model]
    return dg.Definitions(
        assets=assets,
        jobs=[
            dg.define_asset_job(RETRAIN, selection=[registered_model, fine]),
            *(dg.define_asset_job(f"{name}_job", selection=[name]) for name in ("broken", "fine", "warned")),
        ],
        sensors=[*notice_sensors(load_settings(dagster_url=f"{URL}/")), troubled],
        schedules=[nightly],
        resources={"notifier": Notifier(urls, attempts=1)},
    )


def run(defs: dg.Definitions, job: str, instance: dg.DagsterInstance, **tags: str) -> str:
    result = defs.get_job_def(job).execute_in_process(
        instance=instance, partition_key=DAY, raise_on_error=False, tags=tags
    )
    return result.run_id


# Delivery


def test_a_mail_server_that_was_down_gets_each_message_once_when_it_is_back(instance: dg.DagsterInstance) -> None:
    relay = Relay()
    defs = house(relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    first, second = run(defs, "broken_job", instance), run(defs, "broken_job", instance)
    data = ticker.tick()
    assert data.skip_message.startswith("cannot reach 1 of 1 alert services")
    with relay:
        ticker.tick()
        assert ticker.tick().skip_message == "nothing new"
    assert ["/runs/" + first in text for text in relay.texts] == [True, False]
    assert ["/runs/" + second in text for text in relay.texts] == [False, True]
    assert not any("4711" in text or "Jane" in text for text in relay.texts)


def test_a_service_that_is_down_is_asked_less_and_less_often(instance: dg.DagsterInstance) -> None:
    relay = Relay()
    defs = house(relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    run(defs, "broken_job", instance)
    pauses = []
    for _ in range(8):
        assert ticker.tick().skip_message.startswith("cannot reach 1 of 1")
        assert "is asked again after" in ticker.tick().skip_message or not pauses
        cursor = json.loads(ticker.cursor)
        ((name, (position, refused, not_before)),) = cursor["at"].items()
        pauses.append(round(not_before - time.time(), -1))
        # As long as it takes, without waiting for it.
        ticker.cursor = json.dumps({"at": {name: [position, refused, 0.0]}})
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (30, 600)
    with relay:
        ticker.tick()
    assert len(relay.texts) == 1


def test_a_service_that_is_down_holds_up_no_other_one(relay: Relay, instance: dg.DagsterInstance) -> None:
    away = Relay()
    defs = house(away.url(), relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    for n in range(2):
        run(defs, "broken_job", instance)
        assert ticker.tick().skip_message.startswith("cannot reach 1 of 2")
        assert len(relay.texts) == n + 1
    with away:
        ticker.cursor = ticker.cursor and json.dumps(
            {"at": {name: place[:1] for name, place in json.loads(ticker.cursor)["at"].items()}}
        )
        ticker.tick()
    assert len(relay.texts) == len(away.texts) == 2
    assert "****" not in (ticker.cursor or "")


def test_a_recipient_who_is_refused_does_not_repeat_the_mail_to_the_others(instance: dg.DagsterInstance) -> None:
    class Picky(Inbox):
        async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
            if address.startswith("gone"):
                return "550 no such user"
            envelope.rcpt_tos.append(address)
            return "250 OK"

    relay = Relay()
    relay.inbox = Picky()
    defs = house(relay.url("gone@example.org,risk@example.org,ops@example.org"))
    with relay:
        ticker = Ticker(defs, "failure_alerts", instance)
        run(defs, "broken_job", instance)
        for _ in range(3):
            assert ticker.tick().skip_message.startswith("cannot reach 1 of 3")
    assert sorted(str(message["To"]) for message in relay.inbox.messages) == ["ops@example.org", "risk@example.org"]


def test_a_corrected_url_is_told_what_the_wrong_one_missed_and_an_added_one_is_not(
    relay: Relay, instance: dg.DagsterInstance
) -> None:
    wrong = house(Relay().url())
    ticker = Ticker(wrong, "failure_alerts", instance)
    run(wrong, "broken_job", instance)
    ticker.tick()
    ticker.defs = house(relay.url())
    ticker.tick()
    assert len(relay.texts) == 1
    with Relay() as added:
        ticker.defs = house(relay.url(), added.url())
        ticker.tick()
        run(wrong, "broken_job", instance)
        ticker.tick()
        assert (len(relay.texts), len(added.texts)) == (2, 1)


def test_nobody_is_told_of_the_time_without_urls(relay: Relay, instance: dg.DagsterInstance) -> None:
    silent, loud = house(), house(relay.url())
    ticker = Ticker(silent, "failure_alerts", instance)
    run(silent, "broken_job", instance)
    assert "nobody is told" in ticker.tick().skip_message
    assert ticker.cursor == "{}"
    ticker.defs = loud
    ticker.tick()
    ticker.tick()
    assert relay.texts == []


def test_a_tick_sends_five_messages_and_the_next_one_goes_on(relay: Relay, instance: dg.DagsterInstance) -> None:
    defs = house(relay.url())
    ticker = Ticker(defs, "alias_notices", instance)
    for number in range(1, 8):
        move(instance, "champion", str(number - 1 or "none"), str(number), "promote: better")
    ticker.tick()
    assert len(relay.texts) == 5
    ticker.tick()
    ticker.tick()
    assert [subject.split()[2] for subject in relay.subjects] == [str(number) for number in range(1, 8)]


def test_an_event_that_nobody_foresaw_does_not_hold_up_the_next(relay: Relay, instance: dg.DagsterInstance) -> None:
    ticker = Ticker(house(relay.url()), "alias_notices", instance)
    instance.report_runless_asset_event(dg.AssetMaterialization(alias_key("champion"), metadata={"note": APPLICANT}))
    move(instance, "champion", "1", "2", "promote: better")
    ticker.tick()
    assert relay.subjects[1] == "promotion: version 2 is champion from 2024-03-06"
    assert "could not be written (KeyError)" in relay.texts[0]
    assert "4711" not in relay.texts[0]


def test_a_cursor_of_dagsters_own_run_status_sensor_is_replaced(relay: Relay, instance: dg.DagsterInstance) -> None:
    defs = house(relay.url())
    run(defs, "broken_job", instance)
    ticker = Ticker(defs, "failure_alerts", instance)
    ticker.cursor = '{"__class__": "RunStatusSensorCursor", "record_id": 1, "update_timestamp": null}'
    ticker.tick()
    assert relay.texts == []


# Retrainings and checks


def test_a_triggered_retraining_is_told_when_it_starts_and_when_it_ends(
    relay: Relay, instance: dg.DagsterInstance
) -> None:
    defs = house(relay.url())
    tickers = [Ticker(defs, name, instance) for name in ("retraining_notices", "gate_notices", "failure_alerts")]
    run(defs, "fine_job", instance)
    run_id = run(defs, RETRAIN, instance, **DRIFT, **{"test/version": "5"})
    for ticker in tickers * 2:
        ticker.tick()
    assert relay.subjects == [
        f"retraining for {DAY} started by drift",
        f"retraining for {DAY} ended: version 5 registered",
    ]
    started, ended = relay.texts
    assert "Why: loan_amount, term_months shifted on 3 of 5 days" in started
    assert "Event: drift:2024-03-05:v4" in started
    assert "Started by: drift" in ended
    assert "MLflow: http://mlflow.example.org/#/v/5" in ended
    for text in (started, ended):
        assert f"{URL}/runs/{run_id}" in text
        assert f"{URL}/assets/registered_model?view=partitions&partition={DAY}" in text


def test_a_retraining_by_hand_that_was_rejected_says_so_and_why(relay: Relay, instance: dg.DagsterInstance) -> None:
    defs = house(relay.url())
    tickers = [Ticker(defs, name, instance) for name in ("retraining_notices", "gate_notices")]
    run(defs, RETRAIN, instance)
    for ticker in tickers:
        ticker.tick()
    assert relay.subjects == [f"retraining for {DAY} started by hand", f"retraining for {DAY} ended: rejected"]
    assert "- AUC is 0.001 better, 0.005 is needed" in relay.texts[1]
    assert "floor" not in relay.texts[1]
    assert "MLflow" not in relay.texts[1]


def test_a_retraining_whose_worker_was_lost_is_told_once(relay: Relay, instance: dg.DagsterInstance) -> None:
    defs = house(relay.url())
    ticker = Ticker(defs, "retraining_notices", instance)
    run(defs, RETRAIN, instance, **DRIFT)
    run(defs, RETRAIN, instance, **DRIFT, **{"dagster/retry_number": "1"})
    ticker.tick()
    assert len(relay.texts) == 1


def test_warnings_of_a_run_are_one_message_with_value_threshold_and_page(
    relay: Relay, instance: dg.DagsterInstance
) -> None:
    defs = house(relay.url())
    tickers = [Ticker(defs, name, instance) for name in ("gate_notices", "failure_alerts")]
    run_id = run(defs, "warned_job", instance)
    for ticker in tickers * 2:
        ticker.tick()
    assert relay.subjects == [f"failed checks in warned_job for {DAY}"]
    (text,) = relay.texts
    assert (
        "- warned, volume: warning: value 412, threshold at least 500 applications: Fewer applications than"
        in text.replace("\r\n", "\n")
    )
    assert f"{URL}/assets/warned?view=checks&checkDetail=volume" in text
    assert f"{URL}/runs/{run_id}" in text
    assert "missing_share" not in text


def test_a_run_of_another_code_location_is_passed_by(relay: Relay, instance: dg.DagsterInstance) -> None:
    defs = house(relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    job = defs.get_job_def("broken_job")
    other = instance.create_run_for_job(job, remote_job_origin=RemoteJobOrigin(repository_origin(), "broken_job"))
    instance.report_run_failed(other)
    ticker.tick()
    assert relay.texts == []


# Moves of aliases


def move(instance: dg.DagsterInstance, alias: str, former: str, version: str, reason: str, by: str = "ann") -> None:
    said = {"from": former, "to": version, "by": by, "reason": reason}
    rest: dict[str, Any] = {
        "alias": alias,
        "number": 1,
        "effective_from": "2024-03-06",
        "at": "2024-03-05T10:00:00+00:00",
    }
    if version != "none":
        rest["mlflow_version"] = dg.MetadataValue.text(f"credit-scorer version {version}")
    instance.report_runless_asset_event(dg.AssetMaterialization(alias_key(alias), metadata={**said, **rest}))


@pytest.mark.parametrize(
    ("alias", "former", "version", "reason", "subject"),
    [
        ("champion", "4", "5", "promote: better by 0.01", "promotion: version 5 is champion from 2024-03-06"),
        ("champion", "4", "5", "approve: looks good", "promotion: version 5 is champion from 2024-03-06"),
        ("champion", "5", "4", "rollback: bad rate", "rollback: version 4 is champion again from 2024-03-06"),
        ("shadow", "none", "5", "trial started: passed its gates", "trial of version 5 started"),
        ("shadow", "5", "none", "trial ended: version 5 is in force", "trial of version 5 ended"),
        ("challenger", "4", "5", "passed its gates", "version 5 is challenger from 2024-03-06"),
    ],
)
def test_every_move_is_one_message(
    alias: str, former: str, version: str, reason: str, subject: str, relay: Relay, instance: dg.DagsterInstance
) -> None:
    ticker = Ticker(house(relay.url()), "alias_notices", instance)
    move(instance, alias, former, version, reason)
    ticker.tick()
    ticker.tick()
    assert relay.subjects == [subject]
    (text,) = relay.texts
    parts = [f"From: {former}", f"To: {version}", "By: ann", f"Why: {reason}", "Moved at: 2024-03-05T10:00:00+00:00"]
    parts.append(f"{URL}/assets/model_aliases/{alias}?view=events")
    if version != "none":
        parts.append(f"MLflow: credit-scorer version {version}")
    for part in parts:
        assert part in text


def test_moves_of_several_aliases_are_told_in_their_order(relay: Relay, instance: dg.DagsterInstance) -> None:
    ticker = Ticker(house(relay.url()), "alias_notices", instance)
    move(instance, "shadow", "none", "5", "trial started: passed its gates")
    move(instance, "champion", "4", "5", "promote: trial passed")
    move(instance, "shadow", "5", "none", "trial ended: version 5 is in force")
    ticker.tick()
    assert [subject.split()[0] for subject in relay.subjects] == ["trial", "promotion:", "trial"]


# Sensors in trouble


def repository_origin() -> RemoteRepositoryOrigin:
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name="credit_assets.definitions")
    return RemoteRepositoryOrigin(InProcessCodeLocationOrigin(target, location_name="credit_assets"), "__repository__")


class Watched:
    """`sensor_watch` with the states and ticks of others, which the test writes into the instance."""

    def __init__(self, instance: dg.DagsterInstance, *urls: str) -> None:
        self.instance, self.defs, self.cursor = instance, house(*urls), None
        self.now = time.time()
        self.states: dict[str, InstigatorState] = {}

    def state(self, name: str, status: InstigatorStatus = InstigatorStatus.RUNNING, **data: Any) -> InstigatorState:
        schedule = name == "nightly"
        state = InstigatorState(
            RemoteInstigatorOrigin(repository_origin(), name),
            InstigatorType.SCHEDULE if schedule else InstigatorType.SENSOR,
            status,
            ScheduleInstigatorData("0 6 * * *", **data) if schedule else SensorInstigatorData(min_interval=30, **data),
        )
        known = name in self.states
        self.states[name] = state
        return self.instance.update_instigator_state(state) if known else self.instance.add_instigator_state(state)

    def ticks(self, name: str, *said: str) -> None:
        """Ticks a second apart: "ok", "error", or why it skipped. They are the newest there are."""
        state = self.states.get(name) or self.state(name)
        for one in said:
            self.now += 1
            error = SerializableErrorInfo(
                "dagster._core.errors.SensorExecutionError: Error occurred\n",
                [],
                "SensorExecutionError",
                SerializableErrorInfo(f"ValueError: {APPLICANT}\n", [], "ValueError"),
            )
            self.instance.create_tick(
                TickData(
                    instigator_origin_id=state.instigator_origin_id,
                    instigator_name=name,
                    instigator_type=state.instigator_type,
                    status={"ok": TickStatus.SUCCESS, "error": TickStatus.FAILURE}.get(one, TickStatus.SKIPPED),
                    timestamp=self.now,
                    run_ids=["run"] if one == "ok" else [],
                    error=error if one == "error" else None,
                    skip_reason=None if one in ("ok", "error") else one,
                    selector_id=state.selector_id,
                )
            )

    def tick(self) -> str:
        repository = self.defs.get_repository_def()
        with SensorEvaluationContext(
            instance_ref=None,
            instance=self.instance,
            cursor=self.cursor,
            repository_name="__repository__",
            repository_def=repository,
            resources=repository.get_top_level_resources(),
            code_location_origin=repository_origin().code_location_origin,
        ) as context:
            data = repository.get_sensor_def(WATCH).evaluate_tick(context)
        self.cursor = data.cursor
        return data.skip_message or ""


def test_three_failures_in_a_row_are_one_message_and_so_is_the_recovery(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.ticks("troubled", "ok", "error", "error")
    assert "1 watched, 0 in trouble" in watched.tick()
    watched.ticks("troubled", "error")
    watched.tick()
    watched.ticks("troubled", "error", "error")
    watched.tick()
    assert relay.subjects == ["sensor troubled in trouble"]
    (text,) = relay.texts
    assert "- troubled failed: ValueError (its message stands in the tick only), 3 times in a row, since 20" in text
    assert f"{URL}/locations/credit_assets/sensors/troubled" in text
    assert "4711" not in text
    watched.ticks("troubled", "nothing to do")
    watched.tick()
    watched.tick()
    assert relay.subjects[1:] == ["sensor troubled works again"]
    watched.ticks("troubled", "error", "error", "error")
    watched.tick()
    assert len(relay.texts) == 3


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (("cannot reach MLflow: 'x4711'", "error", "cannot reach MLflow: 'x4711'"), True),
        (("no new drift_report",) * 3, False),
        (("error", "ok", "error"), False),
    ],
)
def test_a_service_out_of_reach_counts_and_its_words_stay_here(
    said: tuple[str, ...], trouble: bool, relay: Relay, home: dg.DagsterInstance
) -> None:
    watched = Watched(home, relay.url())
    watched.ticks("troubled", *said)
    watched.tick()
    assert bool(relay.texts) == trouble
    if trouble:
        assert "- troubled cannot reach MLflow, 3 times in a row" in relay.texts[0]
        assert "4711" not in relay.texts[0]


def test_a_schedule_that_failed_once_is_told(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.ticks("nightly", "error")
    watched.tick()
    assert relay.subjects == ["schedule nightly in trouble"]
    assert f"{URL}/locations/credit_assets/schedules/nightly" in relay.texts[0]


def test_several_in_one_tick_are_one_message(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    for name in ("troubled", "failure_alerts"):
        watched.ticks(name, *["cannot reach the store"] * 3)
    watched.tick()
    for name in ("troubled", "failure_alerts"):
        watched.ticks(name, "ok")
    watched.tick()
    assert relay.subjects == ["2 sensors in trouble", "2 sensors work again"]


def test_what_is_switched_off_or_not_in_the_code_is_not_watched(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.state("troubled", InstigatorStatus.DECLARED_IN_CODE)
    watched.state("removed_sensor")
    watched.state("failure_alerts", InstigatorStatus.STOPPED)
    for name in ("troubled", "removed_sensor", "failure_alerts", WATCH):
        watched.ticks(name, "error", "error", "error")
    assert watched.tick().startswith("0 watched, 0 in trouble")
    # Started again long after: what failed before does not count.
    watched.state("failure_alerts", last_sensor_start_timestamp=watched.now + 1)
    assert watched.tick().startswith("1 watched, 0 in trouble")


def test_a_sensor_that_does_not_tick_while_others_do_is_told(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.state("failure_alerts", last_tick_start_timestamp=time.time())
    watched.state("troubled", last_tick_start_timestamp=time.time() - 3000)
    watched.tick()
    assert relay.texts == []
    # The watch itself has ticked for an hour without a gap.
    watched.cursor = json.dumps({**json.loads(watched.cursor or ""), "awake": time.time() - 3600})
    watched.tick()
    assert relay.subjects == ["sensor troubled in trouble"]
    assert "is switched on and does not tick" in relay.texts[0]
    watched.state("troubled", last_tick_start_timestamp=time.time())
    watched.tick()
    assert relay.subjects[1:] == ["sensor troubled works again"]


def test_after_a_time_without_any_tick_only_the_gap_is_told(relay: Relay, home: dg.DagsterInstance) -> None:
    watched = Watched(home, relay.url())
    watched.state("troubled", last_tick_start_timestamp=time.time() - 3000)
    watched.tick()
    hour_ago = {"seen": time.time() - 3600, "awake": time.time() - 7200}
    watched.cursor = json.dumps({**json.loads(watched.cursor or ""), **hour_ago})
    watched.tick()
    watched.tick()
    assert relay.subjects == ["sensors were not watched"]


def test_trouble_and_recovery_while_the_mail_server_was_down_are_both_told_later(home: dg.DagsterInstance) -> None:
    relay = Relay()
    watched = Watched(home, relay.url())
    watched.ticks("troubled", "error", "error", "error")
    assert "cannot reach 1 of 1 alert services" in watched.tick()
    watched.ticks("troubled", "ok")
    with relay:
        watched.tick()
        watched.tick()
    assert relay.subjects == ["sensor troubled in trouble", "sensor troubled works again"]
    assert json.loads(watched.cursor or "")["unsent"] == []


def test_without_urls_nothing_is_watched_and_nothing_is_kept(home: dg.DagsterInstance) -> None:
    watched = Watched(home)
    watched.ticks("troubled", "error", "error", "error")
    assert "nobody is told" in watched.tick()
    assert watched.cursor == "{}"


@pytest.mark.slow
def test_the_real_daemon_ticks_fails_and_is_watched(
    relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A code location in a process of its own, ticked by the daemon's own loop: states, ticks and cursors are real."""
    import logging

    from dagster._core.test_utils import create_test_daemon_workspace_context
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster._daemon.sensor import execute_sensor_iteration

    monkeypatch.setenv("CREDIT_ALERT_URLS", relay.url())
    monkeypatch.setenv("CREDIT_DAGSTER_URL", URL)
    module = tmp_path / "notices_location.py"
    module.write_text(
        "import dagster as dg\n"
        "from credit_assets.notify.follow import notice_sensors\n"
        "from credit_assets.notify.notifier import Notifier\n"
        "from credit_assets.settings import load_settings\n"
        "settings = load_settings()\n"
        "@dg.sensor(default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=1)\n"
        "def troubled():\n"
        f"    raise ValueError({APPLICANT!r})\n"
        "@dg.asset\n"
        "def broken():\n"
        "    raise KeyError('x')\n"
        "defs = dg.Definitions([broken], sensors=[*notice_sensors(settings), troubled],\n"
        "    resources={'notifier': Notifier(settings.alert_targets)})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    target = ModuleTarget("notices_location", None, str(tmp_path), "credit_assets")
    with (
        dg.instance_for_test(temp_dir=str(tmp_path)) as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):

        def iterate() -> None:
            list(execute_sensor_iteration(workspace, logging.getLogger("test"), None, None))

        def again(name: str) -> None:
            # As if its interval had passed.
            for state in instance.all_instigator_state():
                if state.instigator_name == name:
                    data = state.instigator_data._replace(last_tick_start_timestamp=1.0, last_tick_timestamp=1.0)
                    instance.update_instigator_state(state.with_data(data))

        for _ in range(4):
            iterate()
            again("troubled")
        again(WATCH)
        iterate()
        job = house().get_job_def("broken_job")
        for _ in range(2):
            origin = RemoteJobOrigin(repository_origin(), "broken_job")
            instance.report_run_failed(instance.create_run_for_job(job, remote_job_origin=origin))
            instance.report_run_failed(instance.create_run_for_job(job))
            again("failure_alerts")
            iterate()
    assert relay.subjects == ["sensor troubled in trouble", "broken_job failed", "broken_job failed"]
    assert "failed: ValueError (its message stands in the tick only)" in relay.texts[0]
    assert f"{URL}/locations/credit_assets/sensors/troubled" in relay.texts[0]
    assert "4711" not in relay.texts[0]
