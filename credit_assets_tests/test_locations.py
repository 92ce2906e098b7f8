"""Code locations by portfolio: a name is all that a workspace gives, and each has settings of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from credit_assets import locations
from credit_assets.cli.dev import DEFAULT, served, workspace_of
from credit_assets.settings import SettingsError, load_settings, setting_sources
from credit_assets_tests.support.portfolios import equal_columns


@pytest.fixture
def home() -> Path:
    folder = load_settings().home_dir
    equal_columns(folder / "portfolios", "cards")
    equal_columns(folder / "portfolios", "Auto.Loans")
    return folder


def test_an_attribute_is_the_portfolio_of_that_name(home: Path) -> None:
    jobs = {job.name for job in locations.cards.get_repository_def().get_all_jobs()}
    assert "cards_credit_scoring_daily" in jobs
    assert locations.cards is locations.cards
    with pytest.raises(SettingsError, match=r"no portfolio boats: .*known: consumer_loans, Auto.Loans, cards"):
        _ = locations.boats
    with pytest.raises(AttributeError):
        _ = locations.__path__


@pytest.mark.slow
def test_dagster_loads_every_location_of_the_workspace(home: Path) -> None:
    names = served(load_settings())
    assert list(names) == [DEFAULT, "Auto.Loans", "cards"]
    file = home / "workspace.yaml"
    file.write_text(workspace_of(names), "utf-8")
    command = [str(Path(sys.executable).parent / "dagster"), "definitions", "validate", "-w", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in names:
        assert f"Validation successful for code location {name}" in done.stdout + done.stderr


def test_one_that_is_named_is_served_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_PORTFOLIO", "cards")
    assert list(served(load_settings())) == ["cards"]
    monkeypatch.setenv("CREDIT_PORTFOLIO", str(equal_columns(home / "elsewhere", "boats")))
    assert list(served(load_settings())) == [DEFAULT]


def test_settings_of_a_portfolio_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "settings.env").write_text("CREDIT_ALERT_URLS=json://all\nCREDIT_SEED=1\n", "utf-8")
    own = home / "portfolios" / "cards.env"
    own.write_text("CREDIT_ALERT_URLS=json://cards\n", "utf-8")
    assert load_settings(portfolio="cards").alert_targets == ("json://cards",)
    assert load_settings(portfolio="cards").seed == 1
    assert load_settings().alert_targets == ("json://all",)
    file = home / "portfolios" / "cards.yaml"
    assert setting_sources(file)["alert_urls"] == str(own)
    assert load_settings(portfolio=file).alert_targets == ("json://cards",)
    monkeypatch.setenv("CREDIT_ALERT_URLS", "json://everybody")
    assert load_settings(portfolio="cards").alert_targets == ("json://everybody",)


@pytest.mark.parametrize("name", ["CREDIT_HOME", "CREDIT_PORTFOLIO", "DAGSTER_HOME"])
def test_what_is_common_is_not_set_for_one(home: Path, name: str) -> None:
    (home / "portfolios" / "cards.env").write_text(f"{name}=/elsewhere\n", "utf-8")
    with pytest.raises(SettingsError, match=f"settings of one portfolio alone: set {name} in the environment"):
        load_settings(portfolio="cards")
    load_settings()


def test_a_file_is_named_as_its_portfolio(home: Path) -> None:
    (home / "portfolios" / "cards.yaml").rename(home / "portfolios" / "boats.yaml")
    with pytest.raises(SettingsError, match=r"says `name: cards`: rename the file to cards\.yaml"):
        load_settings(portfolio="boats")


@pytest.mark.slow
def test_the_command_takes_a_portfolio_before_and_after_the_verb(home: Path) -> None:
    for arguments in (
        ["--portfolio", "cards", "status", "--json"],
        ["status", "--portfolio=cards", "--json"],
        ["status", "--json", "--portfolio", str(home / "portfolios" / "cards.yaml")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "credit_assets.cli.main", *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (home / "dagster").is_dir()
    refused = subprocess.run(
        [sys.executable, "-m", "credit_assets.cli.main", "status", "--portfolio", "boats"],
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert "credit-assets: CREDIT_PORTFOLIO: no portfolio boats" in refused.stderr
    without = subprocess.run(
        [sys.executable, "-m", "credit_assets.cli.main", "status", "--portfolio"], capture_output=True, text=True
    )
    assert without.returncode == 2
