"""One MLflow run as a step sees it: the open run of a candidate, or the finished one that is reused.

Belongs here: what is logged to a run and how a model's signature and example are made. Does not belong here: opening
and ending runs (`tracking`).
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.tracking.runs import Tracking

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
    """A finished run that is reused. Tags and metrics as they were found."""

    tracking: Tracking
    run_id: str
    tags: dict[str, str]
    metrics: dict[str, float]

    def load_record(self, file: str) -> Any:
        """A JSON file that was logged to the run. Raises PermanentError where it is not there."""
        import json

        with tempfile.TemporaryDirectory(prefix="mlflow-") as folder:
            try:
                path = self.tracking.call(
                    f"has no {file} for run {self.run_id}",
                    self.tracking.client.download_artifacts,
                    self.run_id,
                    file,
                    folder,
                )
                return json.loads(Path(path).read_text("utf-8"))
            except (PermanentError, FileNotFoundError, ValueError) as error:
                raise PermanentError(
                    f"MLflow run {self.run_id} is FINISHED and its file {file} cannot be read ({error}); delete the "
                    "run in MLflow, then the model is trained again"
                ) from error


@dataclass(frozen=True)
class CandidateRun:
    """The open child run of one variant and partition. Everything is logged to this run, whatever else is active."""

    tracking: Tracking
    run_id: str
    mlflow: Any = field(repr=False)
    """dagster-mlflow's `MlFlow`, for what has no method here."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Parameters, as many as there are. MLflow refuses to change one that is there."""
        from mlflow.entities import Param

        texts = {key: str(value) for key, value in params.items()}
        for chunk in self.mlflow.chunks(texts, _PARAMS_PER_CALL):
            self._batch(params=[Param(key, value) for key, value in chunk.items()])

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Final metrics, at step 0; logged before `log_model` they are shown on the model too."""
        now = int(time.time() * 1000)
        self._metrics([(key, float(value), now, 0) for key, value in metrics.items()])

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
        import json

        import mlflow.data
        from mlflow.entities import DatasetInput, InputTag

        with self.tracking.failures("cannot log the data set"), warnings.catch_warnings():
            # Advice on schemas that are to be enforced, which this one is not.
            warnings.simplefilter("ignore")
            # MLflow wants a frame for its schema; the first rows have it as well as ten million.
            first = table.slice(0, _SCHEMA_ROWS).to_pandas(date_as_object=False)
            data = mlflow.data.from_pandas(
                first, source=source, name=name, digest=digest[:_DIGEST_LENGTH], targets=target
            )
            logged = data._to_mlflow_entity()
            logged._profile = json.dumps(
                {"num_rows": table.num_rows, "num_elements": table.num_rows * table.num_columns}
            )
            entry = DatasetInput(logged, [InputTag("mlflow.data.context", "training")])
        self.tracking.call("cannot log the data set", self._client.log_inputs, self.run_id, datasets=[entry])

    def log_figure(self, figure: Any, file: str) -> None:
        self.tracking.call("cannot log a figure", self._client.log_figure, self.run_id, figure, file)

    def log_dict(self, record: Mapping[str, Any], file: str) -> None:
        self.tracking.call("cannot log a record", self._client.log_dict, self.run_id, dict(record), file)

    def log_model(
        self,
        scorer_dir: Path,
        *,
        input_example: pd.DataFrame,
        signature: ModelSignature,
        pip_requirements: Sequence[str],
        name: str = "model",
    ) -> str:
        """The scorer's folder as an MLflow model without code or pickle in it. Returns `models:/m-...`.

        MLflow loads the model once from what it has written and predicts the example, as serving would.
        """
        import mlflow.pyfunc

        with self.tracking.failures("cannot log the model"):
            info = mlflow.pyfunc.log_model(
                name=name,
                loader_module=LOADER_MODULE,
                data_path=str(scorer_dir),
                signature=signature,
                input_example=input_example,
                # Inferring them would start a process and load the model there: 8 CPU seconds for each candidate.
                pip_requirements=list(pip_requirements),
            )
        return str(info.model_uri)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        from mlflow.entities import RunTag

        texts = {key: str(value) for key, value in tags.items()}
        for chunk in self.mlflow.chunks(texts, _PARAMS_PER_CALL):
            self._batch(tags=[RunTag(key, value) for key, value in chunk.items()])

    @property
    def _client(self) -> MlflowClient:
        return self.tracking.client

    def _metrics(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        for start in range(0, len(points), _METRICS_PER_CALL):
            self._batch(metrics=[Metric(*point) for point in points[start : start + _METRICS_PER_CALL]])

    def _batch(self, **what: Any) -> None:
        self.tracking.call("cannot log to a run", self._client.log_batch, self.run_id, **what)


def application_signature(portfolio: Portfolio) -> ModelSignature:
    """From the columns of an application as the warehouse has them to PD and score.

    Every number is a double: an integer column with a missing value has no integers left, and MLflow would refuse it.
    Integers in JSON are read as doubles by the server; a frame given to `predict` directly must have float columns.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = [ColSpec("string" if c.type == "category" else "double", c.name) for c in portfolio.input_columns]
    return ModelSignature(Schema(inputs), Schema([ColSpec("double", "pd"), ColSpec("double", "score")]))


def example_application(table: pa.Table, portfolio: Portfolio) -> pd.DataFrame:
    """One application that nobody made: the median of each number, the most frequent level of each category."""
    import numpy as np
    import pandas as pd

    row: dict[str, list[Any]] = {}
    for column in portfolio.input_columns:
        known = table[column.name].drop_null()
        if column.type == "category":
            row[column.name] = [_most_frequent(known)]
        else:
            row[column.name] = [float(np.median(known.to_numpy())) if len(known) else float("nan")]
    return pd.DataFrame(row)


def _most_frequent(texts: pa.ChunkedArray) -> str | None:
    """Of several the first in order of the alphabet, so that the same data give the same example."""
    counts = texts.value_counts().to_pylist()
    return min(counts, key=lambda item: (-item["counts"], item["values"]))["values"] if counts else None


def pinned(*packages: str) -> list[str]:
    """The installed version of each package as a requirement. Packages that are not installed are left out."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package}=={version(package)}")
    return found
