"""The one door to what MLflow does not promise: private names, and sentences in its errors that have no code.

Belongs here: each with the public way that is missing. Does not belong here: anything that can be had in public;
`fluent` and `dagster_mlflow` use public names only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


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
