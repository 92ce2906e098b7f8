"""Messages of real runs and moves, through sensors that really tick, to a real SMTP server at the end of the line."""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RemoteJobOrigin

from credit_assets import pages
from credit_assets.checks import check_results, gate_specs, rule_results, rule_specs
from credit_assets.ledger.reported import alias_key
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.rules.decisions import Reason
from credit_assets.ml.rules.model_rules import MODEL_RULES, Judged
from credit_assets.notify.follow import event_sensors
from credit_assets.notify.notifier import Notifier
from credit_assets.settings import load_settings
from credit_assets.stages import RETRAIN
from credit_assets_tests.support.mail import Relay
from credit_assets_tests.support.sensors import DAGSTER_URL, DAY, DAYS, Ticker, report_move, repository_origin, run

GATES = {"volume": "Enough applications.", "missing_share": "Few enough values are missing."}
DRIFT = {
    "credit/trigger": "drift",
    "credit/reason": "loan_amount, term_months shifted on 3 of 5 days",
    "credit/event": "drift:2024-03-05:v4",
}


@dg.asset(partitions_def=DAYS)
def fine() -> None: ...


@dg.asset(partitions_def=DAYS, check_specs=gate_specs("warned", GATES, DAYS))
def warned(context) -> dg.MaterializeResult:
    volume = GateResult(
        "volume", False, "warn", 412, "at least 500 applications", "Fewer applications than usual.", setting="gates: x"
    )
    other = GateResult("missing_share", True, "error", 0.01, "at most 0.05", "Few enough values are missing.")
    return dg.MaterializeResult(check_results=check_results(context, {date(2024, 3, 5): [volume, other]}))


@dg.asset(partitions_def=DAYS, check_specs=rule_specs(DAYS))
def trained_model(context) -> dg.MaterializeResult:
    """Every rule of one severity stands against the model."""
    against = context.run.tags["test/against"]
    judged = [
        Judged(rule, (Reason(rule.name, rule.severity != against, 0.001, 0.005, f"{rule.name} was looked at"),))
        for rule in MODEL_RULES
    ]
    return dg.MaterializeResult(check_results=rule_results(DAY, judged))


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
            "reasons": pages.reasons(reasons),
            **(
                {"mlflow_version": dg.MetadataValue.md(f"[version {version}](http://mlflow.example.org/#/v/{version})")}
                if version
                else {}
            ),
        }
    )


def house(*urls: str) -> dg.Definitions:
    return dg.Definitions(
        [fine, warned, trained_model, registered_model],
        jobs=[
            dg.define_asset_job(RETRAIN, selection=[registered_model, fine]),
            *(dg.define_asset_job(f"{name}_job", selection=[name]) for name in ("fine", "warned", "trained_model")),
        ],
        sensors=event_sensors(load_settings(dagster_url=f"{DAGSTER_URL}/"), "http://me:pw@mlflow.example.org"),
        resources={"notifier": Notifier(urls, attempts=1)},
    )


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
        assert f"{DAGSTER_URL}/runs/{run_id}" in text
        assert f"{DAGSTER_URL}/assets/registered_model?view=partitions&partition={DAY}" in text


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
    assert f"{DAGSTER_URL}/assets/warned?view=checks&checkDetail=volume" in text
    assert f"{DAGSTER_URL}/runs/{run_id}" in text
    assert "missing_share" not in text


def test_an_ordinary_rejection_is_no_message_and_a_rule_that_stops_the_run_is_one(
    relay: Relay, instance: dg.DagsterInstance
) -> None:
    defs = house(relay.url())
    tickers = [Ticker(defs, name, instance) for name in ("gate_notices", "failure_alerts")]
    run(defs, "trained_model_job", instance, **{"test/against": "warn"})
    for ticker in tickers * 2:
        ticker.tick()
    assert relay.subjects == []
    run(defs, "trained_model_job", instance, **{"test/against": "error"})
    for ticker in tickers * 2:
        ticker.tick()
    (text,) = relay.texts
    stopping = [rule.name for rule in MODEL_RULES if rule.severity == "error"]
    assert f"trained_model, {stopping[0]}: error: value 0.001, threshold 0.005: {stopping[0]} was" in text.replace(
        "\r\n", "\n"
    )


def test_a_run_of_another_code_location_is_passed_by(relay: Relay, instance: dg.DagsterInstance) -> None:
    defs = house(relay.url())
    ticker = Ticker(defs, "failure_alerts", instance)
    job = defs.resolve_job_def("fine_job")
    other = instance.create_run_for_job(job, remote_job_origin=RemoteJobOrigin(repository_origin(), "fine_job"))
    instance.report_run_failed(other)
    ticker.tick()
    assert relay.texts == []


# Moves of aliases


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
    report_move(instance, alias, former, version, reason)
    ticker.tick()
    ticker.tick()
    assert relay.subjects == [subject]
    (text,) = relay.texts
    parts = [f"From: {former}", f"To: {version}", "By: ann", f"Why: {reason}", "Moved at: 2024-03-05T10:00:00+00:00"]
    parts.append(f"{DAGSTER_URL}/assets/model_aliases/{alias}?view=events")
    if version != "none":
        parts.append(f"MLflow: http://mlflow.example.org/#/models/credit-scorer/versions/{version}")
    for part in parts:
        assert part in text


def test_nobody_is_told_of_a_move_that_was_not_made(relay: Relay, instance: dg.DagsterInstance) -> None:
    """Whoever sees Dagster's pages may report a materialization: of nothing, of a move as it was not, of one again."""
    ticker = Ticker(house(relay.url()), "alias_notices", instance)

    def forge(**metadata: Any) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(alias_key("champion"), metadata=metadata))

    forge(note="promoted by chief.risk.officer")
    true = report_move(instance, "champion", "none", "5", "promote: better")
    # With a page of the forger's, and once more.
    forge(**true, mlflow_version="http://evil.example/#/models/credit-scorer/versions/5")
    forge(**{**true, "by": "chief.risk.officer"})
    forge(**{**true, "number": 2})
    forge(**{**true, "log": "mlflow-aliases/other-1/champion"})
    for _ in range(3):
        ticker.tick()
    assert relay.subjects == ["promotion: version 5 is champion from 2024-03-06"]
    assert "evil" not in relay.texts[0]
    assert "chief" not in relay.texts[0]


def test_moves_of_several_aliases_are_told_in_their_order(relay: Relay, instance: dg.DagsterInstance) -> None:
    ticker = Ticker(house(relay.url()), "alias_notices", instance)
    report_move(instance, "shadow", "none", "5", "trial started: passed its gates")
    report_move(instance, "champion", "4", "5", "promote: trial passed")
    report_move(instance, "shadow", "5", "none", "trial ended: version 5 is in force")
    ticker.tick()
    assert [subject.split()[0] for subject in relay.subjects] == ["trial", "promotion:", "trial"]


@pytest.mark.parametrize(("urls", "status"), [("", "STOPPED"), ("json://hook.example.org", "RUNNING")])
def test_the_sensors_run_by_default_where_somebody_is_to_be_told(urls: str, status: str) -> None:
    for sensor in event_sensors(load_settings(alert_urls=urls)):
        assert sensor.default_status.value == status
        assert ("CREDIT_ALERT_URLS names nobody" in (sensor.description or "")) == (not urls)
