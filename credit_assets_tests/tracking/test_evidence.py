"""A trained model, all the way: on its run, in force, and answering as MLflow serves it."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry, Version
from credit_assets.links import address_of
from credit_assets.ml.data.manifest import MANIFEST, Manifest
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.data.request_rules import CheckedRequest, RequestRules
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.tracking import Tracking
from credit_assets.tracking.evidence import example_application, files_of, log_candidate
from credit_assets_tests.support.mlflow_server import Server, running
from credit_assets_tests.support.registry import MODEL, Q1, Q2, day_after, move
from credit_assets_tests.support.synthetic import model_inputs
from credit_assets_tests.support.tracking import applications, candidate

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]

# The server is shared, and with it the names of registered models.
SERVED_MODEL = "credit-scorer-served"


def test_the_example_is_nobodys_application() -> None:
    rng, several = np.random.default_rng(3), pd.concat([applications()] * 20, ignore_index=True)
    several["annual_income"] = rng.lognormal(11, 0.5, len(several)).round(2)
    example = example_application(pa.Table.from_pandas(several), load_portfolio()).to_dict("records")[0]
    assert example["annual_income"] not in several["annual_income"].tolist()
    assert example["annual_income"] == pytest.approx(several["annual_income"].median(), rel=0.05)
    assert example["purpose"] == several["purpose"].value_counts().index[0]
    assert example["open_accounts"] == 2, "a whole number stays whole"
    few = example_application(pa.Table.from_pandas(applications()), load_portfolio())
    allowed = load_portfolio().column("purpose").allowed
    assert allowed is not None
    assert few["purpose"].tolist() == [allowed[0]], "few rows have the most frequent one"
    empty = example_application(pa.Table.from_pandas(applications().head(0)), load_portfolio())
    assert empty["purpose"].tolist() == [None]


@pytest.fixture(scope="module")
def training() -> tuple[pd.DataFrame, Any, dict[str, Any]]:
    """A training set of made-up loans, the XGBoost candidate trained on it, and its record."""
    portfolio = load_portfolio()
    rng = np.random.default_rng(7)
    rows = 900
    frame = pd.DataFrame(
        {
            c.name: rng.choice(list(c.allowed or ("a", "b")), rows)
            if c.type == "category"
            else rng.integers(0, 9, rows) + np.float64(c.minimum or 0)
            for c in portfolio.input_columns
        }
    )
    frame.loc[::9, "inquiries_6m"] = np.nan
    frame["application_id"] = [f"L{number:03d}" for number in range(rows)]
    frame["application_date"] = pd.Timestamp(Q1)
    frame = model_inputs(frame, portfolio)
    frame["default"] = (rng.random(rows) < 0.1 + 0.05 * frame["interest_rate"]).astype("int8")
    frame["split"] = np.repeat(["train", "validation", "test"], rows // 3)
    config = TrainingConfig(max_rounds=20, early_stopping_rounds=5)
    trained = train_candidate(frame, "xgboost", portfolio, config)
    record = {
        "variant": "xgboost",
        "as_of": Q1.isoformat(),
        "identity": {"data": "d" * 64, "seed": config.seed},
        "metrics": {split: evaluation.to_record() for split, evaluation in trained.metrics.items()},
    }
    return frame, trained, record


def log_and_promote(
    tracking: Tracking, training: tuple[pd.DataFrame, Any, dict[str, Any]], model: str = MODEL
) -> tuple[Version, str]:
    frame, trained, record = training
    registry = Registry(tracking, model, tracking.claims)
    with candidate(tracking) as run:
        uri, files = log_candidate(run, trained, record, pa.Table.from_pandas(frame), load_portfolio())
    assert files == files_of(tracking.models.download(uri))
    assert {"scorer.json", "reference.json"} <= set(files)
    version = registry.register(uri, run_id=run.run_id, fingerprint="f1", as_of=Q1, tags={"variant": "xgboost"})
    return move(registry, version.version, day_after(Q1)), run.run_id


def request(training: tuple[pd.DataFrame, Any, dict[str, Any]]) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Two applications as JSON records: whole numbers as integers, a missing one as null."""
    names = [c.name for c in load_portfolio().input_columns]
    frame = training[0].loc[:1, names]
    assert frame["inquiries_6m"].isna().tolist() == [True, False]
    records = [
        {k: None if v != v else int(v) if isinstance(v, float) else v for k, v in row.items()}
        for row in frame.to_dict("records")
    ]
    return frame, records


def test_everything_a_validator_looks_for_is_on_the_run(
    tracking: Tracking, training: tuple[pd.DataFrame, Any, dict[str, Any]], tmp_path: Path
) -> None:
    # MLflow looks for the history of a metric among those of all runs there ever were.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "get_metric_history", lambda *_: pytest.fail("a history is looked for"))
        version, run_id = log_and_promote(tracking, training)
    frame, trained, record = training
    run = tracking.server.client.get_run(run_id)
    # What MLflow's list of runs shows in its first column.
    assert run.info.run_name == f"{Q1} xgboost AUC {record['metrics']['test']['auc']:.3f}"
    assert run.data.params["max_depth"] == "6"
    assert run.data.params["best_rounds"] == str(trained.best_rounds)
    assert run.data.metrics["test_auc"] == record["metrics"]["test"]["auc"]
    assert len(tracking.server.client.get_metric_history(run_id, next(iter(trained.history)))) > 1
    assert [d.dataset.name for d in run.inputs.dataset_inputs] == ["training_set"]
    files = {f.path for f in tracking.server.client.list_artifacts(run_id)}
    assert {"features.json", "figures"} <= files
    figures = {f.path for f in tracking.server.client.list_artifacts(run_id, "figures")}
    assert {f"figures/{name}.png" for name in ("roc", "calibration", "score_distribution", "gain")} <= figures
    model = tracking.server.client.get_logged_model(version.source.removeprefix("models:/"))
    of_model = {metric.key: metric.value for metric in model.metrics or []}
    assert of_model["test_auc"] == record["metrics"]["test"]["auc"]
    assert set(of_model) == set(run.data.metrics) - set(trained.history)

    scorer = CreditScorer.load(Registry(tracking, MODEL, tracking.claims).download(version))
    assert scorer.pd(frame).tolist() == trained.scorer.pd(frame).tolist()
    # The portfolio's rules travel with it.
    kept = RequestRules.load(Registry(tracking, MODEL, tracking.claims).download(version))
    assert kept is not None
    assert kept.to_record() == RequestRules.of(load_portfolio()).to_record()
    # The example in the model is no row of the training set.
    saved = json.loads(next((tmp_path / "mlflow").rglob("input_example.json")).read_text())
    example = pd.DataFrame(saved["data"], columns=saved["columns"])
    assert example.merge(frame, on=list(example.columns)).empty
    # It is a request that the served model does not refuse.
    asked = CheckedRequest(kept, scorer.categories)
    assert asked.read(example, 1)[1] is None
    assert asked.refusal is None


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        ("scorer.json", '"pdo": ', '"pdo": 1'),
        ("scorer.json", '"slope": ', '"slope": 1'),
        ("reference.json", "0", "1"),
        ("request_rules.json", "0", "1"),
        ("reasons.json", "a", "b"),
        ("manifest.json", "0", "1"),
    ],
)
def test_a_model_whose_files_were_edited_scores_nowhere(
    tracking: Tracking, training: tuple[pd.DataFrame, Any, dict[str, Any]], name: str, was: str, now: str
) -> None:
    """Neither here (pipeline, library and commands have it of the registry) nor as MLflow serves it."""
    frame, trained, record = training
    registry = Registry(tracking, MODEL, tracking.claims)
    with candidate(tracking) as run:
        uri, files = log_candidate(run, trained, record, pa.Table.from_pandas(frame), load_portfolio())
    folder = tracking.models.of_record({"model_uri": uri, "files": files})
    tags = {"variant": "xgboost", MANIFEST: Manifest.of(folder).to_text()}
    version = registry.register(uri, run_id=run.run_id, fingerprint="f1", as_of=Q1, tags=tags)
    assert version.manifest == Manifest.load(folder)
    with tracking.server.fluent() as mlflow:
        assert mlflow.pyfunc.load_model(uri) is not None
        text = (folder / name).read_text()
        assert was in text
        (folder / name).write_text(text.replace(was, now, 1))
        with pytest.raises(PermanentError, match=rf"version 1 of {MODEL}: .*{name} is another"):
            registry.download(version)
        assert registry.download(version, as_is=True) == folder
        with pytest.raises(PermanentError, match=f"{name} is another"):
            tracking.models.of_record({"model_uri": uri, "files": files})
        # Held against the edited manifest it is another file that differs.
        told = r"\S+" if name == "manifest.json" else name
        with pytest.raises(PermanentError, match=rf"are not those that were logged: .*{told} is another"):
            mlflow.pyfunc.load_model(uri)
        # By somebody who knows of the manifest, and of the folder only: MLflow's own record has it too.
        if name != "manifest.json":
            Manifest.of(folder).save(folder)
            with pytest.raises(PermanentError, match=rf"are not those that were logged: .*{name} is another"):
                mlflow.pyfunc.load_model(uri)


def test_a_version_of_before_has_no_manifest_and_is_used(
    tracking: Tracking, training: tuple[pd.DataFrame, Any, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    version, _ = log_and_promote(tracking, training)
    assert version.manifest is None
    folder = Registry(tracking, MODEL, tracking.claims).download(version)
    (folder / "manifest.json").unlink()
    with tracking.server.fluent() as mlflow:
        assert mlflow.pyfunc.load_model(version.source) is not None
    assert "logged without a manifest" in caplog.text
    with pytest.raises(PermanentError, match="its tag manifest was changed by hand"):
        _ = replace(version, tags={**version.tags, MANIFEST: "{"}).manifest


def test_the_champion_loads_as_a_pyfunc_from_a_server(
    mlflow_server: Server, served: Tracking, training: tuple[pd.DataFrame, Any, dict[str, Any]]
) -> None:
    version, _ = log_and_promote(served, training, SERVED_MODEL)
    registry = Registry(served, SERVED_MODEL, served.claims)
    assert registry.alias("champion") == version
    assert registry.alias("nobody") is None
    assert registry.champion_at(Q2) == version
    frame, _ = request(training)
    with served.server.fluent() as mlflow:
        answer = mlflow.pyfunc.load_model(f"models:/{SERVED_MODEL}@champion").predict(frame)
    expected = training[1].scorer.score(frame)
    pd.testing.assert_frame_equal(answer.drop(columns="warnings"), expected)
    # Of too few train rows that lacked it the model has not learned what that means.
    gaps = frame["inquiries_6m"].isna().tolist()
    assert answer["warnings"].notna().tolist() == gaps
    assert set(answer["warnings"].dropna()) <= {"inquiries_6m: missing, and counts as the worst case"}
    assert CreditScorer.load(registry.download(version)).score(frame).equals(expected)
    assert address_of(registry.version_link("1").value) == f"{mlflow_server.uri}/#/models/{SERVED_MODEL}/versions/1"
    with pytest.raises(PermanentError, match="has no version 99; registered: 1"):
        registry.version("99")


@pytest.mark.slow
def test_mlflow_models_serve_answers_with_pd_and_points(
    tracking: Tracking, training: tuple[pd.DataFrame, Any, dict[str, Any]], tmp_path: Path
) -> None:
    log_and_promote(tracking, training)
    frame, records = request(training)
    command = ("models", "serve", "--env-manager", "local", "-m", f"models:/{MODEL}@champion")
    hardened = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_TRACKING_URI": tracking.server.uri}
    with running("mlflow", *command, folder=tmp_path, path="/ping", **hardened) as uri:
        body = json.dumps({"dataframe_records": records}).encode()
        asked = urllib.request.Request(f"{uri}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as reply:
            answer = pd.DataFrame(json.load(reply)["predictions"])
    expected = training[1].scorer.score(frame).reset_index(drop=True)
    pd.testing.assert_frame_equal(answer[["pd", "score"]], expected)
