"""Files of logged models: read in place, or fetched once from a server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.links import address_of
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets.tracking.evidence import files_of
from credit_assets_tests.support.mlflow_server import EXPERIMENT, Server
from credit_assets_tests.support.tracking import applications, log_constant_model

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.tracking"]


def test_a_cache_that_cannot_be_written_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    models = Tracking("http://h", EXPERIMENT, Claims("s"), cache_dir=tmp_path / "file" / "cache").models
    assert models._writable_cache().is_dir()
    assert models._writable_cache() == models._cache_folder()


def test_without_a_home_and_an_account_mlflow_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, pwd\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "from credit_assets.tracking.fluent import import_mlflow\n"
        "import_mlflow()\n"
        "assert os.path.isabs(os.environ['HOME'])"
    )
    monkeypatch.delenv("HOME", raising=False)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_a_home_and_an_account_there_is_a_cache_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    models = Tracking("http://h", EXPERIMENT, Claims("s")).models
    assert models._writable_cache().is_dir()
    assert models._writable_cache() == models._cache_folder()


def test_a_model_logged_to_a_server_comes_back_and_is_fetched_once(
    served: Tracking, mlflow_server: Server, tmp_path: Path, constant_loader: None
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    run_id, uri = log_constant_model(served, tmp_path / "scorer")
    assert list(mlflow_server.artifacts.rglob("scorer.json")), "the server does not keep the files"
    with ThreadPoolExecutor(6) as pool:
        folders = set(pool.map(served.models.download, [uri] * 6))
    assert len(folders) == 1
    folder = folders.pop()
    assert (folder / "scorer.json").read_bytes() == (tmp_path / "scorer" / "scorer.json").read_bytes()
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [uri.removeprefix("models:/")]
    # Nothing is asked for again.
    away = Tracking("http://127.0.0.1:9", EXPERIMENT, served.claims, cache_dir=tmp_path / "cache")
    assert away.models.download(uri) == folder
    link = served.server.run_link(run_id)
    assert address_of(link.value) == f"{mlflow_server.uri}/#/experiments/{served.server.experiment_id}/runs/{run_id}"


def test_the_model_holds_no_code_and_answers_raw_columns_with_missing_integers(
    tracking: Tracking, tmp_path: Path, constant_loader: None
) -> None:
    import yaml

    _, uri = log_constant_model(tracking, tmp_path / "scorer")
    model_dir = tracking.models.download(uri).parents[1]
    files = {p.relative_to(model_dir).as_posix() for p in model_dir.rglob("*") if p.is_file()}
    assert files == {
        "MLmodel",
        "conda.yaml",
        "data/scorer/scorer.json",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    }
    described = yaml.safe_load((model_dir / "MLmodel").read_text())
    assert described["flavors"]["python_function"]["code"] is None
    pins = (model_dir / "requirements.txt").read_text().split()
    assert all("==" in pin for pin in pins)
    assert {pin.split("==")[0] for pin in pins} == {"mlflow", "pandas"}
    with tracking.server.fluent() as mlflow:
        model = mlflow.pyfunc.load_model(uri)
    frame = applications()[::-1].iloc[:, ::-1]
    assert "inquiries_6m" in frame.columns[frame.isna().any()]
    assert list(model.predict(frame).columns) == ["pd", "score"]
    with pytest.raises(Exception, match="loan_amount"):
        model.predict(frame.drop(columns="loan_amount"))


def test_a_model_that_is_not_there_is_permanent(tracking: Tracking, served: Tracking) -> None:
    for where in (tracking, served):
        with pytest.raises(PermanentError, match="cannot read a model"):
            where.models.download("models:/m-00000000000000000000000000000000")
        with pytest.raises(PermanentError, match="is not the URI of a logged model"):
            where.models.download("models:/credit-scorer/1/../../x")


def test_a_damaged_copy_is_fetched_again_and_other_files_are_refused(
    served: Tracking, mlflow_server: Server, tmp_path: Path, constant_loader: None
) -> None:
    """Twice as on the server is what the server has; a copy that this machine has spoilt mends itself."""
    _, uri = log_constant_model(served, tmp_path / "scorer")
    record = {"model_uri": uri, "files": files_of(tmp_path / "scorer")}
    copy = served.models.of_record(record) / "scorer.json"
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-5])
    assert served.models.of_record(record) == copy.parent
    assert copy.read_bytes() == whole
    model_id = uri.removeprefix("models:/")
    there = next(one for one in mlflow_server.artifacts.rglob("scorer.json") if model_id in str(one))
    there.write_bytes(whole.replace(b"0.1", b"0.2"))
    copy.write_bytes(b"{}")
    with pytest.raises(TransientError, match="does not come whole"):
        served.models.of_record(record)
    with pytest.raises(PermanentError, match=r"is not the model that was made \(scorer.json is another file"):
        served.models.of_record(record)
    assert not (tmp_path / "cache" / model_id).exists(), "what is wrong is not kept"
    there.write_bytes(whole)
    assert served.models.of_record(record).joinpath("scorer.json").read_bytes() == whole


def test_half_a_download_is_not_kept(
    served: Tracking, tmp_path: Path, constant_loader: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow reports a cut download as success: the sizes that the store lists say otherwise."""
    _, uri = log_constant_model(served, tmp_path / "scorer")
    fetch = served.models._fetch

    def cut(*of: Any) -> Path:
        folder = fetch(*of)
        place = next(folder.rglob("scorer.json"))
        place.write_bytes(place.read_bytes()[:7])
        return folder

    monkeypatch.setattr(served.models, "_fetch", cut)
    with pytest.raises(TransientError, match=r"7 of \d+ bytes of data/scorer/scorer.json"):
        served.models.download(uri)
    monkeypatch.undo()
    assert served.models.download(uri).joinpath("scorer.json").stat().st_size > 7
