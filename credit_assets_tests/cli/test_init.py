"""From a file that nobody has described to a portfolio, loads and a champion, by the commands that a person gives."""

from __future__ import annotations

import json
import math
import random
import re
import shlex
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from credit_assets.cli.main import app
from credit_assets.ml.data.portfolio import load_portfolio

DOCS = Path(__file__).parents[2] / "docs" / "first-portfolio.md"
_FIRST, _DAYS = date(2022, 1, 3), 720


def _amount(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def bank_files(folder: Path, rows: int, *, in_the_row: bool = False) -> None:
    """A bank's applications and outcomes: Windows-1252, semicolons, decimal commas, umlauts, declined applicants."""
    draw = random.Random(7)
    names = (
        "Antrags-Nr;Antragsdatum;Nettoeinkommen (EUR);Kredithöhe;Zinssatz;Beschäftigung;Scorewert;Geschlecht;PLZ;Status"
    )
    applications, outcomes = (
        [names + (";Stand am;Ausgefallen" if in_the_row else "")],
        ["Antrags-Nr;Stand am;Ausgefallen"],
    )
    for number in range(rows):
        day = _FIRST + timedelta(days=number * _DAYS // rows)
        income, amount = draw.lognormvariate(7.8, 0.4), draw.uniform(1_000, 30_000)
        rate, score = draw.uniform(2, 14), draw.gauss(600, 60)
        job = draw.choice(["Angestellt", "Beamter", "Selbständig"])
        risk = -2.0 + 0.9 * (rate - 8) / 3.5 - 0.9 * (score - 600) / 60 + 0.4 * (job == "Selbständig")
        pd = 1 / (1 + math.exp(-risk))
        booked = draw.random() < 0.9
        status = "abgelehnt" if pd + draw.uniform(-0.1, 0.1) > 0.3 else "ausgezahlt" if booked else "zurückgezogen"
        bad = draw.random() < pd
        known = day + timedelta(days=draw.randrange(60, 170) if bad else 181)
        said = [f"{known:%d.%m.%Y}", "ja" if bad else "nein"] if status == "ausgezahlt" else ["", ""]
        said[1] = {"ja": "1", "nein": "0", "": ""}[said[1]]
        key = f"K{100_000 + number}"
        values = [key, f"{day:%d.%m.%Y}", _amount(income) if draw.random() > 0.03 else "", _amount(amount)]
        values += [
            f"{_amount(rate)} %",
            job,
            str(int(score)),
            draw.choice("mwd"),
            f"{draw.randrange(99_999):05d}",
            status,
        ]
        applications.append(";".join([*values, *(said if in_the_row else [])]))
        if said[0]:
            outcomes.append(";".join([key, *said]))
    (folder / "antraege.csv").write_bytes("\r\n".join(applications).encode("cp1252"))
    (folder / "ausfaelle.csv").write_bytes("\r\n".join(outcomes).encode("cp1252"))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A command in an empty folder; its JSON, or its message where it fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    runner = CliRunner()

    def run(*arguments: str, fails: bool = False) -> Any:
        result = runner.invoke(app, [*arguments, "--json"])
        assert (result.exit_code != 0) == fails, (result.output, result.exception)
        return str(result.exception) if fails else json.loads(result.stdout)

    return run


def test_a_file_becomes_a_portfolio_that_loads_as_it_stands(command: Callable[..., Any], tmp_path: Path) -> None:
    bank_files(tmp_path, 6_000)
    report = command("init", "antraege.csv", "--outcomes", "ausfaelle.csv")
    assert (report["id"], report["date"]) == ("Antrags-Nr", "Antragsdatum")
    assert report["protected"] == ["Geschlecht", "PLZ"]
    assert report["monotone"] == {"Zinssatz": 1, "Scorewert": -1}
    assert report["doctor"]["ok"]
    portfolio = load_portfolio("portfolio.yaml")
    assert portfolio.outcomes.defaulted == "Ausgefallen"
    assert portfolio.outcomes.date == "Stand_am"
    assert portfolio.population.booked == ("ausgezahlt",)  # type: ignore[union-attr]
    assert portfolio.column("Zinssatz").unit == "percent"
    # What is there in every row is a feature that a loan is not judged without in silence; what is not, is learned.
    assert portfolio.column("Zinssatz").missing == portfolio.column("Beschaeftigung").missing == "worst_case"
    assert portfolio.column("Nettoeinkommen_EUR").missing is None
    assert (
        portfolio.column("Beschaeftigung").allowed == ("Angestellt", "Beamter", "Selbständig")
        or len(portfolio.column("Beschaeftigung").allowed or ()) == 3
    )
    text = Path("portfolio.yaml").read_text()
    assert "Statuses found in Status: ausgezahlt:" in text
    # No value of an applicant.
    rows = (tmp_path / "antraege.csv").read_text("cp1252").splitlines()[1:]
    values = {value.split()[0] for row in rows for value in row.split(";") if re.search(r"\d{4}|\d,\d", value)}
    assert not values & set(re.findall(r"[\w.,-]+", text))
    assert "portfolio.yaml is there already" in command("init", "antraege.csv", fails=True)
    assert Path("portfolio.yaml").read_text() == text
    command("init", "antraege.csv", "--force")


def test_both_tables_from_one_row(command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank_files(tmp_path, 2_000, in_the_row=True)
    command("init", "antraege.csv")
    monkeypatch.setenv("CREDIT_PORTFOLIO", str(tmp_path / "portfolio.yaml"))
    report = command("load", "csv", "antraege.csv", "--table", "applications", "--table", "outcomes")
    booked = sum(";ausgezahlt;" in row for row in (tmp_path / "antraege.csv").read_text("cp1252").splitlines())
    assert report["warehouse"]["applications_inserted"] == 2_000
    assert report["warehouse"]["outcomes_inserted"] == booked
    assert report["outcomes"]["read_as"]["rows without an outcome"] == f"{2_000 - booked:,}"
    assert report["outcomes"]["rejected_rows_file"] is None
    with duckdb.connect(str(tmp_path / "home" / "warehouse.duckdb")) as connection:
        statuses = connection.execute("SELECT Status, count(*) FROM loan_applications GROUP BY ALL").fetchall()
    assert dict(statuses)["ausgezahlt"] == booked


def test_a_table_of_the_warehouse_becomes_a_portfolio(command: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with duckdb.connect(str(tmp_path / "home" / "warehouse.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE requests AS SELECT uuid() AS request_id, DATE '2024-01-01' + (i % 90)::INT AS applied_on, "
            "(i % 37)::DECIMAL(9,2) * 100 AS amount, 'b' || i % 3 AS branch FROM range(500) t(i)"
        )
        connection.execute('CREATE VIEW odd AS SELECT request_id, applied_on, amount AS "Höhe" FROM requests')
    assert command("init", "requests")["id"] == "request_id"
    portfolio = load_portfolio("portfolio.yaml")
    assert portfolio.applications_table == "requests"
    assert [column.type for column in portfolio.columns] == ["string", "date", "float", "category"]
    assert "cannot name column Höhe" in command("init", "odd", "--force", fails=True)
    assert "neither a file nor a table" in command("init", "none", "--force", fails=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id;day;x\n", "holds no rows"),
        ("id,day,x\n1,2024-01-01,2\n1,2024-01-02,3\n", "no column can be the id"),
        ("id,x\n1,2.5\n2,3.5\n", "no column can be the day of application"),
        ("id,id,day\n1,1,2024-01-01\n", "no known table layout"),
    ],
)
def test_files_that_are_no_table_of_applications_write_nothing(
    text: str, message: str, command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert message in command("init", "a.csv", fails=True)
    assert not (tmp_path / "portfolio.yaml").exists()


@pytest.mark.slow
def test_the_commands_of_the_walkthrough_lead_to_a_champion(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank_files(tmp_path, 9_000)
    lines = re.findall(r"^\$ (.+)$", DOCS.read_text("utf-8"), re.M)
    given = 0
    for line in lines:
        words = shlex.split(line)
        if words[0] == "export":
            for word in words[1:]:
                name, value = word.split("=", 1)
                monkeypatch.setenv(name, value.replace("$PWD", str(tmp_path)))
            continue
        assert words[0] == "credit-assets", line
        given += 1
        found = command(*words[1:])
    assert given == 5
    champion = next(version for version in found["versions"] if "champion" in version["aliases"])
    assert champion["metrics"]["auc"] > 0.6
