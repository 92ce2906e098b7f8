"""One MLflow run as a step sees it: the open run of a candidate, or the finished one that is reused.

Belongs here: logging to a run. Does not belong here: opening and ending runs (`runs`), and what is logged (`evidence`).
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from credit_assets.aside import temporary_folder
from credit_assets.failures import PermanentError
from credit_assets.ml.data.manifest import MANIFEST, Manifest
from credit_assets.storage.seals import UnsoundError, looked_at_twice, record_of, sealed
from credit_assets.tracking.server import Server

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from mlflow.models import ModelSignature

_T = TypeVar("_T")

# Registered models carry this name: it stays, wherever the scorer lives.
LOADER_MODULE = "credit_assets.ml.scorer"
_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100
# Points of one curve: more than a screen has pixels for, few enough to write thousands of runs into SQLite.
_POINTS_PER_CURVE = 400
_SCHEMA_ROWS = 1000
_DIGEST_LENGTH = 36


@dataclass(frozen=True)
class FinishedRun:
    """A finished run that is reused."""

    server: Server
    run_id: str

    def load_record(self, file: str) -> Any:
        """A JSON file that was logged to the run. Raises PermanentError where it is not there or damaged, as two looks
        at it agree: a run that is deleted by the advice is gone for good. TransientError where half of it came.
        """

        def look() -> Any:
            listed = self.server.call("cannot list files", self.server.client.list_artifacts, self.run_id)
            sizes = {one.path: one.file_size for one in listed}
            if file not in sizes:
                raise UnsoundError("it is not among the files of the run", str(sorted(sizes)))
            with temporary_folder("mlflow") as folder:
                fetch, of = self.server.client.download_artifacts, (self.run_id, file, folder)
                data = Path(self.server.call(f"cannot fetch {file} of run {self.run_id}", fetch, *of)).read_bytes()
            if sizes[file] is not None and len(data) != sizes[file]:
                raise UnsoundError(f"{len(data):,} of {sizes[file]:,} bytes came", cut=True)
            return record_of(data)

        def damaged(why: str) -> PermanentError:
            return PermanentError(
                f"MLflow run {self.run_id} is FINISHED and its file {file} cannot be read: {why}, as two looks at it "
                "agree; bring it back from a backup, and where there is none delete the run in MLflow, then the model "
                "is trained again"
            )

        return looked_at_twice(look, damaged, f"{file} of MLflow run {self.run_id}")

    def log_text(self, text: str, file: str) -> None:
        """A file of the run, in place of one that is there."""
        self.server.call("cannot log a file", self.server.client.log_text, self.run_id, text, file)


@dataclass(frozen=True)
class CandidateRun:
    """The open child run of one variant and partition. Everything is logged to this run, whatever else is active."""

    server: Server
    run_id: str

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters, as many as there are. MLflow refuses to change one that is there."""
        from mlflow.entities import Param

        for batch in _batches([Param(key, str(value)) for key, value in params.items()], _PARAMS_PER_CALL):
            self._log(params=batch)

    def log_metrics(self, metrics: Mapping[str, float], model_uri: str | None = None) -> None:
        """Final metrics, at step 0; shown on the logged model too where it is named.

        Logged before `log_model` they would be shown there as well: MLflow asks for the history of each, which its
        database finds among those of all runs by the metric's name.
        """
        now = int(time.time() * 1000)
        model = None if model_uri is None else model_uri.removeprefix("models:/")
        self._metrics([(key, float(value), now, 0) for key, value in metrics.items()], model)

    def log_metrics_history(self, history: Mapping[str, Sequence[float]]) -> None:
        """Curves over rounds, counted from 1. Long ones are thinned evenly; first and last round always stay."""
        now = int(time.time() * 1000)
        points = []
        for key, values in history.items():
            every = max(1, -(-len(values) // _POINTS_PER_CURVE))
            steps = sorted({*range(0, len(values), every), len(values) - 1} if len(values) else [])
            points += [(key, float(values[step]), now, step + 1) for step in steps]
        self._metrics(points)

    def log_dataset(self, name: str, *, digest: str, table: pa.Table, source: str, target: str | None = None) -> None:
        """The data set that the run read: name, digest, where it lies, its columns and counts; none of its rows."""
        import mlflow.data
        from mlflow.entities import Dataset, DatasetInput, InputTag

        with self.server.failures("cannot log the data set"), warnings.catch_warnings():
            # Advice on schemas that are to be enforced, which this one is not.
            warnings.simplefilter("ignore")
            # MLflow wants a frame for its schema; the first rows have it as well as ten million.
            first = table.slice(0, _SCHEMA_ROWS).to_pandas(date_as_object=False)
            described = mlflow.data.from_pandas(  # type: ignore[attr-defined]
                first, source=source, name=name, digest=digest[:_DIGEST_LENGTH], targets=target
            ).to_dict()
            counts = {"num_rows": table.num_rows, "num_elements": table.num_rows * table.num_columns}
            dataset = Dataset(**{**described, "profile": json.dumps(counts)})
            entry = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        self.server.call("cannot log the data set", self.server.client.log_inputs, self.run_id, datasets=[entry])

    def log_figure(self, figure: Any, file: str) -> None:
        self.server.call("cannot log a figure", self.server.client.log_figure, self.run_id, figure, file)

    def log_dict(self, record: Mapping[str, Any], file: str) -> None:
        """A record, sealed: `FinishedRun.load_record` tells whether it is as it was logged."""
        self.server.call("cannot log a record", self.server.client.log_dict, self.run_id, sealed(record), file)

    def log_model(
        self,
        scorer_dir: Path,
        *,
        input_example: pd.DataFrame,
        signature: ModelSignature,
        pip_requirements: Sequence[str],
    ) -> str:
        """The scorer's folder as an MLflow model without code or pickle in it. Returns `models:/m-...`.

        MLflow loads the model once from what it has written and predicts the example, as serving would.
        """
        import mlflow.pyfunc

        with self.server.failures("cannot log the model"):
            info = mlflow.pyfunc.log_model(
                name="model",
                loader_module=LOADER_MODULE,
                data_path=str(scorer_dir),
                signature=signature,
                input_example=input_example,
                # Inferring them would start a process and load the model there: 8 CPU seconds for each candidate.
                pip_requirements=list(pip_requirements),
                metadata={MANIFEST: manifest.to_text()} if (manifest := Manifest.load(scorer_dir)) else None,
            )
        return str(info.model_uri)

    def rename(self, name: str) -> None:
        """What MLflow's list of runs calls it."""
        self.server.call("cannot rename a run", self.server.client.update_run, self.run_id, name=name)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        from mlflow.entities import RunTag

        for batch in _batches([RunTag(key, str(value)) for key, value in tags.items()], _PARAMS_PER_CALL):
            self._log(tags=batch)

    def _metrics(self, points: Sequence[tuple[str, float, int, int]], model: str | None = None) -> None:
        from mlflow.entities import Metric

        for batch in _batches([Metric(*point, model_id=model) for point in points], _METRICS_PER_CALL):
            self._log(metrics=batch)

    def _log(self, **what: Any) -> None:
        self.server.call("cannot log to a run", self.server.client.log_batch, self.run_id, **what)


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
