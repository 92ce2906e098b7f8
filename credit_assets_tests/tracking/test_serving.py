"""Requests to the served model, in every form and with everything wrong that can be, and what is said of them."""

from __future__ import annotations

import io
import json
import logging
import shutil
import traceback
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.assets.reasons_given import Decider
from credit_assets.ml.data.reasons import ReasonContract
from credit_assets.ml.data.request_rules import RequestError, RequestRules
from credit_assets.ml.learners.reason_codes import reason_codes
from credit_assets.ml.learners.scorer import CreditScorer
from credit_assets.tracking import mlflow_internals
from credit_assets.tracking.evidence import application_signature
from credit_assets.tracking.serving import (
    CSV,
    JSON,
    PARQUET,
    Answer,
    answer,
    request_of_json,
    rows_of_csv,
    rows_of_json,
)
from credit_assets_tests.support.mlflow_server import running
from credit_assets_tests.support.modelling import PORTFOLIO, applications

LOADER = "credit_assets.ml.scorer"
SCORER = Path(__file__).parents[1] / "data" / "scorers" / "lightgbm"
INPUTS = [column.name for column in PORTFOLIO.input_columns]

# An applicant: nothing of this may stand in any message.
ID, TEXT, NUMBER = "CANARY-4711", "CANARY-wish", 60606.25
APPLICANT: dict[str, Any] = {
    "loan_id": ID,
    "income": NUMBER,
    "debt": 7,
    "inquiries": 1,
    "noise": 0.5,
    "purpose": "car",
    "region": "north",
}
# With a digit after the point: ports and process ids stand in every log.
CANARIES = ("CANARY", "60606.2", "6060660606")
STRICT = PORTFOLIO.model_copy(
    update={
        "columns": tuple(
            column.model_copy(update={"income": {"nullable": False, "minimum": 0.0}}.get(column.name, {}))
            for column in PORTFOLIO.columns
        )
    }
)


def model_folder(folder: Path, *, rules: bool) -> Path:
    """A model as it is logged today, or as it was when rules were not saved and every number was a double."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    shutil.copytree(SCORER, folder / "scorer")
    signature = application_signature(STRICT)
    if rules:
        RequestRules.of(STRICT).save(folder / "scorer")
    else:
        kinds = ["string" if column.type == "category" else "double" for column in PORTFOLIO.input_columns]
        inputs: list[Any] = [ColSpec(kind, name) for kind, name in zip(kinds, INPUTS, strict=True)]
        signature = ModelSignature(Schema(inputs), Schema([ColSpec("double", "pd"), ColSpec("double", "score")]))
    place = folder / "model"
    mlflow.pyfunc.save_model(
        place, loader_module=LOADER, data_path=str(folder / "scorer"), signature=signature, pip_requirements=["pandas"]
    )
    return place


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    return {name: model_folder(folder / name, rules=name == "today") for name in ("today", "before")}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Any]:
    import mlflow.pyfunc

    return {name: mlflow.pyfunc.load_model(str(folder)) for name, folder in folders.items()}


def expected(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows).reindex(columns=INPUTS)
    return CreditScorer.load(SCORER).score(frame)


def csv_of(rows: list[dict[str, Any]], **options: Any) -> bytes:
    return pd.DataFrame(rows).to_csv(index=False, **options).encode()


def forms(rows: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """The same rows in every form that a request may have."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[row.get(name) for name in names] for row in rows]
    columns = {name: [row.get(name) for row in rows] for name in names}
    for content in (
        {"dataframe_records": rows},
        {"dataframe_split": {"columns": names, "data": lines, "index": [ID] * len(rows)}},
        {"instances": rows},
        {"inputs": rows},
        {"inputs": columns},
        {"inputs": columns, "params": {"id": ID}, "request": ID},
    ):
        yield JSON, json.dumps(content).encode()
    if len(rows) == 1:
        yield JSON, json.dumps({"inputs": rows[0]}).encode()
    yield f"{JSON}; charset=UTF-8", "\ufeff".encode() + json.dumps({"instances": rows}).encode()
    yield CSV, csv_of(rows)
    yield CSV, csv_of(rows, lineterminator="\r\n", quoting=1)


# Requests that are answered


def test_every_form_of_a_request_is_scored_alike(models: dict[str, Any]) -> None:
    other = {**APPLICANT, "income": 50_000, "debt": None, "purpose": "holiday", "region": None}
    for rows in ([APPLICANT], [APPLICANT, other]):
        scores = expected(rows)
        for content_type, body in forms(rows):
            for name, model in models.items():
                got = answer(body, content_type, model.predict)
                assert got.status == 200, got
                predictions = pd.DataFrame(json.loads(got.response)["predictions"])
                pd.testing.assert_frame_equal(predictions[["pd", "score"]], scores)
                assert list(predictions.columns) == ["pd", "score", *(["warnings"] if name == "today" else [])]


def test_parquet_is_scored_as_the_pipeline_writes_it(models: dict[str, Any]) -> None:
    frame = applications(20)
    frame["debt"] = frame["debt"].astype("int64")
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame), sink)
    got = answer(sink.getvalue(), PARQUET, models["today"].predict)
    predictions = pd.DataFrame(json.loads(got.response)["predictions"])
    pd.testing.assert_frame_equal(predictions[["pd", "score"]], CreditScorer.load(SCORER).score(frame))
    assert answer(b"PAR1", PARQUET, models["today"].predict).status == 400


def test_a_warning_stands_beside_the_score_of_its_row(models: dict[str, Any]) -> None:
    rows = [APPLICANT, {**APPLICANT, "purpose": "yacht"}]
    body = json.dumps({"dataframe_records": rows}).encode()
    first, second = json.loads(answer(body, JSON, models["today"].predict).response)["predictions"]
    assert first["warnings"] is None
    assert second["warnings"] == "purpose: a level that the model has not seen"
    assert second["pd"] == expected([{**APPLICANT, "purpose": None}])["pd"][0]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b'{"dataframe_records": []}'),
        (JSON, b'{"dataframe_split": {"columns": ["income"], "data": []}}'),
        (JSON, b'{"inputs": {"income": []}}'),
        (CSV, b"income,debt\n"),
    ],
)
def test_no_rows_are_answered_by_no_predictions(content_type: str, body: bytes, models: dict[str, Any]) -> None:
    for model in models.values():
        assert answer(body, content_type, model.predict) == Answer('{"predictions": []}', 200, JSON)


def test_csv_is_read_as_text_so_that_nothing_is_guessed() -> None:
    frame = rows_of_csv('a,b,c\n007,"x, y",\nNA,1e3,None\n\n')
    assert frame.to_dict("list") == {"a": ["007", "NA"], "b": ["x, y", "1e3"], "c": ["", "None"]}


def test_json_values_stay_what_they_were() -> None:
    frame = rows_of_json(
        '{"dataframe_records": [{"a": 1, "b": true, "c": [1, 2]}, {"a": null, "b": "x", "c": [3, 4]}]}'
    )
    assert frame.to_dict("list") == {"a": [1, None], "b": [True, "x"], "c": [[1, 2], [3, 4]]}
    assert isinstance(frame["a"][0], int)


# Requests that are refused: in every form, without a word of the applicant

BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "text for a number": ({"income": TEXT}, "income: not a finite number (row 2)"),
    "percent": ({"income": f"{NUMBER}%"}, "income: not a finite number (row 2)"),
    "out of range": ({"income": -NUMBER}, "income: below 0 (row 2)"),
    "missing": ({"income": None}, "income: missing (row 2)"),
    "a list for a number": ({"income": [NUMBER]}, "income: not a finite number (row 2)"),
    "an object for a text": ({"purpose": {TEXT: NUMBER}}, "purpose: not text (row 2)"),
}


@pytest.mark.parametrize("case", list(BAD_ROWS))
def test_a_row_at_fault_is_named_by_column_rule_and_place(case: str, models: dict[str, Any]) -> None:
    changes, message = BAD_ROWS[case]
    rows = [APPLICANT, {**APPLICANT, **changes}]
    nested = any(isinstance(value, list | dict) for value in changes.values())
    for content_type, body in forms(rows):
        if content_type == CSV and nested:
            continue
        got = answer(body, content_type, models["today"].predict)
        assert (got.status, got.mimetype) == (400, JSON)
        content = json.loads(got.response)
        assert content["message"] == f"1 of 2 rows are refused: {message}"
        assert content["problems"][0]["first"] == [2]
        assert not [canary for canary in CANARIES if canary in got.response]


SPOILT: dict[str, tuple[str | None, bytes]] = {
    "cut short": (JSON, json.dumps({"dataframe_records": [APPLICANT]}).encode()[:-3]),
    "a stray word": (JSON, f'{{"dataframe_records": [{{"income": {TEXT}}}]}}'.encode()),
    "no object": (JSON, json.dumps([APPLICANT]).encode()),
    "only a text": (JSON, json.dumps(TEXT).encode()),
    "no form": (JSON, json.dumps({ID: [APPLICANT]}).encode()),
    "two forms": (JSON, json.dumps({"inputs": [APPLICANT], "instances": [APPLICANT]}).encode()),
    "records as an object": (JSON, json.dumps({"dataframe_records": {ID: APPLICANT}}).encode()),
    "records of numbers": (JSON, json.dumps({"dataframe_records": [NUMBER, TEXT]}).encode()),
    "rows without names": (JSON, json.dumps({"instances": [[NUMBER, TEXT]]}).encode()),
    "a name twice": (JSON, f'{{"instances": [{{"income": 1, "income": {NUMBER}}}]}}'.encode()),
    "split without columns": (JSON, json.dumps({"dataframe_split": {"data": [[NUMBER]]}}).encode()),
    "split of other length": (JSON, json.dumps({"dataframe_split": {"columns": [TEXT, ID], "data": [[1]]}}).encode()),
    "split of columns named twice": (
        JSON,
        json.dumps({"dataframe_split": {"columns": ["income", "income"], "data": [[1, NUMBER]]}}).encode(),
    ),
    "columns of other lengths": (JSON, json.dumps({"inputs": {"income": [NUMBER], "debt": [1, 2]}}).encode()),
    "a column beside a value": (JSON, json.dumps({"inputs": {"income": [NUMBER], "debt": NUMBER}}).encode()),
    "other columns": (JSON, json.dumps({"dataframe_records": [{ID: NUMBER, TEXT: ID}]}).encode()),
    "a column left out": (JSON, json.dumps({"dataframe_records": [APPLICANT]}).replace("income", "wages").encode()),
    "not UTF-8": (JSON, TEXT.encode("utf-16")),
    "very deep": (JSON, b'{"inputs": ' + b"[" * 100_000 + ID.encode()),
    "a very long number": (JSON, b'{"inputs": {"income": ' + b"60606" * 1000 + b"}}"),
    "csv without a header": (CSV, csv_of([APPLICANT, APPLICANT], header=False)),
    "csv of one row without a header": (CSV, csv_of([APPLICANT], header=False)),
    "csv of another width": (CSV, b"income,debt\n60606.25,1,CANARY\n"),
    "csv with a stray quote": (CSV, b'income,purpose\n60606.25,"CANARY" wish\n'),
    "csv with a quote that does not end": (CSV, b'income,purpose\n60606.25,"CANARY\n'),
    "csv with a column twice": (CSV, b"income,income\n60606.25,60606.25\n"),
    "csv in UTF-16": (CSV, csv_of([APPLICANT]).decode().encode("utf-16")),
    "no csv at all": (CSV, json.dumps([APPLICANT]).encode()),
    "parquet that is none": (PARQUET, f"{ID}{TEXT}{NUMBER}".encode()),
    "parquet that ends early": (PARQUET, b"PAR1" + f"{ID}".encode() + b"PAR1"),
    "another type": ("text/plain", TEXT.encode()),
    "another character set": (f"{JSON}; charset=latin-1", TEXT.encode("latin-1")),
    "no type": (None, TEXT.encode()),
    "empty": (JSON, b""),
    "empty csv": (CSV, b""),
}


@pytest.mark.parametrize("name", ["today", "before"])
@pytest.mark.parametrize("case", list(SPOILT))
def test_a_request_that_is_no_rows_is_refused_without_a_word_of_it(
    case: str, name: str, models: dict[str, Any], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    content_type, body = SPOILT[case]
    caplog.set_level(logging.DEBUG)
    got = answer(body, content_type, models[name].predict)
    # The fault is the request's, and it is told what is wrong.
    assert got.status in (400, 415), got
    assert len(json.loads(got.response)["message"]) > 15
    printed = "".join(capfd.readouterr())
    assert not [canary for canary in CANARIES if canary in got.response + caplog.text + printed]


def test_a_fault_of_the_program_is_ours_and_silent(models: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> Any:
        raise KeyError(ID)

    got = answer(json.dumps({"instances": [APPLICANT]}).encode(), JSON, fail)
    assert got.status == 500
    assert "KeyError in test_serving.py" in got.response
    assert "KeyError in test_serving.py" in caplog.text
    assert "CANARY" not in got.response + caplog.text


@pytest.mark.parametrize("name", ["today", "before"])
def test_in_this_process_no_exception_shows_an_applicant(name: str, models: dict[str, Any]) -> None:
    whole = pd.DataFrame([APPLICANT])
    for data in (
        whole.drop(columns="income"),
        whole.assign(income=TEXT),
        pd.DataFrame({ID: [NUMBER]}),
        whole.rename(columns={"income": ID}),
        pa.Table.from_pandas(whole.assign(income=TEXT)),
        np.array([[NUMBER, 1]]),
        [NUMBER, ID],
        ID,
        {"income": TEXT},
    ):
        with pytest.raises(RequestError) as caught:
            models[name].predict(data)
        shown = "".join(traceback.format_exception(caught.value))
        assert not [canary for canary in CANARIES if canary in shown]


# Through MLflow


@pytest.mark.parametrize("name", ["today", "before"])
def test_frames_with_whole_numbers_truth_values_and_gaps_are_scored(name: str, models: dict[str, Any]) -> None:
    frame = applications(30).drop(columns="truth")
    frame[["income", "debt"]] = frame[["income", "debt"]].round()
    scores = CreditScorer.load(SCORER).score(frame)
    for same in (
        frame.assign(income=frame["income"].astype("int64"), debt=frame["debt"].astype("int64")),
        frame.convert_dtypes(),
        frame.convert_dtypes(dtype_backend="pyarrow"),
        frame.astype(object).where(frame.notna(), None),
        pa.Table.from_pandas(frame),
    ):
        pd.testing.assert_frame_equal(models[name].predict(same)[["pd", "score"]], scores)


def test_the_signature_accepts_what_the_contract_does(models: dict[str, Any]) -> None:
    from mlflow.models import validate_schema

    signature = models["today"].metadata.signature
    assert signature.inputs.input_names() == INPUTS
    assert signature.inputs.required_input_names() == ["income"]
    assert signature.outputs.input_names() == ["pd", "score", "warnings", "declined", "reasons", "reason_texts"]
    assert signature.outputs.required_input_names() == ["pd", "score"]
    assert [one.name for one in signature.params] == ["explain"]
    frame = applications(5)[INPUTS]
    for same in (frame, frame.assign(income=1, debt=True), frame.convert_dtypes(), frame.drop(columns="debt")):
        validate_schema(same, signature.inputs)
    validate_schema(models["today"].predict(applications(5)), signature.outputs)


def test_mlflow_in_this_process_serves_and_predicts_our_way(
    folders: dict[str, Path], models: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from mlflow.pyfunc import scoring_server

    good, bad = (json.dumps({"instances": [{**APPLICANT, "income": value}]}) for value in (NUMBER, TEXT))
    model, schema = models["today"], models["today"].metadata.get_input_schema()
    assert scoring_server.invocations(good.encode(), JSON, model, schema).status == 200
    assert scoring_server.invocations(bad.encode(), JSON, model, schema).status == 400
    # `mlflow models predict`.
    (tmp_path / "request.json").write_text(good)
    scoring_server._predict(str(folders["today"]), str(tmp_path / "request.json"), None, "json")
    assert json.loads(capsys.readouterr().out)["predictions"][0]["warnings"] is None
    (tmp_path / "request.json").write_text(good[:-2])
    with pytest.raises(RequestError, match="the request is not JSON: see line 1"):
        scoring_server._predict(str(folders["today"]), str(tmp_path / "request.json"), None, "json")


def test_models_of_others_are_served_as_ever(models: dict[str, Any], tmp_path: Path) -> None:
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException
    from mlflow.models import infer_signature
    from mlflow.pyfunc import scoring_server

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scorer.json").write_text('{"pd": 0.1}')
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        loader_module="credit_assets_tests.support.mlflow_server",
        data_path=str(tmp_path / "data"),
        signature=infer_signature(pd.DataFrame({"a": [1.5]})),
        pip_requirements=["pandas"],
    )
    other = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    schema = other.metadata.get_input_schema()
    body = b'{"dataframe_records": [{"a": 1}]}'
    assert '"pd": 0.1' in scoring_server.invocations(body, JSON, other, schema).response
    with pytest.raises(MlflowException, match="Model is missing inputs"):
        other.predict(pd.DataFrame({"b": [1]}))
    with pytest.raises(MlflowException, match="valid JSON"):
        scoring_server.invocations(b"{", JSON, other, schema)


def test_an_mlflow_that_keeps_requests_to_itself_serves_no_applicants(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.pyfunc import scoring_server

    def elsewhere() -> None: ...

    monkeypatch.setattr(scoring_server, "invocations", elsewhere)
    monkeypatch.delattr(scoring_server, "_parse_json_data")
    with pytest.raises(RuntimeError, match=r"mlflow 3\.\d+.* keeps requests from our hands.*_parse_json_data"):
        mlflow_internals.hand_over_requests(LOADER, read=request_of_json, answer=answer)


def posted(uri: str, content_type: str | None, body: bytes) -> tuple[int, str]:
    headers = {} if content_type is None else {"Content-Type": content_type}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{uri}/invocations", body, headers)) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["today", "before"])
def test_mlflow_models_serve_says_nothing_of_an_applicant(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    command = ("models", "serve", "--env-manager", "local", "-m", str(folders[name]))
    loud = {"MLFLOW_LOGGING_LEVEL": "DEBUG", "UVICORN_LOG_LEVEL": "trace", "MLFLOW_DISABLE_SCHEMA_DETAILS": "false"}
    server = running("mlflow", *command, folder=tmp_path, path="/ping", **loud)
    with server as uri:
        for content_type, body in forms([APPLICANT, APPLICANT]):
            status, response = posted(uri, content_type, body)
            assert status == 200, response
            predictions = pd.DataFrame(json.loads(response)["predictions"])
            pd.testing.assert_frame_equal(predictions[["pd", "score"]], expected([APPLICANT] * 2))
        refused = {case: posted(uri, *SPOILT[case]) for case in SPOILT if case != "no type"}
        for case, (changes, _) in BAD_ROWS.items():
            body = json.dumps({"instances": [{**APPLICANT, **changes}]}).encode()
            refused[case] = posted(uri, JSON, body)
    said = server.log.read_text()
    assert "Started server process" in said
    for case, (status, response) in refused.items():
        # What has no rules of its own knows no range, and every number of it may be missing.
        if name == "today" or case not in ("out of range", "missing"):
            assert status in (400, 415), (case, response)
        said += response
    assert not [canary for canary in CANARIES if canary in said]


# Reasons


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a cut-off and the contract of its reasons."""
    import mlflow.pyfunc

    folder = tmp_path_factory.mktemp("explaining")
    scorer = CreditScorer.load(SCORER)
    cut_off = float(np.quantile(scorer.pd(applications(400)), 0.6))
    replace(scorer, cut_off=cut_off).save(folder / "scorer")
    RequestRules.of(STRICT).save(folder / "scorer")
    ReasonContract.of(STRICT).save(folder / "scorer")
    mlflow.pyfunc.save_model(
        folder / "model",
        loader_module=LOADER,
        data_path=str(folder / "scorer"),
        signature=application_signature(STRICT),
        pip_requirements=["pandas"],
    )
    return folder


def test_a_request_may_ask_for_reasons_and_gets_those_of_the_batch(explaining: Path) -> None:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(explaining / "model"))
    decider, rows = Decider.load(explaining / "scorer"), applications(60)
    assert decider.contract is not None
    expected = reason_codes(decider.scorer, decider.contract, rows)
    in_process = model.predict(rows, params={"explain": True})
    assert in_process["reasons"].tolist() == expected
    assert in_process["declined"].tolist() == (in_process["pd"] > decider.scorer.cut_off).tolist()
    plain = model.predict(rows)
    assert list(plain.columns) == ["pd", "score", "warnings"]
    assert in_process[["pd", "score"]].equals(plain[["pd", "score"]])
    records = json.loads(rows[INPUTS].to_json(orient="records"))
    for asked in ({"explain": True}, {"explain": False}, {}, None):
        body = json.dumps({"dataframe_records": records, "params": asked}).encode()
        got = answer(body, JSON, model.predict)
        assert got.status == 200, got.response
        first, *_ = json.loads(got.response)["predictions"]
        if not (asked or {}).get("explain"):
            assert set(first) == {"pd", "score", "warnings"}
            continue
        told = json.loads(got.response)["predictions"]
        assert [one["reasons"] for one in told] == expected
        assert told[0]["reason_texts"] == [decider.contract.text_of(code) for code in told[0]["reasons"]]
        assert {one["declined"] for one in told} == {True, False}
    # One by one, as requests come.
    for at in range(5):
        body = json.dumps({"inputs": records[at], "params": {"explain": True}}).encode()
        (one,) = json.loads(answer(body, JSON, model.predict).response)["predictions"]
        assert one["reasons"] == expected[at]


@pytest.mark.parametrize(
    "params", [{"explain": "yes"}, {"explain": 1}, {"explain": None}, {"explain": ["CANARY"]}, ["CANARY"], "CANARY", 1]
)
def test_what_is_no_parameter_is_refused_without_a_word_of_it(params: Any, explaining: Path) -> None:
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(explaining / "model"))
    got = answer(json.dumps({"instances": [APPLICANT], "params": params}).encode(), JSON, model.predict)
    assert got.status == 400
    assert "explain" in got.response
    assert not any(canary in got.response for canary in CANARIES)


@pytest.mark.parametrize("name", ["today", "before"])
def test_a_version_without_the_contract_says_that_it_gives_no_reasons(name: str, models: dict[str, Any]) -> None:
    body = json.dumps({"instances": [APPLICANT], "params": {"explain": True}}).encode()
    got = answer(body, JSON, models[name].predict)
    assert got.status == 400
    assert "this version gives no reasons" in got.response
