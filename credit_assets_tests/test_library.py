"""Models and partitions as a notebook reads them: equal to what the pipeline made, and one clear error otherwise."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import credit_assets
from credit_assets import evaluate, load_champion, load_models, load_partition
from credit_assets.failures import PermanentError, TransientError
from credit_assets.library import Record
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.evidence.evaluation import compare
from credit_assets.ml.rules.decisions import Decision, Reason
from credit_assets.settings import SettingsError, load_settings
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import TRAINED, TRIAL, copied_home
from credit_assets_tests.support.portfolios import equal_columns
from credit_assets_tests.support.ports import free_port
from credit_assets_tests.support.store_files import read_table, write_table


@pytest.fixture(scope="module")
def home(trial_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 champion since 1 April, version 2 on trial; scored to 25 May."""
    return copied_home(trial_home, tmp_path_factory.mktemp("library") / "home")


@pytest.fixture
def in_force(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home as the environment names it."""
    monkeypatch.setenv("CREDIT_HOME", str(home))
    return home


def test_two_lines_are_a_scored_frame_and_its_figures(in_force: Path) -> None:
    scored = load_champion().tested()
    figures = evaluate(scored["default"], scored["pd"])
    recorded = load_partition("trained_model", TRAINED)
    assert isinstance(recorded, Record)
    assert figures.to_record() == recorded["evaluation"]
    assert load_champion().metrics["auc"] == pytest.approx(figures.auc, abs=1e-6)
    assert set(scored["split"]) == {"test"}


def test_scores_are_those_of_the_pipeline_to_the_last_bit(in_force: Path) -> None:
    day = "2024-04-01"
    scored = load_champion().score(load_partition("processed_features", day))
    recorded = load_partition("loan_scores", day)
    assert len(scored)
    assert scored["pd"].to_numpy().tobytes() == recorded["pd"].to_numpy().tobytes()
    assert scored["score"].to_numpy().tobytes() == recorded["score"].to_numpy().tobytes()
    # What the rows had stays with them.
    assert list(scored.columns[-2:]) == ["pd", "score"]
    assert scored["application_id"].tolist() == recorded["application_id"].tolist()
    # An Arrow table, and a frame with an index of its own, say the same.
    own = load_partition("processed_features", day).set_index("application_id")
    again = load_champion().score(own)
    assert again.index.equals(own.index)
    assert again["pd"].tolist() == scored["pd"].tolist()


def test_the_home_may_be_named(home: Path, tmp_path: Path) -> None:
    """And its settings are read: the demo leaves in them what the rest of the house was made with."""
    other = copied_home(home, tmp_path / "other")
    (other / "settings.env").write_text("CREDIT_MIN_AUC=0.61\nCREDIT_VARIANTS=lightgbm\n")
    assert load_settings(home=other).min_auc == 0.61
    assert load_settings().min_auc != 0.61
    assert load_champion(home=other).version == load_champion(home=home).version
    with pytest.raises(PermanentError, match=r"no asset 'xgboost_candidate'"):
        load_partition("xgboost_candidate", TRAINED, home=other)
    (other / "settings.env").write_text("CREDIT_MIN_ACU=0.61\n")
    with pytest.raises(SettingsError, match=r"unknown setting CREDIT_MIN_ACU in .*other/settings.env"):
        load_champion(home=other)


def test_the_champion_of_a_day(in_force: Path) -> None:
    assert load_champion("2024-05-01").version.version == "1"
    assert load_champion(datetime(2024, 5, 1, 12)).version.version == "1"
    assert load_champion(pd.Timestamp("2024-05-01")).version.version == "1"
    with pytest.raises(
        PermanentError, match=r"credit-scorer has no champion on 2024-02-01 at sqlite:///.*replay --start"
    ):
        load_champion(date(2024, 2, 1))


def test_models_are_a_table(in_force: Path) -> None:
    models = load_models()
    assert [model.version.version for model in models] == ["1", "2"]
    assert models["2"].version == models[-1].version
    assert [model.version.version for model in models[:1]] == ["1"]
    frame = models.to_frame()
    assert frame.loc["1", "aliases"] == "challenger, champion"
    assert frame.loc["1", "auc"] == models[0].metrics["auc"]
    assert frame.loc["1", "in_force"] == f"{date(2024, 4, 1)} .. now"
    assert repr(models) == "<Models credit-scorer: 2 versions>"
    assert repr(models[0]).startswith(f"<Model credit-scorer version 1: {models[0].version.variant} as of {TRAINED}")
    html = models._repr_html_()
    assert html.count("<tr>") == 3
    assert 'scope="row">1<' in html
    assert f"{models[0].metrics['auc']:.6g}" in html
    assert "<td>challenger, champion</td>" in models[0]._repr_html_()
    # A challenger scores, too, and otherwise than the champion.
    day = load_partition("processed_features", TRIAL)
    assert not np.array_equal(models["2"].score(day)["pd"], models["1"].score(day)["pd"])


def test_partitions_are_frames_and_reports_are_tables(in_force: Path) -> None:
    whole = load_partition("raw_loan_data", "2024-04-01", "2024-04-03")
    assert isinstance(whole, pd.DataFrame)
    assert whole["application_date"].drop_duplicates().tolist() == list(pd.date_range("2024-04-01", periods=3))
    parts = [load_partition("raw_loan_data", day) for day in ("2024-04-01", "2024-04-02", "2024-04-03")]
    assert sum(map(len, parts)) == len(whole)
    two = load_partition("raw_loan_data", "2024-04-01", columns=["application_id", "loan_amount"])
    assert list(two.columns) == ["application_id", "loan_amount"]
    newest = load_partition("loan_scores")
    assert newest["application_date"].unique().tolist() == [pd.Timestamp("2024-05-25")]
    decision = load_partition("registered_model")
    assert decision == load_partition("registered_model", TRAINED)
    assert f"<td>{decision['decision']}</td>" in decision._repr_html_()
    assert "entries</td>" in decision._repr_html_()


def test_a_portfolio_of_its_own(home: Path, tmp_path: Path) -> None:
    """Its partitions, its assets and its models, and nobody else's."""
    other = copied_home(home, tmp_path / "other")
    equal_columns(other / "portfolios", "cards")
    store, theirs = Store(load_settings(home=other, portfolio="cards").store), Store(str(other / "store"))
    rows = read_table(theirs, theirs.path("raw_loan_data", "2024-04-01.parquet")).slice(0, 3)
    write_table(store, store.path("raw_loan_data", "2024-06-30.parquet"), rows)
    assert len(load_partition("raw_loan_data", home=other, portfolio="cards")) == 3
    assert len(load_partition("raw_loan_data", home=other)) > 3
    with pytest.raises(PermanentError, match=r"raw_loan_data 2024-04-01 is not made; made: 1 day, 2024-06-30"):
        load_partition("raw_loan_data", "2024-04-01", home=other, portfolio="cards")
    with pytest.raises(PermanentError, match="credit-scorer-cards has no champion"):
        load_champion(home=other, portfolio="cards")


def test_looking_makes_nothing(in_force: Path, tmp_path: Path) -> None:
    before = files_of(in_force)
    load_models()
    load_champion().tested()
    load_partition("loan_scores")
    assert files_of(in_force) == before
    empty = tmp_path / "nowhere"
    for look in (load_models, load_champion, lambda **where: load_partition("loan_scores", **where)):
        with pytest.raises(PermanentError):
            look(home=empty)
    assert not empty.exists()


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "an asset": (lambda: load_partition("loan_score"), r"has no asset 'loan_score'; it has .*loan_scores"),
    "no day": (lambda: load_partition("loan_scores", "2024-13-01"), r"'2024-13-01' is no day: write one as 2024-04-02"),
    "no day of a champion": (lambda: load_champion("May"), r"'May' is no day"),
    "a day to come": (
        lambda: load_partition("loan_scores", "2034-01-01"),
        r"loan_scores 2034-01-01 is not made; made: 146 days, 2024-01-01 \.\. 2024-05-25.*replay --start 2034-01-01",
    ),
    "days of which some are not made": (
        lambda: load_partition("loan_scores", "2024-05-24", "2024-05-27"),
        r"2 of 4 days of loan_scores \(2024-05-26 \.\. 2024-05-27\) are not made",
    ),
    "an end before the beginning": (
        lambda: load_partition("loan_scores", "2024-05-24", "2024-05-01"),
        "until is the last of a range",
    ),
    "an end alone": (lambda: load_partition("loan_scores", until="2024-05-01"), "until is the last of a range"),
    "a range of records": (
        lambda: load_partition("registered_model", TRAINED, TRAINED),
        "registered_model is a record, one a day",
    ),
    "columns of a record": (
        lambda: load_partition("registered_model", TRAINED, columns=["decision"]),
        "registered_model is a record, one a day",
    ),
    "a column": (lambda: load_partition("loan_scores", "2024-04-01", columns=["PD"]), "without, or .*type of, PD"),
    "nothing made of an asset": (lambda: load_partition("restated_days"), "restated_days has no partition yet in /"),
    "a version": (lambda: load_models()["7"], "credit-scorer has no version 7; registered: 1, 2"),
    "columns of a frame": (
        lambda: load_champion().score(pd.DataFrame({"loan_amount": [1.0]})),
        "the model needs the columns .*; the frame lacks ",
    ),
    "a portfolio": (lambda: load_champion(portfolio="cards"), "CREDIT_PORTFOLIO: no portfolio cards"),
    "a setting": (lambda: load_champion(min_auc="much"), "CREDIT_MIN_AUC"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_there_is_said(what: str, in_force: Path) -> None:
    look, said = WRONG[what]
    with pytest.raises((PermanentError, SettingsError, ValueError), match=said) as caught:
        look()
    assert "\n" not in str(caught.value)


def test_a_rejected_day_is_not_handed_out(home: Path, tmp_path: Path) -> None:
    other = copied_home(home, tmp_path / "other")
    gate = GateResult("volume", False, "error", 3, "at least 10", "Rows of the day.", setting="gates: volume")
    store = Store(str(other / "store"))
    path = store.path("raw_loan_data", "2024-04-01.parquet")
    write_table(store, path, read_table(store, path), [gate])
    with pytest.raises(PermanentError, match=r"raw_loan_data 2024-04-01 was rejected by its gate .volume is 3"):
        load_partition("raw_loan_data", "2024-04-01", home=other)


def test_no_home_and_no_champion(ingested_home: Path, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"nothing was made in .*absent: there is no store .*CREDIT_HOME"):
        load_champion(home=tmp_path / "absent")
    home = copied_home(ingested_home, tmp_path / "home")
    with pytest.raises(PermanentError, match=r"credit-scorer has no champion at sqlite:///.*credit-assets replay"):
        load_champion(home=home)
    with pytest.raises(PermanentError, match=r"credit-scorer has no version yet: .*credit-assets replay"):
        load_models(home=home)
    # A store alone, before anything was tracked: looking makes no database.
    (home / "mlflow" / "mlflow.db").unlink()
    with pytest.raises(PermanentError, match=r"credit-scorer has no champion"):
        load_champion(home=home)
    assert not (home / "mlflow" / "mlflow.db").exists()


def test_a_training_set_that_is_gone(home: Path, tmp_path: Path) -> None:
    other = copied_home(home, tmp_path / "other")
    for file in (other / "store" / "kept" / "training_set").iterdir():
        file.unlink()
    with pytest.raises(
        PermanentError, match=r"the training set of version 1, kept/training_set/.* is not in /.* any more"
    ):
        load_champion(home=other).tested()


def test_a_server_that_is_away(in_force: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://person:hush-hush@127.0.0.1:{free_port()}"
    for look in (load_champion, load_models):
        with pytest.raises(TransientError, match=r"MLflow at http://.*127.0.0.1") as caught:
            look(mlflow_tracking_uri=uri)
        assert "hush-hush" not in str(caught.value)


def test_a_store_that_is_away(in_force: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(TransientError, match=r"the store of s3:.*CREDIT_STORE_URI.* does not answer"):
        load_partition("loan_scores", "2024-04-01", store_uri="s3://loans/store")


def files_of(home: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file but MLflow's database, which counts its readers."""
    return {
        str(file): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in home.rglob("*")
        if file.is_file() and not file.name.startswith("mlflow.db")
    }


# Results


def results(home: Path) -> dict[str, Any]:
    """One of each result that a public name gives and that is not a frame."""
    y, p = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
    reason = Reason("min_auc", False, 0.5, 0.55, "AUC .5 < .55 <b>")
    return {
        "evaluate": evaluate(y, p),
        "compare": compare(y, p, [0.2, 0.1, 0.3, 0.4]),
        "decide_registration": Decision.of([reason]),
        "load_champion": load_champion(home=home),
        "load_models": load_models(home=home),
        "load_partition": load_partition("registered_model", home=home),
    }


def test_results_are_tables(home: Path) -> None:
    for name, result in results(home).items():
        html = result._repr_html_()
        assert html.startswith("<table>"), name
        assert html.endswith("</table>"), name
    assert "AUC .5 &lt; .55 &lt;b&gt;" in results(home)["decide_registration"]._repr_html_()
    figures = results(home)["evaluate"]._repr_html_()
    assert '<th scope="row">auc</th><td>0.75</td>' in figures
    assert "Tenths of the rows" in figures


def test_every_public_function_that_gives_an_object_gives_a_table() -> None:
    """A frame, an Arrow table or a plain object that is nobody's result aside."""
    aside = {
        *("assemble_training_set", "build_definitions", "feature_table", "generate_book", "history_features"),
        *("load_portfolio", "load_settings", "open_warehouse", "read_lending_club", "training_gates"),
    }
    functions = [name for name in credit_assets.__all__ if inspect.isfunction(getattr(credit_assets, name))]
    assert aside <= set(functions)
    for name in set(functions) - aside:
        returned = inspect.signature(getattr(credit_assets, name)).return_annotation
        module = inspect.getmodule(getattr(credit_assets, name))
        shown = [getattr(module, part.strip(), None) for part in returned.split("|")]
        assert any(hasattr(one, "_repr_html_") for one in shown), (name, returned)
