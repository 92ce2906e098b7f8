"""Delivery of real messages to real SMTP servers that come, go and refuse."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from credit_assets.masking import HIDDEN
from credit_assets.notify import delivery, follow
from credit_assets.notify.follow import event_sensors
from credit_assets.notify.notifier import Notifier
from credit_assets.notify.ticks import Unreachable
from credit_assets.settings import load_settings
from credit_assets_tests.support.mail import Relay
from credit_assets_tests.support.sensors import APPLICANT, DAYS, Ticker, report_move, run


@dg.asset(partitions_def=DAYS)
def broken() -> None:
    raise ValueError(f"could not convert string to float: {APPLICANT!r}")


def house(*urls: str) -> dg.Definitions:
    return dg.Definitions(
        [broken],
        jobs=[dg.define_asset_job("broken_job", selection=[broken])],
        sensors=event_sensors(load_settings()),
        resources={"notifier": Notifier(urls, attempts=1)},
    )


def test_what_a_tick_could_not_reach_is_read_back_from_its_skip_reason() -> None:
    unreachable = Unreachable("MLflow", "timed out [unreachable: x]: later")
    assert Unreachable.of(str(unreachable)) == unreachable
    assert str(unreachable).startswith("cannot reach MLflow: timed out")
    assert Unreachable.of("no new drift_report") is Unreachable.of(None) is None


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


def test_a_service_that_is_down_is_asked_less_and_less_often(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(delivery, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
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
        pauses.append(round(not_before - now))
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
    assert HIDDEN not in (ticker.cursor or "")


def test_a_recipient_who_is_refused_does_not_repeat_the_mail_to_the_others(instance: dg.DagsterInstance) -> None:
    relay = Relay(refuses=lambda address: address.startswith("gone"))
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
        report_move(instance, "champion", str(number - 1 or "none"), str(number), "promote: better")
    ticker.tick()
    assert len(relay.texts) == 5
    ticker.tick()
    ticker.tick()
    assert [subject.split()[2] for subject in relay.subjects] == [str(number) for number in range(1, 8)]


def test_an_event_that_cannot_be_put_into_words_does_not_hold_up_the_next(
    relay: Relay, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = follow.move_message

    def stumbles(move: Any, *pages: str) -> Any:
        return words({"alias": APPLICANT}, *pages) if move["to"] == "2" else words(move, *pages)

    monkeypatch.setattr(follow, "move_message", stumbles)
    ticker = Ticker(house(relay.url()), "alias_notices", instance)
    report_move(instance, "champion", "1", "2", "promote: better")
    report_move(instance, "champion", "2", "3", "promote: better")
    ticker.tick()
    assert relay.subjects[1] == "promotion: version 3 is champion from 2024-03-06"
    assert "could not be written (KeyError)" in relay.texts[0]
    assert "4711" not in relay.texts[0]


def test_a_cursor_of_dagsters_own_run_status_sensor_is_replaced(relay: Relay, instance: dg.DagsterInstance) -> None:
    defs = house(relay.url())
    run(defs, "broken_job", instance)
    ticker = Ticker(defs, "failure_alerts", instance)
    ticker.cursor = '{"__class__": "RunStatusSensorCursor", "record_id": 1, "update_timestamp": null}'
    ticker.tick()
    assert relay.texts == []
