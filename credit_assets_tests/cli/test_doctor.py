"""The doctor: what it says of servers that are there, that are not, and that never answer; and what it never says."""

from __future__ import annotations

import io
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from credit_assets.cli.doctor import (
    Finding,
    comparison_health,
    diagnose,
    disk_health,
    doctor,
    extensions_health,
    files_health,
    record,
    render,
    within,
)
from credit_assets.cli.state import extension_warnings
from credit_assets.instance.health import health as instance_health
from credit_assets.ml.data.extensions import extension
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.learners import scorecard
from credit_assets.settings import Settings, load_settings, variable
from credit_assets.storage.store import Store
from credit_assets.warehouse.health import health as warehouse_health
from credit_assets_tests.support.lender import MODULES, Lender, own_features
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


def test_a_first_run_works_and_says_what_to_do_next() -> None:
    found = checks(load_settings())
    assert {name: finding.status for name, finding in found.items()} == {
        "portfolio": "ok",
        "extensions": "ok",
        "warehouse": "warn",
        "store": "ok",
        "rows": "warn",
        "book": "ok",
        "first model": "ok",
        "comparisons": "ok",
        "MLflow": "ok",
        "ledger": "ok",
        "moves": "ok",
        "columns": "ok",
        "Dagster": "ok",
        "runs": "ok",
        "alerts": "ok",
        "executor": "ok",
        "disk": found["disk"].status,
        "files": "ok",
    }
    assert "credit-assets generate" in found["warehouse"].advice
    assert "was written" in found["Dagster"].value
    assert found["book"].value.startswith("none yet")
    assert found["first model"].value.startswith("possible as of 2025-01-02: the start date (CREDIT_START_DATE)")
    assert "CREDIT_ALERT_URLS" in found["alerts"].advice
    assert found["warehouse"].source == "CREDIT_WAREHOUSE_URL"
    # It looks; the only traces are the folders that every command makes.
    home = load_settings().home_dir
    assert sorted(path.name for path in home.iterdir()) == ["dagster", "store"]
    assert list((home / "store").iterdir()) == []
    assert "is there" in instance_health(load_settings()).value


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
    assert found["CREDIT_VARIANTS"].value == "xgboost, lightgbm, catboost, scorecard"
    monkeypatch.setattr(scorecard, "find_spec", lambda _: None)
    without = settings_of(load_settings())["CREDIT_VARIANTS"].value
    assert without.startswith("xgboost, lightgbm, catboost (variant scorecard is trained with the package optbinning")
    assert "install credit-assets[scorecard])" in without


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


def test_a_server_that_never_answers_takes_its_time_limit_and_no_more(mute: int) -> None:
    url, settings = f"postgresql://risk:x@127.0.0.1:{mute}/loans", load_settings()
    found = within(
        2, lambda: warehouse_health(url, settings.portfolio_contract, settings.start_date, "UTC", embedded=False)
    )
    assert found.status == "fail"
    assert "no answer within 2 s" in found.value
    assert "firewall" in found.advice


def test_a_book_too_small_to_compare_models_on_is_warned(tmp_path: Path) -> None:
    settings = load_settings(store_uri=str(tmp_path))
    assert comparison_health(settings).value == "what a comparison could show is known with the first model"
    test = {"auc": 0.68, "auc_ci_low": 0.62, "auc_ci_high": 0.74, "rows": 5_000, "bads": 110}
    for bads, status in ((110, "ok"), (49, "warn")):
        record = {"evaluation": test | {"bads": bads}, "champion": None}
        Store(settings.store).write_record(Store(settings.store).path("trained_model", "2024-03-31.json"), record)
        found = comparison_health(settings)
        assert found.status == status
        assert f"2024-03-31 ({bads} bads" in found.value
        assert ("CREDIT_PROMOTION_MIN_BADS" in found.advice) == (status == "warn")


def test_the_disk_of_a_home_that_does_not_exist_yet_is_found(tmp_path: Path) -> None:
    seen = disk_health(load_settings(home=tmp_path / "a" / "b" / "c"))
    assert "GiB free" in seen.value
    assert bool(seen.advice) == (seen.status != "ok")


@pytest.mark.parametrize(("access", "mask", "command"), [("private", 0o077, "go-rwx"), ("group", 0o027, "g-w,o-rwx")])
def test_files_that_others_can_read_are_named_with_what_takes_that_away(
    access: str, mask: int, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDIT_FILE_ACCESS", access)
    home = tmp_path / "a home"
    home.mkdir()
    settings = load_settings(home=home, store_uri=str(tmp_path / "elsewhere"))
    for name in ("warehouse.duckdb", "settings.env", "../elsewhere"):
        (home / name).write_text("")
    # The folder of the tests is their user's alone, and so would be everything in it.
    monkeypatch.setattr("credit_assets.file_modes._let_through", lambda path: 0o077)
    everything = [home, *home.iterdir(), tmp_path / "elsewhere"]
    for path in everything:
        path.chmod(0o777)
    found = files_health(settings)
    assert found.status == "warn"
    assert found.value == "others may read or change a home, settings.env, warehouse.duckdb, elsewhere"
    assert found.advice.endswith(f": chmod -R {command} '{home}' {tmp_path / 'elsewhere'}")
    subprocess.run(found.advice.rpartition(": ")[2], shell=True, check=True)
    assert files_health(settings).status == "ok"
    assert {path.stat().st_mode & mask for path in everything} == {0}


def test_what_is_wrong_comes_first_and_defaults_are_counted_or_shown() -> None:
    findings = [
        Finding("CREDIT_X", "[bold]value[/bold]", "default"),
        Finding("CREDIT_Y", "other", "environment"),
        Finding("disk", "little", "CREDIT_HOME", "warn", "free some", "check"),
        Finding("warehouse", "cannot be reached", "CREDIT_WAREHOUSE_URL", "fail", "start it", "check"),
    ]

    def shown(*, whole: bool) -> str:
        text = io.StringIO()
        render(findings, Console(file=text, width=80), whole=whole)
        assert max(map(len, text.getvalue().splitlines())) <= 80
        return text.getvalue()

    first, second, third = shown(whole=False).splitlines()[:3]
    assert (first, second, third) == ("1 failed", "fail warehouse: start it", "warn disk: free some")
    assert "CREDIT_X" not in shown(whole=False)
    assert "1 settings are at their defaults" in shown(whole=False)
    assert "CREDIT_Y" in shown(whole=False)
    assert "[bold]value[/bold]" in shown(whole=True)
    assert "at their defaults" not in shown(whole=True)


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
    def breaks() -> Any:
        raise RuntimeError("first line\nsecond line")

    seen = within(60, breaks)
    assert (seen.status, seen.value) == ("fail", "RuntimeError: first line")


def test_extensions_are_listed_with_version_source_and_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lender = own_features(tmp_path, monkeypatch)
    found = extensions_health(load_settings())
    source = extension("feature", "own_burden").source[:12]
    said = f"feature own_burden of {lender.name} 1.2.0 ({lender.name}.features, source {source}), not used"
    assert (found.status, found.value) == ("ok", said)
    # What only shows on rows is found before a step meets it.
    file = tmp_path / "own.yaml"
    contract = load_portfolio().model_dump(mode="json")
    inputs = {"debt": "total_debt", "income": "annual_income"}
    contract["derived"].append({"name": "own_burden", "function": "own_burden", "inputs": inputs, "monotone": 0})
    file.write_text(json.dumps(contract))
    assert extensions_health(load_settings(portfolio=file)).value == said.removesuffix(", not used")
    lender.edit("features", "debt / income", "debt / income.mean()")
    failed = extensions_health(load_settings(portfolio=file))
    assert failed.status == "fail"
    assert "gives a row another value when it stands alone" in failed.advice


def test_modules_without_a_package_are_named_for_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Lender(tmp_path, monkeypatch).write(**MODULES).named()
    monkeypatch.setenv("CREDIT_EXECUTOR", "k8s")
    found = extensions_health(load_settings())
    assert found.status == "warn"
    assert found.advice.startswith("own_burden: see that the pods' image has the modules of CREDIT_EXTENSIONS")


def test_a_model_in_force_whose_extension_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lender = own_features(tmp_path, monkeypatch)
    feature = extension("feature", "own_burden").record()
    model = {
        "version": "7",
        "aliases": ["champion"],
        "extensions": [feature, {**feature, "kind": "gate", "name": "gone"}],
    }
    # A gate scores nothing.
    assert extension_warnings(model, None) == []
    lender.uninstall()
    (warning,) = extension_warnings(model, None)
    assert warning.startswith("version 7 (champion) cannot score here: feature own_burden of")
    assert f"install {lender.name}==1.2.0" in warning
    assert "gone" not in warning
    monkeypatch.setattr("credit_assets.cli.doctor.holders", lambda *_: [model, None])
    found = extensions_health(load_settings())
    assert (found.status, found.advice) == ("fail", warning)
