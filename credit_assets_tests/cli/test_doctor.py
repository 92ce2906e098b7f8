"""The doctor: what it says of servers that are there, that are not, and that never answer; and what it never says."""

from __future__ import annotations

import io
import json
import socket
import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from credit_assets.cli.doctor import (
    check_alerts,
    check_disk,
    check_executor,
    check_instance,
    check_store,
    check_tracking,
    check_warehouse,
    diagnose,
    doctor,
    record,
    render,
)
from credit_assets.cli.findings import Finding
from credit_assets.instance.home import CONFIG_FILE
from credit_assets.settings import Settings, load_settings, variable
from credit_assets.storage.claims import Claims
from credit_assets.tracking.runs import Tracking
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.ports import free_port

SECRET = "s3cr3tPassw0rd"
# Generous where the answer is not the time: the machine that runs the tests may be busy.
PATIENT = 60.0


@pytest.fixture(autouse=True)
def _environment_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # The instance sets these for good; setting them here first makes pytest put back what was there.
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def checks(settings: Settings, limit: float = PATIENT) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(settings, limit_seconds=limit) if finding.kind == "check"}


def settings_of(settings: Settings) -> dict[str, Finding]:
    return {f.name: f for f in diagnose(settings, limit_seconds=PATIENT) if f.kind == "setting"}


def with_loans(path: Path, *days: str) -> str:
    """An SQLite warehouse with one application a day."""
    settings = load_settings()
    url = f"sqlite:///{path}"
    open_warehouse(url).create_tables(settings.portfolio_contract)
    with sqlite3.connect(path) as connection:
        for number, day in enumerate(days):
            connection.execute(
                "INSERT INTO loan_applications (application_id, application_date, loan_amount, term_months) "
                "VALUES (?, ?, 1000, 36)",
                (str(number), day),
            )
    return url


def test_a_first_run_works_and_says_what_to_do_next() -> None:
    found = checks(load_settings())
    assert {name: finding.status for name, finding in found.items()} == {
        "portfolio": "ok",
        "warehouse": "warn",
        "store": "ok",
        "MLflow": "ok",
        "Dagster": "ok",
        "alerts": "ok",
        "executor": "ok",
        "disk": found["disk"].status,
    }
    assert "credit-assets generate" in found["warehouse"].advice
    assert "was written" in found["Dagster"].value
    assert "CREDIT_ALERT_URLS" in found["alerts"].advice
    assert found["warehouse"].source == "CREDIT_WAREHOUSE_URL"
    # It looks; the only traces are the folders that every command makes.
    home = load_settings().home_dir
    assert sorted(path.name for path in home.iterdir()) == ["dagster", "store"]
    assert list((home / "store").iterdir()) == []
    assert "is there" in check_instance(load_settings()).value


def test_every_setting_is_listed_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    home = load_settings().home_dir
    home.mkdir()
    (home / "settings.env").write_text("CREDIT_RETRIES=1\n")
    monkeypatch.setenv("CREDIT_SEED", "7")
    found = settings_of(load_settings())
    assert set(found) == {variable(field) for field in Settings.model_fields}
    assert (found["CREDIT_SEED"].value, found["CREDIT_SEED"].source) == ("7", "environment")
    assert (found["CREDIT_RETRIES"].value, found["CREDIT_RETRIES"].source) == ("1", str(home / "settings.env"))
    assert found["CREDIT_MAX_ROUNDS"].source == "default"
    # What takes effect, not what was typed.
    assert found["CREDIT_WAREHOUSE_URL"].value == f"duckdb:///{home / 'warehouse.duckdb'}"
    assert found["CREDIT_PERFORMANCE_WINDOW_DAYS"].value == "365"
    assert found["CREDIT_VARIANTS"].value == "xgboost, lightgbm, catboost"


def test_no_secret_is_shown_whatever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", f"postgresql://risk:{SECRET}@127.0.0.1:{port}/loans")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{SECRET}@127.0.0.1:{port}")
    monkeypatch.setenv("CREDIT_ALERT_URLS", f"mailto://u:{SECRET}@127.0.0.1 slack://{SECRET} nosuch://{SECRET}")
    findings = diagnose(load_settings(), limit_seconds=PATIENT)
    assert SECRET not in json.dumps(record(findings))
    text = io.StringIO()
    render(findings, Console(file=text, width=100))
    assert SECRET not in text.getvalue()
    by_name = {finding.name: finding for finding in findings}
    assert by_name["CREDIT_WAREHOUSE_URL"].value == f"postgresql://risk:***@127.0.0.1:{port}/loans"
    assert {name for name, finding in by_name.items() if finding.status == "fail"} == {"warehouse", "MLflow", "alerts"}
    for finding in by_name.values():
        assert "\n" not in finding.advice
        assert finding.status != "fail" or finding.advice
    assert "slack://" in by_name["alerts"].advice
    assert "nosuch://" in by_name["alerts"].advice


def test_a_server_that_never_answers_takes_its_time_limit_and_no_more(
    mute: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", f"postgresql://risk:x@127.0.0.1:{mute}/loans")
    from credit_assets.cli import doctor as module

    seen = module._within(2, lambda: module.check_warehouse(load_settings()))
    assert seen.status == "fail"
    assert "no answer within 2 s" in seen.value
    assert "firewall" in seen.advice


def test_the_warehouse_shows_its_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", with_loans(tmp_path / "loans.db", "2024-02-01", "2024-03-09"))
    found = check_warehouse(load_settings())
    assert (found.status, found.value) == ("ok", "applications from 2024-02-01 to 2024-03-09")
    late = check_warehouse(load_settings(start_date=date(2024, 2, 15)))
    assert late.status == "warn"
    assert "CREDIT_START_DATE=2024-02-01" in late.advice


def test_a_warehouse_without_rows_or_without_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", with_loans(tmp_path / "loans.db"))
    empty = check_warehouse(load_settings())
    assert (empty.status, empty.value) == ("warn", "reached, no applications yet")
    sqlite3.connect(tmp_path / "bare.db").close()
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", f"sqlite:///{tmp_path / 'bare.db'}")
    bare = check_warehouse(load_settings())
    assert bare.status == "fail"
    assert "loan_applications" in bare.advice
    assert "credit-assets generate" in bare.advice


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = check_store(load_settings(store_uri=str(tmp_path / "file" / "store")))
    assert found.status == "fail"
    assert "CREDIT_STORE_URI" in found.advice
    unknown = check_store(load_settings(store_uri="nosuchfs://bucket/x"))
    assert unknown.status == "fail"
    assert "CREDIT_STORE_URI" in unknown.advice


@pytest.mark.slow
def test_an_mlflow_store_that_is_there_and_one_that_is_not_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    Tracking(settings.tracking_uri, settings.experiment, Claims(settings.store)).ping()
    assert check_tracking(settings).value == "answers, experiment credit_scoring"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    down = check_tracking(load_settings())
    assert down.status == "fail"
    assert "refused" in down.value
    assert "MLFLOW_TRACKING_URI" in down.advice


def test_an_instance_that_does_not_load_and_one_with_the_slow_event_log() -> None:
    folder = load_settings().dagster_dir
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text("no_such_key: 1\n")
    broken = check_instance(load_settings())
    assert broken.status == "fail"
    assert str(folder / CONFIG_FILE) in broken.advice
    (folder / CONFIG_FILE).write_text("telemetry: {enabled: false}\n")
    slow = check_instance(load_settings())
    assert slow.status == "warn"
    assert "event_log_storage" in slow.advice


def test_alert_urls_are_parsed_and_nothing_is_sent(mute: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "CREDIT_ALERT_URLS", f"mailto://127.0.0.1:{mute}?from=a@example.org&to=b@example.org,c@example.org"
    )
    found = check_alerts(load_settings())
    assert (found.status, found.value) == ("ok", f"understood, not tried: mailto://127.0.0.1:{mute}")


def test_kubernetes_needs_things_that_pods_share(monkeypatch: pytest.MonkeyPatch) -> None:
    local = check_executor(load_settings(executor="k8s"))
    assert local.status == "fail"
    assert "CREDIT_WAREHOUSE_URL, CREDIT_STORE_URI, MLFLOW_TRACKING_URI" in local.advice
    shared: dict[str, Any] = {
        "executor": "k8s",
        "warehouse_url": "postgresql://h/db",
        "store_uri": "s3://bucket/credit",
        "mlflow_tracking_uri": "http://mlflow:5000",
    }
    outside = check_executor(load_settings(**shared))
    assert outside.status == "warn"
    assert "K8sRunLauncher" in outside.advice
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert check_executor(load_settings(**shared)).status == "ok"


def test_the_disk_of_a_home_that_does_not_exist_yet_is_found(tmp_path: Path) -> None:
    seen = check_disk(load_settings(home=tmp_path / "a" / "b" / "c"))
    assert "GiB free" in seen.value
    assert bool(seen.advice) == (seen.status != "ok")


def test_the_table_shows_brackets_and_ends_with_what_to_do() -> None:
    text = io.StringIO()
    findings = [
        Finding("CREDIT_X", "[bold]value[/bold]", "default"),
        Finding("warehouse", "cannot be reached", "CREDIT_WAREHOUSE_URL", "fail", "start it", "check"),
    ]
    render(findings, Console(file=text, width=100))
    assert "[bold]value[/bold]" in text.getvalue()
    assert "warehouse: start it" in text.getvalue()
    assert "1 failed" in text.getvalue()


def test_the_exit_code_and_the_json_record(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    assert doctor(json=True, console=Console(file=text, width=40)) == 0
    parsed = json.loads(text.getvalue())
    assert parsed["ok"] is True
    assert {"name", "value", "source", "status", "advice", "kind"} == set(parsed["findings"][0])

    monkeypatch.setenv("CREDIT_STORE_URI", "nosuchfs://x")
    text = io.StringIO()
    assert doctor(json=True, console=Console(file=text, width=40)) == 1
    assert json.loads(text.getvalue())["ok"] is False


def test_settings_that_cannot_be_read_are_a_finding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_VARIENTS", "xgboost")
    text = io.StringIO()
    assert doctor(console=Console(file=text, width=200)) == 1
    assert "did you mean CREDIT_VARIANTS?" in text.getvalue()


def test_a_check_that_breaks_does_not_stop_the_others() -> None:
    from credit_assets.cli import doctor as module

    def breaks() -> Any:
        raise RuntimeError("first line\nsecond line")

    seen = module._within(5, breaks)
    assert (seen.status, seen.value) == ("fail", "RuntimeError: first line")
