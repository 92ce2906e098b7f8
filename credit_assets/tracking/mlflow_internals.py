"""The one door to what MLflow does not promise: private names, and sentences in its errors that have no code.

Belongs here: each with the public way that is missing. Does not belong here: anything that can be had in public;
`fluent` and `dagster_mlflow` use public names only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any


@contextlib.contextmanager
def experiment_put_back() -> Iterator[None]:
    """The experiment that is active in this process is the same afterwards.

    `mlflow.set_experiment`, which dagster-mlflow calls, keeps the id in a global that nothing public reads or clears
    (https://github.com/mlflow/mlflow/issues/2433, closed without one). Left there, a run that somebody starts later in
    this process lands in our experiment, or is refused since it is not in it.
    """
    import mlflow.tracking.fluent as fluent

    before = fluent._active_experiment_id
    try:
        yield
    finally:
        fluent._active_experiment_id = before


def hand_over_requests(loader_module: str, *, read: Callable[[Any], Any], answer: Callable[..., Any]) -> None:
    """In this process, MLflow has requests to models of this loader read by `read` (JSON, as rows and parameters) and
    answered by `answer`.

    Its scoring server repeats the whole request in the answer where that is malformed or incomplete, and so does
    `predict` in its exception; columns that it does not know it names in the log, and the first row of a CSV file
    without a header are such. MLFLOW_DISABLE_SCHEMA_DETAILS shortens one of these messages
    (https://github.com/mlflow/mlflow/issues/16538). Types are enforced before a model is asked, without whole numbers
    for fractions and with none that is missing (https://github.com/mlflow/mlflow/issues/25593). A model has no public
    way to read its requests itself. Models of other loaders are served as ever.

    Raises RuntimeError where MLflow has no such places any more: a model that prints applicants must not be served.
    """
    import mlflow

    # The modules themselves: `mlflow.pyfunc` may be a stand-in that loads them.
    pyfunc: Any = import_module("mlflow.pyfunc")
    scoring_server: Any = import_module("mlflow.pyfunc.scoring_server")
    if getattr(scoring_server.invocations, "__module__", None) == __name__:
        return
    try:
        enforced, parsed, answered = (
            pyfunc._validate_prediction_input,
            scoring_server._parse_json_data,
            scoring_server.invocations,
        )
    except AttributeError as error:
        raise RuntimeError(
            f"mlflow {mlflow.__version__} keeps requests from our hands ({error}), and what it says of them may hold "
            "applicants' values: install the mlflow that the model's requirements.txt names"
        ) from error

    def validate(data: Any, params: Any, input_schema: Any, params_schema: Any, flavor: Any = None) -> tuple[Any, Any]:
        return (
            (data, params) if flavor == loader_module else enforced(data, params, input_schema, params_schema, flavor)
        )

    def parse(data: Any, metadata: Any, input_schema: Any) -> Any:
        if (metadata.flavors or {}).get(pyfunc.FLAVOR_NAME, {}).get(pyfunc.MAIN) != loader_module:
            return parsed(data, metadata, input_schema)
        return scoring_server.ParsedJsonInput(*read(data), False)

    def invocations(data: Any, content_type: Any, model: Any, input_schema: Any) -> Any:
        if getattr(model, "loader_module", None) != loader_module:
            return answered(data, content_type, model, input_schema)
        return scoring_server.InvocationsResponse(*answer(data, content_type, model.predict))

    pyfunc._validate_prediction_input = validate
    scoring_server._parse_json_data = parse
    scoring_server.invocations = invocations


# MLflow wraps its database's errors under codes that it uses for much else, and a server sends their text alone: what
# happened stands nowhere but in the sentence.


def collides(error: Exception) -> bool:
    """Two transactions met: SQLite's lock, or two that inserted the same key."""
    return _mentions(error, "database is locked", "integrityerror", "uniqueviolation")


def has_outdated_tables(error: Exception) -> bool:
    """The database was made by another release of MLflow."""
    return _mentions(error, "out-of-date database schema")


def was_not_sent(error: Exception) -> bool:
    """No answer of the server: MLflow gives the failed request the code INTERNAL_ERROR, as anything without a code."""
    return _mentions(error, "failed with exception")


def misses_alias(error: Exception) -> bool:
    """An alias that nobody holds: RESOURCE_DOES_NOT_EXIST by a server, INVALID_PARAMETER_VALUE by the SQL store."""
    return getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE" and _mentions(error, "alias")


def _mentions(error: Exception, *sentences: str) -> bool:
    text = str(error).lower()
    return any(sentence in text for sentence in sentences)


def erased(client: Any, run: Any) -> bool:
    """Take a deleted run out of the database for good, its files and those of its logged models first; whether that
    could be done from here.

    No public API does: `mlflow gc` is a command for the machine of the server, which takes out what anybody has
    deleted. It does the same by the same names. Where the server is another process, it is left to whoever keeps it.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact import artifact_repository_registry

    files_at: Callable[[str], Any] = artifact_repository_registry.get_artifact_repository
    store = client._tracking_client.store
    if not (hasattr(store, "_hard_delete_run") and hasattr(store, "_hard_delete_logged_model")):
        return False
    experiment, made_by = [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models(experiment, filter_string=made_by):
        files_at(model.artifact_location).delete_artifacts()
        store._hard_delete_logged_model(model.model_id)
    files_at(run.info.artifact_uri).delete_artifacts()
    try:
        store._hard_delete_run(run.info.run_id)
    except MlflowException as error:
        # Another has done it meanwhile.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return True
