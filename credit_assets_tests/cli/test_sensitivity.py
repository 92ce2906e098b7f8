"""`credit-assets sensitivity` on a lender's book whose truth is known: which applications it measures, and what it
refuses. The store is one in memory, the registry one of a single version.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rich.console import Console
from typer.testing import CliRunner

import credit_assets
from credit_assets.cli import sensitivity as command
from credit_assets.cli.main import app
from credit_assets.cli.sensitivity import print_sensitivity, sensitivity_record
from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry
from credit_assets.loans.lender_book import generate_lender_book
from credit_assets.ml.data.cohorts import CohortWindow, Known, assemble_training_set
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.settings import Settings, load_settings

PORTFOLIOS = Path(credit_assets.__file__).parent / "portfolios"
START, END, AS_OF = date(2022, 1, 1), date(2022, 6, 30), date(2023, 6, 30)
WINDOW = 365


class InMemory:
    """The tables of a store, by asset; each day has the rows that became known on it."""

    def __init__(self, tables: dict[str, tuple[str, pa.Table]]) -> None:
        self._tables = tables

    def table(self, asset: str, days: Sequence[date], columns: Sequence[str] | None = None) -> pa.Table:
        name, rows = self._tables[asset]
        day = rows[name]
        return rows.filter(pc.and_(pc.greater_equal(day, min(days)), pc.less_equal(day, max(days))))

    def first_day(self, start: date) -> date:
        return START


@dataclass
class OneVersion:
    """A registry with one version, which is the champion."""

    folder: Path
    test_from: date
    champion: bool = True

    named = Registry.named

    def version(self, version: str) -> Any:
        if version != "1":
            raise PermanentError(f"credit-scorer has no version {version}; registered: 1")
        return SimpleNamespace(version="1", as_of=AS_OF, tags={"test_from": self.test_from.isoformat()})

    def alias(self, name: str) -> Any:
        return self.version("1") if self.champion and name == "champion" else None

    def download(self, version: Any) -> Path:
        return self.folder


def kept(rows: pa.Table, day: str) -> pa.Table:
    moment = rows[day].cast(pa.timestamp("us")).cast(pa.int64())
    at = rows.schema.get_field_index(day)
    return rows.set_column(at, day, rows[day].cast(pa.date32())).append_column("known_at", moment)


@dataclass
class World:
    settings: Settings
    registry: OneVersion
    truth: Any
    tables: InMemory
    reported: Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    # Without a customer column the version's test is everyone of its days, as what is measured here is.
    file = tmp_path_factory.mktemp("portfolio") / "lender_decisions.yaml"
    file.write_text((PORTFOLIOS / file.name).read_text("utf-8").replace("role: customer", "role: ignored"), "utf-8")
    portfolio = load_portfolio(file)
    book = generate_lender_book(20_000, START, END, 2, known_until=date(2024, 12, 31))
    features = feature_table(book.applications, portfolio)
    tables = {
        "processed_features": ("application_date", features),
        "loan_outcomes": ("recorded_at", kept(book.performance, "recorded_at")),
        "loan_decisions": ("decided_on", kept(book.decisions, "decided_on")),
    }
    window = CohortWindow(AS_OF, WINDOW, (END - START).days + 1)
    known = Known(tables["loan_outcomes"][1], tables["loan_decisions"][1])
    rows = assemble_training_set(features, known, window, portfolio, test_share=0.4, validation_share=0.2)
    candidate = train_candidate(rows, "lightgbm", portfolio, TrainingConfig(max_rounds=40))
    folder = tmp_path_factory.mktemp("model")
    candidate.scorer.save(folder)
    test_from = pc.min(rows.filter(pc.equal(rows["split"], "test"))["application_date"]).as_py()
    home = tmp_path_factory.mktemp("home")
    settings = load_settings(home=home, portfolio=str(file), start_date=START)
    truth = book.truth.to_pandas(date_as_object=False)
    return World(settings, OneVersion(folder, test_from), truth, InMemory(tables), candidate.metrics["test"])


@pytest.fixture
def world(made: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(command, "build_resources", lambda settings: {"registry": made.registry, "store": None})
    monkeypatch.setattr(command, "StoredDays", lambda store: made.tables)
    return made


def test_the_booked_are_those_of_the_versions_test(world: World) -> None:
    record = sensitivity_record(world.settings, None, [], None)
    assert (record["version"], record["as_of"], record["to"]) == ("1", AS_OF.isoformat(), END.isoformat())
    assert record["booked"]["rows"] == world.reported.rows
    assert record["booked"]["bads"] == world.reported.bads
    auc = record["booked"]["auc"]
    reported = world.reported
    assert (auc["value"], auc["low"], auc["high"]) == pytest.approx(
        (reported.auc, reported.auc_ci_low, reported.auc_ci_high)
    )
    assert [(one["method"], one["factor"]) for one in record["assumed"]] == [
        (method, factor) for method in ("parcelling", "fuzzy") for factor in (1.0, 2.0, 3.0, 4.0)
    ]


def test_everyone_is_there_once_and_those_left_out_are_counted(world: World) -> None:
    record = sensitivity_record(world.settings, "1", [2.0], 5)
    rows = world.truth[world.truth["application_date"] >= np.datetime64(world.registry.test_from)]
    assert record["applications"] == len(rows)
    known = rows[rows["decided_on"] <= np.datetime64(AS_OF)]
    assert record["declined"] == (known["status"] == "declined").sum()
    assert record["withdrawn"] == known["status"].isin(["withdrawn", "offer_expired"]).sum()
    counted = record["booked"]["rows"] + record["declined"] + record["withdrawn"] + record["left_out"]
    assert counted == record["applications"]
    assert {one["measures"]["rows"] for one in record["assumed"]} == {counted - record["left_out"]}
    assert len(record["assumed"]) == 2


def test_what_became_known_after_the_day_of_the_version_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until(asset: str) -> tuple[str, pa.Table]:
        day, rows = world.tables._tables[asset]
        return day, rows if asset == "processed_features" else rows.filter(pc.less_equal(rows[day], AS_OF))

    before = sensitivity_record(world.settings, None, [2.0], None)
    monkeypatch.setattr(
        command, "StoredDays", lambda store: InMemory({name: until(name) for name in world.tables._tables})
    )
    assert sensitivity_record(world.settings, None, [2.0], None) == before


def test_more_assumed_risk_of_the_declined_is_nearer_to_their_truth(world: World) -> None:
    record = sensitivity_record(world.settings, None, [], None)
    rows = world.truth[world.truth["application_date"] >= np.datetime64(world.registry.test_from)]
    true = rows.loc[rows["status"] == "declined", "pd"].mean()
    for method in ("parcelling", "fuzzy"):
        off = [abs(one["declined_bad_rate"] - true) for one in record["assumed"] if one["method"] == method]
        assert off[0] > 2 * off[-1]


def test_assumptions_stand_in_the_heading(world: World) -> None:
    console = Console(record=True, width=200)
    print_sensitivity(sensitivity_record(world.settings, None, [1.0, 2.5], 7), console)
    shown = " ".join(console.export_text().split())
    assert "ASSUMED, NOT MEASURED" in shown
    assert "k times as bad as the booked of the same band of PD" in shown
    assert "The withdrawn are as bad as the booked" in shown
    assert "Nothing of this is used in training or in a decision" in shown
    assert shown.index("ASSUMED") < shown.index("parcelling, k = 2.5")
    assert "fuzzy, k = 2.5" in shown


@pytest.mark.parametrize(
    ("population", "said"),
    [
        (None, "does not say who was lent to, so nobody is known to be declined"),
        ("all", "says that everyone in loan_applications was lent to"),
    ],
)
def test_without_a_population_there_is_nobody_to_assume_anything_of(
    population: str | None, said: str, world: World, tmp_path: Path
) -> None:
    given = load_portfolio(PORTFOLIOS / "lender_decisions.yaml").model_dump(mode="json", exclude_unset=True)
    given.pop("population")
    file = tmp_path / "portfolio.json"
    file.write_text(json.dumps({**given, **({"population": population} if population else {})}))
    with pytest.raises(PermanentError, match=said):
        sensitivity_record(load_settings(home=tmp_path, portfolio=str(file)), None, [], None)


def test_what_cannot_be_measured_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermanentError, match="has no version 8; registered: 1"):
        sensitivity_record(world.settings, "8", [], None)
    with pytest.raises(PermanentError, match="every factor must be a positive number"):
        sensitivity_record(world.settings, None, [-1.0], None)
    monkeypatch.setattr(world.registry, "champion", False)
    with pytest.raises(PermanentError, match="there is no champion yet"):
        sensitivity_record(world.settings, None, [], None)


def test_the_command_has_its_options(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credit_assets.cli.version_verbs.load_settings", lambda: world.settings)
    done = CliRunner().invoke(app, ["sensitivity", "1", "--factor", "2", "--factor", "3", "--bands", "4", "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.output)
    assert sorted({one["factor"] for one in record["assumed"]}) == [2, 3]
    assert record["bands"] <= 4


@pytest.mark.parametrize("name", ["lender_status", "lender_decisions"])
def test_the_packaged_portfolios_describe_the_generated_book(name: str) -> None:
    portfolio = load_portfolio(PORTFOLIOS / f"{name}.yaml")
    book = generate_lender_book(3_000, START, END, 1, known_until=AS_OF)
    tables = {table: rows for table, (_, rows) in book.tables().items()}
    assert {column.name for column in portfolio.columns} <= set(tables[portfolio.applications_table].column_names)
    stated, outcomes = portfolio.decisions, portfolio.outcomes
    assert stated is not None
    where = tables[getattr(stated, "table", portfolio.applications_table)]
    assert set(pc.unique(where[stated.status]).to_pylist()) <= set(stated.classes)
    says = tables[outcomes.table]
    assert {outcomes.id, outcomes.date, outcomes.says} <= set(says.column_names)
    if outcomes.status:
        assert set(pc.unique(says[outcomes.status]).to_pylist()) <= set(outcomes.classes)
    applications = feature_table(tables["loan_applications"], portfolio)
    assert applications.num_rows == 3_000
    assert END + timedelta(1) > pc.max(applications["application_date"]).as_py()
