"""`credit-assets explain`: the reasons of the batch, by the model that decided, and no id of an applicant elsewhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from credit_assets.assets.reasons_given import Decider, with_reasons
from credit_assets.cli import explain as command
from credit_assets.cli.explain import explain_record, print_explanation
from credit_assets.cli.main import app
from credit_assets.cli.shown import console
from credit_assets.failures import PermanentError
from credit_assets.ml.data.features import feature_table
from credit_assets.ml.data.reasons import ReasonContract
from credit_assets.ml.data.schemas import scores_schema
from credit_assets.ml.evidence.scores import Scored, decided
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.ml.scorer import _load_pyfunc as load_served
from credit_assets.settings import Settings, load_settings
from credit_assets.storage.partition_files import stage
from credit_assets.storage.store import Store
from credit_assets_tests.support.modelling import PORTFOLIO, applications

BEFORE = Path(__file__).parents[1] / "data" / "scorers"
DAY = date(2024, 5, 1)


class House:
    """A store with one scored day, and two versions, of which each decides about some applications."""

    def __init__(self, home: Path) -> None:
        file = home / "small.yaml"
        file.write_text(yaml.safe_dump(PORTFOLIO.model_dump(mode="json")))
        self.settings: Settings = load_settings(home=home, portfolio=str(file))
        self.store = Store(str(home / "store"))
        rows = applications(120).drop(columns="truth").assign(applied_on=DAY)
        self.features = feature_table(rows, PORTFOLIO)
        self.folders = {"1": home / "lightgbm", "2": home / "catboost"}
        for folder in self.folders.values():
            scorer = CreditScorer.load(BEFORE / folder.name)
            replace(scorer, cut_off=float(np.quantile(scorer.pd(self.features), 0.6))).save(folder)
            ReasonContract.of(PORTFOLIO).save(folder)
        self.score()

    def score(self) -> pa.Table:
        deciders = {version: Decider.load(folder) for version, folder in self.folders.items()}
        said = []
        for version, one in deciders.items():
            scores = one.scorer.score(self.features)
            said.append(Scored(version, scores["pd"].to_numpy(), scores["score"].to_numpy()))
        made = decided(self.features.select(["loan_id", "applied_on"]), *said, share=0.4, key="secret")
        self.scores = with_reasons(made, deciders.__getitem__, lambda _: self.features, threads=1)
        self.scores = self.scores.cast(scores_schema(PORTFOLIO))
        self.write("loan_scores", self.scores)
        self.write("processed_features", self.features)
        return self.scores

    def write(self, asset: str, table: pa.Table) -> None:
        path = self.store.path(asset, f"{DAY}.parquet")
        staged = stage(self.store, path, table)
        self.store.publish(staged.file, path)

    def resources(self, _: Settings) -> dict[str, Any]:
        registry = SimpleNamespace(
            version=lambda number: SimpleNamespace(version=number, variant=self.folders[number].name),
            download=lambda version: self.folders[version.version],
        )
        return {"store": self.store, "registry": registry}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(tmp_path)
    monkeypatch.setattr(command, "build_resources", made.resources)
    return made


def test_each_applicant_is_explained_as_the_batch_decided(house: House) -> None:
    versions, declined = set(), 0
    for row in house.scores.slice(0, 50).to_pylist():
        record = explain_record(house.settings, row["loan_id"], DAY)
        assert (record["pd"], record["score"]) == (row["pd"], row["score"])
        assert record["version"] == row["model_version"]
        assert record["declined"] == row["declined"]
        assert record["as_recorded"]
        if row["declined"]:
            assert json.dumps(record["reasons"]) == json.dumps(row["reasons"])
        versions.add(record["version"])
        declined += row["declined"]
    assert versions == {"1", "2"}
    assert declined > 5


def test_the_verb_shows_the_reasons_writes_the_page_and_logs_no_id(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row = next(row for row in house.scores.to_pylist() if row["declined"] and row["reasons"])
    page = tmp_path / "decision.html"
    monkeypatch.setattr("credit_assets.cli.version_verbs.load_settings", lambda: house.settings)
    caplog.set_level(logging.DEBUG)
    asked = ["explain", row["loan_id"], "--date", str(DAY), "--html", str(page)]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "Declined" in shown.output
    texts = [ReasonContract.of(PORTFOLIO).text_of(code) for code in row["reasons"]]
    for place, (code, text) in enumerate(zip(row["reasons"], texts, strict=True), start=1):
        assert f"{place}. {text} ({code})" in shown.output
    assert row["loan_id"] not in shown.output
    assert row["loan_id"] not in caplog.text
    assert row["loan_id"] in page.read_text("utf-8")
    first = page.read_bytes()
    from_stdin = CliRunner().invoke(
        app, ["explain", "-", "--date", str(DAY), "--html", str(page), "--json"], input=f"{row['loan_id']}\n"
    )
    assert json.loads(from_stdin.stdout)["reasons"] == row["reasons"]
    assert page.read_bytes() == first
    assert not list(tmp_path.glob(".*"))


def test_that_nothing_may_be_told_is_said(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    """Where all that speaks against an applicant is under `reasons: none`."""
    row = next(row for row in house.scores.to_pylist() if row["declined"])
    record = explain_record(house.settings, row["loan_id"], DAY)
    print_explanation({**record, "reasons": [], "texts": []}, console())
    assert "Nothing that may be given as a reason speaks against the applicant." in capsys.readouterr().out


def test_what_is_stored_otherwise_since_is_said(house: House) -> None:
    row = house.scores.to_pylist()[0]
    column = house.features.column_names.index("income")
    house.write("processed_features", house.features.set_column(column, "income", pa.array([1e6] * 120)))
    record = explain_record(house.settings, row["loan_id"], DAY)
    assert not record["as_recorded"]


def test_other_words_in_the_portfolio_reach_nobody_before_another_version(house: House, tmp_path: Path) -> None:
    """Batch, command and service keep to the words that the version was registered with."""
    words = {"groups": [{"code": "OTHER", "text": "Other words", "features": list(PORTFOLIO.feature_names)}]}
    file = tmp_path / "other.yaml"
    file.write_text(yaml.safe_dump({**PORTFOLIO.model_dump(mode="json"), "reasons": words}))
    house.settings = load_settings(home=tmp_path, portfolio=str(file))
    before = house.scores["reasons"].to_pylist()
    assert house.score()["reasons"].to_pylist() == before
    served = {version: load_served(str(folder)) for version, folder in house.folders.items()}
    features, declined = house.features.to_pylist(), 0
    for row, sent in zip(house.scores.to_pylist(), features, strict=True):
        if not row["declined"] or declined == 10:
            continue
        declined += 1
        told = explain_record(house.settings, row["loan_id"], DAY)
        assert (told["contract"], told["reasons"]) == ("version", row["reasons"])
        (answer,) = served[row["model_version"]].predict([sent], {"explain": True}).to_dict("records")
        assert (answer["reasons"], answer["reason_texts"]) == (row["reasons"], told["texts"])
        assert "Other words" not in told["texts"]
    assert declined == 10


def test_missing_values_are_told_alike_by_batch_command_service_and_page(house: House, tmp_path: Path) -> None:
    gone = pa.nulls(120, pa.float64())
    for column in ("income", "burden"):
        house.features = house.features.set_column(house.features.column_names.index(column), column, gone)
    told: list[list[str]] = []
    page = tmp_path / "page.html"
    served = {version: load_served(str(folder)) for version, folder in house.folders.items()}
    for row, sent in zip(house.score().to_pylist(), house.features.to_pylist(), strict=True):
        if row["declined"] and len(told) < 8:
            record = explain_record(house.settings, row["loan_id"], DAY)
            assert record["reasons"] == row["reasons"]
            own = {name: value for name, value in sent.items() if name != "burden"}
            (answer,) = served[row["model_version"]].predict([own], {"explain": True}).to_dict("records")
            assert (answer["reasons"], answer["reason_texts"]) == (row["reasons"], record["texts"])
            assert "INCOME" not in row["reasons"]
            command.write_page(record, page)
            assert ("No information on: income" in page.read_text("utf-8")) == ("INCOME-MISSING" in row["reasons"])
            told.append(row["reasons"])
    assert len(told) == 8
    assert any("INCOME-MISSING" in reasons for reasons in told)


def test_a_day_and_a_version_of_before_are_explained_in_the_words_of_today(house: House) -> None:
    for folder in house.folders.values():
        scorer = CreditScorer.load(folder)
        replace(scorer, cut_off=None).save(folder)
        (folder / "reasons.json").unlink()
    house.score()
    house.write("loan_scores", house.scores.drop_columns(["declined", "reasons"]))
    record = explain_record(house.settings, "L000003", DAY)
    assert (record["contract"], record["decision"], record["declined"]) == ("portfolio", "none", None)
    assert record["reasons"] is not None
    assert record["as_recorded"]


def _unscored(house: House) -> None:
    house.write("loan_scores", house.scores.slice(0, 0))


def _absent(house: House) -> None:
    house.store.remove(house.store.path("loan_scores", f"{DAY}.parquet"))


@pytest.mark.parametrize(
    ("wanted", "prepare", "says"),
    [
        ("CANARY-1", None, "has no application with this loan_id"),
        ("", None, "no loan_id is given"),
        ("L000003", _unscored, "nobody was scored on 2024-05-01"),
        ("L000003", _absent, "loan_scores: 1 of 1 partitions needed are not there"),
    ],
)
def test_what_cannot_be_explained_is_one_line_without_the_id(
    wanted: str, prepare: Callable[[House], None] | None, says: str, house: House
) -> None:
    if prepare is not None:
        prepare(house)
    with pytest.raises(PermanentError) as refused:
        explain_record(house.settings, wanted, DAY)
    assert says in str(refused.value)
    assert not wanted or wanted not in str(refused.value)


def test_a_page_that_cannot_be_written_leaves_nothing(house: House, tmp_path: Path) -> None:
    record = explain_record(house.settings, "L000003", DAY)
    with pytest.raises(PermanentError, match="cannot be written"):
        command.write_page(record, tmp_path / "absent" / "page.html")
