"""Patterns of columns over a real warehouse and store: resolved once, the same from then on."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest

from credit_assets.cli.doctor import portfolio_health
from credit_assets.failures import PermanentError
from credit_assets.ml.data.fingerprints import fingerprint
from credit_assets.settings import Settings, SettingsError, load_settings
from credit_assets.warehouse import open_warehouse

PORTFOLIO = """
name: wide
population: all
applications_table: requests
columns:
  - {name: id, type: string, role: id, nullable: false}
  - {name: day, type: date, role: date, nullable: false}
columns_matching:
  - {names: "bureau_*", type: float, minimum: 0}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "portfolio.yaml").write_text(PORTFOLIO)
    return tmp_path


def settings_of(home: Path) -> Settings:
    return load_settings(home=home, portfolio=home / "portfolio.yaml")


def execute(home: Path, *statements: str) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        for statement in statements:
            connection.execute(statement)


TABLE = (
    "CREATE TABLE requests AS SELECT 'a' AS id, DATE '2024-01-02' AS day, 1.5 AS bureau_b, 2 AS bureau_a, 3 AS other"
)


def test_patterns_are_resolved_against_the_table_once(home: Path) -> None:
    execute(home, TABLE)
    first = settings_of(home).portfolio_contract
    assert first.feature_names == ("bureau_b", "bureau_a")
    assert first.column("bureau_a").minimum == 0
    execute(home, "ALTER TABLE requests ADD COLUMN bureau_c DOUBLE")
    again = settings_of(home)
    assert again.portfolio_contract == first
    found = portfolio_health(again)
    assert found.status == "warn"
    assert "bureau_c came later" in found.advice
    # Without its warehouse the code location loads, with the contract that it had.
    (home / "warehouse.duckdb").unlink()
    assert settings_of(home).portfolio_contract == first


def test_another_set_of_columns_is_another_contract(home: Path) -> None:
    execute(home, TABLE)
    first = settings_of(home).portfolio_contract
    # Another pattern is looked up anew; so is a column that is written down.
    (home / "portfolio.yaml").write_text(PORTFOLIO.replace('"bureau_*"', '"bureau_a*"'))
    second = settings_of(home).portfolio_contract
    assert second.feature_names == ("bureau_a",)
    contracts = [fingerprint(columns=one.model_dump(mode="json")) for one in (first, second)]
    assert contracts[0] != contracts[1]
    (home / "portfolio.yaml").write_text(PORTFOLIO)
    assert settings_of(home).portfolio_contract == first


def test_without_a_table_nothing_is_kept_and_nothing_is_read(home: Path) -> None:
    settings = settings_of(home)
    assert settings.portfolio_contract.columns_matching
    assert "waits for table requests" in portfolio_health(settings).value
    warehouse = open_warehouse(settings.warehouse)
    with pytest.raises(PermanentError, match=r"columns_matching \(bureau_\*\) of portfolio wide is not resolved"):
        warehouse.read_applications(settings.portfolio_contract, date(2024, 1, 2), date(2024, 1, 2))
    execute(home, TABLE)
    settings = settings_of(home)
    assert open_warehouse(settings.warehouse).read_applications(
        settings.portfolio_contract, date(2024, 1, 2), date(2024, 1, 2)
    ).read_all().to_pylist() == [{"id": "a", "day": date(2024, 1, 2), "bureau_b": 1.5, "bureau_a": 2.0}]


def test_a_pattern_that_matches_nothing_is_a_bad_setting(home: Path) -> None:
    execute(home, TABLE.replace("bureau_", "agency_"))
    with pytest.raises(SettingsError, match=r"CREDIT_PORTFOLIO: columns_matching: 'bureau_\*' matches none of the 5"):
        settings_of(home)
