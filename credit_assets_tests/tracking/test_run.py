"""What is logged to a run stands there, on SQLite and on a server."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.tracking import Tracking
from credit_assets_tests.support.tracking import applications, candidate, find, runs, status

pytest_plugins = ["credit_assets_tests.support.mlflow_server"]


def test_what_is_logged_goes_to_this_run_from_any_thread(tracking: Tracking) -> None:
    with candidate(tracking) as run:
        thread = threading.Thread(target=lambda: (run.log_params({"a": 1}), run.log_metrics({"m": 1.0})))
        thread.start()
        thread.join()
    assert {r.data.tags["role"] for r in runs(tracking)} == {"parent", "candidate"}
    assert tracking.server.client.get_run(run.run_id).data.params == {"a": "1"}


def test_nothing_is_printed_between_the_lines_of_a_command(served: Tracking, capfd: pytest.CaptureFixture[str]) -> None:
    with candidate(served) as run:
        pass
    assert status(served, run.run_id) == "FINISHED"
    assert capfd.readouterr().out == ""


def test_a_finished_run_whose_record_was_deleted_says_what_to_do(tracking: Tracking) -> None:
    with candidate(tracking) as run:
        pass
    found = find(tracking)
    assert found is not None
    with pytest.raises(PermanentError, match=f"MLflow run {run.run_id} is FINISHED .* delete the run in MLflow"):
        found.load_record("candidate.json")


@pytest.mark.parametrize("where", ["tracking", "served"])
def test_half_an_answer_destroys_no_run(
    where: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a download is tried again; nobody is told to delete the run for it."""
    at: Tracking = request.getfixturevalue(where)
    with candidate(at) as run:
        run.log_dict({"auc": 0.7, "of": [1, 2]}, "candidate.json")
    found, client = find(at), at.server.client
    assert found is not None
    fetch, cut = client.download_artifacts, [True]

    def half(*of: Any) -> str:
        path = fetch(*of)
        if cut.pop(0) if cut else False:
            Path(path).write_bytes(Path(path).read_bytes()[:20])
        return path

    monkeypatch.setattr(client, "download_artifacts", half)
    assert found.load_record("candidate.json") == {"auc": 0.7, "of": [1, 2]}
    cut[:] = [True, True]
    with pytest.raises(TransientError, match=r"20 of \d+ bytes came") as told:
        found.load_record("candidate.json")
    assert "delete" not in str(told.value)


def test_a_record_that_is_damaged_where_it_lies_is_told_after_two_looks(tracking: Tracking, tmp_path: Path) -> None:
    with candidate(tracking) as run:
        run.log_dict({"auc": 0.7123, "of": [1, 2]}, "candidate.json")
    found = find(tracking)
    assert found is not None
    (place,) = [one for one in tmp_path.rglob("candidate.json") if run.run_id in str(one)]
    place.write_text(place.read_text().replace("0.7123", "0.8123"))
    with pytest.raises(PermanentError, match="its content is not what was written, as two looks at it agree; bring it"):
        found.load_record("candidate.json")


def test_a_data_set_is_recorded_with_its_digest_and_none_of_its_rows(tracking: Tracking) -> None:
    table = pa.Table.from_pandas(applications().assign(default=0, annual_income=123454321.0))
    with candidate(tracking) as run:
        run.log_dataset("training_set", digest="ab" * 32, table=table, source="s3://b/x.parquet", target="default")
    (entry,) = tracking.server.client.get_run(run.run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("training_set", ("ab" * 32)[:36])
    assert "s3://b/x.parquet" in entry.dataset.source
    assert '"num_rows": 5' in entry.dataset.profile
    assert "123454321" not in str(entry.dataset.to_dictionary())


def test_a_figure_is_logged(tracking: Tracking, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    with candidate(tracking) as run:
        run.log_figure(Figure(), "figures/roc.png")
    (file,) = (tmp_path / "mlflow" / "artifacts").rglob("roc.png")
    assert file.read_bytes().startswith(b"\x89PNG")


def test_what_a_server_refuses_is_permanent(served: Tracking) -> None:
    with pytest.raises(PermanentError, match="cannot log to a run"), candidate(served) as run:  # noqa: PT012
        run.log_params({"a": 1})
        run.log_params({"a": 2})
    assert status(served, run.run_id) == "FAILED"
